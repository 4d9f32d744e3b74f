//! All legacy sessions of the gateway, by identifier.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::catalog::Board;
use super::super::changes::{Announced, Endpoint};
use super::super::upstream::{ClientIdentity, Upstream};
use super::ledger::Ledger;
use super::live::Session;
use super::transfer::State;

/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(15);

/// How many sessions there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of all clients.
    pub(crate) of_all: usize,
    /// Of one client; `None` without such a limit.
    pub(crate) of_client: Option<usize>,
}

/// Why a session cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSession {
    /// There are as many as may be and all are in use.
    #[error("as many sessions are in use as `{0}` in [server] allows")]
    Full(&'static str),
    /// The kernel gives no random bytes.
    #[error("cannot make a session identifier")]
    Random(#[source] getrandom::Error),
}

/// The sessions.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Those that are open.
    sessions: Mutex<Sessions>,
    /// Where they are remembered beyond this process.
    ledger: OnceLock<Arc<dyn Ledger>>,
}

/// The sessions that are open.
#[derive(Debug, Default)]
struct Sessions {
    /// By identifier.
    by_id: HashMap<String, Arc<Session>>,
    /// The identifiers by the network address of the client.
    by_client: HashMap<IpAddr, HashSet<String>>,
}

impl Sessions {
    /// Adds a session.
    fn insert(&mut self, session: &Arc<Session>) {
        if let Some(address) = session.address {
            self.by_client.entry(address).or_default().insert(session.id.clone());
        }
        self.by_id.insert(session.id.clone(), Arc::clone(session));
    }

    /// Takes a session out.
    fn remove(&mut self, id: &str) -> Option<Arc<Session>> {
        let session = self.by_id.remove(id)?;
        if let Some(address) = session.address
            && let Some(ids) = self.by_client.get_mut(&address)
        {
            ids.remove(id);
            if ids.is_empty() {
                self.by_client.remove(&address);
            }
        }
        Some(session)
    }

    /// Makes room for one more: where there are as many as may be, of this client or of all, those of them that were
    /// silent for longest are taken out, unless the others are all in use; then nothing is, and the word for the limit is
    /// returned.
    fn make_room(
        &mut self,
        client: Option<IpAddr>,
        limits: Limits,
    ) -> Result<Vec<Arc<Session>>, &'static str> {
        let ids = client.and_then(|client| self.by_client.get(&client));
        let theirs = ids.into_iter().flatten().filter_map(|id| self.by_id.get(id));
        let count = ids.map_or(0, HashSet::len);
        let surplus = limits.of_client.map_or(0, |limit| (count + 1).saturating_sub(limit));
        let mut ends = silent(theirs, surplus).ok_or("max_sessions_per_client")?;
        let surplus = (self.by_id.len() + 1).saturating_sub(limits.of_all + ends.len());
        let others = self.by_id.values().filter(|session| ends.iter().all(|end| end.id != session.id));
        let more = silent(others, surplus).ok_or("max_sessions")?;
        ends.extend(more);
        for session in &ends {
            self.remove(&session.id);
        }
        Ok(ends)
    }
}

/// So many sessions that were silent for longest; `None` where not so many of them are out of use.
fn silent<'a>(sessions: impl Iterator<Item = &'a Arc<Session>>, count: usize) -> Option<Vec<Arc<Session>>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let idle = sessions.map(|session| (session.idle(), session));
    let mut silent: Vec<_> = idle.filter(|(idle, _)| !idle.is_zero()).collect();
    silent.sort_unstable_by_key(|(idle, _)| Reverse(*idle));
    let chosen = silent.get(..count)?;
    Some(chosen.iter().map(|(_, session)| Arc::clone(session)).collect())
}

impl Store {
    /// Remembers the sessions beyond this process from now on; what the ledger held before is replaced.
    pub(crate) fn remember(&self, ledger: &Arc<dyn Ledger>) -> io::Result<()> {
        self.rewrite(&**ledger)?;
        let _ = self.ledger.set(Arc::clone(ledger));
        for session in self.all() {
            session.remember(ledger);
        }
        Ok(())
    }

    /// Writes a ledger anew.
    fn rewrite(&self, ledger: &dyn Ledger) -> io::Result<()> {
        ledger.replace(&|| self.kept())
    }

    /// Writes the ledger anew although another process may have put its own in the place; nothing without a ledger.
    pub(crate) fn reclaim(&self) -> io::Result<()> {
        self.ledger.get().map_or(Ok(()), |ledger| ledger.reclaim(&|| self.kept()))
    }

    /// What is remembered of the sessions, by identifier.
    fn kept(&self) -> Vec<(String, String)> {
        let state = |session: &Arc<Session>| (session.id.clone(), State::kept(session).to_text());
        self.all().iter().map(state).collect()
    }

    /// Forgets a session that ends: whatever it still does is not noted any more.
    fn forget(&self, session: &Session) {
        session.ended.cancel();
        if let Some(ledger) = self.ledger.get() {
            ledger.remove(&session.id);
        }
    }

    /// Begins a session under a fresh identifier of 128 random bits (MCP 2025-11-25 §Session Management).
    pub(crate) fn begin(
        &self,
        place: (Arc<Board>, Endpoint),
        client: ClientIdentity,
        changes: Announced,
        (address, limits): (Option<IpAddr>, Limits),
    ) -> Result<Arc<Session>, NoSession> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).map_err(NoSession::Random)?;
        let id = format!("{:032x}", u128::from_ne_bytes(bytes));
        // Whoever comes over an IPv6 socket with an IPv4 address is the same client.
        let address = address.map(|address| address.to_canonical());
        let (session, ends) = {
            let mut sessions = self.sessions();
            let ends = sessions.make_room(address, limits).map_err(NoSession::Full)?;
            let session = Session::begin((id, address), place, client, changes);
            sessions.insert(&session);
            (session, ends)
        };
        for silent in ends {
            tracing::info!(
                session = silent.label(),
                "the session is ended to make room: it was silent for longest"
            );
            self.forget(&silent);
            tokio::spawn(async move { silent.end().await });
        }
        if let Some(ledger) = self.ledger.get() {
            session.remember(ledger);
        }
        Ok(session)
    }

    /// The session of this identifier.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.sessions().by_id.get(id).cloned()
    }

    /// Keeps a session that another process has begun, unless it is here already.
    pub(crate) fn keep(&self, id: &str, revive: impl FnOnce() -> Arc<Session>) {
        let session = {
            let mut sessions = self.sessions();
            let known = sessions.by_id.get(id).cloned();
            known.unwrap_or_else(|| {
                let session = revive();
                sessions.insert(&session);
                session
            })
        };
        if let Some(ledger) = self.ledger.get() {
            session.remember(ledger);
        }
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.sessions().by_id.values().cloned().collect()
    }

    /// Ends a session.
    pub(crate) async fn end(&self, id: &str) {
        let session = self.sessions().remove(id);
        if let Some(session) = session {
            self.forget(&session);
            session.end().await;
        }
    }

    /// The number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.sessions().by_id.len()
    }

    /// Waits until no session has a request in flight on a connection of its own to an upstream.
    pub(crate) async fn idle(&self, upstream: &Upstream) {
        let sessions = self.all();
        join_all(sessions.iter().map(|session| session.links.idle(upstream))).await;
    }

    /// Ends the sessions' own connections to an upstream.
    pub(crate) async fn leave(&self, upstream: &Upstream) {
        let sessions = self.all();
        join_all(sessions.iter().map(|session| session.links.leave(upstream))).await;
    }

    /// Ends all sessions with the process. They stay remembered: their clients may come back to the next one.
    pub(crate) async fn end_all(&self) {
        let sessions: Vec<_> = std::mem::take(&mut *self.sessions()).by_id.into_values().collect();
        if let Some(ledger) = self.ledger.get() {
            ledger.close(sessions.is_empty());
        }
        join_all(sessions.iter().map(|session| session.end())).await;
    }

    /// Ends sessions whose clients have been silent for too long, until told to stop.
    pub(crate) async fn sweep(&self, limit: impl Fn() -> Duration, stop: CancellationToken) {
        let mut due = Instant::now() + SWEEP.min(limit());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.bloated() => {
                    self.tidy();
                    continue;
                }
                () = tokio::time::sleep_until(due) => {}
            }
            let limit = limit();
            due = Instant::now() + SWEEP.min(limit);
            for session in self.all() {
                session.links.reap().await;
            }
            for session in self.all().into_iter().filter(|session| session.idle() > limit) {
                tracing::info!(session = session.label(), "the session is ended: its client has been silent");
                self.end(&session.id).await;
            }
        }
    }

    /// Waits until the ledger would gain from being written anew.
    async fn bloated(&self) {
        match self.ledger.get() {
            Some(ledger) => ledger.bloated().notified().await,
            None => std::future::pending().await,
        }
    }

    /// Writes the ledger anew.
    fn tidy(&self) {
        if let Some(ledger) = self.ledger.get()
            && let Err(error) = self.rewrite(&**ledger)
        {
            tracing::warn!(%error, "the file of the sessions cannot be written anew");
        }
    }

    /// The sessions; nothing of a session's own is locked before them.
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
