//! `POST`: reading one message and handing it to its era's handler.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::super::changes::Endpoint;
use super::super::error::Fault;
use super::super::relay::{Era, MODERN, Message, RequestMeta, code};
use super::super::service::Inner;
use super::super::upstream::{SESSION, VERSION};
use super::{answer, legacy, modern, router};

/// Handles a POST to an endpoint.
pub(crate) async fn post(
    gateway: &Arc<Inner>,
    endpoint: Endpoint,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let read = match acceptable(&headers) {
        Ok(()) => read(body, gateway.board.current().server.max_message_size).await,
        Err(fault) => Err(fault),
    };
    let message = match read.and_then(|body| parse(&body)) {
        Ok(message) => message,
        Err(fault) => return answer::fault(&fault, None, Era::Modern),
    };
    let in_flight = gateway.in_flight();
    match era(&headers, &message) {
        // Looked up only now: a body that comes slowly must not keep an upstream that a reload has removed.
        Era::Modern => match gateway.board.scope(&endpoint) {
            Some(scope) => modern::post(gateway, (endpoint, scope), &headers, message, in_flight).await,
            None => router::unknown(&endpoint),
        },
        Era::Legacy => legacy::post(gateway, endpoint, &headers, message, in_flight).await,
    }
}

/// Whether body and answer can be what this protocol has.
fn acceptable(headers: &HeaderMap) -> Result<(), Fault> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let message = "the Content-Type must be application/json";
        return Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let accept = answer::accepted(headers);
    let accepts = |wanted: &str| {
        let group = wanted.split('/').next().unwrap_or(wanted);
        !headers.contains_key(header::ACCEPT)
            || accept
                .iter()
                .any(|range| range == wanted || range == "*/*" || range.strip_suffix("/*") == Some(group))
    };
    if accepts("application/json") && accepts("text/event-stream") {
        return Ok(());
    }
    let message = "the Accept header must list both application/json and text/event-stream";
    Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::NOT_ACCEPTABLE, message))
}

/// Reads a body up to the limit.
async fn read(body: Body, limit: usize) -> Result<Bytes, Fault> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!(
                "the message is larger than {limit} bytes; `max_message_size` in [server] is the limit"
            );
            Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(_) => Err(Fault::downstream(code::PARSE, StatusCode::BAD_REQUEST, "the body broke off")),
    }
}

/// Reads the message.
fn parse(body: &[u8]) -> Result<Message, Fault> {
    use super::super::relay::ParseError;
    Message::parse(body).map_err(|error| {
        let code = if matches!(error, ParseError::Json(_)) { code::PARSE } else { code::INVALID_REQUEST };
        Fault::downstream(code, StatusCode::BAD_REQUEST, error.to_string())
    })
}

/// Which era a message belongs to (MCP 2026-07-28 §Versioning: a dual-era server goes by how the client opens).
fn era(headers: &HeaderMap, message: &Message) -> Era {
    let stated = headers.get(&VERSION).is_some_and(|version| version == MODERN);
    let modern = match message {
        Message::Request(request) => {
            stated
                || request.method == "server/discover"
                || RequestMeta::of(request.params.as_deref()).version().is_some()
        }
        Message::Notification(_) | Message::Response(_) => stated && !headers.contains_key(&SESSION),
    };
    if modern { Era::Modern } else { Era::Legacy }
}
