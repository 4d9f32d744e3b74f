//! Sessions as they are saved: one line of JSON each, in the journal and on the way to another process.
//!
//! What moves: identifier, endpoint, client and its address, revision, log level, subscriptions, tasks. What does not:
//! connections, which are opened again when they are needed, and requests in flight, which end where they began: what comes of
//! them is told when a client asks for it, or when the process ends.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What has changed of a session since its state was noted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// The client follows this resource.
    Subscribed(String),
    /// It does not.
    Unsubscribed(String),
    /// The client has begun a task at this upstream.
    Task(String, String),
    /// `logging/setLevel`'s parameters.
    LogLevel(Option<Box<RawValue>>),
    /// A stream of answers has begun, which ends with the process.
    Stream {
        /// Its number.
        number: u64,
        /// The request that it answers.
        request: Box<RawValue>,
        /// As in [`Session`].
        last_asked: u64,
        /// As in [`Session`].
        last_told: u64,
    },
}

impl Change {
    /// The change as one line of text.
    pub(crate) fn to_text(&self) -> String {
        line(self)
    }
}

/// A session's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Its identifier.
    pub(crate) id: String,
    /// The upstream whose endpoint it was opened at; `None` for the merged one.
    pub(crate) endpoint: Option<String>,
    /// The network address of who began it.
    #[serde(default)]
    pub(crate) address: Option<IpAddr>,
    /// The client whose it is, if that has shown a name: nobody else may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
    /// `clientInfo`.
    pub(crate) info: Box<RawValue>,
    /// The client's capabilities.
    pub(crate) capabilities: Box<RawValue>,
    /// The agreed revision.
    pub(crate) version: String,
    /// `logging/setLevel`'s parameters.
    #[serde(default)]
    pub(crate) log_level: Option<Box<RawValue>>,
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
    pub(crate) streams: Vec<(u64, Box<RawValue>)>,
    /// Whether its client speaks HTTP+SSE.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) events: bool,
    /// When it began, if the version that saved it knows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) began: Option<SystemTime>,
}

impl Session {
    /// Reads a state with the changes that were noted after it; of the streams, at most so many of the last are kept.
    pub(crate) fn read(state: &str, changes: &[String], streams: usize) -> Result<Self, serde_json::Error> {
        let mut state: Self = serde_json::from_str(state)?;
        let mut subscriptions: HashSet<String> = state.subscriptions.drain(..).collect();
        // What another version notes beside is no reason to lose the session.
        for change in changes.iter().filter_map(|change| serde_json::from_str(change).ok()) {
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
        state.streams.drain(..state.streams.len().saturating_sub(streams));
        state.subscriptions.extend(subscriptions);
        Ok(state)
    }

    /// The state as one line of text.
    pub(crate) fn to_text(&self) -> String {
        line(self)
    }
}

/// JSON on one line. The client's own text may span lines; in strings JSON has no raw newlines.
pub(super) fn line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("it has string keys only");
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text }
}
