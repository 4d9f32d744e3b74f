//! What the two processes say: one line of JSON each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::listener::{Outline, SocketFile};
use crate::exit::ToExit;

/// The version of what is said over the channel.
pub const PROTOCOL: u32 = 2;
/// What is said beyond what every process of this version understands; each counts those before it. 1: reloads, turns at
/// upstreams and [`Message::Confirm`].
pub const EXTENSIONS: u32 = 1;
/// Tells a program that it is to take a gateway's place.
pub const VARIABLE: &str = "MCPEG_UPGRADE";
/// The longest line, in bytes: any message of a child, escaped.
pub(super) const LINE_LIMIT: u64 = 4 << 30;

/// What the old process tells the next one about itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--listen`.
    pub listen: Vec<String>,
    /// `--log-file`.
    pub log_file: Option<PathBuf>,
    /// `--log-level`, as a filter.
    pub log_level: Option<String>,
    /// `--dev`.
    pub dev: bool,
    /// `--user` and `--group`.
    #[serde(default)]
    pub user: Option<(String, Option<String>)>,
    /// The pid file.
    pub pid_file: PathBuf,
    /// Whether there is no console.
    pub background: bool,
    /// The listeners, in the order of their descriptors.
    pub listeners: Outline,
    /// The files of Unix listeners.
    pub files: Vec<SocketFile>,
    /// The children of upstreams that will be handed over, as text that is opaque here.
    pub children: Vec<String>,
}

/// One line of the channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum Message {
    /// New: I am here.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Its pid.
        pid: i32,
        /// Its version.
        version: String,
        /// Its [`EXTENSIONS`].
        #[serde(default)]
        extensions: u32,
    },
    /// Old: what to serve; the descriptors came before.
    Take(Box<Plan>),
    /// New: configuration and upstreams are there.
    Prepared,
    /// Old: I no longer accept, and every session has been sent.
    Go,
    /// New: I have answered a request of my own.
    Ready,
    /// Old: take pid file, record and control socket over.
    Commit,
    /// New: they are mine.
    Owned,
    /// Old: is this still so? Only now everything is left to the new one.
    Confirm,
    /// New: it is.
    Confirmed,
    /// Old: the service manager knows you.
    Released,
    /// New: I cannot.
    Failed {
        /// The exit code.
        exit: u8,
        /// The error with its causes.
        text: String,
        /// How it is mended.
        hint: Option<String>,
    },
    /// A session, to be kept if it is unknown.
    Session {
        /// Its state.
        state: String,
    },
    /// Do you know this session?
    Find {
        /// Its identifier.
        id: String,
    },
    /// The answer to [`Message::Find`].
    Found {
        /// Its identifier.
        id: String,
        /// Its state, if it is known.
        state: Option<String>,
    },
    /// A client has ended its session.
    Ended {
        /// Its identifier.
        id: String,
    },
    /// Something from a client about a request that is in flight at the other end.
    Deliver {
        /// The session's identifier.
        id: String,
        /// The JSON-RPC message.
        body: String,
    },
    /// Something about a request that one process has put aside, and the other has a repetition of.
    Round {
        /// What, as text that is opaque here.
        word: String,
    },
    /// Old: a child of an upstream; its descriptors came before over the other socket.
    Child {
        /// What must be known of it.
        text: String,
    },
    /// Something about a child that goes over, or about what it is to be sent or has said.
    OfChild {
        /// What, as text that is opaque here.
        word: String,
    },
    /// Something about the requests that both processes have at one upstream, of which there may be only so many.
    Turn {
        /// What, as text that is opaque here.
        word: String,
    },
    /// Old: somebody has asked me for a reload; the configuration is yours.
    Reload {
        /// Which one.
        id: u64,
    },
    /// New: what became of it.
    Reloaded {
        /// Which one.
        id: u64,
        /// The answer, as text that is opaque here.
        answer: String,
    },
    /// Something that another version says; nothing depends on it.
    #[serde(other)]
    Unknown,
}

/// A message as a line.
pub(super) fn line(message: &Message) -> String {
    let mut text = serde_json::to_string(message).expect("messages have string keys only");
    text.push('\n');
    text
}

/// An error as a message.
#[must_use]
pub fn failed(error: &impl ToExit) -> Message {
    Message::Failed { exit: error.to_exit().code(), text: crate::exit::chain(error), hint: error.hint() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A conversation of today's protocol, recorded from the first binary that spoke it; `WHO !` stands for descriptors.
    const RECORDED: &str = include_str!("../../tests/fixtures/upgrade.wire");

    #[test]
    fn recorded_conversation_is_understood_and_would_be_said_in_the_same_bytes() {
        let mut kinds = std::collections::BTreeSet::new();
        for (number, said) in RECORDED.lines().enumerate() {
            let (_, text) = said.split_once(' ').unwrap();
            if text.starts_with('!') {
                continue;
            }
            let message: Message = serde_json::from_str(text).unwrap();
            assert!(!matches!(message, Message::Unknown), "line {number}: {text}");
            assert_eq!(line(&message).trim_end(), text, "line {number}");
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            kinds.insert(value["message"].as_str().unwrap().to_owned());
        }
        assert_eq!(kinds.len(), 22, "{kinds:?}");
    }
}
