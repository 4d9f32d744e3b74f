//! All legacy sessions of the gateway, by identifier.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
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
    /// By identifier.
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    /// The identifiers that each client was given, where their number is limited.
    clients: Mutex<HashMap<IpAddr, Vec<String>>>,
    /// Where they are remembered beyond this process.
    ledger: OnceLock<Arc<dyn Ledger>>,
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
        let state = |session: &Arc<Session>| (session.id.clone(), State::kept(session).to_text());
        ledger.replace(&|| self.all().iter().map(state).collect())
    }

    /// Makes room for one more: where there are as many as may be, of this client or of all, the one of them that was
    /// silent for longest ends, unless all are in use; then the word for the limit is returned.
    fn make_room(&self, client: Option<IpAddr>, limits: Limits) -> Result<(), &'static str> {
        if let (Some(client), Some(limit)) = (client, limits.of_client) {
            let mut clients = self.clients();
            let ids = clients.entry(client).or_default();
            let sessions = self.sessions();
            ids.retain(|id| sessions.contains_key(id));
            let theirs: Vec<_> = ids.iter().filter_map(|id| sessions.get(id).cloned()).collect();
            drop(sessions);
            drop(clients);
            self.end_one(&theirs, limit).then_some(()).ok_or("max_sessions_per_client")?;
        }
        let full = self.len() >= limits.of_all;
        let all = if full { self.all() } else { Vec::new() };
        (!full || self.end_one(&all, limits.of_all)).then_some(()).ok_or("max_sessions")
    }

    /// Ends the session that was silent for longest where there are too many; `false` where all are in use.
    fn end_one(&self, sessions: &[Arc<Session>], limit: usize) -> bool {
        if sessions.len() < limit {
            return true;
        }
        let silent = sessions.iter().map(|session| (session.idle(), session));
        let Some((idle, silent)) = silent.max_by_key(|(idle, _)| *idle) else { return false };
        if idle.is_zero() {
            return false;
        }
        self.sessions().remove(&silent.id);
        tracing::info!(
            session = silent.label(),
            "the session is ended to make room: it was silent for longest"
        );
        self.forget(silent);
        let silent = Arc::clone(silent);
        tokio::spawn(async move { silent.end().await });
        true
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
        self.make_room(address, limits).map_err(NoSession::Full)?;
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).map_err(NoSession::Random)?;
        let id = format!("{:032x}", u128::from_ne_bytes(bytes));
        let session = Session::begin(id.clone(), place, client, changes);
        self.sessions().insert(id.clone(), Arc::clone(&session));
        if let Some(address) = address.filter(|_| limits.of_client.is_some()) {
            self.clients().entry(address).or_default().push(id);
        }
        if let Some(ledger) = self.ledger.get() {
            session.remember(ledger);
        }
        Ok(session)
    }

    /// The session of this identifier.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.sessions().get(id).cloned()
    }

    /// Keeps a session that another process has begun, unless it is here already.
    pub(crate) fn keep(&self, id: &str, revive: impl FnOnce() -> Arc<Session>) {
        let session = Arc::clone(self.sessions().entry(id.to_owned()).or_insert_with(revive));
        if let Some(ledger) = self.ledger.get() {
            session.remember(ledger);
        }
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.sessions().values().cloned().collect()
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
        self.sessions().len()
    }

    /// Waits until no session has a request in flight on a connection of its own to an upstream.
    pub(crate) async fn idle(&self, upstream: &Upstream) {
        let sessions: Vec<_> = self.sessions().values().cloned().collect();
        join_all(sessions.iter().map(|session| session.links.idle(upstream))).await;
    }

    /// Ends the sessions' own connections to an upstream.
    pub(crate) async fn leave(&self, upstream: &Upstream) {
        let sessions: Vec<_> = self.sessions().values().cloned().collect();
        join_all(sessions.iter().map(|session| session.links.leave(upstream))).await;
    }

    /// Ends all sessions with the process. They stay remembered: their clients may come back to the next one.
    pub(crate) async fn end_all(&self) {
        let sessions: Vec<_> = self.sessions().drain().map(|(_, session)| session).collect();
        if let Some(ledger) = self.ledger.get() {
            ledger.close(sessions.is_empty());
        }
        join_all(sessions.iter().map(|session| session.end())).await;
    }

    /// Ends sessions whose clients have been silent for too long, until told to stop.
    pub(crate) async fn sweep(&self, limit: impl Fn() -> Duration, stop: CancellationToken) {
        loop {
            let limit = limit();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP.min(limit)) => {}
            }
            let idle: Vec<String> = {
                let sessions = self.sessions();
                sessions
                    .values()
                    .filter(|session| session.idle() > limit)
                    .map(|session| session.id.clone())
                    .collect()
            };
            if let Some(ledger) = self.ledger.get().filter(|ledger| ledger.is_bloated())
                && let Err(error) = self.rewrite(&**ledger)
            {
                tracing::warn!(%error, "the file of the sessions cannot be written anew");
            }
            for session in self.all() {
                session.links.reap().await;
            }
            self.clients().retain(|_, ids| {
                let sessions = self.sessions();
                ids.retain(|id| sessions.contains_key(id));
                !ids.is_empty()
            });
            for id in idle {
                tracing::info!(session = &id[..8], "the session is ended: its client has been silent");
                self.end(&id).await;
            }
        }
    }

    /// The identifiers by client. Locked before the sessions, never after.
    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, Vec<String>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The map.
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
