//! One request of a legacy client.
//!
//! It runs in a task of its own, which writes to a log: a client that disconnects has not cancelled (MCP 2025-11-25
//! §Sending Messages, 6) and can read on from where it was (§Resumability and Redelivery).
//!
//! A request that its client has called off is not answered (§Cancellation), but the POST that brought it is: by a stream with
//! nothing in it, since 202 is for messages that want no answer (§Sending Messages, 4 and 5). A client that takes no stream gets
//! an error, which it will pass over.

use std::pin::pin;
use std::sync::Arc;

use axum::response::Response;
use futures_util::future::join_all;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::sync::oneshot;

use super::input::{InputRequired, ROUNDS};
use super::stream::{prime, resumable};
use crate::gateway::catalog::{all_tasks, merged, own_tasks, route};
use crate::gateway::error::Fault;
use crate::gateway::http::answer::{self, Form};
use crate::gateway::http::cutoff::Cutoff;
use crate::gateway::http::forwarded_call::{ForwardedCall, Routed};
use crate::gateway::http::task_owners::TaskOwners;
use crate::gateway::relay::{
    Era, Id, Message, Outcome, Raw, Request, Response as Answer, Severity, code, member, member_str, method,
    plain_result, raw,
};
use crate::gateway::requests::InFlight;
use crate::gateway::session::{EventId, Log, Session, StreamId, subscribe};
use crate::gateway::upstream::{Call, Event, Kind, Link, task_begun};

/// Handles a request within a session.
pub(super) async fn answer(
    (session, owners): (Arc<Session>, &Arc<TaskOwners>),
    request: Request,
    (headers, in_flight): (&HeaderMap, InFlight),
    (cutoff, share): (Cutoff, usize),
) -> Response {
    let request_id = request.id.clone();
    let log = match begin(&session, owners, request, (in_flight, cutoff)) {
        Ok(log) => log,
        Err(fault) => return answer::fault(&fault, Some(request_id), Era::Legacy),
    };
    // From here on the client waits, until it goes. One that waits in too many sessions keeps none from making room by it.
    let guard = session.listening_within(share);
    let streams = answer::prefers_stream(headers);
    if !streams && !answer::accepts_stream(headers) {
        return only_body((&session, &log), request_id).await;
    }
    if !streams {
        match answer::decide(Box::pin(messages(Arc::clone(&log)))).await {
            Form::Body(message) => return answer::json(&message, StatusCode::OK),
            Form::Nothing => return answer::events(stream::empty()),
            Form::Stream(..) => {}
        }
    }
    let place = EventId { stream: StreamId::Answers(session.keep_log(&request_id, &log)), place: 0 };
    let prime = prime(&session, place);
    answer::events(stream::iter(prime).chain(resumable(log, place, guard)))
}

/// The messages of a log from its beginning.
pub(super) fn messages(log: Arc<Log>) -> impl Stream<Item = Message> + Send {
    stream::unfold((log, 0), |(log, place)| async move {
        let (place, message) = log.after(place).await?;
        Some((message, (log, place)))
    })
}

/// Answers a client that takes one body only: what its server asks goes to the session's own stream, what it tells has no
/// place.
async fn only_body((session, log): (&Session, &Log), id: Id) -> Response {
    let mut place = 0;
    while let Some((next, message)) = log.after(place).await {
        match message {
            Message::Response(_) => return answer::json(&message, StatusCode::OK),
            Message::Request(_) => session.outbox().put(message),
            Message::Notification(_) => {}
        }
        place = next;
    }
    answer::fault(&Fault::called_off(), Some(id), Era::Legacy)
}

/// Begins a request within a session; what comes of it is in the log.
pub(super) fn begin(
    session: &Arc<Session>,
    owners: &Arc<TaskOwners>,
    request: Request,
    (in_flight, cutoff): (InFlight, Cutoff),
) -> Result<Arc<Log>, Fault> {
    let id = request.id.clone();
    let cancelled = session.begin_call(&id)?;
    let log = Arc::new(Log::default());
    let (running, written, owned) = (Arc::clone(session), Arc::clone(&log), Arc::clone(owners));
    let subscription = request.params.clone().filter(|_| request.method == method::SUBSCRIBE);
    tokio::spawn(async move {
        let answered = cutoff.before(pin!(run((&owned, &running), request, cancelled, &written))).await;
        let last = answered.unwrap_or_else(|| Some(Fault::cut_off().response(Some(id.clone()))));
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
    Ok(log)
}

/// Handles a request of a client of HTTP+SSE: what comes of it goes to the session's stream.
pub(super) fn over_events(
    (session, owners): (&Arc<Session>, &Arc<TaskOwners>),
    request: Request,
    ends: (InFlight, Cutoff),
) -> Result<(), Fault> {
    let Some(channel) = session.channel() else { return Err(Fault::session_ended()) };
    let writer = channel.writer();
    let (log, session) = (begin(session, owners, request, ends)?, Arc::clone(session));
    tokio::spawn(async move {
        let mut place = 0;
        while let Some((at, message)) = log.after(place).await {
            place = at;
            tokio::select! {
                () = writer.put(message) => {}
                () = session.ended().cancelled() => return,
            }
        }
    });
    Ok(())
}

/// Carries a request out and queues everything that comes of it but the response, which it returns if there is one.
async fn run(
    (owners, session): (&TaskOwners, &Arc<Session>),
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
    let (mut call, routed) = match started {
        Ok(Started::Here(result)) => {
            let answer = Answer { id: Some(id), outcome: Outcome::Result(result) };
            return Some(Message::Response(answer));
        }
        Ok(Started::Upstream(call)) => *call,
        Err(fault) => return Some(fault.response(Some(id))),
    };
    let mut rounds = 0;
    loop {
        let event = tokio::select! {
            event = call.next() => event,
            Ok(params) = &mut cancelled => {
                call.exchange().call_off(params);
                return None;
            }
            // Dropping the request calls it off. Who waits for the answer still does.
            () = session.ended().cancelled() => return Some(Fault::session_ended().response(Some(id))),
        };
        let message = match event {
            Event::Notification(note) => session.told(call.link(), note),
            Event::Request(asked) => {
                let Some(question) = Box::pin(session.asked(call.link(), asked)).await else { continue };
                // A person may take long, and others must not wait for that.
                call.exchange().step_aside();
                question
            }
            Event::Done(outcome) => {
                let outcome = of_tasks((owners, session), &mut call, &routed, outcome);
                let link = call.link();
                let wanted = InputRequired::read(link, &method, &outcome).filter(|_| rounds < ROUNDS);
                let Some(wanted) = wanted else { return Some(done(link, &method, id, outcome)) };
                rounds += 1;
                let next = tokio::select! {
                    next = again(session, call.link(), (&routed, &wanted), messages) => next,
                    _ = &mut cancelled => return None,
                    () = session.ended().cancelled() => return Some(Fault::session_ended().response(Some(id))),
                };
                match next {
                    Ok(next) => call = next,
                    Err(fault) => return Some(fault.response(Some(id))),
                }
                continue;
            }
            Event::Lost(fault) => return Some(fault.response(Some(id))),
        };
        messages.push(message);
    }
}

/// Notes whose task has begun, if one has, and which has ended, and leaves out of a list of tasks those of others.
fn of_tasks(
    (owners, session): (&TaskOwners, &Arc<Session>),
    call: &mut ForwardedCall<Arc<Session>>,
    routed: &Routed,
    outcome: Outcome,
) -> Outcome {
    let Outcome::Result(result) = outcome else { return outcome };
    if call.link().era() != Era::Legacy {
        return Outcome::Result(result);
    }
    let asked = routed.params.as_deref().filter(|_| routed.method.starts_with("tasks/"));
    let asked = asked.and_then(|params| member_str(params, "taskId")).unwrap_or_default();
    match &*routed.method {
        method::TASKS_LIST => return Outcome::Result(own_tasks(call.upstream(), session, result)),
        method::TASKS_GET | method::TASKS_CANCEL => {
            session.see_task(call.upstream().name(), &asked, &result);
        }
        method::TASKS_RESULT => session.end_task(call.upstream().name(), &asked),
        _ => {
            if let Some(id) = task_begun(call.link(), &result) {
                owners.own_of(session, call.upstream(), &id);
                if let Some(token) = call.take_lasting() {
                    session.keep_token(call.upstream().name(), &id, token);
                }
            }
        }
    }
    Outcome::Result(result)
}

/// Asks the client what a modern server wants to know, and sends the request again with the answers.
async fn again(
    session: &Arc<Session>,
    link: &Link,
    (routed, wanted): (&Routed, &InputRequired),
    messages: &Log,
) -> Result<ForwardedCall<Arc<Session>>, Fault> {
    let patience = routed.upstream.settings().request_timeout;
    let answers = wanted.ask((session, link), messages, patience).await?;
    let params = wanted.repeat(routed.params.as_deref(), &answers);
    ForwardedCall::begin(Arc::clone(session), Routed { params, ..routed.clone() }).await
}

/// The response for the client. A server that never stops asking is given up.
fn done(link: &Link, method: &str, id: Id, outcome: Outcome) -> Message {
    let outcome = match outcome {
        Outcome::Result(result) if link.era() == Era::Modern => match plain_result(method, result) {
            Ok(result) => Outcome::Result(result),
            Err(why) => return Fault::upstream(link.name(), why).response(Some(id)),
        },
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
            // Kept for as long as the session is, so that nothing else of the parameters is.
            session.set_log_level(level.map(|level| raw(&json!({ "level": level }))));
            let own = session
                .connections()
                .open()
                .into_iter()
                .filter(|link| link.takes(&method))
                .collect::<Vec<_>>();
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
    let meta = session.connections().modern();
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
    let way = route(view, &**session, &method, params, meta).await.map_err(|mut fault| {
        // Resource not found has a code of its own in this era (MCP 2025-11-25 §Resources, "Error Handling").
        if method == method::RESOURCES_READ && fault.code == code::INVALID_PARAMS {
            fault.code = code::LEGACY_NOT_FOUND;
        }
        fault
    })?;
    let upstream = Arc::clone(&way.upstream);
    if let Some(followed) = subscribe::follow(session, &upstream, &method, way.params.as_deref()).await {
        return followed.map(|()| Started::Here(raw(&json!({}))));
    }
    if subscribe::note(session, &upstream, &method, way.params.as_deref()) {
        return Ok(Started::Here(raw(&json!({}))));
    }
    let routed = Routed::along(way, Era::Legacy, method, Vec::new());
    let call = ForwardedCall::begin(Arc::clone(session), routed.clone()).await?;
    Ok(Started::Upstream(Box::new((call, routed))))
}
