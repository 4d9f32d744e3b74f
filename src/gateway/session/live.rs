//! One legacy session.
//!
//! Two directions meet here: requests of the client on their way (so that it can cancel them), and requests of servers
//! to the client (so that its answers find their way back). Identifiers towards the client are the session's own,
//! since several upstreams may use the same ones.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{broadcast::error::RecvError, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::catalog::{Board, Links, Scope};
use super::super::changes::{Announced, Endpoint, LISTS, Origin, changed};
use super::super::error::Fault;
use super::super::relay::{
    ClientMeta, Id, Message, Notification, Outcome, Raw, Request, Response, code, member, member_str, raw,
    set_member,
};
use super::super::upstream::{Call, ClientIdentity, Inbound, InboxReceiver, Link, Upstream, inbox};
use super::ledger::Ledger;
use super::links::SessionLinks;
use super::outbox::Outbox;
use super::replay::Logs;
use super::transfer::{State, subscribe_again};
use crate::config::UpstreamName;

/// Requests of servers that may wait for the client's answer; the oldest are given up first.
const ASKED: usize = 1024;

/// Requests that one session may have in flight.
const CALLS: usize = 1024;

/// How long a server may take to accept or end a subscription.
pub(super) const GOODBYE: Duration = Duration::from_secs(10);

/// One downstream's session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its identifier: 128 random bits.
    pub(crate) id: String,
    /// The endpoint that it was opened at.
    endpoint: Endpoint,
    /// What is behind that endpoint.
    board: Arc<Board>,
    /// Its connections.
    pub(crate) links: Arc<SessionLinks>,
    /// Messages for its GET stream.
    pub(crate) outbox: Outbox,
    /// Streams of answers that it may come back to.
    pub(crate) logs: Logs,
    /// Cancelled when the session ends.
    pub(crate) ended: CancellationToken,
    /// Requests of servers that the client has not answered, by the identifier that it was given.
    asked: Mutex<BTreeMap<u64, Asker>>,
    /// The last identifier given to the client.
    last_asked: AtomicU64,
    /// The client's requests in flight, and how to call each off; `None` for one that was called off and has not ended.
    calls: Mutex<HashMap<Id, Option<oneshot::Sender<Option<Raw>>>>>,
    /// Resources that the client has subscribed to.
    subscribed: Mutex<HashSet<String>>,
    /// The tasks that bring updates of a modern server's resources, by URI, with the serial number of its upstream.
    pub(super) followed: Mutex<HashMap<String, (u64, AbortHandle)>>,
    /// When it was last used.
    used: Mutex<Instant>,
    /// Open GET streams.
    streams: AtomicUsize,
    /// Where it is remembered beyond this process, once it is.
    ledger: OnceLock<Arc<dyn Ledger>>,
}

/// Who waits for an answer of the client.
#[derive(Debug)]
enum Asker {
    /// A server, under its own identifier.
    Server(Arc<Link>, Id),
    /// The gateway itself, which carries the answer to a modern server.
    Gateway(oneshot::Sender<Outcome>),
}

/// Keeps a session from idling while its GET stream is open.
#[derive(Debug)]
pub(crate) struct Listening(Arc<Session>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

impl Links for Session {
    async fn link(&self, upstream: &Arc<Upstream>) -> Result<Arc<Link>, Fault> {
        self.links.get(upstream).await
    }

    fn client(&self) -> Option<(ClientMeta, Option<Raw>)> {
        let level = self.links.log_level();
        let level = level.and_then(|params| member(&params, "level").map(ToOwned::to_owned));
        Some((self.links.client().meta.clone(), level))
    }
}

impl Session {
    /// Begins a session; its task runs until the session ends.
    pub(crate) fn begin(
        id: String,
        (board, endpoint): (Arc<Board>, Endpoint),
        client: ClientIdentity,
        changes: Announced,
    ) -> Arc<Self> {
        let (sender, receiver) = inbox();
        let session = Arc::new(Self {
            id,
            endpoint,
            board,
            links: Arc::new(SessionLinks::new(client, sender)),
            outbox: Outbox::default(),
            logs: Logs::default(),
            ended: CancellationToken::new(),
            asked: Mutex::default(),
            last_asked: AtomicU64::new(0),
            calls: Mutex::default(),
            subscribed: Mutex::default(),
            followed: Mutex::default(),
            used: Mutex::new(Instant::now()),
            streams: AtomicUsize::new(0),
            ledger: OnceLock::new(),
        });
        tokio::spawn(Arc::clone(&session).forward(receiver, changes));
        session
    }

    /// What is behind the session's endpoint now: nothing if its upstream was removed.
    pub(crate) fn scope(&self) -> Arc<Scope> {
        self.board.scope(&self.endpoint).unwrap_or_else(|| Arc::new(Scope::empty()))
    }

    /// Remembers it beyond this process from now on.
    pub(super) fn remember(&self, ledger: &Arc<dyn Ledger>) {
        let _ = self.ledger.set(Arc::clone(ledger));
        self.changed();
    }

    /// Notes that what is remembered of it has changed.
    pub(crate) fn changed(&self) {
        if let Some(ledger) = self.ledger.get() {
            ledger.put(&self.id, &|| (!self.ended.is_cancelled()).then(|| State::kept(self).to_text()));
        }
    }

    /// Notes that the client is there.
    pub(crate) fn touch(&self) {
        *lock(&self.used) = Instant::now();
    }

    /// How long the client has been silent; a request in flight or an open stream counts as use.
    pub(crate) fn idle(&self) -> std::time::Duration {
        let busy = self.streams.load(Ordering::Relaxed) > 0 || !lock(&self.calls).is_empty();
        if busy { std::time::Duration::ZERO } else { lock(&self.used).elapsed() }
    }

    /// Notes that a GET stream is open until the guard is dropped.
    pub(crate) fn listening(self: &Arc<Self>) -> Listening {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Listening(Arc::clone(self))
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
        let mut calls = lock(&self.calls);
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
        lock(&self.calls).remove(id);
        self.touch();
    }

    /// Gives a server's request the identifier under which the client will know it.
    pub(crate) fn ask(&self, link: &Arc<Link>, request: Request) -> Message {
        let id = self.note_question(Asker::Server(Arc::clone(link), request.id));
        Message::Request(Request { id, ..request })
    }

    /// A question of the gateway to the client, and where the answer will be.
    pub(crate) fn ask_for_gateway(
        &self,
        method: &str,
        params: Option<Raw>,
    ) -> (Message, oneshot::Receiver<Outcome>) {
        let (sender, answer) = oneshot::channel();
        let id = self.note_question(Asker::Gateway(sender));
        (Message::Request(Request { id, method: method.to_owned(), params }), answer)
    }

    /// Notes that somebody waits for an answer, and gives the question the identifier that the client will know.
    fn note_question(&self, waiting: Asker) -> Id {
        let number = self.last_asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut asked = lock(&self.asked);
        if asked.len() >= ASKED {
            asked.pop_first();
        }
        asked.insert(number, waiting);
        Id::number(number)
    }

    /// Where it was opened.
    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether a server waits for this answer of the client.
    pub(crate) fn awaits(&self, response: &Response) -> bool {
        response.id.as_ref().and_then(Id::as_number).is_some_and(|id| lock(&self.asked).contains_key(&id))
    }

    /// The URIs that the client has subscribed to.
    pub(crate) fn subscriptions(&self) -> Vec<String> {
        lock(&self.subscribed).iter().cloned().collect()
    }

    /// The last identifier that was given to the client.
    pub(crate) fn last_asked(&self) -> u64 {
        self.last_asked.load(Ordering::Relaxed)
    }

    /// Goes on where another process has left the session.
    pub(crate) fn continue_from(&self, last_asked: u64, subscriptions: &[String]) {
        self.last_asked.store(last_asked, Ordering::Relaxed);
        lock(&self.subscribed).extend(subscriptions.iter().cloned());
    }

    /// A server's notification as the client understands it: where it takes a request back, under the identifier that
    /// the client knows.
    fn translated(&self, link: &Arc<Link>, note: Notification) -> Notification {
        if note.method != "notifications/cancelled" {
            return note;
        }
        let translate = |params: &RawValue| {
            let theirs = Id::from_json(member(params, "requestId")?.get())?;
            let mut asked = lock(&self.asked);
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
        let place = response.id.as_ref().and_then(Id::as_number).and_then(|id| lock(&self.asked).remove(&id));
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
            "notifications/initialized" => {}
            "notifications/cancelled" => self.cancel(note.params),
            _ => self.links.tell(&note).await,
        }
    }

    /// Notes a subscription or its end, for notifications of shared connections.
    pub(crate) fn note_subscription(&self, method: &str, params: Option<&RawValue>) {
        let Some(uri) = params.and_then(|params| member_str(params, "uri")) else { return };
        match method {
            "resources/subscribe" => {
                lock(&self.subscribed).insert(uri.into_owned());
            }
            "resources/unsubscribe" => {
                lock(&self.subscribed).remove(uri.as_ref());
            }
            _ => return,
        }
        self.changed();
    }

    /// Notes a subscription or its end at a shared connection. True if the server must not be told of the end, since
    /// other sessions have the same subscription over the same connection.
    pub(crate) fn note_shared_subscription(
        &self,
        upstream: &Upstream,
        method: &str,
        params: Option<&RawValue>,
    ) -> bool {
        let Some(uri) = params.and_then(|params| member_str(params, "uri")) else { return false };
        match method {
            _ if self.links.dedicated(upstream) => {
                if method.starts_with("resources/") && method.ends_with("subscribe") {
                    self.links.note_subscription(upstream, &uri, method == "resources/subscribe");
                }
                false
            }
            "resources/subscribe" => {
                upstream.subscribe(&uri, &self.id);
                false
            }
            "resources/unsubscribe" => upstream.unsubscribe(&uri, &self.id),
            _ => false,
        }
    }

    /// Ends the session and its connections.
    pub(crate) async fn end(&self) {
        self.ended.cancel();
        for (_, (_, task)) in lock(&self.followed).drain() {
            task.abort();
        }
        self.release_subscriptions();
        self.links.end().await;
    }

    /// Takes back the subscriptions that nobody else has over the shared connections.
    fn release_subscriptions(&self) {
        let uris = std::mem::take(&mut *lock(&self.subscribed));
        let scope = self.scope();
        let shared = scope.upstreams().iter().filter(|upstream| !self.links.dedicated(upstream));
        for upstream in shared {
            for uri in uris.iter().filter(|uri| upstream.has_subscriber(uri, &self.id)) {
                if upstream.unsubscribe(uri, &self.id) {
                    continue;
                }
                let (upstream, params) = (Arc::clone(upstream), raw(&json!({ "uri": uri })));
                tokio::spawn(async move {
                    let Ok(link) = upstream.shared_legacy().await else { return };
                    let call = Call::new("resources/unsubscribe", Some(params), GOODBYE);
                    let _ = link.call(call).await.outcome().await;
                });
            }
        }
    }

    /// Calls a request of the client off. Its identifier is in use until it has ended: the end would be taken for that of
    /// another request with the same one.
    fn cancel(&self, params: Option<Raw>) {
        let id = params.as_deref().and_then(|params| member(params, "requestId"));
        let id = id.and_then(|id| Id::from_json(id.get()));
        let call = id.and_then(|id| lock(&self.calls).get_mut(&id)?.take());
        if let Some(call) = call {
            let _ = call.send(params);
        }
    }

    /// The session's task: brings messages that belong to no request to the GET stream.
    async fn forward(self: Arc<Self>, mut own: InboxReceiver, mut shared: Announced) {
        loop {
            tokio::select! {
                () = self.ended.cancelled() => return,
                message = own.recv() => match message {
                    Some((name, message)) => self.forward_own(&name, message).await,
                    None => return,
                },
                change = shared.recv() => match change {
                    Ok((origin, note)) => self.forward_shared(&origin, note),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(session = self.label(), missed, "the session missed notifications");
                        // Any list may have changed, and there may have been a reload.
                        let endpoint = HashSet::from([self.endpoint.clone()]);
                        let origin = Origin::Reload(Arc::new(endpoint));
                        LISTS.map(changed).into_iter().for_each(|note| self.forward_shared(&origin, note));
                    }
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    /// A message of one of the session's own connections.
    async fn forward_own(&self, name: &UpstreamName, message: Inbound) {
        let upstream = {
            let scope = self.scope();
            scope.upstreams().iter().find(|upstream| upstream.connector.name() == name).cloned()
        };
        let current = match upstream {
            Some(upstream) => self.links.find(&upstream).await,
            None => None,
        };
        // While a reload lets go of an upstream, its connection may still have something to say.
        let link = current.or_else(|| self.links.open().into_iter().rfind(|link| link.name == *name));
        match message {
            Inbound::Notification(note) => {
                let note = match link {
                    Some(link) => {
                        link.known.forget(&note.method);
                        self.translated(&link, note)
                    }
                    None => note,
                };
                self.outbox.put(Message::Notification(note));
            }
            Inbound::Request(request) => {
                if let Some(link) = link {
                    let message = self.ask(&link, request);
                    self.outbox.put(message);
                }
            }
        }
    }

    /// A notification of a shared connection: list changes for everybody, resource updates for subscribers. Log
    /// messages and the like are dropped, since nothing says whose they are.
    fn forward_shared(self: &Arc<Self>, origin: &Origin, note: Notification) {
        let name = match origin {
            Origin::Upstream(name) => name,
            Origin::Reload(endpoints) => {
                if endpoints.contains(&self.endpoint) {
                    if note.method == "notifications/resources/list_changed" {
                        // What is new has not been told yet.
                        tokio::spawn(subscribe_again(Arc::clone(self), self.subscriptions()));
                    }
                    self.outbox.put(Message::Notification(note));
                }
                return;
            }
        };
        let scope = self.scope();
        let Some(upstream) = scope.upstreams().iter().find(|upstream| upstream.connector.name() == name)
        else {
            return;
        };
        let wanted = match note.method.as_str() {
            "notifications/resources/updated" => note
                .params
                .as_deref()
                .and_then(|params| member_str(params, "uri"))
                .is_some_and(|uri| lock(&self.subscribed).contains(uri.as_ref())),
            method => method.ends_with("/list_changed") && !self.links.has_own(upstream),
        };
        if wanted {
            self.outbox.put(Message::Notification(note));
        }
    }
}

/// Locks; a panic elsewhere does not make the maps wrong.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
