//! The gateway while another process takes its place: pausing, and passing sessions in both directions.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::relay::Message;
use super::service::{Gateway, Inner};
use super::session::{JournalFile, PeerRequest, Persisted, Session, SessionJournal, State};

impl Gateway {
    /// Remembers sessions in a file from now on, which must be this process's alone; with `revive`, those that the file
    /// holds go on. A file that cannot be used is no reason not to serve.
    pub fn remember_sessions(&self, file: &Path, revive: bool) {
        let known = if revive { JournalFile::read(file) } else { Ok(Vec::new()) };
        match known {
            Ok(known) => {
                for noted in &known {
                    self.inner().keep(noted);
                }
                if !known.is_empty() {
                    tracing::info!(
                        sessions = self.inner().sessions.len(),
                        "sessions of the process before go on"
                    );
                }
            }
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the sessions of the process before are lost");
            }
        }
        let journal: Arc<dyn SessionJournal> = Arc::new(JournalFile::new(file.to_owned()));
        if let Err(error) = self.inner().sessions.remember(&journal) {
            tracing::warn!(file = %file.display(), %error, "sessions will not survive a crash");
        }
    }

    /// Writes the file of sessions anew, whatever lies there now: another process that had it is dead.
    pub fn remember_again(&self) {
        if let Err(error) = self.inner().sessions.reclaim() {
            tracing::warn!(%error, "sessions will not survive a crash");
        }
    }

    /// Opens or closes the way to the process before or after this one.
    pub fn set_peer(&self, way: Option<mpsc::UnboundedSender<PeerRequest>>) {
        let opened = way.is_some();
        self.inner().peer.set(way);
        if opened {
            self.inner().tell_tasks();
        }
    }

    /// Takes what the other process tells of a request that one of them has put aside.
    pub fn round(&self, word: &str) {
        self.inner().round(word);
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
    pub fn sessions(&self) -> Vec<String> {
        self.inner().sessions.all().iter().map(|session| state(session)).collect()
    }

    /// The state of a session, if it is known here.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<String> {
        self.inner().sessions.get(id).map(|session| state(&session))
    }

    /// Keeps a session that another process has begun.
    pub fn keep_session(&self, state: &str) {
        self.inner().keep(&Persisted::from(state));
    }

    /// Ends a session of which its client has said so in another process.
    pub async fn end_session(&self, id: &str) {
        self.inner().sessions.end(id).await;
    }

    /// Takes a client's message about a request in flight here, which came to another process.
    pub async fn deliver(&self, id: &str, body: &str) {
        let Some(session) = self.inner().sessions.get(id) else { return };
        match Message::parse(body.as_bytes()) {
            Ok(Message::Response(response)) => {
                if let Err(fault) = session.answered(response).await {
                    tracing::debug!(session = session.label(), %fault, "an answer does not reach its server");
                }
            }
            Ok(Message::Notification(note)) => session.notified(note).await,
            _ => {}
        }
    }
}

impl Inner {
    /// A session by its identifier, here or in the process before or after this one.
    pub(crate) async fn session(&self, id: &str) -> Option<Arc<Session>> {
        if let Some(session) = self.sessions.get(id) {
            return Some(session);
        }
        if let Some(state) = self.peer.find(id).await {
            self.keep(&Persisted::from(state.as_str()));
        }
        // Also without an answer: the other process may have sent it just before its end.
        self.sessions.get(id)
    }

    /// Keeps a session from elsewhere, unless the configuration no longer has its endpoint.
    fn keep(&self, noted: &Persisted) {
        let state = match State::read(noted) {
            Ok(state) => state,
            Err(error) => {
                tracing::warn!(%error, "a session cannot be taken over");
                return;
            }
        };
        if self.routing.view(&state.endpoint()).is_none() {
            tracing::info!(endpoint = ?state.endpoint(), "a session ends: its upstream is no longer configured");
            return;
        }
        let id = state.id.clone();
        self.sessions.keep(&id, || state.revive(Arc::clone(&self.routing), self.changes.subscribe()));
    }
}

/// A session's state as text.
fn state(session: &Session) -> String {
    State::of(session).to_text()
}
