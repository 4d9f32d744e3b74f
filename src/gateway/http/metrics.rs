//! `GET /metrics`, on the listeners that the configuration names.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::config;
use crate::gateway::metrics::Metrics;
use crate::sys::net::Listener;

/// The type of the answer: Prometheus text format 0.0.4.
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a listener is reached from this machine only.
pub(crate) fn is_local(listener: &Listener) -> bool {
    match listener {
        Listener::Tcp(listener) => {
            listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
        }
        Listener::Unix(_) => true,
    }
}

/// Answers over a listener that is local or not; where it may not, the path is as unknown as others.
pub(super) fn scrape(metrics: &Metrics, openness: config::Metrics, local: bool) -> Response {
    let open = match openness {
        config::Metrics::Local => local,
        config::Metrics::All => true,
        config::Metrics::Off => false,
    };
    if open {
        ([(header::CONTENT_TYPE, TYPE)], metrics.text()).into_response()
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}
