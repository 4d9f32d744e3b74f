//! The programs of the system, and the only place that runs them.
//!
//! They are looked up in a fixed list of directories and get a clean environment, so that nothing in the caller's
//! environment (`sudo -E`) decides what runs as root.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::exit::{Exit, ToExit};
use crate::sys::process;
use crate::sys::user::is_root;

/// Where programs are looked up; the last one is that of `NixOS`. Not in `/usr/local`: we run the distribution's.
const DIRECTORIES: [&str; 5] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/run/current-system/sw/bin"];

/// At most this much of a failed program's output is repeated, in bytes.
const OUTPUT_LIMIT: usize = 2_000;

/// What an ordinary user's programs need to find the user's own systemd and files; nothing of it reaches root's.
const USERS: [&str; 6] = [
    "HOME",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// Why a program was of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is not installed.
    #[error("the program `{0}` is not installed")]
    Missing(&'static str),
    /// It cannot be started.
    #[error("cannot run `{}`", .0.display())]
    Run(PathBuf, #[source] io::Error),
    /// It failed.
    #[error("`{command}` failed ({status}): {output}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status in words.
        status: String,
        /// The end of what it printed.
        output: String,
    },
}

/// The program's path, if it is installed on the running system.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.is_file())
}

/// A program that is known by its path, with its clean environment and nothing to read.
pub(crate) fn command(path: &Path, arguments: &[&str]) -> Command {
    let mut command = process::command(path);
    command.args(arguments).env_clear().env("PATH", DIRECTORIES.join(":")).env("LC_ALL", "C");
    if !is_root() {
        give_session(&mut command);
    }
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Gives it the variables by which it finds the caller's session, also if it runs as root.
pub(crate) fn give_session(command: &mut Command) {
    command.envs(USERS.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
}

/// Runs the program to its end and returns what it printed and how it ended.
/// Fails with [`Error::Missing`], and [`Error::Run`] if it cannot be started.
pub(crate) fn output(program: &'static str, arguments: &[&str]) -> Result<Output, Error> {
    output_of(&find(program).ok_or(Error::Missing(program))?, arguments)
}

/// The same for a program that is known by its path.
/// Fails with [`Error::Run`] if it cannot be started.
pub(crate) fn output_of(path: &Path, arguments: &[&str]) -> Result<Output, Error> {
    command(path, arguments).output().map_err(|error| Error::Run(path.to_owned(), error))
}

/// Runs the program, which must succeed, and returns its standard output.
/// Fails with [`Error::Failed`] beside those of [`output`].
pub(crate) fn run(program: &'static str, arguments: &[&str]) -> Result<String, Error> {
    succeeded(program, arguments, output(program, arguments)?)
}

/// The same for a program that is known by its path.
/// Fails with [`Error::Failed`] beside those of [`output_of`].
pub(crate) fn run_path(path: &Path, arguments: &[&str]) -> Result<String, Error> {
    succeeded(&path.to_string_lossy(), arguments, output_of(path, arguments)?)
}

/// The standard output of a success.
/// Fails with [`Error::Failed`].
pub(crate) fn succeeded(program: &str, arguments: &[&str], output: Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    let end = &said[said.len().saturating_sub(OUTPUT_LIMIT)..];
    Err(Error::Failed {
        command: [program].iter().chain(arguments).copied().collect::<Vec<_>>().join(" "),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(end).trim().to_owned(),
    })
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Missing(_) => Exit::Unavailable,
            Self::Run(..) => Exit::CannotCreate,
            Self::Failed { .. } => Exit::Os,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(tool) => Some(format!("install the package with `{tool}`")),
            Self::Run(..) | Self::Failed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_callers_environment_reaches_a_program() {
        let printed = run("env", &[]).unwrap();
        let mut names: Vec<_> = printed.lines().filter_map(|line| line.split('=').next()).collect();
        names.retain(|name| is_root() || !USERS.contains(name));
        names.sort_unstable();
        assert_eq!(names, ["LC_ALL", "PATH"]);
    }

    #[test]
    fn failure_names_the_command_and_what_it_said() {
        let error = run("ls", &["/there/is/no/such"]).unwrap_err().to_string();
        assert!(error.contains("ls /there/is/no/such") && error.contains("No such file"), "{error}");
    }
}
