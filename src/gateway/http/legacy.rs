//! The legacy era: sessions (MCP 2025-11-25 §Streamable HTTP and its predecessors).
//!
//! A request runs in a task of its own, which writes to a log: a client that disconnects has not cancelled (§Sending
//! Messages, 6) and can read on from where it was (§Resumability and Redelivery).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;
use tokio::sync::oneshot;

use super::accept::Address;
use super::answer::{self, Item};
use super::forwarded_call::{ForwardedCall, Routed};
use super::input::{ROUNDS, Wanted};
use super::validate;
use crate::gateway::catalog::{EndpointView, all_tasks, merged, own_tasks, route, soon};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    ClientMeta, Era, Id, LATEST_LEGACY, LEGACY_VERSIONS, Message, Outcome, Raw, Request, Response as Answer,
    Severity, code, member, member_str, method, plain_result, raw,
};
use crate::gateway::service::{InFlight, Inner};
use crate::gateway::session::{EventId, Limits, Listening, Log, OWN, Session, SessionRefused, subscribe};
use crate::gateway::upstream::{Call, ClientIdentity, Event, Kind, Link, SESSION, VERSION, task_begun};
use crate::handover;

/// The header that names the last event that a client has got.
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Handles a POST.
pub(crate) async fn post(
    gateway: &Arc<Inner>,
    (endpoint, address): (Endpoint, Address),
    headers: &HeaderMap,
    message: Message,
    in_flight: InFlight,
) -> Response {
    if let Message::Request(request) = &message
        && request.method == method::INITIALIZE
    {
        return initialize(gateway, (endpoint, address), request).await;
    }
    let id = if let Message::Request(request) = &message { Some(request.id.clone()) } else { None };
    let session = match session(gateway, headers).await {
        Ok(session) => session,
        Err(fault) => return answer::json(&fault.response(id), fault.status),
    };
    session.touch();
    match message {
        Message::Request(request) => self::request(gateway, session, request, headers, in_flight).await,
        Message::Notification(note) => {
            if note.method == method::CANCELLED {
                // The request may be in flight in the other process; each knows its own.
                elsewhere(gateway, &session, &Message::Notification(note.clone()));
            }
            session.notified(note).await;
            StatusCode::ACCEPTED.into_response()
        }
        Message::Response(response) if !session.questions().awaits(&response) => {
            if !elsewhere(gateway, &session, &Message::Response(response)) {
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

/// Passes a message on to the process before or after this one, where there is one, which may have the request in
/// flight that the message is about.
fn elsewhere(gateway: &Inner, session: &Session, message: &Message) -> bool {
    let body = String::from_utf8_lossy(&message.to_line()).into_owned();
    gateway.peer.tell(&handover::Message::Deliver { id: session.id().to_owned(), body })
}

/// `GET`: the stream of messages that belong to no request.
pub(crate) async fn get(gateway: &Arc<Inner>, headers: &HeaderMap) -> Response {
    // A modern client has no such stream and must be told so.
    if !headers.contains_key(&SESSION) {
        return (StatusCode::METHOD_NOT_ALLOWED, "GET needs the Mcp-Session-Id of a legacy session\n")
            .into_response();
    }
    let session = match session(gateway, headers).await {
        Ok(session) => session,
        Err(fault) => return answer::json(&fault.response(None), fault.status),
    };
    let listening = session.listening_within(limits(gateway).share());
    let draining = gateway.draining.clone();
    let last = headers.get(LAST_EVENT).and_then(|id| id.to_str().ok()?.parse::<EventId>().ok());
    if let Some(place) = last.filter(|place| place.stream != OWN) {
        return match session.logs().get(place.stream) {
            Some(log) => answer::events(resumable(log, place, listening)),
            // Not 404, which would say that the session has ended (MCP 2025-11-25 §Session Management, 4).
            None => (StatusCode::BAD_REQUEST, "that stream is no longer kept\n").into_response(),
        };
    }
    let Some(listening) = listening else {
        if gateway.complaints.admits("stream refused", session.client_key()) {
            let client = session.client_key();
            tracing::info!(%client, "a stream is refused: its client has streams in half of all sessions");
        }
        let message = "your streams are in half of the sessions that `max_sessions` in [server] allows\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], message).into_response();
    };
    let (number, place) = session.outbox().open(last.map(|last| last.place));
    let place = EventId { stream: OWN, place };
    let prime = prime(&session, place);
    let messages = stream::unfold(
        (session, listening, draining, place),
        move |(session, listening, draining, place)| async move {
            let (place, message) = tokio::select! {
                biased;
                next = session.outbox().next(number, place.place) => next?,
                () = session.ended().cancelled() => return None,
                () = draining.cancelled() => return None,
            };
            let id = EventId { stream: OWN, place };
            Some((Item { message: Some(message), id: Some(id) }, (session, listening, draining, id)))
        },
    );
    answer::events(stream::iter(prime).chain(messages))
}

/// An event to resume from, before there is a message. Clients of older revisions parse the data of every event, so only
/// the newest gets an empty one.
fn prime(session: &Session, place: EventId) -> Option<Item> {
    let primed = session.connections().client().version == LATEST_LEGACY;
    primed.then_some(Item { message: None, id: Some(place) })
}

/// The messages of a log after a place, each with its identifier. The guard keeps the session from idling.
fn resumable(log: Arc<Log>, place: EventId, guard: Option<Listening>) -> impl Stream<Item = Item> + Send {
    stream::unfold((log, place, guard), |(log, place, guard)| async move {
        let (number, message) = log.after(place.place).await?;
        let id = EventId { place: number, ..place };
        Some((Item { message: Some(message), id: Some(id) }, (log, id, guard)))
    })
}

/// `DELETE`: the client ends its session.
pub(crate) async fn delete(State(gateway): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    if !headers.contains_key(&SESSION) {
        return (StatusCode::METHOD_NOT_ALLOWED, "DELETE needs the Mcp-Session-Id of a legacy session\n")
            .into_response();
    }
    match session(&gateway, &headers).await {
        Ok(session) => {
            gateway.peer.tell(&handover::Message::Ended { id: session.id().to_owned() });
            gateway.sessions.end(session.id()).await;
            StatusCode::OK.into_response()
        }
        Err(fault) => answer::json(&fault.response(None), fault.status),
    }
}

/// The session that a request names.
async fn session(gateway: &Inner, headers: &HeaderMap) -> Result<Arc<Session>, Fault> {
    if let Some(version) = headers.get(&VERSION)
        && !LEGACY_VERSIONS.iter().any(|known| version == known)
    {
        let message = format!("the MCP-Protocol-Version must be one of {}", LEGACY_VERSIONS.join(", "));
        return Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message));
    }
    let Some(id) = headers.get(&SESSION) else {
        let message = "the Mcp-Session-Id header is missing; begin with `initialize`";
        return Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message));
    };
    if let Ok(id) = id.to_str()
        && let Some(session) = gateway.sessions.find(id).await
    {
        return Ok(session);
    }
    let message = "there is no such session; begin a new one with `initialize`";
    Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::NOT_FOUND, message))
}

/// How many sessions there may be.
fn limits(gateway: &Inner) -> Limits {
    let server = &gateway.routing.current().server;
    Limits { of_all: server.max_sessions, of_client: server.max_sessions_per_client }
}

/// `initialize`: begins a session.
async fn initialize(
    gateway: &Arc<Inner>,
    (endpoint, address): (Endpoint, Address),
    request: &Request,
) -> Response {
    let Some(client) = client(request) else {
        let fault = Fault::downstream(
            code::INVALID_PARAMS,
            StatusCode::BAD_REQUEST,
            "`initialize` needs `protocolVersion`, `capabilities` and `clientInfo`",
        );
        return answer::fault(&fault, Some(request.id.clone()), Era::Legacy);
    };
    if let Err(fault) = validate::client_size(&client.meta) {
        return answer::fault(&fault, Some(request.id.clone()), Era::Legacy);
    }
    let version = client.version.clone();
    let session = match gateway.sessions.begin(endpoint, client, (address.0, limits(gateway))) {
        Ok(session) => session,
        Err(error @ (SessionRefused::Full(_) | SessionRefused::Heavy)) => {
            let fault = Fault::downstream(code::INTERNAL, StatusCode::SERVICE_UNAVAILABLE, error.to_string());
            return answer::json(&fault.response(Some(request.id.clone())), fault.status);
        }
        Err(error @ SessionRefused::Random(_)) => {
            tracing::error!(%error, "a session cannot begin");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let _attended = session.listening();
    let unborn = Unborn(Arc::clone(gateway), Some(Arc::clone(&session)));
    let view = session.view();
    let ready = view.upstreams().iter().filter(|upstream| upstream.present().is_some());
    let asked = join_all(ready.map(|upstream| soon(&*session, upstream)));
    let links: Vec<_> = asked.await.into_iter().flatten().collect();
    let capabilities = view.capabilities(&links, Era::Legacy);
    let result = Greeting {
        protocol_version: &version,
        capabilities: &capabilities,
        server_info: &raw(
            &json!({ "name": "mcpeg", "title": "mcpeg gateway", "version": env!("CARGO_PKG_VERSION") }),
        ),
        instructions: EndpointView::instructions(&links),
    };
    tracing::debug!(session = session.label(), version, upstreams = links.len(), "a session begins");
    let outcome = Outcome::Result(raw(&result));
    let message = Message::Response(Answer { id: Some(request.id.clone()), outcome });
    let mut response = answer::json(&message, StatusCode::OK);
    if let Ok(id) = HeaderValue::from_str(session.id()) {
        response.headers_mut().insert(SESSION, id);
    }
    unborn.born();
    response
}

/// Ends a session whose client goes before it was told of it.
struct Unborn(Arc<Inner>, Option<Arc<Session>>);

impl Unborn {
    /// The client is told.
    fn born(mut self) {
        self.1 = None;
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        if let Some(session) = self.1.take() {
            tracing::debug!(
                session = session.label(),
                "the session is ended: its client has not waited for it"
            );
            let gateway = Arc::clone(&self.0);
            tokio::spawn(async move { gateway.sessions.end(session.id()).await });
        }
    }
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

/// Handles a request within a session.
async fn request(
    gateway: &Arc<Inner>,
    session: Arc<Session>,
    request: Request,
    headers: &HeaderMap,
    in_flight: InFlight,
) -> Response {
    let id = request.id.clone();
    let cancelled = match session.begin_call(&id) {
        Ok(cancelled) => cancelled,
        Err(fault) => return answer::fault(&fault, Some(id), Era::Legacy),
    };
    let (request_id, log) = (id.clone(), Arc::new(Log::default()));
    let (running, written, owned) = (Arc::clone(&session), Arc::clone(&log), Arc::clone(gateway));
    let subscription = request.params.clone().filter(|_| request.method == method::SUBSCRIBE);
    tokio::spawn(async move {
        let last = run((&owned, &running), request, cancelled, &written).await;
        if let (Some(params), Some(Message::Response(Answer { outcome: Outcome::Error(_), .. }))) =
            (&subscription, &last)
        {
            subscribe::forget(&running, params);
        }
        // Before the client can read the answer: it may use the identifier again at once.
        running.end_call(&id);
        if let Some(last) = last {
            written.push(last);
        }
        written.end();
        running.logs().trim();
        drop(in_flight);
    });
    // From here on the client waits, until it goes. One that waits in too many sessions keeps none from making room by it.
    let guard = session.listening_within(limits(gateway).share());
    let streams = answer::prefers_stream(headers);
    if !streams {
        let messages = stream::unfold((Arc::clone(&log), 0), |(log, place)| async move {
            let (place, message) = log.after(place).await?;
            Some((message, (log, place)))
        });
        match answer::decide(Box::pin(messages)).await {
            answer::Form::Body(message) => return answer::json(&message, StatusCode::OK),
            answer::Form::Nothing => return StatusCode::ACCEPTED.into_response(),
            answer::Form::Stream(..) => {}
        }
    }
    let place = EventId { stream: session.keep_log(&request_id, &log), place: 0 };
    let prime = prime(&session, place);
    answer::events(stream::iter(prime).chain(resumable(log, place, guard)))
}

/// Carries a request out and queues everything that comes of it but the response, which it returns if there is one.
async fn run(
    (gateway, session): (&Arc<Inner>, &Arc<Session>),
    request: Request,
    mut cancelled: oneshot::Receiver<Option<Raw>>,
    messages: &Log,
) -> Option<Message> {
    let (id, method) = (request.id.clone(), request.method.clone());
    let started = tokio::select! {
        started = start(session, request) => started,
        // The client has cancelled: no response is expected (§Cancellation).
        _ = &mut cancelled => return None,
    };
    let (mut sending, routed) = match started {
        Ok(Started::Here(result)) => {
            let answer = Answer { id: Some(id), outcome: Outcome::Result(result) };
            return Some(Message::Response(answer));
        }
        Ok(Started::Upstream(sending)) => *sending,
        Err(fault) => return Some(fault.response(Some(id))),
    };
    let mut rounds = 0;
    loop {
        let event = tokio::select! {
            event = sending.next() => event,
            Ok(params) = &mut cancelled => {
                sending.call_off(params);
                return None;
            }
            // Nobody can ask for the answer any more; dropping the request calls it off.
            () = session.ended().cancelled() => return None,
        };
        let message = match event {
            Event::Notification(note) => {
                Message::Notification(session.questions().translated(&sending.link, note))
            }
            Event::Request(asked) => {
                // A person may take long, and others must not wait for that.
                sending.step_aside();
                session.questions().ask(&sending.link, asked)
            }
            Event::Done(outcome) => {
                let link = &sending.link;
                let outcome = of_tasks((gateway, session), &sending, &method, outcome);
                let wanted = Wanted::read(link, &outcome).filter(|_| rounds < ROUNDS);
                let Some(wanted) = wanted else { return Some(done(link, &method, id, outcome)) };
                rounds += 1;
                let next = tokio::select! {
                    next = again(session, &routed, &wanted, messages) => next,
                    _ = &mut cancelled => return None,
                    () = session.ended().cancelled() => return None,
                };
                match next {
                    Ok(next) => sending = next,
                    Err(fault) => return Some(fault.response(Some(id))),
                }
                continue;
            }
            Event::Lost(fault) => return Some(fault.response(Some(id))),
        };
        messages.push(message);
    }
}

/// Notes whose task has begun, if one has, and leaves out of a list of tasks those of others.
fn of_tasks(
    (gateway, session): (&Arc<Inner>, &Arc<Session>),
    sending: &ForwardedCall<Arc<Session>>,
    method: &str,
    outcome: Outcome,
) -> Outcome {
    let Outcome::Result(result) = outcome else { return outcome };
    if sending.link.era() != Era::Legacy {
        return Outcome::Result(result);
    }
    if method == method::TASKS_LIST {
        return Outcome::Result(own_tasks(&sending.upstream, session, result));
    }
    if let Some(id) = task_begun(&sending.link, &result) {
        gateway.own_task_of(session, &sending.upstream, &id);
    }
    Outcome::Result(result)
}

/// Asks the client what a modern server wants to know, and sends the request again with the answers.
async fn again(
    session: &Arc<Session>,
    routed: &Routed,
    wanted: &Wanted,
    messages: &Log,
) -> Result<ForwardedCall<Arc<Session>>, Fault> {
    let patience = routed.upstream.settings().request_timeout;
    let answers = wanted.ask(session, messages, patience).await?;
    let params = wanted.repeat(routed.params.as_deref(), &answers);
    ForwardedCall::begin(Arc::clone(session), Routed { params, ..routed.clone() }).await
}

/// The response for the client. A server that never stops asking is given up.
fn done(link: &Link, method: &str, id: Id, outcome: Outcome) -> Message {
    let outcome = match outcome {
        Outcome::Result(result) if link.era() == Era::Modern => {
            if member_str(&result, "resultType").is_some_and(|kind| kind == "input_required") {
                let reason = format!("asks for input during `{method}` again and again");
                return Fault::upstream(link.name(), reason).response(Some(id));
            }
            Outcome::Result(plain_result(result))
        }
        outcome => outcome,
    };
    Message::Response(Answer { id: Some(id), outcome })
}

/// A request that was begun.
enum Started {
    /// The gateway's own answer.
    Here(Raw),
    /// On its way to an upstream.
    Upstream(Box<(ForwardedCall<Arc<Session>>, Routed)>),
}

/// Answers a request here or sends it to its upstream.
async fn start(session: &Arc<Session>, request: Request) -> Result<Started, Fault> {
    let Request { method, params, .. } = request;
    match method.as_str() {
        method::PING => return Ok(Started::Here(raw(&json!({})))),
        method::SET_LOG_LEVEL => {
            let level = params.as_deref().and_then(|params| member(params, "level"));
            if !level.is_some_and(Severity::is_known) {
                let message = format!("`level` must be one of {}", Severity::names().join(", "));
                return Err(Fault::downstream(code::INVALID_PARAMS, StatusCode::BAD_REQUEST, message));
            }
            session.set_log_level(params.clone());
            let own = session.connections().open();
            let limit = std::time::Duration::from_secs(10);
            let calls = own.iter().map(|link| link.call(Call::new(method.as_str(), params.clone(), limit)));
            for exchange in join_all(calls).await {
                let _ = exchange.outcome().await;
            }
            return Ok(Started::Here(raw(&json!({}))));
        }
        _ => {}
    }
    // Held until the request is on its way: a reload does not end its upstream before.
    let view = &session.view();
    let meta = &session.connections().client().meta;
    if let Some(kind) = Kind::of_method(&method)
        && view.transparent().is_none()
    {
        let merged = merged(view, &**session, kind, meta, Era::Legacy, params.as_deref()).await?;
        return Ok(Started::Here(merged));
    }
    if method == method::TASKS_LIST && view.plain().is_none() {
        return all_tasks(view, &**session).await.map(Started::Here);
    }
    session.note_subscription(&method, params.as_deref())?;
    let (upstream, params) = route(view, &**session, &method, params, meta).await.map_err(|mut fault| {
        // Resource not found has a code of its own in this era (MCP 2025-11-25 §Resources, "Error Handling").
        if method == method::RESOURCES_READ && fault.code == code::INVALID_PARAMS {
            fault.code = code::LEGACY_NOT_FOUND;
        }
        fault
    })?;
    if let Some(followed) = subscribe::follow(session, &upstream, &method, params.as_deref()).await {
        return followed.map(|()| Started::Here(raw(&json!({}))));
    }
    if subscribe::note(session, &upstream, &method, params.as_deref()) {
        return Ok(Started::Here(raw(&json!({}))));
    }
    let routed = Routed { upstream, era: Era::Legacy, method, params, headers: Vec::new() };
    let sending = ForwardedCall::begin(Arc::clone(session), routed.clone()).await?;
    Ok(Started::Upstream(Box::new((sending, routed))))
}
