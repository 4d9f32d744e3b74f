//! The modern era: each request stands by itself (MCP 2026-07-28).
//!
//! The answer is driven by the connection: a client that disconnects has cancelled, and dropping the stream tells the
//! upstream so (§Cancellation).

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use serde_json::value::RawValue;

use super::accept::Address;
use super::forwarded_call::{ForwardedCall, Routed};
use super::held::{self, Subject};
use super::lending::{Asking, Lending};
use super::relayed::{Relayed, Telling, Way};
use super::{answer, listen, rounds, validate};
use crate::gateway::catalog::{ConnectionSource as _, EndpointView, Native, merged, route, soon};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    ClientMeta, Era, Id, MODERN, Message, Object, Outcome, Raw, Request, RequestMeta, Response as Answer,
    code, key, method, raw, set_member, to_legacy_params,
};
use crate::gateway::service::{InFlight, Inner};
use crate::gateway::upstream::headers::{NAME, PARAM};
use crate::gateway::upstream::{Caller, Kind, check_parameters};

/// Methods of the legacy era that this one has not: they never reach an upstream, whatever its era.
const GONE: [&str; 5] =
    [method::INITIALIZE, method::PING, method::SET_LOG_LEVEL, method::SUBSCRIBE, method::UNSUBSCRIBE];

/// Handles a POST.
pub(crate) async fn post(
    gateway: &Arc<Inner>,
    place: (Endpoint, Arc<EndpointView>, Address),
    headers: &HeaderMap,
    message: Message,
    in_flight: InFlight,
) -> Response {
    let request = match message {
        Message::Request(request) => request,
        Message::Notification(_) => return StatusCode::ACCEPTED.into_response(),
        Message::Response(_) => {
            let message = "this revision has no responses of clients";
            let fault = Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message);
            return answer::fault(&fault, None, Era::Modern);
        }
    };
    let id = request.id.clone();
    match dispatch(gateway, place, headers, request, in_flight).await {
        Ok(response) => response,
        Err(fault) => answer::fault(&fault, Some(id), Era::Modern),
    }
}

/// Answers a request here or relays it.
async fn dispatch(
    gateway: &Arc<Inner>,
    (endpoint, view, address): (Endpoint, Arc<EndpointView>, Address),
    headers: &HeaderMap,
    request: Request,
    in_flight: InFlight,
) -> Result<Response, Fault> {
    let meta = RequestMeta::of(request.params.as_deref());
    validate::request(&request, &meta, headers)?;
    let client = ClientMeta::of(meta.get(key::CLIENT_INFO), meta.get(key::CAPABILITIES));
    validate::client_size(&client)?;
    let caller = Caller::of(address.0, &client);
    match request.method.as_str() {
        method::DISCOVER => return Ok(result(request.id, discover(&view).await)),
        method::LISTEN => return listen::listen(gateway, (endpoint, &view), request, &client),
        method if GONE.contains(&method) => return Err(Fault::method_not_found(method)),
        _ => {}
    }
    if let Some(kind) = Kind::of_method(&request.method)
        && view.transparent().is_none()
    {
        let (links, params) = (Lending::to((&client, &caller)), request.params.as_deref());
        let merged = merged(&view, &links, kind, &client, Era::Modern, params).await?;
        let message = Message::Response(Answer {
            id: Some(request.id),
            outcome: Outcome::Result(set_server_info(merged)),
        });
        return Ok(answer::answer(Box::pin(stream::once(async { message })), headers).await);
    }
    let subject = Subject::of(&request.method, &meta, endpoint);
    let state = meta.param("requestState");
    let answers = meta.raw_param("inputResponses");
    let telling = Telling::of(request.id, &meta, in_flight);
    let repetition = Repetition { subject: &subject, state: state.as_deref(), answers };
    let telling = match repetition.go_on(gateway, request.params.as_ref(), telling, headers).await? {
        ControlFlow::Break(response) => return Ok(response),
        ControlFlow::Continue(telling) => telling,
    };
    let first = held::check_first(state.as_deref());
    let (upstream, params) = route(&view, &Asking(&caller), &subject.method, request.params, &client).await?;
    let native = upstream.native().await?;
    if native.era() == Era::Legacy {
        first?;
    }
    let mut way = Way::choose(&upstream, &native, &subject, (&client, &caller)).await?;
    if telling.log.is_some() || subject.may_ask() || !says_nothing(params.as_ref()) {
        way.used();
    }
    if let Some(least) = telling.log {
        way.link(&upstream).await?.want_log(least).await;
    }
    if subject.method == method::TOOLS_CALL
        && let Some(params) = params.as_deref()
    {
        let check = |mirrored: &[_]| validate::parameters(mirrored, params, headers);
        check_parameters(&native, params, &client, check).await?;
    }
    let (era, mirrors) = (Era::Modern, mirrors(headers, &subject, &view));
    let routed = Routed { upstream, era, method: subject.method.clone(), params, headers: mirrors };
    let sending = ForwardedCall::begin(way, routed).await?;
    // The call itself is counted by its connection from here on; the scope's upstreams are held no longer.
    drop(view);
    let relayed = Relayed::new(sending, subject, (client, caller), telling, gateway);
    Ok(answer::answer(Box::pin(stream::unfold(Some(relayed), Relayed::next)), headers).await)
}

/// A request as the repetition of one that was put aside, which it may be.
struct Repetition<'a> {
    /// What it asks for.
    subject: &'a Subject,
    /// Which request it repeats.
    state: Option<&'a str>,
    /// The client's answers.
    answers: Option<&'a RawValue>,
}

impl Repetition<'_> {
    /// Goes on with the request that is repeated, here or in the process before or after this one; how to tell of it is
    /// returned if there is none.
    async fn go_on(
        self,
        gateway: &Arc<Inner>,
        params: Option<&Raw>,
        telling: Telling,
        headers: &HeaderMap,
    ) -> Result<ControlFlow<Response, Telling>, Fault> {
        let Self { subject, state, answers } = self;
        if let Some(mut relayed) = gateway.held.take(subject, state)? {
            relayed.go_on(answers, telling).await;
            let messages = Box::pin(stream::unfold(Some(relayed), Relayed::next));
            return Ok(ControlFlow::Break(answer::answer(messages, headers).await));
        }
        if held::is_name(state) {
            let (id, method) = (telling.id.clone(), subject.method.clone());
            let request = Request { id, method, params: params.cloned() };
            if let Some(messages) = rounds::go_on_elsewhere(gateway, subject.endpoint(), request).await {
                return Ok(ControlFlow::Break(answer::answer(messages, headers).await));
            }
        }
        Ok(ControlFlow::Continue(telling))
    }
}

/// Whether nothing that a client has written goes to a legacy server with these parameters.
fn says_nothing(params: Option<&Raw>) -> bool {
    let sent = to_legacy_params(params.cloned());
    sent.is_none_or(|sent| Object::parse(&sent).is_some_and(|sent| sent.iter().next().is_none()))
}

/// The headers that mirror parameters, for an HTTP upstream; that of the name, which has been checked, where the upstream
/// knows the same name.
fn mirrors(headers: &HeaderMap, subject: &Subject, view: &EndpointView) -> Vec<(HeaderName, HeaderValue)> {
    let name = headers.get(&NAME).filter(|_| subject.may_ask() && subject.is_named() && view.keeps_names());
    let mirrored = headers.iter().filter(|(name, _)| name.as_str().starts_with(PARAM));
    let mirrored = mirrored.map(|(name, value)| (name.clone(), value.clone()));
    mirrored.chain(name.map(|name| (NAME, name.clone()))).collect()
}

/// A result of the gateway's own.
fn result(id: Id, result: Raw) -> Response {
    let message = Message::Response(Answer { id: Some(id), outcome: Outcome::Result(result) });
    answer::json(&message, StatusCode::OK)
}

/// A result with the gateway's name and version in its `_meta`.
fn set_server_info(result: Raw) -> Raw {
    set_member(&result, "_meta", raw(&json!({ (key::SERVER_INFO): server_info() })).get()).unwrap_or(result)
}

/// The gateway's name and version.
fn server_info() -> serde_json::Value {
    json!({ "name": "mcpeg", "title": "mcpeg gateway", "version": env!("CARGO_PKG_VERSION") })
}

/// `server/discover`'s result.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Discovered<'a> {
    /// Always `complete`.
    result_type: &'a str,
    /// The revisions that requests may state; legacy ones begin with `initialize` instead.
    supported_versions: [&'a str; 1],
    /// What the upstreams can do together.
    capabilities: &'a Raw,
    /// Their instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    /// Not to be cached: upstreams come and go.
    ttl_ms: u64,
    /// Not to be shared: a later release may show each user other upstreams.
    cache_scope: &'a str,
    /// Who answers.
    #[serde(rename = "_meta")]
    meta: serde_json::Value,
}

/// Answers `server/discover`.
async fn discover(view: &EndpointView) -> Raw {
    let asked = join_all(view.upstreams().iter().map(|upstream| soon(&Native, upstream)));
    let links: Vec<_> = asked.await.into_iter().flatten().collect();
    raw(&Discovered {
        result_type: "complete",
        supported_versions: [MODERN],
        capabilities: &view.capabilities(&links, Era::Modern),
        instructions: EndpointView::instructions(&links),
        ttl_ms: 0,
        cache_scope: "private",
        meta: json!({ (key::SERVER_INFO): server_info() }),
    })
}
