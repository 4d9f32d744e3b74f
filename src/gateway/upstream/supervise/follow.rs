//! Following resources and tasks of an upstream for a client, over as many of its connections as it takes.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::supervisor::Upstream;
use crate::gateway::changes::{UPDATED, is_within, updated};
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    ClientMeta, Era, Notification, Outcome, array_items, member, member_str, method, raw, text,
};
use crate::gateway::upstream::call::exchange::Event;
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::inbox::may_hear;
use crate::gateway::upstream::link::connection::Link;
use crate::gateway::upstream::link::listen::{
    LISTEN, LISTEN_AGAIN, LONGEST_BROKEN, STEADY, heard, subscribe_to, tell_each,
};
use crate::gateway::upstream::link::tasks::task_now;

/// What can be followed at a server.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Subjects {
    /// Resources.
    #[serde(rename = "resourceSubscriptions", skip_serializing_if = "Vec::is_empty")]
    pub(crate) uris: Vec<String>,
    /// Tasks, at a modern server (SEP-2663).
    #[serde(rename = "taskIds", skip_serializing_if = "Vec::is_empty")]
    pub(crate) tasks: Vec<String>,
}

/// What somebody follows.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    /// Who follows it; no two have the same.
    pub(crate) who: String,
    /// What a modern server is told about the client.
    pub(crate) client: ClientMeta,
    /// What that is.
    pub(crate) subjects: Subjects,
}

/// Follows resources and tasks of one upstream, over as many of its connections as it takes, until nobody receives the
/// updates. `accepted` is told what the server has agreed to; it is a fault if that is nothing. A legacy server's updates
/// come as announcements of its shared connection, not to `updates`.
pub(crate) async fn follow(
    upstream: Arc<Upstream>,
    followed: Followed,
    updates: Sender<Notification>,
    accepted: oneshot::Sender<Result<Subjects, Fault>>,
) {
    let _follower = upstream.followers().begin();
    let mut accepted = Some(accepted);
    let following = async {
        let (mut again, mut wait) = (false, LISTEN_AGAIN);
        loop {
            let began = Instant::now();
            let ended = match upstream.native().await {
                Ok(link) if link.era() == Era::Legacy => {
                    let uris = subscribe(&upstream, &link, &followed).await;
                    if uris.is_empty() && accepted.is_some() {
                        Err(refused(&link))
                    } else {
                        let agreed = Subjects { uris, tasks: Vec::new() };
                        accepted.take().map(|accepted| accepted.send(Ok(agreed)));
                        let _ = link.wire().closed().wait_for(|closed| *closed).await;
                        Ok(())
                    }
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

/// Subscribes to resources of a legacy server over the shared connection; returns those that it does not refuse.
async fn subscribe(upstream: &Upstream, link: &Link, followed: &Followed) -> Vec<String> {
    for uri in &followed.subjects.uris {
        upstream.followers().subscribe(uri, &followed.who);
    }
    let mut uris = followed.subjects.uris.clone();
    let refused = subscribe_to(link, uris.clone()).await;
    uris.retain(|uri| !refused.contains(uri));
    uris
}

/// Ends subscriptions of a legacy server that nobody else has.
async fn unsubscribe(upstream: &Upstream, followed: &Followed) {
    let own = followed.subjects.uris.iter().filter(|uri| upstream.followers().has(uri, &followed.who));
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
    accepted: &mut Option<oneshot::Sender<Result<Subjects, Fault>>>,
) -> Result<(), Fault> {
    let wanted = json!({ "notifications": followed.subjects });
    let params = followed.client.apply(Some(raw(&wanted)));
    let mut exchange = link.call_aside(Call::new(method::LISTEN, Some(params), LISTEN)).await;
    loop {
        let Some(event) = heard(link, &mut exchange).await else { return Ok(()) };
        match event {
            Event::Notification(note) if note.method == method::ACKNOWLEDGED => {
                let agreed = agreed(&note, &followed.subjects);
                if agreed.uris.is_empty() && agreed.tasks.is_empty() {
                    return Err(refused(link));
                }
                accepted.take().map(|accepted| accepted.send(Ok(agreed)));
                if again && tell_all(link, followed, updates).await.is_err() {
                    return Ok(());
                }
            }
            Event::Notification(note) if !may_hear(link.filters(), &note) => {}
            // Of what it was not asked for, a server has nothing to tell.
            Event::Notification(note) if concerns(&note, &followed.subjects) => {
                if updates.send(note).await.is_err() {
                    return Ok(());
                }
            }
            Event::Notification(_) | Event::Request(_) => {}
            Event::Done(Outcome::Error(_)) => return Err(refused(link)),
            Event::Done(Outcome::Result(_)) => return Ok(()),
            Event::Lost(fault) => return Err(fault),
        }
    }
}

/// The server tells of nothing that was asked for.
fn refused(link: &Link) -> Fault {
    Fault::upstream(link.name(), "does not tell of changes of this resource")
}

/// What of the subjects a server has acknowledged.
fn agreed(note: &Notification, subjects: &Subjects) -> Subjects {
    let honoured = note.params.as_deref().and_then(|params| member(params, "notifications"));
    let of = |name: &str, asked: &[String]| {
        let named = honoured.and_then(|honoured| member(honoured, name)).and_then(array_items);
        let named: HashSet<_> = named.unwrap_or_default().into_iter().filter_map(text).collect();
        asked.iter().filter(|asked| named.contains(asked.as_str())).cloned().collect()
    };
    Subjects { uris: of("resourceSubscriptions", &subjects.uris), tasks: of("taskIds", &subjects.tasks) }
}

/// Whether a notification tells of one of the subjects.
fn concerns(note: &Notification, subjects: &Subjects) -> bool {
    let of = |name| note.params.as_deref().and_then(|params| member_str(params, name));
    match note.method.as_str() {
        UPDATED => of("uri").is_some_and(|uri| subjects.uris.iter().any(|whole| is_within(&uri, whole))),
        method::TASK => of("taskId").is_some_and(|id| subjects.tasks.iter().any(|task| *task == id)),
        _ => false,
    }
}

/// Tells of everything that is followed: that resources may have changed, and how tasks stand.
async fn tell_all(
    link: &Link,
    followed: &Followed,
    updates: &Sender<Notification>,
) -> Result<(), SendError<Notification>> {
    for uri in &followed.subjects.uris {
        updates.send(updated(uri)).await?;
    }
    for id in &followed.subjects.tasks {
        // One that does not answer would only be waited for once more.
        let Ok(now) = task_now(link, id, &followed.client).await else { break };
        if let Some(now) = now {
            updates.send(now).await?;
        }
    }
    Ok(())
}
