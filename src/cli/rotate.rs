//! `mcpeg --log-rotate`: asks the running gateway to rotate its log file, and prints the names of the old and the new one.
//!
//! Where the control socket does not answer, the proved process is sent USR1, which means the same but has no answer.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::control::{self, Identity, Request};
use crate::daemon::locate::{self, Reached, State};
use crate::daemon::{PathsError, RunPaths};
use crate::exit::{Exit, ToExit};
use crate::serve::rotate::{Answer, Done, SCHEMA};

use super::definition::Common;
use super::report;

/// How long a rotation may take: it comes behind everything that is queued.
const LIMIT: Duration = Duration::from_secs(30);

/// Why nothing was rotated.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The run-time directory.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// It cannot be told what runs.
    #[error(transparent)]
    Locate(#[from] locate::Error),
    /// It cannot be signalled either.
    #[error("cannot signal mcpeg with pid {0}")]
    Signal(i32, #[source] std::io::Error),
    /// A process that stands still does nothing.
    #[error("mcpeg with pid {0} is suspended and cannot rotate its log")]
    Suspended(i32),
    /// An answer that is none: the gateway stops, or is of another version.
    #[error("mcpeg did not rotate its log: {0}")]
    Strange(String),
    /// It says why.
    #[error("mcpeg did not rotate its log: {error}")]
    Refused {
        /// The exit code.
        exit: u8,
        /// The reason.
        error: String,
        /// How it is mended.
        hint: Option<String>,
    },
    /// Another process has the log.
    #[error("another process owns the log file `{0}`")]
    Left(String),
}

/// Rotates, and prints the answer.
pub(super) fn run(common: &Common, json: bool) -> Exit {
    rotate(common, json).unwrap_or_else(|error| report::error(&error))
}

/// Asks for a rotation.
fn rotate(common: &Common, json: bool) -> Result<Exit, Error> {
    let paths = RunPaths::resolve(common.pid_file.as_deref())?;
    if let Reached::Nobody { stale_removed } = locate::reach(&paths)? {
        return Ok(report::not_running("rotate", SCHEMA, stale_removed, json));
    }
    // Who is there is answered at once unless the gateway is busy; the rotation may have to wait for the disk.
    let reply = locate::ask_status::<Identity>(&paths, LIMIT)
        .and_then(|_| control::ask::<Answer>(&paths.control, Request::Rotate, LIMIT));
    match reply {
        Ok(reply) if json => Ok(report::json(&reply.value, exit_of(&reply.answer.done))),
        Ok(reply) => tell(reply.answer.done),
        Err(error) => match error.objection() {
            Some(reason) => Err(Error::Strange(reason)),
            None => signal(&paths, &crate::exit::chain(&error), json),
        },
    }
}

/// Prints what was done.
fn tell(done: Done) -> Result<Exit, Error> {
    let text = match done {
        Done::Rotated { old, new } => {
            format!("rotated: {} is now {}; {0} is new", new.display(), old.display())
        }
        Done::Reopened { new } => format!("reopened: {}", new.display()),
        Done::Empty { new } => format!("not rotated: {} is empty", new.display()),
        Done::Left { new } => return Err(Error::Left(new.display().to_string())),
        Done::Refused { exit, error, hint } => return Err(Error::Refused { exit, error, hint }),
    };
    Ok(report::lines(text, Exit::Done))
}

/// The exit code of an answer.
fn exit_of(done: &Done) -> Exit {
    match done {
        Done::Refused { exit, .. } => Exit::from_code(*exit).unwrap_or(Exit::Bug),
        Done::Left { .. } => Exit::TryAgain,
        _ => Exit::Done,
    }
}

/// Asks by signal, since the socket does not answer.
fn signal(paths: &RunPaths, reason: &str, json: bool) -> Result<Exit, Error> {
    let State::Running(running) = locate::locate(paths)? else {
        return Ok(report::not_running("rotate", SCHEMA, false, json));
    };
    let pid = running.handle.pid();
    if running.handle.is_suspended() {
        return Err(Error::Suspended(pid));
    }
    running.handle.signal(Signal::USR1).map_err(|error| Error::Signal(pid, error))?;
    if json {
        let value = json!({ "schema": SCHEMA, "rotate": "signalled", "pid": pid, "reason": reason });
        return Ok(report::json(&value, Exit::Done));
    }
    report::warning(reason);
    let text = format!("sent USR1 to mcpeg with pid {pid} instead; the result is in its log");
    Ok(report::lines(text, Exit::Done))
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Paths(error) => error.to_exit(),
            Self::Locate(error) => error.to_exit(),
            Self::Signal(_, error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Exit::Permission
            }
            Self::Signal(..) => Exit::Os,
            Self::Suspended(_) | Self::Strange(_) | Self::Left(_) => Exit::TryAgain,
            Self::Refused { exit, .. } => Exit::from_code(*exit).unwrap_or(Exit::Bug),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Paths(error) => error.hint(),
            Self::Locate(error) => error.hint(),
            Self::Suspended(pid) => Some(format!("`kill -CONT {pid}` lets it go on")),
            Self::Left(_) => Some("an upgrade may be under way; try again when it has ended".to_owned()),
            Self::Refused { hint, .. } => hint.clone(),
            Self::Signal(..) => Some("run the command as root or as the user that started mcpeg".to_owned()),
            Self::Strange(_) => None,
        }
    }
}
