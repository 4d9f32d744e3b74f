//! Gateways that are the main process of a systemd unit: what systemd has to do itself, so that its view stays right.
//!
//! A reload and an upgrade are fine in any way, since the gateway tells systemd of them. A stop is not: with
//! `Restart=always` the gateway would be back at once. Whether a gateway is a unit's main process is asked of systemd: the
//! control group alone says little, since what cron or a login starts is in the group of their units.

use std::io;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::find::Running;
use super::record;
use crate::sys::process::command;

/// How long systemd may take to tell about a unit.
const PATIENCE: Duration = Duration::from_secs(5);

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    name: String,
    /// Whether it is one of the user's own service manager.
    user: bool,
}

impl Unit {
    /// The unit whose main process the gateway is. None for a command of the unit itself, such as `ExecStop=`: what it
    /// asked systemd for would wait for its own end.
    #[must_use]
    pub fn of(running: &Running) -> Option<Self> {
        let name = running.record.unit.clone()?;
        if record::own_unit().as_ref() == Some(&name) {
            return None;
        }
        let pid = running.handle.pid().to_string();
        let managers = [false, true].map(|user| Self { name: name.clone(), user });
        managers.into_iter().find(|unit| unit.property("MainPID").as_ref() == Some(&pid))
    }

    /// The command line that makes systemd do something with the unit.
    #[must_use]
    pub fn line(&self, verb: &str) -> String {
        self.arguments(verb).join(" ")
    }

    /// Has systemd stop it, and waits until it has.
    ///
    /// # Errors
    /// When systemctl(1) cannot be run.
    pub fn stop(&self) -> io::Result<ExitStatus> {
        let [program, arguments @ ..] = &self.arguments("stop")[..] else {
            unreachable!("it starts with a name")
        };
        // The question for a password belongs to whoever types the line.
        command(program).args(arguments).arg("--no-ask-password").stdin(Stdio::null()).status()
    }

    /// Program and arguments.
    fn arguments(&self, verb: &str) -> Vec<String> {
        let scope = self.user.then_some("--user");
        ["systemctl"].into_iter().chain(scope).chain([verb, &self.name]).map(str::to_owned).collect()
    }

    /// A property, if systemd tells it in time.
    fn property(&self, name: &str) -> Option<String> {
        let arguments = self.arguments("show");
        let mut show = command(&arguments[0]);
        show.args(&arguments[1..]).args(["--value", "--property", name]);
        show.stdin(Stdio::null()).stderr(Stdio::null());
        let (sender, receiver) = mpsc::channel::<io::Result<Output>>();
        // If it is late, this process goes on without it.
        std::thread::spawn(move || sender.send(show.output()));
        let output = receiver.recv_timeout(PATIENCE).ok()?.ok()?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    }
}
