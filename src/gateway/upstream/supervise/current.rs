//! What an upstream is doing, and its native connection while it has one.
//!
//! Invariant: there is a connection in every state in which calls are answered, except while it sleeps; then the last one
//! is remembered, since what it has listed is still true of a child.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::gateway::status::UpstreamState;
use crate::gateway::upstream::link::connection::Link;

/// A state, and the native connection that goes with it.
pub(crate) type Now = (UpstreamState, Option<Arc<Link>>);

/// The state of an upstream.
#[derive(Debug)]
pub(crate) struct Current {
    /// What it is now.
    now: watch::Sender<Now>,
    /// The last connection of one that sleeps, and since when.
    asleep: Mutex<Option<(Arc<Link>, Instant)>>,
}

impl Current {
    /// An upstream in this state, without a connection.
    pub(crate) fn new(state: UpstreamState) -> Self {
        Self { now: watch::Sender::new((state, None)), asleep: Mutex::default() }
    }

    /// The state.
    pub(crate) fn state(&self) -> UpstreamState {
        self.now.borrow().0
    }

    /// The connection, open or lost.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.now.borrow().1.clone()
    }

    /// The connection, if it is open.
    pub(crate) fn open(&self) -> Option<Arc<Link>> {
        self.link().filter(|link| link.is_open())
    }

    /// Changes both; the connection before is returned.
    pub(crate) fn set(&self, state: UpstreamState, link: Option<Arc<Link>>) -> Option<Arc<Link>> {
        self.now.send_replace((state, link)).1
    }

    /// Both, as they change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Now> {
        self.now.subscribe()
    }

    /// Puts another state in the place of this one, if it is this one.
    pub(crate) fn replace(&self, from: UpstreamState, to: UpstreamState) {
        self.now.send_if_modified(|(state, _)| {
            let is = *state == from;
            if is {
                *state = to;
            }
            is
        });
    }

    /// Remembers the connection for the time of sleep that begins now.
    pub(crate) fn remember(&self) {
        *self.asleep.lock() = self.link().map(|link| (link, Instant::now()));
    }

    /// What was remembered, and when.
    pub(crate) fn remembered(&self) -> Option<(Arc<Link>, Instant)> {
        self.asleep.lock().clone()
    }
}
