//! The third-party programs that `scripts/test-tools` installs, and how to run them.
//!
//! A missing tool fails the test that needs it: a skipped client test would look like a passed one.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::program::{self, repository};

/// More than any client or suite run takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The directory that `scripts/test-tools` printed.
pub struct Tools(PathBuf);

impl Tools {
    /// Takes the directory from `MCPEG_TEST_TOOLS`, or asks the script, which installs what is missing.
    pub async fn get() -> Self {
        if let Some(directory) = std::env::var_os("MCPEG_TEST_TOOLS") {
            let tools = Self(directory.into());
            assert!(tools.0.join("complete").exists(), "MCPEG_TEST_TOOLS is not a complete directory");
            return tools;
        }
        let script = repository().join("scripts/test-tools");
        let output = run(&mut Command::new(script)).await;
        let printed = String::from_utf8(output.stdout).expect("a path in UTF-8");
        Self(printed.trim_end().into())
    }

    /// Node, as an absolute path for upstreams' `command`.
    pub fn node(&self) -> String {
        self.path("bin/node")
    }

    /// The interpreter whose packages are those of `requirements.txt`.
    pub fn python(&self) -> String {
        self.path("venv/bin/python")
    }

    /// A path below the directory.
    pub fn path(&self, relative: &str) -> String {
        let path = self.0.join(relative);
        assert!(path.exists(), "`{}` is missing from the test tools", path.display());
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// Copies a script into `scratch`, beside a link to the npm packages, where Node's resolution finds them.
    pub fn script(&self, scratch: &Path, source: &Path) -> String {
        let modules = scratch.join("node_modules");
        if !modules.exists() {
            std::os::unix::fs::symlink(self.0.join("node_modules"), &modules).expect("a link in scratch");
        }
        let copy = scratch.join(source.file_name().expect("a file"));
        std::fs::copy(source, &copy).expect("a copy in scratch");
        copy.to_str().expect("a path in UTF-8").to_owned()
    }

    /// Runs a program of the tools to its end; a failure prints what it said.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Output {
        run(Command::new(program).args(arguments)).await
    }
}

/// A command whose process is killed with the test's: destructors do not run when a test run is interrupted.
pub fn bound(program: &str) -> Command {
    program::bound(program).into()
}

/// Runs a command to its end, within the patience of this module, and insists on success.
async fn run(command: &mut Command) -> Output {
    let output = run_any(command).await;
    assert!(output.status.success(), "{command:?} ended with {}:\n{}", output.status, transcript(&output));
    output
}

/// Runs a command to its end, whatever that is; one that does not end is killed.
pub async fn run_any(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = child.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    ended.unwrap_or_else(|_| panic!("{command:?} did not end")).expect("output that can be read")
}

/// What a program said on both outputs.
pub fn transcript(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
