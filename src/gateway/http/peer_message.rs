//! What two processes tell each other about suspended requests of modern clients, and about whose tasks are whose.

use serde::{Deserialize, Serialize};

use crate::gateway::session::{PeerLink, PeerRequest};
use crate::gateway::upstream::Caller;

/// What the two processes tell each other about a repetition, by the new one's number for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PeerMessage {
    /// New: go on with a request.
    GoOn {
        /// The repetition's number.
        number: u64,
        /// The upstream whose endpoint it came to; `None` for the merged one.
        endpoint: Option<String>,
        /// The repetition.
        request: String,
    },
    /// Old: I do.
    GoesOn {
        /// The repetition's number.
        number: u64,
    },
    /// Old: a message for its client.
    Said {
        /// The repetition's number.
        number: u64,
        /// The message.
        message: String,
    },
    /// Old: that was the last message, or the request does not wait here.
    Over {
        /// The repetition's number.
        number: u64,
    },
    /// New: the client is gone.
    Off {
        /// The repetition's number.
        number: u64,
    },
    /// Either: a task is of this client, or of this session.
    Task {
        /// Its upstream.
        upstream: String,
        /// Its name.
        id: String,
        /// Its client, in the modern era.
        caller: Option<Caller>,
        /// Its session, in the legacy era.
        session: Option<String>,
    },
}

impl PeerMessage {
    /// Reads what the other process has written.
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Tells the other process; whether there is one.
    pub(super) fn tell(&self, peer: &PeerLink) -> bool {
        let word = serde_json::to_string(self).expect("a word has string keys only");
        peer.tell(PeerRequest::Round { word })
    }
}
