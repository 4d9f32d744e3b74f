//! The connections for lists of a modern client: what a legacy server lists may depend on what its client can be asked.

use std::sync::Arc;
use std::time::Duration;

use crate::gateway::catalog::ConnectionSource;
use crate::gateway::error::Fault;
use crate::gateway::relay::ClientMeta;
use crate::gateway::upstream::{Caller, Lease, Link, Standing, Upstream};
use parking_lot::Mutex;

/// The shared connections, for a request of this client.
pub(super) struct Asking<'a>(pub(super) &'a Caller);

impl ConnectionSource for Asking<'_> {
    async fn link(&self, upstream: &Arc<Upstream>) -> Result<Arc<Link>, Fault> {
        upstream.native().await
    }

    fn task(&self, upstream: &Upstream, id: &str) -> Standing {
        upstream.tasks().standing(id, self.0)
    }
}

/// Lends connections for as long as a list takes.
pub(super) struct Lending<'a> {
    /// Whose list it is.
    client: (&'a ClientMeta, &'a Caller),
    /// What was lent.
    leases: Mutex<Vec<Lease>>,
}

impl<'a> Lending<'a> {
    /// Nothing lent.
    pub(super) fn to(client: (&'a ClientMeta, &'a Caller)) -> Self {
        Self { client, leases: Mutex::default() }
    }
}

impl ConnectionSource for Lending<'_> {
    async fn link(&self, upstream: &Arc<Upstream>) -> Result<Arc<Link>, Fault> {
        let native = upstream.native().await?;
        if !upstream.leases().lends_to(self.client.0, &native) {
            return Ok(native);
        }
        // A task of its own: where it takes long, what is opened is kept for the next list, or the call after it.
        let (leases, client) =
            (Arc::clone(upstream.leases()), (self.client.0.clone(), self.client.1.clone()));
        let lending = async move { leases.lend((&client.0, &client.1), Duration::ZERO).await };
        // Where all are busy, the list that everybody has is better than none.
        let Ok(Ok(lease)) = tokio::spawn(lending).await else { return Ok(native) };
        let link = lease.link();
        self.leases.lock().push(lease);
        link.or(Ok(native))
    }

    fn meanwhile(&self, upstream: &Arc<Upstream>) -> Option<Arc<Link>> {
        upstream.ready().filter(|native| upstream.leases().lends_to(self.client.0, native))
    }
}
