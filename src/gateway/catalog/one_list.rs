//! The list of one upstream, for those who put lists together or look something up in them.

use std::sync::Arc;

use super::connection_source::{ConnectionSource, Knowing, PATIENCE, soon};
use crate::gateway::error::Fault;
use crate::gateway::relay::ClientMeta;
use crate::gateway::upstream::{Kind, Listing, Purpose, Upstream, list};

/// One upstream's list, if it can be had soon.
pub(crate) async fn listing(
    source: &impl ConnectionSource,
    upstream: &Arc<Upstream>,
    kind: Kind,
    purpose: Purpose,
    meta: &ClientMeta,
) -> Result<Arc<Listing>, Fault> {
    let (listing, borrowed) = match soon(source, upstream).await {
        Ok(Knowing { link, borrowed }) => (list(&link, kind, purpose, meta, PATIENCE).await, borrowed),
        Err(fault) => (Err(fault), false),
    };
    if purpose == Purpose::Showing {
        note_shown(source, upstream, kind, listing.as_ref().ok(), borrowed);
    }
    listing
}

/// Notes that a client is shown a list of an upstream, or that it is left out.
pub(crate) fn note_shown(
    source: &impl ConnectionSource,
    upstream: &Upstream,
    kind: Kind,
    listing: Option<&Arc<Listing>>,
    borrowed: bool,
) {
    upstream.shown().put(kind, listing.map(|listing| &**listing));
    source.shown(upstream, kind, listing, borrowed);
}
