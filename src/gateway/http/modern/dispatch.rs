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
use tokio_util::sync::CancellationToken;

use super::continuation::Continuations;
use super::forward::{PendingCall, ReplyContext, Route};
use super::sources::{Asking, Lending};
use super::subject::Subject;
use super::{listen, suspended};
use crate::gateway::catalog::{
    ConnectionSource as _, EndpointView, Native, RoutingHandle, merged, route, soon,
};
use crate::gateway::changes::Changes;
use crate::gateway::error::Fault;
use crate::gateway::http::context::RequestContext;
use crate::gateway::http::cutoff::{Cutoff, StreamEnd};
use crate::gateway::http::forwarded_call::{ForwardedCall, Routed};
use crate::gateway::http::{answer, validate};
use crate::gateway::person::Whose;
use crate::gateway::relay::{
    ClientMeta, Era, Id, MODERN, Message, Object, Outcome, Raw, Request, RequestMeta, Response as Answer,
    code, key, method, raw, set_member, to_legacy_params,
};
use crate::gateway::telemetry::{Operation, Verdict};
use crate::gateway::upstream::headers::{NAME, PARAM};
use crate::gateway::upstream::{Caller, Kind, Link, check_parameters};

/// Methods of the legacy era that this one has not: they never reach an upstream, whatever its era.
const GONE: [&str; 7] = [
    method::INITIALIZE,
    method::PING,
    method::SET_LOG_LEVEL,
    method::SUBSCRIBE,
    method::UNSUBSCRIBE,
    method::TASKS_LIST,
    method::TASKS_RESULT,
];

/// Handles requests of the modern era.
pub(crate) struct Modern {
    /// What is behind which endpoint.
    routing: Arc<RoutingHandle>,
    /// What upstreams announce.
    changes: Changes,
    /// Requests that wait for their clients, here and in another process.
    continuations: Arc<Continuations>,
    /// Cancelled when the drain begins.
    draining: CancellationToken,
}

impl Modern {
    /// The handler of a gateway.
    pub(crate) const fn new(
        routing: Arc<RoutingHandle>,
        changes: Changes,
        continuations: Arc<Continuations>,
        draining: CancellationToken,
    ) -> Self {
        Self { routing, changes, continuations, draining }
    }

    /// Handles a POST.
    pub(crate) async fn post(
        &self,
        place: (RequestContext, Arc<EndpointView>),
        headers: &HeaderMap,
        message: Message,
        operation: &Arc<Operation>,
    ) -> Response {
        let request = match message {
            Message::Request(request) => request,
            Message::Notification(_) => return StatusCode::ACCEPTED.into_response(),
            Message::Response(_) => {
                let message = "this revision has no responses of clients";
                let fault = Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message);
                operation.failed(&fault);
                return answer::fault(&fault, None, Era::Modern);
            }
        };
        let id = request.id.clone();
        match self.dispatch(place, headers, request, operation).await {
            Ok(response) => response,
            Err(fault) => {
                operation.failed(&fault);
                answer::fault(&fault, Some(id), Era::Modern)
            }
        }
    }

    /// Answers a request here or relays it.
    async fn dispatch(
        &self,
        (context, view): (RequestContext, Arc<EndpointView>),
        headers: &HeaderMap,
        request: Request,
        operation: &Arc<Operation>,
    ) -> Result<Response, Fault> {
        let meta = RequestMeta::of(request.params.as_deref());
        validate::request(&request, &meta, headers)?;
        let client = ClientMeta::of(meta.get(key::CLIENT_INFO), meta.get(key::CAPABILITIES));
        validate::client_size(&client)?;
        let caller = context.caller(&client);
        match request.method.as_str() {
            method::DISCOVER => return here(operation, Ok(result(request.id, discover(&view).await))),
            method::LISTEN => {
                let client = (client, caller);
                let stream =
                    check_stream(headers).and_then(|()| self.listen(&context, &view, request, client));
                return here(operation, stream);
            }
            method if GONE.contains(&method) => return Err(Fault::method_not_found(method)),
            _ => {}
        }
        if let Some(kind) = Kind::of_method(&request.method)
            && view.transparent().is_none()
        {
            return here(operation, list((request, kind), &view, (&client, &caller), headers).await);
        }
        let subject = Subject::of(&request.method, &meta, context.endpoint().clone());
        let (state, answers) = (meta.param("requestState"), meta.raw_param("inputResponses"));
        let reply = ReplyContext::of(request.id, &meta, Arc::clone(operation));
        let cutoff = context.cutoff();
        let answer = (reply.id().clone(), Arc::clone(operation));
        let repetition = Repetition { subject: &subject, state: state.as_deref(), answers, cutoff };
        let reply =
            match repetition.go_on(&self.continuations, request.params.as_ref(), reply, headers).await? {
                ControlFlow::Break(response) => return Ok(response),
                ControlFlow::Continue(reply) => reply,
            };
        let first = suspended::check_first(state.as_deref());
        let way = route(&view, &Asking(&caller), subject.method(), request.params, &client).await?;
        way.note(operation);
        let (upstream, params) = (Arc::clone(&way.upstream), way.params.as_deref());
        let native = upstream.native().await?;
        if native.era() == Era::Legacy {
            first?;
        }
        let mut route = Route::choose(&upstream, &native, &subject, (&client, &caller)).await?;
        if reply.log().is_some() || subject.may_ask() || !says_nothing(way.params.as_ref()) {
            route.used();
        }
        let subject = route.bind(subject, params);
        if let Some(least) = reply.log() {
            route.link(&upstream).await?.want_log(least).await;
        }
        check_mirrored(&native, subject.method(), params, (&client, headers)).await?;
        let mirrors = mirrors(headers, &subject, &view);
        let routed = Routed::along(way, Era::Modern, subject.method().to_owned(), mirrors);
        let call = ForwardedCall::begin(route, routed).await?;
        // The call itself is counted by its connection from here on; the view's upstreams are held no longer.
        drop(view);
        let kept = (self.continuations.suspended(), self.continuations.owners());
        let pending = PendingCall::new(call, subject, (client, caller), reply, kept);
        let messages = Box::pin(stream::unfold(Some(pending), PendingCall::next));
        Ok(answer::answer(Box::pin(cutoff.answered(messages, answer)), headers).await)
    }

    /// Opens a stream of changes.
    fn listen(
        &self,
        context: &RequestContext,
        view: &EndpointView,
        request: Request,
        client: (ClientMeta, Caller),
    ) -> Result<Response, Fault> {
        let slot = context.usage().map(|usage| usage.stream()).transpose()?;
        let place = (context.endpoint().clone(), view);
        let whose = Whose::of(context.endpoint().person().cloned());
        let changes = (&self.routing, self.changes.subscribe_again().of(&whose));
        let end = StreamEnd::new(&self.draining, context.cutoff());
        let response = listen::listen(changes, place, request, client, end)?;
        Ok(match slot {
            Some(slot) => answer::holding(response, slot),
            None => response,
        })
    }
}

/// What the gateway answers itself.
fn here(operation: &Operation, answered: Result<Response, Fault>) -> Result<Response, Fault> {
    answered.inspect(|_| operation.ended(Verdict::Ok))
}

/// A stream of changes is nothing that fits into one body.
fn check_stream(headers: &HeaderMap) -> Result<(), Fault> {
    if answer::accepts_stream(headers) {
        return Ok(());
    }
    let message = "a stream of changes needs text/event-stream in the Accept header";
    Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::NOT_ACCEPTABLE, message))
}

/// Checks the headers that mirror arguments of a tool.
async fn check_mirrored(
    native: &Arc<Link>,
    method: &str,
    params: Option<&RawValue>,
    (client, headers): (&ClientMeta, &HeaderMap),
) -> Result<(), Fault> {
    let Some(params) = params.filter(|_| method == method::TOOLS_CALL) else { return Ok(()) };
    let check = |mirrored: &[_]| validate::parameters(mirrored, params, headers);
    check_parameters(native, params, client, check).await
}

/// Answers with a merged list.
async fn list(
    (request, kind): (Request, Kind),
    view: &EndpointView,
    client: (&ClientMeta, &Caller),
    headers: &HeaderMap,
) -> Result<Response, Fault> {
    let (source, params) = (Lending::to(client), request.params.as_deref());
    let merged = merged(view, &source, kind, client.0, Era::Modern, params).await?;
    let outcome = Outcome::Result(set_server_info(merged));
    let message = Message::Response(Answer { id: Some(request.id), outcome });
    Ok(answer::answer(Box::pin(stream::once(async { message })), headers).await)
}

/// A request as the repetition of one that was put aside, which it may be.
struct Repetition<'a> {
    /// What it asks for.
    subject: &'a Subject,
    /// Which request it repeats.
    state: Option<&'a str>,
    /// The client's answers.
    answers: Option<&'a RawValue>,
    /// Until when it must be answered.
    cutoff: &'a Cutoff,
}

impl Repetition<'_> {
    /// Goes on with the request that is repeated, here or in the process before or after this one; how to tell of it is
    /// returned if there is none.
    async fn go_on(
        self,
        continuations: &Arc<Continuations>,
        params: Option<&Raw>,
        reply: ReplyContext,
        headers: &HeaderMap,
    ) -> Result<ControlFlow<Response, ReplyContext>, Fault> {
        let Self { subject, state, answers, cutoff } = self;
        if !suspended::is_name(state) {
            return Ok(ControlFlow::Continue(reply));
        }
        let (id, operation) = (reply.id().clone(), Arc::clone(reply.operation()));
        let subject = subject.clone().with_digest(params.map(|params| &**params));
        if let Some(mut pending) = continuations.suspended().take(&subject, state)? {
            pending.go_on(answers, reply).await;
            let messages = Box::pin(stream::unfold(Some(pending), PendingCall::next));
            let messages = Box::pin(cutoff.answered(messages, (id, operation)));
            return Ok(ControlFlow::Break(answer::answer(messages, headers).await));
        }
        let (of, method) = (id.clone(), subject.method().to_owned());
        let request = Request { id: of, method, params: params.cloned() };
        if let Some(messages) = continuations.go_on_elsewhere(subject.endpoint(), request).await {
            let messages = Box::pin(cutoff.answered(messages, (id, operation)));
            return Ok(ControlFlow::Break(answer::answer(messages, headers).await));
        }
        Ok(ControlFlow::Continue(reply))
    }
}

/// Whether nothing that a client has written goes to a legacy server with these parameters.
fn says_nothing(params: Option<&Raw>) -> bool {
    let sent = to_legacy_params(params.cloned());
    sent.is_none_or(|sent| Object::parse(&sent).is_some_and(|sent| sent.iter().next().is_none()))
}

/// The headers that mirror parameters, for an HTTP upstream; that of the name where the upstream has the same name.
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
    set_member(&result, "_meta", raw(&json!({ (key::SERVER_INFO): answer::server_info() })).get())
        .unwrap_or(result)
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
    let links: Vec<_> = asked.await.into_iter().flatten().map(|knowing| knowing.link).collect();
    raw(&Discovered {
        result_type: "complete",
        supported_versions: [MODERN],
        capabilities: &view.capabilities(&links, Era::Modern),
        instructions: EndpointView::instructions(&links),
        ttl_ms: 0,
        cache_scope: "private",
        meta: json!({ (key::SERVER_INFO): answer::server_info() }),
    })
}
