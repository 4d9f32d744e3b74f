//! Beginning and ending sessions, and finding that of a message.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use fieldwork::Fieldwork;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use scopeguard::ScopeGuard;
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::{call, stream};
use crate::gateway::access::Exceeded;
use crate::gateway::catalog::{EndpointView, RoutingHandle, soon};
use crate::gateway::client_log_limit::ClientLogLimit;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::{Cause, Fault};
use crate::gateway::http::context::RequestContext;
use crate::gateway::http::cutoff::{Cutoff, StreamEnd};
use crate::gateway::http::message::Entry;
use crate::gateway::http::task_owners::TaskOwners;
use crate::gateway::http::{answer, nowhere, validate};
use crate::gateway::relay::{
    ClientMeta, Era, LATEST_LEGACY, LEGACY_VERSIONS, Message, Outcome, Raw, Request, Response as Answer,
    code, member, member_str, method, raw,
};
use crate::gateway::session::{EventId, Limits, PeerLink, Session, SessionRefused, SessionStore, StreamId};
use crate::gateway::telemetry::{Ledger, Operation, Reason, Verdict};
use crate::gateway::upstream::{ClientIdentity, SESSION};
use crate::handover;

/// The revision that has batches (MCP 2025-03-26 §Batching: receivers must support them).
const BATCHING: &str = "2025-03-26";
/// The header that names the last event that a client has got.
pub(super) const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Handles what belongs to sessions.
#[derive(Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(crate) struct Legacy {
    /// The sessions.
    #[field(get)]
    sessions: Arc<SessionStore>,
    /// The configuration in force.
    routing: Arc<RoutingHandle>,
    /// The way to the process before or after this one.
    #[field(get)]
    peer: Arc<PeerLink>,
    /// Whose tasks are whose.
    owners: Arc<TaskOwners>,
    /// What is logged about clients.
    log_limit: Arc<ClientLogLimit>,
    /// Counts refusals.
    ledger: Arc<Ledger>,
    /// Cancelled when the drain begins.
    #[field(get)]
    draining: CancellationToken,
}

impl Legacy {
    /// The handler of a gateway.
    pub(crate) fn new(
        (sessions, routing): (Arc<SessionStore>, Arc<RoutingHandle>),
        (peer, owners): (Arc<PeerLink>, Arc<TaskOwners>),
        (log_limit, ledger): (Arc<ClientLogLimit>, Arc<Ledger>),
        draining: CancellationToken,
    ) -> Self {
        Self { sessions, routing, peer, owners, log_limit, ledger, draining }
    }

    /// How long a client may take for what it has begun.
    pub(super) fn patience(&self) -> Duration {
        self.routing.current().server.client_timeout
    }

    /// Carries a request of a client of HTTP+SSE out.
    pub(super) fn carry_out(
        &self,
        session: &Arc<Session>,
        request: Request,
        ends: (Arc<Operation>, Cutoff),
    ) -> Result<(), Fault> {
        call::over_events((session, &self.owners), request, ends)
    }

    /// Handles a POST; `None` if its time is over before it is answered.
    pub(crate) async fn post(
        &self,
        context: RequestContext,
        headers: &HeaderMap,
        message: Message,
        operation: &Arc<Operation>,
    ) -> Option<Response> {
        let cutoff = context.cutoff();
        let id = if let Message::Request(request) = &message { Some(request.id.clone()) } else { None };
        let refused = |fault: &Fault| {
            operation.failed(fault);
            Some(answer::json(&fault.response(id.clone()), fault.status))
        };
        if let Message::Request(request) = &message
            && request.method == method::INITIALIZE
        {
            if let Err(fault) = validate::legacy_version(headers) {
                return refused(&fault);
            }
            return cutoff.before(pin!(self.initialize(&context, request, operation))).await;
        }
        let session = match cutoff.before(pin!(self.session(context.endpoint(), headers))).await? {
            Ok(session) => session,
            Err(fault) => return refused(&fault),
        };
        session.touch();
        if let Message::Request(request) = message {
            let ends = (cutoff.clone(), self.limits().share());
            let operation = Arc::clone(operation);
            return Some(call::answer((session, &self.owners), request, (headers, operation), ends).await);
        }
        cutoff.before(pin!(self.take(&session, message))).await
    }

    /// Takes a message of a session that is no request.
    pub(super) async fn take(&self, session: &Session, message: Message) -> Response {
        match message {
            Message::Request(_) => StatusCode::BAD_REQUEST.into_response(),
            Message::Notification(note) => {
                if matches!(note.method.as_str(), method::CANCELLED | method::INITIALIZED) {
                    // The request may be in flight in the other process; each knows its own. So it does what may be asked.
                    self.elsewhere(session, &Message::Notification(note.clone()));
                }
                session.notified(note).await;
                StatusCode::ACCEPTED.into_response()
            }
            Message::Response(response) if !session.questions().awaits(&response) => {
                if !self.elsewhere(session, &Message::Response(response)) {
                    tracing::debug!(session = session.label(), "an answer to no open question is dropped");
                }
                StatusCode::ACCEPTED.into_response()
            }
            Message::Response(response) => match session.answered(response).await {
                Ok(()) => StatusCode::ACCEPTED.into_response(),
                Err(fault) => answer::json(&fault.response(None), StatusCode::BAD_GATEWAY),
            },
        }
    }

    /// Handles a batch, which only one revision has.
    pub(crate) async fn batch(
        &self,
        (context, headers): (&RequestContext, &HeaderMap),
        entries: Vec<Entry>,
        begin: impl Fn(&Message) -> Result<Arc<Operation>, Fault>,
    ) -> Response {
        let session = match self.session(context.endpoint(), headers).await {
            Ok(session) => session,
            Err(fault) => return self.refuse(context, &fault),
        };
        if session.connections().client().version != BATCHING {
            let message =
                format!("batches are part of revision {BATCHING} only; send each message by itself");
            let fault = Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message);
            return self.refuse(context, &fault);
        }
        session.touch();
        let (mut batch, mut ids) = (Batch::default(), HashSet::new());
        for entry in entries {
            let message = match entry {
                Ok(message) => message,
                Err((id, fault)) => {
                    self.count(context, &fault);
                    batch.refuse(id, &fault);
                    continue;
                }
            };
            let counted = begin(&message);
            let request = match message {
                Message::Request(request) => request,
                message => {
                    // Whether it reaches its server is told by no answer.
                    if counted.is_ok() {
                        drop(self.take(&session, message).await);
                    }
                    continue;
                }
            };
            let id = request.id.clone();
            let wrong = if request.method == method::INITIALIZE {
                Some("`initialize` must not be part of a batch")
            } else {
                (!ids.insert(id.as_str().to_owned()))
                    .then_some("another request of the batch has the same id")
            };
            let taken = match wrong {
                Some(wrong) => {
                    let fault = Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, wrong);
                    if let Ok(operation) = &counted {
                        operation.failed(&fault);
                    }
                    Err(fault)
                }
                None => counted.and_then(|operation| {
                    call::begin(&session, &self.owners, request, (operation, context.cutoff().clone()))
                }),
            };
            match taken {
                Ok(log) => batch.wait(log),
                Err(fault) => batch.refuse(Some(id), &fault),
            }
        }
        let guard = session.listening_within(self.limits().share());
        batch.answer(session, headers, guard).await
    }

    /// Passes a message on to the process before or after this one, where there is one, which may have the request in
    /// flight that the message is about.
    fn elsewhere(&self, session: &Session, message: &Message) -> bool {
        let body = String::from_utf8_lossy(&message.to_line()).into_owned();
        self.peer.tell(&handover::Message::Deliver { id: session.id().to_owned(), body })
    }

    /// `GET`: the stream of messages that belong to no request.
    pub(crate) async fn get(&self, context: &RequestContext, headers: &HeaderMap) -> Response {
        // A modern client has no such stream and must be told so.
        if !headers.contains_key(&SESSION) {
            return nowhere::without_session("GET needs the Mcp-Session-Id of a legacy session\n");
        }
        if !answer::accepts_stream(headers) {
            return nowhere::not_acceptable();
        }
        let session = match self.session(context.endpoint(), headers).await {
            Ok(session) => session,
            Err(fault) => return self.refuse(context, &fault),
        };
        let listening = session.listening_within(self.limits().share());
        let last = headers.get(LAST_EVENT).and_then(|id| id.to_str().ok()?.parse::<EventId>().ok());
        let last = match last {
            Some(place @ EventId { stream: StreamId::Answers(number), .. }) => {
                return match self.sessions.stream(&session, number) {
                    Some(log) => answer::events(stream::resumable(log, place, listening)),
                    // Not 404, which would say that the session has ended (MCP 2025-11-25 §Session Management, 4).
                    None => (StatusCode::BAD_REQUEST, "that stream is no longer kept\n").into_response(),
                };
            }
            Some(EventId { stream: StreamId::Own(number), place }) => Some((number, place)),
            None => None,
        };
        let Some(listening) = listening else {
            return self.too_many_streams(context, &session);
        };
        let end = StreamEnd::new(&self.draining, context.cutoff());
        stream::own(session, listening, end, last)
    }

    /// The answer to a client that attends too many sessions.
    pub(super) fn too_many_streams(&self, context: &RequestContext, session: &Session) -> Response {
        self.ledger.refuse(Reason::Sessions, context.origin(), (context.client(), context.endpoint().name()));
        self.too_many(session)
    }

    /// The same where the request is counted otherwise.
    pub(super) fn too_many(&self, session: &Session) -> Response {
        if self.log_limit.admits("stream refused", &session.client_key()) {
            let client = session.client_key();
            tracing::info!(%client, "a stream is refused: its client has streams in half of all sessions");
        }
        let message = "your streams are in half of the sessions that `max_sessions` in [server] allows\n";
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], message).into_response()
    }

    /// `DELETE`: the client ends its session.
    pub(crate) async fn delete(&self, context: &RequestContext, headers: &HeaderMap) -> Response {
        if !headers.contains_key(&SESSION) {
            return nowhere::without_session("DELETE needs the Mcp-Session-Id of a legacy session\n");
        }
        match self.session(context.endpoint(), headers).await {
            Ok(session) => {
                self.peer.tell(&handover::Message::Ended { id: session.id().to_owned() });
                self.sessions.end(session.id()).await;
                StatusCode::OK.into_response()
            }
            Err(fault) => self.refuse(context, &fault),
        }
    }

    /// Counts a refusal of what is no request by itself.
    fn count(&self, context: &RequestContext, fault: &Fault) {
        if let Cause::Refused(reason) = fault.cause {
            self.ledger.refuse(reason, context.origin(), (context.client(), context.endpoint().name()));
        }
    }

    /// The same, and answers it.
    fn refuse(&self, context: &RequestContext, fault: &Fault) -> Response {
        self.count(context, fault);
        answer::json(&fault.response(None), fault.status)
    }

    /// The session that a request names. At another endpoint than its own there is no such session: what an address shows
    /// must not depend on where a session began.
    async fn session(&self, endpoint: &Endpoint, headers: &HeaderMap) -> Result<Arc<Session>, Fault> {
        validate::legacy_version(headers)?;
        let Some(id) = headers.get(&SESSION) else {
            let message = "the Mcp-Session-Id header is missing; begin with `initialize`";
            let fault = Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message);
            return Err(fault.refusal(Reason::Session));
        };
        if let Ok(id) = id.to_str()
            && let Some(session) = self.sessions.find_at(id, endpoint).await
        {
            return Ok(session);
        }
        let message = "there is no such session; begin a new one with `initialize`";
        let fault = Fault::downstream(code::INVALID_REQUEST, StatusCode::NOT_FOUND, message);
        Err(fault.refusal(Reason::Session))
    }

    /// How many sessions there may be.
    pub(super) fn limits(&self) -> Limits {
        let server = &self.routing.current().server;
        Limits { of_all: server.max_sessions, of_client: server.per_client.max_sessions }
    }

    /// The same, and how many its client may have.
    fn limits_for(&self, context: &RequestContext) -> Limits {
        let of_client = context.usage().map(|usage| usage.limits().max_sessions);
        let limits = self.limits();
        Limits { of_client: of_client.unwrap_or(limits.of_client), ..limits }
    }

    /// `initialize`: begins a session.
    async fn initialize(
        &self,
        context: &RequestContext,
        request: &Request,
        operation: &Operation,
    ) -> Response {
        let begun = self.begin(context, (context.endpoint().clone(), None), request).await;
        let (session, message) = match begun.inspect_err(|fault| operation.failed(fault)) {
            Ok(begun) => begun,
            Err(fault) if fault.status.is_server_error() => {
                return answer::json(&fault.response(Some(request.id.clone())), fault.status);
            }
            Err(fault) => return answer::fault(&fault, Some(request.id.clone()), Era::Legacy),
        };
        operation.ended(Verdict::Ok);
        let mut response = answer::json(&message, StatusCode::OK);
        if let Ok(id) = HeaderValue::from_str(session.id()) {
            response.headers_mut().insert(SESSION, id);
        }
        response
    }

    /// Begins a session at an endpoint, under the identifier of an event stream if there is one; with the answer.
    pub(super) async fn begin(
        &self,
        context: &RequestContext,
        place: (Endpoint, Option<String>),
        request: &Request,
    ) -> Result<(Arc<Session>, Message), Fault> {
        if self.routing.view(&place.0).is_none() {
            let message = "there is nothing at this endpoint";
            let fault = Fault::downstream(code::INVALID_REQUEST, StatusCode::NOT_FOUND, message);
            return Err(fault.refusal(Reason::Endpoint));
        }
        let client = client(request).ok_or_else(|| {
            let message = "`initialize` needs `protocolVersion`, `capabilities` and `clientInfo`";
            Fault::downstream(code::INVALID_PARAMS, StatusCode::BAD_REQUEST, message)
        })?;
        validate::client_size(&client.meta)?;
        let version = client.version.clone();
        let begun = self.sessions.begin(place, client, (context.peer(), self.limits_for(context)));
        let session = begun.map_err(|error| {
            let status = match error {
                SessionRefused::TooMany(..) => {
                    return Fault::from(Exceeded::sessions(error.to_string())).refusal(Reason::Sessions);
                }
                SessionRefused::Full | SessionRefused::Heavy => StatusCode::SERVICE_UNAVAILABLE,
                SessionRefused::Random(_) => {
                    tracing::error!(%error, "a session cannot begin");
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            let fault = Fault::downstream(code::INTERNAL, status, error.to_string());
            if status == StatusCode::SERVICE_UNAVAILABLE { fault.refusal(Reason::Sessions) } else { fault }
        })?;
        let _attended = session.listening();
        let untold = until_told(&self.sessions, &session);
        let view = session.view();
        let ready = view.upstreams().iter().filter(|upstream| upstream.present().is_some());
        let asked = join_all(ready.map(|upstream| soon(&*session, upstream)));
        let links: Vec<_> = asked.await.into_iter().flatten().map(|knowing| knowing.link).collect();
        let capabilities = view.capabilities(&links, Era::Legacy);
        let result = Greeting {
            protocol_version: &version,
            capabilities: &capabilities,
            server_info: &raw(&answer::server_info()),
            instructions: EndpointView::instructions(&links),
        };
        tracing::debug!(session = session.label(), version, upstreams = links.len(), "a session begins");
        let outcome = Outcome::Result(raw(&result));
        let message = Message::Response(Answer { id: Some(request.id.clone()), outcome });
        ScopeGuard::into_inner(untold);
        Ok((session, message))
    }
}

/// Ends a session whose client goes before it was told of it, unless the guard is taken apart.
fn until_told(sessions: &Arc<SessionStore>, session: &Arc<Session>) -> ScopeGuard<(), impl FnOnce(())> {
    let (sessions, session) = (Arc::clone(sessions), Arc::clone(session));
    scopeguard::guard((), move |()| {
        tracing::debug!(session = session.label(), "the session is ended: its client has not waited for it");
        tokio::spawn(async move { sessions.end(session.id()).await });
    })
}

/// `initialize`'s result.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Greeting<'a> {
    /// The agreed revision.
    protocol_version: &'a str,
    /// What the upstreams can do together.
    capabilities: &'a Raw,
    /// The gateway.
    server_info: &'a Raw,
    /// The upstreams' instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
}

/// Who begins a session; the revision is the client's if it is known, else the newest.
fn client(request: &Request) -> Option<ClientIdentity> {
    let params = request.params.as_deref()?;
    let wanted = member_str(params, "protocolVersion")?;
    let version = LEGACY_VERSIONS.into_iter().find(|known| *known == wanted).unwrap_or(LATEST_LEGACY);
    Some(ClientIdentity {
        meta: ClientMeta {
            info: member(params, "clientInfo")?.to_owned(),
            capabilities: member(params, "capabilities")?.to_owned(),
        },
        version: version.to_owned(),
    })
}
