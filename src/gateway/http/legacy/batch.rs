//! The answers to a batch (MCP 2025-03-26 §Batching, §Sending Messages to the Server): one list where each is there soon and
//! is all that comes of its request, else a stream. Such a stream is not kept for a client that comes back.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::timeout;

use super::call;
use crate::gateway::error::Fault;
use crate::gateway::http::answer::{self, Item};
use crate::gateway::relay::{Id, Message};
use crate::gateway::session::{Listening, Log, Session};

/// How long all answers may take to be one list.
const PATIENCE: Duration = Duration::from_secs(2);

/// What comes of a batch.
#[derive(Default)]
pub(super) struct Batch {
    /// What is answered already.
    answered: Vec<Message>,
    /// What comes of requests.
    logs: Vec<Arc<Log>>,
}

impl Batch {
    /// Answers an entry with a fault.
    pub(super) fn refuse(&mut self, id: Option<Id>, fault: &Fault) {
        self.answered.push(fault.response(id));
    }

    /// Answers with what comes of a request.
    pub(super) fn wait(&mut self, log: Arc<Log>) {
        self.logs.push(log);
    }

    /// The answer. The guard tells that the client is there.
    pub(super) async fn answer(
        self,
        session: Arc<Session>,
        headers: &HeaderMap,
        guard: Option<Listening>,
    ) -> Response {
        if self.answered.is_empty() && self.logs.is_empty() {
            return StatusCode::ACCEPTED.into_response();
        }
        let all = stream::select_all(self.logs.into_iter().map(|log| Box::pin(call::messages(log))));
        let mut all = stream::iter(self.answered).chain(all);
        if answer::prefers_stream(headers) {
            return answer::events(guarded(all, guard));
        }
        let mut told = Vec::new();
        if !answer::accepts_stream(headers) {
            while let Some(message) = all.next().await {
                match message {
                    Message::Response(_) => told.push(message),
                    Message::Request(_) => session.outbox().put(message),
                    Message::Notification(_) => {}
                }
            }
            return list(&told);
        }
        let gather = async {
            while let Some(message) = all.next().await {
                let plain = matches!(message, Message::Response(_));
                told.push(message);
                if !plain {
                    return false;
                }
            }
            true
        };
        match timeout(PATIENCE, gather).await {
            // A request that its client has called off is not answered.
            Ok(true) if told.is_empty() => answer::events(stream::empty()),
            Ok(true) => list(&told),
            _ => answer::events(guarded(stream::iter(told).chain(all), guard)),
        }
    }
}

/// Messages as the items of a stream, whose client is there as long as it reads.
fn guarded(
    messages: impl stream::Stream<Item = Message> + Send + 'static,
    guard: Option<Listening>,
) -> impl stream::Stream<Item = Item> + Send + 'static {
    messages.map(move |message| {
        let _there = &guard;
        Item::from(message)
    })
}

/// Messages as one list.
fn list(messages: &[Message]) -> Response {
    let mut body = Vec::from(*b"[");
    for message in messages {
        if body.len() > 1 {
            body.push(b',');
        }
        message.write(&mut body);
    }
    body.push(b']');
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([kind], Body::from(body)).into_response()
}
