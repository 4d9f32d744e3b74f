//! The connection to an upstream over HTTP+SSE, the transport of revision 2024-11-05 (§Transports, "HTTP with SSE").
//!
//! One GET opens an event stream, whose first event names the address that messages are posted to; everything that the
//! server says, answers included, comes over the stream in one order. The stream is the session: when it ends, the
//! connection is lost with all that is in flight, and the supervisor opens another.
//!
//! Invariant: a request is in flight here from before it is posted until its outcome is queued.

use std::iter;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use serde_json::json;
use sse_stream::Sse;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::balancer::Target;
use super::refusals::{Refusal, refused};
use super::requester::{Destination, Requester};
use super::sse::{content_type, events as read_events, is_no_text, is_stream, is_too_long};
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    Era, Id, Message, Notification, Outcome, ParseError, Raw, Request, Response, code, method, raw,
};
use crate::gateway::upstream::call::exchange::{
    Cancel, Event, Exchange, Late, Nothing, cancelled, exchange, garbled, no_text, too_long,
};
use crate::gateway::upstream::call::in_flight::InFlight;
use crate::gateway::upstream::call::request::{Call, Role};
use crate::gateway::upstream::inbox::{Inbound, Inbox};
use crate::gateway::upstream::lists::kind::Kind;

/// How long calling a request off, and answering a question of the server, may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// As many of these are under way at once; a server that hangs must not cost a descriptor for each.
const FAREWELLS: usize = 8;
/// Bytes of the answer to a posted message that are read, so that its connection can be used again.
const ACCEPTED: usize = 64 << 10;

/// A connection over one event stream.
#[derive(Debug)]
pub(crate) struct EventChannel {
    /// Makes its requests.
    requester: Arc<Requester>,
    /// Where messages are posted.
    target: Arc<Target>,
    /// Requests in flight.
    calls: Mutex<InFlight>,
    /// Who uses the connection.
    role: Role,
    /// The task that reads the stream.
    reader: Mutex<Option<AbortHandle>>,
    /// Permits for what is posted aside.
    farewells: Arc<Semaphore>,
}

/// Calls a request off on this connection.
struct CancelOverChannel {
    /// The connection, if it still is.
    connection: Weak<EventChannel>,
    /// Our identifier of the request.
    id: u64,
}

impl EventChannel {
    /// Opens the stream, and waits until it has named the address for messages.
    pub(crate) async fn open(
        destination: &Destination<'_>,
        inbox: Inbox,
        role: Role,
    ) -> Result<Arc<Self>, Fault> {
        let requester = Requester::new(destination, Era::Legacy, inbox, role)?;
        let (response, home) = requester.get().await?;
        if !response.status().is_success() {
            return Err(refused(requester.name(), &Refusal::of(&response)));
        }
        if !is_stream(content_type(&response)) {
            return Err(Fault::upstream(requester.name(), "opens no event stream at its `url`"));
        }
        let mut stream = read_events(response.into_body(), requester.limit());
        let named = loop {
            match stream.next().await {
                Some(Ok(Sse { event: Some(event), data: Some(data), .. })) if event == "endpoint" => {
                    break data;
                }
                Some(Ok(Sse { data: None, .. })) => {}
                _ => {
                    let reason = "opens an event stream that does not begin with its `endpoint`";
                    return Err(Fault::upstream(requester.name(), reason));
                }
            }
        };
        let Some(target) = resolve(&home.uri, named.trim()) else {
            let detail = format!("its event stream names `{}` for messages", named.escape_debug());
            let reason = "names an address for messages that is not at its own scheme, host and port";
            return Err(Fault::upstream(requester.name(), reason).because(detail));
        };
        requester.inbox().cache().opened(&Kind::ALL);
        let channel = Arc::new(Self {
            requester,
            target: Arc::new(Target::new(target)),
            calls: Mutex::default(),
            role,
            reader: Mutex::default(),
            farewells: Arc::new(Semaphore::new(FAREWELLS)),
        });
        let reading = tokio::spawn(read(Arc::downgrade(&channel), stream));
        *channel.reader.lock() = Some(reading.abort_handle());
        Ok(channel)
    }

    /// Sends a request. What comes of it comes over the stream, perhaps before the server has accepted it.
    pub(crate) fn call(self: &Arc<Self>, mut call: Call, deadline: Instant, late: Late) -> Exchange {
        let id = self.requester.next_id();
        let mut calls = self.calls.lock();
        call.params = call.params.take().map(|params| calls.own_token(id, params, &mut call.token, true));
        // A handshake cannot be called off (MCP 2024-11-05 §Cancellation).
        let cancel: Box<dyn Cancel> = if call.method == method::INITIALIZE {
            Box::new(Nothing)
        } else {
            Box::new(CancelOverChannel { connection: Arc::downgrade(self), id })
        };
        let (events, exchange) = exchange(cancel, deadline, late);
        calls.add(id, events, &mut call);
        drop(calls);
        let request = Request { id: Id::number(id), method: call.method, params: call.params };
        let (request, channel) = (Message::Request(request), Arc::clone(self));
        tokio::spawn(async move {
            let posted = channel.post(&request);
            // Whoever waits for longer has been told so.
            if let Ok(Err(fault)) = timeout_at(deadline, posted).await {
                channel.finish(id, Event::Lost(fault));
            }
        });
        exchange
    }

    /// Sends a message.
    pub(crate) async fn post(&self, message: &Message) -> Result<(), Fault> {
        if self.requester.is_closed() {
            return Err(self.ended().unprocessed());
        }
        let response = self.requester.post_to(&self.target, message).await?;
        let (status, refusal) = (response.status(), Refusal::of(&response));
        // A server may say "Accepted" in words; the connection is used again once they are read.
        let _ = Limited::new(response.into_body(), ACCEPTED).collect().await;
        if status.is_success() {
            return Ok(());
        }
        if status == StatusCode::NOT_FOUND || status == StatusCode::GONE {
            // It does not know the session whose stream it has open.
            self.hang_up();
            return Err(self.ended().unprocessed());
        }
        Err(refused(self.requester.name(), &refusal))
    }

    /// Makes its requests, and knows whether the stream has ended.
    pub(crate) const fn requester(&self) -> &Arc<Requester> {
        &self.requester
    }

    /// Ends the stream, and so the session.
    pub(crate) fn end(&self) {
        if let Some(reader) = self.reader.lock().take() {
            reader.abort();
        }
        self.hang_up();
    }

    /// Loses what is in flight: the stream has ended.
    fn hang_up(&self) {
        self.lose(&self.ended());
    }

    /// Loses what is in flight for this reason.
    fn lose(&self, fault: &Fault) {
        // First closed, then taken: whoever registers in between sees the flag.
        self.requester.lose();
        self.requester.inbox().cache().closed();
        let waiting = self.calls.lock().take_all();
        for events in waiting {
            events.end(Event::Lost(fault.clone()));
        }
    }

    /// The fault of a connection that has ended.
    fn ended(&self) -> Fault {
        Fault::upstream(self.requester.name(), "ended its event stream before it answered")
    }

    /// Takes a request out of those in flight and queues its last event.
    fn finish(&self, id: u64, event: Event) {
        let waiting = self.calls.lock().take(id);
        let Some(events) = waiting else {
            return tracing::debug!(upstream = %self.requester.name(), id, "an answer to no request in flight is dropped");
        };
        events.end(event);
    }

    /// Handles the text of one event. Where it cannot be read, a request that it was meant to answer fails at once.
    fn heard(self: &Arc<Self>, text: &str) {
        let error = match self.requester.read(text) {
            Ok(message) => return self.take(message),
            Err(ParseError::Batch) => {
                for entry in Message::entries_of_server(text.as_bytes()) {
                    self.heard(entry.get());
                }
                return;
            }
            Err(error) => error,
        };
        if let ParseError::Ambiguous { id: Some(id), response: false, .. } = &error {
            let fault = Fault::downstream(code::INVALID_PARAMS, StatusCode::OK, error.reason());
            return self.answer(id.clone(), fault.outcome());
        }
        let unread = self.calls.lock().unread(text.as_bytes(), &error, iter::empty());
        if let Some(id) = unread {
            self.finish(id, Event::Lost(garbled(self.requester.name(), &error)));
        }
    }

    /// Handles one message of the stream.
    fn take(self: &Arc<Self>, message: Message) {
        match message {
            Message::Response(Response { id, outcome }) => {
                let Some(id) = self.requester.inbox().answered(id.as_ref()) else {
                    return tracing::debug!(upstream = %self.requester.name(), "a response without a usable id is ignored");
                };
                self.finish(id, Event::Done(outcome));
            }
            Message::Notification(note) => self.notified(note),
            Message::Request(request) => self.asked(request),
        }
    }

    /// Brings a notification to the request it belongs to, or to the inbox.
    fn notified(self: &Arc<Self>, note: Notification) {
        let calls = self.calls.lock();
        let (id, note) = calls.target(note, self.role, false);
        let Some((id, events)) = id.and_then(|id| Some((id, calls.events(id)?))) else {
            return self.requester.inbox().put(Inbound::Notification(note));
        };
        if !events.send(Event::Notification(note)) {
            drop(calls);
            self.give_up(id);
        }
    }

    /// Ends a request whose downstream does not keep up; the others on this connection go on.
    fn give_up(self: &Arc<Self>, id: u64) {
        Box::new(CancelOverChannel { connection: Arc::downgrade(self), id }).cancel(None);
    }

    /// Brings a request of the server to its client, where that can be told.
    fn asked(self: &Arc<Self>, request: Request) {
        if request.method == method::PING {
            return self.answer(request.id, Outcome::Result(raw(&json!({}))));
        }
        if self.role == Role::Shared {
            return self.answer(request.id, Fault::method_not_found(&request.method).outcome());
        }
        let calls = self.calls.lock();
        let speaker = calls.speaker(self.role, false);
        let Some((id, events)) = speaker.and_then(|id| Some((id, calls.events(id)?))) else {
            return self.requester.inbox().put(Inbound::Request(request));
        };
        if !events.send(Event::Request(request)) {
            drop(calls);
            self.give_up(id);
        }
    }

    /// Answers the server in a task of its own.
    fn answer(self: &Arc<Self>, id: Id, outcome: Outcome) {
        self.post_aside(Message::Response(Response { id: Some(id), outcome }));
    }

    /// Posts a message that nobody waits for, if not too many are under way.
    fn post_aside(self: &Arc<Self>, message: Message) {
        let channel = Arc::clone(self);
        tokio::spawn(async move {
            let posted = async {
                let _turn = channel.farewells.acquire().await;
                channel.post(&message).await
            };
            if let Ok(Err(fault)) = timeout(FAREWELL, posted).await {
                tracing::debug!(upstream = %channel.requester.name(), %fault, "a message is not accepted");
            }
        });
    }
}

/// Reads the stream to its end.
async fn read(
    channel: Weak<EventChannel>,
    mut stream: impl Stream<Item = Result<Sse, sse_stream::Error>> + Send + Unpin,
) {
    let broken = loop {
        let item = stream.next().await;
        let Some(channel) = channel.upgrade() else { return };
        match item {
            Some(Ok(Sse { event, data: Some(data), .. }))
                if event.as_deref().is_none_or(|event| event == "message") && !data.is_empty() =>
            {
                channel.heard(&data);
            }
            Some(Ok(_)) => {}
            Some(Err(error)) if is_too_long(&error) => {
                break Some(too_long(channel.requester.name(), channel.requester.limit()));
            }
            Some(Err(error)) if is_no_text(&error) => break Some(no_text(channel.requester.name())),
            Some(Err(_)) | None => break None,
        }
    };
    let Some(channel) = channel.upgrade() else { return };
    let Some(fault) = broken else { return channel.hang_up() };
    tracing::warn!(upstream = %channel.requester.name(), %fault, "its event stream is given up");
    channel.lose(&fault);
}

/// The address that an event stream names for messages, which must be of the same origin as the stream itself: so the
/// specification's own SDKs insist, since credentials go there.
fn resolve(stream: &Uri, named: &str) -> Option<Uri> {
    let (scheme, authority) = (stream.scheme_str()?, stream.authority()?);
    let path = if let Some(rest) = named.strip_prefix("//") {
        rest.strip_prefix(authority.as_str())?.to_owned()
    } else if named.starts_with('/') {
        named.to_owned()
    } else if named.starts_with('?') {
        format!("{}{named}", stream.path())
    } else if let Ok(absolute) = named.parse::<Uri>()
        && let Some(theirs) = absolute.scheme_str()
    {
        let port = |uri: &Uri| uri.port_u16().unwrap_or(if theirs == "https" { 443 } else { 80 });
        let same_host = absolute.host()?.eq_ignore_ascii_case(stream.host()?);
        if theirs != scheme || !same_host || port(&absolute) != port(stream) {
            return None;
        }
        absolute.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string)
    } else if named.contains(':') && named.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        return None;
    } else {
        let (directory, _) = stream.path().rsplit_once('/')?;
        format!("{directory}/{named}")
    };
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let path: PathAndQuery = path.split('#').next()?.parse().ok()?;
    Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query(path).build().ok()
}

impl Cancel for CancelOverChannel {
    fn cancel(self: Box<Self>, params: Option<Raw>) {
        let Some(connection) = self.connection.upgrade() else { return };
        if connection.calls.lock().take(self.id).is_none() || connection.requester.is_closed() {
            return;
        }
        connection.post_aside(cancelled(self.id, params));
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_for_messages_is_of_the_streams_own_origin() {
        let stream: Uri = "http://host:8000/a/sse".parse().unwrap();
        for (named, wanted) in [
            ("/messages/?session_id=1", Some("http://host:8000/messages/?session_id=1")),
            ("?session=1", Some("http://host:8000/a/sse?session=1")),
            ("message?s=1", Some("http://host:8000/a/message?s=1")),
            ("http://host:8000/m?s=1", Some("http://host:8000/m?s=1")),
            ("http://HOST:8000/m", Some("http://host:8000/m")),
            ("//host:8000/m", Some("http://host:8000/m")),
            ("/m#part", Some("http://host:8000/m")),
            ("http://host/m", None),
            ("https://host:8000/m", None),
            ("http://other:8000/m", None),
            ("//other:8000/m", None),
            ("file:///etc/passwd", None),
            ("javascript:1", None),
        ] {
            let found = resolve(&stream, named).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), wanted, "{named}");
        }
    }
}
