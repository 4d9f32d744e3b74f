//! The two ends of an upgrade: starting the next process, and being it.
//!
//! The next process is started with one end of a socket pair as standard input, and with [`VARIABLE`] in its
//! environment; nothing else is open to it. It says [`Message::Hello`] first; only then the old one sends lock,
//! standard error, listeners and [`Plan`], so that a program that hangs or is no mcpeg never holds them. Until it has
//! said hello, its standard error is a pipe, whose text tells why a program did not start.
//!
//! Afterwards both talk in lines of JSON over a [channel](super::channel) until the old process ends. The stages, old to new and
//! back: `take` `prepared` `go` `ready` `commit` `owned` `confirm` `confirmed` `released`. Any failure before `confirmed`
//! leaves everything to the old process, which ends the new one and waits for its death before it makes the run-time
//! files its own again. Sessions go over the same channel at any time, in both directions, as text that is opaque here.
//! Children of upstreams go before `commit`: their descriptors over a socket pair of their own, and then `child`.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::channel::Descriptors;
use super::listen::{Outline, SocketFile};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::exit::{Exit, ToExit};
use crate::sys::process::Kill;
use crate::sys::{fd, handover, process};
use serde::{Deserialize, Serialize};

/// The version of what is said over the channel.
pub const PROTOCOL: u32 = 2;
/// What is said beyond what every process of this version understands; each counts those before it. 1: reloads, turns at
/// upstreams and [`Message::Confirm`].
pub const EXTENSIONS: u32 = 1;
/// Tells a program that it is to take a gateway's place.
pub const VARIABLE: &str = "MCPEG_UPGRADE";
/// Variables that mean one process, `sd_listen_fds(3)` and `sd_watchdog_enabled(3)`; the next one is another.
const PERSONAL: [&str; 5] = ["LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];
/// How long the next process waits for what the old one passes.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest line, in bytes: any message of a child, escaped.
pub(super) const LINE_LIMIT: u64 = 4 << 30;
/// How long the end of a killed process is waited for.
const DEATH_LIMIT: Duration = Duration::from_secs(2);
/// How much of a failed program's standard error is reported, in bytes.
const COMPLAINT_LIMIT: usize = 2048;

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

/// Why the next process does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program, or it cannot be executed.
    #[error("cannot execute `{0}`")]
    Execute(PathBuf, #[source] io::Error),
    /// A system call on the way failed.
    #[error("cannot pass the gateway on to a new process")]
    Pass(#[source] io::Error),
    /// It ended, or closed its end.
    #[error("the new process ended before it served{}", complaint(.0))]
    Died(String),
    /// It neither serves nor fails.
    #[error("the new process did not serve within {} s and was ended{}", .0.as_secs_f32(), complaint(.1))]
    TimeOut(Duration, String),
    /// It is another program, or an mcpeg that is too different.
    #[error("`{}` does not speak version {PROTOCOL} of the upgrade protocol{}", .0.display(), complaint(.1))]
    Protocol(PathBuf, String),
    /// It said why it cannot serve.
    #[error("the new process cannot serve: {message}")]
    Refused {
        /// Its error.
        message: String,
        /// Its hint.
        hint: Option<String>,
        /// Its exit code.
        exit: Exit,
    },
    /// Another upgrade is under way.
    #[error("another upgrade is under way")]
    Busy,
    /// A reload has not ended in time.
    #[error("a reload is under way and did not end in time")]
    Reloading,
    /// The process is the first of its container, whose end would be the container's.
    #[error("process 1 of a container cannot hand over to another process")]
    FirstProcess,
    /// Standard input is not what it should be.
    #[error("{VARIABLE} is set, but standard input is not the socket of a gateway")]
    NotASuccessor(#[source] io::Error),
}

/// What a program wrote to its standard error, as an addition to a message.
fn complaint(text: &str) -> String {
    let text = text.trim().replace('\n', "; ");
    if text.is_empty() { text } else { format!(": {text}") }
}

/// A process that may become the next one; it is ended when this is dropped before [`Candidate::release`].
#[derive(Debug)]
pub struct Candidate {
    /// The process between us and it, which leads its group; waited for at the end, so that the number stays taken.
    between: Child,
    /// What was executed.
    executable: PathBuf,
    /// Our end of its channel, of which it holds the other end as long as it lives.
    channel: UnixStream,
    /// Whether it is on its own.
    released: bool,
}

impl Candidate {
    /// Starts the program, and returns our end of its channel.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn start(executable: &Path) -> Result<(Self, tokio::net::UnixStream), Error> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::Pass)?;
        ours.set_nonblocking(true).map_err(Error::Pass)?;
        let mut command = process::command(executable);
        // For whoever looks at ps(1); what counts comes over the channel.
        command.args(std::env::args_os().skip(1)).env(VARIABLE, PROTOCOL.to_string());
        for name in PERSONAL {
            command.env_remove(name);
        }
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::piped());
        process::orphan(&mut command);
        let between = command.spawn().map_err(|error| Error::Execute(executable.to_path_buf(), error))?;
        // Dropping the command closes our copy of the program's end, so that its death is the end of the stream.
        drop(command);
        let channel = ours.try_clone();
        let channel = match channel {
            Ok(channel) => channel,
            Err(error) => {
                kill_group(between.id());
                return Err(Error::Pass(error));
            }
        };
        let candidate = Self { between, executable: executable.to_path_buf(), channel, released: false };
        let ours = tokio::net::UnixStream::from_std(ours).map_err(Error::Pass)?;
        Ok((candidate, ours))
    }

    /// It has taken over: from here on it is nobody's to end.
    pub fn release(mut self) {
        self.released = true;
    }

    /// It ended, or never was what it should be.
    pub fn died(&mut self) -> Error {
        Error::Died(self.complaint())
    }

    /// It speaks another protocol.
    pub fn foreign(&mut self) -> Error {
        Error::Protocol(self.executable.clone(), self.complaint())
    }

    /// It is too slow.
    pub fn late(&mut self, limit: Duration) -> Error {
        Error::TimeOut(limit, self.complaint())
    }

    /// What it wrote to its standard error before it had ours; it is ended.
    fn complaint(&mut self) -> String {
        self.end();
        let Some(mut pipe) = self.between.stderr.take() else { return String::new() };
        let mut text = vec![0; COMPLAINT_LIMIT];
        // Never waited for: a process that left the group could keep the pipe open.
        let length = match rustix::io::ioctl_fionbio(&pipe, true) {
            Ok(()) => pipe.read(&mut text).unwrap_or(0),
            Err(_) => 0,
        };
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    /// Ends its process group, and waits until it is gone: what it was about to do is either done or never will be. Blocks
    /// for the moment that a kill takes.
    fn end(&self) {
        kill_group(self.between.id());
        let mut channel = [PollFd::new(self.channel.as_fd(), PollFlags::empty())];
        let timeout = PollTimeout::try_from(DEATH_LIMIT).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut channel, timeout) {
            Ok(0) => tracing::error!("the new process was killed and does not end"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot wait for the end of the new process"),
        }
    }
}

/// Kills the process group of a candidate.
fn kill_group(leader: u32) {
    if let Err(error) = process::signal_group(leader, Kill::Kill) {
        tracing::warn!(%error, "cannot end the new process");
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if !self.released {
            self.end();
        }
        if let Err(error) = self.between.wait() {
            tracing::warn!(%error, "cannot wait for the launcher of the new process");
        }
    }
}

/// Passes descriptors: the lock, standard error, one end of a socket pair for those of children, and the listeners.
/// Returns the other end of the pair.
///
/// # Errors
/// What socketpair(2) or sendmsg(2) answers.
pub fn pass(
    channel: &impl std::os::fd::AsFd,
    lock: &OwnedFd,
    listeners: &[OwnedFd],
) -> io::Result<Descriptors> {
    let stderr = io::stderr();
    let (ours, theirs) = UnixStream::pair()?;
    let all: Vec<_> = [lock.as_fd(), stderr.as_fd(), theirs.as_fd()]
        .into_iter()
        .chain(listeners.iter().map(std::os::fd::AsFd::as_fd))
        .collect();
    handover::send(channel, &all)?;
    Descriptors::of(ours)
}

/// What the next process was given.
#[derive(Debug)]
pub struct Inheritance {
    /// What to serve.
    pub plan: Plan,
    /// The lock's open file.
    pub lock: OwnedFd,
    /// The way of children's descriptors.
    pub descriptors: UnixStream,
    /// The listeners, in the plan's order.
    pub listeners: Vec<OwnedFd>,
}

/// Whether this process was started to take a gateway's place.
#[must_use]
pub fn is_successor() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Takes the channel, which is standard input; the process must not have touched other descriptors yet.
///
/// # Errors
/// When it is no socket.
pub fn channel() -> Result<UnixStream, Error> {
    let socket = fd::take_stdin().map_err(Error::NotASuccessor)?;
    // Only a connected Unix socket has a peer's name, if an empty one.
    let stream = UnixStream::from(socket);
    stream.peer_addr().map_err(Error::NotASuccessor)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(Error::NotASuccessor)?;
    Ok(stream)
}

/// Says hello and receives everything; standard error is that of the old process afterwards.
///
/// # Errors
/// When the old process is gone or of another version.
pub fn receive(mut stream: &UnixStream) -> Result<Inheritance, Error> {
    let pid = nix::unistd::getpid().as_raw();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let hello = Message::Hello { protocol: PROTOCOL, pid, version, extensions: EXTENSIONS };
    stream.write_all(line(&hello).as_bytes()).map_err(Error::Pass)?;
    let mut descriptors = handover::receive(stream).map_err(Error::Pass)?.into_iter();
    let mut next = || descriptors.next().ok_or_else(incomplete);
    let (lock, stderr, children) = (next()?, next()?, next()?);
    let mut text = String::new();
    // The old process says nothing more until it is spoken to, so that the buffer keeps nothing of later lines.
    BufReader::new(stream.take(LINE_LIMIT)).read_line(&mut text).map_err(Error::Pass)?;
    let message = serde_json::from_str(&text).map_err(|error| Error::Pass(error.into()))?;
    let Message::Take(plan) = message else { return Err(incomplete()) };
    fd::replace_stderr(stderr.as_fd()).map_err(Error::Pass)?;
    Ok(Inheritance { plan: *plan, lock, descriptors: children.into(), listeners: descriptors.collect() })
}

/// Something was not passed.
fn incomplete() -> Error {
    Error::Pass(io::Error::from(io::ErrorKind::InvalidData))
}

/// Tells the old process why this one does not serve, over a channel that is not in the runtime.
pub fn fail(mut stream: &UnixStream, error: &impl ToExit) {
    let message = failed(error);
    // If the old process is gone, nobody is left to be told.
    drop(stream.write_all(line(&message).as_bytes()));
}

/// An error as a message.
#[must_use]
pub fn failed(error: &impl ToExit) -> Message {
    Message::Failed { exit: error.to_exit().code(), text: crate::exit::chain(error), hint: error.hint() }
}

/// A message as a line.
pub(super) fn line(message: &Message) -> String {
    let mut text = serde_json::to_string(message).expect("messages have string keys only");
    text.push('\n');
    text
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Refused { exit, .. } => *exit,
            Self::Busy | Self::Reloading => Exit::TryAgain,
            Self::NotASuccessor(_) => Exit::Usage,
            Self::Died(_) => Exit::Bug,
            _ => Exit::Os,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::Busy => {
                Some("it ends within the drain time-out of the old process; try again then".to_owned())
            }
            Self::Reloading => Some("it ends within a minute; try again then".to_owned()),
            Self::FirstProcess => Some("restart the container".to_owned()),
            Self::NotASuccessor(_) => Some(format!("unset {VARIABLE}")),
            _ => Some("the old process serves on".to_owned()),
        }
    }
}

impl Message {
    /// A failure as an error.
    #[must_use]
    pub fn into_refusal(self) -> Option<Error> {
        match self {
            Self::Failed { exit, text, hint } => {
                let exit = Exit::from_code(exit).unwrap_or(Exit::Bug);
                Some(Error::Refused { message: text, hint, exit })
            }
            _ => None,
        }
    }
}
