//! What is said where nothing is: paths without an endpoint, and methods that an endpoint does not have.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use super::answer;
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, code};

/// What is where.
const PLACES: &str =
    "MCP is at /mcp (all upstreams) and at /mcp/NAME (one of them); /health tells their names and states";
/// What else is there where HTTP+SSE is on.
const EVENTS: &str = "; for clients of HTTP+SSE (2024-11-05), event streams are at /sse and /sse/NAME";
/// Characters of a path that are repeated.
const PATH: usize = 80;

/// What the endpoints have.
pub(super) const ENDPOINT: &str = "GET, POST, DELETE, OPTIONS";
/// What they have without a session.
pub(super) const WITHOUT_SESSION: &str = "POST, OPTIONS";
/// What the other paths have.
const PAGE: &str = "GET, HEAD, OPTIONS";

/// `GET /`.
pub(super) fn index(legacy_sse: bool) -> String {
    format!("mcpeg {}\n{}\n", env!("CARGO_PKG_VERSION"), places(legacy_sse))
}

/// What is where.
fn places(legacy_sse: bool) -> String {
    format!("{PLACES}{}", if legacy_sse { EVENTS } else { "" })
}

/// A path where nothing is: as JSON-RPC where a client posts a message.
pub(super) fn unknown((method, uri): (&Method, &Uri), headers: &HeaderMap, legacy_sse: bool) -> Response {
    let path: String = uri.path().escape_debug().take(PATH).collect();
    let message = format!("there is nothing at {path}: {}", places(legacy_sse));
    let is_json = |kind: &HeaderValue| kind.to_str().is_ok_and(|kind| kind.starts_with("application/json"));
    if *method == Method::POST && headers.get(header::CONTENT_TYPE).is_some_and(is_json) {
        let fault = Fault::downstream(code::INVALID_REQUEST, StatusCode::NOT_FOUND, message);
        return answer::fault(&fault, None, Era::Modern);
    }
    (StatusCode::NOT_FOUND, message + "\n").into_response()
}

/// A method that a path does not have; the router says which ones it has.
pub(super) async fn refused(method: Method) -> Response {
    let method: String = method.as_str().escape_debug().take(PATH).collect();
    let message = format!("{method} is not for this path; Allow says what is\n");
    (StatusCode::METHOD_NOT_ALLOWED, message).into_response()
}

/// A method that the endpoints have within a session only.
pub(super) fn without_session(message: &'static str) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, WITHOUT_SESSION)], message).into_response()
}

/// A stream of messages is asked for by a client that accepts none.
pub(super) fn not_acceptable() -> Response {
    (StatusCode::NOT_ACCEPTABLE, "GET needs text/event-stream in the Accept header\n").into_response()
}

/// `OPTIONS` that is no browser's question: what a path has.
pub(super) fn options(path: &str) -> Response {
    let allow = if path == "/mcp" || path.starts_with("/mcp/") { ENDPOINT } else { PAGE };
    (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response()
}
