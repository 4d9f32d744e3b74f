//! The tasks of upstreams: those that supervise them, those that end and reap their children, and those that end upstreams
//! which a reload has replaced.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::catalog::RoutingTable;
use super::changes::Changes;
use super::error::Error;
use super::session::SessionStore;
use super::telemetry::Ledger;
use super::upstream::{
    self, Awaited, Builtin, Connector, Directories, KnownPins, Pins, Pool, Reaper, Upstream,
};
use crate::config::{Config, Sharing, Transport, Upstream as Settings};
use crate::handover::Offer;

/// Starts upstreams, and ends them.
#[derive(Debug)]
pub(super) struct UpstreamTasks {
    /// What upstreams announce.
    changes: Changes,
    /// Numbers about requests.
    ledger: Arc<Ledger>,
    /// The tasks that supervise upstreams.
    supervisors: TaskTracker,
    /// The tasks that end and reap children.
    reaper: Reaper,
    /// Where what upstreams leave behind is kept.
    directories: Directories,
    /// Which tools were approved.
    pins: Arc<KnownPins>,
    /// The tasks that end upstreams which a reload has replaced.
    retiring: TaskTracker,
    /// Cancelled when these must not wait any longer.
    stopping: CancellationToken,
}

impl UpstreamTasks {
    /// None yet. Children's standard error goes to files in the one directory, and pins are kept in the other.
    pub(super) fn new((changes, ledger): (Changes, Arc<Ledger>), stderr: &Path, state: &Path) -> Self {
        let (supervisors, reaper, retiring) = (TaskTracker::new(), Reaper::default(), TaskTracker::new());
        let pins = KnownPins::new(state.to_owned(), changes.clone());
        let directories = Directories { stderr: stderr.to_owned(), state: state.to_owned() };
        let stopping = CancellationToken::new();
        Self { changes, ledger, supervisors, reaper, directories, pins, retiring, stopping }
    }

    /// Starts all upstreams of a configuration, the built-in one last. Children on offer are awaited instead of started.
    pub(super) fn start_all(
        &self,
        config: &Config,
        builtin: &Arc<Builtin>,
        mut offers: Vec<Offer>,
    ) -> Result<(Vec<Arc<Upstream>>, Vec<Awaited>), Error> {
        let pool = pool_for(&config.upstreams)?;
        let connector = |settings: &Settings, builtin: Option<&Arc<Builtin>>| {
            let limit = config.server.max_message_size;
            let place = (&self.reaper, &self.directories);
            Connector::new((settings, self.pins_of(settings)), &pool, limit, place, builtin.cloned())
        };
        let connectors = config.upstreams.iter().map(|settings| connector(settings, None));
        let connectors = connectors.chain(std::iter::once(connector(&builtin_settings(), Some(builtin))));
        // All of them before any: a configuration that cannot be used starts nothing.
        let connectors: Vec<Connector> = connectors.collect::<Result<_, _>>()?;
        let start = |connector| Upstream::start(connector, self.told(), &self.supervisors, &mut offers, None);
        let (upstreams, awaited): (_, Vec<_>) = connectors.into_iter().map(start).unzip();
        Ok((upstreams, awaited.into_iter().flatten().collect()))
    }

    /// Starts an upstream of a configuration that is read while the gateway runs. At a server at which `former` has requests
    /// it has no more at once than that one alone may.
    pub(super) fn start(
        &self,
        settings: &Settings,
        pool: &Pool,
        limit: usize,
        former: Option<&Arc<Upstream>>,
    ) -> Result<Arc<Upstream>, Error> {
        let place = (&self.reaper, &self.directories);
        let connector = Connector::new((settings, self.pins_of(settings)), pool, limit, place, None)?;
        let there = upstream::server_key(settings);
        let limit = former.and_then(|former| former.limit()).filter(|(place, _)| *place == there);
        let limit = limit.map(|(_, limit)| Arc::clone(limit));
        Ok(Upstream::start(connector, self.told(), &self.supervisors, &mut Vec::new(), limit).0)
    }

    /// Where upstreams tell of themselves.
    fn told(&self) -> (Changes, Arc<Ledger>) {
        (self.changes.clone(), Arc::clone(&self.ledger))
    }

    /// The pins of an upstream.
    fn pins_of(&self, settings: &Settings) -> Arc<Pins> {
        self.pins.of(&settings.name, settings.pin)
    }

    /// Ends upstreams when nobody can send them a request any more over the former table and those in flight have been
    /// answered.
    pub(super) fn retire(
        &self,
        table: Arc<RoutingTable>,
        gone: Vec<Arc<Upstream>>,
        sessions: Arc<SessionStore>,
        deadline: Instant,
    ) {
        let stopping = self.stopping.clone();
        self.retiring.spawn(async move {
            tokio::select! {
                _ = timeout_at(deadline, table.released()) => {}
                () = stopping.cancelled() => {}
            }
            join_all(gone.iter().map(|upstream| retire(upstream, &sessions, deadline, &stopping))).await;
        });
    }

    /// Has replaced upstreams wait for nothing any more.
    pub(super) fn stop(&self) {
        self.stopping.cancel();
    }

    /// Waits until all upstreams that were stopped have ended.
    pub(super) async fn ended(&self) {
        // In this order: tasks of an earlier kind start tasks of the later ones.
        for tasks in [&self.retiring, &self.supervisors] {
            tasks.close();
            tasks.wait().await;
        }
    }

    /// The tasks that end and reap children.
    pub(super) const fn reaper(&self) -> &Reaper {
        &self.reaper
    }
}

/// Ends one upstream when its requests in flight have been answered.
async fn retire(
    upstream: &Upstream,
    sessions: &SessionStore,
    deadline: Instant,
    stopping: &CancellationToken,
) {
    let own = upstream.persons();
    let all = || own.iter().map(|own| &**own).chain([upstream]);
    let idle = async {
        upstream.idle().await;
        join_all(all().map(|upstream| sessions.idle(upstream))).await;
    };
    let idle = tokio::select! {
        idle = timeout_at(deadline, idle) => idle.is_ok(),
        () = stopping.cancelled() => false,
    };
    if !idle {
        tracing::warn!(upstream = upstream.name(), "its requests in flight have taken too long and are cut");
    }
    upstream.stop();
    join_all(all().map(|upstream| sessions.leave(upstream))).await;
    tracing::info!(upstream = upstream.name(), "the former upstream is ended");
}

/// The HTTP client for these upstreams; certificates are read only if one of them needs TLS.
pub(super) fn pool_for<'a>(upstreams: impl IntoIterator<Item = &'a Settings>) -> Result<Pool, Error> {
    let tls = upstreams.into_iter().any(
        |upstream| matches!(&upstream.transport, Transport::Http { urls, ca_file: None, oauth, .. } if oauth.is_some() || urls.iter().any(|url| url.starts_with("https:"))),
    );
    upstream::pool(tls)
}

/// The built-in upstream's settings; nothing of them but the name is used.
fn builtin_settings() -> Settings {
    Settings { sharing: Sharing::Shared, health_interval: None, ..Settings::builtin() }
}
