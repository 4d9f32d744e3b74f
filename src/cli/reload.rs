//! `mcpeg --reload`: asks the running gateway to read its configuration again, and prints what became of it.
//!
//! The configuration is read by the gateway alone: what this process would find in its own environment says nothing.

use std::fmt::Write as _;
use std::time::Duration;

use crate::config;
use crate::control::{self, Identity, Reply, Request};
use crate::daemon::locate::{self, Reached};
use crate::daemon::{PathsError, RunPaths};
use crate::exit::{Exit, ToExit};
use crate::install::Sandbox;
use crate::serve::reload::{Answer, Done, Refused, SCHEMA};

use super::definition::Common;
use super::report;

/// How long a reload may take, with one before it in the queue: each waits up to 30 s for new upstreams.
const LIMIT: Duration = Duration::from_secs(90);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The run-time directory.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// It cannot be told what runs.
    #[error(transparent)]
    Locate(#[from] locate::Error),
    /// The control socket.
    #[error(transparent)]
    Control(control::Error),
    /// A process that stands still answers nothing.
    #[error("mcpeg with pid {0} is suspended and cannot reload")]
    Suspended(i32),
    /// An answer that is none: the gateway stops, or is of another version.
    #[error("mcpeg did not reload: {0}")]
    Strange(String),
    /// The gateway keeps its configuration.
    #[error("mcpeg with pid {pid} keeps its former configuration: {}", .refused.error)]
    Refused {
        /// The process.
        pid: i64,
        /// Why.
        refused: Refused,
    },
}

/// Reloads, and prints the answer.
pub(super) fn run(common: &Common, json: bool) -> Exit {
    reload(common, json).unwrap_or_else(|error| report::error(&error))
}

/// Asks for a reload.
fn reload(common: &Common, json: bool) -> Result<Exit, Error> {
    let paths = RunPaths::resolve(common.pid_file.as_deref())?;
    if let Reached::Nobody { stale_removed } = locate::reach(&paths)? {
        return Ok(report::not_running("reload", SCHEMA, stale_removed, json));
    }
    let (asked, reply) = ask(&paths)?;
    match reply.answer {
        Answer::Done(_) if json => Ok(report::json(&reply.value, Exit::Done)),
        Answer::Done(done) => Ok(tell(&asked, &done)),
        Answer::Refused(refused) if json => Ok(report::json(&reply.value, exit_of(&refused))),
        Answer::Refused(refused) => Err(Error::Refused { pid: whose(refused.pid, &asked), refused }),
    }
}

/// Asks the gateway who it is, which it answers at once unless it is busy, and then for a reload.
pub(super) fn ask(paths: &RunPaths) -> Result<(Identity, Reply<Answer>), Error> {
    let asked =
        locate::ask_status(paths, LIMIT).map_err(|error| match (&error, locate::suspended(paths)) {
            (control::Error::TimeOut(..), Some(pid)) => Error::Suspended(pid),
            _ => error.into(),
        })?;
    Ok((asked.answer, control::ask(&paths.control, Request::Reload, LIMIT)?))
}

/// The process that answered: during an upgrade it may be another than the one asked. Older versions do not tell.
fn whose(told: i32, asked: &Identity) -> i64 {
    if told > 0 { told.into() } else { asked.pid }
}

impl From<control::Error> for Error {
    fn from(error: control::Error) -> Self {
        error.objection().map_or(Self::Control(error), Self::Strange)
    }
}

/// Prints what the reload did.
fn tell(asked: &Identity, done: &Done) -> Exit {
    let pid = whose(done.pid, asked);
    let mut text = format!("mcpeg with pid {pid} has reloaded its configuration\n");
    let upstreams = &done.upstreams;
    let mut list = |label: &str, names: &[String]| {
        if !names.is_empty() {
            let _ = writeln!(text, "  {label}: {}", names.join(", "));
        }
    };
    list("upstreams added", &upstreams.added);
    list("upstreams changed", &upstreams.changed);
    list("upstreams removed", &upstreams.removed);
    list("upstreams kept", &upstreams.kept);
    list("listeners added", &done.listeners_added);
    list("listeners removed", &done.listeners_removed);
    list("log level", done.log_level.as_slice());
    let exit = report::lines(text, Exit::Done);
    let forbidden = if upstreams.not_ready.is_empty() { Vec::new() } else { forbidden(asked) };
    for upstream in &upstreams.not_ready {
        let name = &upstream.name;
        if let Some((_, why)) = forbidden.iter().find(|(whose, _)| whose == name) {
            report::warning(format!("upstream `{name}` cannot work: {why}"));
            continue;
        }
        let reason = upstream.reason.as_deref().unwrap_or("it is still starting");
        report::warning(format!("upstream `{name}` does not answer and is tried again: {reason}"));
    }
    for key in &done.needs_restart {
        report::warning(format!("the change of `{key}` has no effect before a restart"));
    }
    exit
}

/// What the unit in force forbids to which upstream, as far as this process can tell.
fn forbidden(asked: &Identity) -> Vec<(String, String)> {
    let file = asked.config.first();
    let Some((file, sandbox)) = file.and_then(|file| Some((file, Sandbox::of_service_with(file)?))) else {
        return Vec::new();
    };
    // References are the gateway's to resolve, in its environment.
    let config = config::candidate(file, &config::fragment_directory(file));
    let upstreams = config.map(|config| config.upstreams).unwrap_or_default();
    let why = upstreams.iter().map(|one| (one.name.to_string(), sandbox.forbids(&one.transport)));
    why.filter_map(|(name, why)| Some((name, why?))).collect()
}

/// The exit code of a refusal.
fn exit_of(refused: &Refused) -> Exit {
    Exit::from_code(refused.exit).unwrap_or(Exit::Bug)
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Paths(error) => error.to_exit(),
            Self::Locate(error) => error.to_exit(),
            Self::Control(error) => error.to_exit(),
            Self::Suspended(_) | Self::Strange(_) => Exit::TryAgain,
            Self::Refused { refused, .. } => exit_of(refused),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Paths(error) => error.hint(),
            Self::Locate(error) => error.hint(),
            Self::Control(error) => error.hint(),
            Self::Suspended(pid) => Some(format!("`kill -CONT {pid}` lets it go on")),
            Self::Strange(_) => None,
            Self::Refused { refused, .. } => refused.hint.clone(),
        }
    }
}
