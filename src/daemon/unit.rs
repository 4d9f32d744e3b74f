//! Gateways that are the main process of a systemd unit: what systemd has to do itself, so that its view stays right.
//!
//! A reload and an upgrade are fine in any way, since the gateway tells systemd of them. A stop is not: with
//! `Restart=always` the gateway would be back at once. Whether a gateway is a unit's main process is asked of systemd: the
//! control group alone says little, since what cron or a login starts is in the group of their units.

use std::path::{Path, PathBuf};

use super::record::Record;
use crate::systemd::{self, Manager, Properties, Unit};

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

/// The unit whose main process the gateway is. None for a command of the unit itself, such as `ExecStop=`: what it asked
/// systemd for would wait for its own end.
pub(crate) fn of(record: &Record) -> Option<Unit> {
    let name = record.unit.clone()?;
    if systemd::own_unit().as_ref() == Some(&name) {
        return None;
    }
    let pid = record.pid.to_string();
    let units = [Manager::System, Manager::User].map(|manager| Unit::new(manager, name.clone()));
    units.into_iter().find(|unit| unit.told("MainPID").is_some_and(|told| told.get("MainPID") == pid))
}

/// The unit whose gateway has this pid file when it runs, for one that does not. None for a command of the unit itself.
pub(crate) fn with_pid_file(pid_file: &Path) -> Option<Unit> {
    let managers = [
        (Manager::System, PathBuf::from("/run")),
        (Manager::User, PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default())),
    ];
    managers.into_iter().filter(|(manager, run)| manager.is_running(run)).find_map(|(manager, run)| {
        let services = manager.services("Id,LoadState,ExecStart,RuntimeDirectory,Environment")?;
        let name = named_by(&services, pid_file, &run)?;
        (systemd::own_unit().as_ref() != Some(&name)).then(|| Unit::new(manager, name))
    })
}

/// The first service that has this pid file, where run-time directories are below `run`.
fn named_by(services: &[Properties], pid_file: &Path, run: &Path) -> Option<String> {
    let serves = |service: &&Properties| {
        service.is_loaded() && pid_file_of(service, run).is_some_and(|path| path == pid_file)
    };
    services.iter().find(serves).map(|service| service.get("Id").to_owned())
}

/// The pid file of the gateway that a service starts; `None` if it starts something else.
fn pid_file_of(service: &Properties, run: &Path) -> Option<PathBuf> {
    let mut words = service.command_line()?;
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
    let named =
        named.or_else(|| service.words("Environment").find_map(|text| text.strip_prefix("MCPEG_PID_FILE=")));
    if let Some(named) = named {
        return Some(named.into());
    }
    let directory = service.words("RuntimeDirectory").next().unwrap_or("mcpeg");
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
        let named = |all: &str, pid_file: &str, run: &str| {
            named_by(&Properties::read_all(all), Path::new(pid_file), Path::new(run))
        };
        for (pid_file, expected) in [
            ("/run/mcpeg/mcpeg.pid", Some("mcpeg.service")),
            ("/run/mcpeg-two/mcpeg.pid", Some("two.service")),
            ("/run/3.pid", Some("three.service")),
            ("/run/three/mcpeg.pid", None),
            ("/run/4.pid", Some("four.service")),
            ("/run/5.pid", Some("five.service")),
            ("/run/other.pid", None),
        ] {
            assert_eq!(named(&all, pid_file, "/run").as_deref(), expected, "{pid_file}");
        }
        let below = named(&all, "/run/user/1000/mcpeg/mcpeg.pid", "/run/user/1000");
        assert_eq!(below.as_deref(), Some("mcpeg.service"));
        let masked = all.replace("LoadState=loaded", "LoadState=masked");
        assert_eq!(named(&masked, "/run/4.pid", "/run"), None);
    }
}
