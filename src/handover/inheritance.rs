//! Being the next process: what it is given, before its runtime exists.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::error::Error;
use super::message::{EXTENSIONS, LINE_LIMIT, Message, PROTOCOL, Plan, VARIABLE, failed, line};
use crate::exit::ToExit;
use crate::sys::{fd, scm_rights};

/// How long the next process waits for what the old one passes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the next process was given.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// What to serve.
    pub(crate) plan: Plan,
    /// The lock's open file.
    pub(crate) lock: OwnedFd,
    /// The way of children's descriptors.
    pub(crate) descriptors: UnixStream,
    /// The listeners, in the plan's order.
    pub(crate) listeners: Vec<OwnedFd>,
}

/// Whether this process was started to take a gateway's place.
pub(crate) fn is_successor() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Takes the channel, which is standard input; the process must not have touched other descriptors yet.
pub(crate) fn channel() -> Result<UnixStream, Error> {
    let socket = fd::take_stdin().map_err(Error::NotASuccessor)?;
    // Only a connected Unix socket has a peer's name, if an empty one.
    let stream = UnixStream::from(socket);
    stream.peer_addr().map_err(Error::NotASuccessor)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(Error::NotASuccessor)?;
    Ok(stream)
}

/// Says hello and receives everything; standard error is that of the old process afterwards.
pub(crate) fn receive(mut stream: &UnixStream) -> Result<Inheritance, Error> {
    let pid = nix::unistd::getpid().as_raw();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let hello = Message::Hello { protocol: PROTOCOL, pid, version, extensions: EXTENSIONS };
    stream.write_all(line(&hello).as_bytes()).map_err(Error::Pass)?;
    let mut descriptors = scm_rights::receive(stream).map_err(Error::Pass)?.into_iter();
    let mut next = || descriptors.next().ok_or_else(incomplete);
    let (lock, stderr, children) = (next()?, next()?, next()?);
    let mut text = String::new();
    // The old process says nothing more until it is spoken to, so that the buffer keeps nothing of later lines.
    BufReader::new(stream.take(LINE_LIMIT)).read_line(&mut text).map_err(Error::Pass)?;
    let message = serde_json::from_str(&text).map_err(|error| Error::Pass(error.into()))?;
    let plan = match message {
        Message::Take(plan) => plan,
        other => return Err(Error::instead(other, &Message::Take(Box::default()))),
    };
    fd::replace_stderr(stderr.as_fd()).map_err(Error::Pass)?;
    Ok(Inheritance { plan: *plan, lock, descriptors: children.into(), listeners: descriptors.collect() })
}

/// Something was not passed.
fn incomplete() -> Error {
    Error::Pass(io::Error::from(io::ErrorKind::InvalidData))
}

/// Tells the old process why this one does not serve, over a channel that is not in the runtime.
pub(crate) fn fail(mut stream: &UnixStream, error: &impl ToExit) {
    let message = failed(error);
    // If the old process is gone, nobody is left to be told.
    drop(stream.write_all(line(&message).as_bytes()));
}
