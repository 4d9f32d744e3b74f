//! Becoming a daemon, and telling the launcher how that went.
//!
//! [`detach`] follows daemon(7) SysV daemons, steps 1–15, cited by number. Step 1 was done by
//! [`super::passed::claim`], before anything was opened. Step 4 has nothing to do: upstreams get an environment of
//! their own. Step 12, the pid file, is written when the gateway serves. Step 13 is [`super::privileges`]'s, if
//! somebody asks for it, once the process is detached.
//!
//! The pipe between daemon and launcher carries one message: `R<pid>` when the daemon serves, or
//! `E<exit code>:<error>` with a second line for the hint. End of file without either is the daemon's death.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::stat::Mode;
use nix::sys::wait::WaitStatus;

use crate::exit::{Exit, ToExit, chain};
use crate::sys::fork::{self, Fork};
use crate::sys::process::Kill;
use crate::sys::{fd, process, signal};

/// How long the launcher waits for readiness; what systemd.service(5) `TimeoutStartSec=` is by default.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(90);
/// Files of the daemon are not for others and not writable for the group: daemon(7) SysV step 10, tightened.
const UMASK: Mode = Mode::from_bits_truncate(0o027);
/// More than any message, in bytes.
const MESSAGE_LIMIT: usize = 16 * 1024;

/// Which process this is after [`detach`].
#[derive(Debug)]
pub(crate) enum Side {
    /// The process that was called; it waits for the daemon.
    Launcher(Launcher),
    /// The daemon.
    Daemon(Announcer),
}

/// The launcher's end.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// The pipe from the daemon.
    pipe: File,
    /// The daemon's process group, which the first child led.
    group: u32,
}

/// The daemon's end. Dropping it without a message tells the launcher of a death.
#[derive(Debug)]
pub(crate) struct Announcer(File);

/// Why no daemon serves.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A system call on the way to the background failed.
    #[error("cannot {0}")]
    Detach(&'static str, #[source] io::Error),
    /// The daemon said why it cannot start.
    #[error("{message}")]
    Refused {
        /// Its error.
        message: String,
        /// Its hint.
        hint: Option<String>,
        /// Its exit code.
        exit: Exit,
    },
    /// The daemon is gone and said nothing.
    #[error("the gateway died before it was ready ({0})")]
    Died(String),
    /// The daemon neither serves nor fails.
    #[error("the gateway was not ready within {} s and was ended", .0.as_secs())]
    TimeOut(Duration),
}

/// Forks the daemon. Returns in the launcher and in the daemon; both hold all descriptors.
/// Fails in either process when a system call fails; the daemon's is for [`Announcer::failed`]'s place and is sent there.
pub(crate) fn detach() -> Result<Side, Error> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|error| Error::Detach("make the readiness pipe", error.into()))?;
    // So the launcher can tell how a daemon died: prctl(2) PR_SET_CHILD_SUBREAPER. When the launcher exits, the
    // daemon becomes init's child.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::debug!(%error, "the launcher cannot tell how a daemon died");
    }
    // Steps 2 and 3: signal handlers and mask.
    signal::reset_dispositions();
    signal::unblock_all().map_err(|error| Error::Detach("reset the signal mask", error))?;
    // Step 5: the first fork.
    match fork::fork().map_err(|error| Error::Detach("fork", error))? {
        Fork::Parent(child) => {
            Ok(Side::Launcher(Launcher { pipe: reader.into(), group: child.cast_unsigned() }))
        }
        Fork::Child => {
            drop(reader);
            become_daemon(writer)
        }
    }
}

/// Steps 6 to 11, in the first child and then in the second.
fn become_daemon(writer: OwnedFd) -> Result<Side, Error> {
    let announcer = Announcer(writer.into());
    let result = leave_session().and_then(|()| isolate());
    match result {
        Ok(()) => Ok(Side::Daemon(announcer)),
        Err(error) => {
            announcer.failed(error.to_exit(), &chain(&error), None);
            // The launcher reports; this half of a daemon has nothing to return to.
            fork::leave(error.to_exit().code())
        }
    }
}

/// Steps 6 to 8: a session without a terminal, and a process that cannot acquire one.
fn leave_session() -> Result<(), Error> {
    nix::unistd::setsid().map_err(|error| Error::Detach("start a session", error.into()))?;
    match fork::fork().map_err(|error| Error::Detach("fork the second time", error))? {
        // Step 8: the first child exits, so that the daemon is init's child.
        Fork::Parent(_) => fork::leave(0),
        Fork::Child => Ok(()),
    }
}

/// Steps 9 to 11: standard descriptors, umask, directory. Standard error follows in [`Announcer::ready`].
fn isolate() -> Result<(), Error> {
    fd::silence_stdin_stdout().map_err(|error| Error::Detach("open /dev/null", error))?;
    nix::sys::stat::umask(UMASK);
    nix::unistd::chdir("/").map_err(|error| Error::Detach("change to /", error.into()))
}

impl Announcer {
    /// Steps 14 and 9 (second half): says that the gateway serves, and leaves the caller's terminal for good.
    pub(crate) fn ready(mut self) -> io::Result<()> {
        self.0.write_all(format!("R{}", std::process::id()).as_bytes())?;
        fd::silence_stderr()
    }

    /// Says why the gateway does not serve.
    pub(crate) fn failed(mut self, exit: Exit, message: &str, hint: Option<&str>) {
        let message = message.replace('\n', " ");
        let hint = hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
        // If the launcher is gone, nobody is left to be told.
        drop(self.0.write_all(format!("E{}:{message}{hint}", exit.code()).as_bytes()));
    }

    /// A second handle to the pipe, to learn by `EPOLLERR` that the launcher is gone: pipe(7).
    /// Fails with what dup(2) answers.
    pub(crate) fn watch(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

impl Launcher {
    /// Step 15: waits until the daemon serves, and returns its pid.
    /// Fails when it failed, died, or needs longer than `limit`; it is ended then.
    pub(crate) fn wait(mut self, limit: Duration) -> Result<u32, Error> {
        let message = match self.read_message(Instant::now() + limit) {
            Ok(Some(message)) => message,
            Ok(None) => {
                self.end();
                return Err(Error::TimeOut(limit));
            }
            Err(error) => {
                self.end();
                return Err(Error::Detach("read from the daemon", error));
            }
        };
        parse(&message).unwrap_or_else(|| {
            // What is left of the group, if its leader died without a report, must not serve unseen.
            let how = self.reap();
            self.end();
            Err(Error::Died(how))
        })
    }

    /// Everything that the daemon writes until it closes the pipe; `None` at the deadline.
    fn read_message(&mut self, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        let mut message = Vec::new();
        let mut buffer = [0; 1024];
        while message.len() < MESSAGE_LIMIT {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
            match nix::poll::poll(&mut fds, timeout) {
                Ok(0) if left.is_zero() => return Ok(None),
                Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match self.pipe.read(&mut buffer)? {
                0 => break,
                count => message.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(Some(message))
    }

    /// Kills the daemon's group, and waits until it is gone: nothing of it is left when the caller is told that it was ended.
    fn end(&self) {
        match process::signal_group(self.group, Kill::Kill) {
            Ok(()) => drop(self.reap()),
            Err(error) => tracing::debug!(%error, "cannot end the daemon"),
        }
    }

    /// Collects our children, of which the daemon, by the subreaper, is the last, and tells how it ended.
    fn reap(&self) -> String {
        let group = nix::unistd::Pid::from_raw(-self.group.cast_signed());
        let mut how = "it left no trace".to_owned();
        loop {
            match nix::sys::wait::waitpid(group, None) {
                Ok(WaitStatus::Exited(_, 0)) => {}
                Ok(WaitStatus::Exited(_, code)) => how = format!("exit code {code}"),
                Ok(WaitStatus::Signaled(_, signal, _)) => how = format!("killed by {signal}"),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return how,
            }
        }
    }
}

/// Takes a message apart; `None` if it is none.
fn parse(message: &[u8]) -> Option<Result<u32, Error>> {
    let text = std::str::from_utf8(message).ok()?;
    if let Some(pid) = text.strip_prefix('R') {
        return pid.parse().ok().map(Ok);
    }
    let (code, text) = text.strip_prefix('E')?.split_once(':')?;
    let code: u8 = code.parse().ok()?;
    let exit = Exit::from_code(code).unwrap_or(Exit::Bug);
    let (message, hint) =
        text.split_once('\n').map_or((text, None), |(text, hint)| (text, Some(hint.to_owned())));
    Some(Err(Error::Refused { message: message.to_owned(), hint, exit }))
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Detach(..) | Self::TimeOut(_) => Exit::Os,
            Self::Refused { exit, .. } => *exit,
            Self::Died(_) => Exit::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::Died(_) | Self::TimeOut(_) => {
                Some("start `mcpeg` without --daemon to see what it does".to_owned())
            }
            Self::Detach(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_of_failure_keeps_code_text_and_hint() {
        let Some(Err(error)) = parse(b"E71:cannot listen: in use\nlook at it") else { panic!() };
        assert_eq!(error.to_string(), "cannot listen: in use");
        assert_eq!(error.to_exit(), Exit::Os);
        assert_eq!(error.hint().as_deref(), Some("look at it"));
    }

    #[test]
    fn cut_or_empty_messages_are_a_death() {
        for message in ["", "R", "E", "E71", "E7x:text", "X"] {
            assert!(parse(message.as_bytes()).is_none(), "{message}");
        }
        assert!(matches!(parse(b"R4711"), Some(Ok(4711))));
    }
}
