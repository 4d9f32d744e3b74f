//! The connections of one legacy session: its own where the upstream must be able to ask its client, else shared ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fieldwork::Fieldwork;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{Sharing, Transport};
use crate::gateway::error::Fault;
use crate::gateway::relay::{ClientMeta, Message, Notification, Raw, method};
use crate::gateway::upstream::{
    ClientIdentity, InboxReceiver, KINDS, Kind, Link, Listing, Purpose, Role, Upstream, inbox, list,
    reconcile, subscribe_to,
};

/// How long reading one list may take that is compared with what the client was shown.
const COMPARE: Duration = Duration::from_secs(20);

/// A place for one upstream's connection; the lock is held while it is opened, so that it is opened once.
type OwnLink = Arc<tokio::sync::Mutex<Option<OwnConnection>>>;

/// A connection that the session uses.
#[derive(Debug)]
struct OwnConnection {
    /// The connection.
    link: Arc<Link>,
    /// Whether it is the session's own, which ends with it; others share it otherwise.
    own: bool,
    /// How often the server had been replaced when it was opened.
    replaced: u64,
}

impl OwnConnection {
    /// Whether it can be used: it is open, and no session is needed to know that the server is the one that it was opened to.
    fn is_usable(&self, upstream: &Upstream) -> bool {
        let is_replaced = || self.link.is_without_session() && self.replaced != upstream.replaced();
        self.link.is_open() && !is_replaced()
    }
}

/// What a client was last shown of one list.
#[derive(Clone, Debug, Default)]
enum Shown {
    /// Nothing.
    #[default]
    Nothing,
    /// A list without the upstream, or one that was not looked at as a whole.
    Other,
    /// This.
    Whole(Arc<Listing>),
}

/// A connection of a session's own that was opened, and what it tells beside its answers.
pub(super) type Opened = (Arc<Link>, InboxReceiver);

/// The connections of one session.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct SessionConnections {
    /// Who the session's client is.
    #[field(get)]
    client: ClientIdentity,
    /// The same as modern servers know it.
    #[field(get)]
    modern: ClientMeta,
    /// Whether servers must be told of this very client.
    singular: bool,
    /// The places by the serial number of their upstream.
    slots: Mutex<BTreeMap<u64, OwnLink>>,
    /// Its own connections that have shaken hands, by the same, for looking without waiting.
    own: Mutex<BTreeMap<u64, Arc<Link>>>,
    /// What the client has subscribed to over its own connections, by the same.
    subscribed: Mutex<BTreeMap<u64, BTreeSet<String>>>,
    /// What the client was last shown of lists of which it has a connection of its own, by the same.
    shown: Mutex<BTreeMap<u64, [Shown; KINDS]>>,
    /// Where each of its own connections is announced, with what it tells beside its answers.
    opened: mpsc::UnboundedSender<Opened>,
    /// `logging/setLevel`'s parameters, for connections that are opened later.
    log_level: Mutex<Option<Raw>>,
    /// Cancelled when the session ends.
    ended: CancellationToken,
}

impl SessionConnections {
    /// No connections.
    pub(crate) fn new(client: ClientIdentity, opened: mpsc::UnboundedSender<Opened>) -> Self {
        let (singular, modern) = (client.meta.is_singular(), client.meta.in_other_era());
        let (slots, own, subscribed, shown) = Default::default();
        let ended = CancellationToken::new();
        let log_level = Mutex::default();
        Self { client, modern, singular, slots, own, subscribed, shown, opened, log_level, ended }
    }

    /// Whether the session has a connection of its own to this upstream.
    pub(crate) fn dedicated(&self, upstream: &Upstream) -> bool {
        let connector = upstream.connector();
        match (connector.is_builtin(), connector.settings().sharing, &connector.settings().transport) {
            (true, _, _) | (_, Sharing::Shared, _) => false,
            (_, Sharing::PerSession, _) | (_, Sharing::Auto, Transport::Http { .. }) => true,
            (_, Sharing::Auto, Transport::Stdio { .. }) => self.singular,
        }
    }

    /// The connection to an upstream, opened if it is not open.
    pub(crate) async fn get(self: &Arc<Self>, upstream: &Arc<Upstream>) -> Result<Arc<Link>, Fault> {
        if !self.dedicated(upstream) {
            return upstream.shared_legacy().await;
        }
        let slot = Arc::clone(self.slots.lock().entry(upstream.serial()).or_default());
        if let Ok(slot) = slot.try_lock()
            && let Some(opened) = slot.as_ref().filter(|opened| opened.is_usable(upstream))
        {
            return Ok(Arc::clone(&opened.link));
        }
        // A task of its own, since a caller that gives up must not end a server that is slow to start.
        let (links, upstream) = (Arc::clone(self), Arc::clone(upstream));
        let name = upstream.connector().name().clone();
        let opened = tokio::spawn(async move { links.open_slot(&slot, &upstream).await });
        opened.await.map_err(|_| Fault::upstream(&name, "could not be opened"))?
    }

    /// Opens the connection of a place if it is not open.
    async fn open_slot(&self, slot: &OwnLink, upstream: &Arc<Upstream>) -> Result<Arc<Link>, Fault> {
        let mut slot = slot.lock().await;
        match slot.take() {
            Some(opened) if opened.is_usable(upstream) => {
                return Ok(Arc::clone(&slot.insert(opened).link));
            }
            Some(dead) if dead.own => {
                dead.link.wire().end().await;
            }
            _ => {}
        }
        // A broken upstream answers at once instead of making each session wait for its own attempt.
        let native = self.unless_ended(upstream, upstream.native()).await?;
        let (connector, replaced) = (upstream.connector(), upstream.replaced());
        // Each has its own, where what it tells waits until it has shaken hands.
        let (sender, told) = inbox();
        let opening = connector.open_legacy_beside(&native, &self.client, (Role::Dedicated, sender));
        let opened = match self.unless_ended(upstream, opening).await {
            Ok(link) => OwnConnection { link: Arc::new(link), own: true, replaced },
            Err(fault) if native.era() == crate::gateway::relay::Era::Modern => {
                let fault = fault.message;
                tracing::debug!(upstream = upstream.name(), fault, "the server speaks the modern era only");
                OwnConnection { link: native, own: false, replaced }
            }
            Err(fault) => {
                // The connection that all share may be just as dead, and nobody has noticed.
                native.activity().unanswered();
                return Err(fault);
            }
        };
        let link = Arc::clone(&opened.link);
        if opened.own {
            upstream.look_after(&link, None);
            reconcile(&link);
            self.own.lock().insert(upstream.serial(), Arc::clone(&link));
            // Nobody listens any more to a session that has ended.
            let _ = self.opened.send((Arc::clone(&link), told));
            let catching_up = async {
                self.catch_up(&link, upstream.serial()).await;
                Ok(())
            };
            // Whether or not it was cut short, the connection ends with the place that it is put in.
            let _ = self.unless_ended(upstream, catching_up).await;
            self.compare(&link, upstream.serial());
        }
        *slot = Some(opened);
        Ok(link)
    }

    /// Waits for a server, but not beyond the end of the session or of the upstream, which needs the lock.
    async fn unless_ended<T>(
        &self,
        upstream: &Upstream,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        tokio::select! {
            done = work => done,
            () = self.ended.cancelled() => Err(upstream.ends()),
            () = upstream.life().stop().cancelled() => Err(upstream.ends()),
        }
    }

    /// The connection that all share, while one of the session's own is still to be opened: it knows what its server has.
    ///
    /// Not where the configuration has one for each session: what such a server has may differ between them.
    pub(crate) fn meanwhile(&self, upstream: &Upstream) -> Option<Arc<Link>> {
        let by_default = upstream.settings().sharing == Sharing::Auto;
        let opening = by_default && self.dedicated(upstream) && !self.has_own(upstream);
        upstream.ready().filter(|_| opening)
    }

    /// Notes that the client is shown a list, and whether as another connection than its own knows it.
    pub(crate) fn note_shown(
        &self,
        upstream: &Upstream,
        kind: Kind,
        listing: Option<&Arc<Listing>>,
        borrowed: bool,
    ) {
        if !self.dedicated(upstream) {
            return;
        }
        let shown = listing.map_or(Shown::Other, |listing| Shown::Whole(Arc::clone(listing)));
        self.shown.lock().entry(upstream.serial()).or_default()[kind as usize] = shown;
        let own = self.own.lock().get(&upstream.serial()).filter(|link| link.is_open()).cloned();
        if let Some(link) = own.filter(|_| borrowed) {
            // It was opened meanwhile.
            self.compare(&link, upstream.serial());
        }
    }

    /// Looks, in a task of its own, whether a connection of the session's own that was opened has the lists that the client
    /// was shown; it is told of those that differ.
    fn compare(&self, link: &Arc<Link>, serial: u64) {
        let Some(shown) = self.shown.lock().get(&serial).cloned() else { return };
        let (link, meta) = (Arc::clone(link), self.modern.clone());
        tokio::spawn(async move {
            for (kind, shown) in Kind::ALL.into_iter().zip(shown) {
                let differs = match shown {
                    Shown::Nothing => false,
                    Shown::Other => link.offers(kind),
                    Shown::Whole(shown) => {
                        let own = list(&link, kind, Purpose::Showing, &meta, COMPARE).await;
                        // Whether one that cannot be read differs is for the client to find out.
                        own.map_or(true, |own| !own.is_the_same_as(&shown, kind))
                    }
                };
                if differs {
                    link.tell_found(kind);
                }
            }
        });
    }

    /// Whether the session has a connection of its own to this upstream that is open.
    pub(crate) fn has_own(&self, upstream: &Upstream) -> bool {
        self.own.lock().get(&upstream.serial()).is_some_and(|link| link.is_open())
    }

    /// Whether the session's own connection to this upstream tells of changes of these lists itself. Where it does not,
    /// what is remembered of them over it is forgotten.
    pub(crate) fn hears_itself(&self, upstream: &Upstream, method: &str) -> bool {
        let own = self.own.lock().get(&upstream.serial()).filter(|link| link.is_open()).cloned();
        let Some(link) = own else { return false };
        let told = Kind::changed(method).iter().all(|kind| link.is_told(*kind));
        if !told {
            link.cache().forget(method);
        }
        told
    }

    /// The session's own connections that are open, the newest last.
    pub(crate) fn open(&self) -> Vec<Arc<Link>> {
        self.own.lock().values().filter(|link| link.is_open()).cloned().collect()
    }

    /// Remembers a log level for connections that are opened later.
    pub(crate) fn set_log_level(&self, params: Option<Raw>) {
        *self.log_level.lock() = params;
    }

    /// The log level that the client has set.
    pub(crate) fn log_level(&self) -> Option<Raw> {
        self.log_level.lock().clone()
    }

    /// Waits until no request is in flight on the session's own connection to an upstream.
    pub(crate) async fn idle(&self, upstream: &Upstream) {
        let slot = self.slots.lock().get(&upstream.serial()).cloned();
        if let Some(slot) = slot {
            let link = slot.lock().await.as_ref().map(|opened| Arc::clone(&opened.link));
            if let Some(link) = link {
                link.idle().await;
            }
        }
    }

    /// Ends the session's own connection to an upstream.
    pub(crate) async fn leave(&self, upstream: &Upstream) {
        let slot = self.slots.lock().remove(&upstream.serial());
        self.subscribed.lock().remove(&upstream.serial());
        self.shown.lock().remove(&upstream.serial());
        if let Some(slot) = slot {
            let opened = slot.lock().await.take();
            self.own.lock().remove(&upstream.serial());
            if let Some(opened) = opened.filter(|opened| opened.own) {
                opened.link.wire().end().await;
            }
        }
    }

    /// Ends those of the session's own connections that nobody has used for as long as their upstream may idle.
    pub(crate) async fn reap(&self) {
        let spent =
            |link: &Arc<Link>| link.idle_limit().is_some_and(|limit| link.activity().unused() >= limit);
        // What somebody has subscribed to is told by nobody else.
        let followed = |serial: &u64| self.subscribed.lock().get(serial).is_some_and(|uris| !uris.is_empty());
        let own: Vec<_> = self.own.lock().iter().map(|(serial, link)| (*serial, Arc::clone(link))).collect();
        let spent: Vec<_> =
            own.into_iter().filter(|(serial, link)| spent(link) && !followed(serial)).collect();
        let ends = spent.iter().map(|(_, link)| async move {
            // The next call opens another.
            if link.is_open() && link.retire_unused() {
                tracing::debug!(upstream = %link.name(), "a session's own connection is ended: nobody uses it");
                link.wire().end().await;
            }
        });
        futures_util::future::join_all(ends).await;
    }

    /// Ends the session's own connections.
    pub(crate) async fn end(&self) {
        self.ended.cancel();
        let slots: Vec<OwnLink> = std::mem::take(&mut *self.slots.lock()).into_values().collect();
        let ends = slots.into_iter().map(|slot| async move {
            let opened = slot.lock().await.take();
            if let Some(opened) = opened.filter(|opened| opened.own) {
                opened.link.wire().end().await;
            }
        });
        futures_util::future::join_all(ends).await;
        self.own.lock().clear();
    }

    /// Tells a new connection what the client has told the others.
    async fn catch_up(&self, link: &Link, serial: u64) {
        if let Some(params) = self.log_level().filter(|_| link.takes(method::SET_LOG_LEVEL)) {
            let limit = std::time::Duration::from_secs(10);
            let call = crate::gateway::upstream::Call::new(method::SET_LOG_LEVEL, Some(params), limit);
            let _ = link.call(call).await.outcome().await;
        }
        let subscribed = self.subscribed.lock().get(&serial).cloned().unwrap_or_default();
        subscribe_to(link, subscribed.into_iter().collect()).await;
    }

    /// Notes a subscription at a connection of the session's own, or its end, for the connection that comes after it.
    pub(crate) fn note_subscription(&self, upstream: &Upstream, uri: &str, begins: bool) {
        let mut subscribed = self.subscribed.lock();
        let uris = subscribed.entry(upstream.serial()).or_default();
        if begins {
            uris.insert(uri.to_owned())
        } else {
            uris.remove(uri)
        };
    }

    /// Whether a subscription at a connection of the session's own to this upstream was noted.
    pub(super) fn has_subscribed(&self, upstream: &Upstream, uri: &str) -> bool {
        self.subscribed.lock().get(&upstream.serial()).is_some_and(|uris| uris.contains(uri))
    }

    /// Passes a notification of the client on to the session's own connections.
    pub(crate) async fn tell(&self, note: &Notification) {
        let (open, message) = (self.open(), Message::Notification(note.clone()));
        // One that does not read must not keep the others waiting.
        futures_util::future::join_all(open.iter().map(|link| link.write(&message))).await;
    }
}
