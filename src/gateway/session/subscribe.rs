//! Telling servers what a session has subscribed to, and of its end.
//!
//! A modern server has no subscriptions: there a stream of changes is opened for each resource (MCP 2026-07-28
//! §Subscriptions), and what it tells goes to the session's own stream.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::session::Session;
use crate::gateway::catalog::{ConnectionSource as _, Way, route};
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, Message, Notification, member_str, method, raw, to_legacy_params};
use crate::gateway::upstream::{Call, Followed, Subjects, Upstream};

/// How long a server may take to accept or end a subscription.
const LIMIT: Duration = Duration::from_secs(10);
/// Subscriptions that servers are told of at once.
const AT_ONCE: usize = 16;
/// Updates of one resource that may wait for the session.
const UPDATES: usize = 16;

/// Handles a subscription or its end at a modern server; `None` if it is something else, or the server a legacy one.
pub(crate) async fn follow(
    session: &Arc<Session>,
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
    match session.link(upstream).await {
        Ok(link) if link.era() == Era::Legacy => return None,
        Ok(_) => {}
        Err(fault) => return Some(Err(fault)),
    }
    session.subscriptions().unfollow(&uri);
    Some(if begins { begin(session, upstream, uri).await } else { Ok(()) })
}

/// Follows one resource until the session ends or gives it up.
async fn begin(session: &Arc<Session>, upstream: &Arc<Upstream>, uri: String) -> Result<(), Fault> {
    let (sender, mut updates) = mpsc::channel::<Notification>(UPDATES);
    let (accepted, answer) = oneshot::channel();
    let client = session.connections().modern().clone();
    let subjects = Subjects { uris: vec![uri.clone()], ..Subjects::default() };
    let followed = Followed { who: session.id().to_owned(), client, subjects };
    tokio::spawn(crate::gateway::upstream::follow(Arc::clone(upstream), followed, sender, accepted));
    let forward = {
        let session = Arc::clone(session);
        tokio::spawn(async move {
            while let Some(note) = updates.recv().await {
                // The stream that the update came by is not the session's business.
                let params = to_legacy_params(note.params);
                session.outbox().put(Message::Notification(Notification { params, ..note }));
            }
        })
    };
    session.subscriptions().follow(upstream.serial(), uri.clone(), forward.abort_handle());
    if session.ended().is_cancelled() {
        session.subscriptions().end_streams();
    }
    let late = || Fault::upstream(&upstream.name(), "does not accept the subscription in time");
    let accepted = match timeout(LIMIT, answer).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(_)) | Err(_) => Err(late()),
    };
    accepted.map(drop).inspect_err(|_| session.subscriptions().unfollow(&uri))
}

/// Whether an upstream knows of a subscription of the client.
pub(super) fn has_subscribed(session: &Session, upstream: &Upstream, uri: &str) -> bool {
    session.subscriptions().is_followed(upstream.serial(), uri)
        || session.connections().has_subscribed(upstream, uri)
        || upstream.followers().has(uri, session.id())
}

/// Notes a subscription or its end at a connection. True if the server must not be told of the end, since other sessions have
/// the same subscription over the same connection.
pub(crate) fn note(session: &Session, upstream: &Upstream, method: &str, params: Option<&RawValue>) -> bool {
    let Some(uri) = params.and_then(|params| member_str(params, "uri")) else { return false };
    let begins = match method {
        method::SUBSCRIBE => true,
        method::UNSUBSCRIBE => false,
        _ => return false,
    };
    if session.connections().dedicated(upstream) {
        session.connections().note_subscription(upstream, &uri, begins);
        false
    } else if begins {
        upstream.followers().subscribe(&uri, session.id());
        false
    } else {
        upstream.followers().unsubscribe(&uri, session.id())
    }
}

/// Takes back what was noted of a subscription that was refused.
pub(crate) fn forget(session: &Session, params: &RawValue) {
    let Some(uri) = member_str(params, "uri") else { return };
    // An end is never refused.
    let _ = session.note_subscription(method::UNSUBSCRIBE, Some(params));
    let view = session.view();
    for upstream in view.upstreams().iter().filter(|upstream| has_subscribed(session, upstream, &uri)) {
        // Nobody need be told of the end of what has not begun.
        note(session, upstream, method::UNSUBSCRIBE, Some(params));
    }
}

/// Takes back all subscriptions with the session. Servers are told of those that nobody else has over the shared connections.
pub(super) fn release(session: &Session) {
    let uris = session.subscriptions().clear();
    let view = session.view();
    for upstream in view.upstreams().iter().filter(|upstream| !session.connections().dedicated(upstream)) {
        for uri in uris.iter().filter(|uri| upstream.followers().has(uri, session.id())) {
            if upstream.followers().unsubscribe(uri, session.id()) {
                continue;
            }
            let (upstream, params) = (Arc::clone(upstream), raw(&json!({ "uri": uri })));
            tokio::spawn(async move {
                let Ok(link) = upstream.shared_legacy().await else { return };
                let call = Call::new(method::UNSUBSCRIBE, Some(params), LIMIT);
                let _ = link.call(call).await.outcome().await;
            });
        }
    }
}

/// Tells upstreams that do not know it what the client has subscribed to.
pub(super) async fn again(session: Arc<Session>, uris: Vec<String>) {
    // Several at once: one that is not answered must not keep the others waiting.
    let session = &session;
    let each = stream::iter(uris).for_each_concurrent(AT_ONCE, |uri| async move {
        let method = method::SUBSCRIBE;
        let params = Some(raw(&json!({ "uri": uri })));
        let meta = session.connections().modern();
        let routed = route(&session.view(), &**session, method, params, meta).await;
        let result = match routed {
            Ok(Way { upstream, .. }) if has_subscribed(session, &upstream, &uri) => return,
            Ok(Way { upstream, params, .. }) => {
                match follow(session, &upstream, method, params.as_deref()).await {
                    Some(Ok(())) => return,
                    Some(Err(fault)) => Err(fault),
                    None => {
                        // Also for the connection that comes after this one, and for the end of the same subscription.
                        note(session, &upstream, method, params.as_deref());
                        session.link(&upstream).await.map(|link| (link, params))
                    }
                }
            }
            Err(fault) => Err(fault),
        };
        match result {
            Ok((link, params)) => {
                let _ = link.call(Call::new(method, params, LIMIT)).await.outcome().await;
            }
            Err(fault) => tracing::debug!(session = session.label(), %fault, "a subscription is lost"),
        }
    });
    each.await;
}
