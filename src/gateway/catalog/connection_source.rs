//! Where the connections to upstreams come from: shared ones, or a session's own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::gateway::error::Fault;
use crate::gateway::relay::{ClientMeta, Era, Raw};
use crate::gateway::upstream::{Kind, Later, Link, Listing, Standing, Upstream};

/// How long one upstream may keep a merged list waiting: a person or a model waits for the others'.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection of a client's own may, where another one knows the same.
const GRACE: Duration = Duration::from_millis(250);

/// Where the connections to upstreams come from: shared ones, or a session's own.
pub(crate) trait ConnectionSource: Sync {
    /// The connection to use for this upstream.
    fn link(&self, upstream: &Arc<Upstream>) -> impl Future<Output = Result<Arc<Link>, Fault>> + Send;

    /// A connection that knows what the upstream has, for as long as the one to use is still being opened.
    fn meanwhile(&self, _upstream: &Arc<Upstream>) -> Option<Arc<Link>> {
        None
    }

    /// Notes that the client is shown a list, or none where it cannot be had, and whether it was read over such a connection.
    fn shown(&self, _upstream: &Upstream, _kind: Kind, _listing: Option<&Arc<Listing>>, _borrowed: bool) {}

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

    /// Where a legacy client is told of the progress of its tasks.
    fn later(&self) -> Option<Later> {
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

    fn meanwhile(&self, upstream: &Arc<Upstream>) -> Option<Arc<Link>> {
        L::meanwhile(self, upstream)
    }

    fn shown(&self, upstream: &Upstream, kind: Kind, listing: Option<&Arc<Listing>>, borrowed: bool) {
        L::shown(self, upstream, kind, listing, borrowed);
    }

    fn client(&self) -> Option<(ClientMeta, Option<Raw>)> {
        L::client(self)
    }

    fn task(&self, upstream: &Upstream, id: &str) -> Standing {
        L::task(self, upstream, id)
    }

    fn later(&self) -> Option<Later> {
        L::later(self)
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

/// A connection that knows what an upstream has.
pub(crate) struct Knowing {
    /// The connection.
    pub(crate) link: Arc<Link>,
    /// Whether it stands in for the one to use, which is still being opened.
    pub(crate) borrowed: bool,
}

/// A connection that knows what an upstream has, if one can be had soon. One that sleeps is not woken: its last connection
/// knows what it has. Where a client has a connection of its own that takes long to open, the one that all share stands in;
/// opening the other goes on.
pub(crate) async fn soon(source: &impl ConnectionSource, upstream: &Arc<Upstream>) -> Result<Knowing, Fault> {
    if let Some(link) = upstream.asleep() {
        return Ok(Knowing { link, borrowed: false });
    }
    match source.meanwhile(upstream) {
        None => awake(source, upstream).await.map(|link| Knowing { link, borrowed: false }),
        Some(shared) => match timeout(GRACE, source.link(upstream)).await {
            Ok(Ok(link)) => Ok(Knowing { link, borrowed: false }),
            Ok(Err(_)) | Err(_) => Ok(Knowing { link: shared, borrowed: true }),
        },
    }
}

/// The connection to an upstream, which is woken if it sleeps, if it can be had soon; opening it goes on where it takes
/// longer.
pub(super) async fn awake(
    source: &impl ConnectionSource,
    upstream: &Arc<Upstream>,
) -> Result<Arc<Link>, Fault> {
    let patience = if upstream.is_failing() { Duration::from_millis(500) } else { PATIENCE };
    let late = |_| Fault::upstream(&upstream.name(), "is still starting; try again soon");
    timeout(patience, source.link(upstream)).await.map_err(late)?
}
