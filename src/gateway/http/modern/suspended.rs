//! Requests of modern clients that were put aside because their legacy server has asked the client something.
//!
//! The name of such a request is its `requestState`: 128 random bits, good for one repetition. A client that does not come
//! back in time has given up; the server is then told that the request is cancelled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::subject::Subject;
use crate::gateway::error::Fault;
use crate::gateway::relay::code;

/// What the names begin with, so that they are not taken for a server's own.
const PREFIX: &str = "mcpeg-held-";
/// The state of a request that is simply sent again when the client has done what it was asked for.
pub(super) const AGAIN: &str = "mcpeg-again";

/// The requests that wait for their clients, and who waits until there is none.
pub(crate) struct SuspendedCalls<C> {
    /// By name, with what each asks for.
    calls: Mutex<HashMap<String, (Subject, C)>>,
    /// Tells that one is gone.
    removed: Notify,
}

impl<C> Default for SuspendedCalls<C> {
    fn default() -> Self {
        Self { calls: Mutex::default(), removed: Notify::new() }
    }
}

impl<C: Send + 'static> SuspendedCalls<C> {
    /// Puts a request aside for as long as its client may take, or until it has to give way to others, and names it.
    pub(super) fn put(
        self: &Arc<Self>,
        (subject, call): (Subject, C),
        limit: Duration,
        gives_way: CancellationToken,
    ) -> Result<String, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let name = format!("{PREFIX}{:032x}", u128::from_be_bytes(random));
        self.calls.lock().insert(name.clone(), (subject, call));
        let (suspended, expired) = (Arc::downgrade(self), name.clone());
        tokio::spawn(async move {
            let why = tokio::select! {
                () = tokio::time::sleep(limit) => "its client has not answered the server's questions",
                () = gives_way.cancelled() => "others wait for a connection, and its client has more than they",
            };
            let gone = suspended.upgrade().and_then(|suspended| suspended.remove(&expired));
            if gone.is_some() {
                tracing::debug!(why, "a request is given up");
            }
        });
        Ok(name)
    }

    /// The request that a repetition goes on with; `None` if it is not one of ours.
    pub(super) fn take(&self, subject: &Subject, state: Option<&str>) -> Result<Option<C>, Fault> {
        let Some(state) = state.filter(|state| is_name(Some(state))) else { return Ok(None) };
        let is_same = self.calls.lock().get(state).map(|(its, _)| its == subject);
        match is_same {
            Some(true) => Ok(self.remove(state)),
            Some(false) => {
                let message = "the `requestState` belongs to another request: method, name, arguments and endpoint must be \
                               those of the request that it was given for";
                Err(Fault::downstream(code::INVALID_PARAMS, StatusCode::OK, message))
            }
            // The name may be one of another gateway behind this one.
            None => Ok(None),
        }
    }

    /// Takes a request out.
    fn remove(&self, state: &str) -> Option<C> {
        let (removed, empty) = {
            let mut calls = self.calls.lock();
            (calls.remove(state), calls.is_empty())
        };
        if empty {
            self.removed.notify_waiters();
        }
        removed.map(|(_, call)| call)
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.lock().is_empty()
    }

    /// Waits until none does.
    pub(super) async fn emptied(&self) {
        loop {
            let removed = self.removed.notified();
            if self.is_empty() {
                return;
            }
            removed.await;
        }
    }

    /// Gives all requests up.
    pub(crate) fn clear(&self) {
        // Dropped after the lock.
        let calls = std::mem::take(&mut *self.calls.lock());
        drop(calls);
        self.removed.notify_waiters();
    }
}

/// Whether a state may name a request that was put aside by a gateway.
pub(super) fn is_name(state: Option<&str>) -> bool {
    state.is_some_and(|state| state.starts_with(PREFIX))
}

/// Refuses a repetition that a legacy server cannot have asked for. Answers without a state belong to nothing and are
/// passed over: the server asks again.
pub(super) fn check_first(state: Option<&str>) -> Result<(), Fault> {
    if state.is_none_or(|state| state == AGAIN) {
        return Ok(());
    }
    let message = "the request that `requestState` names does not wait any more: it was answered, took too long, or gave \
                   way to others; send it again without `requestState` and `inputResponses`";
    Err(Fault::downstream(code::INVALID_PARAMS, StatusCode::OK, message))
}
