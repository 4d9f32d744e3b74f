//! Following what servers change: they tell only those who ask.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use super::super::error::Fault;
use super::super::relay::{ClientMeta, Era, Notification, Outcome, array_items, member, raw};
use super::exchange::Event;
use super::link::{Call, Inbound, Link};
use super::supervisor::Upstream;
use crate::config::UpstreamName;

/// How long one stream of changes may last before it is opened anew.
const LISTEN: Duration = Duration::from_secs(24 * 60 * 60);
/// The wait before a stream of changes that broke is opened again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// How long a legacy server may take to accept or end a subscription.
const SUBSCRIBE: Duration = Duration::from_secs(10);

/// Resources that somebody follows.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    /// Who follows them; no two have the same.
    pub(crate) who: String,
    /// What a modern server is told about the client.
    pub(crate) client: ClientMeta,
    /// The resources.
    pub(crate) uris: Vec<String>,
}

impl Upstream {
    /// Notes that `who` has subscribed to a resource over the shared connection.
    pub(crate) fn subscribe(&self, uri: &str, who: &str) {
        self.subscribers().entry(uri.to_owned()).or_default().insert(who.to_owned());
    }

    /// Notes that `who` has not; `true` if others still have, so that the server must not be told: also those of the
    /// process that has the child.
    pub(crate) fn unsubscribe(&self, uri: &str, who: &str) -> bool {
        let mut subscribers = self.subscribers();
        let Some(others) = subscribers.get_mut(uri) else { return self.left.is_cancelled() };
        others.remove(who);
        let any = !others.is_empty();
        if !any {
            subscribers.remove(uri);
        }
        any || self.left.is_cancelled()
    }

    /// Whether `who` has subscribed to a resource over the shared connection.
    pub(crate) fn has_subscriber(&self, uri: &str, who: &str) -> bool {
        self.subscribers().get(uri).is_some_and(|subscribers| subscribers.contains(who))
    }

    /// The resources that anybody has subscribed to over the shared connection.
    pub(super) fn subscribed(&self) -> Vec<String> {
        self.subscribers().keys().cloned().collect()
    }

    /// Whether anybody follows its resources, so that it must not sleep: it would tell of no update.
    pub(super) fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0 || !self.subscribers().is_empty()
    }

    /// The subscribers by resource.
    fn subscribers(&self) -> MutexGuard<'_, HashMap<String, HashSet<String>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one who follows resources until dropped.
struct Follower(Arc<AtomicUsize>);

impl Follower {
    /// One more.
    fn of(upstream: &Upstream) -> Self {
        upstream.followers.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&upstream.followers))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a server lets clients subscribe to resources.
pub(crate) fn can_subscribe(link: &Link) -> bool {
    member(&link.handshake.capabilities, "resources")
        .and_then(|resources| member(resources, "subscribe"))
        .is_some_and(|subscribe| subscribe.get() == "true")
}

/// Follows resources of one upstream, over as many of its connections as it takes, until nobody receives the updates.
/// `accepted` is told whether the server has agreed. A legacy server's updates come as announcements of its shared
/// connection, not to `updates`.
pub(crate) async fn follow(
    upstream: Arc<Upstream>,
    followed: Followed,
    updates: Sender<Notification>,
    accepted: oneshot::Sender<Result<(), Fault>>,
) {
    let _follower = Follower::of(&upstream);
    let mut accepted = Some(accepted);
    let following = async {
        loop {
            let ended = match upstream.native().await {
                Ok(link) if link.era == Era::Legacy => {
                    subscribe(&upstream, &link, &followed).await;
                    accepted.take().map(|accepted| accepted.send(Ok(())));
                    let _ = link.wire.closed().wait_for(|closed| *closed).await;
                    Ok(())
                }
                Ok(link) => receive(&link, &followed, &updates, &mut accepted).await,
                Err(fault) => Err(fault),
            };
            if upstream.is_stopping() {
                return;
            }
            match (ended, accepted.take()) {
                // Nobody goes on who was never told that it works.
                (Err(fault), Some(accepted)) => {
                    let _ = accepted.send(Err(fault));
                    return;
                }
                (Err(fault), None) => tracing::debug!(upstream = upstream.name(), %fault, "not followed"),
                (Ok(()), _) => {}
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    };
    tokio::select! {
        () = following => {}
        () = updates.closed() => {}
        // A stream of a modern HTTP server would go on.
        () = upstream.stop.cancelled() => {}
    }
    unsubscribe(&upstream, &followed).await;
}

/// Subscribes to resources of a legacy server over the shared connection.
async fn subscribe(upstream: &Upstream, link: &Link, followed: &Followed) {
    for uri in &followed.uris {
        upstream.subscribe(uri, &followed.who);
    }
    subscribe_to(link, followed.uris.clone()).await;
}

/// Tells a legacy server what is subscribed to; a modern one is listened to.
pub(crate) async fn subscribe_to(link: &Link, uris: Vec<String>) {
    if link.era == Era::Modern {
        return;
    }
    for uri in uris {
        let params = raw(&json!({ "uri": uri }));
        let call = Call::new("resources/subscribe", Some(params), SUBSCRIBE);
        let _ = link.call_aside(call).await.outcome().await;
    }
}

/// Ends subscriptions of a legacy server that nobody else has.
async fn unsubscribe(upstream: &Upstream, followed: &Followed) {
    for uri in followed.uris.iter().filter(|uri| upstream.has_subscriber(uri, &followed.who)) {
        if upstream.unsubscribe(uri, &followed.who) {
            continue;
        }
        if let Some(link) = upstream.ready() {
            let params = raw(&json!({ "uri": uri }));
            let call = Call::new("resources/unsubscribe", Some(params), SUBSCRIBE);
            let _ = link.call_aside(call).await.outcome().await;
        }
    }
}

/// Receives the updates of a modern server until its stream ends; the fault says why it does not tell any.
async fn receive(
    link: &Link,
    followed: &Followed,
    updates: &Sender<Notification>,
    accepted: &mut Option<oneshot::Sender<Result<(), Fault>>>,
) -> Result<(), Fault> {
    let wanted = json!({ "notifications": { "resourceSubscriptions": followed.uris } });
    let params = followed.client.apply(Some(raw(&wanted)));
    let mut exchange = link.call_aside(Call::new("subscriptions/listen", Some(params), LISTEN)).await;
    let refused = || Fault::upstream(&link.name, "does not tell of changes of this resource");
    loop {
        match exchange.next().await {
            Event::Notification(note) if note.method == "notifications/subscriptions/acknowledged" => {
                if !honours(&note) {
                    return Err(refused());
                }
                accepted.take().map(|accepted| accepted.send(Ok(())));
            }
            Event::Notification(note) if note.method == "notifications/resources/updated" => {
                if updates.send(note).await.is_err() {
                    return Ok(());
                }
            }
            Event::Notification(_) | Event::Request(_) => {}
            Event::Done(Outcome::Error(_)) => return Err(refused()),
            Event::Done(Outcome::Result(_)) => return Ok(()),
            Event::Lost(fault) => return Err(fault),
        }
    }
}

/// Whether a server has acknowledged at least one of the resources.
fn honours(note: &Notification) -> bool {
    let honoured = note.params.as_deref().and_then(|params| member(params, "notifications"));
    let uris = honoured.and_then(|honoured| member(honoured, "resourceSubscriptions"));
    uris.and_then(array_items).is_some_and(|uris| !uris.is_empty())
}

/// Follows the list changes of a modern server, which tells them only to those who ask (MCP 2026-07-28 §Subscriptions),
/// and tells a legacy one of the subscriptions that its predecessor had.
pub(super) async fn listen(link: Arc<Link>, inbox: Sender<(UpstreamName, Inbound)>, subscribed: Vec<String>) {
    if link.era == Era::Legacy {
        return subscribe_to(&link, subscribed).await;
    }
    let wanted = json!({ "notifications": {
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true
    } });
    let params = ClientMeta::default().apply(Some(raw(&wanted)));
    loop {
        let call = Call::new("subscriptions/listen", Some(params.clone()), LISTEN);
        let mut exchange = link.call_aside(call).await;
        loop {
            match exchange.next().await {
                Event::Notification(note) if note.method.ends_with("/list_changed") => {
                    let note = Notification { method: note.method, params: None };
                    let _ = inbox.send((link.name.clone(), Inbound::Notification(note))).await;
                }
                Event::Notification(_) | Event::Request(_) => {}
                Event::Done(Outcome::Error(_)) => return,
                Event::Done(Outcome::Result(_)) | Event::Lost(_) => break,
            }
        }
        if !link.is_open() {
            return;
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}
