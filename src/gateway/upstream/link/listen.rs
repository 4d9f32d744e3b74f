//! Listening to what a server changes. Lists are listened to here; resources are subscribed to at a legacy server.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::connection::Link;
use super::wire::Wire;
use crate::gateway::relay::{ClientMeta, Era, Notification, Outcome, member, method, raw};
use crate::gateway::upstream::call::exchange::{Event, Exchange};
use crate::gateway::upstream::call::request::{Call, is_unknown_method};
use crate::gateway::upstream::http::requester::SILENCE;
use crate::gateway::upstream::lists::kind::Kind;

/// How long one stream of changes may last before it is opened anew.
pub(crate) const LISTEN: Duration = Duration::from_secs(24 * 60 * 60);
/// The wait before a stream of changes that broke is opened again.
pub(crate) const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// The longest wait where it is refused.
const LONGEST: Duration = Duration::from_secs(300);
/// The longest where it breaks again and again.
pub(crate) const LONGEST_BROKEN: Duration = Duration::from_secs(30);
/// A stream that lasted for so long was no failure.
pub(crate) const STEADY: Duration = Duration::from_secs(10);
/// Subscriptions that a server is told of at once.
const AT_ONCE: usize = 16;
/// How long a legacy server may take to accept or end a subscription.
const SUBSCRIBE: Duration = Duration::from_secs(10);

/// Whether a server lets clients subscribe to resources.
pub(crate) fn can_subscribe(link: &Link) -> bool {
    link.handshake().lets_subscribe()
}

/// Tells a legacy server what is subscribed to, and returns what it refuses; a modern one is listened to.
pub(crate) async fn subscribe_to(link: &Link, uris: Vec<String>) -> Vec<String> {
    if link.era() == Era::Modern {
        return Vec::new();
    }
    tell_each(link, method::SUBSCRIBE, uris).await
}

/// Sends a request for each resource, several at once and all of them within [`SUBSCRIBE`]: one that is not answered must
/// not keep the others waiting. Returns those that it refuses.
pub(crate) async fn tell_each(link: &Link, method: &str, uris: Vec<String>) -> Vec<String> {
    let refused = Mutex::new(Vec::new());
    let gathered = &refused;
    let each = stream::iter(uris).for_each_concurrent(AT_ONCE, |uri| async move {
        let call = Call::new(method, Some(raw(&json!({ "uri": uri }))), SUBSCRIBE);
        if matches!(link.call_aside(call).await.outcome().await, Ok(Outcome::Error(_))) {
            gathered.lock().push(uri);
        }
    });
    if timeout(SUBSCRIBE, each).await.is_err() {
        tracing::debug!(upstream = %link.name(), method, "the server does not answer in time");
    }
    refused.into_inner()
}

/// The next event of a stream of changes; `None` if the server says that it has ended (MCP 2026-07-28 §Cancellation), or if
/// nothing has come over HTTP for so long that the server may have vanished. Pipes have an end that is seen.
pub(crate) async fn heard(link: &Link, exchange: &mut Exchange) -> Option<Event> {
    let event = match link.wire() {
        Wire::Http(_) => timeout(SILENCE, exchange.next()).await.ok()?,
        Wire::Stdio { .. } | Wire::Events(_) | Wire::Builtin(_) => exchange.next().await,
    };
    let is_end = matches!(&event, Event::Notification(note) if note.method == method::CANCELLED);
    (!is_end).then_some(event)
}

/// Follows the list changes of a modern server, which tells them only to those who ask (MCP 2026-07-28 §Subscriptions),
/// and tells a legacy one of the subscriptions that its predecessor had.
pub(crate) async fn listen(link: Arc<Link>, subscribed: Vec<String>) {
    if link.era() == Era::Legacy {
        subscribe_to(&link, subscribed).await;
        return;
    }
    let mut wait = LISTEN_AGAIN;
    loop {
        let began = Instant::now();
        let ended = hear_changes(&link).await;
        link.cache().closed();
        match ended {
            Heard::Nothing => return,
            Heard::Refused => wait = LONGEST,
            Heard::Ended if began.elapsed() >= STEADY => wait = LISTEN_AGAIN,
            Heard::Ended => wait = (wait * 2).min(LONGEST_BROKEN),
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
    let call = Call::new(method::LISTEN, Some(params), LISTEN);
    let mut exchange = link.call_aside(call).await;
    loop {
        let Some(event) = heard(link, &mut exchange).await else { return Heard::Ended };
        match event {
            Event::Notification(note) if note.method == method::ACKNOWLEDGED => {
                link.cache().opened(&told_of(&note));
            }
            Event::Notification(note) if note.method.ends_with("/list_changed") => {
                link.inbox().tell(Notification { method: note.method, params: None });
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
        Kind::Resources | Kind::Templates | Kind::Skills => "resourcesListChanged",
    };
    Kind::ALL.into_iter().filter(|kind| told(name(*kind))).collect()
}
