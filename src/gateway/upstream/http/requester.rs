//! Requests to one Streamable HTTP upstream: where each goes, the headers that it has, and the session that it belongs to.
//!
//! In the modern era a request goes to any endpoint that can be reached; in the legacy era to that of the session.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use fieldwork::Fieldwork;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request as HttpRequest, Response as HttpResponse, StatusCode,
    header,
};
use http_body_util::{BodyExt as _, Full, Limited};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::balancer::{Balancer, Chosen, Target};
use super::credential::Credential;
use super::pool::{Failed, Pool, ResponseBody};
use super::redirect::{HOPS, NotFollowed, Redirect};
use super::refusals::{Advice, Later, Refusal, refused, unreachable, unusable};
use super::sse::{content_type, is_stream};
use crate::config::{Secret, UpstreamName};
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, Id, MODERN, Message, Outcome, ParseError, Request, Response, method, raw};
use crate::gateway::upstream::call::headers::{self, SESSION, VERSION};
use crate::gateway::upstream::call::request::Role;
use crate::gateway::upstream::call::tokens::Tokens;
use crate::gateway::upstream::inbox::{Inbox, Loose};
use crate::gateway::upstream::log_limit::LogRateLimit;

/// How long ending a session may take, the wait for a permit included.
const GOODBYE: Duration = Duration::from_secs(2);
/// Sessions, of all servers, that are ended at once: each needs a descriptor.
static GOODBYES: Semaphore = Semaphore::const_new(128);
/// Requests to one server that are called off at once; a server that hangs must not cost a descriptor for each.
const FAREWELLS: usize = 8;
/// Warnings about what a server says that are logged in a second; the rest is counted.
const WARNINGS: u32 = 20;
/// As many headers a request has at most, beside those of the configuration and those that mirror parameters.
const HEADERS: usize = 10;
/// The shortest time between two questions whether the server knows the session that refused messages lead to.
const BETWEEN: Duration = Duration::from_secs(5);
/// As much of what stands beside a redirect is read, in bytes.
const REDIRECTED: usize = 64 << 10;
/// The header that resumes an event stream.
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// How long nothing may come, the head of the answer included, before an event stream is opened anew.
pub(crate) const SILENCE: Duration = Duration::from_secs(600);

/// Makes and sends the requests of one connection (in the legacy era: one session).
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Requester {
    /// Whose connection it is.
    #[field(get)]
    name: UpstreamName,
    /// The pool.
    pool: Pool,
    /// The endpoints, of which each request of the modern era goes to any.
    balancer: Arc<Balancer>,
    /// Where a session of the legacy era is.
    home: Option<Chosen>,
    /// Configured headers.
    headers: HeaderMap,
    /// The token that it is shown, if it wants one of an authorization server.
    credential: Option<Arc<Credential>>,
    /// The era in which requests are sent.
    #[field(get(copy))]
    era: Era,
    /// The largest message, in bytes.
    #[field(get)]
    limit: usize,
    /// The server's session, if it gave one.
    session: OnceLock<HeaderValue>,
    /// The agreed revision, for the header.
    version: OnceLock<HeaderValue>,
    /// A place from which all requests are sent on for good, and where to (RFC 9110 §15.4.9).
    moved: OnceLock<(Arc<Target>, Arc<Target>)>,
    /// The last identifier given out.
    last: AtomicU64,
    /// Whom messages without a request go to.
    #[field(get)]
    inbox: Inbox,
    /// Who uses the connection.
    role: Role,
    /// True once the session is lost or the endpoint cannot be reached.
    closed: watch::Sender<bool>,
    /// How much of what is wrong with its messages may still be logged.
    log_limit: Mutex<LogRateLimit>,
    /// Permits for calling requests off.
    farewells: Semaphore,
    /// Progress tokens of requests in flight.
    tokens: Arc<Tokens>,
    /// When the server was last asked whether it knows the session, after it had refused a message.
    asked: Mutex<Option<Instant>>,
}

/// Where and how to connect.
#[derive(Debug)]
pub(crate) struct Destination<'a> {
    /// Whose it is.
    pub(crate) name: &'a UpstreamName,
    /// The pool.
    pub(crate) pool: &'a Pool,
    /// The endpoints.
    pub(crate) balancer: &'a Arc<Balancer>,
    /// Configured headers, checked by the configuration.
    pub(crate) headers: &'a BTreeMap<String, Secret>,
    /// The token that it is shown, if it wants one of an authorization server.
    pub(crate) credential: Option<&'a Arc<Credential>>,
    /// The largest message, in bytes.
    pub(crate) limit: usize,
}

/// What came of asking for a stream.
pub(crate) enum Got {
    /// The stream.
    Stream(Box<HttpResponse<ResponseBody>>),
    /// The server has none, or the session is lost.
    Nothing,
    /// Not this one, or not now.
    Refused,
    /// It may have one another time.
    Failure,
}

impl Requester {
    /// A connection that has not spoken.
    pub(crate) fn new(
        destination: &Destination<'_>,
        era: Era,
        inbox: Inbox,
        role: Role,
    ) -> Result<Arc<Self>, Fault> {
        let invalid =
            || Fault::upstream(destination.name, "is configured with an address that cannot be used");
        let place = destination.balancer.choose().ok_or_else(invalid)?;
        let headers = destination.headers.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::from_str(value.reveal()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name).ok()?, value))
        });
        Ok(Arc::new(Self {
            name: destination.name.clone(),
            pool: destination.pool.clone(),
            balancer: Arc::clone(destination.balancer),
            home: Some(place).filter(|_| era == Era::Legacy),
            headers: headers.collect(),
            credential: destination.credential.cloned(),
            era,
            limit: destination.limit,
            session: OnceLock::new(),
            version: OnceLock::new(),
            moved: OnceLock::new(),
            last: AtomicU64::new(0),
            inbox,
            role,
            closed: watch::Sender::new(false),
            log_limit: Mutex::new(LogRateLimit::new(WARNINGS)),
            farewells: Semaphore::new(FAREWELLS),
            tokens: Arc::default(),
            asked: Mutex::default(),
        }))
    }

    /// The identifier of the next request.
    pub(crate) fn next_id(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Progress tokens of requests in flight.
    pub(crate) const fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// Whether the server has given a session.
    pub(crate) fn has_session(&self) -> bool {
        self.session.get().is_some()
    }

    /// Notes the session that the answer to a handshake gives.
    pub(crate) fn begin_session<B>(&self, response: &HttpResponse<B>) {
        if let Some(session) = response.headers().get(&SESSION) {
            let _ = self.session.set(session.clone());
        }
    }

    /// Notes the agreed revision for the header of later requests.
    pub(crate) fn agreed(&self, version: &str) {
        if let Ok(version) = HeaderValue::from_str(version) {
            let _ = self.version.set(version);
        }
    }

    /// Whether the server may be asked now whether it knows the session, because it has refused a message: not for each.
    pub(crate) fn may_ask(&self) -> bool {
        let mut asked = self.asked.lock();
        let may = self.has_session() && asked.is_none_or(|asked| asked.elapsed() >= BETWEEN);
        if may {
            *asked = Some(Instant::now());
        }
        may
    }

    /// Notes that the session is lost.
    pub(crate) fn lose(&self) {
        self.closed.send_replace(true);
    }

    /// Whether it is lost.
    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Becomes true when the session is lost or the endpoint cannot be reached.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Sends a message that is not a request.
    pub(crate) async fn post(&self, message: &Message) -> Result<(), Fault> {
        let target = self.target()?;
        let body = Bytes::from(message.to_line());
        match self.request(&target, |target| self.request_to(target, Method::POST, body.clone())).await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(refused(&self.name, &Refusal::of(&response))),
            Err(error) => Err(unreachable(&self.name, &target.uri, &error)),
        }
    }

    /// Sends a message to another address than that of the endpoint: HTTP+SSE has messages and their answers apart.
    pub(crate) async fn post_to(
        &self,
        target: &Arc<Target>,
        message: &Message,
    ) -> Result<HttpResponse<ResponseBody>, Fault> {
        let body = Bytes::from(message.to_line());
        let post = || self.request_to(target, Method::POST, body.clone());
        self.request_once(target, post).await.map_err(|error| {
            let fault = unreachable(&self.name, &target.uri, &error);
            if error.is_connect() { fault.unprocessed() } else { fault }
        })
    }

    /// Asks the endpoint for an event stream.
    pub(crate) async fn get(&self) -> Result<(HttpResponse<ResponseBody>, Arc<Target>), Fault> {
        let target = self.target()?;
        let get = || {
            let mut request = self.request_to(&target, Method::GET, Bytes::new());
            request.headers_mut().remove(header::CONTENT_TYPE);
            request
        };
        let response = self.request_once(&target, get).await;
        let response = response.map_err(|error| {
            if let Some(place) = &self.home {
                place.failed();
            }
            let fault = unreachable(&self.name, &target.uri, &error);
            if error.is_connect() { fault.unprocessed() } else { fault }
        })?;
        Ok((response, target))
    }

    /// The same for one of which only so many are sent at once: it calls a request off.
    pub(crate) async fn post_farewell(&self, message: &Message) -> Result<(), Fault> {
        let _turn = self.farewells.acquire().await;
        self.post(message).await
    }

    /// Ends the session, as far as the server can be reached.
    pub(crate) async fn end_session(&self) {
        if self.has_session()
            && !self.closed.send_replace(true)
            && let Ok(target) = self.target()
        {
            let goodbye = async {
                let _turn = GOODBYES.acquire().await;
                self.request(&target, |target| self.request_to(target, Method::DELETE, Bytes::new())).await
            };
            let _ = timeout(GOODBYE, goodbye).await;
        }
    }

    /// Where a message goes: to the session's endpoint, or to any where there is no session.
    fn target(&self) -> Result<Arc<Target>, Fault> {
        let home = self.home.as_ref().map(|place| Arc::clone(place.target()));
        let any = || self.balancer.choose().map(|place| Arc::clone(place.target()));
        home.or_else(any).ok_or_else(|| unusable(&self.name))
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

    /// Sends a request to its session's endpoint, or to one after the other until one can be reached.
    pub(crate) async fn send(
        &self,
        request: &Request,
        body: &Bytes,
        mirrors: &[(HeaderName, HeaderValue)],
    ) -> Result<(HttpResponse<ResponseBody>, Option<Chosen>), Fault> {
        let mut left = if self.home.is_some() { 1 } else { self.balancer.len() };
        loop {
            left -= 1;
            let chosen = if self.home.is_some() { None } else { self.balancer.choose() };
            let Some(place) = self.home.as_ref().or(chosen.as_ref()) else {
                return Err(unusable(&self.name));
            };
            let target = place.target();
            let post = |target: &Target| {
                let mut post = self.request_to(target, Method::POST, body.clone());
                if self.era == Era::Modern {
                    headers::of_request(request, mirrors, post.headers_mut());
                }
                post
            };
            match self.request(target, post).await {
                Ok(response) => {
                    if self.passes_on(&response, place, left) {
                        continue;
                    }
                    return Ok((response, chosen));
                }
                Err(error) => {
                    let fault = unreachable(&self.name, &target.uri, &error);
                    if matches!(error, Failed::Token(_)) {
                        return Err(fault);
                    }
                    place.failed();
                    // A connection that broke may have been that of this request alone.
                    if !error.is_connect() {
                        return Err(fault);
                    }
                    if left > 0 {
                        continue;
                    }
                    // Others may still be reached, but never a session's.
                    if self.home.is_some() || self.balancer.out() == self.balancer.len() {
                        self.closed.send_replace(true);
                    }
                    return Err(fault.unprocessed());
                }
            }
        }
    }

    /// Sends what `make` makes for a place, and again for the places that the server sends it on to.
    async fn request(
        &self,
        target: &Arc<Target>,
        make: impl Fn(&Target) -> HttpRequest<Full<Bytes>>,
    ) -> Result<HttpResponse<ResponseBody>, Failed> {
        let Some(credential) = &self.credential else { return self.follow(target, make).await };
        let make = &make;
        let send = |token: HeaderValue| {
            self.follow(target, move |target: &Target| with_token(make(target), token.clone()))
        };
        Box::pin(shown(credential, send)).await
    }

    /// The same to this place only.
    async fn request_once(
        &self,
        target: &Arc<Target>,
        make: impl Fn() -> HttpRequest<Full<Bytes>>,
    ) -> Result<HttpResponse<ResponseBody>, Failed> {
        let Some(credential) = &self.credential else { return self.pool.request(target, make()).await };
        let send = |token: HeaderValue| self.pool.request(target, with_token(make(), token));
        Box::pin(shown(credential, send)).await
    }

    /// [`Self::request`] with what `make` has made, whatever that shows.
    async fn follow(
        &self,
        target: &Arc<Target>,
        make: impl Fn(&Target) -> HttpRequest<Full<Bytes>>,
    ) -> Result<HttpResponse<ResponseBody>, Failed> {
        let moved = self.moved.get().filter(|(from, _)| Arc::ptr_eq(from, target)).map(|(_, to)| to);
        let (mut at, mut permanent) = (Arc::clone(moved.unwrap_or(target)), moved.is_none());
        let mut left = HOPS;
        loop {
            let mut response = self.pool.request(&at, make(&at)).await?;
            let status = response.status();
            permanent &= status == StatusCode::PERMANENT_REDIRECT;
            let why = match Redirect::of(&at, status, response.headers()) {
                None => return Ok(response),
                Some(Redirect::To(next)) if left > 0 => {
                    // Only the first one: what others say is not said of the configured place.
                    if permanent && left == HOPS {
                        let _ = self.moved.set((Arc::clone(target), Arc::clone(&next)));
                    }
                    (at, left) = (next, left - 1);
                    // Its connection can be used again once it is read.
                    let rest = Limited::new(response.into_body(), REDIRECTED).collect();
                    let _ = timeout(GOODBYE, Box::pin(rest)).await;
                    continue;
                }
                Some(Redirect::To(_)) => NotFollowed::Circle,
                Some(Redirect::Refused(why)) => why,
            };
            response.extensions_mut().insert(why);
            return Ok(response);
        }
    }

    /// Opens an event stream with GET.
    pub(crate) async fn open_stream(&self, last: Option<&str>) -> Got {
        let Ok(target) = self.target() else { return Got::Nothing };
        let make = |target: &Target| {
            let mut request = self.request_to(target, Method::GET, Bytes::new());
            request.headers_mut().remove(header::CONTENT_TYPE);
            if let Some(last) = last.and_then(|last| HeaderValue::from_str(last).ok()) {
                request.headers_mut().insert(LAST_EVENT, last);
            }
            request
        };
        let Ok(Ok(response)) = timeout(SILENCE, self.request(&target, make)).await else {
            return Got::Failure;
        };
        match response.status() {
            status if status.is_success() && is_stream(content_type(&response)) => {
                Got::Stream(Box::new(response))
            }
            // A server without such a stream says 405 (MCP 2025-11-25 §Listening for Messages from the Server), and many
            // have no such route at all.
            StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED
            | StatusCode::NOT_FOUND
            | StatusCode::GONE => Got::Nothing,
            // Some servers have one stream only, and have not noticed that the one before has ended.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => Got::Failure,
            status if status.is_server_error() => Got::Failure,
            status if status.is_client_error() => Got::Refused,
            _ => Got::Nothing,
        }
    }

    /// A request of the server: answered here, refused, or handed on.
    pub(crate) async fn asked(&self, request: Request, hand_on: impl FnOnce(Request) -> bool) -> bool {
        let outcome = if request.method == method::PING {
            Outcome::Result(raw(&serde_json::json!({})))
        } else if self.role == Role::Shared {
            Fault::method_not_found(&request.method).outcome()
        } else {
            return hand_on(request);
        };
        let answer = Message::Response(Response { id: Some(request.id), outcome });
        if let Ok(target) = self.target() {
            let body = Bytes::from(answer.to_line());
            let answer = |target: &Target| self.request_to(target, Method::POST, body.clone());
            // The stream is read on when the server takes its time.
            let _ = timeout(GOODBYE, self.request(&target, answer)).await;
        }
        true
    }

    /// The messages in an event that can be read.
    pub(crate) fn messages(&self, text: &str) -> Vec<Message> {
        match self.read(text) {
            Err(ParseError::Batch) => {
                let entries = Message::entries_of_server(text.as_bytes());
                entries.iter().filter_map(|entry| self.read(entry.get()).ok()).collect()
            }
            read => read.into_iter().collect(),
        }
    }

    /// The message in this text; what is wrong with it is logged.
    pub(crate) fn read(&self, text: &str) -> Result<Message, ParseError> {
        Message::of_server(text.as_bytes(), || self.inbox.tell_loose(Loose::Null)).inspect_err(|error| {
            if !matches!(error, ParseError::Batch) {
                self.complain(error);
            }
        })
    }

    /// Whether an identifier means this request of ours.
    pub(crate) fn is_ours(&self, theirs: &Id, id: u64) -> bool {
        self.inbox.answered(Some(theirs)) == Some(id)
    }

    /// Logs what is wrong with a message.
    pub(crate) fn complain(&self, error: &ParseError) {
        let mut log_limit = self.log_limit.lock();
        if log_limit.admits(&self.name) {
            let reason = error.reason();
            tracing::warn!(upstream = %self.name, reason, "a message that is not MCP is not passed on");
        }
    }

    /// Notes what an answer says of its endpoint, and whether the request goes to another one, of which so many are left:
    /// a server that says when to come back has not processed it (RFC 9110 §10.2.3, RFC 6585 §4).
    fn passes_on(&self, response: &HttpResponse<ResponseBody>, place: &Chosen, left: usize) -> bool {
        let status = response.status();
        if status.is_success() {
            place.worked();
            return false;
        }
        let later = Later::of(response);
        let busy = status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::SERVICE_UNAVAILABLE && later.is_some();
        if busy && self.balancer.len() > 1 {
            place.rest(later.and_then(Later::wait));
        } else if is_out(status) {
            place.failed();
        } else {
            place.worked();
        }
        busy && left > 0 && self.balancer.out() < self.balancer.len()
    }
}

/// A request that shows this token.
fn with_token(mut request: HttpRequest<Full<Bytes>>, token: HeaderValue) -> HttpRequest<Full<Bytes>> {
    request.headers_mut().insert(header::AUTHORIZATION, token);
    request
}

/// Sends a request that shows the upstream's token, and once more where another one is to be had for one that is refused.
async fn shown<Sending>(
    credential: &Credential,
    send: impl Fn(HeaderValue) -> Sending,
) -> Result<HttpResponse<ResponseBody>, Failed>
where
    Sending: Future<Output = Result<HttpResponse<ResponseBody>, Failed>>,
{
    let missing = |trouble| Failed::Token(Box::new(trouble));
    let token = credential.token().await.map_err(missing)?;
    let mut response = send(token.clone()).await?;
    if response.status() == StatusCode::UNAUTHORIZED {
        match credential.after(&token).await {
            Some(token) => response = send(token).await?,
            None => {
                if let Some(trouble) = credential.needs_login() {
                    return Err(missing(trouble));
                }
            }
        }
    }
    let advice = match response.status() {
        StatusCode::FORBIDDEN => {
            credential.lacks(response.headers()).map(|scopes| credential.advice_for(&scopes))
        }
        StatusCode::UNAUTHORIZED => Some("does not take the token of its authorization server".to_owned()),
        _ => None,
    };
    if let Some(advice) = advice {
        response.extensions_mut().insert(Advice(advice));
    }
    Ok(response)
}

/// Whether a status says that the endpoint itself is out of order (RFC 9110 §15.6).
fn is_out(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}
