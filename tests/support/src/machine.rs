//! A throw-away Debian machine with a booted systemd: the Rust side of `scripts/testbed`.
//!
//! A [`Machine`] is stopped when it is dropped, also by a panicking test. A test process that is killed cannot
//! drop anything: its machines are owned by its process number, and the next `scripts/testbed boot` or `clean`
//! removes them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::program::{command, repository};

/// How often [`Machine::wait_for`] looks.
const POLL: Duration = Duration::from_millis(50);

/// A booted machine.
pub struct Machine {
    /// What `scripts/testbed boot` printed.
    handle: PathBuf,
}

impl Machine {
    /// Boots a machine of the Debian suite and returns when systemd says that it is up.
    ///
    /// The first boot of a suite builds its root, which takes a minute or two.
    pub fn boot(suite: &str) -> Self {
        Self::boot_with(suite, &[])
    }

    /// Boots a machine that sees directories of the host, read-only: pairs of a host path and a path inside.
    pub fn boot_with(suite: &str, binds: &[(&Path, &str)]) -> Self {
        let mut command = testbed("boot");
        command.arg(format!("--owner={}", std::process::id()));
        for (source, target) in binds {
            command.arg(format!("--bind-ro={}:{target}", source.display()));
        }
        let output = command.arg(suite).stdin(Stdio::null()).output().expect("scripts/testbed can be run");
        let text = text(&output.stdout);
        assert!(output.status.success(), "no machine: {}", self::text(&output.stderr));
        Self { handle: PathBuf::from(text.trim_end()) }
    }

    /// Runs a command inside as root, with a clean environment, and returns how it ended and what it printed.
    pub fn run(&self, command: &[&str]) -> Output {
        testbed("exec")
            .arg(&self.handle)
            .args(command)
            .stdin(Stdio::null())
            .output()
            .expect("scripts/testbed can be run")
    }

    /// Runs a command that must succeed and returns its standard output.
    pub fn ok(&self, command: &[&str]) -> String {
        let output = self.run(command);
        assert!(
            output.status.success(),
            "`{}` ended with {}\nstandard output: {}\nstandard error: {}",
            command.join(" "),
            output.status,
            text(&output.stdout),
            text(&output.stderr),
        );
        text(&output.stdout)
    }

    /// Copies a file or a tree into the machine, with modes and times.
    pub fn copy_in(&self, source: impl AsRef<OsStr>, target: &str) {
        let output = testbed("copy").arg(&self.handle).arg(source).arg(target).output();
        let output = output.expect("scripts/testbed can be run");
        assert!(output.status.success(), "cannot copy to {target}: {}", text(&output.stderr));
    }

    /// Writes a file in the machine, mode 0644.
    pub fn write(&self, target: &str, content: &str) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        std::io::Write::write_all(&mut file.as_file(), content.as_bytes())
            .expect("a temporary file can be written");
        self.copy_in(file.path(), target);
        self.ok(&["chmod", "644", target]);
    }

    /// Asks again and again until there is an answer; panics with `what` and the journal when `limit` is over.
    pub fn wait_for<T>(&self, what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            if Instant::now() > deadline {
                let journal = self.run(&["journalctl", "--no-pager", "--lines=40"]);
                panic!("{what}: not within {limit:?}\n{}", text(&journal.stdout));
            }
            std::thread::sleep(POLL);
        }
    }

    /// The directory that `scripts/testbed` knows this machine by; gone once it is stopped.
    pub fn handle(&self) -> &Path {
        &self.handle
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let stopped = testbed("stop").arg(&self.handle).output().expect("scripts/testbed can be run");
        // A second panic would abort the test and hide the first.
        if !std::thread::panicking() {
            assert!(stopped.status.success(), "cannot stop a machine: {}", text(&stopped.stderr));
        }
    }
}

/// A call of `scripts/testbed` with its verb.
pub fn testbed(verb: &str) -> Command {
    let mut command = script("testbed");
    command.arg(verb);
    command
}

/// One of the repository's scripts.
pub fn script(name: &str) -> Command {
    command(repository().join("scripts").join(name))
}

/// What a command printed, for messages and parsing.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
