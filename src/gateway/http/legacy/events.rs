//! Clients of HTTP+SSE, the transport of revision 2024-11-05: one event stream for each session, and messages that are posted
//! beside it.
//!
//! The stream is opened first, and tells where to post; the `initialize` that comes there begins the session. Its events
//! have identifiers by which a client that comes back (`Last-Event-ID`, as every browser's `EventSource` has it) goes on,
//! also in the process after this one. A session whose client does not come back ends soon.
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
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::session::{LAST_EVENT, Legacy};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::Fault;
use crate::gateway::http::answer::{self, Item};
use crate::gateway::http::context::RequestContext;
use crate::gateway::http::cutoff::StreamEnd;
use crate::gateway::http::nowhere;
use crate::gateway::relay::{Message, code, method};
use crate::gateway::requests::InFlight;
use crate::gateway::session::{Channel, Listening, Place, Session};

/// The number of the one stream that a session has.
const ONLY: u64 = 0;

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

/// One of them.
#[derive(Debug)]
struct Opening {
    /// Where it was opened.
    endpoint: Endpoint,
    /// Who waits for the session.
    begun: oneshot::Sender<(Arc<Session>, Listening)>,
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
            && let Some(session) = self.legacy.sessions().find(id).await
            && session.endpoint() == context.endpoint()
        {
            let Some(listening) = session.listening_within(self.legacy.limits().share()) else {
                return self.legacy.too_many_streams(&session);
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
        let (begun, session) = oneshot::channel();
        let opening = Opening { endpoint: context.endpoint().clone(), begun };
        self.openings.0.lock().insert(id.clone(), opening);
        let forgets = Forgets(Arc::clone(&self.openings), id.clone());
        let patience = self.legacy.patience();
        let first = Item::named("endpoint", &address(&id), &id);
        let rest = stream::once(begins((session, forgets), end, patience))
            .flat_map(|stream| stream::iter(stream).flat_map(|stream| stream::unfold(stream, Stream::next)));
        answer::events(stream::iter([first]).chain(rest))
    }

    /// `POST /message`: a message of a session, or the one that begins it. What comes of it comes over the stream.
    pub(crate) async fn take_posted(
        &self,
        context: &RequestContext,
        id: &str,
        (message, in_flight): (Message, InFlight),
    ) -> Option<Response> {
        let cutoff = context.cutoff();
        let request = if let Message::Request(request) = &message { Some(request.id.clone()) } else { None };
        let refused = |fault: &Fault| answer::json(&fault.response(request.clone()), fault.status);
        if let Message::Request(request) = &message
            && request.method == method::INITIALIZE
        {
            let opening = self.openings.0.lock().remove(id);
            let Some(Opening { endpoint, begun }) = opening else { return Some(refused(&nobody())) };
            let place = (endpoint, Some(id.to_owned()));
            let greeted = cutoff.before(pin!(self.legacy.begin(context, place, request))).await?;
            let (session, answer) = match greeted {
                Ok(greeted) => greeted,
                Err(fault) => return Some(refused(&fault)),
            };
            let listening = session.listening_within(self.legacy.limits().share());
            let (Some(listening), Some(channel)) = (listening, session.channel()) else {
                let response = self.legacy.too_many_streams(&session);
                self.legacy.sessions().end(session.id()).await;
                return Some(response);
            };
            channel.writer().put(answer).await;
            // A client that has gone meanwhile leaves a session behind that soon ends.
            let _ = begun.send((Arc::clone(&session), listening));
            return Some(accepted());
        }
        let found = cutoff.before(pin!(self.legacy.sessions().find(id))).await?;
        let Some(session) = found.filter(|session| session.channel().is_some()) else {
            return Some(refused(&nobody()));
        };
        session.touch();
        let Message::Request(request) = message else {
            return cutoff.before(pin!(self.legacy.take(&session, message))).await;
        };
        Some(match self.legacy.carry_out(&session, request, (in_flight, cutoff.clone())) {
            Ok(()) => accepted(),
            Err(fault) => refused(&fault),
        })
    }
}

/// Waits until a session has begun for a stream that was opened for it; `None` if its client takes too long.
async fn begins(
    (session, _forgets): (oneshot::Receiver<(Arc<Session>, Listening)>, Forgets),
    end: StreamEnd,
    patience: Duration,
) -> Option<Stream> {
    let begun = tokio::select! {
        begun = timeout(patience, session) => begun.ok()?.ok()?,
        () = end.reached() => return None,
    };
    Stream::open(begun, end, None)
}

/// A message was taken; what comes of it comes over the stream.
fn accepted() -> Response {
    (StatusCode::ACCEPTED, "Accepted").into_response()
}

/// There is no such session.
fn nobody() -> Fault {
    let message = "there is no such session; open an event stream, and begin with `initialize`";
    Fault::downstream(code::INVALID_REQUEST, StatusCode::NOT_FOUND, message)
}
