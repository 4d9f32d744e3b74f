//! Following what a modern server changes: it tells only those who ask.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::Sender;

use super::super::relay::{ClientMeta, Era, Notification, Outcome, raw};
use super::exchange::Event;
use super::link::{Call, Inbound, Link};
use crate::config::UpstreamName;

/// How long one stream of changes may last before it is opened anew.
const LISTEN: Duration = Duration::from_secs(24 * 60 * 60);
/// The wait before a stream of changes that broke is opened again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Follows the list changes of a modern server, which tells them only to those who ask (MCP 2026-07-28 §Subscriptions).
pub(super) async fn listen(link: Arc<Link>, inbox: Sender<(UpstreamName, Inbound)>) {
    if link.era == Era::Legacy {
        return;
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
