//! The way to the process before or after this one, while there is one.
//!
//! While both processes serve, either may be asked for a session that it does not know; it then asks the other one.

use parking_lot::Mutex;

use crate::handover::channel::Sender;
use crate::handover::{Message, Session as SavedSession};

/// The way to the process before or after this one, while there is one.
#[derive(Debug, Default)]
pub(crate) struct PeerLink(Mutex<Option<Sender>>);

impl PeerLink {
    /// Opens the way.
    pub(crate) fn set(&self, peer: Sender) {
        *self.0.lock() = Some(peer);
    }

    /// The way, if there ever was one.
    pub(crate) fn sender(&self) -> Option<Sender> {
        self.0.lock().clone()
    }

    /// Says something that has no answer; whether there is anybody to say it to.
    pub(crate) fn tell(&self, message: &Message) -> bool {
        self.sender().is_some_and(|peer| peer.send(message))
    }

    /// Asks for a session.
    pub(crate) async fn find(&self, id: &str) -> Option<SavedSession> {
        self.sender()?.find(id).await
    }
}
