//! The programs of the system that the installer runs, and the only place that runs them.
//!
//! They are looked up in a fixed list of directories and get a clean environment, so that nothing in the caller's
//! environment (`sudo -E`) decides what runs as root.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::install::error::Error;

/// Where programs are looked up. `/usr/local` is left out: what we run is the distribution's.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

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

/// Whether what runs here runs as root.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program's path, if it is installed on the running system.
#[must_use]
pub(in crate::install) fn find(program: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.is_file())
}

/// Runs the program to its end and returns what it printed and how it ended.
///
/// # Errors
/// [`Error::NoTool`], [`Error::File`] if it cannot be started.
pub(in crate::install) fn output(program: &'static str, arguments: &[&str]) -> Result<Output, Error> {
    output_of(&find(program).ok_or(Error::NoTool(program))?, arguments)
}

/// The same for a program that is known by its path.
///
/// # Errors
/// [`Error::File`] if it cannot be started.
pub(in crate::install) fn output_of(path: &Path, arguments: &[&str]) -> Result<Output, Error> {
    #[expect(clippy::disallowed_methods, reason = "here it gets its clean environment")]
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", DIRECTORIES.join(":"))
        .env("LC_ALL", "C")
        .envs(USERS.iter().filter_map(|name| Some((name, std::env::var_os(name)?))).filter(|_| !is_root()))
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(Error::file("run", path))
}

/// Runs the program, which must succeed, and returns its standard output.
///
/// # Errors
/// [`Error::Command`] beside those of [`output`].
pub(in crate::install) fn run(program: &'static str, arguments: &[&str]) -> Result<String, Error> {
    succeeded(program, arguments, output(program, arguments)?)
}

/// The same for a program that is known by its path.
///
/// # Errors
/// [`Error::Command`] beside those of [`output_of`].
pub(in crate::install) fn run_path(path: &Path, arguments: &[&str]) -> Result<String, Error> {
    succeeded(&path.to_string_lossy(), arguments, output_of(path, arguments)?)
}

/// The standard output of a success.
fn succeeded(program: &str, arguments: &[&str], output: Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    let end = &said[said.len().saturating_sub(OUTPUT_LIMIT)..];
    Err(Error::Command {
        command: [program].iter().chain(arguments).copied().collect::<Vec<_>>().join(" "),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(end).trim().to_owned(),
    })
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
