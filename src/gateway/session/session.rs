//! One legacy session.
//!
//! Two directions meet here: requests of the client on their way (so that it can cancel them), and requests of servers
//! to the client (so that its answers find their way back). Identifiers towards the client are the session's own,
//! since several upstreams may use the same ones.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connections::SessionConnections;
use super::journal::SessionJournal;
use super::outbox::Outbox;
use super::own_tasks::OwnTasks;
use super::replay::{Log, Logs};
use super::subscriptions::Subscribed;
use super::transfer::{Change, State};
use crate::gateway::catalog::{ConnectionSource, EndpointView, RoutingHandle};
use crate::gateway::changes::{Announced, Endpoint};
use crate::gateway::client::ClientKey;
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    ClientMeta, Era, Id, Message, Notification, Outcome, Raw, Request, Response, code, member, method,
    set_member, set_path,
};
use crate::gateway::upstream::{ClientIdentity, Link, Standing, Upstream};

/// Requests of servers that may wait for the client's answer; the oldest are given up first.
const ASKED: usize = 1024;

/// Requests that one session may have in flight.
const CALLS: usize = 1024;

/// How long a server may take to accept or end a subscription.
pub(super) const SUBSCRIPTION_LIMIT: Duration = Duration::from_secs(10);

/// One downstream's session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its identifier: 128 random bits.
    pub(crate) id: String,
    /// The network address of who began it, if it has one.
    pub(crate) address: Option<IpAddr>,
    /// The endpoint that it was opened at.
    endpoint: Endpoint,
    /// What is behind that endpoint.
    routing: Arc<RoutingHandle>,
    /// Its connections.
    pub(crate) connections: Arc<SessionConnections>,
    /// Messages for its GET stream.
    pub(crate) outbox: Outbox,
    /// Streams of answers that it may come back to.
    pub(crate) logs: Logs,
    /// Cancelled when the session ends.
    pub(crate) ended: CancellationToken,
    /// Requests of servers that the client has not answered, by the identifier that it was given.
    asked: Mutex<BTreeMap<u64, Asker>>,
    /// Whose progress the client tells by these tokens of the session's own, and by which token of the server's.
    tokens: Mutex<BTreeMap<u64, (Weak<Link>, Raw)>>,
    /// The last identifier given to the client.
    last_asked: AtomicU64,
    /// The client's requests in flight, and how to call each off; `None` for one that was called off and has not ended.
    calls: Mutex<HashMap<Id, Option<oneshot::Sender<Option<Raw>>>>>,
    /// Resources that the client has subscribed to.
    pub(super) subscribed: Mutex<Subscribed>,
    /// The tasks that bring updates of a modern server's resources, by URI, with the serial number of its upstream.
    pub(super) followed: Mutex<HashMap<String, (u64, AbortHandle)>>,
    /// Tasks that it has begun.
    pub(super) begun: Mutex<OwnTasks>,
    /// When it was last used.
    used: Mutex<Instant>,
    /// Streams and answers that the client waits for.
    streams: AtomicUsize,
    /// How many sessions its client attends, this one among them while it has such streams.
    attended: OnceLock<Arc<AtomicUsize>>,
    /// Where it is remembered beyond this process, once it is.
    journal: OnceLock<Arc<dyn SessionJournal>>,
}

/// Who waits for an answer of the client.
#[derive(Debug)]
enum Asker {
    /// A server, under its own identifier.
    Server(Arc<Link>, Id),
    /// The gateway itself, which carries the answer to a modern server.
    Gateway(oneshot::Sender<Outcome>),
}

/// Keeps a session from idling while its client is there.
#[derive(Debug)]
pub(crate) struct Listening(Arc<Session>);

impl Drop for Listening {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(attended) = self.0.attended.get()
        {
            attended.fetch_sub(1, Ordering::Relaxed);
        }
        self.0.touch();
    }
}

impl ConnectionSource for Session {
    async fn link(&self, upstream: &Arc<Upstream>) -> Result<Arc<Link>, Fault> {
        self.connections.get(upstream).await
    }

    fn task(&self, upstream: &Upstream, id: &str) -> Standing {
        if self.has_task(upstream.name(), id) { Standing::Own } else { Standing::Foreign }
    }

    fn era(&self) -> Era {
        Era::Legacy
    }

    fn client(&self) -> Option<(ClientMeta, Option<Raw>)> {
        let level = self.connections.log_level();
        let level = level.and_then(|params| member(&params, "level").map(ToOwned::to_owned));
        Some((self.connections.client().meta.clone(), level))
    }
}

impl Session {
    /// Begins a session; its task runs until the session ends.
    pub(crate) fn begin(
        (id, address): (String, Option<IpAddr>),
        (routing, endpoint): (Arc<RoutingHandle>, Endpoint),
        client: ClientIdentity,
        changes: Announced,
    ) -> Arc<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let session = Arc::new(Self {
            id,
            address,
            endpoint,
            routing,
            connections: Arc::new(SessionConnections::new(client, sender)),
            outbox: Outbox::default(),
            logs: Logs::default(),
            ended: CancellationToken::new(),
            asked: Mutex::default(),
            tokens: Mutex::default(),
            last_asked: AtomicU64::new(0),
            calls: Mutex::default(),
            subscribed: Mutex::default(),
            followed: Mutex::default(),
            begun: Mutex::default(),
            used: Mutex::new(Instant::now()),
            streams: AtomicUsize::new(0),
            attended: OnceLock::new(),
            journal: OnceLock::new(),
        });
        tokio::spawn(Arc::clone(&session).forward(receiver, changes));
        session
    }

    /// What is behind the session's endpoint now: nothing if its upstream was removed.
    pub(crate) fn view(&self) -> Arc<EndpointView> {
        self.routing.view(&self.endpoint).unwrap_or_else(|| Arc::new(EndpointView::empty()))
    }

    /// Remembers it beyond this process from now on.
    pub(super) fn remember(&self, journal: &Arc<dyn SessionJournal>) {
        let _ = self.journal.set(Arc::clone(journal));
        journal.put(&self.id, &|| (!self.ended.is_cancelled()).then(|| State::kept(self).to_text()));
    }

    /// Notes a change of what is remembered of it.
    pub(super) fn note(&self, change: impl Fn() -> Change) {
        if let Some(journal) = self.journal.get() {
            journal.note(&self.id, &|| (!self.ended.is_cancelled()).then(|| change().to_text()));
        }
    }

    /// Sets the log level that the client has asked for.
    pub(crate) fn set_log_level(&self, params: Option<Raw>) {
        self.connections.set_log_level(params);
        self.note(|| Change::LogLevel(self.connections.log_level()));
    }

    /// Keeps the log of a request, so that its client may come back for it; the number of its stream.
    pub(crate) fn keep_log(&self, id: &Id, log: &Arc<Log>) -> u64 {
        let number = self.logs.keep(id, log);
        if let Ok(request) = RawValue::from_string(id.as_str().to_owned()) {
            self.note(|| Change::Stream {
                number,
                request: request.clone(),
                last_asked: self.last_asked(),
                last_told: self.outbox.last(),
            });
        }
        number
    }

    /// Notes that the client is there.
    pub(crate) fn touch(&self) {
        *self.used.lock() = Instant::now();
    }

    /// How long the client has been silent; a request in flight or an open stream counts as use.
    pub(crate) fn idle(&self) -> std::time::Duration {
        let busy = self.streams.load(Ordering::Relaxed) > 0 || !self.calls.lock().is_empty();
        if busy { std::time::Duration::ZERO } else { self.used.lock().elapsed() }
    }

    /// For how long nobody of the client was there; `None` while it reads a stream or waits for an answer. A request in
    /// flight whose client has gone does not count: whoever opens sessions could keep them all by such requests.
    pub(crate) fn unattended(&self) -> Option<Duration> {
        (self.streams.load(Ordering::Relaxed) == 0).then(|| self.used.lock().elapsed())
    }

    /// Whom it counts as.
    pub(crate) fn client_key(&self) -> ClientKey {
        ClientKey::of(self.address)
    }

    /// Bytes that the client says about itself, which are kept for as long as the session.
    pub(super) fn weight(&self) -> usize {
        super::store::weight(&self.connections.client().meta)
    }

    /// Notes that the client is there, be it for a stream or for an answer, until the guard is dropped.
    pub(crate) fn listening(self: &Arc<Self>) -> Listening {
        if self.streams.fetch_add(1, Ordering::Relaxed) == 0
            && let Some(attended) = self.attended.get()
        {
            attended.fetch_add(1, Ordering::Relaxed);
        }
        Listening(Arc::clone(self))
    }

    /// The same, unless the client would attend more sessions than this: whoever is in all of them would keep others out.
    pub(crate) fn listening_within(self: &Arc<Self>, share: usize) -> Option<Listening> {
        let listening = self.listening();
        let first = self.streams.load(Ordering::Relaxed) == 1;
        let many = self.attended.get().is_some_and(|attended| attended.load(Ordering::Relaxed) > share);
        (!first || !many).then_some(listening)
    }

    /// Counts it among the sessions that its client attends from now on, while it does.
    pub(super) fn count_among(&self, attended: &Arc<AtomicUsize>) {
        let _ = self.attended.set(Arc::clone(attended));
    }

    /// The part of the identifier that may stand in a log.
    pub(crate) fn label(&self) -> &str {
        &self.id[..8]
    }

    /// Registers a request in flight; the receiver fires when the client cancels it. Refused for an identifier that is in
    /// use, and where there are too many.
    pub(crate) fn begin_call(&self, id: &Id) -> Result<oneshot::Receiver<Option<Raw>>, Fault> {
        let (cancel, cancelled) = oneshot::channel();
        let refused = |status, message| Err(Fault::downstream(code::INVALID_REQUEST, status, message));
        let mut calls = self.calls.lock();
        if calls.contains_key(id) {
            let message = format!("a request with the id {id} is already in flight in this session");
            return refused(StatusCode::BAD_REQUEST, message);
        }
        if calls.len() >= CALLS {
            let message = format!("this session has {CALLS} requests in flight; wait for some of them");
            return refused(StatusCode::TOO_MANY_REQUESTS, message);
        }
        calls.insert(id.clone(), Some(cancel));
        Ok(cancelled)
    }

    /// Forgets a request in flight.
    pub(crate) fn end_call(&self, id: &Id) {
        self.calls.lock().remove(id);
        self.touch();
    }

    /// Gives a server's request the identifier under which the client will know it, and a progress token in the same way.
    pub(crate) fn ask(&self, link: &Arc<Link>, request: Request) -> Message {
        let number = self.note_question(Asker::Server(Arc::clone(link), request.id));
        let retold = request.params.as_deref().and_then(|params| {
            let token = member(member(params, "_meta")?, "progressToken")?;
            let retold = set_path(params, &["_meta", "progressToken"], &number.to_string())?;
            let mut tokens = self.tokens.lock();
            if tokens.len() >= ASKED {
                tokens.pop_first();
            }
            tokens.insert(number, (Arc::downgrade(link), token.to_owned()));
            Some(retold)
        });
        let params = retold.or(request.params);
        Message::Request(Request { id: Id::number(number), params, ..request })
    }

    /// The server that a client's progress is meant for, and the notification as that one knows it; `None` where no server
    /// has asked for it.
    fn progress(&self, note: &Notification) -> Option<(Weak<Link>, Notification)> {
        let params = note.params.as_deref()?;
        let number = member(params, "progressToken")?.get().parse().ok()?;
        let (link, token) = self.tokens.lock().get(&number).cloned()?;
        let params = Some(set_member(params, "progressToken", token.get())?);
        Some((link, Notification { params, ..note.clone() }))
    }

    /// A question of the gateway to the client, and where the answer will be.
    pub(crate) fn ask_for_gateway(
        &self,
        method: &str,
        params: Option<Raw>,
    ) -> (Message, oneshot::Receiver<Outcome>) {
        let (sender, answer) = oneshot::channel();
        let id = Id::number(self.note_question(Asker::Gateway(sender)));
        (Message::Request(Request { id, method: method.to_owned(), params }), answer)
    }

    /// Notes that somebody waits for an answer, and gives the question the number by which the client will know it.
    fn note_question(&self, waiting: Asker) -> u64 {
        let number = self.last_asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut asked = self.asked.lock();
        if asked.len() >= ASKED {
            asked.pop_first();
        }
        asked.insert(number, waiting);
        number
    }

    /// Where it was opened.
    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether a server waits for this answer of the client.
    pub(crate) fn awaits(&self, response: &Response) -> bool {
        response.id.as_ref().and_then(Id::as_number).is_some_and(|id| self.asked.lock().contains_key(&id))
    }

    /// The last identifier that was given to the client.
    pub(crate) fn last_asked(&self) -> u64 {
        self.last_asked.load(Ordering::Relaxed)
    }

    /// Goes on where another process has left the session.
    pub(crate) fn continue_from(&self, last_asked: u64, subscriptions: &[String]) {
        self.last_asked.store(last_asked, Ordering::Relaxed);
        let mut subscribed = self.subscribed.lock();
        for uri in subscriptions {
            subscribed.restore(uri);
        }
    }

    /// A server's notification as the client understands it: where it takes a request back, under the identifier that
    /// the client knows.
    pub(crate) fn translated(&self, link: &Arc<Link>, note: Notification) -> Notification {
        if note.method != method::CANCELLED {
            return note;
        }
        let translate = |params: &RawValue| {
            let theirs = Id::from_json(member(params, "requestId")?.get())?;
            let mut asked = self.asked.lock();
            let same = |asker: &Asker| matches!(asker, Asker::Server(on, id) if Arc::ptr_eq(on, link) && *id == theirs);
            let number = asked.iter().find(|(_, question)| same(question)).map(|(number, _)| *number)?;
            asked.remove(&number);
            set_member(params, "requestId", &number.to_string())
        };
        let params = note.params.as_deref().and_then(translate).or(note.params);
        Notification { params, ..note }
    }

    /// Brings the client's answer to the server that asked.
    pub(crate) async fn answered(&self, response: Response) -> Result<(), Fault> {
        let place = response.id.as_ref().and_then(Id::as_number).and_then(|id| self.asked.lock().remove(&id));
        match place {
            Some(Asker::Server(link, id)) => {
                link.write(&Message::Response(Response { id: Some(id), ..response })).await
            }
            Some(Asker::Gateway(answer)) => {
                // The request may have been cancelled meanwhile.
                let _ = answer.send(response.outcome);
                Ok(())
            }
            None => {
                tracing::debug!(session = self.label(), "an answer to no open question is dropped");
                Ok(())
            }
        }
    }

    /// Handles a notification of the client.
    pub(crate) async fn notified(&self, note: Notification) {
        match note.method.as_str() {
            // The handshake with the upstreams has its own.
            method::INITIALIZED => {}
            method::CANCELLED => self.cancel(note.params),
            method::PROGRESS => match self.progress(&note) {
                Some((link, note)) => {
                    if let Some(link) = link.upgrade()
                        && let Err(fault) = link.write(&Message::Notification(note)).await
                    {
                        tracing::debug!(session = self.label(), %fault, "progress does not reach its server");
                    }
                }
                None => self.connections.tell(&note).await,
            },
            _ => self.connections.tell(&note).await,
        }
    }

    /// Ends the session and its connections.
    pub(crate) async fn end(&self) {
        self.ended.cancel();
        for (_, (_, task)) in self.followed.lock().drain() {
            task.abort();
        }
        self.release_subscriptions();
        self.connections.end().await;
    }

    /// Calls a request of the client off. Its identifier is in use until it has ended: the end would be taken for that of
    /// another request with the same one.
    fn cancel(&self, params: Option<Raw>) {
        let id = params.as_deref().and_then(|params| member(params, "requestId"));
        let id = id.and_then(|id| Id::from_json(id.get()));
        let call = id.and_then(|id| self.calls.lock().get_mut(&id)?.take());
        if let Some(call) = call {
            let _ = call.send(params);
        }
    }
}
