//! The way to the process before or after this one, while there is one, and what is asked for on it.
//!
//! While both processes serve, either may be asked for a session that it does not know; it then asks the other one.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// How long the other process may take to say whether it knows a session.
const FIND_LIMIT: Duration = Duration::from_secs(5);

/// What this process asks of the one before or after it.
#[derive(Debug)]
pub enum PeerRequest {
    /// Whether it knows a session.
    Find {
        /// The identifier.
        id: String,
        /// The session's state, if it is known.
        answer: oneshot::Sender<Option<String>>,
    },
    /// To forget a session that its client has ended.
    Ended {
        /// The identifier.
        id: String,
    },
    /// To take a message about a request that it has in flight.
    Deliver {
        /// The session's identifier.
        id: String,
        /// The JSON-RPC message.
        body: String,
    },
    /// To hear something of a child that is handed over.
    OfChild {
        /// What, as text.
        word: String,
    },
    /// To hear something of a request that one process has put aside, and the other has a repetition of.
    Round {
        /// What, as text.
        word: String,
    },
    /// To hear something of requests at an upstream that takes only so many at once.
    Turn {
        /// What, as text.
        word: String,
    },
    /// Nothing: tells when everything before is on its way.
    Nothing {
        /// Who is told.
        done: oneshot::Sender<()>,
    },
}

/// The way to the process before or after this one, while there is one.
#[derive(Debug, Default)]
pub(crate) struct PeerLink(Mutex<Option<mpsc::UnboundedSender<PeerRequest>>>);

impl PeerLink {
    /// Opens or closes the way.
    pub(crate) fn set(&self, way: Option<mpsc::UnboundedSender<PeerRequest>>) {
        *self.0.lock() = way;
    }

    /// Asks for something without an answer; whether there is anybody to ask.
    pub(crate) fn tell(&self, request: PeerRequest) -> bool {
        self.way().is_some_and(|way| way.send(request).is_ok())
    }

    /// Asks for a session.
    pub(crate) async fn find(&self, id: &str) -> Option<String> {
        let (answer, found) = oneshot::channel();
        self.way()?.send(PeerRequest::Find { id: id.to_owned(), answer }).ok()?;
        tokio::time::timeout(FIND_LIMIT, found).await.ok()?.ok()?
    }

    /// The way, if there is one.
    fn way(&self) -> Option<mpsc::UnboundedSender<PeerRequest>> {
        self.0.lock().clone()
    }
}
