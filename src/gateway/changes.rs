//! What sessions and streams of changes are told: which lists and resources have changed, and where.
//!
//! Changes are kept as state, not as a queue: for each list of each upstream, for each endpoint and for each resource the
//! number of its last change. A receiver ([`Announced`]) remembers up to which number it knows, and is told of what
//! has a larger one. So nobody lags, whatever there is beside changes: two changes of a list are one until they are
//! told, and nobody is told of a change that was none. Resources are many, so that of their changes the oldest are
//! given up ([`UPDATES`], [`WEIGHT`]); who has not been told of those is told that any resource of the upstream may have
//! changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::person::{Person, Whose};
use super::relay::{Notification, member_str, method, raw, weight};
use crate::config::UpstreamName;

/// Resources whose last change is remembered, of all upstreams together.
const UPDATES: usize = 1024;
/// What is remembered of them, in bytes.
const WEIGHT: usize = 1 << 20;
/// How long clients of the process before may take to open their streams again.
const RETURN: Duration = Duration::from_secs(60);
/// What is told of one resource beside its address is passed on up to so many bytes.
const EXTRAS: usize = 4 << 10;

/// The notifications that say that lists are to be read again.
pub(crate) const LISTS: [&str; 3] =
    [method::TOOLS_CHANGED, method::PROMPTS_CHANGED, method::RESOURCES_CHANGED];

/// The notification that says that a resource has changed.
pub(crate) const UPDATED: &str = method::RESOURCE_UPDATED;

/// Something that one who listens is told.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A list of an upstream is to be read again; one of [`LISTS`].
    List(UpstreamName, &'static str),
    /// A reload has put other upstreams behind this endpoint: all its lists are to be read again.
    Endpoint(Endpoint),
    /// A resource of an upstream has changed.
    Updated(UpstreamName, Notification),
    /// Any resource of an upstream may have changed.
    AnyUpdated(UpstreamName),
    /// An upstream has come up; of what it has nobody need be told.
    Up(UpstreamName),
}

/// The side that tells, shared by all upstreams; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// What there is to know.
    shared: Arc<Shared>,
    /// Who is told, if it is not everybody.
    whose: Option<Arc<Person>>,
}

/// An upstream, and for whom it is, if it is not for everybody.
type Key = (UpstreamName, Option<Arc<Person>>);

/// The side of one session or stream.
#[derive(Debug)]
pub(crate) struct Announced {
    /// What there is to know.
    changes: Changes,
    /// Becomes larger with each change.
    last: watch::Receiver<u64>,
    /// The number up to which it was told.
    known: u64,
    /// Who is told.
    whose: Whose,
}

/// What both sides share.
#[derive(Debug, Default)]
struct Shared {
    /// What has changed last, and when.
    state: Mutex<State>,
    /// The number of the last change.
    last: watch::Sender<u64>,
    /// When the process took the place of another one, if it did.
    succeeded: OnceLock<Instant>,
}

/// The numbers of the last changes.
#[derive(Debug, Default)]
struct State {
    /// The last number.
    last: u64,
    /// Of the lists of each upstream, in the order of [`LISTS`].
    lists: HashMap<Key, [u64; 3]>,
    /// Of endpoints.
    endpoints: HashMap<Endpoint, u64>,
    /// Of resources.
    resources: HashMap<(Key, String), u64>,
    /// The resources by number, with what was told.
    updates: BTreeMap<u64, (Key, String, Notification)>,
    /// What these take, in bytes.
    weight: usize,
    /// Of upstreams any of whose resources may have changed.
    any: HashMap<Key, u64>,
    /// Of upstreams that have come up.
    up: HashMap<Key, u64>,
}

impl Changes {
    /// One who is told of changes from now on.
    pub(crate) fn subscribe(&self) -> Announced {
        let last = self.shared.last.subscribe();
        let known = self.shared.state.lock().last;
        Announced { changes: self.clone(), known, last, whose: Whose::of(None) }
    }

    /// One who is told of all changes that there ever were in this process: it comes from the process before.
    pub(crate) fn subscribe_from_start(&self) -> Announced {
        Announced { known: 0, ..self.subscribe() }
    }

    /// One who may come from the process before, if there was one not long ago: its stream has ended with that.
    pub(crate) fn subscribe_again(&self) -> Announced {
        let came = self.shared.succeeded.get().is_some_and(|since| since.elapsed() < RETURN);
        if came { self.subscribe_from_start() } else { self.subscribe() }
    }

    /// Notes that the process takes the place of another one, whose clients come back now.
    pub(crate) fn succeeds(&self) {
        let _ = self.shared.succeeded.set(Instant::now());
    }

    /// The side that tells one client only of whom upstreams are shown this.
    pub(crate) fn to(&self, person: &Arc<Person>) -> Self {
        Self { shared: Arc::clone(&self.shared), whose: Some(Arc::clone(person)) }
    }

    /// Whether one client only is told.
    pub(crate) const fn is_for_one(&self) -> bool {
        self.whose.is_some()
    }

    /// Forgets what one client only is told of an upstream.
    pub(crate) fn forget(&self, name: &UpstreamName) {
        let key = self.key(name);
        if !self.is_for_one() {
            return;
        }
        let mut state = self.shared.state.lock();
        state.lists.remove(&key);
        state.any.remove(&key);
        state.up.remove(&key);
        let gone: Vec<u64> =
            state.updates.iter().filter(|(_, (of, ..))| *of == key).map(|(number, _)| *number).collect();
        for number in gone {
            state.give_up(number);
        }
    }

    /// What changes of an upstream are kept by.
    fn key(&self, name: &UpstreamName) -> Key {
        (name.clone(), self.whose.clone())
    }

    /// Whether anybody is told.
    pub(crate) fn has_audience(&self) -> bool {
        self.shared.last.receiver_count() > 0
    }

    /// A list of an upstream has changed; other methods than [`LISTS`] are ignored.
    pub(crate) fn list(&self, name: &UpstreamName, method: &str) {
        if let Some(place) = LISTS.iter().position(|list| *list == method) {
            self.change(|state, number| state.lists.entry(self.key(name)).or_default()[place] = number);
        }
    }

    /// An upstream has come up. Where clients were shown other lists, that is told apart.
    pub(crate) fn up(&self, name: &UpstreamName) {
        self.change(|state, number| {
            state.up.insert(self.key(name), number);
        });
    }

    /// A reload has put other upstreams behind these endpoints.
    pub(crate) fn reloaded(&self, endpoints: impl IntoIterator<Item = Endpoint>) {
        self.change(|state, number| {
            state.endpoints.extend(endpoints.into_iter().map(|endpoint| (endpoint, number)));
        });
    }

    /// A resource of an upstream has changed.
    pub(crate) fn updated(&self, name: &UpstreamName, note: Notification) {
        let Some(uri) = note.params.as_deref().and_then(|params| member_str(params, "uri")) else { return };
        let uri = uri.into_owned();
        let extra = note.params.as_deref().map_or(0, weight).saturating_sub(uri.len());
        let note = if extra > EXTRAS { updated(&uri) } else { note };
        self.change(|state, number| state.update(number, (self.key(name), uri, note)));
    }

    /// Any resource of an upstream may have changed: what it told was lost.
    pub(crate) fn any_updated(&self, name: &UpstreamName) {
        self.change(|state, number| {
            state.any.insert(self.key(name), number);
        });
    }

    /// Takes what an upstream tells of its lists and resources; ignores the rest.
    pub(crate) fn tell(&self, name: &UpstreamName, note: Notification) {
        if note.method == UPDATED { self.updated(name, note) } else { self.list(name, &note.method) }
    }

    /// Notes a change under the next number and wakes who is to be told.
    fn change(&self, note: impl FnOnce(&mut State, u64)) {
        let mut state = self.shared.state.lock();
        state.last += 1;
        let number = state.last;
        note(&mut state, number);
        self.shared.last.send_replace(number);
    }
}

impl State {
    /// Notes a change of a resource, and gives up the oldest where there are too many.
    fn update(&mut self, number: u64, (key, uri, note): (Key, String, Notification)) {
        if let Some(before) = self.resources.insert((key.clone(), uri.clone()), number)
            && let Some((_, uri, note)) = self.updates.remove(&before)
        {
            self.weight -= weigh(&uri, &note);
        }
        self.weight += weigh(&uri, &note);
        self.updates.insert(number, (key, uri, note));
        while self.updates.len() > UPDATES || self.weight > WEIGHT {
            let Some((number, _)) = self.updates.first_key_value() else { return };
            let number = *number;
            let Some(key) = self.give_up(number) else { return };
            self.any.insert(key, number);
        }
    }

    /// Gives up what is remembered of a resource; whose it is.
    fn give_up(&mut self, number: u64) -> Option<Key> {
        let (key, uri, note) = self.updates.remove(&number)?;
        self.weight -= weigh(&uri, &note);
        self.resources.remove(&(key.clone(), uri));
        Some(key)
    }

    /// What has changed after this number, as one client is told.
    fn after(&self, known: u64, whose: Option<&Arc<Person>>) -> Vec<Change> {
        let concerns = |(_, of): &Key| of.is_none() || of.as_ref() == whose;
        let lists = self.lists.iter().filter(|(key, _)| concerns(key)).flat_map(|((name, _), numbers)| {
            let new = LISTS.iter().zip(numbers).filter(move |(_, number)| **number > known);
            new.map(|(list, _)| Change::List(name.clone(), list))
        });
        let endpoints = self.endpoints.iter().filter(|(_, number)| **number > known);
        let endpoints = endpoints.map(|(endpoint, _)| Change::Endpoint(endpoint.clone()));
        let new = |(key, number): &(&Key, &u64)| **number > known && concerns(key);
        let any = self.any.iter().filter(new);
        let any = any.map(|((name, _), _)| Change::AnyUpdated(name.clone()));
        let up = self.up.iter().filter(new);
        let up = up.map(|((name, _), _)| Change::Up(name.clone()));
        let updates = self.updates.range(known + 1..).filter(|(_, (key, ..))| concerns(key));
        let updates = updates.map(|(_, ((name, _), _, note))| Change::Updated(name.clone(), note.clone()));
        endpoints.chain(lists).chain(up).chain(any).chain(updates).collect()
    }
}

/// What is remembered of a change of a resource, in bytes.
fn weigh(uri: &str, note: &Notification) -> usize {
    uri.len() + note.params.as_deref().map_or(0, weight)
}

impl Announced {
    /// The same for one who uses this.
    pub(crate) fn of(self, whose: &Whose) -> Self {
        Self { whose: whose.clone(), ..self }
    }

    /// Waits until something has changed, and returns all that has since it was told last. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Vec<Change> {
        let known = self.known;
        // It cannot be closed: this side holds the other one, too.
        let _ = self.last.wait_for(|last| *last > known).await;
        let state = self.changes.shared.state.lock();
        self.known = state.last;
        state.after(known, self.whose.person())
    }
}

/// Whether a notification tells of a change of lists or of a resource.
pub(crate) fn is_change(method: &str) -> bool {
    method == UPDATED || LISTS.contains(&method)
}

/// Whether a resource is another one, or part of it: updates may be told of either (MCP 2025-11-25
/// `ResourceUpdatedNotification`).
pub(crate) fn is_within(uri: &str, whole: &str) -> bool {
    let Some(rest) = uri.strip_prefix(whole) else { return false };
    rest.is_empty() || whole.ends_with('/') || rest.starts_with(['/', '?', '#'])
}

/// The notification of a changed list.
pub(crate) fn changed(method: &str) -> Notification {
    Notification { method: method.into(), params: None }
}

/// The notification of a resource that has changed.
pub(crate) fn updated(uri: &str) -> Notification {
    Notification { method: UPDATED.into(), params: Some(raw(&json!({ "uri": uri }))) }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::gateway::client::ClientName;

    /// An upstream's name.
    fn name(name: &str) -> UpstreamName {
        UpstreamName::new(name).unwrap()
    }

    #[test]
    fn resource_is_within_another_one_where_its_path_goes_on() {
        for part in ["test://a", "test://a/b", "test://a?b", "test://a#b"] {
            assert!(is_within(part, "test://a"), "{part}");
        }
        assert!(is_within("test://a/b", "test://a/"));
        for other in ["test://ab", "test://", "other://test://a"] {
            assert!(!is_within(other, "test://a"), "{other}");
        }
    }

    /// What one who listens is told now, without waiting, as text.
    fn told(announced: &mut Announced) -> Vec<String> {
        let changes = announced.next().now_or_never().unwrap_or_default();
        changes.iter().map(|change| format!("{change:?}")).collect()
    }

    #[test]
    fn changes_are_one_until_they_are_told_and_nobody_is_told_of_more() {
        let changes = Changes::default();
        let (mut quick, mut slow) = (changes.subscribe(), changes.subscribe());
        for _ in 0..5000 {
            changes.list(&name("a"), LISTS[0]);
            assert_eq!(told(&mut quick).len(), 1);
        }
        changes.list(&name("a"), "notifications/message");
        assert_eq!(told(&mut quick).len(), 0);
        let told = told(&mut slow);
        assert!(told.len() == 1 && told[0].contains("tools"), "{told:?}");
        assert_eq!(changes.subscribe().next().now_or_never().map(|told| told.len()), None);
    }

    #[test]
    fn what_is_told_to_one_client_is_told_to_no_other() {
        let person = |name: &str| Person::told(Some(ClientName::new(name)), &[]);
        let (ann, ben) = (person("ann"), person("ben"));
        let changes = Changes::default();
        let announced = |person: &Option<Arc<Person>>| changes.subscribe().of(&Whose::of(person.clone()));
        let mut all = [&ann, &ben, &None].map(announced);
        let own = changes.to(ann.as_ref().unwrap());
        own.list(&name("a"), LISTS[0]);
        own.updated(&name("a"), updated("test://a"));
        own.any_updated(&name("a"));
        own.up(&name("a"));
        assert_eq!(all.each_mut().map(|one| told(one).len()), [4, 0, 0]);
        changes.list(&name("a"), LISTS[0]);
        changes.updated(&name("a"), updated("test://a"));
        assert_eq!(all.each_mut().map(|one| told(one).len()), [2, 2, 2]);
        own.forget(&name("a"));
        changes.forget(&name("a"));
        let state = changes.shared.state.lock();
        assert_eq!((state.lists.len(), state.any.len(), state.up.len()), (1, 0, 0));
        assert_eq!((state.resources.len(), state.updates.len()), (1, 1));
    }

    #[test]
    fn updates_are_one_for_each_resource_and_many_more_count_as_any() {
        let changes = Changes::default();
        let mut announced = changes.subscribe();
        for number in 0..3000 {
            changes.updated(&name("a"), updated(&format!("test://{}", number % 3)));
        }
        assert_eq!(told(&mut announced).len(), 3);
        for number in 0..10 * UPDATES {
            changes.updated(&name("a"), updated(&format!("test://{number}")));
        }
        changes.updated(&name("b"), updated("test://b"));
        let told = told(&mut announced);
        let any = told.iter().filter(|change| change.starts_with("AnyUpdated")).count();
        assert_eq!((told.len(), any), (UPDATES + 1, 1));
    }

    #[test]
    fn what_is_remembered_of_resources_is_limited_in_bytes_too() {
        let changes = Changes::default();
        let mut announced = changes.subscribe();
        let long = "x".repeat(WEIGHT / 8);
        for number in 0..64 {
            changes.updated(&name("a"), updated(&format!("test://{number}/{long}")));
        }
        let state = changes.shared.state.lock();
        assert!(state.weight <= WEIGHT && state.resources.len() == state.updates.len());
        drop(state);
        assert!(told(&mut announced)[0].starts_with("AnyUpdated"));
        let huge = raw(&json!({ "uri": "test://huge", "_meta": { "x": long } }));
        changes.updated(&name("a"), Notification { method: UPDATED.into(), params: Some(huge) });
        let told = told(&mut announced);
        assert!(told.len() == 1 && told[0].len() < EXTRAS, "{told:?}");
    }
}
