//! Requests of modern clients that were put aside because their legacy server has asked the client something.
//!
//! The name of such a request is its `requestState`: 128 random bits, good for one repetition. Whoever does not come
//! back in time has given up; the server is then told that the request is cancelled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::relayed::Relayed;
use crate::gateway::error::Fault;
use crate::gateway::relay::{RequestMeta, code, method};

/// What the names begin with, so that they are not taken for a server's own.
const PREFIX: &str = "mcpeg-held-";
/// The state of a request that is simply sent again when the client has done what it was asked for.
pub(super) const AGAIN: &str = "mcpeg-again";
/// Methods that may be answered with questions (MCP 2026-07-28 §Multi Round-Trip Requests).
const ASKING: [&str; 3] = [method::TOOLS_CALL, method::PROMPTS_GET, method::RESOURCES_READ];

/// What a request asks for; a repetition must ask for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// Its method.
    pub(super) method: String,
    /// What it names, as the client knows it.
    name: Option<String>,
    /// The endpoint that it was sent to.
    endpoint: crate::gateway::endpoint::Endpoint,
}

/// The requests that wait for their clients, and who waits until there is none.
#[derive(Default)]
pub(crate) struct Held(Mutex<HashMap<String, Relayed>>, Notify);

impl Subject {
    /// Reads it from a request.
    pub(super) fn of(
        method: &str,
        meta: &RequestMeta<'_>,
        endpoint: crate::gateway::endpoint::Endpoint,
    ) -> Self {
        let name = if method == method::RESOURCES_READ { "uri" } else { "name" };
        Self { method: method.to_owned(), name: meta.param(name).map(Into::into), endpoint }
    }

    /// The endpoint that it was sent to.
    pub(super) const fn endpoint(&self) -> &crate::gateway::endpoint::Endpoint {
        &self.endpoint
    }

    /// Whether it names anything.
    pub(super) const fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// Whether it may be answered with questions.
    pub(super) fn may_ask(&self) -> bool {
        ASKING.contains(&self.method.as_str())
    }
}

impl Held {
    /// Puts a request aside for as long as its client may take, or until it has to give way to others, and names it.
    pub(super) fn put(
        self: &Arc<Self>,
        relayed: Relayed,
        limit: Duration,
        gives_way: CancellationToken,
    ) -> Result<String, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let name = format!("{PREFIX}{:032x}", u128::from_be_bytes(random));
        self.requests().insert(name.clone(), relayed);
        let (held, expired) = (Arc::downgrade(self), name.clone());
        tokio::spawn(async move {
            let why = tokio::select! {
                () = tokio::time::sleep(limit) => "its client has not answered the server's questions",
                () = gives_way.cancelled() => "others wait for a connection, and its client has more than they",
            };
            let gone = held.upgrade().and_then(|held| held.remove(&expired));
            if gone.is_some() {
                tracing::debug!(why, "a request is given up");
            }
        });
        Ok(name)
    }

    /// The request that a repetition goes on with; `None` if it is not one of ours.
    pub(super) fn take(&self, subject: &Subject, state: Option<&str>) -> Result<Option<Relayed>, Fault> {
        let Some(state) = state.filter(|state| is_name(Some(state))) else { return Ok(None) };
        let is_same = self.requests().get(state).map(|relayed| relayed.subject == *subject);
        match is_same {
            Some(true) => Ok(self.remove(state)),
            Some(false) => {
                let message = "the `requestState` belongs to another request";
                Err(Fault::downstream(code::INVALID_PARAMS, StatusCode::OK, message))
            }
            // The name may be one of another gateway behind this one.
            None => Ok(None),
        }
    }

    /// Takes a request out.
    fn remove(&self, state: &str) -> Option<Relayed> {
        let (removed, empty) = {
            let mut requests = self.requests();
            (requests.remove(state), requests.is_empty())
        };
        if empty {
            self.1.notify_waiters();
        }
        removed
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.requests().is_empty()
    }

    /// Waits until none does.
    pub(super) async fn emptied(&self) {
        loop {
            let removed = self.1.notified();
            if self.is_empty() {
                return;
            }
            removed.await;
        }
    }

    /// Gives all requests up.
    pub(crate) fn clear(&self) {
        // Dropped after the lock.
        let requests = std::mem::take(&mut *self.requests());
        drop(requests);
        self.1.notify_waiters();
    }

    /// The requests by name.
    fn requests(&self) -> MutexGuard<'_, HashMap<String, Relayed>> {
        self.0.lock()
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
