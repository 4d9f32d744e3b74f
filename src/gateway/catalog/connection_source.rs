//! Where the connections to upstreams come from: shared ones, or a session's own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::gateway::error::Fault;
use crate::gateway::relay::{ClientMeta, Era, Raw};
use crate::gateway::upstream::{Link, Standing, Upstream};

/// How long one upstream may keep a merged list waiting: a person or a model waits for the others'.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Where the connections to upstreams come from: shared ones, or a session's own.
pub(crate) trait ConnectionSource: Sync {
    /// The connection to use for this upstream.
    fn link(&self, upstream: &Arc<Upstream>) -> impl Future<Output = Result<Arc<Link>, Fault>> + Send;

    /// Whose a task of this upstream is, to the client that asks.
    fn task(&self, _upstream: &Upstream, _id: &str) -> Standing {
        Standing::Foreign
    }

    /// The era of the client that asks.
    fn era(&self) -> Era {
        Era::Modern
    }

    /// What a modern server must be told about the client of a legacy session: who it is, and its log level.
    fn client(&self) -> Option<(ClientMeta, Option<Raw>)> {
        None
    }
}

/// The shared connections in each server's own era.
#[derive(Debug)]
pub(crate) struct Native;

impl<L: ConnectionSource + Send> ConnectionSource for Arc<L> {
    async fn link(&self, upstream: &Arc<Upstream>) -> Result<Arc<Link>, Fault> {
        L::link(self, upstream).await
    }

    fn client(&self) -> Option<(ClientMeta, Option<Raw>)> {
        L::client(self)
    }

    fn task(&self, upstream: &Upstream, id: &str) -> Standing {
        L::task(self, upstream, id)
    }

    fn era(&self) -> Era {
        L::era(self)
    }
}

impl ConnectionSource for Native {
    async fn link(&self, upstream: &Arc<Upstream>) -> Result<Arc<Link>, Fault> {
        upstream.native().await
    }
}

/// The connection to an upstream, if it can be had soon; opening it goes on where it takes longer. One that sleeps is not
/// woken: its last connection knows what it has.
pub(crate) async fn soon(
    source: &impl ConnectionSource,
    upstream: &Arc<Upstream>,
) -> Result<Arc<Link>, Fault> {
    match upstream.asleep() {
        Some(asleep) => Ok(asleep),
        None => awake(source, upstream).await,
    }
}

/// The same of one that is woken if it sleeps.
pub(super) async fn awake(
    source: &impl ConnectionSource,
    upstream: &Arc<Upstream>,
) -> Result<Arc<Link>, Fault> {
    let patience = if upstream.is_failing() { Duration::from_millis(500) } else { PATIENCE };
    let late = |_| Fault::upstream(&upstream.name(), "is still starting; try again soon");
    timeout(patience, source.link(upstream)).await.map_err(late)?
}
