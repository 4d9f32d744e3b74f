//! The connections that one legacy session uses: its own where the upstream must be able to ask its client, shared
//! ones elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::super::error::Fault;
use super::super::relay::{Message, Notification, Object, Raw};
use super::super::upstream::{ClientIdentity, Inbound, Link, Role, Upstream};
use crate::config::{Sharing, Transport, UpstreamName};

/// Capabilities of a client that let a server ask it something.
const INTERACTIVE: [&str; 3] = ["sampling", "elicitation", "roots"];

/// A place for one upstream's connection; the lock is held while it is opened, so that it is opened once.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Link>>>>;

/// The connections of one session.
#[derive(Debug)]
pub(crate) struct SessionLinks {
    /// Who the session's client is.
    client: ClientIdentity,
    /// Whether it can be asked.
    interactive: bool,
    /// Its own connections by the serial number of their upstream.
    own: Mutex<BTreeMap<u64, Slot>>,
    /// Where they leave messages that belong to no request.
    inbox: mpsc::Sender<(UpstreamName, Inbound)>,
    /// `logging/setLevel`'s parameters, for connections that are opened later.
    log_level: Mutex<Option<Raw>>,
}

impl SessionLinks {
    /// No connections.
    pub(crate) fn new(client: ClientIdentity, inbox: mpsc::Sender<(UpstreamName, Inbound)>) -> Self {
        let interactive = Object::parse(&client.meta.capabilities)
            .is_some_and(|capabilities| INTERACTIVE.iter().any(|name| capabilities.get(name).is_some()));
        Self { client, interactive, own: Mutex::default(), inbox, log_level: Mutex::default() }
    }

    /// The session's client.
    pub(crate) const fn client(&self) -> &ClientIdentity {
        &self.client
    }

    /// Whether the session has a connection of its own to this upstream.
    pub(crate) fn dedicated(&self, upstream: &Upstream) -> bool {
        let connector = &upstream.connector;
        match (&connector.builtin, connector.settings.sharing, &connector.settings.transport) {
            (Some(_), _, _) | (None, Sharing::Shared, _) => false,
            (None, Sharing::PerSession, _) | (None, Sharing::Auto, Transport::Http { .. }) => true,
            (None, Sharing::Auto, Transport::Stdio { .. }) => self.interactive,
        }
    }

    /// The connection to an upstream, opened if it is not open.
    pub(crate) async fn get(&self, upstream: &Arc<Upstream>) -> Result<Arc<Link>, Fault> {
        if !self.dedicated(upstream) {
            return upstream.shared_legacy().await;
        }
        let slot = Arc::clone(self.slots().entry(upstream.serial).or_default());
        let mut slot = slot.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| link.is_open()) {
            return Ok(Arc::clone(link));
        }
        if let Some(dead) = slot.take() {
            dead.wire.end().await;
        }
        // A broken upstream answers at once instead of making each session wait for its own attempt.
        let native = upstream.native().await?;
        let connector = &upstream.connector;
        let link = match connector.open_legacy(&self.client, Role::Dedicated, self.inbox.clone()).await {
            Ok(link) => Arc::new(link),
            Err(fault) if native.era == super::super::relay::Era::Modern => {
                tracing::debug!(upstream = upstream.name(), %fault, "the server speaks the modern era only");
                native
            }
            Err(fault) => return Err(fault),
        };
        self.catch_up(&link).await;
        *slot = Some(Arc::clone(&link));
        Ok(link)
    }

    /// The session's own connections that are open, the newest last.
    pub(crate) fn open(&self) -> Vec<Arc<Link>> {
        let slots: Vec<Slot> = self.slots().values().cloned().collect();
        slots.iter().filter_map(|slot| slot.try_lock().ok()?.clone()).filter(|link| link.is_open()).collect()
    }

    /// Remembers a log level for connections that are opened later.
    pub(crate) fn set_log_level(&self, params: Option<Raw>) {
        *self.log_level.lock().unwrap_or_else(PoisonError::into_inner) = params;
    }

    /// The log level that the client has set.
    pub(crate) fn log_level(&self) -> Option<Raw> {
        self.log_level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until no request is in flight on the session's own connection to an upstream.
    pub(crate) async fn idle(&self, upstream: &Upstream) {
        let slot = self.slots().get(&upstream.serial).cloned();
        if let Some(slot) = slot {
            let link = slot.lock().await.clone();
            if let Some(link) = link {
                link.idle().await;
            }
        }
    }

    /// Ends the session's own connection to an upstream.
    pub(crate) async fn leave(&self, upstream: &Upstream) {
        let slot = self.slots().remove(&upstream.serial);
        if let Some(slot) = slot {
            let link = slot.lock().await.take();
            if let Some(link) = link {
                link.wire.end().await;
            }
        }
    }

    /// Ends the session's own connections.
    pub(crate) async fn end(&self) {
        let slots: Vec<Slot> = std::mem::take(&mut *self.slots()).into_values().collect();
        let ends = slots.into_iter().map(|slot| async move {
            let link = slot.lock().await.take();
            if let Some(link) = link {
                link.wire.end().await;
            }
        });
        futures_util::future::join_all(ends).await;
    }

    /// Tells a new connection what the client has told the others.
    async fn catch_up(&self, link: &Link) {
        if let Some(params) = self.log_level() {
            let limit = std::time::Duration::from_secs(10);
            let call = super::super::upstream::Call::new("logging/setLevel", Some(params), limit);
            let _ = link.call(call).await.outcome().await;
        }
    }

    /// Passes a notification of the client on to the session's own connections.
    pub(crate) async fn tell(&self, note: &Notification) {
        for link in self.open() {
            let _ = link.wire.write(&Message::Notification(note.clone())).await;
        }
    }

    /// The slots by upstream.
    fn slots(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Slot>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
