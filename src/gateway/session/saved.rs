//! What is saved of a session, as one line of JSON: in the journal, and on its way to another process.
//!
//! What moves: identifier, endpoint, client and its address, revision, log level, subscriptions, tasks. What does not:
//! connections, which are opened again when they are needed, and requests in flight, which end where they began.

use std::collections::HashSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::journal::Persisted;
use super::replay::LOGS;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::relay::Raw;

/// What has changed of a session since its state was noted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// The client follows this resource.
    Subscribed(String),
    /// It does not.
    Unsubscribed(String),
    /// The client has begun a task at this upstream.
    Task(String, String),
    /// `logging/setLevel`'s parameters.
    LogLevel(Option<Raw>),
    /// A stream of answers has begun, which ends with the process.
    Stream {
        /// Its number.
        number: u64,
        /// The request that it answers.
        request: Raw,
        /// As in [`SavedSession`].
        last_asked: u64,
        /// As in [`SavedSession`].
        last_told: u64,
    },
}

impl Change {
    /// The change as one line of text.
    pub(super) fn to_text(&self) -> String {
        line(self)
    }
}

/// A session's state.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedSession {
    /// Its identifier.
    pub(crate) id: String,
    /// The upstream whose endpoint it was opened at; `None` for the merged one.
    pub(crate) endpoint: Option<String>,
    /// The network address of who began it.
    #[serde(default)]
    pub(crate) address: Option<IpAddr>,
    /// `clientInfo`.
    pub(crate) info: Raw,
    /// The client's capabilities.
    pub(crate) capabilities: Raw,
    /// The agreed revision.
    pub(crate) version: String,
    /// `logging/setLevel`'s parameters.
    #[serde(default)]
    pub(crate) log_level: Option<Raw>,
    /// The URIs of subscribed resources.
    #[serde(default)]
    pub(crate) subscriptions: Vec<String>,
    /// The tasks that it has begun, with their upstreams.
    #[serde(default)]
    pub(crate) tasks: Vec<(String, String)>,
    /// The last identifier of a question to the client.
    #[serde(default)]
    pub(crate) last_asked: u64,
    /// The last number of a stream of answers.
    #[serde(default)]
    pub(crate) last_stream: u64,
    /// The place of the last message for its GET stream.
    #[serde(default)]
    pub(crate) last_told: u64,
    /// The streams that end with the process, with the requests that they answer.
    #[serde(default)]
    pub(crate) streams: Vec<(u64, Raw)>,
}

impl SavedSession {
    /// Reads a state with the changes that were noted after it.
    pub(crate) fn read(persisted: &Persisted) -> Result<Self, serde_json::Error> {
        let mut state: Self = serde_json::from_str(&persisted.state)?;
        let mut subscriptions: HashSet<String> = state.subscriptions.drain(..).collect();
        // What another version notes beside is no reason to lose the session.
        for change in persisted.changes.iter().filter_map(|change| serde_json::from_str(change).ok()) {
            match change {
                Change::Subscribed(uri) => drop(subscriptions.insert(uri)),
                Change::Unsubscribed(uri) => drop(subscriptions.remove(&uri)),
                Change::Task(upstream, id) => state.tasks.push((upstream, id)),
                Change::LogLevel(level) => state.log_level = level,
                Change::Stream { number, request, last_asked, last_told } => {
                    state.last_stream = state.last_stream.max(number);
                    state.last_asked = state.last_asked.max(last_asked);
                    state.last_told = state.last_told.max(last_told);
                    state.streams.retain(|(known, _)| *known != number);
                    state.streams.push((number, request));
                }
            }
        }
        state.streams.sort_by_key(|(number, _)| *number);
        state.streams.drain(..state.streams.len().saturating_sub(LOGS));
        state.subscriptions.extend(subscriptions);
        Ok(state)
    }

    /// The state as one line of text.
    pub(crate) fn to_text(&self) -> String {
        line(self)
    }

    /// Where it was opened.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::named(self.endpoint.clone())
    }
}

/// JSON on one line. What the client wrote is in it as it wrote it, perhaps over several lines; in strings JSON has no raw
/// newlines.
fn line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("it has string keys only");
    text.replace(['\n', '\r'], " ")
}
