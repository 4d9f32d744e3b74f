//! The gateway as the daemon sees it: start, serve, report, stop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::catalog::Scope;
use super::error::Error;
use super::http;
use super::session::Store;
use super::status::{Audience, Status, UpstreamStatus};
use super::upstream::{self, Builtin, Changes, Connector, Keepers, State, Upstream};
use crate::config::{Config, Server, Sharing, Transport, Upstream as Settings, UpstreamName};
use crate::drain::Watch;
use crate::sys::net::Listener;

/// A running gateway; clones share it.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

/// What handlers work with.
pub(crate) struct Inner {
    /// `[server]`.
    pub(crate) server: Server,
    /// `/mcp`.
    pub(crate) merged: Arc<Scope>,
    /// `/mcp/NAME`.
    pub(crate) singles: HashMap<String, Arc<Scope>>,
    /// Legacy sessions.
    pub(crate) sessions: Store,
    /// What upstreams announce.
    pub(crate) changes: Changes,
    /// Cancelled when the drain begins.
    pub(crate) draining: CancellationToken,
    /// Requests in flight.
    requests: Arc<AtomicUsize>,
    /// When the gateway was started.
    started: Instant,
    /// Every upstream, the built-in one last.
    upstreams: Vec<Arc<Upstream>>,
    /// Upstreams that the configuration names.
    configured: usize,
    /// The tasks that supervise upstreams.
    supervisors: Mutex<Vec<JoinHandle<()>>>,
    /// The tasks that end and reap children.
    keepers: Keepers,
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
    /// # Errors
    /// [`Error::Certificates`] if an upstream needs TLS and the system has no certificates.
    pub fn start(config: &Config) -> Result<Self, Error> {
        let tls = config.upstreams.iter().any(
            |upstream| matches!(&upstream.transport, Transport::Http { url, .. } if url.starts_with("https:")),
        );
        let pool = upstream::pool(tls)?;
        let builtin = Arc::new(Builtin::new(config.sources.first().cloned()));
        let (changes, keepers) = (upstream::changes(), Keepers::default());
        let connector = |settings: &Settings, builtin: Option<&Arc<Builtin>>| Connector {
            settings: settings.clone(),
            pool: pool.clone(),
            limit: config.server.max_message_size,
            keepers: keepers.clone(),
            builtin: builtin.cloned(),
        };
        let connectors = config.upstreams.iter().map(|settings| connector(settings, None));
        let connectors = connectors.chain(std::iter::once(connector(&builtin_settings(), Some(&builtin))));
        let (upstreams, supervisors): (Vec<_>, Vec<_>) =
            connectors.map(|connector| Upstream::start(connector, changes.clone())).unzip();
        let configured = config.upstreams.len();
        // The built-in upstream is on the merged endpoint only where there is nothing else: a lone configured one must
        // keep its names unprefixed.
        let shown = if configured == 0 { upstreams.clone() } else { upstreams[..configured].to_vec() };
        let single = |upstream: &Arc<Upstream>| {
            (upstream.name().to_owned(), Arc::new(Scope::single(Arc::clone(upstream))))
        };
        let inner = Arc::new(Inner {
            server: config.server.clone(),
            merged: Arc::new(Scope::merged(shown, config.server.prefix)),
            singles: upstreams.iter().map(single).collect(),
            sessions: Store::default(),
            changes,
            draining: CancellationToken::new(),
            requests: Arc::default(),
            started: Instant::now(),
            upstreams,
            configured,
            supervisors: Mutex::new(supervisors),
            keepers,
        });
        let observed = Arc::downgrade(&inner);
        builtin.observe(Box::new(move || {
            observed.upgrade().map(|inner| inner.status(Audience::Downstream)).unwrap_or_default()
        }));
        let sweeping = Arc::clone(&inner);
        tokio::spawn(async move {
            let (limit, stop) = (sweeping.server.session_timeout, sweeping.draining.clone());
            sweeping.sessions.sweep(limit, stop).await;
        });
        Ok(Self(inner))
    }

    /// Serves a listener until the drain's deadline, or until idle after the drain has begun. Returns the number of
    /// connections that were cut.
    ///
    /// # Errors
    /// When the listener cannot be used at all.
    pub async fn serve(&self, listener: Listener, mut drain: Watch) -> std::io::Result<usize> {
        let inner = Arc::clone(&self.0);
        let watch = drain.clone();
        let announce = tokio::spawn(async move {
            drain.started().await;
            inner.draining.cancel();
        });
        let cut = http::accept(listener, http::router(&self.0), watch).await;
        announce.abort();
        cut
    }

    /// Waits until each upstream has been tried once, then refuses names that cannot be told apart.
    ///
    /// # Errors
    /// [`Error::NameClash`] under `prefix = "never"`.
    pub async fn settled(&self) -> Result<(), Error> {
        join_all(self.0.upstreams.iter().map(|upstream| upstream.tried())).await;
        self.0.merged.check_clashes().await
    }

    /// A snapshot for operators.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status(Audience::Operator)
    }

    /// Ends all sessions and upstreams, and waits until every child is gone.
    pub async fn stop(&self) {
        self.0.draining.cancel();
        for upstream in &self.0.upstreams {
            upstream.stop();
        }
        self.0.sessions.end_all().await;
        let supervisors =
            std::mem::take(&mut *self.0.supervisors.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(supervisors).await;
        self.0.keepers.end().await;
    }
}

impl Inner {
    /// Counts a request until the guard is dropped.
    pub(crate) fn in_flight(&self) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.requests))
    }

    /// A snapshot.
    pub(crate) fn status(&self, audience: Audience) -> Status {
        let upstreams: Vec<UpstreamStatus> =
            self.upstreams.iter().map(|upstream| upstream.status(audience)).collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            healthy: upstreams[..self.configured].iter().all(|upstream| upstream.state == State::Ready),
            sessions: self.sessions.len(),
            in_flight: self.requests.load(Ordering::Relaxed),
            upstreams,
        }
    }
}

/// The built-in upstream's settings; nothing of them but the name is used.
fn builtin_settings() -> Settings {
    Settings {
        name: UpstreamName::builtin(),
        transport: Transport::Http { url: String::new(), headers: std::collections::BTreeMap::new() },
        start_timeout: std::time::Duration::from_secs(5),
        request_timeout: std::time::Duration::from_secs(30),
        sharing: Sharing::Shared,
    }
}
