//! Clients of HTTP+SSE, the transport of revision 2024-11-05: one event stream for each session, and messages that are posted
//! beside it.
//!
//! The stream is opened first, and tells where to post; the `initialize` that comes there begins the session. Its events
//! have identifiers by which a client that comes back (`Last-Event-ID`, as every browser's `EventSource` has it) goes on,
//! also in the process after this one. A session whose client does not come back ends soon.
//!
//! The official TypeScript clients come back without that header, and go on at the address of the new stream as if nothing had
//! been: whatever else comes there than `initialize` begins a session too, of a client that is able to do nothing more than
//! every client. What clients ask before they begin (`ping`, and whether the server is of 2026-07-28) begins none.
//!
//! When the gateway drains, a stream ends as soon as all that is in flight was answered over it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::session::{LAST_EVENT, Legacy};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::Fault;
use crate::gateway::http::answer::{self, Item};
use crate::gateway::http::context::RequestContext;
use crate::gateway::http::cutoff::StreamEnd;
use crate::gateway::http::nowhere;
use crate::gateway::relay::{Era, Message, Outcome, Request, Response as Answer, code, method, raw};
use crate::gateway::session::{Channel, Listening, Place, Session};
use crate::gateway::telemetry::{Operation, Reason, Verdict};

/// The number of the one stream that a session has.
const ONLY: u64 = 0;
/// Answers that may wait for a stream on which no session has begun.
const EARLY: usize = 8;
/// How long a client may take to come back for its stream while it posts already.
const BACK: Duration = Duration::from_secs(2);

/// Serves such clients.
pub(crate) struct EventClients {
    /// Handles their sessions.
    legacy: Arc<Legacy>,
    /// Streams on which none has begun.
    openings: Arc<Openings>,
}

/// Streams whose clients have not begun a session yet, by identifier.
#[derive(Debug, Default)]
struct Openings(Mutex<HashMap<String, Opening>>);

impl Openings {
    /// Whether there is one that this client has opened.
    fn have(&self, id: &str, context: &RequestContext) -> bool {
        self.0.lock().get(id).is_some_and(|opening| opening.endpoint.client() == context.client())
    }

    /// Takes one out for the client that has opened it.
    fn take(&self, id: &str, context: &RequestContext) -> Option<Opening> {
        let mut openings = self.0.lock();
        openings.get(id).filter(|opening| opening.endpoint.client() == context.client())?;
        openings.remove(id)
    }
}

/// One of them.
#[derive(Debug)]
struct Opening {
    /// Where it was opened.
    endpoint: Endpoint,
    /// The way to it.
    told: mpsc::Sender<Told>,
}

/// What a stream is told on which no session has begun.
#[derive(Debug)]
enum Told {
    /// An answer to what was asked before.
    Answer(Message),
    /// The session.
    Begun(Arc<Session>, Listening),
}

/// A stream on which no session has begun.
struct Waiting {
    /// Its identifier; it is forgotten with this.
    forgets: Forgets,
    /// What it is told.
    told: mpsc::Receiver<Told>,
    /// When it is to end.
    end: StreamEnd,
    /// Until when its client may take to begin.
    deadline: Instant,
}

/// A stream in either state.
enum Phase {
    /// No session has begun.
    Waiting(Waiting),
    /// That of a session.
    Begun(Stream),
}

impl Phase {
    /// What comes next; nothing once its client has taken too long.
    async fn next(self) -> Option<(Item, Self)> {
        let stream = match self {
            Self::Begun(stream) => stream,
            Self::Waiting(mut waiting) => {
                let told = tokio::select! {
                    told = timeout_at(waiting.deadline, waiting.told.recv()) => told.ok()??,
                    () = waiting.end.reached() => return None,
                };
                match told {
                    Told::Answer(message) => {
                        let item = Item::message(&message, Some(&waiting.forgets.1));
                        return Some((item, Self::Waiting(waiting)));
                    }
                    Told::Begun(session, listening) => Stream::open((session, listening), waiting.end, None)?,
                }
            }
        };
        let (item, stream) = stream.next().await?;
        Some((item, Self::Begun(stream)))
    }
}

/// Forgets a stream that ends before a session has begun.
struct Forgets(Arc<Openings>, String);

impl Drop for Forgets {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}

/// The stream of a session.
struct Stream {
    /// Whose it is.
    session: Arc<Session>,
    /// Answers, and what belongs to requests.
    channel: Arc<Channel>,
    /// Keeps the session from ending.
    _listening: Listening,
    /// When it is to end.
    end: StreamEnd,
    /// Its number in the channel, and its ticket for the outbox.
    numbers: (u64, u64),
    /// Where it is.
    place: Place,
    /// Whether its client was told where it can go on.
    parted: bool,
}

impl Stream {
    /// The stream of a session after a place; `None` of a session of another transport.
    fn open(
        (session, listening): (Arc<Session>, Listening),
        end: StreamEnd,
        after: Option<Place>,
    ) -> Option<Self> {
        let channel = Arc::clone(session.channel()?);
        let (number, mut place) = channel.open(after);
        let (own, others) = session.outbox().open(ONLY, after.map(|place| place.others));
        place.others = others;
        let numbers = (number, own);
        Some(Self { session, channel, _listening: listening, end, numbers, place, parted: false })
    }

    /// Where it is, for the client.
    fn id(&self) -> String {
        format!("{}-{}", self.session.id(), self.place)
    }

    /// What comes next.
    async fn next(mut self) -> Option<(Item, Self)> {
        if self.parted {
            return None;
        }
        let over = async {
            self.end.reached().await;
            self.channel.idle().await;
        };
        let message = tokio::select! {
            biased;
            next = self.channel.next(self.numbers.0, self.place.answers) => {
                let (place, message) = next?;
                self.place.answers = place;
                message
            }
            next = self.session.outbox().next(self.numbers.1, self.place.others) => {
                let (place, message) = next?;
                self.place.others = place;
                message
            }
            () = self.session.ended().cancelled() => return None,
            () = over => {
                self.parted = true;
                return Some((Item::parting(&self.id()), self));
            }
        };
        Some((Item::message(&message, Some(&self.id())), self))
    }
}

/// Where a client is to post its messages.
fn address(id: &str) -> String {
    format!("/message?sessionId={id}")
}

impl EventClients {
    /// With the handler of their sessions.
    pub(crate) fn new(legacy: Arc<Legacy>) -> Self {
        Self { legacy, openings: Arc::default() }
    }

    /// `GET /sse`: opens the stream of a session that is to begin, or goes on with one.
    pub(crate) async fn open(&self, context: &RequestContext, headers: &HeaderMap) -> Response {
        if !answer::accepts_stream(headers) {
            return nowhere::not_acceptable();
        }
        let end = StreamEnd::new(self.legacy.draining(), context.cutoff());
        let last = headers.get(LAST_EVENT).and_then(|id| id.to_str().ok()).and_then(|id| id.split_once('-'));
        if let Some((id, place)) = last
            && let Some(session) = self.legacy.sessions().find_at(id, context.endpoint()).await
        {
            let Some(listening) = session.listening_within(self.legacy.limits().share()) else {
                return self.legacy.too_many_streams(context, &session);
            };
            let after = place.parse().ok();
            if let Some(stream) = Stream::open((session, listening), end, after) {
                let first = Item::named("endpoint", &address(id), &stream.id());
                return answer::events(stream::iter([first]).chain(stream::unfold(stream, Stream::next)));
            }
            return StatusCode::NOT_FOUND.into_response();
        }
        let Ok(id) = Session::fresh_id() else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let (sender, told) = mpsc::channel(EARLY);
        let opening = Opening { endpoint: context.endpoint().clone(), told: sender };
        self.openings.0.lock().insert(id.clone(), opening);
        let first = Item::named("endpoint", &address(&id), &id);
        let forgets = Forgets(Arc::clone(&self.openings), id);
        let waiting = Waiting { forgets, told, end, deadline: Instant::now() + self.legacy.patience() };
        answer::events(stream::iter([first]).chain(stream::unfold(Phase::Waiting(waiting), Phase::next)))
    }

    /// Answers what a client asks before it begins a session: whether such a message was taken.
    fn answered_early(&self, id: &str, request: &Request) -> bool {
        let message = match &*request.method {
            method::PING => {
                let outcome = Outcome::Result(raw(&serde_json::json!({})));
                Message::Response(Answer { id: Some(request.id.clone()), outcome })
            }
            // The official TypeScript client looks over the stream only for the answer that has it fall back.
            method::DISCOVER => {
                let message = "HTTP+SSE is not part of 2026-07-28; begin with `initialize`";
                let fault = Fault::downstream(code::METHOD_NOT_FOUND, StatusCode::NOT_FOUND, message);
                fault.response(Some(request.id.clone()))
            }
            _ => return false,
        };
        let openings = self.openings.0.lock();
        openings.get(id).is_some_and(|opening| opening.told.try_send(Told::Answer(message)).is_ok())
    }

    /// Begins the session of a stream; `None` if there is no such stream, or its client has gone.
    async fn begin(
        &self,
        (context, operation): (&RequestContext, &Operation),
        id: &str,
        request: &Request,
    ) -> Result<Option<(Arc<Session>, Message)>, Response> {
        let opening = self.openings.take(id, context);
        let Some(Opening { endpoint, told }) = opening else { return Ok(None) };
        let place = (endpoint, Some(id.to_owned()));
        let refused = |fault: Fault| {
            operation.failed(&fault);
            answer::fault(&fault, Some(request.id.clone()), Era::Modern)
        };
        let (session, answer) = self.legacy.begin(context, place, request).await.map_err(refused)?;
        let Some(listening) = session.listening_within(self.legacy.limits().share()) else {
            operation.ended(Verdict::Refused(Reason::Sessions));
            let response = self.legacy.too_many(&session);
            self.legacy.sessions().end(session.id()).await;
            return Err(response);
        };
        // A client that has gone meanwhile leaves a session behind that soon ends.
        let _ = told.send(Told::Begun(Arc::clone(&session), listening)).await;
        Ok(Some((session, answer)))
    }

    /// Waits until a client reads its stream, since what comes of a message would reach nobody else; `false` if it does not
    /// come back for it. While the process before this one is there, it may have the stream.
    async fn is_read(&self, session: &Session) -> bool {
        if session.unattended().is_none() {
            return true;
        }
        let Some(channel) = session.channel() else { return false };
        let before = self.legacy.peer().sender().filter(|_| !self.legacy.draining().is_cancelled());
        let late = async {
            if let Some(before) = before {
                before.over().cancelled().await;
            }
            tokio::time::sleep(BACK).await;
        };
        tokio::select! {
            biased;
            () = channel.until(|| session.unattended().is_none()) => true,
            () = late => false,
        }
    }

    /// `POST /message`: a message of a session, or the one that begins it. What comes of it comes over the stream.
    pub(crate) async fn take_posted(
        &self,
        context: &RequestContext,
        id: &str,
        (message, operation): (Message, &Arc<Operation>),
    ) -> Option<Response> {
        let cutoff = context.cutoff();
        let request = if let Message::Request(request) = &message { Some(request.id.clone()) } else { None };
        let refused = |fault: &Fault| {
            operation.failed(fault);
            answer::json(&fault.response(request.clone()), fault.status)
        };
        if let Message::Request(request) = &message
            && request.method == method::INITIALIZE
        {
            return Some(match cutoff.before(pin!(self.begin((context, operation), id, request))).await? {
                Ok(Some((session, answer))) => {
                    operation.ended(Verdict::Ok);
                    if let Some(channel) = session.channel() {
                        channel.writer().put(answer).await;
                    }
                    accepted()
                }
                Ok(None) => refused(&nobody()),
                Err(response) => response,
            });
        }
        let found = match &message {
            Message::Request(request) if self.openings.have(id, context) => {
                if self.answered_early(id, request) {
                    operation.ended(Verdict::Ok);
                    return Some(accepted());
                }
                match cutoff.before(pin!(self.begin((context, operation), id, &unsaid(request)))).await? {
                    Ok(begun) => begun.map(|(session, _)| session),
                    Err(response) => return Some(response),
                }
            }
            _ => cutoff.before(pin!(self.legacy.sessions().find(id))).await?,
        };
        let is_own = |session: &Arc<Session>| session.is_of(context.endpoint());
        let Some(session) = found.filter(|session| session.channel().is_some() && is_own(session)) else {
            return Some(refused(&nobody()));
        };
        session.touch();
        if !cutoff.before(pin!(self.is_read(&session))).await? {
            return Some(refused(&nobody()));
        }
        let Message::Request(request) = message else {
            return cutoff.before(pin!(self.legacy.take(&session, message))).await;
        };
        Some(match self.legacy.carry_out(&session, request, (Arc::clone(operation), cutoff.clone())) {
            Ok(()) => accepted(),
            Err(fault) => refused(&fault),
        })
    }
}

/// The handshake of a client that does not say it before this request.
fn unsaid(request: &Request) -> Request {
    let params = serde_json::json!({
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": { "name": "unknown", "version": "" }
    });
    Request { id: request.id.clone(), method: method::INITIALIZE.into(), params: Some(raw(&params)) }
}

/// A message was taken; what comes of it comes over the stream.
fn accepted() -> Response {
    (StatusCode::ACCEPTED, "Accepted").into_response()
}

/// There is no such session.
fn nobody() -> Fault {
    let message = "there is no such session; open an event stream, and begin with `initialize`";
    Fault::downstream(code::INVALID_REQUEST, StatusCode::NOT_FOUND, message).refusal(Reason::Session)
}
