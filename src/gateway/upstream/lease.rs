//! Connections to a legacy server that are lent to calls of modern clients, one call at a time.
//!
//! A legacy server asks its client (sampling, elicitation, roots) over the connection, and on stdio nothing says which
//! call a question belongs to. Where there is one call only, it is that one. A connection that was given back after its
//! call had ended is kept for a while for the next call of the same client; any other is ended, since what it still says
//! would be taken for the next call's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::super::error::Fault;
use super::super::relay::{ClientMeta, Era, LATEST_LEGACY, Notification, Request};
use super::handshake::ClientIdentity;
use super::inbox::{Inbound, InboxReceiver, inbox};
use super::link::{Link, Role};
use super::supervisor::Upstream;
use crate::config::{Sharing, Transport};

/// Connections that one stdio server lends at once, those that wait for their next call included: each is a process.
const PROCESSES: u32 = 16;
/// The same of an HTTP server, to which one more is nothing but a session; their clients may take long to answer.
const SESSIONS: u32 = 256;
/// How long a connection is kept for the next call.
const KEPT: Duration = Duration::from_secs(60);

/// The connections that an upstream lends.
#[derive(Debug)]
pub(crate) struct Leases {
    /// How many there may be.
    most: u32,
    /// How many may still be lent.
    turns: Arc<Semaphore>,
    /// Those that wait for the next call, the longest waiting first.
    spare: Mutex<Vec<Spare>>,
}

/// A connection that nobody uses.
#[derive(Debug)]
struct Spare {
    /// Whom the server takes for its client.
    client: ClientMeta,
    /// The connection.
    link: Arc<Link>,
    /// What the server says outside of its answers.
    inbox: InboxReceiver,
    /// What it has asked while nobody was there.
    asked: Vec<Request>,
    /// Since when it waits.
    since: Instant,
}

/// A connection that one call has for itself. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Whose it is.
    upstream: Arc<Upstream>,
    /// Whom the server takes for its client.
    client: ClientMeta,
    /// The connection.
    link: Arc<Link>,
    /// What the server says outside of its answers; lent to whoever carries the call.
    pub(crate) inbox: Option<InboxReceiver>,
    /// What the server has asked before: about its client, such as its roots, not about a call.
    pub(crate) asked: Vec<Request>,
    /// Its turn.
    _turn: OwnedSemaphorePermit,
}

impl Leases {
    /// None lent yet.
    pub(super) fn of(transport: &Transport) -> Self {
        let most = match transport {
            Transport::Stdio { .. } => PROCESSES,
            Transport::Http { .. } => SESSIONS,
        };
        Self { most, turns: Arc::new(Semaphore::new(most as usize)), spare: Mutex::default() }
    }

    /// A connection that was opened for this client before.
    fn take(&self, client: &ClientMeta) -> Option<Spare> {
        let mut spare = self.spare();
        let fits = |spare: &Spare| spare.client == *client && spare.link.is_open();
        let place = spare.iter().rposition(fits)?;
        Some(spare.remove(place))
    }

    /// Makes room for another connection beside those that are lent: of those that wait, the ones that have done so for
    /// longest are ended.
    fn make_room(&self) {
        let room = self.turns.available_permits();
        let mut spare = self.spare();
        let many = spare.len().saturating_sub(room);
        for Spare { link, .. } in spare.drain(..many) {
            tokio::spawn(async move { link.wire.end().await });
        }
    }

    /// Ends those that nobody has used since a moment.
    async fn end_before(&self, moment: Instant) {
        let old: Vec<_> = self.spare().extract_if(.., |spare| spare.since <= moment).collect();
        // Together: one whose server does not answer must not keep the others waiting.
        join_all(old.iter().map(|spare| spare.link.wire.end())).await;
    }

    /// Ends all that nobody uses.
    pub(super) async fn clear(&self) {
        self.end_before(Instant::now()).await;
    }

    /// Waits until none is lent.
    pub(super) async fn idle(&self) {
        // Nobody closes the semaphore.
        drop(self.turns.acquire_many(self.most).await);
    }

    /// Those that wait.
    fn spare(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upstream {
    /// Whether a call of this modern client needs a connection of its own, so that the server can ask the client.
    pub(crate) fn lends_to(&self, client: &ClientMeta, native: &Link) -> bool {
        let allowed = self.connector.settings.sharing != Sharing::Shared;
        native.era == Era::Legacy && allowed && client.is_interactive()
    }

    /// Tells everybody of a change of which a connection of one call's own has heard.
    pub(crate) fn tell_change(&self, note: Notification) {
        self.inbox.tell(self.connector.name(), note);
    }

    /// Lends a connection; one is waited for no longer than `patience`.
    pub(crate) async fn lend(
        self: &Arc<Self>,
        client: &ClientMeta,
        patience: Duration,
    ) -> Result<Lease, Fault> {
        let busy =
            || Fault::upstream(&self.name(), "has no connection to spare: others wait for their clients");
        let turn = timeout(patience, Arc::clone(&self.leases.turns).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or_else(|| busy().unprocessed())?;
        let (link, inbox, asked) = if let Some(spare) = self.leases.take(client) {
            let Spare { link, mut inbox, mut asked, .. } = spare;
            sort(&mut inbox, &mut asked);
            (link, inbox, asked)
        } else {
            self.leases.make_room();
            let (sender, inbox) = inbox();
            let client = ClientIdentity { meta: client.clone(), version: LATEST_LEGACY.to_owned() };
            (Arc::new(self.connector.open_legacy(&client, Role::Dedicated, sender).await?), inbox, Vec::new())
        };
        let (upstream, client) = (Arc::clone(self), client.clone());
        Ok(Lease { upstream, client, link, inbox: Some(inbox), asked, _turn: turn })
    }
}

impl Lease {
    /// The connection, while it is open.
    pub(crate) fn link(&self) -> Result<Arc<Link>, Fault> {
        if self.link.is_open() {
            return Ok(Arc::clone(&self.link));
        }
        Err(Fault::upstream(&self.link.name, "ended before it answered"))
    }
}

/// Empties an inbox: questions are kept, and the rest was for nobody.
fn sort(inbox: &mut InboxReceiver, asked: &mut Vec<Request>) {
    while let Ok((_, message)) = inbox.try_recv() {
        match message {
            Inbound::Request(request) => asked.push(request),
            Inbound::Notification(_) | Inbound::AnyUpdated => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let link = Arc::clone(&self.link);
        let inbox = self.inbox.take().filter(|_| link.is_open() && !self.upstream.is_stopping());
        let Some(mut inbox) = inbox else {
            tokio::spawn(async move { link.wire.end().await });
            return;
        };
        // What was told of the last call may not be taken for the next one's; a question may still be answered.
        let mut asked = std::mem::take(&mut self.asked);
        sort(&mut inbox, &mut asked);
        let spare = Spare { client: self.client.clone(), link, inbox, asked, since: Instant::now() };
        self.upstream.leases.spare().push(spare);
        let upstream = Arc::downgrade(&self.upstream);
        tokio::spawn(async move {
            let began = Instant::now();
            tokio::time::sleep(KEPT).await;
            if let Some(upstream) = upstream.upgrade() {
                upstream.leases.end_before(began).await;
            }
        });
    }
}
