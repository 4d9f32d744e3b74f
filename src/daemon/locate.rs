//! From a pid file to a proved process, for `--stop` and `--status`; the configuration is never read.
//!
//! The lock says whether a gateway runs. Only then is the record looked at, and the process that it names is
//! signalled only if pidfd, start time, boot and owner agree. Everything else is reported, never guessed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::process::Signal;
use serde::de::DeserializeOwned;

use super::lock::{self, Holder, Lock};
use super::paths::{self, RunPaths};
use super::pidfile::{self, Content};
use super::record::Record;
use super::unit;
use crate::control::{self, CLIENT_LIMIT, Reply, Request};
use crate::exit::{Exit, ToExit};
use crate::program;
use crate::sys::fs::{Directory, Owners};
use crate::sys::identity::{Handle, Lookup};
use crate::sys::user;
use crate::systemd::Unit;

/// How long a record may name nobody, while a launcher hands over to its daemon.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the lock is looked at.
const STEP: Duration = Duration::from_millis(5);
/// What a stop may take beside the drain: ending upstreams and writing the log.
const STOP_MARGIN: Duration = Duration::from_secs(15);

/// How long a killed process may take to be gone: its memory has to be returned.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// What runs.
#[derive(Debug)]
pub(crate) enum State {
    /// Nothing, and no pid file.
    Stopped,
    /// Nothing, but a pid file was left behind.
    Stale(PathBuf),
    /// This process, proved.
    Running(Running),
}

/// A proved gateway.
#[derive(Debug)]
pub(crate) struct Running {
    /// The process.
    pub(crate) handle: Handle,
    /// What it wrote about itself.
    pub(crate) record: Record,
}

/// How a stop went well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The process ended.
    Ended(i32),
    /// It did not end in time, and was killed.
    Killed(i32),
    /// There was none; whether a stale pid file was removed.
    WasNot {
        /// Whether a stale pid file was removed.
        stale_removed: bool,
    },
}

/// Whether there is somebody to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// A gateway holds the lock.
    Somebody,
    /// Nobody does.
    Nobody {
        /// Whether a stale pid file was removed.
        stale_removed: bool,
    },
}

/// Why the state cannot be told or the gateway not stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The directory cannot be trusted or used.
    #[error(transparent)]
    Paths(#[from] paths::Error),
    /// The lock cannot be looked at.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// The pid file is hostile or unreadable.
    #[error(transparent)]
    PidFile(#[from] pidfile::Error),
    /// Held, but nobody can be proved to be the holder.
    #[error(
        "`{0}` is locked, but the process that holds it cannot be proved to be mcpeg; nothing was signalled"
    )]
    Unproved(PathBuf),
    /// /proc or pidfds do not answer.
    #[error("cannot look at process {0}")]
    Look(i32, #[source] io::Error),
    /// It is the main process of a unit, and systemd did not stop it.
    #[error("systemd has not stopped the unit of mcpeg with pid {pid}")]
    Managed {
        /// The process.
        pid: i32,
        /// What to run instead.
        line: String,
        /// Why systemctl(1) could not even be asked.
        #[source]
        cause: Option<program::Error>,
    },
    /// No permission, or it ended this very moment.
    #[error("cannot signal mcpeg with pid {0}")]
    Signal(i32, #[source] io::Error),
    /// It did not end in time.
    #[error("mcpeg with pid {pid} {}", unstopped(*waited))]
    StillRunning {
        /// The process.
        pid: i32,
        /// How long it was waited for.
        waited: Duration,
        /// Whether it is stopped by a signal or a debugger.
        suspended: bool,
    },
}

/// What a process that did not stop has done; a suspended one is not waited for.
fn unstopped(waited: Duration) -> String {
    match waited.as_millis() {
        0 => "does not stop".to_owned(),
        milliseconds @ 1..1000 => format!("did not stop within {milliseconds} ms"),
        _ => format!("did not stop within {} s", waited.as_secs()),
    }
}

/// Tells what runs.
pub(crate) fn locate(paths: &RunPaths) -> Result<State, Error> {
    if paths.is_absent() {
        return Ok(State::Stopped);
    }
    paths.check()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Holder::Somebody(record, owner) = lock::holder(&paths.lock)? else {
            return Ok(match pidfile::read(&paths.pid_file)? {
                Content::Absent => State::Stopped,
                Content::Empty | Content::Number(_) => State::Stale(paths.pid_file.clone()),
            });
        };
        let late = Instant::now() >= deadline;
        if let Some(record) = record.filter(|record| late || !record.launching)
            && let Some(handle) = prove(&record, owner)?
        {
            return Ok(State::Running(Running { handle, record: *record }));
        }
        if late {
            return Err(Error::Unproved(paths.lock.clone()));
        }
        std::thread::sleep(STEP);
    }
}

/// The process of the record, if it lives and runs as the owner of the lock file (or that is root's): otherwise a
/// user could write another's process into a lock of their own and have root stop it.
fn prove(record: &Record, owner: u32) -> Result<Option<Handle>, Error> {
    let failed = |error| Error::Look(record.pid, error);
    let Lookup::Alive(handle) = Handle::open(&record.identity()).map_err(failed)? else {
        return Ok(None);
    };
    let runs_as = match handle.uid() {
        Ok(uid) => uid,
        // It ended since.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    Ok((owner == 0 || owner == runs_as).then_some(handle))
}

/// Asks the running gateway to drain and end (TERM), and waits until the process has ended and the lock is free.
///
/// The main process of a systemd unit is stopped by systemd instead.
/// Fails when it cannot be found, signalled, or does not end within its drain time-out and a margin and `force` is not set.
pub(crate) fn stop(paths: &RunPaths, force: bool) -> Result<Stopped, Error> {
    let State::Running(running) = locate(paths)? else {
        return Ok(Stopped::WasNot { stale_removed: remove_stale(paths)? });
    };
    let ended = match unit::of(&running.record) {
        Some(unit) => stop_unit(&running, &unit),
        None => end(paths, &running),
    };
    match ended {
        Err(Error::StillRunning { pid, .. }) if force => {
            signal(&running, Signal::KILL)?;
            wait(paths, &running, KILL_LIMIT)?;
            remove_stale(paths)?;
            return Ok(Stopped::Killed(pid));
        }
        ended => ended?,
    }
    remove_stale(paths)?;
    Ok(Stopped::Ended(running.handle.pid()))
}

/// Has systemd stop the unit.
fn stop_unit(running: &Running, unit: &Unit) -> Result<(), Error> {
    let cause = match unit.act_openly("stop") {
        Ok(status) if status.success() => return Ok(()),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    Err(Error::Managed { pid: running.handle.pid(), line: unit.line("stop"), cause })
}

/// Sends a signal to the proved process; that it has ended by itself since it was found is fine.
fn signal(running: &Running, signal: Signal) -> Result<(), Error> {
    match running.handle.signal(signal) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
        other => other.map_err(|error| Error::Signal(running.handle.pid(), error)),
    }
}

/// Asks the gateway to end, and waits until it has.
fn end(paths: &RunPaths, running: &Running) -> Result<(), Error> {
    signal(running, Signal::TERM)?;
    let drain = Duration::from_millis(running.record.drain_timeout_ms);
    if running.handle.is_suspended() {
        let (pid, waited) = (running.handle.pid(), Duration::ZERO);
        return Err(Error::StillRunning { pid, waited, suspended: true });
    }
    wait(paths, running, drain.saturating_add(STOP_MARGIN))
}

/// Waits until the process has ended and the lock is not its any more.
fn wait(paths: &RunPaths, running: &Running, waited: Duration) -> Result<(), Error> {
    let pid = running.handle.pid();
    let deadline = Instant::now() + waited;
    if !running.handle.wait_until(deadline).map_err(|error| Error::Look(pid, error))? {
        return Err(Error::StillRunning { pid, waited, suspended: running.handle.is_suspended() });
    }
    while let Holder::Somebody(record, _) = lock::holder(&paths.lock)? {
        // Another gateway that started in the meantime is not ours to wait for.
        if record.is_some_and(|record| record.identity() != running.record.identity()) {
            break;
        }
        if Instant::now() >= deadline {
            return Err(Error::Unproved(paths.lock.clone()));
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

/// Tells whether a gateway runs, for asking it something over its control socket. Its process need not be proved, since
/// nothing is signalled; where systemd gives each command a user namespace of its own it could not be.
pub(crate) fn reach(paths: &RunPaths) -> Result<Reached, Error> {
    if paths.is_absent() {
        return Ok(Reached::Nobody { stale_removed: false });
    }
    paths.check()?;
    match lock::holder(&paths.lock)? {
        Holder::Somebody(..) => Ok(Reached::Somebody),
        Holder::Nobody => Ok(Reached::Nobody { stale_removed: remove_stale(paths)? }),
    }
}

/// Asks the gateway for its status, before something is asked of it that may take long: one that is suspended is not
/// waited for, but one that is merely busy is, at most for `limit`.
pub(crate) fn ask_status<A: DeserializeOwned>(
    paths: &RunPaths,
    limit: Duration,
) -> Result<Reply<A>, control::Error> {
    match control::ask(&paths.control, Request::Status, CLIENT_LIMIT) {
        Err(control::Error::TimeOut(..)) if suspended(paths).is_none() => {
            control::ask(&paths.control, Request::Status, limit)
        }
        answer => answer,
    }
}

/// The number of the process that runs, if it is known to be suspended.
pub(crate) fn suspended(paths: &RunPaths) -> Option<i32> {
    match locate(paths) {
        Ok(State::Running(running)) if running.handle.is_suspended() => Some(running.handle.pid()),
        _ => None,
    }
}

/// Gives a lock file that root has just made to whom its directory belongs, who starts the next gateway.
fn give_to_directory(path: &Path) {
    let Ok((directory, name)) = Directory::of(path, Owners::Anybody) else { return };
    let (uid, gid) = (directory.owner(), directory.group());
    if user::is_root() && uid != 0 {
        drop(directory.give(name, &[FileType::RegularFile], uid, gid));
    }
}

/// Removes a pid file that a crash left behind, holding the lock so that no start can put its own there.
fn remove_stale(paths: &RunPaths) -> Result<bool, Error> {
    if matches!(pidfile::read(&paths.pid_file)?, Content::Absent) {
        return Ok(false);
    }
    // Root tidies up after others, too.
    let owners = if user::is_root() { Owners::Anybody } else { Owners::Ours };
    match Lock::try_take(&paths.lock, owners)? {
        Some(_lock) => {
            let removed = pidfile::remove_stale(&paths.pid_file)?;
            give_to_directory(&paths.lock);
            Ok(removed)
        }
        None => Ok(false),
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Paths(error) => error.to_exit(),
            Self::Lock(error) => error.to_exit(),
            Self::PidFile(error) => error.to_exit(),
            Self::Unproved(_) | Self::StillRunning { .. } => Exit::TryAgain,
            Self::Signal(_, error) if error.kind() == io::ErrorKind::PermissionDenied => Exit::Permission,
            Self::Managed { .. } if !user::is_root() => Exit::Permission,
            Self::Look(..) | Self::Signal(..) | Self::Managed { .. } => Exit::Os,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Paths(error) => error.hint(),
            Self::Lock(error) => error.hint(),
            Self::PidFile(error) => error.hint(),
            Self::Unproved(path) => Some(format!(
                "`fuser -v {}` names the process; if root has started it beside a service, end it with kill, then run \
                 `sudo mcpeg install`",
                path.display()
            )),
            Self::StillRunning { pid, suspended: true, .. } => {
                Some(format!("the process is suspended; `kill -CONT {pid}` lets it go on, and it stops then"))
            }
            Self::StillRunning { .. } => Some(
                "its log says what it waits for; `mcpeg --stop --force` kills it and cuts requests in flight"
                    .to_owned(),
            ),
            Self::Managed { line, .. } => Some(format!("run `{line}` as root or as the unit's user")),
            Self::Signal(..) => Some("run the command as root or as the user that started mcpeg".to_owned()),
            Self::Look(..) => None,
        }
    }
}
