//! What sessions and streams of changes are told: notifications that belong to no request, and where they come from.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::broadcast;

use super::relay::Notification;
use crate::config::UpstreamName;

/// Notifications that may wait for a slow session; it misses the oldest beyond.
const WAITING: usize = 256;

/// The notifications that say that lists are to be read again.
pub(crate) const LISTS: [&str; 3] = [
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
];

/// An endpoint of the gateway, which outlives the upstreams that are behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    /// `/mcp`.
    All,
    /// `/mcp/NAME`.
    One(String),
}

/// Where a notification comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A shared connection to this upstream.
    Upstream(UpstreamName),
    /// A reload, which has put other upstreams behind these endpoints.
    Reload(Arc<HashSet<Endpoint>>),
}

/// The sending side, shared by all upstreams.
pub(crate) type Changes = broadcast::Sender<(Origin, Notification)>;

/// The side of one session or stream.
pub(crate) type Announced = broadcast::Receiver<(Origin, Notification)>;

/// A channel for announcements.
pub(crate) fn changes() -> Changes {
    broadcast::Sender::new(WAITING)
}

/// Tells that every list from this origin is to be read again. That nobody listens is fine.
pub(crate) fn announce_lists(changes: &Changes, origin: &Origin) {
    for method in LISTS {
        let _ = changes.send((origin.clone(), changed(method)));
    }
}

/// The notification of a changed list.
pub(crate) fn changed(method: &str) -> Notification {
    Notification { method: method.to_owned(), params: None }
}
