//! `/health/live`, `/health/ready` and `/health`.
//!
//! Live: the process serves. Ready: every upstream has been tried and at least one answers (or none is configured).
//! A broken upstream alone never makes the gateway unready: the others are served.

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::gateway::catalog::RoutingHandle;
use crate::gateway::status::Audience;
use crate::gateway::status_source::StatusSource;

/// What health is told by.
#[derive(Debug)]
pub(crate) struct Health {
    /// The upstreams.
    routing: Arc<RoutingHandle>,
    /// The status.
    status: Arc<StatusSource>,
    /// Cancelled when the drain begins.
    draining: CancellationToken,
}

impl Health {
    /// The health of a self.
    pub(crate) const fn new(
        routing: Arc<RoutingHandle>,
        status: Arc<StatusSource>,
        draining: CancellationToken,
    ) -> Self {
        Self { routing, status, draining }
    }

    /// `GET /health/ready`: 200, or 503 while no upstream can be used or the gateway drains.
    pub(super) fn ready(&self) -> Response {
        let table = self.routing.current();
        let usable = table.merged().upstreams().iter().any(|upstream| upstream.state().is_usable());
        if self.draining.is_cancelled() {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
        } else if usable {
            "ready\n".into_response()
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "no upstream is ready\n").into_response()
        }
    }

    /// `GET /health`: the gateway and each upstream as JSON; always 200, since it was answered. What commands have written is
    /// told where only this machine can ask.
    pub(super) fn report(&self, local: bool) -> Response {
        let status = self.status.status(if local { Audience::Local } else { Audience::Downstream });
        let word = if self.draining.is_cancelled() {
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
                    "restarts": upstream.restarts, "last_error": upstream.last_error, "mend": upstream.mend,
                    "exit_code": upstream.exit_code, "exit_signal": upstream.exit_signal,
                    "last_line": upstream.last_line,
                    "warnings": upstream.warnings,
                })
            })
            .collect();
        let mut report = json!({ "status": word, "version": status.version, "upstreams": upstreams });
        if !status.certificates.is_empty() {
            // What is wrong with files is for operators.
            let certificates = status.certificates.iter().map(
                |one| json!({ "listener": one.listener, "expires": one.expires, "days_left": one.days_left }),
            );
            report["certificates"] = certificates.collect();
        }
        Json(report).into_response()
    }
}
