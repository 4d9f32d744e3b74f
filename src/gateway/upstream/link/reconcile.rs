//! Reading lists again that clients were shown: what a server tells can be lost, and many tell nothing.
//!
//! Each connection has a task for that. It reads the lists that were read before, and tells clients where one differs,
//! - whenever a stream of changes was opened, since the one before may have told of something at its end. Of a list that
//!   nobody has read here it is not known whether it differs: clients are told that it may;
//! - over a connection that all clients of an HTTP server share, when a list has become too old and there are clients:
//!   behind one address a server can be replaced without a trace. A child cannot. Where no stream would tell, lists that
//!   were not read over it are read too: clients may have them by connections of their own.
//!
//! That is polling, so it is spread over time and backs off where a list cannot be read; it never goes by what a server says of
//! how long its lists hold (MCP 2026-07-28 §Caching, "Freshness Calculation").
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
use crate::gateway::upstream::call::backoff::{jitter, until};
use crate::gateway::upstream::lists::cache::{TOLD, UNTOLD};
use crate::gateway::upstream::lists::kind::Kind;

/// How long reading a list may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much later than it may a list is read again at most, as a part of that time.
const SPREAD: f64 = 0.25;

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

/// When the next list is to be read again because of its age; `None` if none is. So many times in a row it has failed.
fn next_due(link: &Link, failures: u32) -> Option<Instant> {
    let wait = |holds| wait(holds, failures, jitter());
    // One may be read for the first time meanwhile.
    let first = Instant::now() + wait(UNTOLD);
    let due = Kind::ALL.into_iter().filter_map(|kind| link.cache().due(kind, wait(lasts(link, kind))));
    is_polled(link).then(|| due.min().map_or(first, |due| due.min(first)))
}

/// How long a list need not be read again.
fn lasts(link: &Link, kind: Kind) -> Duration {
    if link.is_told(kind) { TOLD } else { UNTOLD }
}

/// After how long a list that holds for a time is read again; `chance` is from 0 to 1.
fn wait(holds: Duration, failures: u32, chance: f64) -> Duration {
    holds.saturating_mul(1 << failures.min(8)).min(TOLD).mul_f64(1.0 + SPREAD * chance)
}

/// Reads what has become too old, if there is anybody to be told; whether all of it could be read.
async fn read_old(link: &Link) -> bool {
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
    !link.inbox().outlet().has_audience() || read_all(link, &old).await
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

/// Reads these lists; whether all of them could be read.
async fn read_all(link: &Link, kinds: &[Kind]) -> bool {
    let reading = kinds.iter().map(|kind| async move {
        let read = lists::read_again(link, *kind, PATIENCE).await;
        if let Err(fault) = &read {
            tracing::debug!(upstream = %link.name(), ?kind, %fault, "the list cannot be read again");
        }
        read.is_ok()
    });
    join_all(reading).await.into_iter().all(|is_read| is_read)
}

/// Reads lists again until the connection ends.
async fn run(link: Weak<Link>) {
    let Some((mut closed, mut streams)) =
        link.upgrade().map(|link| (link.wire().closed(), link.cache().streams()))
    else {
        return;
    };
    let (mut opened, mut failures) = (0, 0);
    loop {
        let Some(connection) = link.upgrade() else { return };
        let times = streams.borrow_and_update().opened();
        if times > opened {
            read_after_opening(&connection, opened > 0).await;
            opened = times;
        }
        let next = next_due(&connection, failures);
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
            Due::Age => failures = if read_old(&connection).await { 0 } else { failures + 1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_polled_at_no_fixed_times_and_less_often_where_they_cannot_be_read() {
        let waits = |failures| [0.0, 0.5, 1.0].map(|chance| wait(UNTOLD, failures, chance).as_millis());
        assert_eq!(waits(0), [30_000, 33_750, 37_500]);
        assert_eq!(waits(1), [60_000, 67_500, 75_000]);
        assert_eq!(waits(u32::MAX), [300_000, 337_500, 375_000]);
        let chances: std::collections::BTreeSet<_> = (0..32).map(|_| jitter().to_bits()).collect();
        assert!(chances.len() > 16 && (0..32).all(|_| (0.0..=1.0).contains(&jitter())));
    }
}
