//! The routes.

use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use tower::ServiceExt as _;

use super::accept::Address;
use super::slots::Slots;
use super::{guard, health, legacy, metrics, post};
use crate::gateway::client::ClientKey;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::service::Inner;

/// The path of the endpoint for all upstreams.
const ALL: &str = "/mcp";

/// What answers the requests that come over one listener.
#[derive(Clone)]
pub(crate) struct Front {
    /// The gateway.
    gateway: Arc<Inner>,
    /// The routes. `POST /mcp`, to which nearly every request goes, is not looked up in them.
    router: Router,
}

impl Front {
    /// The front of a gateway over a listener that is local, or not.
    pub(crate) fn new(gateway: &Arc<Inner>, local: bool) -> Self {
        Self { gateway: Arc::clone(gateway), router: router(gateway, local) }
    }

    /// The connections that are open.
    pub(super) fn slots(&self) -> &Arc<Slots> {
        &self.gateway.slots
    }

    /// How many there may be.
    pub(super) fn most_connections(&self) -> usize {
        self.gateway.slots.most(self.gateway.routing.current().server.max_connections)
    }

    /// Whether one more record of a kind may be logged about a client.
    pub(super) fn admits_record(&self, kind: &'static str, client: ClientKey) -> bool {
        self.gateway.complaints.admits(kind, client)
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>, address: Address) -> Response {
        if let Some(refusal) =
            guard::refusal(&self.gateway, address.client(), request.headers(), request.uri())
        {
            return refusal;
        }
        if request.uri().path() == ALL && request.method() == Method::POST {
            let (head, body) = request.into_parts();
            return post::post(&self.gateway, (Endpoint::All, address), &head.headers, body).await;
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(address);
        // In a box, so that posts need no room for it.
        let Ok(response) = Box::pin(self.router.clone().oneshot(request)).await;
        response
    }
}

/// The routes of a gateway over a listener that is local, or not.
fn router(gateway: &Arc<Inner>, local: bool) -> Router {
    Router::new()
        .route(ALL, get(get_all).post(post_all).delete(legacy::delete))
        .route("/mcp/{name}", get(get_one).post(post_one).delete(legacy::delete))
        .route("/health", get(health::report))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route(
            "/metrics",
            get(move |State(gateway): State<Arc<Inner>>| ready(metrics::scrape(&gateway, local))),
        )
        .with_state(Arc::clone(gateway))
}

/// `POST /mcp`, which [`Front::answer`] has answered before; a route of its own, so that `Allow` names the method.
async fn post_all(
    State(gateway): State<Arc<Inner>>,
    Extension(address): Extension<Address>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    post::post(&gateway, (Endpoint::All, address), &headers, body).await
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
    match gateway.routing.view(&endpoint) {
        Some(_) => post::post(&gateway, (endpoint, address), &headers, body).await,
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
    match gateway.routing.view(&endpoint) {
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
