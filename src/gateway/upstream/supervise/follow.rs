//! Following resources of an upstream for a client, over as many of its connections as it takes.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::supervisor::Upstream;
use crate::gateway::changes::{UPDATED, updated};
use crate::gateway::error::Fault;
use crate::gateway::relay::{ClientMeta, Era, Notification, Outcome, array_items, member, method, raw};
use crate::gateway::upstream::call::exchange::Event;
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::inbox::may_hear;
use crate::gateway::upstream::link::connection::Link;
use crate::gateway::upstream::link::listen::{
    LISTEN, LISTEN_AGAIN, LONGEST_BROKEN, STEADY, heard, subscribe_to, tell_each,
};

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

/// Follows resources of one upstream, over as many of its connections as it takes, until nobody receives the updates.
/// `accepted` is told whether the server has agreed. A legacy server's updates come as announcements of its shared
/// connection, not to `updates`.
pub(crate) async fn follow(
    upstream: Arc<Upstream>,
    followed: Followed,
    updates: Sender<Notification>,
    accepted: oneshot::Sender<Result<(), Fault>>,
) {
    let _follower = upstream.followers().begin();
    let mut accepted = Some(accepted);
    let following = async {
        let (mut again, mut wait) = (false, LISTEN_AGAIN);
        loop {
            let began = Instant::now();
            let ended = match upstream.native().await {
                Ok(link) if link.era() == Era::Legacy => {
                    subscribe(&upstream, &link, &followed).await;
                    accepted.take().map(|accepted| accepted.send(Ok(())));
                    let _ = link.wire().closed().wait_for(|closed| *closed).await;
                    Ok(())
                }
                Ok(link) => receive(&link, &followed, (&updates, again), &mut accepted).await,
                Err(fault) => Err(fault),
            };
            if upstream.life().stop().is_cancelled() {
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
            // One that ends at once may do so for ever.
            wait = if began.elapsed() >= STEADY { LISTEN_AGAIN } else { wait };
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_BROKEN);
        }
    };
    tokio::select! {
        () = following => {}
        () = updates.closed() => {}
        // A stream of a modern HTTP server would go on.
        () = upstream.life().stop().cancelled() => {}
    }
    unsubscribe(&upstream, &followed).await;
}

/// Subscribes to resources of a legacy server over the shared connection.
async fn subscribe(upstream: &Upstream, link: &Link, followed: &Followed) {
    for uri in &followed.uris {
        upstream.followers().subscribe(uri, &followed.who);
    }
    subscribe_to(link, followed.uris.clone()).await;
}

/// Ends subscriptions of a legacy server that nobody else has.
async fn unsubscribe(upstream: &Upstream, followed: &Followed) {
    let own = followed.uris.iter().filter(|uri| upstream.followers().has(uri, &followed.who));
    let last = own.filter(|uri| !upstream.followers().unsubscribe(uri, &followed.who));
    let last: Vec<_> = last.cloned().collect();
    if let Some(link) = upstream.ready().filter(|_| !last.is_empty()) {
        tell_each(&link, method::UNSUBSCRIBE, last).await;
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
    let mut exchange = link.call_aside(Call::new(method::LISTEN, Some(params), LISTEN)).await;
    let refused = || Fault::upstream(link.name(), "does not tell of changes of this resource");
    loop {
        let Some(event) = heard(link, &mut exchange).await else { return Ok(()) };
        match event {
            Event::Notification(note) if note.method == method::ACKNOWLEDGED => {
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
            Event::Notification(note) if !may_hear(link.filters(), &note) => {}
            Event::Notification(note) if note.method == UPDATED => {
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
