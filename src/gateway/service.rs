//! The gateway as the daemon sees it: start, serve, report, reload, hand over, stop. It is made of parts that own their
//! state; this file is where they are put together, and nobody else sees all of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::access::{Clients, Issuers, KnownTokens, Usages};
use super::catalog::{self, RoutingHandle, RoutingTable};
use super::changes::Changes;
use super::client::ClientName;
use super::client_log_limit::ClientLogLimit;
use super::endpoint::Endpoint;
use super::error::Error;
use super::handover::ChildHandover;
use super::http::{
    self, Admission, Continuations, Front, Gate, Gates, Guard, Handlers, Health, Legacy, Modern,
    OpenConnections, PendingCall, Pipeline, StatusPage, SuspendedCalls, TaskOwners,
};
use super::memory;
use super::metric::Metric;
use super::metrics::{self, Metrics};
use super::reload::Prepared;
use super::session::{PeerLink, SessionStore};
use super::status::{Audience, Status};
use super::status_source::StatusSource;
use super::telemetry::{Ledger, SAMPLED_EVERY};
use super::upstream::Builtin;
use super::upstream_tasks::UpstreamTasks;
use crate::config::{Auth, Config, Log, Prefix};
use crate::drain::Watch;
use crate::handover::channel::Sender;
use crate::handover::{KnownLists, Offer, Used};
use crate::sys::net::Listener;

/// How long ending everything may take where nobody is in a hurry.
const LEISURE: Duration = Duration::from_secs(3);
/// How much longer after that.
const LAST: Duration = Duration::from_millis(1200);

/// A running gateway; clones share it.
#[derive(Clone)]
pub struct Gateway(Arc<Parts>);

/// What it is made of.
struct Parts {
    /// The configuration in force, and what is behind which endpoint.
    routing: Arc<RoutingHandle>,
    /// The tasks of upstreams.
    upstreams: UpstreamTasks,
    /// What upstreams announce.
    changes: Changes,
    /// Legacy sessions.
    sessions: Arc<SessionStore>,
    /// Requests of modern clients that wait for their answers to a server's questions.
    suspended: Arc<SuspendedCalls<PendingCall>>,
    /// Repetitions of such requests that another process goes on with, or this one for another.
    continuations: Arc<Continuations>,
    /// Whose tasks are whose.
    owners: Arc<TaskOwners>,
    /// The way to the process before or after this one.
    peer: Arc<PeerLink>,
    /// Children on their way from the process before, or to the one after this one.
    children: ChildHandover,
    /// Set while connections are left to wait: another process takes over.
    paused: watch::Sender<bool>,
    /// The connections of clients.
    connections: Arc<OpenConnections>,
    /// What is logged about clients.
    log_limit: Arc<ClientLogLimit>,
    /// The listeners that are served.
    gates: Arc<Gates>,
    /// What `/metrics` tells.
    metrics: Arc<Metrics>,
    /// Numbers about requests.
    ledger: Arc<Ledger>,
    /// What the status tells.
    status: Arc<StatusSource>,
    /// What requests lead to.
    handlers: Arc<Handlers>,
    /// The tokens that are believed.
    tokens: Arc<KnownTokens>,
    /// The authorization servers whose tokens are.
    issuers: Arc<Issuers>,
    /// What clients use that the configuration does not name.
    usages: Arc<Usages>,
    /// Cancelled when the drain begins.
    draining: CancellationToken,
}

impl Gateway {
    /// Starts the supervision of all upstreams; must be called inside a tokio runtime.
    ///
    /// Children of the process before that are on offer are not started again, if it is to hand them over. Beside the log
    /// file, or in `state` without one, is the standard error of those that have files for it.
    ///
    /// # Errors
    /// [`Error::Tls`] if the certificates of a listener cannot be used, [`Error::Certificates`] if an upstream needs TLS and
    /// the system has no certificates.
    pub(crate) fn start(config: &Config, offers: Vec<Offer>, state: &Path) -> Result<Self, Error> {
        let (gates, issuers) = (Arc::new(Gates::new(&config.server)?), Issuers::start(&config.issuers)?);
        let builtin = Arc::new(Builtin::new(config.sources.first().cloned()));
        let (changes, draining) = (Changes::default(), CancellationToken::new());
        let ledger = Arc::new(Ledger::new(config.server.metrics_max_tools, &config.log));
        let (told, stderr) = ((changes.clone(), share(&ledger)), config.log.directory().unwrap_or(state));
        let upstreams = UpstreamTasks::new(told, stderr, state);
        // Where names must not clash, the lists are needed before the pipes are there.
        let offers = if config.server.prefix == Prefix::Never { Vec::new() } else { offers };
        let (started, awaited) = upstreams.start_all(config, &builtin, offers)?;
        let access =
            (Clients::new(&config.clients, &config.server.per_client, None), config.endpoints.as_slice());
        let table = RoutingTable::new(config.server.clone(), access, started).beside(&config.disabled);
        let routing = Arc::new(RoutingHandle::new(table));
        let (log_limit, peer, suspended, metrics, connections) = Default::default();
        let limits = (share(&log_limit), share(&ledger));
        let sessions = Arc::new(SessionStore::new(share(&routing), share(&peer), changes.clone(), limits));
        let known = (share(&ledger), share(gates.certificates()), share(&issuers));
        let status = Arc::new(StatusSource::new((share(&routing), share(&sessions)), known));
        let owners = Arc::new(TaskOwners::new(share(&routing), share(&sessions), share(&peer)));
        let continuations =
            Arc::new(Continuations::new(share(&suspended), share(&owners), share(&ledger), share(&peer)));
        let modern = Modern::new(share(&routing), changes.clone(), share(&continuations), draining.clone());
        let legacy = Legacy::new(
            (share(&sessions), share(&routing)),
            (share(&peer), share(&owners)),
            (share(&log_limit), share(&ledger)),
            draining.clone(),
        );
        let (tokens, usages) = (Arc::new(KnownTokens::new(state.to_owned())), Arc::<Usages>::default());
        let guard = Guard::new(share(&log_limit), share(&ledger));
        let access = (share(&tokens), share(&issuers), share(&usages));
        let pipeline = Pipeline::new(guard, share(&routing), access, share(&ledger), (modern, legacy));
        let health = Health::new(share(&routing), share(&status), draining.clone());
        let page = StatusPage::new(share(&status), (share(&gates), share(&connections)), draining.clone());
        let numbers = (share(&metrics), share(&ledger));
        let gateway = Self(Arc::new(Parts {
            handlers: Arc::new(Handlers::new(share(&routing), pipeline, (health, page), numbers)),
            children: ChildHandover::new(awaited, share(&routing), share(&peer)),
            routing,
            upstreams,
            changes,
            sessions,
            suspended,
            continuations,
            owners,
            peer,
            paused: watch::Sender::new(false),
            connections,
            log_limit,
            gates,
            metrics,
            ledger,
            status,
            tokens,
            issuers,
            usages,
            draining,
        }));
        Ok(gateway.begin(config, &builtin))
    }

    /// Tells of the gateway where it is asked, and begins to end silent sessions.
    fn begin(self, config: &Config, builtin: &Builtin) -> Self {
        memory::configure(&config.server);
        self.0.connections.check(config.server.max_connections);
        let status = Arc::downgrade(&self.0.status);
        builtin.observe(Box::new(move || {
            status.upgrade().map(|status| status.status(Audience::Downstream)).unwrap_or_default()
        }));
        let status = Arc::downgrade(&self.0.status);
        self.observe(move || status.upgrade().map(|status| metrics::of_gateway(&status)).unwrap_or_default());
        let (sessions, draining) = (Arc::clone(&self.0.sessions), self.0.draining.clone());
        tokio::spawn(async move { sessions.sweep(draining).await });
        let (gates, draining) = (Arc::clone(&self.0.gates), self.0.draining.clone());
        tokio::spawn(async move { gates.certificates().watch(draining).await });
        self.sample();
        self.watch_tokens();
        self
    }

    /// Looks every few seconds at how long calls have taken, for the page for people.
    fn sample(&self) {
        let (ledger, draining) = (Arc::clone(&self.0.ledger), self.0.draining.clone());
        tokio::spawn(draining.run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(SAMPLED_EVERY).await;
                ledger.sample();
            }
        }));
    }

    /// Follows changes of tokens from now on, if the configuration in force has any use for them. Sessions of those without a
    /// token end.
    fn watch_tokens(&self) {
        let table = self.0.routing.current();
        if !table.clients().is_empty()
            || table.server.listeners.iter().any(|it| it.auth.contains(&Auth::Token))
        {
            let sessions = Arc::clone(&self.0.sessions);
            // Also while the gateway drains: a revoked token is so at once.
            self.0
                .tokens
                .watch(move |client| drop(tokio::spawn(Arc::clone(&sessions).end_of(client, false))));
        }
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

    /// Serves a listener, which was bound for this text of the configuration, until the drain's deadline, or until idle after
    /// the drain has begun. Returns the number of connections that were cut.
    ///
    /// # Errors
    /// When the listener cannot be used at all.
    pub(crate) fn serve(
        &self,
        listener: Listener,
        written: Option<String>,
        drain: Watch,
    ) -> impl Future<Output = std::io::Result<usize>> + use<> {
        let gate = self.0.gates.open(&listener, written, &self.0.routing);
        http::accept(listener, self.front(gate), drain)
    }

    /// Serves operators, who have opened these connections over the control socket, in the same way.
    pub fn serve_operators(
        &self,
        opened: mpsc::Receiver<UnixStream>,
        drain: Watch,
    ) -> impl Future<Output = std::io::Result<usize>> + use<> {
        http::accept_operators(opened, self.front(Gate::of_operators()), drain)
    }

    /// What answers over a listener, and who may connect.
    fn front(&self, gate: Arc<Gate>) -> (Front, Admission) {
        let (connections, routing) = (Arc::clone(&self.0.connections), Arc::clone(&self.0.routing));
        let log_limit = Arc::clone(&self.0.log_limit);
        let told = (log_limit, share(&self.0.ledger));
        let admission = Admission::new((connections, routing), told, self.0.paused.subscribe());
        (Front::new(&self.0.handlers, gate), admission)
    }

    /// Lets a connection from this address in, however many there are: the gateway asks itself.
    #[must_use]
    pub fn expect(&self, address: std::net::SocketAddr) -> http::Expected {
        self.0.connections.expect(address)
    }

    /// Waits until each of these upstreams, or each of all, has been tried once, then refuses names that cannot be told
    /// apart.
    ///
    /// # Errors
    /// [`Error::NameClash`] under `prefix = "never"`.
    pub async fn settled(&self, names: Option<&[String]>) -> Result<(), Error> {
        let table = self.0.routing.current();
        let is_one = |name: &str| names.is_none_or(|names| names.iter().any(|one| one == name));
        let upstreams = table.upstreams().iter().filter(|upstream| is_one(upstream.name()));
        join_all(upstreams.map(|upstream| upstream.tried())).await;
        catalog::check_clashes(table.merged()).await
    }

    /// Waits until every upstream can be used.
    pub async fn usable(&self) {
        let table = self.0.routing.current();
        join_all(table.upstreams().iter().map(|upstream| upstream.usable())).await;
    }

    /// The names of upstreams that can be used.
    #[must_use]
    pub fn usable_now(&self) -> Vec<String> {
        let table = self.0.routing.current();
        let usable = table.configured().iter().filter(|upstream| upstream.state().is_usable());
        usable.map(|upstream| upstream.name().to_owned()).collect()
    }

    /// A snapshot for operators.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status.status(Audience::Operator)
    }

    /// Adds what another part of the process tells at `/metrics`; it is asked at each scrape and must not wait.
    pub fn observe(&self, source: impl Fn() -> Vec<Metric> + Send + Sync + 'static) {
        self.0.metrics.add(Box::new(source));
    }

    /// Starts what is new or changed, and checks that all of it can be served together. What is in force is not
    /// touched. `max_message_size` stays as it is: connections have it built in.
    ///
    /// # Errors
    /// Those of [`Self::start`] and [`Self::settled`].
    pub async fn prepare(&self, config: &Config) -> Result<Prepared, Error> {
        let certificates = self.0.gates.prepare(&config.server)?;
        let issuers = self.0.issuers.prepare(&config.issuers)?;
        let trust = (certificates, issuers);
        Prepared::prepare(config, &self.0.routing.current(), &self.0.upstreams, trust).await
    }

    /// Puts a prepared configuration in force. What is no longer in it has `drain` to answer its requests in flight.
    pub fn commit(&self, mut prepared: Prepared, drain: Duration) {
        let Parts { gates, routing, changes, upstreams, sessions, issuers, .. } = &*self.0;
        let (certificates, believed) = prepared.take_trust();
        gates.change(certificates, routing, || {
            prepared.commit(routing, changes, (upstreams, sessions), drain);
            let table = routing.current();
            issuers.replace(&believed, |verified| table.clients().entry(verified));
        });
        memory::configure(&routing.current().server);
        self.watch_tokens();
    }

    /// Has requests told of in the log and in the audit by these settings from now on.
    pub fn tell_by(&self, log: &Log) {
        self.0.ledger.go_by(log);
    }

    /// Opens the way to the process before or after this one.
    pub(crate) fn set_peer(&self, peer: Sender) {
        self.0.peer.set(peer);
        self.0.owners.tell_all();
    }

    /// Legacy sessions.
    pub(crate) fn sessions(&self) -> &Arc<SessionStore> {
        &self.0.sessions
    }

    /// Requests that one of two processes has put aside.
    pub(crate) fn continuations(&self) -> &Arc<Continuations> {
        &self.0.continuations
    }

    /// Children on their way between two processes.
    pub(crate) fn children(&self) -> &ChildHandover {
        &self.0.children
    }

    /// Leaves new connections to wait in the kernel, or accepts them again.
    pub fn pause(&self, paused: bool) {
        self.0.paused.send_replace(paused);
    }

    /// What clients were shown of lists, for the next process.
    #[must_use]
    pub(crate) fn known_lists(&self) -> Vec<KnownLists> {
        self.0.routing.current().known_lists()
    }

    /// What clients have used of their rates, for the next process.
    #[must_use]
    pub(crate) fn used(&self) -> Vec<Used> {
        let table = self.0.routing.current();
        let named = table.clients().iter().filter_map(|client| Some((client.name(), client.usage()?)));
        self.0.usages.used(named)
    }

    /// Takes what clients have used of their rates in the process before.
    pub(crate) fn inherit_used(&self, used: &[Used]) {
        let table = self.0.routing.current();
        let known = |name: &ClientName| table.clients().get(name).map(|client| client.usage());
        self.0.usages.inherit(&table.server.per_client, known, used);
    }

    /// Takes what clients were shown of lists by the process before. Where other upstreams are behind the endpoint of all than
    /// then, its clients are told.
    pub(crate) fn inherit_lists(&self, known: &[KnownLists]) {
        if !known.is_empty() {
            self.0.changes.succeeds();
        }
        if self.0.routing.current().inherit_lists(known) {
            self.0.changes.reloaded([Endpoint::ALL]);
        }
    }

    /// The other process has ended. What is still held for it goes back to the process that has handed it over.
    pub fn alone(&self) {
        self.0.continuations.alone();
        self.0.sessions.alone();
        self.0.children.alone();
    }

    /// Ends all sessions and upstreams, and waits until every child is gone, as [`Self::stop_by`] does.
    pub async fn stop(&self) {
        self.stop_by(Instant::now() + LEISURE).await;
    }

    /// Ends all sessions and upstreams together, and waits until every child is gone. What is not gone at the deadline has
    /// 1.2 seconds more: by then servers are told no more goodbyes, and children are killed.
    pub async fn stop_by(&self, deadline: Instant) {
        let last = deadline.max(Instant::now()) + LAST;
        self.0.upstreams.reaper().hurry(last);
        if timeout_at(last, self.end()).await.is_err() {
            tracing::warn!("not all connections to upstreams have ended in time; they are cut");
        }
        self.0.upstreams.reaper().end().await;
        self.0.log_limit.end();
    }

    /// What is behind which endpoint.
    #[cfg(test)]
    pub(super) fn routing(&self) -> &Arc<RoutingHandle> {
        &self.0.routing
    }

    /// What upstreams announce.
    #[cfg(test)]
    pub(super) fn changes(&self) -> &Changes {
        &self.0.changes
    }

    /// Ends all sessions and upstreams.
    async fn end(&self) {
        self.0.draining.cancel();
        self.0.upstreams.stop();
        self.0.suspended.clear();
        for upstream in self.0.routing.current().upstreams() {
            upstream.stop();
        }
        self.0.sessions.end_all().await;
        self.0.upstreams.ended().await;
    }
}

/// Another hold on a part.
fn share<T>(part: &Arc<T>) -> Arc<T> {
    Arc::clone(part)
}
