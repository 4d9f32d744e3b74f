//! The gateway as the daemon sees it: start, serve, report, stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::catalog::{self, RoutingHandle, RoutingTable};
use super::changes::Changes;
use super::complaints::Complaints;
use super::error::Error;
use super::handover::Handover;
use super::http;
use super::metrics::{self, Metric, Metrics};
use super::session::{PeerLink, SessionStore};
use super::status::{Audience, Status, UpstreamState, UpstreamStatus};
use super::upstream::{self, Builtin, Connector, Pool, Reaper, Upstream};
use crate::config::{Config, Prefix, Sharing, Transport, Upstream as Settings};
use crate::drain::Watch;
use crate::handover::Offer;
use crate::sys::net::Listener;

/// How long ending everything may take where nobody is in a hurry.
const LEISURE: Duration = Duration::from_secs(3);
/// How much longer after that.
const LAST: Duration = Duration::from_millis(1200);

/// A running gateway; clones share it.
#[derive(Clone)]
pub struct Gateway(pub(super) Arc<Inner>);

/// What handlers work with.
pub(crate) struct Inner {
    /// The upstreams and what is behind which endpoint.
    pub(crate) routing: Arc<RoutingHandle>,
    /// Legacy sessions.
    pub(crate) sessions: SessionStore,
    /// Requests of modern clients that wait for their answers to a server's questions.
    pub(crate) held: Arc<http::Held>,
    /// Repetitions of such requests that another process goes on with, or this one for another.
    pub(crate) rounds: http::Rounds,
    /// The way to the process before or after this one.
    pub(crate) peer: Arc<PeerLink>,
    /// Children on their way from the process before, or to the one after this one.
    pub(super) handover: Handover,
    /// Set while connections are left to wait: another process takes over.
    pub(crate) paused: watch::Sender<bool>,
    /// The connections of clients.
    pub(crate) slots: Arc<http::Slots>,
    /// Bodies of requests that are not complete.
    pub(crate) bodies: Arc<http::Bodies>,
    /// What is logged about clients.
    pub(crate) complaints: Arc<Complaints>,
    /// What upstreams announce.
    pub(crate) changes: Changes,
    /// Cancelled when the drain begins.
    pub(crate) draining: CancellationToken,
    /// Requests in flight.
    requests: Arc<AtomicUsize>,
    /// Messages that clients have posted.
    posted: AtomicU64,
    /// What is told to whoever monitors.
    pub(super) metrics: Metrics,
    /// When the gateway was started.
    started: Instant,
    /// The tasks that supervise upstreams.
    supervisors: TaskTracker,
    /// The tasks that end and reap children.
    reaper: Reaper,
    /// The tasks that end upstreams which a reload has replaced.
    pub(super) retiring: TaskTracker,
    /// Cancelled when these must not wait any longer.
    pub(super) stopping: CancellationToken,
}

/// Counts one request in flight until dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gateway {
    /// Starts the supervision of all upstreams; must be called inside a tokio runtime.
    ///
    /// Children of the process before that are on offer are not started again, if it is to hand them over.
    ///
    /// # Errors
    /// [`Error::Certificates`] if an upstream needs TLS and the system has no certificates.
    pub fn start(config: &Config, offers: Vec<Offer>) -> Result<Self, Error> {
        let pool = pool_for(&config.upstreams)?;
        let builtin = Arc::new(Builtin::new(config.sources.first().cloned()));
        let (changes, reaper, supervisors) = (Changes::default(), Reaper::default(), TaskTracker::new());
        let connector = |settings: &Settings, builtin: Option<&Arc<Builtin>>| {
            Connector::new(settings, &pool, config.server.max_message_size, &reaper, builtin.cloned())
        };
        let connectors = config.upstreams.iter().map(|settings| connector(settings, None));
        let connectors = connectors.chain(std::iter::once(connector(&builtin_settings(), Some(&builtin))));
        // All of them before any: a configuration that cannot be used starts nothing.
        let connectors: Vec<Connector> = connectors.collect::<Result<_, _>>()?;
        // Where names must not clash, the lists are needed before the pipes are there.
        let never = config.server.prefix == Prefix::Never;
        let mut offers = if never { Vec::new() } else { offers };
        let start = |connector| Upstream::start(connector, changes.clone(), &supervisors, &mut offers, None);
        let (upstreams, awaited): (_, Vec<_>) = connectors.into_iter().map(start).unzip();
        let table = RoutingTable::new(config.server.clone(), upstreams).beside(&config.disabled);
        let (complaints, peer) = (Arc::<Complaints>::default(), Arc::<PeerLink>::default());
        let routing = Arc::new(RoutingHandle::new(table));
        let sessions = SessionStore::new(
            Arc::clone(&routing),
            Arc::clone(&peer),
            changes.clone(),
            Arc::clone(&complaints),
        );
        let inner = Arc::new(Inner {
            routing,
            sessions,
            held: Arc::default(),
            rounds: http::Rounds::default(),
            peer,
            handover: Handover::new(awaited.into_iter().flatten().collect()),
            paused: watch::Sender::new(false),
            slots: Arc::default(),
            bodies: Arc::default(),
            complaints,
            changes,
            draining: CancellationToken::new(),
            requests: Arc::default(),
            posted: AtomicU64::new(0),
            metrics: Metrics::default(),
            started: Instant::now(),
            supervisors,
            reaper,
            retiring: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        inner.slots.check(config.server.max_connections);
        let observed = Arc::downgrade(&inner);
        builtin.observe(Box::new(move || {
            observed.upgrade().map(|inner| inner.status(Audience::Downstream)).unwrap_or_default()
        }));
        inner.metrics.add(metrics::of_gateway(Arc::downgrade(&inner)));
        let sweeping = Arc::clone(&inner);
        tokio::spawn(async move {
            sweeping.sessions.sweep(sweeping.draining.clone()).await;
        });
        Ok(Self(inner))
    }

    /// Ends streams and refuses readiness as soon as the process drains.
    pub fn drain_with(&self, mut drain: Watch) {
        let draining = self.0.draining.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = drain.started() => draining.cancel(),
                () = draining.cancelled() => {}
            }
        });
    }

    /// Serves a listener until the drain's deadline, or until idle after the drain has begun. Returns the number of
    /// connections that were cut.
    ///
    /// # Errors
    /// When the listener cannot be used at all.
    pub async fn serve(&self, listener: Listener, drain: Watch) -> std::io::Result<usize> {
        let patience = self.0.routing.current().server.client_timeout;
        let serving = (http::Front::new(&self.0, http::is_local(&listener)), patience);
        http::accept(listener, serving, drain, self.0.paused.subscribe()).await
    }

    /// Lets a connection from this address in, however many there are: the gateway asks itself.
    #[must_use]
    pub fn expect(&self, address: std::net::SocketAddr) -> http::Expected {
        self.0.slots.expect(address)
    }

    /// Waits until each upstream has been tried once, then refuses names that cannot be told apart.
    ///
    /// # Errors
    /// [`Error::NameClash`] under `prefix = "never"`.
    pub async fn settled(&self) -> Result<(), Error> {
        let table = self.0.routing.current();
        join_all(table.upstreams().iter().map(|upstream| upstream.tried())).await;
        catalog::check_clashes(table.merged()).await
    }

    /// A snapshot for operators.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status(Audience::Operator)
    }

    /// Adds what another part of the process tells at `/metrics`; it is asked at each scrape and must not wait.
    pub fn observe(&self, source: impl Fn() -> Vec<Metric> + Send + Sync + 'static) {
        self.0.metrics.add(Box::new(source));
    }

    /// What clones share.
    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// Ends all sessions and upstreams, and waits until every child is gone, as [`Self::stop_by`] does.
    pub async fn stop(&self) {
        self.stop_by(Instant::now() + LEISURE).await;
    }

    /// Ends all sessions and upstreams together, and waits until every child is gone. What is not gone at the deadline has
    /// 1.2 seconds more: by then servers are told no more goodbyes, and children are killed.
    pub async fn stop_by(&self, deadline: Instant) {
        let last = deadline.max(Instant::now()) + LAST;
        self.0.reaper.hurry(last);
        if timeout_at(last, self.end()).await.is_err() {
            tracing::warn!("not all connections to upstreams have ended in time; they are cut");
        }
        self.0.reaper.end().await;
        self.0.complaints.end();
    }

    /// Ends all sessions and upstreams.
    async fn end(&self) {
        self.0.draining.cancel();
        self.0.stopping.cancel();
        self.0.held.clear();
        for upstream in self.0.routing.current().upstreams() {
            upstream.stop();
        }
        self.0.sessions.end_all().await;
        // In this order: tasks of an earlier kind start tasks of the later ones.
        for tasks in [&self.0.retiring, &self.0.supervisors] {
            tasks.close();
            tasks.wait().await;
        }
    }
}

impl Inner {
    /// Counts a request until the guard is dropped.
    pub(crate) fn in_flight(&self) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.posted.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.requests))
    }

    /// How many messages clients have posted.
    pub(super) fn posted(&self) -> u64 {
        self.posted.load(Ordering::Relaxed)
    }

    /// Starts an upstream of a configuration that is read while the gateway runs. At a server at which `former` has requests
    /// it has no more at once than that one alone may.
    ///
    /// # Errors
    /// [`Error::Authorities`].
    pub(super) fn start_upstream(
        &self,
        settings: &Settings,
        pool: &Pool,
        limit: usize,
        former: Option<&Arc<Upstream>>,
    ) -> Result<Arc<Upstream>, Error> {
        let connector = Connector::new(settings, pool, limit, &self.reaper, None)?;
        let there = upstream::server_key(settings);
        let limit = former.and_then(|former| former.limit()).filter(|(place, _)| *place == there);
        let limit = limit.map(|(_, limit)| Arc::clone(limit));
        Ok(Upstream::start(connector, self.changes.clone(), &self.supervisors, &mut Vec::new(), limit).0)
    }

    /// A snapshot.
    pub(crate) fn status(&self, audience: Audience) -> Status {
        let table = self.routing.current();
        let mut upstreams: Vec<UpstreamStatus> =
            table.upstreams().iter().map(|upstream| upstream.status(audience)).collect();
        if audience == Audience::Operator {
            upstreams.extend_from_slice(table.disabled());
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            healthy: table
                .configured()
                .iter()
                .all(|upstream| matches!(upstream.state(), UpstreamState::Ready | UpstreamState::Idle)),
            sessions: self.sessions.len(),
            in_flight: self.requests.load(Ordering::Relaxed),
            upstreams,
        }
    }
}

/// The HTTP client for these upstreams; certificates are read only if one of them needs TLS.
pub(super) fn pool_for<'a>(upstreams: impl IntoIterator<Item = &'a Settings>) -> Result<Pool, Error> {
    let tls = upstreams.into_iter().any(
        |upstream| matches!(&upstream.transport, Transport::Http { urls, ca_file: None, .. } if urls.iter().any(|url| url.starts_with("https:"))),
    );
    upstream::pool(tls)
}

/// The built-in upstream's settings; nothing of them but the name is used.
fn builtin_settings() -> Settings {
    Settings { sharing: Sharing::Shared, health_interval: None, ..Settings::builtin() }
}
