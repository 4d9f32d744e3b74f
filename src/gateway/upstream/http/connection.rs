//! The connection to a Streamable HTTP upstream, in either era.
//!
//! Each request is a POST of its own, whose answer, be it one JSON body or an event stream, is read in order by whoever waits
//! for it. In the legacy era the connection holds the server's session and one GET stream for messages that belong
//! to no request. A broken event stream is resumed with `Last-Event-ID` where the server gave its events identifiers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request as HttpRequest, Response as HttpResponse, StatusCode,
    header,
};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::balancer::{Endpoints, Place, Target};
use super::pool::{Answer, Pool};
use super::refusals::Later;
use crate::config::{Secret, UpstreamName};
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    Era, Id, MODERN, Message, Notification, Outcome, Raw, Request, Response, raw, set_member,
};
use crate::gateway::upstream::call::exchange::{Cancel, Event, Events, Exchange, Late, Nothing, carried};
use crate::gateway::upstream::call::headers::{self, SESSION, VERSION};
use crate::gateway::upstream::call::request::{Call, Role};
use crate::gateway::upstream::inbox::Inbox;
use crate::gateway::upstream::log_limit::Allowance;

/// How long ending a session may take, the wait for its turn included.
const GOODBYE: Duration = Duration::from_secs(2);
/// Sessions, of all servers, that are ended at once: each needs a descriptor.
static GOODBYES: Semaphore = Semaphore::const_new(128);
/// How long calling a request off may take, the wait for its turn included.
const FAREWELL: Duration = Duration::from_secs(5);
/// Requests to one server that are called off at once; a server that hangs must not cost a descriptor for each.
const FAREWELLS: usize = 8;
/// Complaints about what a server says that are logged in a second; the rest is counted.
const COMPLAINTS: u32 = 20;
/// As many headers a request has at most, beside those of the configuration and those that mirror parameters.
const HEADERS: usize = 10;

/// One connection (in the legacy era: one session) to an endpoint.
#[derive(Debug)]
pub(crate) struct Http {
    /// Whose connection it is.
    pub(crate) name: UpstreamName,
    /// The pool.
    pub(crate) pool: Pool,
    /// The endpoints, of which each request of the modern era goes to any.
    endpoints: Arc<Endpoints>,
    /// Where a session of the legacy era is.
    home: Option<Place>,
    /// Configured headers.
    headers: HeaderMap,
    /// The era in which requests are sent.
    pub(crate) era: Era,
    /// The largest message, in bytes.
    pub(crate) limit: usize,
    /// The server's session, if it gave one.
    pub(crate) session: OnceLock<HeaderValue>,
    /// The agreed revision, for the header.
    version: OnceLock<HeaderValue>,
    /// The last identifier given out.
    last: AtomicU64,
    /// Whom messages without a request go to.
    pub(crate) inbox: Inbox,
    /// Who uses the connection.
    role: Role,
    /// True once the session is lost or the endpoint cannot be reached.
    pub(crate) closed: watch::Sender<bool>,
    /// How much of what is wrong with its messages may still be logged.
    pub(crate) complaints: Mutex<Allowance>,
    /// The task of the GET stream.
    pub(crate) listener: OnceLock<AbortHandle>,
    /// Turns of requests that are called off.
    farewells: Arc<Semaphore>,
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

/// Tells a server of the legacy era that a request is called off.
struct CancelHttp {
    /// The connection.
    connection: Arc<Http>,
    /// Our identifier of the request.
    id: u64,
}

/// A request whose answer is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Our identifier.
    pub(crate) id: u64,
    /// Whether a client waits for it, who can be asked.
    pub(crate) for_client: bool,
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
            complaints: Mutex::new(Allowance::new(COMPLAINTS)),
            listener: OnceLock::new(),
            farewells: Arc::new(Semaphore::new(FAREWELLS)),
        }))
    }

    /// Sends a request.
    pub(crate) fn call(self: &Arc<Self>, call: Call, deadline: Instant, late: Late) -> Exchange {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        // A handshake cannot be called off (MCP 2025-11-25 §Cancellation); a modern server sees the connection's end.
        let cancel: Box<dyn Cancel> = if self.era == Era::Modern || call.method == "initialize" {
            Box::new(Nothing)
        } else {
            Box::new(CancelHttp { connection: Arc::clone(self), id })
        };
        let connection = Arc::clone(self);
        carried(cancel, deadline, late, |events| async move {
            connection.carry(id, call, events).await;
        })
    }

    /// Sends a message that is not a request.
    pub(crate) async fn post(self: &Arc<Self>, message: &Message) -> Result<(), Fault> {
        let target = self.target()?;
        let request = self.request_to(&target, Method::POST, message.to_line().into());
        match self.pool.request(&target, request).await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(self.refused(response.status(), None, None)),
            Err(error) => Err(self.unreachable(&target.uri, &error)),
        }
    }

    /// Notes the agreed revision for the header of later requests.
    pub(crate) fn agreed(&self, version: &str) {
        if let Ok(version) = HeaderValue::from_str(version) {
            let _ = self.version.set(version);
        }
    }

    /// Whether the server has given it a session.
    pub(crate) fn has_session(&self) -> bool {
        self.session.get().is_some()
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
        self.abandon();
        if self.session.get().is_some()
            && !self.closed.send_replace(true)
            && let Ok(target) = self.target()
        {
            let request = self.request_to(&target, Method::DELETE, Bytes::new());
            let goodbye = async {
                let _turn = GOODBYES.acquire().await;
                self.pool.request(&target, request).await
            };
            let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        }
    }

    /// Ends the GET stream.
    pub(crate) fn abandon(&self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }

    /// Where a message goes: to the session's endpoint, or to any where there is no session.
    pub(crate) fn target(&self) -> Result<Arc<Target>, Fault> {
        let home = self.home.as_ref().map(|place| Arc::clone(place.target()));
        let any = || self.endpoints.choose().map(|place| Arc::clone(place.target()));
        home.or_else(any).ok_or_else(|| self.unusable())
    }

    /// A request with the headers that all have.
    pub(crate) fn request_to(
        &self,
        target: &Target,
        method: Method,
        body: Bytes,
    ) -> HttpRequest<Full<Bytes>> {
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
                    if self.passes_on(&response, place, left) {
                        continue;
                    }
                    return Ok((response, chosen));
                }
                Err(error) => {
                    place.failed();
                    let fault = self.unreachable(&target.uri, &error);
                    // A connection that broke may have been that of this request alone.
                    if !error.is_connect() {
                        return Err(fault);
                    }
                    if left > 0 {
                        continue;
                    }
                    // Others may still be reached, but never a session's.
                    if self.home.is_some() || self.endpoints.out() == self.endpoints.len() {
                        self.closed.send_replace(true);
                    }
                    return Err(fault.unprocessed());
                }
            }
        }
    }

    /// A request of the server: answered here, refused, or handed on.
    pub(crate) async fn asked(&self, request: Request, hand_on: impl FnOnce(Request) -> bool) -> bool {
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
}

impl Http {
    /// Notes what an answer says of its endpoint, and whether the request goes to another one, of which so many are left:
    /// a server that says when to come back has not processed it (RFC 9110 §10.2.3, RFC 6585 §4).
    fn passes_on(&self, response: &HttpResponse<Answer>, place: &Place, left: usize) -> bool {
        let (status, later) = (response.status(), Later::of(response));
        let busy = status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::SERVICE_UNAVAILABLE && later.is_some();
        if busy && self.endpoints.len() > 1 {
            place.rest(later.and_then(|Later(wait)| wait));
        } else if is_out(status) {
            place.failed();
        } else {
            place.worked();
        }
        busy && left > 0 && self.endpoints.out() < self.endpoints.len()
    }
}

/// Whether a status says that the endpoint itself is out of order (RFC 9110 §15.6).
fn is_out(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

impl Cancel for CancelHttp {
    fn cancel(self: Box<Self>, params: Option<Raw>) {
        if self.connection.is_closed() {
            return;
        }
        let params = params
            .unwrap_or_else(|| raw(&serde_json::json!({ "requestId": 0, "reason": "nobody waits for it" })));
        let params = set_member(&params, "requestId", &self.id.to_string()).unwrap_or(params);
        let note = Notification { method: "notifications/cancelled".to_owned(), params: Some(params) };
        tokio::spawn(async move {
            let farewell = async {
                let _turn = self.connection.farewells.acquire().await;
                self.connection.post(&Message::Notification(note)).await
            };
            // A server that does not read cannot make farewells pile up.
            tokio::time::timeout(FAREWELL, farewell).await
        });
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.abandon();
    }
}
