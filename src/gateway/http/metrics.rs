//! `GET /metrics`, on the listeners that the configuration names.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::gateway::metrics::Metrics;

/// The type of the answer: Prometheus text format 0.0.4.
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers where it is open; where it is not, the path is as unknown as others.
pub(super) fn scrape(metrics: &Metrics, is_open: bool) -> Response {
    if is_open {
        ([(header::CONTENT_TYPE, TYPE)], metrics.text()).into_response()
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}
