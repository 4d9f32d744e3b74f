//! Starting the next process: a program that becomes the gateway or is ended.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::channel::Descriptors;
use super::error::Error;
use super::message::{PROTOCOL, VARIABLE};
use crate::sys::process::{self, Kill};
use crate::sys::scm_rights;
use crate::systemd;

/// How long the end of a killed process is waited for.
const DEATH_LIMIT: Duration = Duration::from_secs(2);
/// How much of a failed program's standard error is reported, in bytes.
const COMPLAINT_LIMIT: usize = 2048;

/// A process that may become the next one; it is ended when this is dropped before [`Candidate::release`].
#[derive(Debug)]
pub(crate) struct Candidate {
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
    pub(crate) fn start(executable: &Path) -> Result<(Self, tokio::net::UnixStream), Error> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::Pass)?;
        ours.set_nonblocking(true).map_err(Error::Pass)?;
        let mut command = process::command(executable);
        // For readers of ps(1); what counts comes over the channel.
        command.args(std::env::args_os().skip(1)).env(VARIABLE, PROTOCOL.to_string());
        for name in systemd::PERSONAL {
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
    pub(crate) fn release(mut self) {
        self.released = true;
    }

    /// It ended, or never was what it should be.
    pub(crate) fn died(&mut self) -> Error {
        Error::Died(self.complaint())
    }

    /// It speaks another protocol.
    pub(crate) fn foreign(&mut self) -> Error {
        Error::Protocol(self.executable.clone(), self.complaint())
    }

    /// It is too slow.
    pub(crate) fn late(&mut self, limit: Duration) -> Error {
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
/// Fails with what socketpair(2) or sendmsg(2) answers.
pub(crate) fn pass(
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
    scm_rights::send(channel, &all)?;
    Descriptors::of(ours)
}
