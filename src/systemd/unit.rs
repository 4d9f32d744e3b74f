//! One unit, of one manager.

use std::process::ExitStatus;

use fieldwork::Fieldwork;

use super::properties::Properties;
use super::systemctl::Manager;
use crate::program::{self, Error};

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq, Fieldwork)]
#[fieldwork(get, vis = "pub(crate)")]
pub(crate) struct Unit {
    /// Whose it is.
    #[field(get(copy))]
    manager: Manager,
    /// Its name.
    name: String,
}

/// Whether systemd has started this process: systemd.exec(5) `INVOCATION_ID`.
pub(crate) fn is_service() -> bool {
    std::env::var_os("INVOCATION_ID").is_some()
}

/// The name of the unit that systemd runs this process in: the last component of its control group.
pub(crate) fn own_unit() -> Option<String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok().filter(|_| is_service())?;
    unit_in(&groups)
}

/// The first service named at the end of a line of `/proc/PID/cgroup`.
fn unit_in(groups: &str) -> Option<String> {
    let name = |line: &str| line.rsplit('/').next().map(str::to_owned);
    groups.lines().filter_map(name).find(|name| name.ends_with(".service"))
}

/// The number in the last line, which is `→ Overall exposure level for UNIT: 0.8 SAFE`.
fn exposure_in(told: &str) -> Option<&str> {
    let (_, end) = told.trim_end().lines().next_back()?.rsplit_once(".service: ")?;
    end.split(' ').next().filter(|number| number.parse::<f32>().is_ok())
}

impl Unit {
    /// The unit of this name.
    pub(crate) fn new(manager: Manager, name: impl Into<String>) -> Self {
        Self { manager, name: name.into() }
    }

    /// The command line by which a person has systemd do something with it.
    pub(crate) fn line(&self, verb: &str) -> String {
        format!("{} {verb} {}", self.manager.line(), self.name)
    }

    /// Some of its properties, separated by commas.
    /// Fails when systemctl(1) cannot be run or fails.
    pub(crate) fn properties(&self, names: &str) -> Result<Properties, Error> {
        let told = self.manager.run(&["show", &format!("--property={names}"), &self.name])?;
        Ok(Properties::read(&told))
    }

    /// The same for somebody who goes on without them where systemd does not tell in time.
    pub(crate) fn told(&self, names: &str) -> Option<Properties> {
        let told = self.manager.ask(&["show", &format!("--property={names}"), &self.name])?;
        Some(Properties::read(&told))
    }

    /// Whether it is active.
    /// Fails when systemctl(1) cannot be run.
    pub(crate) fn is_active(&self) -> Result<bool, Error> {
        self.manager.succeeds(&["is-active", "--quiet", &self.name])
    }

    /// How exposed its sandbox leaves it, from 0 to 10, by systemd-analyze(1) `security`; `None` if that cannot tell.
    pub(crate) fn exposure(&self) -> Option<String> {
        let told = program::run("systemd-analyze", &["security", "--no-pager", &self.name]).ok()?;
        exposure_in(&told).map(str::to_owned)
    }

    /// Has systemd do something with it, with these options of systemctl(1), and waits for the end of that unless they say
    /// something else.
    /// Fails when systemctl(1) cannot be run or fails.
    pub(crate) fn act(&self, verb: &str, options: &[&str]) -> Result<(), Error> {
        self.manager.run(&[options, &[verb, &self.name]].concat()).map(drop)
    }

    /// Forgets that it has failed, or failed too often to be started (systemd.unit(5) `StartLimitBurst=`).
    /// Fails when systemctl(1) cannot be run; that a unit is not loaded is fine.
    pub(crate) fn reset_failed(&self) -> Result<(), Error> {
        self.manager.succeeds(&["reset-failed", &self.name]).map(drop)
    }

    /// Has systemd do something with it, waits for the end of that, and leaves it to systemctl(1) to tell the person at the
    /// terminal why not. The question for a password belongs to the one who types that line.
    /// Fails when systemctl(1) cannot be run.
    pub(crate) fn act_openly(&self, verb: &str) -> Result<ExitStatus, Error> {
        let mut command = self.manager.command(&[verb, &self.name, "--no-ask-password"])?;
        command.status().map_err(|error| Error::Run(command.get_program().into(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_is_the_last_component_of_the_control_group() {
        assert_eq!(unit_in("0::/system.slice/mcpeg.service\n").as_deref(), Some("mcpeg.service"));
        assert_eq!(unit_in("0::/user.slice/session-2.scope\n"), None);
    }

    #[test]
    fn exposure_is_the_number_of_the_last_line() {
        let told = "x PrivateUsers= ...\n\n-> Overall exposure level for mcpeg.service: 0.8 SAFE :-)\n";
        assert_eq!(exposure_in(told), Some("0.8"));
        assert_eq!(exposure_in("Failed to get unit mcpeg.service: masked\n"), None);
        assert_eq!(exposure_in(""), None);
    }
}
