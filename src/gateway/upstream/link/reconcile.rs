//! Reading lists again that clients were shown: what a server tells can be lost, and many tell nothing.
//!
//! Each connection has a task for that. It reads the lists that were read before, and tells clients where one differs,
//! - whenever a stream of changes was opened, since the one before may have told of something at its end. Of a list that
//!   nobody has read here it is not known whether it differs: clients are told that it may;
//! - over a connection that all clients of an HTTP server share, when a list has become too old and there are clients:
//!   behind one address a server can be replaced without a trace. A child cannot. Where no stream would tell, lists that
//!   were not read over it are read too: clients may have them by connections of their own.
//!
//! When the connection of one client ends by itself, the next request opens another, and its session compares what that has
//! with what the client was shown.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connection::Link;
use super::lists;
use super::wire::Wire;
use crate::gateway::upstream::call::backoff::until;
use crate::gateway::upstream::lists::cache::{TOLD, UNTOLD};
use crate::gateway::upstream::lists::kind::Kind;

/// How long reading a list may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What has happened.
enum Due {
    /// The connection has ended.
    Closed,
    /// A stream was opened or has ended.
    Streams,
    /// A list may have become too old.
    Age,
}

/// Begins to read lists again; the task ends with the connection.
pub(crate) fn reconcile(link: &Arc<Link>) -> JoinHandle<()> {
    tokio::spawn(run(Arc::downgrade(link)))
}

/// Whether lists are read again because of their age.
fn is_polled(link: &Link) -> bool {
    link.inbox().outlet().is_shared() && matches!(link.wire(), Wire::Http(_))
}

/// When the next list is to be read again because of its age; `None` if none is.
fn next_due(link: &Link) -> Option<Instant> {
    // One may be read for the first time meanwhile.
    let first = Instant::now() + UNTOLD;
    let due = Kind::ALL.into_iter().filter_map(|kind| link.cache().due(kind, lasts(link, kind)));
    is_polled(link).then(|| due.min().map_or(first, |due| due.min(first)))
}

/// How long a list need not be read again.
fn lasts(link: &Link, kind: Kind) -> Duration {
    if link.is_told(kind) { TOLD } else { UNTOLD }
}

/// Reads what has become too old, if there is anybody to be told.
async fn read_old(link: &Link) {
    let now = Instant::now();
    // Clients may have read it over connections of their own.
    let unread = |kind: Kind| !link.cache().was_read(kind) && link.offers(kind) && !link.is_told(kind);
    let old = |kind: &Kind| {
        let due = link.cache().due(*kind, lasts(link, *kind));
        due.map_or_else(|| unread(*kind), |due| due <= now)
    };
    let old: Vec<_> = Kind::ALL.into_iter().filter(old).collect();
    for kind in &old {
        link.cache().try_again(*kind);
    }
    if link.inbox().outlet().has_audience() {
        read_all(link, &old).await;
    }
}

/// Reads what was read before a stream was opened. `again` says that there was one before.
async fn read_after_opening(link: &Link, again: bool) {
    let read: Vec<_> = Kind::ALL.into_iter().filter(|kind| link.cache().was_read(*kind)).collect();
    let unknown = Kind::ALL.into_iter().filter(|kind| again && !read.contains(kind));
    let unknown: Vec<_> = unknown.filter(|kind| link.offers(*kind) && link.tells_changes(*kind)).collect();
    for kind in unknown.iter().filter(|kind| **kind != Kind::Templates) {
        link.tell_found(*kind);
    }
    // From the next time on it is known.
    read_all(link, &[read, unknown].concat()).await;
}

/// Reads these lists.
async fn read_all(link: &Link, kinds: &[Kind]) {
    let reading = kinds.iter().map(|kind| async move {
        if let Err(fault) = lists::read_again(link, *kind, PATIENCE).await {
            tracing::debug!(upstream = %link.name(), ?kind, %fault, "the list cannot be read again");
        }
    });
    join_all(reading).await;
}

/// Reads lists again until the connection ends.
async fn run(link: Weak<Link>) {
    let Some((mut closed, mut streams)) =
        link.upgrade().map(|link| (link.wire().closed(), link.cache().streams()))
    else {
        return;
    };
    let mut opened = 0;
    loop {
        let Some(connection) = link.upgrade() else { return };
        let times = streams.borrow_and_update().opened();
        if times > opened {
            read_after_opening(&connection, opened > 0).await;
            opened = times;
        }
        let next = next_due(&connection);
        drop(connection);
        let due = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Due::Closed,
            changed = streams.changed() => if changed.is_ok() { Due::Streams } else { return },
            () = until(next) => Due::Age,
        };
        let Some(connection) = link.upgrade() else { return };
        match due {
            Due::Closed => return,
            Due::Streams => {}
            Due::Age if connection.activity().is_retired() => return,
            Due::Age => read_old(&connection).await,
        }
    }
}
