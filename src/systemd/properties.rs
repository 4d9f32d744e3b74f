//! What `systemctl show` tells about a unit: a property a line, and an empty line between two units.

use std::fmt;
use std::path::Path;

/// The properties of a unit that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties(Vec<(String, String)>);

/// Why systemd would not follow the main process of a unit to another one, or could not start it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The unit is masked.
    Masked,
    /// It is not loaded but in this state. systemd knows no `NotifyAccess=` of it then: it hears no `MAINPID=` and ends the
    /// new process with the old one.
    NotLoaded(String),
    /// It has `NotifyAccess=none`.
    NotifyAccess,
}

impl Properties {
    /// The properties that [`Self::obstacle`] needs.
    pub(crate) const OF_OBSTACLES: &str = "LoadState,NotifyAccess";

    /// Understands what is told about one unit.
    pub(crate) fn read(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Understands what is told about several units.
    pub(crate) fn read_all(text: &str) -> Vec<Self> {
        text.split("\n\n").map(Self::read).collect()
    }

    /// One of them; empty if systemd does not know it, or was not asked for it.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Its words.
    pub(crate) fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name).split_whitespace()
    }

    /// Whether the unit is loaded.
    pub(crate) fn is_loaded(&self) -> bool {
        self.get("LoadState") == "loaded"
    }

    /// The program of `ExecStart`:
    /// `{ path=/usr/bin/mcpeg ; argv[]=/usr/bin/mcpeg --config FILE ; ignore_errors=no ; … }`.
    pub(crate) fn program(&self) -> Option<&Path> {
        let (_, rest) = self.get("ExecStart").split_once("path=")?;
        rest.split(" ;").next().map(Path::new)
    }

    /// The command line of `ExecStart`, in words.
    pub(crate) fn command_line(&self) -> Option<std::str::SplitWhitespace<'_>> {
        let (_, line) = self.get("ExecStart").split_once("argv[]=")?;
        Some(line.split(" ;").next()?.split_whitespace())
    }

    /// Why systemd would not follow the main process to another one; `None` if it would, or does not tell.
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        match self.get("LoadState") {
            "masked" => Some(Obstacle::Masked),
            "loaded" | "merged" if self.get("NotifyAccess") == "none" => Some(Obstacle::NotifyAccess),
            "" | "loaded" | "merged" => None,
            other => Some(Obstacle::NotLoaded(other.to_owned())),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Masked => f.write_str("is masked"),
            Self::NotLoaded(state) => write!(f, "is not loaded ({state})"),
            Self::NotifyAccess => f.write_str("has NotifyAccess=none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_and_command_line_are_those_of_exec_start() {
        let told = "Id=x.service\nExecStart={ path=/usr/bin/x ; argv[]=/usr/bin/x --a b=c ; ignore_errors=no ; pid=0 }";
        let properties = Properties::read(told);
        assert_eq!(properties.program(), Some(Path::new("/usr/bin/x")));
        assert_eq!(properties.command_line().unwrap().collect::<Vec<_>>(), ["/usr/bin/x", "--a", "b=c"]);
        assert_eq!((properties.get("Id"), properties.get("LoadState")), ("x.service", ""));
        assert_eq!(Properties::default().program(), None);
    }

    #[test]
    fn obstacles_are_told_from_a_unit_that_systemd_follows() {
        let obstacle = |told: &str| Properties::read(told).obstacle().map(|why| why.to_string());
        assert_eq!(obstacle("LoadState=loaded\nNotifyAccess=main"), None);
        assert_eq!(obstacle(""), None);
        for (told, why) in [
            ("LoadState=masked\nNotifyAccess=none", "is masked"),
            ("LoadState=loaded\nNotifyAccess=none", "has NotifyAccess=none"),
            ("LoadState=not-found\nNotifyAccess=none", "is not loaded (not-found)"),
        ] {
            assert_eq!(obstacle(told).as_deref(), Some(why));
        }
    }
}
