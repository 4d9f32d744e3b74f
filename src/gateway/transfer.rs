//! The gateway while another process takes its place: pausing, and passing sessions in both directions.

use std::path::Path;

use super::service::Gateway;
use crate::handover::channel::Sender;
use crate::handover::{Round, Session as SavedSession};

impl Gateway {
    /// Remembers sessions in a file from now on, which must be this process's alone; with `revive`, those that the file
    /// holds go on. A file that cannot be used is no reason not to serve.
    pub fn remember_sessions(&self, file: &Path, revive: bool) {
        self.inner().sessions.remember_in(file, revive);
    }

    /// Writes the file of sessions anew, whatever lies there now: another process that had it is dead.
    pub fn remember_again(&self) {
        self.inner().sessions.reclaim();
    }

    /// Opens the way to the process before or after this one.
    pub fn set_peer(&self, peer: Sender) {
        self.inner().peer.set(peer);
        self.inner().tell_tasks();
    }

    /// Takes what the other process tells of a request that one of them has put aside.
    pub fn round(&self, round: Round) {
        self.inner().round(round);
    }

    /// Waits until no client can come back for a request that is put aside here.
    pub async fn rounds_over(&self) {
        self.inner().rounds_over().await;
    }

    /// Leaves new connections to wait in the kernel, or accepts them again.
    pub fn pause(&self, paused: bool) {
        self.inner().paused.send_replace(paused);
    }

    /// The state of every session.
    #[must_use]
    pub fn sessions(&self) -> Vec<SavedSession> {
        self.inner().sessions.all().iter().map(|session| session.saved()).collect()
    }

    /// The state of a session, if it is known here.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<SavedSession> {
        self.inner().sessions.get(id).map(|session| session.saved())
    }

    /// Keeps a session that another process has begun.
    pub fn keep_session(&self, saved: SavedSession) {
        self.inner().sessions.restore(saved);
    }

    /// Ends a session of which its client has said so in another process.
    pub async fn end_session(&self, id: &str) {
        self.inner().sessions.end(id).await;
    }

    /// Takes a client's message about a request in flight here, which came to another process.
    pub async fn deliver(&self, id: &str, body: &str) {
        self.inner().sessions.deliver(id, body).await;
    }
}
