//! systemctl(1), and the only place that runs it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::properties::Properties;
use crate::program::{self, Error};

/// The program.
const SYSTEMCTL: &str = "systemctl";
/// How long systemd may take to tell something to somebody who goes on without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    /// That of the machine.
    System,
    /// That of the calling user.
    User,
}

/// Whether systemd is the init system of this machine now: `sd_booted(3)`.
pub(crate) fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

impl Manager {
    /// Whether the client is installed.
    /// Fails with [`Error::Missing`].
    pub(crate) fn check_client() -> Result<(), Error> {
        program::find(SYSTEMCTL).map(drop).ok_or(Error::Missing(SYSTEMCTL))
    }

    /// Whether it runs; `runtime` is the user's `XDG_RUNTIME_DIR`, where a user's manager has its socket.
    pub(crate) fn is_running(self, runtime: &Path) -> bool {
        is_booted() && (self == Self::System || runtime.join("systemd/private").exists())
    }

    /// How a person calls the client.
    pub(crate) const fn line(self) -> &'static str {
        match self {
            Self::System => "systemctl",
            Self::User => "systemctl --user",
        }
    }

    /// The client's arguments for these words.
    fn words<'a>(self, words: &[&'a str]) -> Vec<&'a str> {
        let scope: &[&str] = if self == Self::User { &["--user"] } else { &[] };
        [scope, words].concat()
    }

    /// The client with these words.
    pub(super) fn command(self, words: &[&str]) -> Result<Command, Error> {
        let path = program::find(SYSTEMCTL).ok_or(Error::Missing(SYSTEMCTL))?;
        let mut command = program::command(&path, &self.words(words));
        if self == Self::User {
            program::give_session(&mut command);
        }
        Ok(command)
    }

    /// Runs the client, which must succeed, and returns what it prints.
    /// Fails like [`program::run`].
    pub(crate) fn run(self, words: &[&str]) -> Result<String, Error> {
        let mut command = self.command(words)?;
        let output = command.output().map_err(|error| Error::Run(command.get_program().into(), error))?;
        program::succeeded(SYSTEMCTL, &self.words(words), output)
    }

    /// Whether the client succeeds. Fails when it cannot be run.
    pub(super) fn succeeds(self, words: &[&str]) -> Result<bool, Error> {
        match self.run(words) {
            Ok(_) => Ok(true),
            Err(Error::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the client prints, however it ends, if it does so in time.
    pub(super) fn ask(self, words: &[&str]) -> Option<String> {
        let mut command = self.command(words).ok()?;
        command.stderr(Stdio::null());
        let (sender, receiver) = mpsc::channel();
        // If it is late, this process goes on without it.
        std::thread::spawn(move || sender.send(command.output()));
        let output = receiver.recv_timeout(PATIENCE).ok()?.ok()?;
        String::from_utf8(output.stdout).ok()
    }

    /// Has it read its unit files again.
    /// Fails like [`Self::run`].
    pub(crate) fn reload(self) -> Result<(), Error> {
        self.run(&["daemon-reload"]).map(drop)
    }

    /// What it tells about all its services, running or not; `None` if it tells nothing in time.
    pub(crate) fn services(self, properties: &str) -> Option<Vec<Properties>> {
        let listed = |verb: &[&'static str]| {
            let plain = ["--type=service", "--no-legend", "--no-pager", "--plain", "--full"];
            self.ask(&[verb, &plain].concat())
        };
        let files = listed(&["list-unit-files"])?;
        let loaded = listed(&["list-units", "--all"]).unwrap_or_default();
        // Templates are no services.
        let names = files.lines().chain(loaded.lines()).filter_map(|line| line.split_whitespace().next());
        let mut names: Vec<&str> = names.filter(|name| !name.contains("@.")).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return None;
        }
        let wanted = format!("--property={properties}");
        let told = self.ask(&[&["show", &wanted, "--"], &names[..]].concat())?;
        Some(Properties::read_all(&told))
    }
}
