//! `/health/live`, `/health/ready` and `/health`.
//!
//! Live: the process serves. Ready: every upstream has been tried and at least one answers (or none is configured).
//! A broken upstream alone never makes the gateway unready: the others are served.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::gateway::service::Inner;
use crate::gateway::status::Audience;

/// `GET /health/live`: 200 as long as the process serves.
pub(crate) async fn live() -> &'static str {
    "live\n"
}

/// `GET /health/ready`: 200, or 503 while no upstream can be used or the gateway drains.
pub(crate) async fn ready(State(gateway): State<Arc<Inner>>) -> Response {
    let table = gateway.routing.current();
    let usable = table.merged().upstreams().iter().any(|upstream| upstream.state().is_usable());
    if gateway.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else if usable {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no upstream is ready\n").into_response()
    }
}

/// `GET /health`: the gateway and each upstream as JSON; always 200, since it was answered.
pub(crate) async fn report(State(gateway): State<Arc<Inner>>) -> Response {
    let status = gateway.status(Audience::Downstream);
    let word = if gateway.draining.is_cancelled() {
        "draining"
    } else if status.healthy {
        "ok"
    } else {
        "degraded"
    };
    let upstreams: Vec<_> = status
        .upstreams
        .iter()
        .map(|upstream| {
            json!({
                "name": upstream.name, "state": upstream.state, "transport": upstream.transport,
                "restarts": upstream.restarts, "last_error": upstream.last_error,
            })
        })
        .collect();
    Json(json!({ "status": word, "version": status.version, "upstreams": upstreams })).into_response()
}
