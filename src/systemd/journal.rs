//! The journal: the end of a unit's, by journalctl(1).

use super::systemctl::Manager;
use super::unit::Unit;
use crate::program;

/// The option that names the unit.
fn option(unit: &Unit) -> &'static str {
    match unit.manager() {
        Manager::System => "--unit",
        Manager::User => "--user-unit",
    }
}

/// The command that shows all that the unit has written.
#[must_use]
pub fn line(unit: &Unit) -> String {
    format!("journalctl {} {}", option(unit), unit.name())
}

/// The last lines that it has written; none if nobody can tell.
#[must_use]
pub fn tail(unit: &Unit, lines: u32) -> Vec<String> {
    let lines = format!("--lines={lines}");
    let arguments = [option(unit), unit.name(), &lines, "--no-pager", "--output=cat", "--quiet"];
    let journal = program::run("journalctl", &arguments).unwrap_or_default();
    journal.lines().map(str::to_owned).collect()
}
