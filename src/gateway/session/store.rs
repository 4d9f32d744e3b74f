//! All legacy sessions of the gateway, by identifier.

use std::collections::HashMap;
use std::io;
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

/// The sessions.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// By identifier.
    sessions: Mutex<HashMap<String, Arc<Session>>>,
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
        let all = self.all();
        let states = all.iter().map(|session| (session.id.clone(), State::kept(session).to_text()));
        ledger.replace(&states.collect::<Vec<_>>())
    }

    /// Makes room for one more: where there are `limit` sessions, the one that was silent for longest ends, unless all are
    /// in use.
    fn make_room(&self, limit: usize) -> bool {
        let mut sessions = self.sessions();
        if sessions.len() < limit {
            return true;
        }
        let silent = sessions.values().map(|session| (session.idle(), Arc::clone(session)));
        let Some((idle, silent)) = silent.max_by_key(|(idle, _)| *idle) else { return false };
        if idle.is_zero() {
            return false;
        }
        sessions.remove(&silent.id);
        drop(sessions);
        tracing::info!(
            session = silent.label(),
            "the session is ended to make room: it was silent for longest"
        );
        self.forget(&silent.id);
        tokio::spawn(async move { silent.end().await });
        true
    }

    /// Forgets a session that has ended.
    fn forget(&self, id: &str) {
        if let Some(ledger) = self.ledger.get() {
            ledger.remove(id);
        }
    }

    /// Begins a session under a fresh identifier of 128 random bits (MCP 2025-11-25 §Session Management); `None` where
    /// there are as many as may be and all are in use.
    pub(crate) fn begin(
        &self,
        place: (Arc<Board>, Endpoint),
        client: ClientIdentity,
        changes: Announced,
        limit: usize,
    ) -> Result<Option<Arc<Session>>, getrandom::Error> {
        if !self.make_room(limit) {
            return Ok(None);
        }
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes)?;
        let id = format!("{:032x}", u128::from_ne_bytes(bytes));
        let session = Session::begin(id.clone(), place, client, changes);
        self.sessions().insert(id, Arc::clone(&session));
        if let Some(ledger) = self.ledger.get() {
            session.remember(ledger);
        }
        Ok(Some(session))
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
            self.forget(id);
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
            for id in idle {
                tracing::info!(session = &id[..8], "the session is ended: its client has been silent");
                self.end(&id).await;
            }
        }
    }

    /// The map.
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
