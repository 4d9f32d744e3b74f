//! The connection to a Streamable HTTP upstream, in either era.
//!
//! Each request is a POST of its own, whose answer, one JSON body or an event stream, is read in order by the task
//! that waits for it. In the legacy era the connection holds the server's session and one GET stream for messages that belong
//! to no request. A broken event stream is resumed with `Last-Event-ID` where the server gave its events identifiers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::get_stream;
use super::requester::{Destination, Requester};
use super::response::{Sent, read_answer};
use super::session_check::{Ask, is_known};
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, Id, Message, Raw, Request, method};
use crate::gateway::upstream::call::exchange::{
    Cancel, Event, Events, Exchange, Late, Nothing, cancelled, carried,
};
use crate::gateway::upstream::call::request::{Call, Role};
use crate::gateway::upstream::inbox::Inbox;

/// How long calling a request off may take, the wait for a permit included.
const FAREWELL: Duration = Duration::from_secs(5);

/// One connection (in the legacy era: one session) to an endpoint.
#[derive(Debug)]
pub(crate) struct Http {
    /// Makes and sends its requests.
    requester: Arc<Requester>,
    /// The task of the GET stream.
    listener: OnceLock<AbortHandle>,
}

/// Tells a server of the legacy era that a request is called off.
struct CancelHttp {
    /// Sends that.
    requester: Arc<Requester>,
    /// Our identifier of the request.
    id: u64,
}

impl Http {
    /// A connection that has not spoken.
    pub(crate) fn new(
        destination: &Destination<'_>,
        era: Era,
        inbox: Inbox,
        role: Role,
    ) -> Result<Arc<Self>, Fault> {
        let requester = Requester::new(destination, era, inbox, role)?;
        Ok(Arc::new(Self { requester, listener: OnceLock::new() }))
    }

    /// Sends a request.
    pub(crate) fn call(&self, request: Call, deadline: Instant, late: Late) -> Exchange {
        call(&self.requester, request, deadline, late)
    }

    /// Sends a message that is not a request. A refusal may say that the session is lost, which is looked into aside.
    pub(crate) async fn post(&self, message: &Message) -> Result<(), Fault> {
        let posted = self.requester.post(message).await;
        if posted.as_ref().is_err_and(|fault| fault.refused.is_some()) && self.requester.may_ask() {
            let requester = Arc::clone(&self.requester);
            tokio::spawn(async move { is_known(&requester, call).await });
        }
        posted
    }

    /// Makes and sends its requests.
    pub(crate) fn requester(&self) -> &Requester {
        &self.requester
    }

    /// Opens the GET stream of a legacy session, and again whenever it breaks.
    pub(crate) fn listen(&self) {
        let task = tokio::spawn(get_stream::listen(Arc::downgrade(&self.requester), call));
        let _ = self.listener.set(task.abort_handle());
    }

    /// Ends the session, as far as the server can be reached.
    pub(crate) async fn end(&self) {
        self.abandon();
        self.requester.end_session().await;
    }

    /// Ends the GET stream.
    pub(crate) fn abandon(&self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

/// Sends a request.
fn call(requester: &Arc<Requester>, call: Call, deadline: Instant, late: Late) -> Exchange {
    let id = requester.next_id();
    // A handshake cannot be called off (MCP 2025-11-25 §Cancellation); a modern server sees the connection's end.
    let cancel: Box<dyn Cancel> = if requester.era() == Era::Modern || call.method == method::INITIALIZE {
        Box::new(Nothing)
    } else {
        Box::new(CancelHttp { requester: Arc::clone(requester), id })
    };
    let requester = Arc::clone(requester);
    carried(cancel, deadline, late, |events| async move {
        carry(&requester, id, call, events).await;
    })
}

/// Sends one request and queues everything that comes of it.
async fn carry(requester: &Arc<Requester>, id: u64, call: Call, events: Events) {
    let initialize = call.method == method::INITIALIZE;
    let ask = Some(self::call as Ask).filter(|_| !initialize && call.method != method::PING);
    let mut params = call.params;
    let token = requester.tokens().claim(id, &mut params);
    let sent = Sent { id, for_client: call.for_client, token: token.as_ref(), ask };
    let message = Message::Request(Request { id: Id::number(id), method: call.method.clone(), params });
    let Message::Request(request) = &message else { return };
    let body = Bytes::from(message.to_line());
    match requester.send(request, &body, &call.headers).await {
        Ok((response, place)) => {
            if initialize {
                requester.begin_session(&response);
            }
            read_answer(requester, sent, response, &events).await;
            drop(place);
        }
        Err(fault) => events.end(Event::Lost(fault)),
    }
}

impl Cancel for CancelHttp {
    fn cancel(self: Box<Self>, params: Option<Raw>) {
        if self.requester.is_closed() {
            return;
        }
        let note = cancelled(self.id, params);
        tokio::spawn(async move {
            // A server that does not read cannot make farewells pile up.
            timeout(FAREWELL, self.requester.post_farewell(&note)).await
        });
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.abandon();
    }
}
