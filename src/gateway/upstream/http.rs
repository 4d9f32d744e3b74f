//! The connection to a Streamable HTTP upstream, in either era.
//!
//! Each request is a POST of its own, whose answer, be it one JSON body or an event stream, is read in order by whoever waits
//! for it. In the legacy era the connection holds the server's session and one GET stream for messages that belong
//! to no request. A broken event stream is resumed with `Last-Event-ID` where the server gave its events identifiers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request as HttpRequest, Response as HttpResponse, StatusCode,
    header,
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::super::error::Fault;
use super::super::relay::{
    Era, Id, MODERN, Message, Notification, Outcome, Raw, Request, Response, raw, set_member,
};
use super::driven::{Answer, Pool};
use super::endpoints::{Endpoints, Place, Target};
use super::events::{events as read_events, finish, is_stream, is_too_long, note_place};
use super::exchange::{Cancel, Event, Events, Exchange, Late, carried};
use super::headers;
use super::link::{Call, Inbound, Inbox, Role};
use crate::config::{Secret, UpstreamName};

/// The header that names a legacy session.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The header that states the revision.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The header that resumes an event stream.
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// How long to wait before a broken stream is resumed, where the server does not say.
const RETRY: Duration = Duration::from_millis(500);
/// How long ending a session may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// As many headers a request has at most, beside those of the configuration and those that mirror parameters.
const HEADERS: usize = 10;

/// One connection (in the legacy era: one session) to an endpoint.
#[derive(Debug)]
pub(crate) struct Http {
    /// Whose connection it is.
    pub(super) name: UpstreamName,
    /// The pool.
    pool: Pool,
    /// The endpoints, of which each request of the modern era goes to any.
    endpoints: Arc<Endpoints>,
    /// Where a session of the legacy era is.
    home: Option<Place>,
    /// Configured headers.
    headers: HeaderMap,
    /// The era in which requests are sent.
    era: Era,
    /// The largest message, in bytes.
    pub(super) limit: usize,
    /// The server's session, if it gave one.
    session: OnceLock<HeaderValue>,
    /// The agreed revision, for the header.
    version: OnceLock<HeaderValue>,
    /// The last identifier given out.
    last: AtomicU64,
    /// Whom messages without a request go to.
    inbox: Inbox,
    /// Who uses the connection.
    role: Role,
    /// True once the session is lost or the endpoint cannot be reached.
    closed: watch::Sender<bool>,
    /// The task of the GET stream.
    listener: OnceLock<AbortHandle>,
}

/// Where and how to connect.
#[derive(Debug)]
pub(crate) struct Endpoint<'a> {
    /// Whose it is.
    pub(crate) name: &'a UpstreamName,
    /// The pool.
    pub(crate) pool: &'a Pool,
    /// The endpoints.
    pub(crate) endpoints: &'a Arc<Endpoints>,
    /// Configured headers, checked by the configuration.
    pub(crate) headers: &'a std::collections::BTreeMap<String, Secret>,
    /// The largest message, in bytes.
    pub(crate) limit: usize,
}

/// Tells a server of the legacy era that a request is called off; closing the connection of its POST tells a modern one.
struct CancelHttp {
    /// The connection.
    connection: Arc<Http>,
    /// Our identifier of the request.
    id: u64,
}

/// A request whose answer is read.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Our identifier.
    id: u64,
    /// Whether a client waits for it, who can be asked.
    for_client: bool,
}

impl Http {
    /// A connection that has not spoken.
    pub(crate) fn new(
        endpoint: &Endpoint<'_>,
        era: Era,
        inbox: Inbox,
        role: Role,
    ) -> Result<Arc<Self>, Fault> {
        let invalid = || Fault::upstream(endpoint.name, "is configured with an address that cannot be used");
        let place = endpoint.endpoints.choose().ok_or_else(invalid)?;
        let headers = endpoint.headers.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::from_str(value.reveal()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name).ok()?, value))
        });
        Ok(Arc::new(Self {
            name: endpoint.name.clone(),
            pool: endpoint.pool.clone(),
            endpoints: Arc::clone(endpoint.endpoints),
            home: Some(place).filter(|_| era == Era::Legacy),
            headers: headers.collect(),
            era,
            limit: endpoint.limit,
            session: OnceLock::new(),
            version: OnceLock::new(),
            last: AtomicU64::new(0),
            inbox,
            role,
            closed: watch::Sender::new(false),
            listener: OnceLock::new(),
        }))
    }

    /// Sends a request.
    pub(crate) fn call(self: &Arc<Self>, call: Call, deadline: Instant, late: Late) -> Exchange {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let cancel = CancelHttp { connection: Arc::clone(self), id };
        let connection = Arc::clone(self);
        carried(Box::new(cancel), deadline, late, |events| async move {
            connection.carry(id, call, events).await;
        })
    }

    /// Sends a message that is not a request.
    pub(crate) async fn post(self: &Arc<Self>, message: &Message) -> Result<(), Fault> {
        let target = self.target()?;
        let request = self.request_to(&target, Method::POST, message.to_line().into());
        match self.pool.request(&target, request).await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(self.refused(response.status())),
            Err(error) => Err(self.unreachable(&target.uri, &error)),
        }
    }

    /// Notes the agreed revision for the header of later requests.
    pub(crate) fn agreed(&self, version: &str) {
        if let Ok(version) = HeaderValue::from_str(version) {
            let _ = self.version.set(version);
        }
    }

    /// Opens the GET stream of a legacy session.
    pub(crate) fn listen(self: &Arc<Self>) {
        let connection = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            let mut last: Option<String> = None;
            loop {
                let Some(connection) = connection.upgrade() else { return };
                let Some(stream) = connection.get_stream(last.as_deref()).await else { return };
                let mut wait = RETRY;
                connection.read_unsolicited(stream, &mut last, &mut wait).await;
                drop(connection);
                tokio::time::sleep(wait).await;
            }
        });
        let _ = self.listener.set(task.abort_handle());
    }

    /// Whether it is lost.
    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Becomes true when the session is lost or the endpoint cannot be reached.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Ends the session, as far as the server can be reached.
    pub(crate) async fn end(self: &Arc<Self>) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
        if self.session.get().is_some()
            && !self.closed.send_replace(true)
            && let Ok(target) = self.target()
        {
            let request = self.request_to(&target, Method::DELETE, Bytes::new());
            let _ = tokio::time::timeout(GOODBYE, self.pool.request(&target, request)).await;
        }
    }

    /// Where a message goes: to the session's endpoint, or to any where there is no session.
    fn target(&self) -> Result<Arc<Target>, Fault> {
        let home = self.home.as_ref().map(|place| Arc::clone(place.target()));
        let any = || self.endpoints.choose().map(|place| Arc::clone(place.target()));
        home.or_else(any).ok_or_else(|| self.unusable())
    }

    /// A request with the headers that all have.
    fn request_to(&self, target: &Target, method: Method, body: Bytes) -> HttpRequest<Full<Bytes>> {
        let accept =
            if method == Method::GET { "text/event-stream" } else { "application/json, text/event-stream" };
        let mut request = HttpRequest::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target.path.clone();
        let headers = request.headers_mut();
        headers.reserve(HEADERS + self.headers.len());
        headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        if let Some(host) = &target.host {
            headers.entry(header::HOST).or_insert_with(|| host.clone());
        }
        if let Some(version) = self.version.get() {
            headers.insert(VERSION, version.clone());
        } else if self.era == Era::Modern {
            headers.insert(VERSION, HeaderValue::from_static(MODERN));
        }
        if let Some(session) = self.session.get() {
            headers.insert(SESSION, session.clone());
        }
        request
    }

    /// Sends one request and queues everything that comes of it.
    async fn carry(&self, id: u64, call: Call, events: Events) {
        let initialize = call.method == "initialize";
        let sent = Sent { id, for_client: call.for_client };
        let message = Message::Request(Request {
            id: Id::number(id),
            method: call.method.clone(),
            params: call.params,
        });
        let Message::Request(request) = &message else { return };
        let body = Bytes::from(message.to_line());
        match self.send(request, &body, &call.headers).await {
            Ok((response, place)) => {
                if initialize && let Some(session) = response.headers().get(&SESSION) {
                    let _ = self.session.set(session.clone());
                }
                self.answered(sent, response, &events).await;
                drop(place);
            }
            Err(fault) => events.end(Event::Lost(fault)),
        }
    }

    /// Sends a request to its session's endpoint, or to one after the other until one can be reached.
    async fn send(
        &self,
        request: &Request,
        body: &Bytes,
        mirrors: &[(HeaderName, HeaderValue)],
    ) -> Result<(HttpResponse<Answer>, Option<Place>), Fault> {
        let mut left = if self.home.is_some() { 1 } else { self.endpoints.len() };
        loop {
            left -= 1;
            let chosen = if self.home.is_some() { None } else { self.endpoints.choose() };
            let Some(place) = self.home.as_ref().or(chosen.as_ref()) else { return Err(self.unusable()) };
            let target = place.target();
            let mut post = self.request_to(target, Method::POST, body.clone());
            if self.era == Era::Modern {
                headers::of_request(request, mirrors, post.headers_mut());
            }
            match self.pool.request(target, post).await {
                Ok(response) => {
                    if is_out(response.status()) {
                        place.failed();
                    } else {
                        place.worked();
                    }
                    return Ok((response, chosen));
                }
                Err(error) => {
                    place.failed();
                    let fault = self.unreachable(&target.uri, &error);
                    if error.is_connect() && left > 0 {
                        continue;
                    }
                    // Others may still be reached, but never a session's.
                    if self.home.is_some() || self.endpoints.out() == self.endpoints.len() {
                        self.closed.send_replace(true);
                    }
                    return Err(if error.is_connect() { fault.unprocessed() } else { fault });
                }
            }
        }
    }

    /// Reads the answer to a request, whatever its form.
    async fn answered(&self, sent: Sent, response: HttpResponse<Answer>, events: &Events) {
        let status = response.status();
        let kind =
            response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        if status == StatusCode::NOT_FOUND && self.session.get().is_some() {
            self.closed.send_replace(true);
            events.end(Event::Lost(Fault::upstream(&self.name, "has lost its session").unprocessed()));
        } else if status.is_success() && is_stream(kind) {
            self.read_stream(sent, response, events).await;
        } else {
            let body = Limited::new(response.into_body(), self.limit).collect().await;
            let last = match body.map(|body| Message::parse(&body.to_bytes())) {
                Ok(Ok(Message::Response(Response { outcome, .. }))) => Event::Done(outcome),
                Ok(_) if !status.is_success() => Event::Lost(self.refused(status)),
                Ok(_) => Event::Lost(Fault::upstream(&self.name, "answered with something that is not MCP")),
                Err(error) if error.is::<LengthLimitError>() => Event::Lost(self.too_long()),
                Err(error) => Event::Lost(self.broken(error.as_ref())),
            };
            events.end(last);
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
            let again = async {
                tokio::time::sleep(wait).await;
                self.get_stream(last.as_deref()).await
            };
            let Some(next) = (if resumable { again.await } else { None }) else {
                events.end(Event::Lost(Fault::upstream(&self.name, "closed the stream before it answered")));
                return;
            };
            stream = next;
        }
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

    /// Puts the messages of the GET stream into the inbox.
    async fn read_unsolicited(
        &self,
        response: HttpResponse<Answer>,
        last: &mut Option<String>,
        wait: &mut Duration,
    ) {
        let mut stream = read_events(response.into_body(), self.limit);
        while let Some(Ok(item)) = stream.next().await {
            note_place(&item, last, wait);
            match self.message(item.data) {
                Some(Message::Notification(note)) => self.inbox.put(Inbound::Notification(note)),
                Some(Message::Request(request)) => {
                    self.asked(request, |request| {
                        self.inbox.put(Inbound::Request(request));
                        true
                    })
                    .await;
                }
                Some(Message::Response(_)) | None => {}
            }
        }
    }

    /// A request of the server: answered here, refused, or handed on.
    async fn asked(&self, request: Request, hand_on: impl FnOnce(Request) -> bool) -> bool {
        let outcome = if request.method == "ping" {
            Outcome::Result(raw(&serde_json::json!({})))
        } else if self.role == Role::Shared {
            Fault::method_not_found(&request.method).outcome()
        } else {
            return hand_on(request);
        };
        let answer = Message::Response(Response { id: Some(request.id), outcome });
        if let Ok(target) = self.target() {
            let answer = self.request_to(&target, Method::POST, answer.to_line().into());
            // The stream is read on when the server takes its time.
            let _ = tokio::time::timeout(GOODBYE, self.pool.request(&target, answer)).await;
        }
        true
    }

    /// Opens an event stream with GET; `None` if the server has none.
    async fn get_stream(&self, last: Option<&str>) -> Option<HttpResponse<Answer>> {
        let target = self.target().ok()?;
        let mut request = self.request_to(&target, Method::GET, Bytes::new());
        request.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(last) = last.and_then(|last| HeaderValue::from_str(last).ok()) {
            request.headers_mut().insert(LAST_EVENT, last);
        }
        let response = self.pool.request(&target, request).await.ok()?;
        if response.status() == StatusCode::NOT_FOUND && self.session.get().is_some() {
            self.closed.send_replace(true);
        }
        let kind =
            response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        (response.status().is_success() && is_stream(kind)).then_some(response)
    }

    /// The message in an event, if there is a readable one.
    fn message(&self, data: Option<String>) -> Option<Message> {
        let data = data.filter(|data| !data.is_empty())?;
        Message::parse(data.as_bytes())
            .inspect_err(
                |error| tracing::warn!(upstream = %self.name, %error, "an event that is not MCP is ignored"),
            )
            .ok()
    }
}

/// Whether a status says that the endpoint itself is out of order (RFC 9110 §15.6).
fn is_out(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

impl Cancel for CancelHttp {
    fn cancel(self: Box<Self>, params: Option<Raw>) {
        // The connection is closed by whoever waits for the answer no longer.
        if self.connection.era == Era::Modern {
            return;
        }
        let params = params
            .unwrap_or_else(|| raw(&serde_json::json!({ "requestId": 0, "reason": "nobody waits for it" })));
        let params = set_member(&params, "requestId", &self.id.to_string()).unwrap_or(params);
        let note = Notification { method: "notifications/cancelled".to_owned(), params: Some(params) };
        tokio::spawn(async move { self.connection.post(&Message::Notification(note)).await });
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}
