//! Reading what an HTTP upstream answers: one JSON body or an event stream, in order.
//!
//! A broken event stream is resumed with `Last-Event-ID` where the server gave its events identifiers.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Response as HttpResponse, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::pool::ResponseBody;
use super::refusals::{Later, broken, refused};
use super::requester::{Got, Requester};
use super::sse::{RETRY, content_type, events as read_events, finish, is_stream, is_too_long, note_place};
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, Id, Message, Outcome, ParseError, Response, member_str};
use crate::gateway::upstream::call::exchange::{Event, Events, too_long};
use crate::gateway::upstream::call::request::is_unknown_method;
use crate::gateway::upstream::inbox::Inbound;

/// How often resuming a stream is tried.
const TRIES: usize = 3;

/// A request whose answer is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Our identifier.
    pub(crate) id: u64,
    /// Whether a client waits for it, who can be asked.
    pub(crate) for_client: bool,
}

/// Reads the answer to a request, whatever its form.
pub(crate) async fn read_answer(
    requester: &Requester,
    sent: Sent,
    response: HttpResponse<ResponseBody>,
    events: &Events,
) {
    let (status, later) = (response.status(), Later::of(&response));
    if status.is_success() && is_stream(content_type(&response)) {
        return read_stream(requester, sent, response, events).await;
    }
    let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), requester.limit()).collect().await;
    let last = match body.map(|body| Message::of_server(&body.to_bytes(), || requester.inbox().tell_loose()))
    {
        Ok(message) if has_lost_session(requester, status, message.as_ref().ok()) => {
            requester.lose();
            Event::Lost(Fault::upstream(requester.name(), "has lost its session").unprocessed())
        }
        Ok(Ok(Message::Response(response))) if answers(sent.id, &response) => Event::Done(response.outcome),
        Ok(Err(error @ ParseError::Ambiguous { .. })) => {
            requester.complain(&error);
            let reason = format_args!("answered with something that can be read in two ways: {error}");
            Event::Lost(Fault::upstream(requester.name(), reason))
        }
        Ok(_) if !status.is_success() => Event::Lost(refused(requester.name(), status, later, to)),
        Ok(Ok(Message::Response(_))) => {
            Event::Lost(Fault::upstream(requester.name(), "sent the answer to another request"))
        }
        Ok(_) => Event::Lost(Fault::upstream(requester.name(), "answered with something that is not MCP")),
        Err(error) if error.is::<LengthLimitError>() => {
            Event::Lost(too_long(requester.name(), requester.limit()))
        }
        Err(error) => Event::Lost(broken(requester.name(), error.as_ref())),
    };
    events.end(last);
}

/// Whether an answer says that the server does not know the session (MCP 2025-11-25 §Session Management, 3). Many
/// servers, those of the reference among them, say so by 400; and 404 may also be about an unknown method.
fn has_lost_session(requester: &Requester, status: StatusCode, answer: Option<&Message>) -> bool {
    if !requester.has_session() {
        return false;
    }
    let error = match answer {
        Some(Message::Response(Response { outcome: Outcome::Error(error), .. })) => Some(error),
        _ => None,
    };
    match status {
        StatusCode::NOT_FOUND => error.is_none_or(|error| !is_unknown_method(error)),
        StatusCode::BAD_REQUEST => error
            .and_then(|error| member_str(error, "message"))
            .is_some_and(|message| message.to_ascii_lowercase().contains("session")),
        _ => false,
    }
}

/// Reads event streams until the request is answered, resuming broken ones where the server allows it.
async fn read_stream(
    requester: &Requester,
    sent: Sent,
    response: HttpResponse<ResponseBody>,
    events: &Events,
) {
    let mut stream = response;
    let mut last: Option<String> = None;
    let mut wait = RETRY;
    loop {
        if read_answers(requester, sent, stream, (&mut last, &mut wait), events).await {
            return;
        }
        let resumable = last.is_some() && requester.era() == Era::Legacy;
        let next = if resumable { resumed(requester, last.as_deref(), wait).await } else { None };
        let Some(next) = next else {
            events
                .end(Event::Lost(Fault::upstream(requester.name(), "closed the stream before it answered")));
            return;
        };
        stream = next;
    }
}

/// A stream that goes on where another one broke off; `None` if the server has none.
async fn resumed(
    requester: &Requester,
    last: Option<&str>,
    wait: Duration,
) -> Option<HttpResponse<ResponseBody>> {
    for _ in 0..TRIES {
        tokio::time::sleep(wait).await;
        match requester.open_stream(last).await {
            Got::Stream(stream) => return Some(*stream),
            Got::Nothing | Got::Refused => return None,
            Got::Failure => {}
        }
    }
    None
}

/// Queues the messages of one event stream; true once nothing more is to be read.
async fn read_answers(
    requester: &Requester,
    sent: Sent,
    response: HttpResponse<ResponseBody>,
    (last, wait): (&mut Option<String>, &mut Duration),
    events: &Events,
) -> bool {
    let mut stream = read_events(response.into_body(), requester.limit());
    while let Some(item) = stream.next().await {
        let item = match item {
            Ok(item) => item,
            Err(error) if is_too_long(&error) => {
                events.end(Event::Lost(too_long(requester.name(), requester.limit())));
                return true;
            }
            Err(_) => return false,
        };
        note_place(&item, last, wait);
        let Some(message) = requester.message(item.data) else { continue };
        let go_on = match message {
            Message::Response(Response { id: Some(of), outcome }) if of.as_number() == Some(sent.id) => {
                finish(stream);
                events.end(Event::Done(outcome));
                return true;
            }
            Message::Response(_) => true,
            Message::Notification(note) => events.send(Event::Notification(note)),
            Message::Request(request) => {
                let hand_on = |request| {
                    if sent.for_client {
                        return events.send(Event::Request(request));
                    }
                    requester.inbox().put(Inbound::Request(request));
                    true
                };
                requester.asked(request, hand_on).await
            }
        };
        if !go_on {
            return true;
        }
    }
    false
}

/// Whether this is the answer to a request of ours: an error may lack the identifier, where the server could not read it.
fn answers(id: u64, response: &Response) -> bool {
    let theirs = response.id.as_ref().and_then(Id::as_number);
    theirs == Some(id) || matches!(response.outcome, Outcome::Error(_))
}
