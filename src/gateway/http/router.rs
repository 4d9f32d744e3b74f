//! The routes.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{BoxError, Router};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tower::ServiceExt as _;
use tower_http::normalize_path::NormalizePath;
use tracing::Instrument as _;

use super::authenticate::Identified;
use super::context::RequestContext;
use super::cutoff::Cutoff;
use super::gate::Gate;
use super::health::Health;
use super::peer::Peer;
use super::pipeline::{Held, Pipeline};
use super::status_page::StatusPage;
use super::{cors, metrics, nowhere};
use crate::gateway::access::WELL_KNOWN;
use crate::gateway::catalog::RoutingHandle;
use crate::gateway::metrics::Metrics;
use crate::gateway::telemetry::{AccessEntry, Ledger, Origin, Reason};
use crate::request_id::RequestId;

/// The header with the identifier of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The path of the endpoint for all upstreams.
const ALL: &str = "/mcp";

/// What the routes lead to.
pub(crate) struct Handlers {
    /// The configuration in force, and what is behind which endpoint.
    routing: Arc<RoutingHandle>,
    /// MCP.
    pipeline: Pipeline,
    /// Health.
    health: Health,
    /// Numbers for monitoring.
    metrics: Arc<Metrics>,
    /// The page for people.
    page: Arc<StatusPage>,
    /// Counts requests.
    ledger: Arc<Ledger>,
}

impl Handlers {
    /// The handlers of a gateway.
    pub(crate) fn new(
        routing: Arc<RoutingHandle>,
        pipeline: Pipeline,
        (health, page): (Health, StatusPage),
        (metrics, ledger): (Arc<Metrics>, Arc<Ledger>),
    ) -> Self {
        Self { routing, pipeline, health, metrics, page: Arc::new(page), ledger }
    }

    /// Whether clients of HTTP+SSE are served.
    fn serves_events(&self) -> bool {
        self.routing.current().server.legacy_sse
    }

    /// Answers a scrape over a listener.
    fn scrape(&self, gate: &Gate, context: &RequestContext) -> Response {
        let named = gate.named().and_then(|named| named.listener().metrics);
        let is_open = self.routing.current().server.metrics.is_open(named, context.is_local());
        metrics::scrape(&self.metrics, is_open)
    }

    /// Shows the page for people over a listener.
    fn show(&self, gate: &Gate, context: &RequestContext, headers: &HeaderMap) -> Response {
        self.page.show(gate, context, is_from_here(context, headers))
    }

    /// Tells a page that was shown over a listener of changes.
    async fn follow(&self, gate: &Arc<Gate>, context: &RequestContext, headers: &HeaderMap) -> Response {
        let answer = self.page.follow(gate, context, is_from_here(context, headers));
        self.pipeline.open(context, std::future::ready(answer)).await
    }
}

/// What answers the requests that come over one listener.
#[derive(Clone)]
pub(crate) struct Front {
    /// The handlers.
    handlers: Arc<Handlers>,
    /// The listener.
    gate: Arc<Gate>,
    /// The routes, also of paths with a slash at their end. `POST /mcp`, to which nearly every request goes, is not looked up
    /// in them, unless a web page sends it.
    router: NormalizePath<Router>,
}

impl Front {
    /// The front of a gateway over a listener.
    pub(crate) fn new(handlers: &Arc<Handlers>, gate: Arc<Gate>) -> Self {
        let router = NormalizePath::trim_trailing_slash(router(handlers, &gate));
        Self { handlers: Arc::clone(handlers), gate, router }
    }

    /// The listener.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Answers a request, with its identifier.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        (peer, cutoff): (&Peer, &Cutoff),
    ) -> Response {
        let (head, body) = request.into_parts();
        let id = request_id(&head.headers);
        let entry = AccessEntry::begin(self.handlers.ledger.access(), &head, &id);
        let origin = Origin::new(id.clone(), peer.place(), entry.clone());
        let work = pin!(self.admitted((head, body), (peer, cutoff), origin));
        let mut response = id.around(work).await;
        if let Ok(id) = id.show(HeaderValue::from_str) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        match entry {
            None => response,
            Some(entry) => entry.answered(response),
        }
    }

    /// Answers a request, if it is let in.
    async fn admitted(
        &self,
        (head, body): (Parts, Incoming),
        (peer, cutoff): (&Peer, &Cutoff),
        origin: Origin,
    ) -> Response {
        let pipeline = &self.handlers.pipeline;
        let mut admitted = pipeline.admit(&head, &self.gate, (peer, cutoff), &origin, false);
        if let Err(Held::Wait(issuer)) = admitted {
            // In a box, as below.
            cutoff.before(Box::pin(issuer.look())).await;
            admitted = pipeline.admit(&head, &self.gate, (peer, cutoff), &origin, true);
        }
        let context = match admitted {
            Ok(context) => context,
            Err(Held::Answer(refusal)) => return *refusal,
            Err(Held::Wait(_)) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        };
        match context.identity() {
            None => self.route(head, body, context).await,
            Some(identity) => {
                let told = (Arc::clone(&self.handlers.ledger), context.origin().clone());
                let (identity, page) = (Arc::clone(identity), head.headers.get(header::ORIGIN).cloned());
                let listens = goes_on(&head);
                // Pinned here: it is large, and would be copied several times.
                let answer = pin!(self.route(head, body, context));
                while_good(identity, told, (listens, page), answer).await
            }
        }
    }

    /// Answers a request that was let in.
    async fn route(&self, head: Parts, body: Incoming, context: RequestContext) -> Response {
        if head.uri.path() == ALL && head.method == Method::POST && !head.headers.contains_key(header::ORIGIN)
        {
            return self.handlers.pipeline.post(context, &head.headers, body).await;
        }
        if head.method == Method::OPTIONS && !cors::is_preflight(&head.method, &head.headers) {
            return nowhere::options(head.uri.path());
        }
        let mut request = Request::from_parts(head, Body::new(body));
        request.extensions_mut().insert(context);
        // In a box, so that posts need no room for it.
        let Ok(response) = Box::pin(self.router.clone().oneshot(request)).await;
        response
    }
}

/// The identifier of a request: the client's, if it states one that can be used.
fn request_id(headers: &HeaderMap) -> RequestId {
    let mut stated = headers.get_all(REQUEST_ID).iter();
    let lone = stated.next().filter(|_| stated.next().is_none());
    lone.and_then(|id| RequestId::taken(id.as_bytes())).unwrap_or_else(RequestId::made)
}

/// Whether what is asked for goes on until somebody ends it: streams of what a server says by itself.
fn goes_on(head: &Parts) -> bool {
    head.method == Method::GET
        || head.headers.get("mcp-method").is_some_and(|method| method == "subscriptions/listen")
}

/// Answers a request of a client for as long as it may use the gateway; a stream that is open ends then, too. One that goes on
/// (`listens`) ends also when what the client has shown is over. `page` is the web page that asks, if one does.
async fn while_good(
    identity: Arc<Identified>,
    (ledger, origin): (Arc<Ledger>, Origin),
    (listens, page): (bool, Option<HeaderValue>),
    answer: impl Future<Output = Response>,
) -> Response {
    let span = tracing::info_span!("request", client = %identity.name());
    let response = tokio::select! {
        response = answer.instrument(span) => response,
        () = identity.ended() => {
            ledger.refuse(Reason::Credential, &origin, (Some(identity.name()), None));
            let mut refused =
                (StatusCode::UNAUTHORIZED, "what you have shown is no longer good\n").into_response();
            let asked = page.map(|page| (header::ORIGIN, page));
            cors::tell(&asked.into_iter().collect(), refused.headers_mut());
            return refused;
        }
    };
    if http_body::Body::size_hint(response.body()).exact().is_some() {
        // It is whole: to cut it would take the status with it, which is not written yet.
        return response;
    }
    let ended = Box::pin(async move {
        tokio::select! {
            () = identity.ended() => {}
            () = identity.expired(), if listens => {}
        }
    });
    response.map(|body| Body::new(Revocable { body, is_begun: false, is_over: false, ended }))
}

/// A body that is cut when its client may not use the gateway any more.
struct Revocable<F> {
    /// The body.
    body: Body,
    /// Whether it has been asked for, so that the head of the answer is on its way before it is cut.
    is_begun: bool,
    /// Whether the client may not use the gateway any more.
    is_over: bool,
    /// Is ready then.
    ended: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> http_body::Body for Revocable<F> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let was_begun = std::mem::replace(&mut self.is_begun, true);
        self.is_over = self.is_over || self.ended.as_mut().poll(cx).is_ready();
        if self.is_over {
            if !was_begun {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err("the client may not use the gateway any more".into())));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The routes of a gateway over a listener.
fn router(handlers: &Arc<Handlers>, gate: &Arc<Gate>) -> Router {
    let told = {
        let gate = Arc::clone(gate);
        async move |State(handlers): State<Arc<Handlers>>, uri: Uri| {
            let below = uri.path().strip_prefix(WELL_KNOWN).unwrap_or_default();
            match handlers.pipeline.resource_metadata(&gate, below) {
                Some(metadata) => axum::Json(metadata).into_response(),
                None => (StatusCode::NOT_FOUND, "no authorization server is believed here\n").into_response(),
            }
        }
    };
    Router::new()
        .route("/", get(index).post(unknown))
        .route(ALL, get(get_all).head(head).post(post_all).delete(delete_all))
        .route("/mcp/{name}", get(get_one).head(head).post(post_one).delete(delete_one))
        .route("/sse", get(sse_all))
        .route("/sse/{name}", get(sse_one))
        .route("/message", post(message))
        .route(
            "/health",
            get(
                async |State(handlers): State<Arc<Handlers>>,
                       Extension(context): Extension<RequestContext>,
                       headers: HeaderMap| {
                    handlers.health.report(is_from_here(&context, &headers))
                },
            ),
        )
        .route("/health/live", get(async || "live\n"))
        .route("/health/ready", get(async |State(handlers): State<Arc<Handlers>>| handlers.health.ready()))
        .merge(pages(gate))
        .route(WELL_KNOWN, get(told.clone()))
        .route(&format!("{WELL_KNOWN}/{{*below}}"), get(told))
        .fallback(unknown)
        .method_not_allowed_fallback(nowhere::refused)
        .with_state(Arc::clone(handlers))
        .layer(cors::layer())
}

/// The routes of what a listener shows only if the configuration says so.
fn pages(gate: &Arc<Gate>) -> Router<Arc<Handlers>> {
    let gates = [(); 3].map(|()| Arc::clone(gate));
    let [metrics, page, events] = gates;
    let metrics = async move |State(handlers): State<Arc<Handlers>>,
                              Extension(context): Extension<RequestContext>| {
        handlers.scrape(&metrics, &context)
    };
    let page = async move |State(handlers): State<Arc<Handlers>>,
                           Extension(context): Extension<RequestContext>,
                           headers: HeaderMap| { handlers.show(&page, &context, &headers) };
    let events =
        async move |State(handlers): State<Arc<Handlers>>,
                    Extension(context): Extension<RequestContext>,
                    headers: HeaderMap| { handlers.follow(&events, &context, &headers).await };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/status", get(page))
        .route("/status/events", get(events))
}

/// `GET /`.
async fn index(State(handlers): State<Arc<Handlers>>) -> String {
    nowhere::index(handlers.serves_events())
}

/// A path where nothing is.
async fn unknown(
    State(handlers): State<Arc<Handlers>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    nowhere::unknown((&method, &uri), &headers, handlers.serves_events())
}

/// Whether a request comes from this machine, and by way of no proxy, which may have it from another one.
fn is_from_here(context: &RequestContext, headers: &HeaderMap) -> bool {
    let by_proxy = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    context.is_local() && !by_proxy.iter().any(|name| headers.contains_key(*name))
}

/// `POST /mcp`, which [`Front::answer`] has answered before; a route of its own, so that `Allow` names the method.
async fn post_all(
    State(handlers): State<Arc<Handlers>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    handlers.pipeline.post(context, &headers, body).await
}

/// `POST /mcp/NAME`.
async fn post_one(
    State(handlers): State<Arc<Handlers>>,
    Path(name): Path<String>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let context = context.at(name);
    match handlers.routing.view(context.endpoint()) {
        Some(_) => handlers.pipeline.post(context, &headers, body).await,
        None => handlers.pipeline.nowhere(&context),
    }
}

/// `HEAD` of an endpoint: a stream of messages has no head of its own, and must not be taken from who reads it.
async fn head() -> Response {
    nowhere::without_session("")
}

/// `GET /mcp`.
async fn get_all(
    State(handlers): State<Arc<Handlers>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
) -> Response {
    let pipeline = &handlers.pipeline;
    pipeline.open(&context, pipeline.legacy().get(&context, &headers)).await
}

/// `GET /mcp/NAME`.
async fn get_one(
    State(handlers): State<Arc<Handlers>>,
    Path(name): Path<String>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
) -> Response {
    let context = context.at(name);
    match handlers.routing.view(context.endpoint()) {
        Some(_) => {
            let pipeline = &handlers.pipeline;
            pipeline.open(&context, pipeline.legacy().get(&context, &headers)).await
        }
        None => handlers.pipeline.nowhere(&context),
    }
}

/// `GET /sse`.
async fn sse_all(
    State(handlers): State<Arc<Handlers>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
) -> Response {
    if !handlers.serves_events() {
        return no_events();
    }
    let pipeline = &handlers.pipeline;
    pipeline.open(&context, pipeline.events().open(&context, &headers)).await
}

/// `GET /sse/NAME`.
async fn sse_one(
    State(handlers): State<Arc<Handlers>>,
    Path(name): Path<String>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
) -> Response {
    if !handlers.serves_events() {
        return no_events();
    }
    let context = context.at(name);
    match handlers.routing.view(context.endpoint()) {
        Some(_) => {
            let pipeline = &handlers.pipeline;
            pipeline.open(&context, pipeline.events().open(&context, &headers)).await
        }
        None => handlers.pipeline.nowhere(&context),
    }
}

/// `POST /message?sessionId=…`.
async fn message(
    State(handlers): State<Arc<Handlers>>,
    Extension(context): Extension<RequestContext>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !handlers.serves_events() {
        return no_events();
    }
    let mut parameters = uri.query().unwrap_or_default().split('&');
    match parameters.find_map(|parameter| parameter.strip_prefix("sessionId=")) {
        Some(stream) => handlers.pipeline.post_beside(context, stream, (&headers, body)).await,
        None => (StatusCode::BAD_REQUEST, "`sessionId` is missing, which the event stream names\n")
            .into_response(),
    }
}

/// HTTP+SSE is off.
fn no_events() -> Response {
    let message = "HTTP+SSE of 2024-11-05 is off, `legacy_sse = true` in [server] turns it on; Streamable HTTP is at /mcp\n";
    (StatusCode::NOT_FOUND, message).into_response()
}

/// `DELETE /mcp`.
async fn delete_all(
    State(handlers): State<Arc<Handlers>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
) -> Response {
    handlers.pipeline.legacy().delete(&context, &headers).await
}

/// `DELETE /mcp/NAME`, also of an upstream that is gone.
async fn delete_one(
    State(handlers): State<Arc<Handlers>>,
    Path(name): Path<String>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
) -> Response {
    handlers.pipeline.legacy().delete(&context.at(name), &headers).await
}
