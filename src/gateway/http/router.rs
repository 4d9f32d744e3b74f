//! The routes.

use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::HeaderMap;

use super::super::changes::Endpoint;
use super::super::service::Inner;
use super::accept::Address;
use super::{guard, health, legacy, metrics, post};

/// The routes of a gateway over a listener that is local, or not.
pub(crate) fn router(gateway: &Arc<Inner>, local: bool) -> Router {
    Router::new()
        .route("/mcp", get(get_all).post(post_all).delete(legacy::delete))
        .route("/mcp/{name}", get(get_one).post(post_one).delete(legacy::delete))
        .route("/health", get(health::report))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route(
            "/metrics",
            get(move |State(gateway): State<Arc<Inner>>| ready(metrics::scrape(&gateway, local))),
        )
        .layer(middleware::from_fn_with_state(Arc::clone(gateway), guard::check))
        .with_state(Arc::clone(gateway))
}

/// The body of a request, limited by the gateway, read by the handler.
type Body = axum::body::Body;

/// `POST /mcp`.
async fn post_all(
    State(gateway): State<Arc<Inner>>,
    Extension(address): Extension<Address>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    post::post(&gateway, (Endpoint::All, address), headers, body).await
}

/// `POST /mcp/NAME`.
async fn post_one(
    State(gateway): State<Arc<Inner>>,
    Path(name): Path<String>,
    Extension(address): Extension<Address>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let endpoint = Endpoint::One(name);
    match gateway.board.scope(&endpoint) {
        Some(_) => post::post(&gateway, (endpoint, address), headers, body).await,
        None => unknown(&endpoint),
    }
}

/// `GET /mcp`.
async fn get_all(State(gateway): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    legacy::get(&gateway, &headers).await
}

/// `GET /mcp/NAME`.
async fn get_one(
    State(gateway): State<Arc<Inner>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let endpoint = Endpoint::One(name);
    match gateway.board.scope(&endpoint) {
        Some(_) => legacy::get(&gateway, &headers).await,
        None => unknown(&endpoint),
    }
}

/// There is no such endpoint, or no longer.
pub(super) fn unknown(endpoint: &Endpoint) -> Response {
    let name = match endpoint {
        Endpoint::All => "",
        Endpoint::One(name) => name,
    };
    (StatusCode::NOT_FOUND, format!("there is no upstream `{}`\n", name.escape_debug())).into_response()
}
