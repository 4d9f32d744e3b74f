//! Keeping one upstream up: start, watch, and start again after a growing wait.
//!
//! Invariants: there is at most one native connection at a time; it is ended (its process group gone) before the next
//! is started; a broken upstream never blocks anything but calls to itself.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::super::error::Fault;
use super::super::relay::{ClientMeta, Era, Notification, Outcome, raw};
use super::super::status::{Audience, UpstreamStatus};
use super::exchange::Event;
use super::handshake::{ClientIdentity, Connector};
use super::link::{Call, Inbound, InboxReceiver, Link, Role, inbox};
use super::retry::Backoff;
use crate::config::{Transport, UpstreamName};

/// Notifications that may wait for a slow session; it misses the oldest beyond.
const CHANGES: usize = 256;

/// A wait before the next attempt that calls are held back for.
const SHORT: Duration = Duration::from_millis(500);
/// How long a request that was certainly not processed waits for the next connection.
const RENEWAL: Duration = Duration::from_secs(5);
/// How long one stream of changes may last before it is opened anew.
const LISTEN: Duration = Duration::from_secs(24 * 60 * 60);
/// The wait before a stream of changes that broke is opened again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Where all upstreams announce what belongs to no request.
pub(crate) type Changes = broadcast::Sender<(UpstreamName, Notification)>;

/// A channel for announcements.
pub(crate) fn changes() -> Changes {
    broadcast::Sender::new(CHANGES)
}

/// What an upstream is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its handshake is under way.
    Starting,
    /// It answers.
    Ready,
    /// It failed and is tried again after a wait.
    BackingOff,
    /// The gateway has ended it.
    Stopped,
}

/// One configured MCP server.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// How it is reached.
    pub(crate) connector: Connector,
    /// Its state, and its connection while it is ready.
    current: watch::Sender<(State, Option<Arc<Link>>)>,
    /// The shared legacy connection to a server that is modern by nature, opened on demand.
    shared_legacy: tokio::sync::Mutex<Option<Arc<Link>>>,
    /// Connections that ended.
    restarts: AtomicU64,
    /// Who has subscribed to which resource over the shared legacy connection.
    subscribers: Mutex<HashMap<String, HashSet<String>>>,
    /// What was wrong last.
    last_error: Mutex<Option<Fault>>,
    /// Notifications of shared connections that belong to no request, of all upstreams, for every session.
    changes: Changes,
    /// Where shared connections leave such messages.
    inbox: tokio::sync::mpsc::Sender<(UpstreamName, Inbound)>,
    /// Asks for the end.
    stop: CancellationToken,
}

impl Upstream {
    /// Starts supervising.
    pub(crate) fn start(connector: Connector, changes: Changes) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let (sender, receiver) = inbox();
        let upstream = Arc::new(Self {
            connector,
            current: watch::Sender::new((State::Starting, None)),
            shared_legacy: tokio::sync::Mutex::default(),
            restarts: AtomicU64::new(0),
            subscribers: Mutex::default(),
            last_error: Mutex::default(),
            changes,
            inbox: sender,
            stop: CancellationToken::new(),
        });
        tokio::spawn(Arc::clone(&upstream).announce(receiver));
        let task = tokio::spawn(Arc::clone(&upstream).supervise());
        (upstream, task)
    }

    /// The upstream's name.
    pub(crate) fn name(&self) -> &str {
        self.connector.name().as_str()
    }

    /// The native connection, waiting for a start that is under way.
    pub(crate) async fn native(&self) -> Result<Arc<Link>, Fault> {
        let mut current = self.current.subscribe();
        // A connection that has just been lost is as good as starting: the supervisor is about to notice.
        let lost = |link: &Option<Arc<Link>>| link.as_ref().is_some_and(|link| !link.is_open());
        let settled = current.wait_for(|(state, link)| *state != State::Starting && !lost(link));
        let (state, link) = match timeout(self.connector.settings.start_timeout, settled).await {
            Ok(Ok(current)) => current.clone(),
            _ => (State::Starting, None),
        };
        match link {
            Some(link) if link.is_open() => Ok(link),
            _ => Err(self.unavailable(state)),
        }
    }

    /// Whether the last attempt failed, so that the next one may well fail, too.
    pub(crate) fn is_failing(&self) -> bool {
        self.error().is_some()
    }

    /// Waits for a short while until there is a native connection that is open: after one was lost.
    pub(crate) async fn renewed(&self) {
        let mut current = self.current.subscribe();
        let open = current.wait_for(|(_, link)| link.as_ref().is_some_and(|link| link.is_open()));
        // Whoever waits then asks for the connection and is told why there is none.
        let _ = timeout(RENEWAL, open).await;
    }

    /// What it is doing.
    pub(crate) fn state(&self) -> State {
        self.current.borrow().0
    }

    /// The native connection if it is there now.
    pub(crate) fn ready(&self) -> Option<Arc<Link>> {
        self.current.borrow().1.clone().filter(|link| link.is_open())
    }

    /// The legacy connection that all sessions share; the native one where the server speaks nothing else.
    pub(crate) async fn shared_legacy(self: &Arc<Self>) -> Result<Arc<Link>, Fault> {
        let native = self.native().await?;
        if native.era == Era::Legacy {
            return Ok(native);
        }
        // A task of its own, since a caller that gives up must not end a server that is slow to start.
        let upstream = Arc::clone(self);
        let opened = tokio::spawn(async move { upstream.open_shared_legacy(native).await });
        opened.await.map_err(|_| Fault::upstream(&self.name(), "could not be opened"))?
    }

    /// Opens the shared legacy connection if it is not open; `native` where the server has no such thing.
    async fn open_shared_legacy(&self, native: Arc<Link>) -> Result<Arc<Link>, Fault> {
        let mut shared = self.shared_legacy.lock().await;
        if let Some(link) = shared.as_ref().filter(|link| link.is_open()) {
            return Ok(Arc::clone(link));
        }
        let opened =
            self.connector.open_legacy(&ClientIdentity::default(), Role::Shared, self.inbox.clone()).await;
        let link = opened.map_or_else(
            |fault| {
                tracing::debug!(upstream = self.name(), %fault, "the server speaks the modern era only");
                native
            },
            Arc::new,
        );
        *shared = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Notes that `who` has subscribed to a resource over the shared connection.
    pub(crate) fn subscribe(&self, uri: &str, who: &str) {
        self.subscribers().entry(uri.to_owned()).or_default().insert(who.to_owned());
    }

    /// Notes that `who` has not; `true` if others still have, so that the server must not be told.
    pub(crate) fn unsubscribe(&self, uri: &str, who: &str) -> bool {
        let mut subscribers = self.subscribers();
        let Some(others) = subscribers.get_mut(uri) else { return false };
        others.remove(who);
        let any = !others.is_empty();
        if !any {
            subscribers.remove(uri);
        }
        any
    }

    /// Whether `who` has subscribed to a resource over the shared connection.
    pub(crate) fn has_subscriber(&self, uri: &str, who: &str) -> bool {
        self.subscribers().get(uri).is_some_and(|subscribers| subscribers.contains(who))
    }

    /// The subscribers by resource.
    fn subscribers(&self) -> std::sync::MutexGuard<'_, HashMap<String, HashSet<String>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the first attempt has succeeded or failed.
    pub(crate) async fn tried(&self) {
        let mut current = self.current.subscribe();
        let _ = current.wait_for(|(state, _)| *state != State::Starting).await;
    }

    /// Asks for the end of all shared connections; the supervising task returns when they are gone.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// A snapshot.
    pub(crate) fn status(&self, audience: Audience) -> UpstreamStatus {
        let (state, link) = self.current.borrow().clone();
        UpstreamStatus {
            name: self.name().to_owned(),
            transport: self.transport().to_owned(),
            state,
            era: link.as_ref().map(|link| link.era),
            pid: link.and_then(|link| link.pid()),
            restarts: self.restarts.load(Ordering::Relaxed),
            last_error: self.error().as_ref().map(|fault| match (&fault.detail, audience) {
                (Some(detail), Audience::Operator) => detail.clone(),
                _ => fault.message.clone(),
            }),
        }
    }

    /// The transport's name.
    fn transport(&self) -> &'static str {
        match (&self.connector.builtin, &self.connector.settings.transport) {
            (Some(_), _) => "builtin",
            (None, Transport::Stdio { .. }) => "stdio",
            (None, Transport::Http { .. }) => "http",
        }
    }

    /// What was wrong last.
    fn error(&self) -> std::sync::MutexGuard<'_, Option<Fault>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a call is told while there is no connection.
    fn unavailable(&self, state: State) -> Fault {
        let reason = match (state, &*self.error()) {
            (State::Stopped, _) => "is stopped: the gateway is shutting down".to_owned(),
            (State::Starting, _) => "is still starting; try again soon".to_owned(),
            (_, Some(fault)) => format!("is not available and is tried again soon: {fault}"),
            (_, None) => "is not available and is tried again soon".to_owned(),
        };
        Fault::upstream(&self.name(), reason).unprocessed()
    }

    /// The supervising task.
    async fn supervise(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let fault = tokio::select! {
                fault = self.live() => fault,
                () = self.stop.cancelled() => break,
            };
            let wait = backoff.next(began.elapsed());
            let error = fault.detail.as_ref().unwrap_or(&fault.message);
            tracing::warn!(upstream = self.name(), error, retry_in = ?wait, "the upstream is not available");
            *self.error() = Some(fault);
            // One that has worked is about to be back: whoever calls it waits for that instead of failing.
            let worked = self.current.borrow().1.is_some() && wait < SHORT;
            self.retire(if worked { State::Starting } else { State::BackingOff }).await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => break,
            }
            self.current.send_replace((State::Starting, None));
        }
        self.retire(State::Stopped).await;
    }

    /// One life: from starting to the connection's end; returns what was wrong.
    async fn live(&self) -> Fault {
        match self.connector.open_native(self.inbox.clone()).await {
            Err(fault) => fault,
            Ok(link) => {
                let mut closed = link.wire.closed();
                tracing::info!(
                    upstream = self.name(), era = ?link.era, version = link.handshake.version, "the upstream is ready"
                );
                *self.error() = None;
                let link = Arc::new(link);
                self.current.send_replace((State::Ready, Some(Arc::clone(&link))));
                self.announce_everything();
                let listening = tokio::spawn(listen(Arc::clone(&link), self.inbox.clone()));
                let _ = closed.wait_for(|closed| *closed).await;
                listening.abort();
                self.restarts.fetch_add(1, Ordering::Relaxed);
                Fault::upstream(&self.name(), "has ended")
            }
        }
    }

    /// Takes the shared connections away from callers and ends them.
    async fn retire(&self, state: State) {
        let (_, native) = self.current.send_replace((state, None));
        let legacy = if state == State::Stopped { self.shared_legacy.lock().await.take() } else { None };
        for link in [native, legacy].into_iter().flatten() {
            let how = link.wire.end().await;
            tracing::debug!(upstream = self.name(), %how, "the connection");
        }
    }

    /// Tells sessions that the lists are to be read again: the upstream has come up.
    fn announce_everything(&self) {
        for list in ["tools", "prompts", "resources"] {
            let method = format!("notifications/{list}/list_changed");
            let _ = self.changes.send((self.connector.name().clone(), Notification { method, params: None }));
        }
    }

    /// Passes messages of shared connections that belong to no request on to the sessions.
    async fn announce(self: Arc<Self>, mut inbox: InboxReceiver) {
        loop {
            let message = tokio::select! {
                message = inbox.recv() => message,
                () = self.stop.cancelled() => return,
            };
            let note = match message {
                Some((_, Inbound::Notification(note))) => note,
                Some((_, Inbound::Request(_))) => continue,
                None => return,
            };
            // While the lock is held a connection is being opened: it has nothing to forget.
            let legacy = self.shared_legacy.try_lock().ok().and_then(|shared| shared.clone());
            for link in [self.ready(), legacy].into_iter().flatten() {
                link.known.forget(&note.method);
            }
            let _ = self.changes.send((self.connector.name().clone(), note));
        }
    }
}

/// Follows the list changes of a modern server, which tells them only to those who ask (MCP 2026-07-28 §Subscriptions).
async fn listen(link: Arc<Link>, inbox: tokio::sync::mpsc::Sender<(UpstreamName, Inbound)>) {
    if link.era == Era::Legacy {
        return;
    }
    let wanted = json!({ "notifications": {
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true
    } });
    let params = ClientMeta::default().apply(Some(raw(&wanted)));
    loop {
        let call = Call::new("subscriptions/listen", Some(params.clone()), LISTEN);
        let mut exchange = link.call(call).await;
        loop {
            match exchange.next().await {
                Event::Notification(note) if note.method.ends_with("/list_changed") => {
                    let note = Notification { method: note.method, params: None };
                    let _ = inbox.send((link.name.clone(), Inbound::Notification(note))).await;
                }
                Event::Notification(_) | Event::Request(_) => {}
                Event::Done(Outcome::Error(_)) => return,
                Event::Done(Outcome::Result(_)) | Event::Lost(_) => break,
            }
        }
        if !link.is_open() {
            return;
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}
