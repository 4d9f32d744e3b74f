//! All legacy sessions of the gateway, by identifier.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::super::catalog::Board;
use super::super::changes::{Announced, Endpoint};
use super::super::upstream::{ClientIdentity, Upstream};
use super::live::Session;

/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(15);

/// The sessions.
#[derive(Debug, Default)]
pub(crate) struct Store(Mutex<HashMap<String, Arc<Session>>>);

impl Store {
    /// Begins a session under a fresh identifier of 128 random bits (MCP 2025-11-25 §Session Management).
    pub(crate) fn begin(
        &self,
        place: (Arc<Board>, Endpoint),
        client: ClientIdentity,
        changes: Announced,
    ) -> Result<Arc<Session>, getrandom::Error> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes)?;
        let id = format!("{:032x}", u128::from_ne_bytes(bytes));
        let session = Session::begin(id.clone(), place, client, changes);
        self.sessions().insert(id, Arc::clone(&session));
        Ok(session)
    }

    /// The session of this identifier.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.sessions().get(id).cloned()
    }

    /// Keeps a session that another process has begun, unless it is here already.
    pub(crate) fn keep(&self, id: &str, revive: impl FnOnce() -> Arc<Session>) {
        self.sessions().entry(id.to_owned()).or_insert_with(revive);
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.sessions().values().cloned().collect()
    }

    /// Ends a session.
    pub(crate) async fn end(&self, id: &str) {
        let session = self.sessions().remove(id);
        if let Some(session) = session {
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

    /// Ends all sessions.
    pub(crate) async fn end_all(&self) {
        let sessions: Vec<_> = self.sessions().drain().map(|(_, session)| session).collect();
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
            for id in idle {
                tracing::info!(session = &id[..8], "the session is ended: its client has been silent");
                self.end(&id).await;
            }
        }
    }

    /// The map.
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
