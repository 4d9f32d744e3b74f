//! One legacy session: what its client is, has and waits for, in parts that own their state.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fieldwork::Fieldwork;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::calls::CallsInFlight;
use super::channel::Channel;
use super::connections::{Opened, SessionConnections};
use super::journal::SessionJournal;
use super::outbox::Outbox;
use super::own_tasks::OwnTasks;
use super::questions::Questions;
use super::readiness::Readiness;
use super::replay::{Log, Logs};
use super::subscriptions::Subscriptions;
use crate::gateway::catalog::{ConnectionSource, EndpointView, RoutingHandle};
use crate::gateway::client::{ClientKey, ClientName};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::Fault;
use crate::gateway::person::Whose;
use crate::gateway::relay::{
    ClientMeta, Era, Id, Message, Notification, Raw, Request, Response, member, member_str, method,
    signed_question,
};
use crate::gateway::upstream::{
    ClientIdentity, Kind, LastingToken, Later, Link, Listing, Standing, Upstream,
};
use crate::handover::{Change, Session as SavedSession};

/// How long a client of HTTP+SSE may take to come back for its stream.
const LEFT: Duration = Duration::from_secs(30);
/// Identifiers of servers' questions that are left to the old process, which may still ask some.
const HEADROOM: u64 = 1 << 20;

/// One downstream's session.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Session {
    /// Its identifier: 128 random bits.
    #[field(get)]
    id: String,
    /// The network address of who began it, if it has one.
    address: Option<IpAddr>,
    /// The endpoint that it was opened at.
    #[field(get)]
    endpoint: Endpoint,
    /// Of whom upstreams are shown something on its account, which is no part of the endpoint here.
    #[field(get)]
    whose: Whose,
    /// What is behind that endpoint.
    routing: Arc<RoutingHandle>,
    /// Its connections.
    #[field(get(deref = false))]
    connections: Arc<SessionConnections>,
    /// Messages for its GET stream.
    #[field(get)]
    outbox: Arc<Outbox>,
    /// Streams of answers that it may come back to.
    #[field(get)]
    logs: Logs,
    /// What its one stream brings beside the outbox, where its client speaks HTTP+SSE.
    channel: Option<Arc<Channel>>,
    /// Requests of servers to the client.
    #[field(get)]
    questions: Questions,
    /// Whether the client may be asked anything yet.
    readiness: Readiness,
    /// The client's requests in flight.
    calls: CallsInFlight,
    /// Resources that the client has subscribed to.
    #[field(get(vis = "pub(super)"))]
    subscriptions: Subscriptions,
    /// Tasks that it has begun.
    tasks: OwnTasks,
    /// When it began, perhaps in another process.
    began: SystemTime,
    /// When it was last used.
    used: Mutex<Instant>,
    /// Streams and answers that the client waits for.
    streams: AtomicUsize,
    /// How many sessions its client attends, this one among them while it has such streams.
    attended: OnceLock<Arc<AtomicUsize>>,
    /// Where it is remembered beyond this process, once it is.
    journal: OnceLock<Arc<dyn SessionJournal>>,
    /// Cancelled when the session ends.
    #[field(get)]
    ended: CancellationToken,
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

    fn meanwhile(&self, upstream: &Arc<Upstream>) -> Option<Arc<Link>> {
        self.connections.meanwhile(upstream)
    }

    fn shown(&self, upstream: &Upstream, kind: Kind, listing: Option<&Arc<Listing>>, borrowed: bool) {
        self.connections.note_shown(upstream, kind, listing, borrowed);
    }

    fn task(&self, upstream: &Upstream, id: &str) -> Standing {
        if self.tasks.has(upstream.name(), id) { Standing::Own } else { Standing::Foreign }
    }

    fn era(&self) -> Era {
        Era::Legacy
    }

    fn later(&self) -> Option<Later> {
        let outbox = Arc::downgrade(&self.outbox);
        Some(Arc::new(move |note| {
            if let Some(outbox) = outbox.upgrade() {
                outbox.put(Message::Notification(note));
            }
        }))
    }

    fn client(&self) -> Option<(ClientMeta, Option<Raw>)> {
        let level = self.connections.log_level();
        let level = level.and_then(|params| member(&params, "level").map(ToOwned::to_owned));
        Some((self.connections.modern().clone(), level))
    }
}

impl Session {
    /// A session, and where its own connections are announced when they are opened.
    pub(super) fn new(
        (id, address): (String, Option<IpAddr>),
        (routing, endpoint): (Arc<RoutingHandle>, Endpoint),
        client: ClientIdentity,
    ) -> (Self, mpsc::UnboundedReceiver<Opened>) {
        let (sender, opened) = mpsc::unbounded_channel();
        let session = Self {
            id,
            address,
            whose: Whose::of(endpoint.person().cloned()),
            endpoint: endpoint.showing(None),
            routing,
            connections: Arc::new(SessionConnections::new(client, sender)),
            outbox: Arc::default(),
            logs: Logs::default(),
            channel: None,
            questions: Questions::default(),
            readiness: Readiness::awaited(),
            calls: CallsInFlight::default(),
            subscriptions: Subscriptions::default(),
            tasks: OwnTasks::default(),
            began: SystemTime::now(),
            used: Mutex::new(Instant::now()),
            streams: AtomicUsize::new(0),
            attended: OnceLock::new(),
            journal: OnceLock::new(),
            ended: CancellationToken::new(),
        };
        (session, opened)
    }

    /// The same of a client of HTTP+SSE.
    pub(super) fn over_events(self) -> Self {
        Self { channel: Some(Channel::new()), ..self }
    }

    /// A server's request as the client is to have it, once it is ready; `None` where the client cannot be asked that, of which
    /// the server is told. Where several servers are seen as one, a person is told which of them asks.
    pub(crate) async fn asked(&self, link: &Arc<Link>, asked: Request) -> Option<Message> {
        let Request { id, method, params } = asked;
        let refused = match self.connections.client().meta.lacks(&method, params.as_deref()) {
            Some(lacking) => Some((Fault::cannot_be_asked(&method, lacking), lacking)),
            None if self.is_ready().await => None,
            None => Some((Fault::not_ready(), method::INITIALIZED)),
        };
        if let Some((fault, lacking)) = refused {
            tracing::warn!(upstream = %link.name(), method = &*method, lacking, "a request to the client is refused");
            let _ = link.write(&Message::Response(Response { id: Some(id), outcome: fault.outcome() })).await;
            return None;
        }
        let params = self.signed(link, &method, params);
        Some(self.questions.ask(link, Request { id, method, params }))
    }

    /// Whether the client may be asked anything; waits while it may be about to say so.
    pub(crate) async fn is_ready(&self) -> bool {
        tokio::select! {
            said = self.readiness.is_said() => said,
            () = self.ended.cancelled() => false,
        }
    }

    /// The parameters of a question in which a person reads who asks, where that is not clear.
    pub(crate) fn signed(&self, link: &Link, method: &str, params: Option<Raw>) -> Option<Raw> {
        if self.view().lone().is_some() {
            params
        } else {
            signed_question(method, params, link.name().as_str())
        }
    }

    /// A fresh identifier of 128 random bits (MCP 2025-11-25 §Session Management).
    pub(crate) fn fresh_id() -> Result<String, getrandom::Error> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes)?;
        Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
    }

    /// A session that another process has begun, in this one. Its streams of answers are lost with that process, unless it
    /// still is and tells what becomes of them.
    pub(super) fn restore(
        saved: SavedSession,
        routing: Arc<RoutingHandle>,
        lost: bool,
    ) -> (Self, mpsc::UnboundedReceiver<Opened>) {
        let client = saved.client.as_deref().map(ClientName::new);
        let place = (routing, Endpoint::named(saved.endpoint).of(client));
        let meta = ClientMeta { info: saved.info, capabilities: saved.capabilities };
        let client = ClientIdentity { meta, version: saved.version };
        let (session, opened) = Self::new((saved.id, saved.address), place, client);
        let began = saved.began.unwrap_or(session.began);
        // That is not told to other processes, nor written to files.
        let session = Self { began, whose: Whose::default(), ..session };
        let session = if saved.events { session.over_events() } else { session };
        session.connections.set_log_level(saved.log_level);
        // What its client has said in the meantime may have gone to the other process.
        session.readiness.say();
        for (upstream, id) in &saved.tasks {
            session.tasks.add(upstream, id);
        }
        session.questions.continue_from(saved.last_asked.saturating_add(HEADROOM));
        session.subscriptions.restore(&saved.subscriptions);
        session.outbox.continue_from(saved.last_told.saturating_add(HEADROOM));
        let number = saved.last_stream.saturating_add(HEADROOM);
        if lost {
            let lost = |id: Id| Fault::restarted().response(Some(id));
            session.logs.continue_from(number, &saved.streams, lost);
        } else {
            session.logs.go_on_beside(number, &saved.streams);
        }
        (session, opened)
    }

    /// What is saved of the session, for its way to another process, and to be found if this one dies.
    pub(crate) fn saved(&self) -> SavedSession {
        let (client, (last_stream, streams)) = (self.connections.client(), self.logs.numbers());
        SavedSession {
            id: self.id.clone(),
            endpoint: self.endpoint.name().map(str::to_owned),
            address: self.address,
            client: self.endpoint.client().map(ToString::to_string),
            info: client.meta.info.clone(),
            capabilities: client.meta.capabilities.clone(),
            version: client.version.clone(),
            log_level: self.connections.log_level(),
            subscriptions: self.subscriptions.uris(),
            tasks: self.tasks.all(),
            last_asked: self.questions.last(),
            last_stream,
            last_told: self.outbox.last(),
            streams,
            events: self.channel.is_some(),
            began: Some(self.began),
        }
    }

    /// How long it has been there, also in processes before this one.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed().unwrap_or_default()
    }

    /// Bytes that it keeps for a client that may come back.
    pub(super) fn spare(&self) -> usize {
        self.logs.spare() + self.outbox.spare()
    }

    /// Drops these, since memory is needed.
    pub(super) fn drop_spare(&self) {
        self.logs.drop_spare();
        self.outbox.drop_spare();
    }

    /// The part of the identifier that may stand in a log.
    pub(crate) fn label(&self) -> &str {
        &self.id[..8]
    }

    /// What is behind the session's endpoint now: nothing if its upstream was removed.
    pub(crate) fn view(&self) -> Arc<EndpointView> {
        self.routing
            .view_of(&self.endpoint, self.whose.person())
            .unwrap_or_else(|| Arc::new(EndpointView::empty()))
    }

    /// Whether it was opened at this endpoint, by the same client and with the same of it to be shown to upstreams.
    pub(crate) fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.endpoint.name() == endpoint.name() && self.is_of(endpoint)
    }

    /// The same wherever it was opened.
    pub(crate) fn is_of(&self, endpoint: &Endpoint) -> bool {
        self.endpoint.client() == endpoint.client() && self.whose.is(endpoint.person())
    }

    /// Whom it counts as.
    pub(crate) fn client_key(&self) -> ClientKey {
        ClientKey::of_client(self.endpoint.client(), self.address)
    }

    /// What its one stream brings beside the outbox, where its client speaks HTTP+SSE.
    pub(crate) const fn channel(&self) -> Option<&Arc<Channel>> {
        self.channel.as_ref()
    }

    /// Remembers it beyond this process from now on.
    pub(super) fn remember(&self, journal: &Arc<dyn SessionJournal>) {
        let _ = self.journal.set(Arc::clone(journal));
        journal.put(&self.id, &|| (!self.ended.is_cancelled()).then(|| self.saved().to_text()));
    }

    /// Notes a change of what is remembered of it.
    fn note(&self, change: impl Fn() -> Change) {
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
                last_asked: self.questions.last(),
                last_told: self.outbox.last(),
            });
        }
        number
    }

    /// Notes that a task was begun; `false` if that was known.
    pub(crate) fn begin_task(&self, upstream: &str, id: &str) -> bool {
        let added = self.tasks.add(upstream, id);
        if added {
            self.note(|| Change::Task(upstream.to_owned(), id.to_owned()));
        }
        added
    }

    /// Notes the progress token of a task, which holds until its end.
    pub(crate) fn keep_token(&self, upstream: &str, id: &str, token: LastingToken) {
        self.tasks.set_token(upstream, id, Some(token));
    }

    /// Notes that a task has ended, where what its server says of it tells that (MCP 2025-11-25 §Tasks, "Task Status").
    pub(crate) fn see_task(&self, upstream: &str, id: &str, said: &RawValue) {
        let status = member_str(said, "status");
        if status.is_some_and(|status| matches!(&*status, "completed" | "failed" | "cancelled")) {
            self.end_task(upstream, id);
        }
    }

    /// Notes that a task has ended: nothing is told any more of its progress.
    pub(crate) fn end_task(&self, upstream: &str, id: &str) {
        self.tasks.set_token(upstream, id, None);
    }

    /// A server's notification as the client is to have it.
    pub(crate) fn told(&self, link: &Arc<Link>, note: Notification) -> Message {
        if note.method == method::TASK_STATUS
            && let Some(params) = note.params.as_deref()
            && let Some(id) = member_str(params, "taskId")
        {
            self.see_task(link.name().as_str(), &id, params);
        }
        Message::Notification(self.questions.translated(link, note))
    }

    /// Notes a subscription or its end, for notifications of shared connections; refused where there are too many.
    pub(crate) fn note_subscription(&self, method: &str, params: Option<&RawValue>) -> Result<(), Fault> {
        let Some(uri) = params.and_then(|params| member_str(params, "uri")) else { return Ok(()) };
        match method {
            method::SUBSCRIBE => self.subscriptions.add(&uri)?,
            method::UNSUBSCRIBE if self.subscriptions.remove(&uri) => {}
            _ => return Ok(()),
        }
        // What holds when it is written, since another request may have said otherwise meanwhile.
        self.note(|| {
            let uri = uri.clone().into_owned();
            if self.subscriptions.has(&uri) { Change::Subscribed(uri) } else { Change::Unsubscribed(uri) }
        });
        Ok(())
    }

    /// Notes that the client is there.
    pub(crate) fn touch(&self) {
        *self.used.lock() = Instant::now();
    }

    /// How long the client has been silent; a request in flight or an open stream counts as use.
    pub(super) fn idle(&self) -> Duration {
        let busy = self.streams.load(Ordering::Relaxed) > 0 || !self.calls.is_empty();
        if busy { Duration::ZERO } else { self.used.lock().elapsed() }
    }

    /// Whether its client has left it: the stream of HTTP+SSE is the session, and nobody has come back for it.
    pub(super) fn is_left(&self) -> bool {
        self.channel.is_some() && self.unattended().is_some_and(|since| since > LEFT)
    }

    /// For how long nobody of the client was there; `None` while it reads a stream or waits for an answer. A request in
    /// flight whose client has gone does not count: a client could keep all its sessions by such requests.
    pub(crate) fn unattended(&self) -> Option<Duration> {
        (self.streams.load(Ordering::Relaxed) == 0).then(|| self.used.lock().elapsed())
    }

    /// Notes that the client waits for a stream or an answer, until the guard is dropped.
    pub(crate) fn listening(self: &Arc<Self>) -> Listening {
        if self.streams.fetch_add(1, Ordering::Relaxed) == 0
            && let Some(attended) = self.attended.get()
        {
            attended.fetch_add(1, Ordering::Relaxed);
        }
        Listening(Arc::clone(self))
    }

    /// The same, unless the client would attend more sessions than this: one that is in all of them would keep others out.
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

    /// Whether a request is in flight.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Registers a request in flight, as [`CallsInFlight::begin`] does.
    pub(crate) fn begin_call(&self, id: &Id) -> Result<oneshot::Receiver<Option<Raw>>, Fault> {
        self.calls.begin(id)
    }

    /// Forgets a request in flight.
    pub(crate) fn end_call(&self, id: &Id) {
        self.calls.end(id);
        self.touch();
    }

    /// Brings the client's answer to the server that asked.
    pub(crate) async fn answered(&self, response: Response) -> Result<(), Fault> {
        if !self.questions.answered(response).await? {
            tracing::debug!(session = self.label(), "an answer to no open question is dropped");
        }
        Ok(())
    }

    /// Handles a notification of the client.
    pub(crate) async fn notified(&self, note: Notification) {
        match note.method.as_str() {
            // The handshake with the upstreams has its own.
            method::INITIALIZED => self.readiness.say(),
            method::CANCELLED => self.calls.cancel(note.params),
            method::PROGRESS => match self.questions.progress(&note) {
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
}
