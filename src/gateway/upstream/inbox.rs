//! Where a connection's messages go that belong to no request.
//!
//! What tells of a change has a way of its own, so that nothing else can push it aside. A connection that all share
//! has nobody but those who are told of changes ([`Changes`]): the rest of what it says, such as log messages, is for nobody
//! and is dropped at once. The only user of a connection gets everything in its order; where it does not keep up, changes
//! are gathered beside the queue, one for each list and resource, and the rest is dropped.
//!
//! Invariant: what is remembered of a list is forgotten before anything that the server says later is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use fieldwork::Fieldwork;
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use crate::config::{Filters, UpstreamName};
use crate::gateway::changes::{Changes, LISTS, UPDATED, is_change};
use crate::gateway::relay::{Id, Notification, Request, member_str, weight};
use crate::gateway::upstream::call::lasting::LastingTokens;
use crate::gateway::upstream::lists::cache::ListCache;

/// Messages that may wait for a connection's user.
const INBOX: usize = 1024;
/// Resources whose changes may wait beside.
const UPDATES: usize = 1024;
/// What is told of these, in bytes.
const WEIGHT: usize = 1 << 20;

/// The upstreams of which it was told that they answer loosely, and how.
static LOOSE: Mutex<BTreeSet<(UpstreamName, Loose)>> = Mutex::new(BTreeSet::new());

/// How a server departs from the protocol in a way that leaves no doubt what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loose {
    /// It answers with both a result and an error, one of which is `null`.
    Null,
    /// It spells our identifiers otherwise: `"7"` or `7.0` for `7`.
    Identifier,
}

/// A message that belongs to no request.
#[derive(Clone, Debug)]
pub(crate) enum Inbound {
    /// Something changed, or is told.
    Notification(Notification),
    /// The server asks its client.
    Request(Request),
    /// Any resource may have changed: what was told of them was lost.
    AnyUpdated,
}

/// Where a connection that is to be opened leaves such messages.
#[derive(Clone, Debug)]
pub(crate) enum Outlet {
    /// All share it.
    Everybody(Everybody),
    /// Somebody has it alone.
    Owner(Owner),
}

/// Those who are told of changes of one upstream.
#[derive(Clone, Debug)]
pub(crate) struct Everybody {
    /// Whom it is told.
    changes: Changes,
    /// What is known over all connections that are shared: a change that one tells makes all of it old.
    siblings: Arc<Mutex<Vec<Weak<ListCache>>>>,
}

/// The way to the only user of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// For what it keeps up with.
    sender: mpsc::Sender<(UpstreamName, Inbound)>,
    /// For changes beyond.
    missed: Arc<Missed>,
}

/// The user's side of one or more connections.
#[derive(Debug)]
pub(crate) struct InboxReceiver {
    /// What it keeps up with.
    receiver: mpsc::Receiver<(UpstreamName, Inbound)>,
    /// Changes beyond.
    missed: Arc<Missed>,
}

/// Changes that have not fitted into the queue.
#[derive(Debug, Default)]
struct Missed {
    /// What they are.
    state: Mutex<Gathered>,
    /// Tells of them.
    arrived: Notify,
}

/// Changes, one for each list and resource.
#[derive(Debug, Default)]
struct Gathered {
    /// The last of each list, in the order of [`LISTS`].
    lists: [Option<(UpstreamName, Notification)>; 3],
    /// The last of each resource.
    updates: BTreeMap<String, (UpstreamName, Notification)>,
    /// What these take, in bytes.
    weight: usize,
    /// Whose updates were too many.
    any: Option<UpstreamName>,
}

/// The way of one connection.
#[derive(Clone, Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Inbox {
    /// Whose messages these are.
    name: UpstreamName,
    /// What is known over the connection.
    #[field(get(deref = false))]
    cache: Arc<ListCache>,
    /// Where its messages go.
    #[field(get)]
    outlet: Outlet,
    /// The progress tokens of tasks, of which may be told here.
    #[field(get(deref = false))]
    lasting: Arc<LastingTokens>,
    /// What of the upstream is shown; of other resources nobody is told.
    filters: Arc<Filters>,
}

/// The two sides of one user.
pub(crate) fn inbox() -> (Outlet, InboxReceiver) {
    let (sender, receiver) = mpsc::channel(INBOX);
    let missed = Arc::<Missed>::default();
    let owner = Owner { sender, missed: Arc::clone(&missed) };
    (Outlet::Owner(owner), InboxReceiver { receiver, missed })
}

impl Outlet {
    /// The way to all who are told of changes of one upstream.
    pub(crate) fn everybody(changes: Changes) -> Self {
        Self::Everybody(Everybody { changes, siblings: Arc::default() })
    }

    /// Whether there is anybody.
    pub(crate) fn has_audience(&self) -> bool {
        match self {
            Self::Everybody(Everybody { changes, .. }) => changes.has_audience(),
            Self::Owner(owner) => !owner.sender.is_closed(),
        }
    }

    /// Whether all share it.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Everybody(_))
    }

    /// Tells of a change. Never waits.
    pub(crate) fn tell(&self, name: &UpstreamName, note: Notification) {
        match self {
            Self::Everybody(everybody) => {
                everybody
                    .siblings
                    .lock()
                    .iter()
                    .filter_map(Weak::upgrade)
                    .for_each(|known| known.forget(&note.method));
                everybody.changes.tell(name, note);
            }
            Self::Owner(owner) => owner.put(name, Inbound::Notification(note)),
        }
    }
}

impl Owner {
    /// Leaves a message; never waits.
    fn put(&self, name: &UpstreamName, message: Inbound) {
        match self.sender.try_send((name.clone(), message)) {
            Err(TrySendError::Full((name, message))) => {
                if !self.missed.gather(&name, message) {
                    tracing::debug!(upstream = %name, "a message is dropped: whom it is for does not keep up");
                }
            }
            // Its user is gone.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
        }
    }
}

/// Whether a notification may be told: it is not an update of a resource that is not shown.
pub(crate) fn may_hear(filters: &Filters, note: &Notification) -> bool {
    if note.method != UPDATED || filters.resources.everything() {
        return true;
    }
    let uri = note.params.as_deref().and_then(|params| member_str(params, "uri"));
    uri.is_some_and(|uri| filters.resources.admits_address(&uri))
}

impl Inbox {
    /// The way of a connection to this upstream.
    pub(crate) fn new(name: UpstreamName, outlet: Outlet, filters: Arc<Filters>) -> Self {
        let cache = Arc::<ListCache>::default();
        if let Outlet::Everybody(everybody) = &outlet {
            let mut siblings = everybody.siblings.lock();
            siblings.retain(|known| known.strong_count() > 0);
            siblings.push(Arc::downgrade(&cache));
        }
        Self { name, cache, outlet, lasting: Arc::default(), filters }
    }

    /// Tells, once for each upstream and way, that it answers loosely.
    pub(crate) fn tell_loose(&self, how: Loose) {
        if !LOOSE.lock().insert((self.name.clone(), how)) {
            return;
        }
        match how {
            Loose::Null => tracing::warn!(
                upstream = %self.name,
                "the server answers with both `result` and `error`, one of which is null; that one is left out"
            ),
            Loose::Identifier => tracing::warn!(
                upstream = %self.name,
                "the server answers under identifiers that are spelled otherwise than ours; they are taken for those"
            ),
        }
    }

    /// The request of ours that an answer names. That it is spelled otherwise is told.
    pub(crate) fn answered(&self, id: Option<&Id>) -> Option<u64> {
        let number = id?.as_number()?;
        if id.is_some_and(|id| !id.is_plain()) {
            self.tell_loose(Loose::Identifier);
        }
        Some(number)
    }

    /// Leaves a message; never waits.
    pub(crate) fn put(&self, message: Inbound) {
        let message = match message {
            Inbound::Notification(note) => match self.lasting.bring(note) {
                Ok(()) => return,
                Err(note) => Inbound::Notification(note),
            },
            message => message,
        };
        match (&self.outlet, message) {
            (_, Inbound::Notification(note)) if !may_hear(&self.filters, &note) => {}
            (_, Inbound::Notification(note)) if is_change(&note.method) => self.tell(note),
            (Outlet::Everybody(everybody), Inbound::AnyUpdated) => everybody.changes.any_updated(&self.name),
            (Outlet::Everybody(_), Inbound::Notification(_) | Inbound::Request(_)) => {}
            (Outlet::Owner(owner), message) => owner.put(&self.name, message),
        }
    }

    /// Tells of a change that the server has told.
    pub(crate) fn tell(&self, note: Notification) {
        self.cache.forget(&note.method);
        self.outlet.tell(&self.name, note);
    }

    /// Tells of a change that the server has not told but that was found. What was just read here holds.
    pub(crate) fn tell_found(&self, note: Notification) {
        match &self.outlet {
            Outlet::Everybody(everybody) => {
                let others = everybody.siblings.lock().iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
                let others = others.iter().filter(|known| !Arc::ptr_eq(known, &self.cache));
                others.for_each(|known| known.forget(&note.method));
                everybody.changes.tell(&self.name, note);
            }
            Outlet::Owner(owner) => owner.put(&self.name, Inbound::Notification(note)),
        }
    }
}

impl InboxReceiver {
    /// The next message; `None` when there will be none. Safe to cancel.
    pub(crate) async fn recv(&mut self) -> Option<(UpstreamName, Inbound)> {
        loop {
            if let Ok(message) = self.try_recv() {
                return Some(message);
            }
            tokio::select! {
                biased;
                message = self.receiver.recv() => return message.or_else(|| self.missed.take()),
                () = self.missed.arrived.notified() => {}
            }
        }
    }

    /// The next message, if one waits.
    pub(crate) fn try_recv(&mut self) -> Result<(UpstreamName, Inbound), mpsc::error::TryRecvError> {
        self.receiver.try_recv().or_else(|error| self.missed.take().ok_or(error))
    }
}

impl Missed {
    /// Notes a change; `false` if it is none.
    fn gather(&self, name: &UpstreamName, message: Inbound) -> bool {
        let mut state = self.state.lock();
        match message {
            Inbound::AnyUpdated => state.any = Some(name.clone()),
            Inbound::Notification(note) if note.method == UPDATED => state.update(name, note),
            Inbound::Notification(note) => {
                let Some(place) = LISTS.iter().position(|list| *note.method == **list) else { return false };
                state.lists[place] = Some((name.clone(), note));
            }
            Inbound::Request(_) => return false,
        }
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// The next change.
    fn take(&self) -> Option<(UpstreamName, Inbound)> {
        let mut state = self.state.lock();
        let list = state.lists.iter_mut().find_map(Option::take);
        let Some((name, note)) = list.or_else(|| state.pop_update()) else {
            return Some((state.any.take()?, Inbound::AnyUpdated));
        };
        Some((name, Inbound::Notification(note)))
    }
}

impl Gathered {
    /// Notes a change of a resource; of too many all that is known is that there were some.
    fn update(&mut self, name: &UpstreamName, note: Notification) {
        let Some(params) = note.params.as_deref() else { return };
        let Some(uri) = member_str(params, "uri").map(std::borrow::Cow::into_owned) else { return };
        let size = uri.len() + weight(params);
        if let Some((_, before)) = self.updates.remove(&uri) {
            self.weight -= uri.len() + before.params.as_deref().map_or(0, weight);
        }
        if self.updates.len() >= UPDATES || self.weight + size > WEIGHT {
            self.any = Some(name.clone());
            return;
        }
        self.weight += size;
        self.updates.insert(uri, (name.clone(), note));
    }

    /// The next change of a resource.
    fn pop_update(&mut self) -> Option<(UpstreamName, Notification)> {
        let (uri, (name, note)) = self.updates.pop_first()?;
        self.weight -= uri.len() + note.params.as_deref().map_or(0, weight);
        Some((name, note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::changes::{changed, updated};

    /// A way to one user, and its side.
    fn owned() -> (Inbox, InboxReceiver) {
        let (outlet, receiver) = inbox();
        (Inbox::new(UpstreamName::new("a").unwrap(), outlet, Arc::default()), receiver)
    }

    /// All that waits, by method or kind.
    fn drain(receiver: &mut InboxReceiver) -> Vec<String> {
        let messages = std::iter::from_fn(|| receiver.try_recv().ok());
        let words = messages.map(|(_, message)| match message {
            Inbound::Notification(note) => note.method.to_string(),
            Inbound::Request(request) => request.method.to_string(),
            Inbound::AnyUpdated => "any".to_owned(),
        });
        words.collect()
    }

    #[test]
    fn a_user_that_does_not_keep_up_misses_messages_but_no_change() {
        let (inbox, mut receiver) = owned();
        inbox.put(Inbound::Notification(changed(LISTS[1])));
        for _ in 0..2 * INBOX {
            inbox.put(Inbound::Notification(changed("notifications/message")));
            inbox.put(Inbound::Notification(changed(LISTS[0])));
        }
        for number in 0..2 * UPDATES {
            inbox.put(Inbound::Notification(updated(&format!("test://{number}"))));
        }
        let told = drain(&mut receiver);
        assert_eq!(told[0], LISTS[1], "the order is kept");
        let rest = &told[INBOX..];
        assert_eq!((rest[0].as_str(), rest.last().map(String::as_str)), (LISTS[0], Some("any")));
        assert_eq!(rest.len(), 1 + UPDATES + 1);
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn what_all_share_tells_of_changes_only() {
        let changes = Changes::default();
        let mut announced = changes.subscribe();
        let inbox = Inbox::new(UpstreamName::new("a").unwrap(), Outlet::everybody(changes), Arc::default());
        for _ in 0..5000 {
            inbox.put(Inbound::Notification(changed("notifications/message")));
        }
        inbox.put(Inbound::Notification(changed(LISTS[2])));
        let told = futures_util::FutureExt::now_or_never(announced.next()).unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
    }
}
