//! Following what servers change: they tell only those who ask.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use parking_lot::MutexGuard;
use serde_json::json;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::supervisor::Upstream;
use crate::gateway::changes::updated;
use crate::gateway::error::Fault;
use crate::gateway::relay::{ClientMeta, Era, Notification, Outcome, array_items, member, raw};
use crate::gateway::upstream::call::exchange::{Event, Exchange};
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::call::request::is_unknown_method;
use crate::gateway::upstream::http::get_stream::SILENCE;
use crate::gateway::upstream::inbox::may_hear;
use crate::gateway::upstream::link::connection::{Link, Wire};
use crate::gateway::upstream::lists::kind::Kind;

/// How long one stream of changes may last before it is opened anew.
const LISTEN: Duration = Duration::from_secs(24 * 60 * 60);
/// The wait before a stream of changes that broke is opened again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// The longest wait, where it breaks again and again, or is refused.
const LONGEST: Duration = Duration::from_secs(300);
/// A stream that lasted for so long was no failure.
const STEADY: Duration = Duration::from_secs(10);
/// Subscriptions that a server is told of at once.
const AT_ONCE: usize = 16;
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
    pub(crate) fn subscribed(&self) -> Vec<String> {
        self.subscribers().keys().cloned().collect()
    }

    /// Whether anybody follows its resources, so that it must not sleep: it would tell of no update.
    pub(crate) fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0 || !self.subscribers().is_empty()
    }

    /// The subscribers by resource.
    fn subscribers(&self) -> MutexGuard<'_, HashMap<String, HashSet<String>>> {
        self.subscribers.lock()
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
        let mut again = false;
        loop {
            let ended = match upstream.native().await {
                Ok(link) if link.era == Era::Legacy => {
                    subscribe(&upstream, &link, &followed).await;
                    accepted.take().map(|accepted| accepted.send(Ok(())));
                    let _ = link.wire.closed().wait_for(|closed| *closed).await;
                    Ok(())
                }
                Ok(link) => receive(&link, &followed, (&updates, again), &mut accepted).await,
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
            again = true;
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
    tell_each(link, "resources/subscribe", uris).await;
}

/// Sends a request for each resource, several at once and all of them within [`SUBSCRIBE`]: one that is not answered must
/// not keep the others waiting.
async fn tell_each(link: &Link, method: &str, uris: Vec<String>) {
    let each = stream::iter(uris).for_each_concurrent(AT_ONCE, |uri| async move {
        let call = Call::new(method, Some(raw(&json!({ "uri": uri }))), SUBSCRIBE);
        let _ = link.call_aside(call).await.outcome().await;
    });
    if timeout(SUBSCRIBE, each).await.is_err() {
        tracing::debug!(upstream = %link.name, method, "the server does not answer in time");
    }
}

/// Ends subscriptions of a legacy server that nobody else has.
async fn unsubscribe(upstream: &Upstream, followed: &Followed) {
    let own = followed.uris.iter().filter(|uri| upstream.has_subscriber(uri, &followed.who));
    let last = own.filter(|uri| !upstream.unsubscribe(uri, &followed.who));
    let last: Vec<_> = last.cloned().collect();
    if let Some(link) = upstream.ready().filter(|_| !last.is_empty()) {
        tell_each(&link, "resources/unsubscribe", last).await;
    }
}

/// Receives the updates of a modern server until its stream ends; the fault says why it does not tell any. A stream that
/// is not the first one begins with an update of everything: there may have been one in between.
async fn receive(
    link: &Link,
    followed: &Followed,
    (updates, again): (&Sender<Notification>, bool),
    accepted: &mut Option<oneshot::Sender<Result<(), Fault>>>,
) -> Result<(), Fault> {
    let wanted = json!({ "notifications": { "resourceSubscriptions": followed.uris } });
    let params = followed.client.apply(Some(raw(&wanted)));
    let mut exchange = link.call_aside(Call::new("subscriptions/listen", Some(params), LISTEN)).await;
    let refused = || Fault::upstream(&link.name, "does not tell of changes of this resource");
    loop {
        let Some(event) = heard(link, &mut exchange).await else { return Ok(()) };
        match event {
            Event::Notification(note) if note.method == "notifications/subscriptions/acknowledged" => {
                if !honours(&note) {
                    return Err(refused());
                }
                accepted.take().map(|accepted| accepted.send(Ok(())));
                for uri in followed.uris.iter().filter(|_| again) {
                    if updates.send(updated(uri)).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Event::Notification(note) if !may_hear(&link.shows, &note) => {}
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

/// The next event of a stream of changes; `None` if nothing has come over HTTP for so long that the server may have
/// vanished. Pipes have an end that is seen.
async fn heard(link: &Link, exchange: &mut Exchange) -> Option<Event> {
    match &link.wire {
        Wire::Http(_) => timeout(SILENCE, exchange.next()).await.ok(),
        Wire::Stdio { .. } | Wire::Builtin(_) => Some(exchange.next().await),
    }
}

/// Follows the list changes of a modern server, which tells them only to those who ask (MCP 2026-07-28 §Subscriptions),
/// and tells a legacy one of the subscriptions that its predecessor had.
pub(crate) async fn listen(link: Arc<Link>, subscribed: Vec<String>) {
    if link.era == Era::Legacy {
        return subscribe_to(&link, subscribed).await;
    }
    let mut wait = LISTEN_AGAIN;
    loop {
        let began = Instant::now();
        let ended = hear_changes(&link).await;
        link.known.closed();
        match ended {
            Heard::Nothing => return,
            Heard::Refused => wait = LONGEST,
            Heard::Ended if began.elapsed() >= STEADY => wait = LISTEN_AGAIN,
            Heard::Ended => wait = (wait * 2).min(LONGEST / 10),
        }
        if !link.is_open() {
            return;
        }
        tokio::time::sleep(wait).await;
    }
}

/// How a stream of list changes ended.
enum Heard {
    /// The server has none.
    Nothing,
    /// Not now.
    Refused,
    /// It has told of changes until now.
    Ended,
}

/// Tells of the list changes that one stream brings. Lists are trusted as long as it is open, as far as the server has
/// said that it tells of them.
async fn hear_changes(link: &Link) -> Heard {
    let wanted = json!({ "notifications": {
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true
    } });
    let params = ClientMeta::default().apply(Some(raw(&wanted)));
    let call = Call::new("subscriptions/listen", Some(params), LISTEN);
    let mut exchange = link.call_aside(call).await;
    loop {
        let Some(event) = heard(link, &mut exchange).await else { return Heard::Ended };
        match event {
            Event::Notification(note) if note.method == "notifications/subscriptions/acknowledged" => {
                link.known.opened(&told_of(&note));
            }
            Event::Notification(note) if note.method.ends_with("/list_changed") => {
                link.inbox.tell(Notification { method: note.method, params: None });
            }
            Event::Notification(_) | Event::Request(_) => {}
            Event::Done(Outcome::Error(error)) if is_unknown_method(&error) => return Heard::Nothing,
            Event::Done(Outcome::Error(_)) => return Heard::Refused,
            Event::Done(Outcome::Result(_)) | Event::Lost(_) => return Heard::Ended,
        }
    }
}

/// The lists of whose changes a server has said that it tells.
fn told_of(note: &Notification) -> Vec<Kind> {
    let honoured = note.params.as_deref().and_then(|params| member(params, "notifications"));
    let told =
        |name| honoured.and_then(|honoured| member(honoured, name)).is_some_and(|told| told.get() == "true");
    let name = |kind: Kind| match kind {
        Kind::Tools => "toolsListChanged",
        Kind::Prompts => "promptsListChanged",
        Kind::Resources | Kind::Templates => "resourcesListChanged",
    };
    Kind::ALL.into_iter().filter(|kind| told(name(*kind))).collect()
}
