//! Messages that belong to no request, on their way to the session's GET stream.
//!
//! Each of the session's own connections has a task here, so that the order on it is kept and none waits for another.

use std::sync::{Arc, Weak};

use tokio::sync::mpsc;

use super::session::Session;
use super::transfer::subscribe_again;
use crate::gateway::changes::{Announced, Change, LISTS, changed, updated};
use crate::gateway::relay::{Message, member_str};
use crate::gateway::upstream::{Inbound, InboxReceiver, Link, Upstream};

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
                changes = shared.next() => changes.into_iter().for_each(|change| self.forward_shared(change)),
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
                    self.outbox.put(Message::Notification(self.translated(&link, note)));
                }
                (Inbound::Notification(note), None) => self.outbox.put(Message::Notification(note)),
                (Inbound::Request(request), Some(link)) => {
                    let message = self.ask(&link, request);
                    self.outbox.put(message);
                }
                // Nobody is there any more who could be told the answer.
                (Inbound::Request(_) | Inbound::AnyUpdated, None) => {}
                (Inbound::AnyUpdated, Some(link)) => {
                    self.tell_updates(|upstream| *upstream.connector.name() == link.name);
                }
            }
        }
    }

    /// A change: of lists for everybody, of resources for subscribers.
    fn forward_shared(self: &Arc<Self>, change: Change) {
        match change {
            Change::Endpoint(endpoint) if endpoint == *self.endpoint() => {
                // What is new has not been told yet.
                tokio::spawn(subscribe_again(Arc::clone(self), self.subscriptions()));
                for list in LISTS {
                    self.outbox.put(Message::Notification(changed(list)));
                }
            }
            Change::Endpoint(_) => {}
            Change::List(name, list) => {
                let view = self.view();
                let upstream = view.upstreams().iter().find(|upstream| *upstream.connector.name() == name);
                if upstream.is_some_and(|upstream| !self.connections.hears_itself(upstream, list)) {
                    self.outbox.put(Message::Notification(changed(list)));
                }
            }
            Change::Updated(name, note) => {
                let uri = note.params.as_deref().and_then(|params| member_str(params, "uri"));
                let covered = uri.is_some_and(|uri| self.subscribed.lock().covers(&uri));
                if covered
                    && self.view().upstreams().iter().any(|upstream| *upstream.connector.name() == name)
                {
                    self.outbox.put(Message::Notification(note));
                }
            }
            Change::AnyUpdated(name) => self.tell_updates(|upstream| {
                *upstream.connector.name() == name && !self.connections.has_own(upstream)
            }),
        }
    }

    /// Tells the client of an update of each resource that it has subscribed to at these upstreams.
    fn tell_updates(&self, concerned: impl Fn(&Upstream) -> bool) {
        let view = self.view();
        let concerned: Vec<_> = view.upstreams().iter().filter(|upstream| concerned(upstream)).collect();
        for uri in self.subscriptions() {
            if concerned.iter().any(|upstream| self.has_subscribed(upstream, &uri)) {
                self.outbox.put(Message::Notification(updated(&uri)));
            }
        }
    }
}
