//! Starting and stopping: `mcpeg`, `mcpeg --daemon`, `mcpeg --stop`, `mcpeg --restart`.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use crate::control::{self, Request, Upgraded};
use crate::daemon::detach::START_TIMEOUT;
use crate::daemon::locate::{self, State, Stopped};
use crate::daemon::{RunPaths, unit};
use crate::exit::{Exit, ToExit};
use crate::log::Console;
use crate::program;
use crate::serve::{self, Mode, Options, Outcome};
use crate::sys::user::is_root;
use crate::systemd::{self, Obstacle, Properties};
use crate::{config, install};

use super::definition::{Common, Start};
use super::{report, status};

/// What a restart may take on top of the start: the last steps of handing over.
const RESTART_MARGIN: Duration = Duration::from_secs(30);

/// Why the running gateway was not replaced; it serves on.
#[derive(Debug, thiserror::Error)]
enum NotReplaced {
    /// It cannot answer.
    #[error("mcpeg with pid {0} is suspended")]
    Suspended(i32),
    /// systemd would end the new process.
    #[error("the unit {unit} {why}, so that systemd would end the new process; the old one serves on")]
    NotFollowed {
        /// The unit's name.
        unit: String,
        /// The command that talks to its systemd.
        systemctl: &'static str,
        /// What is in the way.
        why: Obstacle,
    },
    /// It is stopped, and systemd, which it belongs to, has not started it.
    #[error("systemd has not started {unit}, which is stopped")]
    NotStarted {
        /// The unit's name.
        unit: String,
        /// What to run instead.
        line: String,
        /// Why systemctl(1) could not even be asked.
        #[source]
        cause: Option<program::Error>,
    },
    /// It says why.
    #[error("{message}")]
    Refused {
        /// Its error, or the new process's.
        message: String,
        /// How that is mended.
        hint: Option<String>,
        /// The exit code.
        exit: Exit,
    },
}

impl ToExit for NotReplaced {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Suspended(_) => Exit::TryAgain,
            Self::NotFollowed { .. } => Exit::NotFollowed,
            Self::NotStarted { .. } if !is_root() => Exit::Permission,
            Self::NotStarted { .. } => Exit::Os,
            Self::Refused { exit, .. } => *exit,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Suspended(pid) => Some(format!("`kill -CONT {pid}` lets it go on")),
            Self::NotFollowed { unit, systemctl, why: Obstacle::Masked } => {
                Some(format!("`{systemctl} unmask {unit}`, then run the command again"))
            }
            Self::NotFollowed { unit, systemctl, .. } => Some(format!(
                "`{systemctl} cat {unit}` shows its settings; mend them and `{systemctl} daemon-reload`, or `{systemctl} restart {unit}`"
            )),
            Self::NotStarted { line, .. } if is_root() || line.contains("--user") => {
                Some(format!("`{}` tells why", line.replacen(" start ", " status ", 1)))
            }
            Self::NotStarted { line, .. } => Some(format!("run `{line}` as root or as the unit's user")),
            Self::Refused { hint, .. } => hint.clone(),
        }
    }
}

/// Serves in the foreground until a signal.
pub(super) fn foreground(common: &Common, how: &Start) -> Exit {
    let console = Console::detect(std::io::stderr().is_terminal(), common.dev);
    start(common, how, Mode::Foreground(console))
}

/// Starts a daemon and returns when it serves.
pub(super) fn daemon(common: &Common, how: &Start, limit: Option<Duration>) -> Exit {
    start(common, how, Mode::Daemon(limit.unwrap_or(START_TIMEOUT)))
}

/// Root is about to start by hand what a unit starts.
#[derive(Debug, thiserror::Error)]
#[error(
    "{unit} starts this configuration; root would leave log, lock and pid file behind that the service cannot use"
)]
struct ByHand {
    /// The unit's name.
    unit: String,
    /// What to run instead.
    line: String,
}

impl ToExit for ByHand {
    fn to_exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(format!(
            "`{}` starts it; a gateway beside it needs another --config, or --pid-file and --log-file of its own; \
             --outside-systemd starts it all the same",
            self.line
        ))
    }
}

/// Refuses root who starts by hand what an installed unit starts as another user.
fn check_by_hand(common: &Common, how: &Start) -> Result<(), ByHand> {
    // A supervisor of another kind, or a unit of its own, is not a hand.
    if !is_root() || how.outside_systemd || how.user.is_some() || systemd::own_unit().is_some() {
        return Ok(());
    }
    // Nothing of the service's is touched.
    if common.pid_file.is_some() && (common.log_file.is_some() || common.dev) {
        return Ok(());
    }
    let file = common.config.clone().unwrap_or_else(config::default_path);
    let Some(unit) = std::path::absolute(file).ok().and_then(|file| install::service_with(&file)) else {
        return Ok(());
    };
    let Some(told) = unit.told("LoadState,User") else { return Ok(()) };
    if !told.is_loaded() || matches!(told.get("User"), "" | "root") {
        return Ok(());
    }
    Err(ByHand { unit: unit.name().to_owned(), line: unit.line("start") })
}

/// Serves, and prints what there is to say.
fn start(common: &Common, how: &Start, mode: Mode) -> Exit {
    if let Err(error) = check_by_hand(common, how) {
        return report::error(&error);
    }
    let shown = matches!(mode, Mode::Foreground(_)) && (common.dev || std::io::stdout().is_terminal());
    let welcome: Option<fn(&[String])> = shown.then_some(welcome);
    let user = how.user.clone().map(|user| (user, how.group.clone()));
    let (wait_upstreams, ready_fd) = (how.wait_upstreams, how.ready_fd);
    // What is waited for is not what hangs.
    let mode = match mode {
        Mode::Daemon(limit) => Mode::Daemon(limit.saturating_add(wait_upstreams.unwrap_or_default())),
        foreground @ Mode::Foreground(_) => foreground,
    };
    let pid_file = common.pid_file.clone();
    let options = Options { pid_file, mode, user, wait_upstreams, ready_fd, welcome };
    match serve::run(&common.source(), &options) {
        Ok(Outcome::Ended(exit)) => exit,
        Ok(Outcome::Launched { pid, endpoints }) => {
            let mut unusable = false;
            if how.wait_upstreams.is_some() {
                for missing in status::unusable(common) {
                    unusable = true;
                    report::warning(format!("upstream {missing}; the gateway serves without it"));
                }
            }
            let exit = if unusable { Exit::Unavailable } else { Exit::Done };
            report::lines(format!("mcpeg is serving on {endpoints}, pid {pid}"), exit)
        }
        Err(error) => report::error(&error),
    }
}

/// Tells the person at the terminal what to paste into a client's configuration.
fn welcome(endpoints: &[String]) {
    let mut text = format!("\nmcpeg is serving on {}; Ctrl-C stops it\n", endpoints.join(", "));
    if let Some(url) = endpoints.first().filter(|first| first.starts_with("http")) {
        text.push_str("\nFor a client's configuration:\n");
        let _ =
            writeln!(text, r#"  {{ "mcpServers": {{ "mcpeg": {{ "type": "http", "url": "{url}" }} }} }}"#);
    }
    // Serving goes on also when nobody can read this.
    let _ = report::lines(text, Exit::Done);
}

/// Stops the running gateway and waits for its end; that none runs is fine (LSB: stop of a stopped service succeeds).
pub(super) fn stop(common: &Common, force: bool) -> Exit {
    let stopped = match RunPaths::resolve(common.pid_file.as_deref()) {
        Ok(paths) => locate::stop(&paths, force),
        Err(error) => return report::error(&error),
    };
    match stopped {
        Ok(Stopped::Ended(pid)) => report::lines(format!("mcpeg with pid {pid} has stopped"), Exit::Done),
        Ok(Stopped::Killed(pid)) => {
            report::warning(format!("mcpeg with pid {pid} did not stop in time and was killed"));
            Exit::Done
        }
        Ok(Stopped::WasNot { stale_removed: false }) => report::lines("mcpeg is not running", Exit::Done),
        Ok(Stopped::WasNot { stale_removed: true }) => {
            report::lines("mcpeg is not running; removed the pid file that it left behind", Exit::Done)
        }
        Err(error) => report::error(&error),
    }
}

/// Starts what was found stopped: by systemd if it is a unit's, else as a daemon.
fn start_stopped(common: &Common, paths: &RunPaths, limit: Option<Duration>) -> Exit {
    let Some(unit) = unit::with_pid_file(&paths.pid_file) else {
        return daemon(common, &Start::default(), limit);
    };
    let (name, line) = (unit.name().to_owned(), unit.line("start"));
    let cause = match unit.act_openly("start") {
        Ok(status) if status.success() => {
            let pid = match locate::locate(paths) {
                Ok(State::Running(running)) => format!("mcpeg is serving with pid {}", running.handle.pid()),
                _ => "mcpeg is serving".to_owned(),
            };
            return report::lines(format!("{pid}, started by systemd as {name}"), Exit::Done);
        }
        Ok(_) => None,
        Err(error) => Some(error),
    };
    report::error(&NotReplaced::NotStarted { unit: name, line, cause })
}

/// Lets a new process take the running gateway's place; starts one if none runs.
pub(super) fn restart(common: &Common, limit: Option<Duration>) -> Exit {
    let paths = match RunPaths::resolve(common.pid_file.as_deref()) {
        Ok(paths) => paths,
        Err(error) => return report::error(&error),
    };
    let running = match locate::locate(&paths) {
        Ok(State::Running(running)) => running,
        Ok(State::Stopped | State::Stale(_)) => return start_stopped(common, &paths, limit),
        Err(error) => return report::error(&error),
    };
    let pid = running.handle.pid();
    if running.handle.is_suspended() {
        return report::error(&NotReplaced::Suspended(pid));
    }
    if let Some(unit) = unit::of(&running.record)
        && let Some(why) = unit.told(Properties::OF_OBSTACLES).and_then(|told| told.obstacle())
    {
        let systemctl = unit.manager().line();
        return report::error(&NotReplaced::NotFollowed { unit: unit.name().to_owned(), systemctl, why });
    }
    let limit = limit.unwrap_or(serve::START_LIMIT);
    let start_timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Upgrade { start_timeout_ms };
    let limit = limit.saturating_add(RESTART_MARGIN);
    let (message, exit, hint) = match control::ask(&running.record.control, request, limit) {
        Ok(control::Reply { answer: Upgraded::Done { pid: new }, .. }) => {
            return report::lines(format!("mcpeg is serving with pid {new}, was {pid}"), Exit::Done);
        }
        Ok(control::Reply { answer: Upgraded::Refused { error, exit, hint }, .. }) => (error, exit, hint),
        Err(error) => match error.objection() {
            Some(objection) => (objection, None, None),
            None => return report::error(&error),
        },
    };
    let exit = exit.and_then(Exit::from_code).unwrap_or(Exit::Unavailable);
    report::error(&NotReplaced::Refused { message, hint, exit })
}
