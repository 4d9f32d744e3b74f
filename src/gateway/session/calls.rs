//! The requests of one client that are in flight, so that it can cancel them.

use std::collections::HashMap;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::gateway::error::Fault;
use crate::gateway::relay::{Id, Raw, code, member};

/// Requests that one session may have in flight.
const CALLS: usize = 1024;

/// The client's requests in flight, and how to call each off; `None` for one that was called off and has not ended.
#[derive(Debug, Default)]
pub(crate) struct CallsInFlight(Mutex<HashMap<Id, Option<oneshot::Sender<Option<Raw>>>>>);

impl CallsInFlight {
    /// Registers a request; the receiver fires when the client cancels it. Refused for an identifier that is in use, and
    /// where there are too many.
    pub(super) fn begin(&self, id: &Id) -> Result<oneshot::Receiver<Option<Raw>>, Fault> {
        let (cancel, cancelled) = oneshot::channel();
        let refused = |status, message| Err(Fault::downstream(code::INVALID_REQUEST, status, message));
        let mut calls = self.0.lock();
        if calls.contains_key(id) {
            let message = format!("a request with the id {id} is already in flight in this session");
            return refused(StatusCode::BAD_REQUEST, message);
        }
        if calls.len() >= CALLS {
            let message = format!("this session has {CALLS} requests in flight; wait for some of them");
            return refused(StatusCode::TOO_MANY_REQUESTS, message);
        }
        calls.insert(id.clone(), Some(cancel));
        Ok(cancelled)
    }

    /// Forgets a request.
    pub(super) fn end(&self, id: &Id) {
        self.0.lock().remove(id);
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Calls a request off. Its identifier stays in use until its end, which would be taken for that of another one.
    pub(super) fn cancel(&self, params: Option<Raw>) {
        let id = params.as_deref().and_then(|params| member(params, "requestId"));
        let id = id.and_then(|id| Id::from_json(id.get()));
        let call = id.and_then(|id| self.0.lock().get_mut(&id)?.take());
        if let Some(call) = call {
            let _ = call.send(params);
        }
    }
}
