//! Keeping one upstream up: start, watch, and start again after a growing wait.
//!
//! Invariants: there is at most one native connection at a time; it is ended (its process group gone) before the next
//! is started; a broken upstream never blocks anything but calls to itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::followers::{listen, subscribe_to};
use super::health::End;
use super::lease::Leases;
use super::transfer::{Awaited, whereabouts};
use crate::config::{Filters, Start, Transport};
use crate::gateway::changes::Changes;
use crate::gateway::error::Fault;
use crate::gateway::relay::Era;
use crate::gateway::status::State;
use crate::gateway::upstream::call::backoff::Backoff;
use crate::gateway::upstream::call::concurrency::{Gate, Turn};
use crate::gateway::upstream::call::request::Role;
use crate::gateway::upstream::catch_panic::outlived;
use crate::gateway::upstream::inbox::Outlet;
use crate::gateway::upstream::link::connection::Link;
use crate::gateway::upstream::link::negotiate::{ClientIdentity, Connector};
use crate::gateway::upstream::link::tasks::Tasks;
use crate::gateway::upstream::lists::cache::TOLD;
use crate::handover::Offer;

/// A wait before the next attempt that calls are held back for.
const SHORT: Duration = Duration::from_millis(500);
/// An attempt that fails sooner costs so little that one more may be made whenever somebody calls.
const CHEAP: Duration = Duration::from_millis(250);
/// The shortest time between two such attempts.
const BETWEEN: Duration = Duration::from_millis(100);
/// How long a request that was certainly not processed waits for the next connection.
const RENEWAL: Duration = Duration::from_secs(5);
/// Tells upstreams apart that have the same name, before and after a reload.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// One configured MCP server.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// No other upstream of this process has or had the same.
    pub(crate) serial: u64,
    /// How it is reached.
    pub(crate) connector: Connector,
    /// Its state, and its connection while it is ready.
    pub(crate) current: watch::Sender<(State, Option<Arc<Link>>)>,
    /// The last connection of one that sleeps, and since when: what it has listed is still true of a child. An HTTP server
    /// goes on without us.
    asleep: Mutex<Option<(Arc<Link>, Instant)>>,
    /// Whether somebody needs it, and how whoever waits for that is told.
    needed: (AtomicBool, Notify),
    /// Whether it is tried as soon as somebody calls, though it backs off.
    eager: AtomicBool,
    /// How many requests it is given at once.
    gate: Option<Arc<Gate>>,
    /// The shared legacy connection to a server that is modern by nature, opened on demand.
    pub(crate) shared_legacy: tokio::sync::Mutex<Option<Arc<Link>>>,
    /// Connections that single calls have for themselves.
    pub(crate) leases: Leases,
    /// Tasks that it is known to have.
    pub(crate) tasks: Tasks,
    /// Connections that ended.
    pub(crate) restarts: AtomicU64,
    /// How often another server was found behind its address.
    replaced: AtomicU64,
    /// Who has subscribed to which resource over the shared legacy connection.
    pub(crate) subscribers: Mutex<HashMap<String, HashSet<String>>>,
    /// How many follow its resources over connections of their own, or over the shared one.
    pub(crate) followers: Arc<AtomicUsize>,
    /// What was wrong last.
    last_error: Mutex<Option<Fault>>,
    /// Notifications of shared connections that belong to no request, of all upstreams, for every session.
    changes: Changes,
    /// Where shared connections leave them.
    pub(crate) inbox: Outlet,
    /// Asks for the end.
    pub(crate) stop: CancellationToken,
    /// Cancelled when another process has its child.
    pub(crate) left: CancellationToken,
}

impl Upstream {
    /// Starts supervising, in a task that `supervisors` tracks. Of the children on offer it takes those that suit, and
    /// `gate` is that of the upstream in whose place it comes.
    pub(crate) fn start(
        connector: Connector,
        changes: Changes,
        supervisors: &TaskTracker,
        offers: &mut Vec<Offer>,
        gate: Option<Arc<Gate>>,
    ) -> (Arc<Self>, Vec<Awaited>) {
        let settings = &connector.settings;
        let state = if settings.start == Start::Lazy { State::Idle } else { State::Starting };
        let leases = Leases::of(&settings.transport);
        let width = settings.max_concurrency;
        let gate = width.map(|width| gate.unwrap_or_else(|| Gate::new(width, settings.max_queue)));
        let upstream = Arc::new(Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            connector,
            current: watch::Sender::new((state, None)),
            asleep: Mutex::default(),
            needed: (AtomicBool::new(false), Notify::new()),
            eager: AtomicBool::new(false),
            gate,
            shared_legacy: tokio::sync::Mutex::default(),
            leases,
            tasks: Tasks::default(),
            restarts: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            subscribers: Mutex::default(),
            followers: Arc::default(),
            last_error: Mutex::default(),
            inbox: Outlet::everybody(changes.clone()),
            changes,
            stop: CancellationToken::new(),
            left: CancellationToken::new(),
        });
        let awaited = upstream.inherit(offers);
        supervisors.spawn(Arc::clone(&upstream).endure());
        (upstream, awaited)
    }

    /// The upstream's name.
    pub(crate) fn name(&self) -> &str {
        self.connector.name().as_str()
    }

    /// The native connection, waiting for a start that is under way.
    pub(crate) async fn native(&self) -> Result<Arc<Link>, Fault> {
        if let Some(link) = self.ready() {
            return Ok(link);
        }
        self.need();
        let mut current = self.current.subscribe();
        if self.eager.load(Ordering::SeqCst) {
            let tried = current.wait_for(|(state, _)| *state != State::BackingOff);
            let _ = timeout(CHEAP, tried).await;
        }
        // A connection that has just been lost is as good as starting: the supervisor is about to notice.
        let lost = |link: &Option<Arc<Link>>| link.as_ref().is_some_and(|link| !link.is_open());
        let under_way = |state: &State| matches!(state, State::Starting | State::Idle);
        let settled = current.wait_for(|(state, link)| !under_way(state) && !lost(link));
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
        self.need();
        let mut current = self.current.subscribe();
        let open = current.wait_for(|(_, link)| link.as_ref().is_some_and(|link| link.is_open()));
        // Whoever waits then asks for the connection and is told why there is none.
        let _ = timeout(RENEWAL, open).await;
    }

    /// What it is doing.
    pub(crate) fn state(&self) -> State {
        let state = self.current.borrow().0;
        let partly = state == State::Ready && self.connector.endpoints.out() > 0;
        if partly { State::Degraded } else { state }
    }

    /// The native connection if it is there now.
    pub(crate) fn ready(&self) -> Option<Arc<Link>> {
        self.current.borrow().1.clone().filter(|link| link.is_open())
    }

    /// The native connection, if it is there now; of one that sleeps its last one, which knows what it has.
    pub(crate) fn present(&self) -> Option<Arc<Link>> {
        self.ready().or_else(|| self.asleep())
    }

    /// The last connection of an upstream that sleeps; `None` while it runs, and if it never ran.
    pub(crate) fn asleep(&self) -> Option<Arc<Link>> {
        if self.state() != State::Idle {
            return None;
        }
        let asleep = self.asleep.lock();
        let is_http = matches!(self.connector.settings.transport, Transport::Http { .. });
        let known = asleep.as_ref().filter(|(_, since)| !is_http || since.elapsed() < TOLD);
        known.map(|(link, _)| Arc::clone(link))
    }

    /// What of it is shown.
    pub(crate) fn shows(&self) -> &Filters {
        &self.connector.settings.shows
    }

    /// A request's turn, where only so many are let through at once.
    pub(crate) async fn turn(&self, patience: Duration) -> Result<Option<Turn>, Fault> {
        match &self.gate {
            Some(gate) => gate.turn(self.connector.name(), patience).await.map(Some),
            None => Ok(None),
        }
    }

    /// The next turn of a request that has given its first one back.
    pub(crate) async fn turn_again(&self, patience: Duration) -> Result<Option<Turn>, Fault> {
        match &self.gate {
            Some(gate) => gate.turn_again(self.connector.name(), patience).await.map(Some),
            None => Ok(None),
        }
    }

    /// The gate, where only so many requests are let through at once, and what tells its server from others.
    pub(crate) fn gate(&self) -> Option<(String, &Arc<Gate>)> {
        Some((whereabouts(&self.connector.settings), self.gate.as_ref()?))
    }

    /// Lets as many requests through from now on as its settings say.
    pub(crate) fn widen(&self) {
        let settings = &self.connector.settings;
        if let (Some(gate), Some(width)) = (&self.gate, settings.max_concurrency) {
            gate.resize(width, settings.max_queue);
        }
    }

    /// Wakes it if it sleeps.
    fn need(&self) {
        self.needed.0.store(true, Ordering::SeqCst);
        self.needed.1.notify_one();
    }

    /// Forgets that it was needed.
    pub(crate) fn unneeded(&self) {
        self.needed.0.store(false, Ordering::SeqCst);
    }

    /// Waits until somebody needs it.
    async fn until_needed(&self) {
        while !self.needed.0.swap(false, Ordering::SeqCst) {
            self.needed.1.notified().await;
        }
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
    async fn open_shared_legacy(self: &Arc<Self>, native: Arc<Link>) -> Result<Arc<Link>, Fault> {
        let mut shared = self.shared_legacy.lock().await;
        if let Some(link) = shared.as_ref().filter(|link| link.is_open()) {
            return Ok(Arc::clone(link));
        }
        let client = ClientIdentity::default();
        // Nobody waits for a server that hangs when all is to end.
        let opened = tokio::select! {
            opened = self.connector.open_legacy(&client, Role::Shared, self.inbox.clone()) => opened,
            () = self.ending() => return Err(self.ends()),
        };
        let link = match opened {
            Ok(link) => {
                let link = Arc::new(link);
                self.look_after(&link, self.connector.settings.health_interval);
                link.reconcile();
                link
            }
            Err(fault) => {
                tracing::debug!(upstream = self.name(), %fault, "the server speaks the modern era only");
                native
            }
        };
        subscribe_to(&link, self.subscribed()).await;
        *shared = Some(Arc::clone(&link));
        Ok(link)
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

    /// Waits until its end is asked for.
    pub(crate) async fn ending(&self) {
        self.stop.cancelled().await;
    }

    /// What is told to whoever asks for a connection then.
    pub(crate) fn ends(&self) -> Fault {
        self.unavailable(State::Stopped)
    }

    /// Whether its end was asked for.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until no request is in flight on the shared connections and those that are lent.
    pub(crate) async fn idle(&self) {
        self.leases.idle().await;
        let native = self.current.borrow().1.clone();
        let legacy = self.shared_legacy.lock().await.clone();
        for link in [native, legacy].into_iter().flatten() {
            link.idle().await;
        }
    }

    /// What was wrong last.
    pub(crate) fn error(&self) -> parking_lot::MutexGuard<'_, Option<Fault>> {
        self.last_error.lock()
    }

    /// The supervising task. If it fails itself, the upstream backs off like any other that has broken, and the task is
    /// begun again.
    async fn endure(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        while let Err(panic) = outlived(Arc::clone(&self).supervise()).await {
            let wait = backoff.next(Duration::ZERO);
            tracing::error!(upstream = self.name(), panic, retry_in = ?wait, "the supervision has failed");
            *self.error() = Some(Fault::upstream(&self.name(), "met a bug of the gateway").because(panic));
            self.retire(State::BackingOff).await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => {}
            }
            self.current.send_replace((State::Starting, None));
        }
    }

    /// The supervising task proper: ends only when the upstream is to be stopped.
    async fn supervise(self: Arc<Self>) {
        tokio::select! {
            () = self.lives() => {}
            () = self.stop.cancelled() => {}
            () = self.left.cancelled() => self.linger().await,
        }
        self.retire(State::Stopped).await;
    }

    /// One life after the other.
    async fn lives(&self) {
        let (mut backoff, mut due) = (Backoff::default(), Instant::now());
        loop {
            if self.state() == State::Idle {
                self.until_needed().await;
                self.current.send_replace((State::Starting, None));
            }
            self.unneeded();
            let began = Instant::now();
            let (fault, lived) = match self.live().await {
                Ok(End::Replaced) => {
                    self.replaced.fetch_add(1, Ordering::Relaxed);
                    // Requests in flight have their connections for themselves and go on.
                    self.current.send_replace((State::Starting, None));
                    continue;
                }
                Ok(_) => {
                    self.sleep().await;
                    continue;
                }
                Err(ended) => ended,
            };
            let (now, error) = (Instant::now(), fault.detail.as_ref().unwrap_or(&fault.message));
            if lived.is_zero() && now < due {
                tracing::debug!(upstream = self.name(), error, "the upstream is still not available");
            } else {
                let wait = backoff.next(lived);
                due = now + wait;
                tracing::warn!(upstream = self.name(), error, retry_in = ?wait, "the upstream is not available");
            }
            *self.error() = Some(fault);
            // One that has worked is about to be back: whoever calls it waits for that instead of failing.
            let worked = self.current.borrow().1.is_some() && due - now < SHORT;
            self.retire(if worked { State::Starting } else { State::BackingOff }).await;
            self.rest(due, now - began).await;
            self.current.send_replace((State::Starting, None));
            self.eager.store(false, Ordering::SeqCst);
        }
    }

    /// Waits before the next attempt, after one that took so long. To ask whether an HTTP server is back costs little where
    /// that is refused at once, so that it is done for whoever calls: nobody is told that it is away who need not be.
    async fn rest(&self, due: Instant, took: Duration) {
        let is_http = matches!(self.connector.settings.transport, Transport::Http { .. });
        if !is_http || took > CHEAP {
            return sleep_until(due).await;
        }
        let called = async {
            sleep(BETWEEN).await;
            self.until_needed().await;
        };
        self.eager.store(true, Ordering::SeqCst);
        tokio::select! {
            () = sleep_until(due) => {}
            () = called => {}
        }
    }

    /// One life: from starting to the connection's end; the error is what was wrong, if it was not ended by us, and for how
    /// long it had been ready.
    async fn live(&self) -> Result<End, (Fault, Duration)> {
        let inherited = self.inherited().await;
        let goes_on = inherited.is_some();
        let link = if let Some(link) = inherited {
            link
        } else {
            let opened = self.connector.open_native(self.inbox.clone()).await;
            // However long that took, it was no life.
            Arc::new(opened.map_err(|fault| (fault, Duration::ZERO))?)
        };
        let began = Instant::now();
        tracing::info!(
            upstream = self.name(), era = ?link.era, version = link.handshake.version, "the upstream is ready"
        );
        *self.error() = None;
        self.current.send_replace((State::Ready, Some(Arc::clone(&link))));
        // What it has now need not be what it had, or what the one before had.
        self.changes.all_lists(self.connector.name());
        if link.era == Era::Legacy && !goes_on {
            self.changes.any_updated(self.connector.name());
        }
        let _reading = Aborted(link.reconcile());
        let _listening = Aborted(tokio::spawn(listen(Arc::clone(&link), self.subscribed())).abort_handle());
        let end = self.watch(&link).await;
        if end == End::Idle || end == End::Replaced {
            return Ok(end);
        }
        if !self.stop.is_cancelled() {
            self.count_restart();
        }
        let how = if end == End::Hung { "does not answer any more" } else { "has ended" };
        Err((Fault::upstream(&self.name(), how), began.elapsed()))
    }

    /// How often another server was found behind its address.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Counts a connection that ended by itself.
    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends what nobody needs, and remembers what it has.
    async fn sleep(&self) {
        let last = self.current.borrow().1.clone().map(|link| (link, Instant::now()));
        *self.asleep.lock() = last;
        tracing::info!(upstream = self.name(), "the upstream is ended until somebody needs it");
        self.retire(State::Idle).await;
    }

    /// Takes the shared connections away from callers and ends them.
    async fn retire(&self, state: State) {
        let (_, native) = self.current.send_replace((state, None));
        let legacy =
            if matches!(state, State::Stopped | State::Idle) { Some(&self.shared_legacy) } else { None };
        let native = async {
            if let Some(link) = native {
                let how = link.wire.end().await;
                tracing::debug!(upstream = self.name(), %how, "the connection");
            }
        };
        let others = async {
            let Some(legacy) = legacy else { return };
            let legacy = async {
                let link = legacy.lock().await.take();
                if let Some(link) = link {
                    link.wire.end().await;
                }
            };
            tokio::join!(self.leases.clear(), legacy);
        };
        // Together: none waits for another's peer.
        tokio::join!(native, others);
    }
}

/// Aborts a task when dropped.
struct Aborted(AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
