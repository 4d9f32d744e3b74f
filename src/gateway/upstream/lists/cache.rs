//! What is remembered of the lists of one connection: fetched when first needed, forgotten when the server says that
//! the list has changed.
//!
//! A notification can be lost, so that nothing rests on it alone. A list is trusted for longer ([`TOLD`]) only while a stream
//! is open by which the server would tell of a change ([`ListCache::opened`], [`ListCache::closed`]); whenever such a stream
//! opens, all is forgotten that was learned before. Without one a list holds for [`UNTOLD`]. What clients are shown holds no
//! longer than the server allows (`ttlMs`). A list that is read again and differs from what it was is told to clients like a
//! change that the server has told (`link::reconcile` reads again).
//!
//! What a server lists may depend on the extensions that its client has, so that clients with different ones share nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::kind::{KINDS, Kind};
use super::listing::Listing;
use crate::gateway::error::Fault;

/// How long a list is remembered where no stream is open by which the server would tell of a change.
pub(crate) const UNTOLD: Duration = Duration::from_secs(30);
/// Clients with different extensions for whom lists are remembered.
const VARIANTS: usize = 16;
/// How long where there is one: what it tells can be lost.
pub(crate) const TOLD: Duration = Duration::from_secs(300);

/// The remembered lists of one connection.
#[derive(Debug, Default)]
pub(crate) struct ListCache {
    /// The lists.
    lists: [Mutex<Remembered>; KINDS],
    /// The same for clients that speak of extensions, by what they say of these; the oldest first.
    variants: Mutex<VecDeque<(Box<str>, Arc<Self>)>>,
    /// What the server would tell of.
    streams: watch::Sender<Streams>,
}

/// The streams by which a server tells of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    /// How often one was opened.
    opened: u64,
    /// The kinds of which one that is open would tell, as bits.
    kinds: u8,
}

/// What a list is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To find out where requests go.
    Routing,
    /// To be shown to a client.
    Showing,
}

/// A list that is being fetched, for all who wait for it.
pub(crate) type Fetch = Shared<BoxFuture<'static, Result<Arc<Listing>, Fault>>>;

/// What clients have seen of a list that took too long, so that they are to be told when it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Owed {
    /// All of it.
    #[default]
    Nothing,
    /// What it was before.
    News,
    /// Nothing of it.
    All,
}

/// What is known of a list.
#[derive(Debug, Default)]
struct Remembered {
    /// The list, unless it was forgotten.
    listing: Option<Arc<Listing>>,
    /// What the list was when it was read last.
    last: Option<Arc<Listing>>,
    /// Whether clients were told since then that it has changed.
    told: bool,
    /// When it was last tried to read it again.
    tried: Option<Instant>,
    /// How often it was forgotten: what was asked for before is not remembered after.
    changes: u64,
    /// What clients have seen of it since it took too long.
    owed: Owed,
    /// Whether it took too long when it was read last.
    slow: bool,
    /// Since when it is being fetched, and the way to the result.
    fetch: Option<(Instant, Fetch)>,
}

impl ListCache {
    /// The lists of clients that say this of the extensions that they have: a server may list other things for them.
    pub(crate) fn of(&self, extensions: &str) -> Arc<Self> {
        let mut variants = self.variants.lock();
        if let Some((_, known)) = variants.iter().find(|(said, _)| **said == *extensions) {
            return Arc::clone(known);
        }
        let new = Arc::<Self>::default();
        variants.push_back((extensions.into(), Arc::clone(&new)));
        if variants.len() > VARIANTS {
            variants.pop_front();
        }
        new
    }

    /// Forgets what the notification `method` says has changed.
    pub(crate) fn forget(&self, method: &str) {
        for (_, variant) in &*self.variants.lock() {
            variant.forget(method);
        }
        for kind in Kind::changed(method) {
            let mut remembered = self.remembered(*kind);
            remembered.forget();
            remembered.told = true;
        }
    }

    /// A stream was opened by which the server tells of changes of these kinds from now on. What was learned before may have
    /// changed without a notification.
    pub(crate) fn opened(&self, kinds: &[Kind]) {
        // In this order: what is asked for from now on is remembered, and would be told of.
        let kinds = kinds.iter().fold(0, |kinds, kind| kinds | kind.bit());
        self.forget_all();
        self.streams.send_modify(|streams| *streams = Streams { opened: streams.opened + 1, kinds });
    }

    /// Forgets all lists.
    fn forget_all(&self) {
        for kind in Kind::ALL {
            self.remembered(kind).forget();
        }
        self.variants.lock().iter().for_each(|(_, variant)| variant.forget_all());
    }

    /// No such stream is open any more.
    pub(crate) fn closed(&self) {
        self.streams.send_modify(|streams| streams.kinds = 0);
    }

    /// The streams, as they change.
    pub(crate) fn streams(&self) -> watch::Receiver<Streams> {
        self.streams.subscribe()
    }

    /// Whether the list was read at some time.
    pub(crate) fn was_read(&self, kind: Kind) -> bool {
        self.remembered(kind).last.is_some()
    }

    /// Whether the list has an item of this name, as it was read last; `None` if it was not.
    pub(crate) fn has(&self, kind: Kind, name: &str) -> Option<bool> {
        let last = self.remembered(kind).last.clone();
        last.map(|last| last.has(kind, name))
    }

    /// When a list that was read is to be read again, if it holds for so long.
    pub(crate) fn due(&self, kind: Kind, holds: Duration) -> Option<Instant> {
        let remembered = self.remembered(kind);
        let asked = remembered.last.as_ref()?.asked();
        // One that was forgotten because of a change is read again by those who were told.
        let read = asked.filter(|_| !remembered.told);
        read.max(remembered.tried).map(|read| read + holds)
    }

    /// Notes that a list is about to be read again.
    pub(crate) fn try_again(&self, kind: Kind) {
        self.remembered(kind).tried = Some(Instant::now());
    }

    /// Whether one of the streams that are open would tell of a change of the list.
    pub(crate) fn is_streamed(&self, kind: Kind) -> bool {
        self.streams.borrow().kinds & kind.bit() != 0
    }

    /// The fetch that is under way, and since when; one that begins now where there is none.
    pub(crate) fn fetch(&self, kind: Kind, begin: impl FnOnce() -> Fetch) -> (Instant, Fetch) {
        self.remembered(kind).fetch.get_or_insert_with(|| (Instant::now(), begin())).clone()
    }

    /// How often the list was forgotten.
    pub(crate) fn changes(&self, kind: Kind) -> u64 {
        self.remembered(kind).changes
    }

    /// What there is of a list that takes too long: by now all of it, or what it was before. Clients that are shown that are owed
    /// the rest.
    pub(crate) fn instead(&self, kind: Kind, purpose: Purpose) -> Option<Arc<Listing>> {
        let mut remembered = self.remembered(kind);
        if remembered.listing.is_some() {
            return remembered.listing.clone();
        }
        let owed = if remembered.last.is_some() { Owed::News } else { Owed::All };
        if purpose == Purpose::Showing {
            remembered.owed = remembered.owed.max(owed);
        }
        remembered.last.clone()
    }

    /// Whether the list took too long when it was read last, and what it was then is known.
    pub(crate) fn is_slow(&self, kind: Kind) -> bool {
        let remembered = self.remembered(kind);
        remembered.slow && remembered.last.is_some()
    }

    /// Notes whether the list took too long.
    pub(crate) fn set_slow(&self, kind: Kind, slow: bool) {
        self.remembered(kind).slow = slow;
    }

    /// Remembers what was fetched, unless the list was forgotten more often than `changes` meanwhile. Whether it differs from
    /// what it was, or from what clients were shown instead of it, though nobody was told so.
    pub(crate) fn remember(&self, kind: Kind, changes: u64, fetched: Option<&Arc<Listing>>) -> bool {
        let mut remembered = self.remembered(kind);
        if remembered.changes != changes {
            // It is of before a change, or of after it; nobody knows.
            return false;
        }
        remembered.fetch = None;
        let Some(listing) = fetched else { return false };
        remembered.listing = Some(Arc::clone(listing));
        let last = remembered.last.replace(Arc::clone(listing));
        let told = std::mem::take(&mut remembered.told);
        let owed = std::mem::take(&mut remembered.owed);
        drop(remembered);
        let differs = || last.is_some_and(|last| !last.is_the_same_as(listing, kind));
        owed == Owed::All || (!told || owed == Owed::News) && differs()
    }

    /// The list, if it is remembered and not older than `holds`.
    pub(crate) fn get(&self, kind: Kind, holds: impl FnOnce(&Listing) -> Duration) -> Option<Arc<Listing>> {
        let listing = self.remembered(kind).listing.clone()?;
        (listing.age() < holds(&listing)).then_some(listing)
    }

    /// What is known of a list.
    fn remembered(&self, kind: Kind) -> parking_lot::MutexGuard<'_, Remembered> {
        self.lists[kind as usize].lock()
    }
}

impl Streams {
    /// How often one was opened.
    pub(crate) const fn opened(self) -> u64 {
        self.opened
    }
}

impl Remembered {
    /// Requests from now on do not get what was asked for before.
    fn forget(&mut self) {
        // Where it takes long to read it again, clients are shown what it was.
        self.last.iter().for_each(|listing| listing.forget());
        self.listing = None;
        self.fetch = None;
        self.changes += 1;
    }
}
