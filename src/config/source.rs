//! Where the configuration comes from: a file that the user named or the default one, and the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file that the user named; `None` is [`default_path`], which need not exist.
    pub file: Option<PathBuf>,
    /// What the command line says instead of the file.
    pub overrides: Overrides,
}

/// What the command line says instead of the file. An upgrade passes it on as it is, so that its fields keep their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Replaces `listen` if not empty.
    pub listen: Vec<String>,
    /// Replaces `file` of `[log]`; relative to the working directory of this process.
    pub log_file: Option<PathBuf>,
    /// The log file where neither this nor the file names one: a daemon has no other log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_log_file: Option<PathBuf>,
    /// Replaces `level` of `[log]`.
    pub log_level: Option<String>,
    /// The development profile: loopback only, mcpeg's own log at debug level, and no log file; a log level or log
    /// file given beside it still counts.
    pub dev: bool,
}

impl Source {
    /// The same with paths that do not depend on the working directory, for a process that leaves it and loads the
    /// configuration again later.
    ///
    /// # Errors
    /// If the working directory is needed and cannot be told.
    pub fn absolute(mut self) -> std::io::Result<Self> {
        for path in [&mut self.file, &mut self.overrides.log_file].into_iter().flatten() {
            *path = std::path::absolute(&*path)?;
        }
        Ok(self)
    }
}

/// The directory of the files that hold upstreams only, beside the configuration file.
#[must_use]
pub fn fragment_directory(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join("conf.d")
}

/// Where the configuration is if the user names no file: `/etc/mcpeg/mcpeg.toml` for root and for users without a
/// home directory (service accounts), otherwise `mcpeg/mcpeg.toml` in the place of the XDG Base Directory
/// Specification.
#[must_use]
pub fn default_path() -> PathBuf {
    let root = nix::unistd::Uid::effective().is_root();
    default_path_in(root, &|name| std::env::var_os(name))
}

/// The log file of a daemon that is told of none: `mcpeg.log` in `$LOGS_DIRECTORY` (systemd.exec(5)), in `/var/log/mcpeg`
/// for root and for users without a home directory, otherwise in [`state_directory`].
#[must_use]
pub fn default_log_file() -> PathBuf {
    let root = nix::unistd::Uid::effective().is_root();
    default_log_file_in(root, &|name| std::env::var_os(name))
}

/// Where what outlives the process is kept: `$STATE_DIRECTORY` (systemd.exec(5)), `/var/lib/mcpeg` for root and for users
/// without a home directory, otherwise `mcpeg` in the place of the XDG Base Directory Specification.
#[must_use]
pub fn state_directory() -> PathBuf {
    let root = nix::unistd::Uid::effective().is_root();
    state_directory_in(root, &|name| std::env::var_os(name))
}

/// [`default_path`] for a given user and environment.
fn default_path_in(root: bool, variable: &Variable<'_>) -> PathBuf {
    let directory = home_directory(root, variable, "XDG_CONFIG_HOME", ".config");
    directory.unwrap_or_else(|| PathBuf::from("/etc")).join("mcpeg/mcpeg.toml")
}

/// [`default_log_file`] for a given user and environment.
fn default_log_file_in(root: bool, variable: &Variable<'_>) -> PathBuf {
    let home = || home_directory(root, variable, "XDG_STATE_HOME", ".local/state");
    let directory = of_service(variable, "LOGS_DIRECTORY").or_else(|| Some(home()?.join("mcpeg")));
    directory.unwrap_or_else(|| PathBuf::from("/var/log/mcpeg")).join("mcpeg.log")
}

/// [`state_directory`] for a given user and environment.
fn state_directory_in(root: bool, variable: &Variable<'_>) -> PathBuf {
    let home = || home_directory(root, variable, "XDG_STATE_HOME", ".local/state");
    let directory = of_service(variable, "STATE_DIRECTORY").or_else(|| Some(home()?.join("mcpeg")));
    directory.unwrap_or_else(|| PathBuf::from("/var/lib/mcpeg"))
}

/// How a variable of the environment is read.
type Variable<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// A user's directory of one kind; `None` for root and for users without a home directory.
fn home_directory(root: bool, variable: &Variable<'_>, name: &str, below_home: &str) -> Option<PathBuf> {
    // Relative paths in these variables are invalid and must be ignored: XDG Base Directory Specification, Basics.
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if root {
        return None;
    }
    absolute(name).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}

/// The first directory of one kind that systemd has made: several are separated by colons.
fn of_service(variable: &Variable<'_>, name: &str) -> Option<PathBuf> {
    let list = variable(name)?;
    Some(PathBuf::from(list.to_str()?.split(':').next()?)).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_place_follows_user_and_xdg() {
        let both = |name: &str| match name {
            "XDG_CONFIG_HOME" => Some(OsString::from("/xdg")),
            _ => Some(OsString::from("/home/u")),
        };
        let relative = |name: &str| (name != "HOME").then(|| OsString::from("xdg"));
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/u"));
        assert_eq!(default_path_in(true, &both), Path::new("/etc/mcpeg/mcpeg.toml"));
        assert_eq!(default_path_in(false, &both), Path::new("/xdg/mcpeg/mcpeg.toml"));
        assert_eq!(default_path_in(false, &home), Path::new("/home/u/.config/mcpeg/mcpeg.toml"));
        assert_eq!(default_path_in(false, &relative), Path::new("/etc/mcpeg/mcpeg.toml"));
    }

    #[test]
    fn the_log_file_of_a_daemon_follows_user_xdg_and_systemd() {
        let xdg = |name: &str| match name {
            "XDG_STATE_HOME" => Some(OsString::from("/xdg")),
            "HOME" => Some(OsString::from("/home/u")),
            _ => None,
        };
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/u"));
        let service = |name: &str| match name {
            "LOGS_DIRECTORY" => Some(OsString::from("/var/log/a:/var/log/b")),
            "STATE_DIRECTORY" => Some(OsString::from("/var/lib/a")),
            _ => Some(OsString::from("/home/u")),
        };
        let places: [(bool, &Variable<'_>, &str, &str); 6] = [
            (true, &xdg, "/var/log/mcpeg/mcpeg.log", "/var/lib/mcpeg"),
            (false, &xdg, "/xdg/mcpeg/mcpeg.log", "/xdg/mcpeg"),
            (false, &home, "/home/u/.local/state/mcpeg/mcpeg.log", "/home/u/.local/state/mcpeg"),
            (false, &|_| None, "/var/log/mcpeg/mcpeg.log", "/var/lib/mcpeg"),
            (true, &service, "/var/log/a/mcpeg.log", "/var/lib/a"),
            (false, &service, "/var/log/a/mcpeg.log", "/var/lib/a"),
        ];
        for (root, variable, log, state) in places {
            assert_eq!(default_log_file_in(root, variable), Path::new(log));
            assert_eq!(state_directory_in(root, variable), Path::new(state));
        }
    }

    #[test]
    fn an_absolute_source_does_not_depend_on_the_working_directory() {
        let overrides = Overrides { log_file: Some(PathBuf::from("x.log")), ..Overrides::default() };
        let source = Source { file: Some(PathBuf::from("mcpeg.toml")), overrides }.absolute().unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(source.file, Some(here.join("mcpeg.toml")));
        assert_eq!(source.overrides.log_file, Some(here.join("x.log")));
        assert_eq!(Source::default().absolute().unwrap().file, None);
    }
}
