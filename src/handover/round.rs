//! Requests that one process has put aside while the client's repetition comes to the other one.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A client of the modern era.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Caller {
    /// The network that one client has for itself; none over a Unix socket.
    pub(crate) network: Option<IpAddr>,
    /// `clientInfo` as it writes it.
    pub(crate) info: Box<str>,
    /// The name that it has shown to be its.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
}

/// What the two processes tell each other about a repetition, by the new one's number for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Round {
    /// New: go on with a request.
    GoOn {
        /// The repetition's number.
        number: u64,
        /// The upstream whose endpoint it came to; `None` for the merged one.
        endpoint: Option<String>,
        /// The client that it came from, if that has shown a name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<String>,
        /// What it has sent in headers that go on to upstreams.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sent: Vec<(String, String)>,
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
