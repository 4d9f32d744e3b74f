//! What systemd is asked about the service and has to do with it; and the gateway itself: to exchange its process.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::error::Error;
use super::layout::Layout;
use super::privileged::{Access, exec, files};
use super::target::Target;
use crate::program::Error as ProgramError;
use crate::systemd::{Obstacle, Properties, journal};

/// How long systemd may do other things first.
const TURN: Duration = Duration::from_secs(60);
/// How long nothing is said of that.
const SILENCE: Duration = Duration::from_secs(3);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// How many lines of the journal are shown when the service fails.
const JOURNAL_LINES: u32 = 20;
/// How long the new process of an upgrade may take to serve.
const UPGRADE_LIMIT: &str = "60s";

/// Whether systemd says that the service is active.
pub(super) fn is_active(layout: &Layout) -> Result<bool, Error> {
    Ok(layout.service().is_active()?)
}

/// One property of the unit; empty if systemd does not tell.
pub(super) fn property(layout: &Layout, name: &str) -> String {
    layout.service().properties(name).unwrap_or_default().get(name).to_owned()
}

/// Whether the running process is of a program whose file was replaced (proc(5) "exe"); only owner and root can tell.
pub(super) fn is_outdated(layout: &Layout) -> bool {
    let Ok(pid) = property(layout, "MainPID").parse::<u32>() else { return false };
    let program = std::fs::read_link(format!("/proc/{pid}/exe"));
    program.is_ok_and(|path| path.to_string_lossy().ends_with(" (deleted)"))
}

/// Why systemd would not follow the running service to a new process, or could not start it again; `None` if it would. A
/// unit that is not loaded has `NotifyAccess=none`, whatever its file says.
pub(super) fn obstacle(layout: &Layout) -> Option<&'static str> {
    let told = layout.service().properties(Properties::OF_OBSTACLES).ok()?;
    match told.obstacle()? {
        Obstacle::Masked => {
            Some("it is masked; after `systemctl unmask`, `mcpeg --restart` takes the new program up")
        }
        Obstacle::NotifyAccess | Obstacle::NotLoaded(_) => Some(
            "a drop-in has NotifyAccess=none, so that systemd would end its successor; `systemctl restart` it",
        ),
    }
}

/// What the main process of the service executes, or the unit would; `None` if nobody can tell.
pub(super) fn program(layout: &Layout) -> Option<PathBuf> {
    if let Ok(pid) = property(layout, "MainPID").parse::<u32>()
        && let Ok(program) = std::fs::read_link(format!("/proc/{pid}/exe"))
    {
        let text = program.to_string_lossy();
        return Some(text.strip_suffix(" (deleted)").unwrap_or(&text).into());
    }
    unit_program(layout)
}

/// What the unit in force would execute.
pub(super) fn unit_program(layout: &Layout) -> Option<PathBuf> {
    layout.service().properties("ExecStart").ok()?.program().map(PathBuf::from)
}

/// Has the start at boot lead to the unit that is in force now.
pub(super) fn reenable(target: &Target) -> Result<(), Error> {
    link(target, "reenable")
}

/// Tells systemd to read its unit files again.
pub(super) fn reload(layout: &Layout) -> Result<(), Error> {
    Ok(layout.manager().reload()?)
}

/// Starts the service and returns when it has said `READY=1` (`sd_notify(3)`); `waits` hears what systemd waits for before.
pub(super) fn start(layout: &Layout, waits: &mut dyn FnMut(&str)) -> Result<(), Error> {
    act(layout, "start", waits)
}

/// Stops and starts the service.
pub(super) fn restart(layout: &Layout, waits: &mut dyn FnMut(&str)) -> Result<(), Error> {
    act(layout, "restart", waits)
}

/// Has a new process of the installed program take the place of the running one, which serves on if that fails. A service
/// that has ended meanwhile is started: the program itself would start a gateway outside of systemd.
pub(super) fn upgrade(layout: &Layout, waits: &mut dyn FnMut(&str)) -> Result<(), Error> {
    if !is_active(layout)? {
        return start(layout, waits);
    }
    let pid_file = layout.pid_file.to_string_lossy();
    let arguments = ["--restart", "--start-timeout", UPGRADE_LIMIT, "--pid-file", &pid_file];
    match exec::run_path(&layout.program, &arguments) {
        Err(error @ ProgramError::Failed { .. }) => Err(failed(layout, error.to_string())),
        other => Ok(other.map(drop)?),
    }
}

/// Starts or restarts; the journal comes with a failure.
///
/// systemd is not waited for by systemctl(1), which says nothing while it does: a unit that this one comes after, such as
/// network-online.target, may take for ever, most of all if it waits for this very command (cloud-init).
fn act(layout: &Layout, verb: &'static str, waits: &mut dyn FnMut(&str)) -> Result<(), Error> {
    // A unit that failed too often before would be refused for that alone (systemd.unit(5) StartLimitBurst=).
    let service = layout.service();
    service.reset_failed()?;
    match service.act(verb, &["--no-block"]) {
        Err(error @ ProgramError::Failed { .. }) => return Err(failed(layout, error.to_string())),
        other => other?,
    }
    let (begin, mut told) = (Instant::now(), false);
    loop {
        let job = Job::of(layout);
        match (job.is_pending(), job.is_waiting()) {
            (false, _) if job.state == "active" => return Ok(()),
            (false, _) => {
                let Job { state, result, .. } = &job;
                let why = format!("`{}` failed: {state}, {result}", service.line(verb));
                return Err(failed(layout, why));
            }
            (true, true) if begin.elapsed() > TURN => return Err(turnless(layout)),
            (true, true) if !told && begin.elapsed() > SILENCE => {
                told = true;
                waits(&before(layout));
            }
            // systemd itself bounds a start that it has begun, TimeoutStartSec=.
            _ => {}
        }
        std::thread::sleep(PAUSE);
    }
}

/// What systemd is about to do with the unit.
#[derive(Debug)]
struct Job {
    /// The number of the job; 0 or empty is none.
    number: String,
    /// `ActiveState`.
    state: String,
    /// `Result`.
    result: String,
}

impl Job {
    /// The one of now.
    fn of(layout: &Layout) -> Self {
        let told = layout.service().properties("Job,ActiveState,Result").unwrap_or_default();
        let [number, state, result] = ["Job", "ActiveState", "Result"].map(|name| told.get(name).to_owned());
        Self { number, state, result }
    }

    /// Whether there is one.
    fn is_pending(&self) -> bool {
        !matches!(self.number.as_str(), "" | "0")
    }

    /// Whether it was not begun, because other units come first.
    fn is_waiting(&self) -> bool {
        matches!(self.state.as_str(), "inactive" | "failed")
    }
}

/// What comes before the service and is not done yet.
fn before(layout: &Layout) -> String {
    let after = property(layout, "After");
    let jobs = layout.manager().run(&["list-jobs", "--no-legend", "--plain"]).unwrap_or_default();
    // A line is: number, unit, kind, state.
    let jobs: Vec<Vec<&str>> = jobs.lines().map(|line| line.split_whitespace().collect()).collect();
    let named = |wanted: &dyn Fn(&str, &str) -> bool| {
        let units = jobs.iter().filter(|job| job.len() == 4 && wanted(job[1], job[3]));
        units.map(|job| job[1]).collect::<Vec<_>>().join(", ")
    };
    let first = named(&|unit, _| after.split(' ').any(|other| other == unit));
    let running = named(&|_, state| state == "running");
    format!("{} starts after {first}; running now: {running}", layout.unit)
}

/// The error for a service that systemd has not begun to start.
fn turnless(layout: &Layout) -> Error {
    let systemctl = layout.systemctl();
    Error::Turn { limit: TURN.as_secs(), why: before(layout), unit: layout.unit.clone(), systemctl }
}

/// The error for a service that does not work, with the end of its journal.
pub(super) fn failed(layout: &Layout, why: String) -> Error {
    let service = layout.service();
    Error::Service { why, whole: journal::line(&service), journal: journal::tail(&service, JOURNAL_LINES) }
}

/// Stops the service; one that is not known is stopped.
pub(super) fn stop(layout: &Layout) -> Result<(), Error> {
    if is_active(layout)? || Job::of(layout).is_pending() {
        layout.service().act("stop", &[])?;
    }
    Ok(layout.service().reset_failed()?)
}

/// Has the service started at boot. Works on an image and without a running systemd too.
pub(super) fn enable(target: &Target) -> Result<(), Error> {
    // Also where the link leads to another unit file of the name.
    link(target, "reenable")
}

/// Masks the unit again as the removal of a package had done it.
pub(super) fn mask_again(target: &Target, files: &[PathBuf; 2]) -> Result<(), Error> {
    link(target, "mask")?;
    let access = Access::new(0o644, 0, 0);
    files::overwrite(target.tree(), &files[1], b"", access)
}

/// Undoes [`enable`].
pub(super) fn disable(target: &Target) -> Result<(), Error> {
    link(target, "disable")
}

/// Runs the verb on the running systemd, or on the files below the root.
fn link(target: &Target, verb: &'static str) -> Result<(), Error> {
    let layout = target.layout();
    let root = format!("--root={}", target.tree().path().display());
    let place: &[&str] = if target.is_booted() || layout.is_users() { &[] } else { &[&root] };
    Ok(layout.service().act(verb, &[&["--quiet"], place].concat())?)
}
