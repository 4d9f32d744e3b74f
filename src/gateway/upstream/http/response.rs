//! Reading what an HTTP upstream answers: one JSON body or an event stream, in order.
//!
//! A broken event stream is resumed with `Last-Event-ID` where the server gave its events identifiers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Response as HttpResponse, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::pool::ResponseBody;
use super::refusals::{Refusal, broken, refused};
use super::requester::{Got, Requester};
use super::session_check::{Ask, is_known};
use super::sse::{
    RETRY, content_type, events as read_events, finish, is_no_text, is_stream, is_too_long, note_place,
};
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, Id, Meant, Message, Outcome, ParseError, Response, meant};
use crate::gateway::upstream::call::exchange::{Event, Events, garbled, no_text, too_long};
use crate::gateway::upstream::call::request::{is_unknown_method, speaks_of_session};
use crate::gateway::upstream::call::tokens::Token;
use crate::gateway::upstream::inbox::{Inbound, Loose};

/// Bytes that operators are shown of an answer that is not MCP.
const SHOWN: usize = 200;

/// How often resuming a stream is tried.
const TRIES: usize = 3;

/// A request whose answer is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    /// Our identifier.
    pub(crate) id: u64,
    /// Its progress token, if it has one.
    pub(crate) token: Option<&'a Token>,
    /// Whether a client waits for it, who can be asked.
    pub(crate) for_client: bool,
    /// How the server is asked whether it knows the session, if this is not such a question.
    pub(crate) ask: Option<Ask>,
}

/// What comes of a part of an answer.
enum Brought {
    /// There is more to read.
    More,
    /// The last event.
    Last(Event),
    /// Nobody waits any more, or it was too much.
    GivenUp,
}

/// What an answer says of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Nothing.
    Nothing,
    /// That it may be lost: the status says so, and has other meanings.
    Doubt,
    /// That it is.
    Lost,
}

/// Reads the answer to a request, whatever its form.
pub(crate) async fn read_answer(
    requester: &Arc<Requester>,
    sent: Sent<'_>,
    response: HttpResponse<ResponseBody>,
    events: &Events,
) {
    let status = response.status();
    if status.is_success() && is_stream(content_type(&response)) {
        return read_stream(requester, sent, response, events).await;
    }
    let refusal = (!status.is_success()).then(|| Refusal::of(&response));
    let body = match Limited::new(response.into_body(), requester.limit()).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return events.end(Event::Lost(too_long(requester.name(), requester.limit())));
        }
        Err(error) => return events.end(Event::Lost(broken(requester.name(), error.as_ref()))),
    };
    let message = Message::of_server(&body, || requester.inbox().tell_loose(Loose::Null));
    if matches!(message, Err(ParseError::Batch))
        && let Ok(text) = std::str::from_utf8(&body)
    {
        return match brought(requester, sent, text, events).await {
            Brought::Last(event) => events.end(event),
            Brought::More => events.end(Event::Lost(of_another(requester))),
            Brought::GivenUp => {}
        };
    }
    if is_lost(requester, sent, word(requester, sent.id, status, message.as_ref().ok())).await {
        let lost = Fault::upstream(requester.name(), "has lost its session").unprocessed();
        return events.end(Event::Lost(lost));
    }
    events.end(last(requester, sent.id, refusal.as_ref(), (message, &body)));
}

/// The last event that a body makes.
fn last(
    requester: &Requester,
    id: u64,
    refusal: Option<&Refusal>,
    (message, body): (Result<Message, ParseError>, &[u8]),
) -> Event {
    let name = requester.name();
    match (message, refusal) {
        // What is to be done is more than what the server says.
        (_, Some(refusal)) if refusal.has_advice() => Event::Lost(refused(name, refusal)),
        (Ok(Message::Response(response)), _) if answers(requester, id, &response) => {
            Event::Done(response.outcome)
        }
        (Err(error @ ParseError::Ambiguous { .. }), _) => {
            requester.complain(&error);
            Event::Lost(garbled(name, &error))
        }
        (_, Some(refusal)) => Event::Lost(refused(name, refusal)),
        (Ok(Message::Response(_)), None) => Event::Lost(of_another(requester)),
        (Err(error), None) if was_meant(id, body) => {
            requester.complain(&error);
            Event::Lost(garbled(name, &error))
        }
        (Ok(_) | Err(_), None) => {
            let begin = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
            let detail = format!("answered with something that is not MCP: {}", begin.trim().escape_debug());
            Event::Lost(Fault::upstream(name, "answered with something that is not MCP").because(detail))
        }
    }
}

/// The fault of an answer that is to something else.
fn of_another(requester: &Requester) -> Fault {
    Fault::upstream(requester.name(), "sent the answer to another request")
}

/// Whether text that is no message was meant to answer a request: it names that, or none.
fn was_meant(id: u64, text: &[u8]) -> bool {
    match meant(text) {
        Some(Meant::To(theirs)) => theirs.as_number() == Some(id),
        Some(Meant::ToSomebody) => true,
        None => false,
    }
}

/// What an answer says of the session (MCP 2025-11-25 §Session Management, 3). Many servers, those of the reference among
/// them, say that it is unknown by 400; and 404 may also be about an unknown method, tool or route.
fn word(requester: &Requester, id: u64, status: StatusCode, answer: Option<&Message>) -> Word {
    if !requester.has_session() {
        return Word::Nothing;
    }
    let of_status = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
    match answer {
        Some(Message::Response(Response { outcome: Outcome::Error(error), id: theirs })) => {
            let refused = of_status || status == StatusCode::BAD_REQUEST;
            let own = theirs.as_ref().and_then(Id::as_number) == Some(id);
            match (refused, speaks_of_session(error)) {
                _ if is_unknown_method(error) => Word::Nothing,
                (true, true) => Word::Lost,
                // One that answers this request is about it, as long as it says nothing else.
                (true, false) if of_status && !own => Word::Doubt,
                _ => Word::Nothing,
            }
        }
        _ if of_status => Word::Doubt,
        _ => Word::Nothing,
    }
}

/// Whether the session is lost, after an answer has said this of it. The server is asked where that is in doubt.
async fn is_lost(requester: &Arc<Requester>, sent: Sent<'_>, word: Word) -> bool {
    match (word, sent.ask) {
        (Word::Lost, _) => {
            requester.lose();
            true
        }
        (Word::Doubt, Some(ask)) => !is_known(requester, ask).await,
        (Word::Doubt, None) | (Word::Nothing, _) => false,
    }
}

/// Reads event streams until the request is answered, resuming broken ones where the server allows it.
async fn read_stream(
    requester: &Arc<Requester>,
    sent: Sent<'_>,
    response: HttpResponse<ResponseBody>,
    events: &Events,
) {
    let mut stream = response;
    let (mut last, mut stated): (Option<String>, _) = (None, None);
    loop {
        if read_answers(requester, sent, stream, (&mut last, &mut stated), events).await {
            return;
        }
        let resumable = last.is_some() && requester.era() == Era::Legacy;
        let wait = stated.unwrap_or(RETRY);
        let next = if resumable { resumed(requester, sent, last.as_deref(), wait).await } else { None };
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
    requester: &Arc<Requester>,
    sent: Sent<'_>,
    last: Option<&str>,
    wait: Duration,
) -> Option<HttpResponse<ResponseBody>> {
    for _ in 0..TRIES {
        tokio::time::sleep(wait).await;
        match requester.open_stream(last).await {
            Got::Stream(stream) => return Some(*stream),
            Got::Nothing | Got::Refused => {
                // It may be the session that the server does not know.
                if let Some(ask) = sent.ask {
                    is_known(requester, ask).await;
                }
                return None;
            }
            Got::Failure => {}
        }
    }
    None
}

/// Queues the messages of one event stream; true once nothing more is to be read.
async fn read_answers(
    requester: &Requester,
    sent: Sent<'_>,
    response: HttpResponse<ResponseBody>,
    (last, stated): (&mut Option<String>, &mut Option<Duration>),
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
            Err(error) if is_no_text(&error) => {
                events.end(Event::Lost(no_text(requester.name())));
                return true;
            }
            Err(_) => return false,
        };
        note_place(&item, last, stated);
        let Some(data) = item.data.filter(|data| !data.is_empty()) else { continue };
        match brought(requester, sent, &data, events).await {
            Brought::More => {}
            Brought::Last(event) => {
                finish(stream);
                events.end(event);
                return true;
            }
            Brought::GivenUp => return true,
        }
    }
    false
}

/// Queues what one text of an answer says: a message, or a batch of them.
async fn brought(requester: &Requester, sent: Sent<'_>, text: &str, events: &Events) -> Brought {
    let read = requester.read(text);
    if !matches!(read, Err(ParseError::Batch)) {
        return message(requester, sent, (read, text), events).await;
    }
    for entry in Message::entries_of_server(text.as_bytes()) {
        let read = requester.read(entry.get());
        match message(requester, sent, (read, entry.get()), events).await {
            Brought::More => {}
            brought => return brought,
        }
    }
    Brought::More
}

/// Queues what one message says.
async fn message(
    requester: &Requester,
    sent: Sent<'_>,
    (read, text): (Result<Message, ParseError>, &str),
    events: &Events,
) -> Brought {
    let go_on = match read {
        Err(error) => {
            let fault = failed_by(requester, sent.id, text, &error);
            return fault.map_or(Brought::More, |fault| Brought::Last(Event::Lost(fault)));
        }
        Ok(Message::Response(Response { id: Some(of), outcome })) if requester.is_ours(&of, sent.id) => {
            return Brought::Last(Event::Done(outcome));
        }
        Ok(Message::Response(_)) => true,
        Ok(Message::Notification(note)) => match Token::own(sent.token, note) {
            Ok(note) => events.send(Event::Notification(note)),
            // Of a task, perhaps, whose token holds for longer than its request.
            Err(foreign) => {
                requester.inbox().put(Inbound::Notification(foreign));
                true
            }
        },
        Ok(Message::Request(request)) => {
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
    if go_on { Brought::More } else { Brought::GivenUp }
}

/// The fault of a request whose answer is an event that cannot be read; `None` if that was not meant to be its answer.
fn failed_by(requester: &Requester, id: u64, data: &str, error: &ParseError) -> Option<Fault> {
    match error {
        ParseError::Ambiguous { id: theirs, response: true, .. } => {
            let own = theirs.as_ref().and_then(Id::as_number) == Some(id);
            own.then(|| garbled(requester.name(), error))
        }
        ParseError::Ambiguous { .. } => None,
        error => was_meant(id, data.as_bytes()).then(|| garbled(requester.name(), error)),
    }
}

/// Whether this is the answer to a request of ours: an error may lack the identifier, where the server could not read it.
fn answers(requester: &Requester, id: u64, response: &Response) -> bool {
    let own = response.id.as_ref().is_some_and(|theirs| requester.is_ours(theirs, id));
    own || matches!(response.outcome, Outcome::Error(_))
}
