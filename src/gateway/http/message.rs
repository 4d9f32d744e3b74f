//! Reading one message that was posted, and telling its era.

use std::sync::Arc;

use axum::BoxError;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::json;
use tokio::time::sleep_until;

use super::bodies::{Bodies, Pace};
use super::{answer, validate};
use crate::config::Server;
use crate::gateway::error::Fault;
use crate::gateway::memory::{self, Held};
use crate::gateway::relay::{
    Era, Id, MODERN, Message, ParseError, Raw, Request, RequestMeta, TRACE, code, method, raw, traced,
};
use crate::gateway::telemetry::Reason;
use crate::gateway::upstream::{SESSION, VERSION};

/// The header that says which trace a request belongs to.
const TRACE_PARENT: HeaderName = HeaderName::from_static(TRACE[0]);

/// The most entries of a batch.
const BATCH: usize = 100;

/// A message of a batch, or what is wrong with it.
pub(super) type Entry = Result<Message, (Option<Id>, Fault)>;

/// What was posted.
pub(super) enum Received {
    /// One message, and its era.
    Message(Message, Era),
    /// Messages of a session, or what is wrong with each (MCP 2025-03-26 §Batching).
    Batch(Vec<Entry>),
}

/// Why a message cannot be taken, and whose answer that is.
pub(super) struct Refusal {
    /// Why.
    fault: Fault,
    /// The request, if it is known.
    id: Option<Id>,
    /// Its era.
    era: Era,
}

impl Refusal {
    /// Of a message of which nothing else is known.
    pub(super) const fn new(fault: Fault, era: Era) -> Self {
        Self { fault, id: None, era }
    }

    /// Why the message cannot be taken.
    pub(super) const fn fault(&self) -> &Fault {
        &self.fault
    }

    /// What its client is told.
    pub(super) fn answer(self) -> Response {
        answer::fault(&self.fault, self.id, self.era)
    }
}

/// Reads the message of a POST, and tells its era; with what is held of it.
pub(super) async fn receive(
    headers: &HeaderMap,
    body: impl Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    bodies: &Arc<Bodies>,
    server: &Server,
) -> Result<(Received, Option<Held>), Refusal> {
    let read = match acceptable(headers) {
        Ok(()) => read(body, bodies, server).await,
        Err(fault) => Err(fault),
    };
    let refused = |fault| Refusal::new(fault, Era::Modern);
    let (body, held) = read.map_err(refused)?;
    if headers.contains_key(&SESSION)
        && let Some(entries) = Message::entries(&body)
    {
        return batch(entries, headers).map(|entries| (Received::Batch(entries), held)).map_err(refused);
    }
    let message = with_trace(parse(&body).map_err(refused)?, headers);
    let era = era(headers, &message);
    match validate::names(&message) {
        Ok(()) => Ok((Received::Message(message, era), held)),
        Err(fault) => {
            let id = if let Message::Request(request) = message { Some(request.id) } else { None };
            Err(Refusal { fault, id, era })
        }
    }
}

/// Reads the entries of a batch.
fn batch(entries: Vec<Raw>, headers: &HeaderMap) -> Result<Vec<Entry>, Fault> {
    if entries.is_empty() || entries.len() > BATCH {
        let message = format!("a batch has from 1 to {BATCH} messages");
        return Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message));
    }
    let read = |entry: Raw| {
        let message = parse(entry.get().as_bytes()).map_err(|fault| (None, fault))?;
        let message = with_trace(message, headers);
        match validate::names(&message) {
            Ok(()) => Ok(message),
            Err(fault) => {
                Err((if let Message::Request(request) = message { Some(request.id) } else { None }, fault))
            }
        }
    };
    Ok(entries.into_iter().map(read).collect())
}

/// Whether body and answer can be what this protocol has.
fn acceptable(headers: &HeaderMap) -> Result<(), Fault> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let essence = kind.split_once(';').map_or(kind, |(essence, _)| essence).trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let message = "the Content-Type must be application/json";
        return Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    if answer::accepts_json(headers) {
        return Ok(());
    }
    let message = "the Accept header must list application/json, and should list text/event-stream";
    Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::NOT_ACCEPTABLE, message))
}

/// Reads a body up to the limit. A client that sends so slowly that it holds a connection for nothing is cut, and the oldest
/// where all bodies together are too large.
async fn read(
    body: impl Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    bodies: &Arc<Bodies>,
    server: &Server,
) -> Result<(Bytes, Option<Held>), Fault> {
    let (limit, patience) = (server.max_message_size, server.client_timeout);
    let refused = |status, message: String| Fault::downstream(code::INVALID_REQUEST, status, message);
    let (mut body, mut read) = (Limited::new(body, limit), BytesMut::new());
    let (mut pace, mut growing) = (Pace::begin(patience), bodies.begin(limit));
    loop {
        growing.has(read.len());
        if memory::is_full(read.len()) {
            return Err(shed());
        }
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = growing.given_up() => {
                let message = "too many large messages come at once, and this one is the oldest; send it again";
                let fault = refused(StatusCode::SERVICE_UNAVAILABLE, message.to_owned());
                return Err(fault.refusal(Reason::Memory));
            }
            () = sleep_until(pace.end()) => {
                if pace.next(read.len()) {
                    continue;
                }
                let message = "the body comes too slowly; `client_timeout` in [server] is the limit";
                return Err(refused(StatusCode::REQUEST_TIMEOUT, message.to_owned()));
            }
        };
        match frame.map(|frame| frame.map(Frame::into_data)) {
            None => {
                let held = growing.complete(read.len());
                return Ok((read.freeze(), held));
            }
            // Most bodies come in one piece.
            Some(Ok(Ok(data))) if read.is_empty() => read = BytesMut::from(data),
            Some(Ok(Ok(data))) => read.extend_from_slice(&data),
            Some(Ok(Err(_trailers))) => {}
            Some(Err(error)) if error.is::<LengthLimitError>() => {
                let message = format!(
                    "the message is larger than {limit} bytes; `max_message_size` in [server] is the limit"
                );
                return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            Some(Err(_)) => {
                return Err(Fault::downstream(code::PARSE, StatusCode::BAD_REQUEST, "the body broke off"));
            }
        }
    }
}

/// There is no room for more messages.
fn shed() -> Fault {
    memory::shed();
    let message =
        "the gateway has no memory for more messages now: `memory` in [server] is the limit; try again soon";
    let fault = Fault::downstream(code::LIMIT_EXCEEDED, StatusCode::SERVICE_UNAVAILABLE, message);
    Fault { data: Some(raw(&json!({ "retryAfterMs": 1000 }))), ..fault.refusal(Reason::Memory) }
}

/// Reads the message. An identifier with a fraction is refused: what a server makes of it is not what the client wrote.
fn parse(body: &[u8]) -> Result<Message, Fault> {
    let refused = |code, reason: String| Fault::downstream(code, StatusCode::BAD_REQUEST, reason);
    match Message::parse(body) {
        Ok(Message::Request(request)) if !request.id.is_valid() => {
            let reason = "the `id` of a request must be a string or an integer";
            Err(refused(code::INVALID_REQUEST, reason.to_owned()))
        }
        Ok(message) => Ok(message),
        Err(error @ ParseError::Json(_)) => Err(refused(code::PARSE, error.to_string())),
        Err(error) => Err(refused(code::INVALID_REQUEST, error.to_string())),
    }
}

/// A request with the context of the trace that its headers state.
fn with_trace(message: Message, headers: &HeaderMap) -> Message {
    match message {
        Message::Request(request) if headers.contains_key(&TRACE_PARENT) => {
            let header = |name: &str| {
                let values: Vec<_> =
                    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
                (!values.is_empty()).then(|| values.join(","))
            };
            Message::Request(Request { params: traced(request.params, header), ..request })
        }
        message => message,
    }
}

/// Which era a message belongs to (MCP 2026-07-28 §Versioning: a dual-era server goes by how the client opens).
fn era(headers: &HeaderMap, message: &Message) -> Era {
    let stated = headers.get(&VERSION).is_some_and(|version| version == MODERN);
    let modern = match message {
        Message::Request(request) => {
            stated
                || request.method == method::DISCOVER
                || RequestMeta::of(request.params.as_deref()).version().is_some()
        }
        Message::Notification(_) | Message::Response(_) => stated && !headers.contains_key(&SESSION),
    };
    if modern { Era::Modern } else { Era::Legacy }
}
