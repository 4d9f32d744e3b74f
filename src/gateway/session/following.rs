//! Subscriptions of a legacy session at a modern server, which has none: there a stream of changes is opened for each
//! (MCP 2026-07-28 §Subscriptions), and what it tells goes to the session's own stream.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::session::{SUBSCRIPTION_LIMIT, Session};
use crate::gateway::catalog::ConnectionSource as _;
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, Message, Notification, member_str, method, to_legacy_params};
use crate::gateway::upstream::{Followed, Upstream, follow};

/// Updates of one resource that may wait for the session.
const UPDATES: usize = 16;

impl Session {
    /// Handles a subscription or its end at a modern server; `None` if it is something else, or the server a legacy one.
    pub(crate) async fn follow(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        method: &str,
        params: Option<&RawValue>,
    ) -> Option<Result<(), Fault>> {
        let begins = match method {
            method::SUBSCRIBE => true,
            method::UNSUBSCRIBE => false,
            _ => return None,
        };
        let uri = member_str(params?, "uri")?.into_owned();
        match self.link(upstream).await {
            Ok(link) if link.era == Era::Legacy => return None,
            Ok(_) => {}
            Err(fault) => return Some(Err(fault)),
        }
        self.unfollow(&uri);
        Some(if begins { self.begin_following(upstream, uri).await } else { Ok(()) })
    }

    /// Follows one resource until the session ends or gives it up.
    async fn begin_following(self: &Arc<Self>, upstream: &Arc<Upstream>, uri: String) -> Result<(), Fault> {
        let (sender, mut updates) = mpsc::channel::<Notification>(UPDATES);
        let (accepted, answer) = oneshot::channel();
        let client = self.connections.client().meta.clone();
        let followed = Followed { who: self.id.clone(), client, uris: vec![uri.clone()] };
        tokio::spawn(follow(Arc::clone(upstream), followed, sender, accepted));
        let session = Arc::clone(self);
        let forward = tokio::spawn(async move {
            while let Some(note) = updates.recv().await {
                // The stream that the update came by is not the session's business.
                let params = to_legacy_params(note.params);
                session.outbox.put(Message::Notification(Notification { params, ..note }));
            }
        });
        self.note_followed(upstream, uri.clone(), forward.abort_handle());
        let late = || Fault::upstream(&upstream.name(), "does not accept the subscription in time");
        let accepted = match timeout(SUBSCRIPTION_LIMIT, answer).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(_)) | Err(_) => Err(late()),
        };
        accepted.inspect_err(|_| self.unfollow(&uri))
    }

    /// Notes the task that brings a resource's updates.
    fn note_followed(&self, upstream: &Upstream, uri: String, task: AbortHandle) {
        if let Some((_, former)) = self.followed.lock().insert(uri, (upstream.serial, task)) {
            former.abort();
        }
        if self.ended.is_cancelled() {
            self.followed.lock().drain().for_each(|(_, (_, task))| task.abort());
        }
    }

    /// Whether an upstream knows of a subscription of the client.
    pub(super) fn has_subscribed(&self, upstream: &Upstream, uri: &str) -> bool {
        self.followed.lock().get(uri).is_some_and(|(serial, _)| *serial == upstream.serial)
            || self.connections.has_subscribed(upstream, uri)
            || upstream.has_subscriber(uri, &self.id)
    }

    /// Ends the task that brings a resource's updates.
    fn unfollow(&self, uri: &str) {
        if let Some((_, task)) = self.followed.lock().remove(uri) {
            task.abort();
        }
    }
}
