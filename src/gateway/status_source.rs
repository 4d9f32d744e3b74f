//! Where the gateway's status comes from: the parts that know it.

use std::sync::Arc;

use tokio::time::Instant;

use super::access::Issuers;
use super::catalog::RoutingHandle;
use super::certificates::Certificates;
use super::memory;
use super::session::SessionStore;
use super::status::{Audience, Status, UpstreamState, UpstreamStatus};
use super::telemetry::Ledger;

/// The parts that know the status.
#[derive(Debug)]
pub(crate) struct StatusSource {
    /// The upstreams.
    routing: Arc<RoutingHandle>,
    /// Legacy sessions.
    sessions: Arc<SessionStore>,
    /// Requests.
    ledger: Arc<Ledger>,
    /// Certificates of listeners.
    certificates: Arc<Certificates>,
    /// Authorization servers.
    issuers: Arc<Issuers>,
    /// When the gateway was started.
    started: Instant,
}

impl StatusSource {
    /// The status of a gateway that starts now.
    pub(super) fn new(
        (routing, sessions): (Arc<RoutingHandle>, Arc<SessionStore>),
        (ledger, certificates, issuers): (Arc<Ledger>, Arc<Certificates>, Arc<Issuers>),
    ) -> Self {
        Self { routing, sessions, ledger, certificates, issuers, started: Instant::now() }
    }

    /// The configuration in force, and what is behind which endpoint.
    pub(super) fn routing(&self) -> &RoutingHandle {
        &self.routing
    }

    /// Legacy sessions.
    pub(super) fn sessions(&self) -> &SessionStore {
        &self.sessions
    }

    /// Numbers about requests.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Each upstream, and how many requests wait until it has room for them.
    pub(super) fn queues(&self) -> impl Iterator<Item = (String, usize)> {
        let table = self.routing.current();
        let all: Vec<_> = table.configured().iter().map(|it| (it.name().to_owned(), it.waiting())).collect();
        all.into_iter()
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
            in_flight: self.ledger.in_flight(),
            memory: memory::status(),
            upstreams,
            certificates: self.certificates.status(),
            // Why keys cannot be had may name addresses from inside.
            issuers: if audience == Audience::Operator { self.issuers.status() } else { Vec::new() },
        }
    }
}
