//! What systemctl(1) and journalctl(1) are asked, and the one thing that the gateway itself is asked: to exchange its
//! process.

use std::path::PathBuf;

use super::error::Error;
use super::layout::Layout;
use super::privileged::{Access, exec};
use super::target::Target;

/// How many lines of the journal are shown when the service fails.
const JOURNAL_LINES: &str = "--lines=20";
/// How long the new process of an upgrade may take to serve.
const UPGRADE_LIMIT: &str = "60s";

/// `systemctl` with these words, for the systemd that runs the service.
fn words<'a>(layout: &Layout, words: &[&'a str]) -> Vec<&'a str> {
    let user: &[&str] = if layout.is_users() { &["--user"] } else { &[] };
    [user, words].concat()
}

/// Runs systemctl(1), which must succeed.
fn systemctl(layout: &Layout, arguments: &[&str]) -> Result<String, Error> {
    exec::run("systemctl", &words(layout, arguments))
}

/// Whether systemd says that the service is active.
pub(super) fn is_active(layout: &Layout) -> Result<bool, Error> {
    let arguments = words(layout, &["is-active", "--quiet", &layout.unit]);
    exec::output("systemctl", &arguments).map(|output| output.status.success())
}

/// One property of the unit; empty if systemd does not tell.
pub(super) fn property(layout: &Layout, name: &str) -> String {
    let arguments = ["show", "--value", "--property", name, &layout.unit];
    systemctl(layout, &arguments).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Whether the running process is of a program whose file has been replaced (proc(5) "exe"); only its owner and root
/// are told.
pub(super) fn is_outdated(layout: &Layout) -> bool {
    let Ok(pid) = property(layout, "MainPID").parse::<u32>() else { return false };
    let program = std::fs::read_link(format!("/proc/{pid}/exe"));
    program.is_ok_and(|path| path.to_string_lossy().ends_with(" (deleted)"))
}

/// Why systemd would not follow the running service to a new process, or could not start it again; `None` if it would. A
/// unit that is not loaded has `NotifyAccess=none`, whatever its file says.
pub(super) fn obstacle(layout: &Layout) -> Option<&'static str> {
    let arguments = ["show", "--property=LoadState,NotifyAccess", &layout.unit];
    let text = systemctl(layout, &arguments).ok()?;
    let is = |line: &str| text.lines().any(|told| told == line);
    if is("LoadState=masked") {
        Some("it is masked; after `systemctl unmask`, `mcpeg --restart` takes the new program up")
    } else if is("NotifyAccess=none") {
        Some(
            "a drop-in has NotifyAccess=none, so that systemd would end its successor; `systemctl restart` it",
        )
    } else {
        None
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
    let text = property(layout, "ExecStart");
    let (_, rest) = text.split_once("path=")?;
    Some(rest.split(" ;").next()?.into())
}

/// Has the start at boot lead to the unit that is in force now.
pub(super) fn reenable(target: &Target) -> Result<(), Error> {
    link(target, "reenable")
}

/// Tells systemd to read its unit files again.
pub(super) fn reload(layout: &Layout) -> Result<(), Error> {
    systemctl(layout, &["daemon-reload"]).map(drop)
}

/// Starts the service and returns when it has said `READY=1` (`sd_notify(3)`).
pub(super) fn start(layout: &Layout) -> Result<(), Error> {
    act(layout, "start")
}

/// Stops and starts the service.
pub(super) fn restart(layout: &Layout) -> Result<(), Error> {
    act(layout, "restart")
}

/// Has a new process of the installed program take the place of the running one, which serves on if that fails. A service
/// that has ended meanwhile is started: the program itself would start a gateway outside of systemd.
pub(super) fn upgrade(layout: &Layout) -> Result<(), Error> {
    if !is_active(layout)? {
        return start(layout);
    }
    let pid_file = layout.pid_file.to_string_lossy();
    let arguments = ["--restart", "--start-timeout", UPGRADE_LIMIT, "--pid-file", &pid_file];
    match exec::run_path(&layout.program, &arguments) {
        Err(error @ Error::Command { .. }) => Err(failed(layout, error.to_string())),
        other => other.map(drop),
    }
}

/// Starts or restarts; the journal comes with a failure.
fn act(layout: &Layout, verb: &'static str) -> Result<(), Error> {
    // A unit that failed too often before would be refused for that alone (systemd.unit(5) StartLimitBurst=).
    exec::output("systemctl", &words(layout, &["reset-failed", &layout.unit]))?;
    match systemctl(layout, &[verb, &layout.unit]) {
        Err(error @ Error::Command { .. }) => Err(failed(layout, error.to_string())),
        other => other.map(drop),
    }
}

/// The error for a service that does not work, with the end of its journal.
pub(super) fn failed(layout: &Layout, why: String) -> Error {
    let option = if layout.is_users() { "--user-unit" } else { "--unit" };
    let arguments = [option, &layout.unit, JOURNAL_LINES, "--no-pager", "--output=cat", "--quiet"];
    let journal = exec::run("journalctl", &arguments).unwrap_or_default();
    let whole = format!("journalctl {option} {}", layout.unit);
    Error::Service { why, whole, journal: journal.lines().map(str::to_owned).collect() }
}

/// Stops the service; one that is not known is stopped.
pub(super) fn stop(layout: &Layout) -> Result<(), Error> {
    if is_active(layout)? {
        systemctl(layout, &["stop", &layout.unit])?;
    }
    exec::output("systemctl", &words(layout, &["reset-failed", &layout.unit])).map(drop)
}

/// Has the service started at boot. Works on an image and without a running systemd too.
pub(super) fn enable(target: &Target) -> Result<(), Error> {
    // Also where the link leads to another unit file of the name.
    link(target, "reenable")
}

/// Masks the unit again as the removal of a package had done it.
pub(super) fn mask_again(target: &Target, files: &[PathBuf; 2]) -> Result<(), Error> {
    link(target, "mask")?;
    let access = Access { mode: 0o644, uid: 0, gid: 0 };
    target.tree.overwrite(&files[1], b"", access)
}

/// Undoes [`enable`].
pub(super) fn disable(target: &Target) -> Result<(), Error> {
    link(target, "disable")
}

/// Runs the verb on the running systemd, or on the files below the root.
fn link(target: &Target, verb: &'static str) -> Result<(), Error> {
    let layout = &target.layout;
    if target.booted || layout.is_users() {
        return systemctl(layout, &["--quiet", verb, &layout.unit]).map(drop);
    }
    let root = format!("--root={}", target.tree.path().display());
    systemctl(layout, &["--quiet", &root, verb, &layout.unit]).map(drop)
}
