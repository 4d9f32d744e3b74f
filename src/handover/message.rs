//! What the two processes say: one line of JSON each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::child::{Child, ChildMessage, Offer};
use super::listener::{Outline, SocketFile};
use super::permit::Permits;
use super::round::Round;
use super::session::{self, Session};
use super::used::Used;
use crate::config::Overrides;
use crate::exit::ToExit;

/// The version of what is said over the channel.
pub(crate) const PROTOCOL: u32 = 2;
/// What is said beyond what every process of this version understands; each counts those before it. 1: reloads, turns at
/// upstreams and [`Message::Confirm`].
pub(crate) const EXTENSIONS: u32 = 1;
/// Tells a program that it is to take a gateway's place.
pub(crate) const VARIABLE: &str = "MCPEG_UPGRADE";
/// The longest line, in bytes: any message of a child, escaped.
pub(super) const LINE_LIMIT: u64 = 4 << 30;

/// What the old process tells the next one about itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// The options that replace what the configuration says.
    #[serde(flatten)]
    pub(crate) overrides: Overrides,
    /// `--user` and `--group`.
    #[serde(default)]
    pub(crate) user: Option<(String, Option<String>)>,
    /// The pid file.
    pub(crate) pid_file: PathBuf,
    /// Where what outlives the process is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<PathBuf>,
    /// The upstreams that can be used, which the next process must have before it takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usable: Option<Vec<String>>,
    /// Whether there is no console.
    pub(crate) background: bool,
    /// The listeners, in the order of their descriptors.
    pub(crate) listeners: Outline,
    /// The files of Unix listeners.
    pub(crate) files: Vec<SocketFile>,
    /// The children of upstreams that will be handed over.
    #[serde(with = "offers")]
    pub(crate) children: Vec<Offer>,
    /// What clients were shown of the lists behind it; empty from a process that does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lists: Vec<KnownLists>,
}

/// What clients were shown of the lists of one upstream, or of the endpoint of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownLists {
    /// What tells the upstream from others.
    pub(crate) of: String,
    /// A digest of each list: none if nobody was shown it, empty if it is not known what was shown.
    pub(crate) lists: Vec<Option<String>>,
}

/// One line of the channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(crate) enum Message {
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
        #[serde(with = "text")]
        state: Box<Session>,
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
        #[serde(with = "text_or_none")]
        state: Option<Box<Session>>,
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
    /// What comes of this stream of answers of yours, for which a client has come back to me?
    Resume {
        /// The session's identifier.
        id: String,
        /// The stream's number.
        stream: u64,
    },
    /// What came of a stream of answers of mine.
    Resumed {
        /// The session's identifier.
        id: String,
        /// The stream's number.
        stream: u64,
        /// How many of its messages are not there any more.
        gone: u64,
        /// The others, the answer at the end.
        messages: Vec<String>,
    },
    /// Something about a request that one process has put aside, and the other has a repetition of.
    Round {
        /// What.
        #[serde(with = "text")]
        word: Round,
    },
    /// Old: a child of an upstream; its descriptors came before over the other socket.
    Child {
        /// What must be known of it.
        #[serde(with = "text")]
        text: Child,
    },
    /// Something about a child that goes over, or about what it is to be sent or has said.
    OfChild {
        /// What.
        #[serde(with = "text")]
        word: ChildMessage,
    },
    /// Something about the requests that both processes have at one upstream, of which there may be only so many.
    Turn {
        /// What.
        #[serde(with = "text")]
        word: Permits,
    },
    /// Old: so much clients have used of their rates. Where it is not understood, they begin anew.
    Used {
        /// Each that is not unused.
        all: Vec<Used>,
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
        /// The answer of the control protocol, as the caller is to have it.
        answer: String,
    },
    /// Something that another version says; nothing depends on it.
    #[serde(other)]
    Unknown,
}

impl Message {
    /// What it is called on the wire.
    pub(super) fn name(&self) -> String {
        let Tag { message } = serde_json::from_str(&line(self)).expect("every message has a name");
        message
    }
}

/// A message as a line.
pub(super) fn line(message: &Message) -> String {
    let mut text = serde_json::to_string(message).expect("messages have string keys only");
    text.push('\n');
    text
}

/// An error as a message.
pub(crate) fn failed(error: &impl ToExit) -> Message {
    Message::Failed { exit: error.to_exit().code(), text: crate::exit::chain(error), hint: error.hint() }
}

/// Reads a line; `None` if it is no message at all. One of another version that is not known is [`Message::Unknown`].
pub(super) fn read(line: &[u8]) -> Option<Message> {
    let error = match serde_json::from_slice(line) {
        Ok(message) => return Some(message),
        Err(error) => error,
    };
    let Tag { message } = serde_json::from_slice(line).ok()?;
    tracing::warn!(message, %error, "a message of the other process is not understood");
    Some(Message::Unknown)
}

/// What every message has.
#[derive(Deserialize)]
struct Tag {
    /// Its name.
    message: String,
}

/// A value whose JSON goes as a string: so it has been since the first version, and an older process reads no other form.
mod text {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::{Deserialize as _, Deserializer, Serialize, Serializer};

    /// Writes it.
    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::session::line(value))
    }

    /// Reads it.
    pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        serde_json::from_str(&text).map_err(D::Error::custom)
    }
}

/// The same, perhaps of nothing; what is not understood is nothing.
mod text_or_none {
    use serde::de::DeserializeOwned;
    use serde::{Deserialize as _, Deserializer, Serialize, Serializer};

    /// Writes it.
    #[expect(clippy::ref_option, reason = "serde calls it in this form")]
    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(super::session::line).serialize(to)
    }

    /// Reads it.
    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: DeserializeOwned,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

/// Offers, each of which goes as a string; one that another version wrote is no reason not to serve.
mod offers {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::handover::child::Offer;

    /// Writes them.
    pub(super) fn serialize<S: Serializer>(offers: &[Offer], to: S) -> Result<S::Ok, S::Error> {
        offers.iter().map(super::session::line).collect::<Vec<_>>().serialize(to)
    }

    /// Reads them.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Offer>, D::Error> {
        let read = |text: String| match serde_json::from_str(&text) {
            Ok(offer) => Some(offer),
            Err(error) => {
                tracing::info!(%error, "a child of the former process is started anew");
                None
            }
        };
        Ok(Vec::<String>::deserialize(from)?.into_iter().filter_map(read).collect())
    }
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
            let message = read(text.as_bytes()).unwrap();
            assert!(!matches!(message, Message::Unknown), "line {number}: {text}");
            assert_eq!(line(&message).trim_end(), text, "line {number}");
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            kinds.insert(value["message"].as_str().unwrap().to_owned());
        }
        assert_eq!(kinds.len(), 22, "{kinds:?}");
    }

    #[test]
    fn what_another_version_says_is_passed_over() {
        let unknown = |text: &str| matches!(read(text.as_bytes()), Some(Message::Unknown));
        assert!(unknown(r#"{"message":"greet","whom":1}"#));
        assert!(unknown(r#"{"message":"round","word":"{\"dance\":{}}"}"#));
        assert!(unknown(r#"{"message":"session","state":"{}"}"#));
        let found = read(br#"{"message":"found","id":"a","state":"{}","more":true}"#);
        assert!(matches!(found, Some(Message::Found { state: None, .. })), "{found:?}");
        let hello = read(br#"{"message":"hello","protocol":2,"pid":7,"version":"0.1.0"}"#);
        assert!(matches!(hello, Some(Message::Hello { extensions: 0, .. })), "{hello:?}");
        for text in ["", "{}", "hello", "[]"] {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn recorded_plan_keeps_the_children_that_can_be_read() {
        let take = RECORDED.lines().find(|line| line.contains(r#""take""#)).unwrap();
        let read = |text: &str| match read(text.as_bytes()) {
            Some(Message::Take(plan)) => plan.children.iter().map(|it| it.upstream.clone()).collect(),
            other => panic!("{other:?}"),
        };
        let take = take.strip_prefix("old ").unwrap();
        let names: Vec<String> = read(take);
        assert_eq!(names, ["probe", "ask"]);
        let broken: Vec<String> = read(&take.replace("native", "elsewhere"));
        assert_eq!(broken, Vec::<String>::new());
    }
}
