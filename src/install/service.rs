//! What systemctl(1) and journalctl(1) are asked.

use super::error::Error;
use super::exec;
use super::layout::UNIT;
use super::target::Target;

/// How many lines of the journal are shown when the service fails.
const JOURNAL_LINES: &str = "--lines=20";

/// Whether systemd says that the service is active.
pub(super) fn is_active() -> Result<bool, Error> {
    exec::output("systemctl", &["is-active", "--quiet", UNIT]).map(|output| output.status.success())
}

/// Tells systemd to read its unit files again.
pub(super) fn reload() -> Result<(), Error> {
    exec::run("systemctl", &["daemon-reload"]).map(drop)
}

/// Starts the service and returns when it has said `READY=1` (`sd_notify(3)`).
pub(super) fn start() -> Result<(), Error> {
    act("start")
}

/// Stops and starts the service.
pub(super) fn restart() -> Result<(), Error> {
    act("restart")
}

/// Starts or restarts; the journal comes with a failure.
fn act(verb: &'static str) -> Result<(), Error> {
    // A unit that failed too often before would be refused for that alone (systemd.unit(5) StartLimitBurst=).
    exec::output("systemctl", &["reset-failed", UNIT])?;
    match exec::run("systemctl", &[verb, UNIT]) {
        Err(error @ Error::Command { .. }) => Err(failed(error.to_string())),
        other => other.map(drop),
    }
}

/// The error for a service that does not work, with the end of its journal.
pub(super) fn failed(why: String) -> Error {
    let arguments = ["--unit", UNIT, JOURNAL_LINES, "--no-pager", "--output=cat", "--quiet"];
    let journal = exec::run("journalctl", &arguments).unwrap_or_default();
    Error::Service { why, journal: journal.lines().map(str::to_owned).collect() }
}

/// Stops the service; one that is not known is stopped.
pub(super) fn stop() -> Result<(), Error> {
    if is_active()? {
        exec::run("systemctl", &["stop", UNIT])?;
    }
    exec::output("systemctl", &["reset-failed", UNIT]).map(drop)
}

/// Has the service started at boot. Works on an image and without a running systemd too.
pub(super) fn enable(target: &Target) -> Result<(), Error> {
    link(target, "enable")
}

/// Undoes [`enable`].
pub(super) fn disable(target: &Target) -> Result<(), Error> {
    link(target, "disable")
}

/// Runs the verb on the running systemd, or on the files below the root.
fn link(target: &Target, verb: &'static str) -> Result<(), Error> {
    if target.booted {
        return exec::run("systemctl", &["--quiet", verb, UNIT]).map(drop);
    }
    let root = format!("--root={}", target.tree.path().display());
    exec::run("systemctl", &["--quiet", &root, verb, UNIT]).map(drop)
}
