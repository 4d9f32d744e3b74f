//! What a session has subscribed to, how much that may be, and the tasks that bring updates of it.
//!
//! A client's subscriptions live as long as its session and are saved with it, so that their number and size are limited.

use std::collections::{HashMap, HashSet};

use http::StatusCode;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::gateway::changes::is_within;
use crate::gateway::error::Fault;
use crate::gateway::relay::code;

/// Resources and tasks that one client may follow, in a session or by a stream of changes.
const RESOURCES: usize = 1000;
/// What their URIs may take together, in KiB.
const KIB: usize = 1024;

/// Resources that one client follows.
#[derive(Debug, Default)]
pub(crate) struct Subscribed {
    /// Their URIs.
    uris: HashSet<String>,
    /// What these take, in bytes.
    weight: usize,
}

impl Subscribed {
    /// Adds a resource; refused where there are as many as may be.
    pub(crate) fn add(&mut self, uri: &str) -> Result<(), Fault> {
        if self.uris.contains(uri) {
            return Ok(());
        }
        if self.uris.len() >= RESOURCES || self.weight + uri.len() > KIB << 10 {
            let message = format!(
                "a client may follow {RESOURCES} resources and tasks at once, whose names take {KIB} KiB at most"
            );
            return Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message));
        }
        self.restore(uri);
        Ok(())
    }

    /// Adds a resource that was admitted before.
    fn restore(&mut self, uri: &str) {
        if self.uris.insert(uri.to_owned()) {
            self.weight += uri.len();
        }
    }

    /// Takes a resource out; `false` if it was not there.
    fn remove(&mut self, uri: &str) -> bool {
        let was = self.uris.remove(uri);
        if was {
            self.weight -= uri.len();
        }
        was
    }

    /// Whether a resource is followed, or is part of one that is.
    fn covers(&self, uri: &str) -> bool {
        self.has(uri) || self.uris.iter().any(|followed| is_within(uri, followed))
    }

    /// Whether a resource itself is followed.
    fn has(&self, uri: &str) -> bool {
        self.uris.contains(uri)
    }

    /// The URIs.
    fn uris(&self) -> Vec<String> {
        self.uris.iter().cloned().collect()
    }
}

/// What one session has subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    /// The resources.
    subscribed: Mutex<Subscribed>,
    /// The tasks that bring updates of a modern server's resources, by URI, with the serial number of its upstream.
    streams: Mutex<HashMap<String, (u64, AbortHandle)>>,
}

impl Subscriptions {
    /// Adds a resource; refused where there are as many as may be.
    pub(super) fn add(&self, uri: &str) -> Result<(), Fault> {
        self.subscribed.lock().add(uri)
    }

    /// Adds resources that were admitted before.
    pub(super) fn restore(&self, uris: &[String]) {
        let mut subscribed = self.subscribed.lock();
        for uri in uris {
            subscribed.restore(uri);
        }
    }

    /// Takes a resource out; `false` if it was not there.
    pub(super) fn remove(&self, uri: &str) -> bool {
        self.subscribed.lock().remove(uri)
    }

    /// Whether a resource itself is followed.
    pub(super) fn has(&self, uri: &str) -> bool {
        self.subscribed.lock().has(uri)
    }

    /// Whether a resource is followed, or is part of one that is.
    pub(super) fn covers(&self, uri: &str) -> bool {
        self.subscribed.lock().covers(uri)
    }

    /// The URIs.
    pub(crate) fn uris(&self) -> Vec<String> {
        self.subscribed.lock().uris()
    }

    /// Takes all resources out, and ends the tasks.
    pub(super) fn clear(&self) -> Vec<String> {
        self.end_streams();
        std::mem::take(&mut *self.subscribed.lock()).uris()
    }

    /// Notes the task that brings a resource's updates from the upstream of this serial number.
    pub(super) fn follow(&self, serial: u64, uri: String, task: AbortHandle) {
        if let Some((_, former)) = self.streams.lock().insert(uri, (serial, task)) {
            former.abort();
        }
    }

    /// Whether a task brings a resource's updates from the upstream of this serial number.
    pub(super) fn is_followed(&self, serial: u64, uri: &str) -> bool {
        self.streams.lock().get(uri).is_some_and(|(its, _)| *its == serial)
    }

    /// Ends the task that brings a resource's updates.
    pub(super) fn unfollow(&self, uri: &str) {
        if let Some((_, task)) = self.streams.lock().remove(uri) {
            task.abort();
        }
    }

    /// Ends all of these tasks.
    pub(super) fn end_streams(&self) {
        self.streams.lock().drain().for_each(|(_, (_, task))| task.abort());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_resources_are_followed_as_may_be_and_room_is_made_by_taking_one_out() {
        let mut subscribed = Subscribed::default();
        for number in 0..RESOURCES {
            subscribed.add(&number.to_string()).unwrap();
        }
        subscribed.add("7").expect("it is followed already");
        let refused = subscribed.add("more").unwrap_err();
        assert!(refused.message.contains("1000 resources"), "{refused}");
        assert!(subscribed.remove("7") && !subscribed.remove("7"));
        subscribed.add("more").unwrap();
    }

    #[test]
    fn what_uris_take_together_is_limited_too() {
        let mut subscribed = Subscribed::default();
        let long = "x".repeat(KIB << 9);
        subscribed.add(&long).unwrap();
        subscribed.add(&format!("{long}yz")).unwrap_err();
        subscribed.add(&long[1..]).unwrap();
        let refused = subscribed.add("zz").unwrap_err();
        assert!(refused.message.contains("1024 KiB"), "{refused}");
        subscribed.remove(&long);
        subscribed.add(&format!("{long}y")).unwrap();
    }
}
