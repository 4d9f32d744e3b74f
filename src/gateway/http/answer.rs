//! Answers: one JSON body where the first message is the response, an event stream otherwise.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use sse_stream::{KeepAlive, Sse, SseBody, Timer};
use tokio::time::{Sleep, timeout};

use crate::gateway::access::Slot;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::Fault;
use crate::gateway::memory;
use crate::gateway::relay::{Era, Id, Message, Outcome, code, member};
use crate::gateway::session::EventId;

/// After so long without a message a stream is begun, so that keep-alives can flow and a client's end be noticed.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client should wait before it resumes a stream that broke off, in milliseconds.
const RETRY: u64 = 1000;
/// The same where the next process is there already, and what the client sends meanwhile may be answered to nobody.
const SOON: u64 = 100;
/// How often an event stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// As many headers as a request of the usual clients has at most.
const HEADERS: usize = 12;
/// The `Accept` of the usual clients, which need not be taken apart.
const USUAL: &str = "application/json, text/event-stream";

/// One event of a stream.
pub(crate) struct Item(Sse);

/// A stream is broken off, so that its client comes back.
#[derive(Debug, thiserror::Error)]
#[error("the stream is broken off, so that its client comes back for it")]
pub(crate) struct BrokenOff;

impl Item {
    /// A message, and where a client can resume after it.
    pub(crate) fn message(message: &Message, id: Option<&impl ToString>) -> Self {
        let text = String::from_utf8(message.to_line()).expect("JSON text is UTF-8");
        let (event, data) = (Some("message".to_owned()), Some(text));
        Self(Sse { event, data, id: id.map(ToString::to_string), retry: None })
    }

    /// Something else than a message.
    pub(crate) fn named(event: &str, data: &str, id: &str) -> Self {
        let (event, data) = (Some(event.to_owned()), Some(data.to_owned()));
        Self(Sse { event, data, id: Some(id.to_owned()), retry: Some(RETRY) })
    }

    /// Only where a client can resume, and how soon.
    pub(crate) fn place(id: EventId) -> Self {
        let data = Some(String::new());
        Self(Sse { event: None, data, id: Some(id.to_string()), retry: Some(RETRY) })
    }

    /// The same in an event that clients of any revision pass over: its type is none of MCP (HTML §9.2.6: nobody listens to
    /// it), but its identifier counts.
    pub(crate) fn parting(id: &impl ToString) -> Self {
        let Self(event) = Self::named("reconnect", "{}", &id.to_string());
        Self(Sse { retry: Some(SOON), ..event })
    }
}

impl From<Message> for Item {
    fn from(message: Message) -> Self {
        Self::message(&message, None::<&EventId>)
    }
}

/// The media ranges that a client accepts, in its order: a list may stand in several headers (RFC 9110 §5.3).
fn accepted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let ranges = lists.flat_map(|list| list.split(',')).filter_map(|range| range.split(';').next());
    ranges.map(str::trim)
}

/// Whether a client accepts one JSON body; one that says nothing does.
pub(crate) fn accepts_json(headers: &HeaderMap) -> bool {
    accepts(headers, "application/json")
}

/// Whether a client accepts an event stream, too; one that says nothing does.
pub(crate) fn accepts_stream(headers: &HeaderMap) -> bool {
    accepts(headers, "text/event-stream")
}

/// Whether a client accepts a media type; one that says nothing does.
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let accepts = |wanted: &str| {
        let group = wanted.split_once('/').map_or(wanted, |(group, _)| group);
        accepted(headers).any(|range| {
            let of_group = |range: &str| range.eq_ignore_ascii_case(group);
            let all = range == "*/*" || range.strip_suffix("/*").is_some_and(of_group);
            all || range.eq_ignore_ascii_case(wanted)
        })
    };
    match headers.get(header::ACCEPT) {
        None => true,
        Some(accept) => accept == USUAL || accepts(wanted),
    }
}

/// Whether a client that accepts both forms would rather have a stream: it lists that one first.
pub(crate) fn prefers_stream(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| accept != USUAL)
        && accepted(headers).next().is_some_and(|first| first.eq_ignore_ascii_case("text/event-stream"))
}

/// The form of an answer, decided by its first message.
pub(crate) enum Form<S> {
    /// One JSON body.
    Body(Message),
    /// A stream, and what is to come before the rest of it.
    Stream(Option<Message>, S),
    /// There is nothing to answer.
    Nothing,
}

/// Waits for the first message, which decides the form of the answer.
pub(crate) async fn decide<S: Stream<Item = Message> + Send + Unpin>(mut messages: S) -> Form<S> {
    match timeout(PATIENCE, messages.next()).await {
        Ok(Some(message @ Message::Response(_))) => Form::Body(message),
        Ok(Some(message)) => Form::Stream(Some(message), messages),
        Ok(None) => Form::Nothing,
        Err(_) => Form::Stream(None, messages),
    }
}

/// Answers a modern request with the messages that belong to it; the last is its response.
pub(crate) async fn answer(
    messages: impl Stream<Item = Message> + Send + Unpin + 'static,
    headers: &HeaderMap,
) -> Response {
    if prefers_stream(headers) {
        return events(messages.map(Item::from));
    }
    if !accepts_stream(headers) {
        // Whatever comes before the response has no place in one body.
        let responses =
            messages.filter(|message| std::future::ready(matches!(message, Message::Response(_))));
        return match std::pin::pin!(responses).next().await {
            Some(message) => json(&message, status(&message)),
            None => StatusCode::ACCEPTED.into_response(),
        };
    }
    match decide(messages).await {
        Form::Body(message) => json(&message, status(&message)),
        Form::Stream(first, rest) => events(futures_util::stream::iter(first).chain(rest).map(Item::from)),
        Form::Nothing => StatusCode::ACCEPTED.into_response(),
    }
}

/// One message as the body.
pub(crate) fn json(message: &Message, status: StatusCode) -> Response {
    let mut response = Response::new(Body::from(memory::until_sent(message.to_line().into())));
    // The connection reads the next request into it.
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A fault as the body. In the legacy era an answered request is 200 whatever the answer, unless it is to be sent again later.
pub(crate) fn fault(fault: &Fault, id: Option<Id>, era: Era) -> Response {
    tracing::debug!(side = ?fault.side, code = fault.code, fault = fault.message, "a request failed");
    let later = fault.retry_after();
    let is_told = era == Era::Modern || id.is_none() || later.is_some();
    let mut response = json(&fault.response(id), if is_told { fault.status } else { StatusCode::OK });
    if let Some(seconds) = later {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// An event stream that keeps hold of this until it ends; any other answer lets go of it.
pub(super) fn holding(response: Response, held: Slot) -> Response {
    let is_stream =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    if !is_stream {
        return response;
    }
    response.map(|body| {
        let frames = body.into_data_stream().map(move |frame| {
            let _held = &held;
            frame
        });
        Body::from_stream(frames)
    })
}

/// The gateway's name and version.
pub(super) fn server_info() -> serde_json::Value {
    serde_json::json!({ "name": "mcpeg", "title": "mcpeg gateway", "version": env!("CARGO_PKG_VERSION") })
}

/// There is no such endpoint, or no longer.
pub(super) fn unknown(endpoint: &Endpoint) -> Response {
    let message = endpoint.name().map_or_else(
        || "there is nothing at this endpoint\n".to_owned(),
        |name| format!("there is no upstream `{}`\n", name.escape_debug()),
    );
    (StatusCode::NOT_FOUND, message).into_response()
}

/// Messages as server-sent events.
pub(crate) fn events(items: impl Stream<Item = Item> + Send + 'static) -> Response {
    stream_of(items.map(|Item(event)| Ok::<_, Infallible>(event)))
}

/// The same where the stream may be broken off: what a connection shows then is no end of the stream.
pub(crate) fn breakable(items: impl Stream<Item = Result<Item, BrokenOff>> + Send + 'static) -> Response {
    stream_of(items.map(|item| item.map(|Item(event)| event)))
}

/// An event stream as the body.
fn stream_of<E: std::error::Error + Send + Sync + 'static>(
    events: impl Stream<Item = Result<Sse, E>> + Send + 'static,
) -> Response {
    let body = SseBody::<_, Alarm>::new_keep_alive(events, KeepAlive::new().interval(KEEP_ALIVE));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Tells nginx not to buffer the stream (MCP 2026-07-28 §Streamable HTTP, "Receiving Messages").
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let body = body.map_frame(|frame| frame.map_data(memory::until_sent));
    (headers, Body::new(body)).into_response()
}

/// The runtime's clock for keep-alives.
struct Alarm(Pin<Box<Sleep>>);

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl Timer for Alarm {
    fn reset(mut self: Pin<&mut Self>, instant: std::time::Instant) {
        self.0.as_mut().reset(instant.into());
    }

    fn from_duration(duration: Duration) -> Self {
        Self(Box::pin(tokio::time::sleep(duration)))
    }
}

/// The HTTP status that goes with a response in the modern era (MCP 2026-07-28 §Streamable HTTP).
fn status(message: &Message) -> StatusCode {
    let Message::Response(response) = message else { return StatusCode::OK };
    let Outcome::Error(error) = &response.outcome else { return StatusCode::OK };
    match member(error, "code").and_then(|number| number.get().parse::<i64>().ok()) {
        Some(code::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION) => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::OK,
    }
}
