//! Gateways that are the main process of a systemd unit: what systemd has to do itself, so that its view stays right.
//!
//! A reload and an upgrade are fine in any way, since the gateway tells systemd of them. A stop is not: with
//! `Restart=always` the gateway would be back at once. Whether a gateway is a unit's main process is asked of systemd: the
//! control group alone says little, since what cron or a login starts is in the group of their units.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::record::{self, Record};
use crate::sys::process::command;

/// How long systemd may take to tell about a unit.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a program does that does not serve, in the first or any word.
const NOT_SERVING: [&str; 10] = [
    "--stop",
    "--restart",
    "--reload",
    "--status",
    "--log-rotate",
    "--check",
    "install",
    "uninstall",
    "import",
    "generate",
];

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
    pub fn of(record: &Record) -> Option<Self> {
        let name = record.unit.clone()?;
        if record::own_unit().as_ref() == Some(&name) {
            return None;
        }
        let pid = record.pid.to_string();
        let managers = [false, true].map(|user| Self { name: name.clone(), user });
        managers.into_iter().find(|unit| unit.property("MainPID").as_ref() == Some(&pid))
    }

    /// The command line that makes systemd do something with the unit.
    #[must_use]
    pub fn line(&self, verb: &str) -> String {
        self.arguments(verb).join(" ")
    }

    /// The unit whose gateway has this pid file when it runs, for one that does not. None for a command of the unit itself.
    #[must_use]
    pub fn with_pid_file(pid_file: &Path) -> Option<Self> {
        let managers = [
            (false, PathBuf::from("/run")),
            (true, PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default())),
        ];
        // sd_booted(3), and for a user's manager its socket.
        let lives = |(user, run): &(bool, PathBuf)| {
            run.join("systemd").join(if *user { "private" } else { "system" }).exists()
        };
        managers.into_iter().filter(lives).find_map(|(user, run)| {
            let name = named_by(&services(user)?, pid_file, &run)?;
            (record::own_unit().as_ref() != Some(&name)).then_some(Self { name, user })
        })
    }

    /// Why systemd would not follow its main process to another one, in words; `None` if it would, or nobody can tell. Of
    /// a unit that is not loaded, systemd knows no `NotifyAccess=`: it hears no `MAINPID=` and ends the new process with the
    /// old one.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        let arguments = self.arguments("show");
        let wanted = ["--property", "LoadState,NotifyAccess"];
        let told = ask(arguments[1..].iter().map(String::as_str).chain(wanted))?;
        let is = |line: &str| told.lines().any(|told| told == line);
        let state = told.lines().find_map(|line| line.strip_prefix("LoadState="))?;
        match state {
            "masked" => Some("is masked".to_owned()),
            "loaded" | "merged" if is("NotifyAccess=none") => Some("has NotifyAccess=none".to_owned()),
            "loaded" | "merged" => None,
            other => Some(format!("is not loaded ({other})")),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has systemd stop it, and waits until it has.
    ///
    /// # Errors
    /// When systemctl(1) cannot be run.
    pub fn stop(&self) -> io::Result<ExitStatus> {
        self.act("stop")
    }

    /// Has systemd start it, and waits until it serves.
    ///
    /// # Errors
    /// When systemctl(1) cannot be run.
    pub fn start(&self) -> io::Result<ExitStatus> {
        self.act("start")
    }

    /// Has systemd do something with it, and waits for the end of that.
    fn act(&self, verb: &str) -> io::Result<ExitStatus> {
        let [program, arguments @ ..] = &self.arguments(verb)[..] else {
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
        let answer = ask(arguments[1..].iter().map(String::as_str).chain(["--value", "--property", name]))?;
        Some(answer.trim().to_owned())
    }
}

/// What systemctl(1) prints, if it does so in time.
fn ask<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut systemctl = command("systemctl");
    systemctl.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    let (sender, receiver) = mpsc::channel::<io::Result<Output>>();
    // If it is late, this process goes on without it.
    std::thread::spawn(move || sender.send(systemctl.output()));
    let output = receiver.recv_timeout(PATIENCE).ok()?.ok()?;
    String::from_utf8(output.stdout).ok()
}

/// What a manager tells about all its services, running or not: properties a line, and an empty line between two services.
fn services(user: bool) -> Option<String> {
    let scope = if user { "--user" } else { "--system" };
    let listed = |verb: &[&'static str]| {
        let plain = ["--type=service", "--no-legend", "--no-pager", "--plain", "--full"];
        ask([scope].into_iter().chain(verb.iter().copied()).chain(plain))
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
    let wanted = "--property=Id,LoadState,ExecStart,RuntimeDirectory,Environment";
    ask([scope, "show", wanted, "--"].into_iter().chain(names))
}

/// The first service that has this pid file, where run-time directories are below `run`.
fn named_by(services: &str, pid_file: &Path, run: &Path) -> Option<String> {
    services.split("\n\n").find_map(|service| {
        let property = |name: &str| {
            service.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
        };
        let serves = property("LoadState") == "loaded" && pid_file_of(&property, run)? == pid_file;
        serves.then(|| property("Id").to_owned())
    })
}

/// The pid file of the gateway that a service starts; `None` if it starts something else.
fn pid_file_of<'a>(property: &impl Fn(&str) -> &'a str, run: &Path) -> Option<PathBuf> {
    // `{ path=/usr/bin/mcpeg ; argv[]=/usr/bin/mcpeg --config FILE ; ignore_errors=no ; … }`
    let (_, line) = property("ExecStart").split_once("argv[]=")?;
    let mut words = line.split(" ;").next()?.split_whitespace();
    if Path::new(words.next()?).file_name()? != "mcpeg" {
        return None;
    }
    let mut named = None;
    while let Some(word) = words.next() {
        match word.split_once('=').map_or((word, None), |(option, value)| (option, Some(value))) {
            ("--pid-file", value) => named = value.or_else(|| words.next()),
            (option, _) if NOT_SERVING.contains(&option) => return None,
            _ => {}
        }
    }
    let variables = || property("Environment").split_whitespace();
    let named = named.or_else(|| variables().find_map(|text| text.strip_prefix("MCPEG_PID_FILE=")));
    if let Some(named) = named {
        return Some(named.into());
    }
    let directory = property("RuntimeDirectory").split_whitespace().next().unwrap_or("mcpeg");
    Some(run.join(directory).join("mcpeg.pid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `systemctl show` tells about a service with this program and these properties.
    fn service(id: &str, line: &str, others: &str) -> String {
        format!(
            "{others}\nExecStart={{ path=/x ; argv[]={line} ; ignore_errors=no ; pid=0 }}\nId={id}\nLoadState=loaded\n"
        )
    }

    #[test]
    fn unit_is_the_one_that_has_the_pid_file() {
        let all = [
            service("ssh.service", "/usr/sbin/sshd -D", "RuntimeDirectory=mcpeg"),
            service("mcpeg-watch.service", "/usr/bin/mcpeg --reload", "RuntimeDirectory="),
            service(
                "mcpeg.service",
                "/usr/bin/mcpeg --config /etc/mcpeg/mcpeg.toml",
                "RuntimeDirectory=mcpeg more",
            ),
            service("two.service", "/opt/mcpeg --listen=unix:/x", "RuntimeDirectory=mcpeg-two"),
            service("three.service", "/opt/mcpeg --pid-file /run/3.pid --dev", "RuntimeDirectory=three"),
            service("four.service", "/opt/mcpeg --pid-file=/run/4.pid", ""),
            service("five.service", "/opt/mcpeg", "Environment=A=1 MCPEG_PID_FILE=/run/5.pid"),
        ]
        .join("\n");
        for (pid_file, expected) in [
            ("/run/mcpeg/mcpeg.pid", Some("mcpeg.service")),
            ("/run/mcpeg-two/mcpeg.pid", Some("two.service")),
            ("/run/3.pid", Some("three.service")),
            ("/run/three/mcpeg.pid", None),
            ("/run/4.pid", Some("four.service")),
            ("/run/5.pid", Some("five.service")),
            ("/run/other.pid", None),
        ] {
            let found = named_by(&all, Path::new(pid_file), Path::new("/run"));
            assert_eq!(found.as_deref(), expected, "{pid_file}");
        }
        let below = Path::new("/run/user/1000/mcpeg/mcpeg.pid");
        assert_eq!(named_by(&all, below, Path::new("/run/user/1000")).as_deref(), Some("mcpeg.service"));
        let masked = all.replace("LoadState=loaded", "LoadState=masked");
        assert_eq!(named_by(&masked, Path::new("/run/4.pid"), Path::new("/run")), None);
    }
}
