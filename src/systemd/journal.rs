//! The journal: whether standard error goes there, and the end of a unit's, by journalctl(1).

use std::env;
use std::ffi::OsStr;

use super::systemctl::Manager;
use super::unit::Unit;
use crate::program;

/// Whether standard error goes to the journal.
pub(crate) fn has_stderr() -> bool {
    env::var_os("JOURNAL_STREAM").is_some_and(|stream| stderr_is(&stream))
}

/// Whether standard error is the stream that systemd.exec(5) `$JOURNAL_STREAM` describes as `device:inode`. A service
/// hands the variable on to its children, so that its presence alone proves nothing.
fn stderr_is(stream: &OsStr) -> bool {
    let described = stream.to_str().and_then(|text| text.split_once(':'));
    let Some((device, inode)) = described else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| {
        device.parse() == Ok(u128::from(stat.st_dev)) && inode.parse() == Ok(u128::from(stat.st_ino))
    })
}

/// The option that names the unit.
fn option(unit: &Unit) -> &'static str {
    match unit.manager() {
        Manager::System => "--unit",
        Manager::User => "--user-unit",
    }
}

/// The command that shows all that the unit has written.
pub(crate) fn line(unit: &Unit) -> String {
    format!("journalctl {} {}", option(unit), unit.name())
}

/// The last lines that it has written; none if nobody can tell.
pub(crate) fn tail(unit: &Unit, lines: u32) -> Vec<String> {
    let lines = format!("--lines={lines}");
    let arguments = [option(unit), unit.name(), &lines, "--no-pager", "--output=cat", "--quiet"];
    let journal = program::run("journalctl", &arguments).unwrap_or_default();
    journal.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_described_stream_is_the_journal() {
        let stat = rustix::fs::fstat(std::io::stderr()).unwrap();
        assert!(stderr_is(OsStr::new(&format!("{}:{}", stat.st_dev, stat.st_ino))));
        assert!(!stderr_is(OsStr::new(&format!("{}:{}", stat.st_dev, stat.st_ino + 1))));
        assert!(!stderr_is(OsStr::new("nonsense")));
    }
}
