//! What is said over the control socket, and its one client: one JSON object a line, request and answer.
//!
//! `{"request":"status"}` is answered with the handler's object; anything that cannot be understood with
//! `{"error":"…"}`. The client waits as long as it says, whatever the daemon does: a suspended daemon still accepts
//! connections, in the kernel. The gateway may be older or newer than the client, so that an answer is kept as it came
//! ([`Reply::value`]) beside what is understood of it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::{Event, Record};
use crate::exit::{Exit, ToExit};

/// How long a client waits for what is answered at once.
pub(crate) const CLIENT_LIMIT: Duration = Duration::from_secs(2);
/// The longest answer, in bytes.
const ANSWER_LIMIT: u64 = 16 * 1024 * 1024;

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    /// How the gateway is.
    Status,
    /// Read the configuration again.
    Reload,
    /// Rotate the log file, or reopen it if it was moved.
    Rotate,
    /// Have the audit know what was done to the tokens of a client, or to the login at an upstream.
    Audit {
        /// What was done.
        act: Act,
        /// The client or upstream.
        name: String,
    },
    /// Put a new process in the gateway's place.
    Upgrade {
        /// How long the new process may take to serve, in milliseconds.
        start_timeout_ms: u64,
    },
    /// Speak HTTP over this connection from the answer on, with all that the gateway's operator may use.
    Http,
}

/// What is done to the tokens of a client, or to the login at an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// One is made.
    Create,
    /// One takes the place of others.
    Rotate,
    /// All are taken back.
    Revoke,
    /// A person has logged in for the gateway.
    Login,
    /// The login was given back.
    Logout,
}

impl Act {
    /// The record of the audit about it.
    pub(crate) fn record<'a>(self, name: &'a str, proof: Option<&'a str>, uid: Option<u32>) -> Record<'a> {
        let (event, what) = match self {
            Self::Create => (Event::Token, "create"),
            Self::Rotate => (Event::Token, "rotate"),
            Self::Revoke => (Event::Token, "revoke"),
            Self::Login => (Event::Login, "login"),
            Self::Logout => (Event::Login, "logout"),
        };
        let is_login = event == Event::Login;
        Record {
            event,
            client: Some(name).filter(|_| !is_login),
            upstream: Some(name).filter(|_| is_login),
            proof,
            uid,
            outcome: "ok",
            reason: Some(what),
            ..Record::default()
        }
    }
}

/// Of a status, who answers. A gateway of another version may leave any of it out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Identity {
    /// Its process; 0 if it does not tell.
    pub(crate) pid: i64,
    /// Its configuration files.
    pub(crate) config: Vec<PathBuf>,
    /// Where it listens, as it was bound.
    pub(crate) listeners: Vec<String>,
    /// Where what outlives it is kept.
    pub(crate) state_directory: Option<PathBuf>,
    /// Whether every configured upstream is ready.
    pub(crate) healthy: bool,
}

/// The answer to [`Request::Upgrade`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Upgraded {
    /// The new process serves.
    Done {
        /// The new process.
        pid: i64,
    },
    /// The old one serves on.
    Refused {
        /// Its error, or the new process's.
        error: String,
        /// The exit code.
        exit: Option<u8>,
        /// How that is mended.
        hint: Option<String>,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply<A> {
    /// What is understood of it.
    pub(crate) answer: A,
    /// The whole of it, as it came.
    pub(crate) value: Value,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody serves the socket, or this user may not ask.
    #[error("cannot ask the control socket `{0}`")]
    Ask(PathBuf, #[source] io::Error),
    /// No answer in time.
    #[error("the control socket `{}` did not answer within {} s", .0.display(), .1.as_secs())]
    TimeOut(PathBuf, Duration),
    /// An answer that is none: the gateway stops, or is of another version.
    #[error("the control socket answers {0}")]
    Strange(Value),
}

impl Error {
    /// What the gateway says against the request; `None` if it did not come to that.
    pub(crate) fn objection(&self) -> Option<String> {
        match self {
            Self::Strange(value) => {
                Some(value["error"].as_str().map_or_else(|| value.to_string(), str::to_owned))
            }
            Self::Ask(..) | Self::TimeOut(..) => None,
        }
    }
}

/// Asks a running gateway, and waits so long for the answer.
pub(crate) fn ask<A: DeserializeOwned>(
    path: &Path,
    request: Request,
    limit: Duration,
) -> Result<Reply<A>, Error> {
    let (value, _) = within(path, request, limit)?;
    match A::deserialize(&value) {
        Ok(answer) => Ok(Reply { answer, value }),
        Err(_) => Err(Error::Strange(value)),
    }
}

/// Opens a connection over which the gateway answers HTTP.
pub(crate) fn open_http(path: &Path, limit: Duration) -> Result<UnixStream, Error> {
    match within(path, Request::Http, limit)? {
        (value, stream) if value["http"] == true => Ok(stream),
        (value, _) => Err(Error::Strange(value)),
    }
}

/// One request and its answer within this time, and the connection.
fn within(path: &Path, request: Request, limit: Duration) -> Result<(Value, UnixStream), Error> {
    let (sender, receiver) = mpsc::channel();
    let socket = path.to_path_buf();
    // A thread, because connect(2) itself blocks when the backlog of a suspended daemon is full. If it is late, the
    // process exits without it.
    std::thread::spawn(move || sender.send(exchange(&socket, &request)));
    match receiver.recv_timeout(limit) {
        Ok(answer) => answer.map_err(|error| Error::Ask(path.to_path_buf(), error)),
        Err(_) => Err(Error::TimeOut(path.to_path_buf(), limit)),
    }
}

/// One request and its answer, and the connection. Nothing comes after the answer that was not asked for.
fn exchange(path: &Path, request: &Request) -> io::Result<(Value, UnixStream)> {
    let mut stream = UnixStream::connect(path)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new((&stream).take(ANSWER_LIMIT)).read_line(&mut answer)?;
    Ok((serde_json::from_str(&answer)?, stream))
}

impl Upgraded {
    /// As it is sent.
    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("it has string keys")
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        Exit::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_daemon_does_not_hang_the_client() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let start = std::time::Instant::now();
        assert!(matches!(ask::<Value>(&path, Request::Status, CLIENT_LIMIT), Err(Error::TimeOut(..))));
        // The rest is for a busy machine.
        assert!(start.elapsed() < CLIENT_LIMIT * 15);
    }

    #[test]
    fn answers_to_an_upgrade_have_the_form_that_older_and_newer_clients_read() {
        let done = Upgraded::Done { pid: 7 };
        assert_eq!(done.to_value().to_string(), r#"{"pid":7}"#);
        let refused = Upgraded::Refused { error: "x".to_owned(), exit: Some(75), hint: None };
        assert_eq!(refused.to_value().to_string(), r#"{"error":"x","exit":75,"hint":null}"#);
        for (text, expected) in [(r#"{"pid":7}"#, done), (r#"{"error":"x","exit":75,"new":1}"#, refused)] {
            assert_eq!(serde_json::from_str::<Upgraded>(text).unwrap(), expected);
        }
    }

    #[test]
    fn a_gateway_of_another_version_may_tell_less_of_itself() {
        let told = |text: &str| serde_json::from_str::<Identity>(text).unwrap();
        assert_eq!(told(r#"{"error":"not a request"}"#), Identity::default());
        let running = told(r#"{"schema":1,"pid":7,"listeners":["[::]:8080","unix:/run/x"],"new":true}"#);
        assert_eq!((running.pid, running.listeners.len(), running.config.len()), (7, 2, 0));
    }
}
