//! Reading what an HTTP upstream answers: one JSON body or an event stream, in order.
//!
//! A broken event stream is resumed with `Last-Event-ID` where the server gave its events identifiers.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Response as HttpResponse, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::connection::{Http, Sent};
use super::get_stream::{Got, RETRY};
use super::pool::Answer;
use super::refusals::Later;
use super::sse::{content_type, events as read_events, finish, is_stream, is_too_long, note_place};
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, Id, Message, Outcome, ParseError, Response, member_str};
use crate::gateway::upstream::call::exchange::{Event, Events};
use crate::gateway::upstream::call::request::is_unknown_method;
use crate::gateway::upstream::inbox::Inbound;

/// How often resuming a stream is tried.
const TRIES: usize = 3;

impl Http {
    /// Reads the answer to a request, whatever its form.
    pub(crate) async fn answered(&self, sent: Sent, response: HttpResponse<Answer>, events: &Events) {
        let (status, later) = (response.status(), Later::of(&response));
        if status.is_success() && is_stream(content_type(&response)) {
            return self.read_stream(sent, response, events).await;
        }
        let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), self.limit).collect().await;
        let last = match body.map(|body| Message::of_server(&body.to_bytes(), || self.inbox.tell_loose())) {
            Ok(message) if self.has_lost_session(status, message.as_ref().ok()) => {
                self.closed.send_replace(true);
                Event::Lost(Fault::upstream(&self.name, "has lost its session").unprocessed())
            }
            Ok(Ok(Message::Response(response))) if answers(sent.id, &response) => {
                Event::Done(response.outcome)
            }
            Ok(Err(error @ ParseError::Ambiguous { .. })) => {
                self.complain(&error);
                let reason = format_args!("answered with something that can be read in two ways: {error}");
                Event::Lost(Fault::upstream(&self.name, reason))
            }
            Ok(_) if !status.is_success() => Event::Lost(self.refused(status, later, to)),
            Ok(Ok(Message::Response(_))) => {
                Event::Lost(Fault::upstream(&self.name, "sent the answer to another request"))
            }
            Ok(_) => Event::Lost(Fault::upstream(&self.name, "answered with something that is not MCP")),
            Err(error) if error.is::<LengthLimitError>() => Event::Lost(self.too_long()),
            Err(error) => Event::Lost(self.broken(error.as_ref())),
        };
        events.end(last);
    }

    /// Whether an answer says that the server does not know the session (MCP 2025-11-25 §Session Management, 3). Many
    /// servers, those of the reference among them, say so by 400; and 404 may also be about an unknown method.
    fn has_lost_session(&self, status: StatusCode, answer: Option<&Message>) -> bool {
        if self.session.get().is_none() {
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
    async fn read_stream(&self, sent: Sent, response: HttpResponse<Answer>, events: &Events) {
        let mut stream = response;
        let mut last: Option<String> = None;
        let mut wait = RETRY;
        loop {
            if self.read_answers(sent, stream, (&mut last, &mut wait), events).await {
                return;
            }
            let resumable = last.is_some() && self.era == Era::Legacy;
            let next = if resumable { self.resumed(last.as_deref(), wait).await } else { None };
            let Some(next) = next else {
                events.end(Event::Lost(Fault::upstream(&self.name, "closed the stream before it answered")));
                return;
            };
            stream = next;
        }
    }

    /// A stream that goes on where another one broke off; `None` if the server has none.
    async fn resumed(&self, last: Option<&str>, wait: Duration) -> Option<HttpResponse<Answer>> {
        for _ in 0..TRIES {
            tokio::time::sleep(wait).await;
            match self.get_stream(last).await {
                Got::Stream(stream) => return Some(*stream),
                Got::Nothing | Got::Refused => return None,
                Got::Failure => {}
            }
        }
        None
    }

    /// Queues the messages of one event stream; true once nothing more is to be read.
    async fn read_answers(
        &self,
        sent: Sent,
        response: HttpResponse<Answer>,
        (last, wait): (&mut Option<String>, &mut Duration),
        events: &Events,
    ) -> bool {
        let mut stream = read_events(response.into_body(), self.limit);
        while let Some(item) = stream.next().await {
            let item = match item {
                Ok(item) => item,
                Err(error) if is_too_long(&error) => {
                    events.end(Event::Lost(self.too_long()));
                    return true;
                }
                Err(_) => return false,
            };
            note_place(&item, last, wait);
            let Some(message) = self.message(item.data) else { continue };
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
                        self.inbox.put(Inbound::Request(request));
                        true
                    };
                    self.asked(request, hand_on).await
                }
            };
            if !go_on {
                return true;
            }
        }
        false
    }

    /// The message in an event, if there is a readable one.
    pub(crate) fn message(&self, data: Option<String>) -> Option<Message> {
        let data = data.filter(|data| !data.is_empty())?;
        Message::of_server(data.as_bytes(), || self.inbox.tell_loose())
            .inspect_err(|error| self.complain(error))
            .ok()
    }

    /// Logs what is wrong with a message.
    fn complain(&self, error: &ParseError) {
        let mut complaints = self.complaints.lock();
        if complaints.admits(&self.name) {
            tracing::warn!(upstream = %self.name, %error, "a message that is not MCP is ignored");
        }
    }
}

/// Whether this is the answer to a request of ours: an error may lack the identifier, where the server could not read it.
fn answers(id: u64, response: &Response) -> bool {
    let theirs = response.id.as_ref().and_then(Id::as_number);
    theirs == Some(id) || matches!(response.outcome, Outcome::Error(_))
}
