//! What a session has subscribed to: how much that may be, and who is told of its end.
//!
//! A client's subscriptions live as long as its session, in memory and in what is remembered of it, so that their number and
//! their size are limited.

use std::collections::HashSet;
use std::sync::Arc;

use http::StatusCode;
use serde_json::json;
use serde_json::value::RawValue;

use super::session::{SUBSCRIPTION_LIMIT, Session};
use super::transfer::Change;
use crate::gateway::error::Fault;
use crate::gateway::relay::{code, member_str, method, raw};
use crate::gateway::upstream::{Call, Upstream};

/// Resources that one client may follow, in a session or by a stream of changes.
const RESOURCES: usize = 1000;
/// What their URIs may take together, in KiB.
const KIB: usize = 1024;

/// Begins a subscription.
const SUBSCRIBE: &str = method::SUBSCRIBE;
/// Ends it.
const UNSUBSCRIBE: &str = method::UNSUBSCRIBE;

/// Resources that one client follows.
#[derive(Debug, Default)]
pub(crate) struct Subscribed {
    /// Their URIs.
    uris: HashSet<String>,
    /// What these take, in bytes.
    weight: usize,
}

impl Subscribed {
    /// Adds a resource; refused where there are as many as may be.
    pub(crate) fn add(&mut self, uri: &str) -> Result<(), Fault> {
        if self.uris.contains(uri) {
            return Ok(());
        }
        if self.uris.len() >= RESOURCES || self.weight + uri.len() > KIB << 10 {
            let message = format!(
                "a client may follow {RESOURCES} resources at once, whose URIs take {KIB} KiB at most"
            );
            return Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message));
        }
        self.restore(uri);
        Ok(())
    }

    /// Adds a resource that was admitted before.
    pub(super) fn restore(&mut self, uri: &str) {
        if self.uris.insert(uri.to_owned()) {
            self.weight += uri.len();
        }
    }

    /// Takes a resource out; `false` if it was not there.
    fn remove(&mut self, uri: &str) -> bool {
        let was = self.uris.remove(uri);
        if was {
            self.weight -= uri.len();
        }
        was
    }

    /// Whether a resource is followed, or is part of one that is.
    pub(super) fn covers(&self, uri: &str) -> bool {
        self.has(uri) || self.uris.iter().any(|followed| is_within(uri, followed))
    }

    /// Whether a resource itself is followed.
    fn has(&self, uri: &str) -> bool {
        self.uris.contains(uri)
    }

    /// The URIs.
    pub(super) fn uris(&self) -> Vec<String> {
        self.uris.iter().cloned().collect()
    }
}

/// Whether a resource is another one, or part of it: updates may be told of either (MCP 2025-11-25
/// `ResourceUpdatedNotification`).
pub(crate) fn is_within(uri: &str, whole: &str) -> bool {
    let Some(rest) = uri.strip_prefix(whole) else { return false };
    rest.is_empty() || whole.ends_with('/') || rest.starts_with(['/', '?', '#'])
}

impl Session {
    /// The URIs that the client has subscribed to.
    pub(crate) fn subscriptions(&self) -> Vec<String> {
        self.subscribed.lock().uris()
    }

    /// Notes a subscription or its end, for notifications of shared connections; refused where there are too many.
    pub(crate) fn note_subscription(&self, method: &str, params: Option<&RawValue>) -> Result<(), Fault> {
        let Some(uri) = params.and_then(|params| member_str(params, "uri")) else { return Ok(()) };
        match method {
            SUBSCRIBE => self.subscribed.lock().add(&uri)?,
            UNSUBSCRIBE if self.subscribed.lock().remove(&uri) => {}
            _ => return Ok(()),
        }
        // What holds when it is written, since another request may have said otherwise meanwhile.
        self.note(|| {
            let uri = uri.clone().into_owned();
            if self.subscribed.lock().has(&uri) { Change::Subscribed(uri) } else { Change::Unsubscribed(uri) }
        });
        Ok(())
    }

    /// Notes a subscription or its end at a shared connection. True if the server must not be told of the end, since
    /// other sessions have the same subscription over the same connection.
    pub(crate) fn note_shared_subscription(
        &self,
        upstream: &Upstream,
        method: &str,
        params: Option<&RawValue>,
    ) -> bool {
        let Some(uri) = params.and_then(|params| member_str(params, "uri")) else { return false };
        match method {
            _ if self.connections.dedicated(upstream) => {
                if matches!(method, SUBSCRIBE | UNSUBSCRIBE) {
                    self.connections.note_subscription(upstream, &uri, method == SUBSCRIBE);
                }
                false
            }
            SUBSCRIBE => {
                upstream.subscribe(&uri, &self.id);
                false
            }
            UNSUBSCRIBE => upstream.unsubscribe(&uri, &self.id),
            _ => false,
        }
    }

    /// Takes back what was noted of a subscription that was refused.
    pub(crate) fn forget_subscription(&self, params: &RawValue) {
        let Some(uri) = member_str(params, "uri") else { return };
        // An end is never refused.
        let _ = self.note_subscription(UNSUBSCRIBE, Some(params));
        for upstream in self.view().upstreams().iter().filter(|upstream| self.has_subscribed(upstream, &uri))
        {
            // Nobody need be told of the end of what has not begun.
            self.note_shared_subscription(upstream, UNSUBSCRIBE, Some(params));
        }
    }

    /// Takes back the subscriptions that nobody else has over the shared connections.
    pub(super) fn release_subscriptions(&self) {
        let subscribed = std::mem::take(&mut *self.subscribed.lock());
        let view = self.view();
        let shared = view.upstreams().iter().filter(|upstream| !self.connections.dedicated(upstream));
        for upstream in shared {
            for uri in subscribed.uris.iter().filter(|uri| upstream.has_subscriber(uri, &self.id)) {
                if upstream.unsubscribe(uri, &self.id) {
                    continue;
                }
                let (upstream, params) = (Arc::clone(upstream), raw(&json!({ "uri": uri })));
                tokio::spawn(async move {
                    let Ok(link) = upstream.shared_legacy().await else { return };
                    let call = Call::new(UNSUBSCRIBE, Some(params), SUBSCRIPTION_LIMIT);
                    let _ = link.call(call).await.outcome().await;
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_resources_are_followed_as_may_be_and_room_is_made_by_taking_one_out() {
        let mut subscribed = Subscribed::default();
        for number in 0..RESOURCES {
            subscribed.add(&number.to_string()).unwrap();
        }
        subscribed.add("7").expect("it is followed already");
        let refused = subscribed.add("more").unwrap_err();
        assert!(refused.message.contains("1000 resources"), "{refused}");
        assert!(subscribed.remove("7") && !subscribed.remove("7"));
        subscribed.add("more").unwrap();
    }

    #[test]
    fn resource_is_within_another_one_where_its_path_goes_on() {
        for part in ["test://a", "test://a/b", "test://a?b", "test://a#b"] {
            assert!(is_within(part, "test://a"), "{part}");
        }
        assert!(is_within("test://a/b", "test://a/"));
        for other in ["test://ab", "test://", "other://test://a"] {
            assert!(!is_within(other, "test://a"), "{other}");
        }
    }

    #[test]
    fn what_uris_take_together_is_limited_too() {
        let mut subscribed = Subscribed::default();
        let long = "x".repeat(KIB << 9);
        subscribed.add(&long).unwrap();
        subscribed.add(&format!("{long}yz")).unwrap_err();
        subscribed.add(&long[1..]).unwrap();
        let refused = subscribed.add("zz").unwrap_err();
        assert!(refused.message.contains("1024 KiB"), "{refused}");
        subscribed.remove(&long);
        subscribed.add(&format!("{long}y")).unwrap();
    }
}
