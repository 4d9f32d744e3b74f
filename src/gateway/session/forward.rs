//! Messages that belong to no request, on their way to the session's GET stream.
//!
//! Each of the session's own connections has a task here, so that the order on it is kept and none waits for another.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use tokio::sync::{broadcast::error::RecvError, mpsc};

use super::super::changes::{Announced, LISTS, Origin, changed};
use super::super::relay::{Message, Notification, member_str};
use super::super::upstream::{Inbound, InboxReceiver, Link};
use super::live::{Session, lock};
use super::transfer::subscribe_again;

/// A connection of a session's own that was opened, and what it tells.
pub(super) type Told = (Arc<Link>, InboxReceiver);

impl Session {
    /// The session's task: brings messages that belong to no request to the GET stream.
    pub(super) async fn forward(
        self: Arc<Self>,
        mut opened: mpsc::UnboundedReceiver<Told>,
        mut shared: Announced,
    ) {
        loop {
            tokio::select! {
                () = self.ended.cancelled() => return,
                told = opened.recv() => match told {
                    Some((link, inbox)) => {
                        tokio::spawn(Arc::clone(&self).forward_own(Arc::downgrade(&link), inbox));
                    }
                    None => return,
                },
                change = shared.recv() => match change {
                    Ok((origin, note)) => self.forward_shared(&origin, note),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(session = self.label(), missed, "the session missed notifications");
                        // Any list may have changed, and there may have been a reload.
                        let endpoint = HashSet::from([self.endpoint().clone()]);
                        let origin = Origin::Reload(Arc::new(endpoint));
                        LISTS.map(changed).into_iter().for_each(|note| self.forward_shared(&origin, note));
                    }
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    /// The task of one of the session's own connections, until that is gone. What a connection has said goes on also when
    /// another one has taken its place.
    async fn forward_own(self: Arc<Self>, link: Weak<Link>, mut inbox: InboxReceiver) {
        loop {
            let message = tokio::select! {
                () = self.ended.cancelled() => return,
                message = inbox.recv() => message,
            };
            let Some((_, message)) = message else { return };
            match (message, link.upgrade()) {
                (Inbound::Notification(note), Some(link)) => {
                    link.known.forget(&note.method);
                    self.outbox.put(Message::Notification(self.translated(&link, note)));
                }
                (Inbound::Notification(note), None) => self.outbox.put(Message::Notification(note)),
                (Inbound::Request(request), Some(link)) => {
                    let message = self.ask(&link, request);
                    self.outbox.put(message);
                }
                // Nobody is there any more who could be told the answer.
                (Inbound::Request(_), None) => {}
            }
        }
    }

    /// A notification of a shared connection: list changes for everybody, resource updates for subscribers. Log
    /// messages and the like are dropped, since nothing says whose they are.
    fn forward_shared(self: &Arc<Self>, origin: &Origin, note: Notification) {
        let name = match origin {
            Origin::Upstream(name) => name,
            Origin::Reload(endpoints) => {
                if endpoints.contains(self.endpoint()) {
                    if note.method == "notifications/resources/list_changed" {
                        // What is new has not been told yet.
                        tokio::spawn(subscribe_again(Arc::clone(self), self.subscriptions()));
                    }
                    self.outbox.put(Message::Notification(note));
                }
                return;
            }
        };
        let scope = self.scope();
        let Some(upstream) = scope.upstreams().iter().find(|upstream| upstream.connector.name() == name)
        else {
            return;
        };
        let wanted = match note.method.as_str() {
            "notifications/resources/updated" => note
                .params
                .as_deref()
                .and_then(|params| member_str(params, "uri"))
                .is_some_and(|uri| lock(&self.subscribed).covers(&uri)),
            method => method.ends_with("/list_changed") && !self.links.has_own(upstream),
        };
        if wanted {
            self.outbox.put(Message::Notification(note));
        }
    }
}
