//! Messages that belong to no request, on their way to the session's GET stream.
//!
//! Each of the session's own connections has a task here, so that the order on it is kept and none waits for another.

use std::sync::{Arc, Weak};

use tokio::sync::mpsc;

use super::connections::Opened;
use super::session::Session;
use super::subscribe::{self, has_subscribed};
use crate::gateway::changes::is_within;
use crate::gateway::changes::{Announced, Change, LISTS, UPDATED, changed, updated};
use crate::gateway::relay::{Message, Notification, member_str};
use crate::gateway::upstream::{Inbound, InboxReceiver, Link, Upstream};

/// The session's task: brings messages that belong to no request to the GET stream.
pub(super) async fn run(
    session: Arc<Session>,
    mut opened: mpsc::UnboundedReceiver<Opened>,
    mut shared: Announced,
) {
    loop {
        tokio::select! {
            () = session.ended().cancelled() => return,
            told = opened.recv() => match told {
                Some((link, inbox)) => {
                    tokio::spawn(own(Arc::clone(&session), Arc::downgrade(&link), inbox));
                }
                None => return,
            },
            changes = shared.next() => changes.into_iter().for_each(|change| self::change(&session, change)),
        }
    }
}

/// The task of one of the session's own connections, until that is gone. What a connection has said goes on also when
/// another one has taken its place.
async fn own(session: Arc<Session>, link: Weak<Link>, mut inbox: InboxReceiver) {
    loop {
        let message = tokio::select! {
            () = session.ended().cancelled() => return,
            message = inbox.recv() => message,
        };
        let Some((_, message)) = message else { return };
        match (message, link.upgrade()) {
            // A client hears of what it has subscribed to, however much else its server tells.
            (Inbound::Notification(note), _) if is_update_of_another(&session, &note) => {
                session.outbox().put_if_room(Message::Notification(note));
            }
            (Inbound::Notification(note), Some(link)) => {
                session.outbox().put(session.told(&link, note));
            }
            (Inbound::Notification(note), None) => session.outbox().put(Message::Notification(note)),
            (Inbound::Request(request), Some(link)) => {
                if let Some(message) = session.asked(&link, request).await {
                    session.outbox().put(message);
                }
            }
            // Nobody is there any more who could be told the answer.
            (Inbound::Request(_) | Inbound::AnyUpdated, None) => {}
            (Inbound::AnyUpdated, Some(link)) => {
                tell_updates(&session, |upstream| upstream.connector().name() == link.name());
            }
        }
    }
}

/// Whether a notification tells of a resource that the client has not subscribed to.
fn is_update_of_another(session: &Session, note: &Notification) -> bool {
    let uri = || note.params.as_deref().and_then(|params| member_str(params, "uri"));
    note.method == UPDATED && uri().is_some_and(|uri| !session.subscriptions().covers(&uri))
}

/// A change: of lists for everybody, of resources for subscribers.
fn change(session: &Arc<Session>, change: Change) {
    match change {
        Change::Endpoint(endpoint) if endpoint.concerns(session.endpoint()) => {
            // What is new has not been told yet.
            tokio::spawn(subscribe::again(Arc::clone(session), session.subscriptions().uris()));
            for list in LISTS {
                session.outbox().put(Message::Notification(changed(list)));
            }
        }
        Change::Endpoint(_) | Change::Up(_) => {}
        Change::List(name, list) => {
            let view = session.view();
            let upstream = view.upstreams().iter().find(|upstream| *upstream.connector().name() == name);
            if upstream.is_some_and(|upstream| !session.connections().hears_itself(upstream, list)) {
                session.outbox().put(Message::Notification(changed(list)));
            }
        }
        Change::Updated(name, note) => {
            let uri = note.params.as_deref().and_then(|params| member_str(params, "uri"));
            let Some(uri) = uri.filter(|uri| session.subscriptions().covers(uri)) else { return };
            let view = session.view();
            let is_it = |upstream: &&Arc<Upstream>| *upstream.connector().name() == name;
            // A server may tell of a resource that is another one's, as far as this client is concerned.
            let followed = |upstream: &Arc<Upstream>| is_followed_at(session, upstream, &uri);
            if view.upstreams().iter().find(is_it).is_some_and(followed)
                || view.upstreams().iter().any(|upstream| is_it(&upstream))
                    && !view.upstreams().iter().any(followed)
            {
                drop(uri);
                session.outbox().put(Message::Notification(note));
            }
        }
        Change::AnyUpdated(name) => tell_updates(session, |upstream| {
            *upstream.connector().name() == name && !session.connections().has_own(upstream)
        }),
    }
}

/// Whether an update of a resource is one that the client has subscribed to at this upstream.
fn is_followed_at(session: &Session, upstream: &Upstream, uri: &str) -> bool {
    let whole = session.subscriptions().uris().into_iter().filter(|whole| is_within(uri, whole));
    whole.into_iter().any(|whole| has_subscribed(session, upstream, &whole))
}

/// Tells the client of an update of each resource that it has subscribed to at these upstreams.
fn tell_updates(session: &Session, concerned: impl Fn(&Upstream) -> bool) {
    let view = session.view();
    let concerned: Vec<_> = view.upstreams().iter().filter(|upstream| concerned(upstream)).collect();
    for uri in session.subscriptions().uris() {
        if concerned.iter().any(|upstream| has_subscribed(session, upstream, &uri)) {
            session.outbox().put(Message::Notification(updated(&uri)));
        }
    }
}
