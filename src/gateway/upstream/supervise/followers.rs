//! Who follows resources of an upstream, so that it must not sleep: it would tell of no update.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::life::Life;

/// The followers of one upstream.
#[derive(Debug)]
pub(crate) struct Followers {
    /// Who has subscribed to which resource over the shared legacy connection.
    subscribers: Mutex<HashMap<String, HashSet<String>>>,
    /// How many follow resources over connections of their own, or over the shared one.
    count: Arc<AtomicUsize>,
    /// Tells whether another process has the child, and followers of its own.
    life: Life,
}

/// Counts one who follows resources until dropped.
#[derive(Debug)]
pub(crate) struct Follower(Arc<AtomicUsize>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Followers {
    /// None yet.
    pub(crate) fn new(life: Life) -> Self {
        Self { subscribers: Mutex::default(), count: Arc::default(), life }
    }

    /// One more, until the guard is dropped.
    pub(crate) fn begin(&self) -> Follower {
        self.count.fetch_add(1, Ordering::Relaxed);
        Follower(Arc::clone(&self.count))
    }

    /// Notes that `who` has subscribed to a resource over the shared connection.
    pub(crate) fn subscribe(&self, uri: &str, who: &str) {
        self.subscribers.lock().entry(uri.to_owned()).or_default().insert(who.to_owned());
    }

    /// Notes that `who` has not; `true` if others still have, so that the server must not be told: also those of the
    /// process that has the child.
    pub(crate) fn unsubscribe(&self, uri: &str, who: &str) -> bool {
        let mut subscribers = self.subscribers.lock();
        let Some(others) = subscribers.get_mut(uri) else { return self.life.left().is_cancelled() };
        others.remove(who);
        let any = !others.is_empty();
        if !any {
            subscribers.remove(uri);
        }
        any || self.life.left().is_cancelled()
    }

    /// Whether `who` has subscribed to a resource over the shared connection.
    pub(crate) fn has(&self, uri: &str, who: &str) -> bool {
        self.subscribers.lock().get(uri).is_some_and(|subscribers| subscribers.contains(who))
    }

    /// The resources that anybody has subscribed to over the shared connection.
    pub(crate) fn subscribed(&self) -> Vec<String> {
        self.subscribers.lock().keys().cloned().collect()
    }

    /// Whether there is anybody.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0 || !self.subscribers.lock().is_empty()
    }
}
