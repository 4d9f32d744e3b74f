//! Running a program as a unit would run its own: with the unit's user, environment, credentials, sandbox and limits.
//!
//! systemd alone knows what all directives of a unit and its drop-ins come to, so that systemd runs the trial: the settings of
//! the unit are copied into one of another name, which exists for as long as the trial takes. What the copy must not do is
//! set back at its end: it is no service that others wait for, and it has no directories of its own, since systemd would
//! give those to its user and remove them after it. Instead it may write into the directories of the service.
//!
//! Only root, or the user whose manager it is, can have a trial.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::journal;
use super::properties::Properties;
use super::systemctl::Manager;
use super::unit::Unit;
use crate::program::Error;
use crate::sys::fs::{self, Ownership};

/// What is asked of the unit.
const PROPERTIES: &str =
    "RuntimeDirectory,StateDirectory,CacheDirectory,LogsDirectory,ConfigurationDirectory";
/// What systemd makes for a service: the property, the place for services of the machine (systemd.exec(5)), and the variable
/// that names it to the service.
const DIRECTORIES: [(&str, &str, &str); 5] = [
    ("RuntimeDirectory", "/run", "RUNTIME_DIRECTORY"),
    ("StateDirectory", "/var/lib", "STATE_DIRECTORY"),
    ("CacheDirectory", "/var/cache", "CACHE_DIRECTORY"),
    ("LogsDirectory", "/var/log", "LOGS_DIRECTORY"),
    ("ConfigurationDirectory", "/etc", "CONFIGURATION_DIRECTORY"),
];
/// What the copy has instead of the unit's: a program that ends, whom nobody waits for, and nothing that stays behind.
const INSTEAD: &str = "Type=oneshot\nRemainAfterExit=yes\nRestart=no\nNotifyAccess=none\nWatchdogSec=0\n\
    FileDescriptorStoreMax=0\nBusName=\nPIDFile=\nSockets=\nExecCondition=\nExecStartPre=\nExecStartPost=\nExecReload=\n\
    ExecStop=\nExecStopPost=\nRuntimeDirectory=\nStateDirectory=\nCacheDirectory=\nLogsDirectory=\n\
    ConfigurationDirectory=\nRemoveIPC=no\nTimeoutStartSec=30s\nTimeoutStopSec=5s\nStandardInput=null\n";

/// What has come of a trial.
#[derive(Debug)]
pub(crate) struct Ran {
    /// What the program has printed.
    pub(crate) printed: String,
    /// Why systemd could not even start the program, in its own words.
    pub(crate) obstacle: Option<String>,
}

/// A unit for a trial, with the file for what is printed; both are removed with it.
struct Copy {
    /// The unit.
    unit: Unit,
    /// Its file.
    file: PathBuf,
    /// What is printed.
    printed: PathBuf,
}

/// Runs what the unit runs, with more arguments and variables, and waits for its end. `run` is the manager's run-time
/// directory: `/run`, or the user's.
pub(crate) fn run(unit: &Unit, run: &Path, arguments: &str, variables: &str) -> Result<Ran, Error> {
    let text = unit.manager().run(&["cat", "--no-pager", unit.name()])?;
    let service = section(&text);
    let Some(command) = command(&service) else {
        return Err(Error::Missing("ExecStart"));
    };
    let told = unit.properties(PROPERTIES)?;
    let copy = Copy::new(unit.manager(), run);
    let mut settings = service + INSTEAD;
    let mut add = |line: String| settings.extend([line.as_str(), "\n"]);
    add(directories(&told, unit.manager()));
    add(format!("Environment={variables}"));
    // What it says beside its answer is no answer.
    add(format!("StandardOutput=file:{}\nStandardError=inherit", copy.printed.display()));
    // That the program fails is an answer, too.
    add(format!("ExecStart=\nExecStart=-{} {arguments}", command.trim_start_matches('-')));
    let description = format!("Trial of {}", unit.name());
    let text = format!("[Unit]\nDescription={description}\nDefaultDependencies=no\n[Service]\n{settings}");
    copy.write(&text).map_err(|error| Error::Run(copy.file.clone(), error))?;
    let started = copy.unit.act("start", &[]);
    let told = copy.unit.properties("Result,ExecMainStatus,ExecMainCode").unwrap_or_default();
    let printed = std::fs::read_to_string(&copy.printed).unwrap_or_default();
    let obstacle = match (started.is_ok(), told.get("ExecMainStatus").parse::<u8>()) {
        // systemd's own codes, for what it does before it runs the program: systemd.exec(5).
        (true, Ok(code)) if code < 200 || !printed.is_empty() => None,
        _ => Some(said(&copy.unit, &told)),
    };
    Ok(Ran { printed, obstacle })
}

/// What systemd has said about a unit that it could not start.
fn said(unit: &Unit, told: &Properties) -> String {
    let journal = journal::tail(unit, 10);
    let of_unit = |line: &&String| !line.contains(unit.name()) || line.contains("Failed");
    let lines: Vec<&str> = journal.iter().filter(of_unit).map(String::as_str).collect();
    match lines.first() {
        Some(line) => line.trim_start_matches(unit.name()).trim_start_matches([':', ' ']).to_owned(),
        None => format!("{}, status {}", told.get("Result"), told.get("ExecMainStatus")),
    }
}

/// The directories that systemd makes for the service, as the copy has them.
fn directories(told: &Properties, manager: Manager) -> String {
    let mut text = String::new();
    for (property, place, variable) in DIRECTORIES {
        let paths: Vec<String> = told.words(property).map(|name| format!("{place}/{name}")).collect();
        if paths.is_empty() || manager == Manager::User {
            continue;
        }
        let _ = writeln!(text, "Environment={variable}={}", paths.join(":"));
        if property != "ConfigurationDirectory" {
            let _ = writeln!(text, "ReadWritePaths=-{}", paths.join(" -"));
        }
    }
    text
}

/// The lines of all sections `[Service]`, of the unit's file and of its drop-ins, in their order.
fn section(text: &str) -> String {
    let mut inside = false;
    let mut lines = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line.trim_end() == "[Service]";
        } else if inside && !line.starts_with(['#', ';']) {
            lines.extend([line, "\n"]);
        }
    }
    lines
}

/// The command line of `ExecStart=` as it is written.
fn command(service: &str) -> Option<String> {
    let joined = service.replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.trim_start().strip_prefix("ExecStart"));
    let mut values = lines.filter_map(|rest| rest.trim_start().strip_prefix('=')).map(str::trim);
    values.rfind(|value| !value.is_empty()).map(str::to_owned)
}

impl Copy {
    /// A unit that there is not.
    fn new(manager: Manager, run: &Path) -> Self {
        let name = format!("mcpeg.trial-{}", std::process::id());
        let place = if manager == Manager::User { "systemd/user" } else { "systemd/system" };
        let file = run.join(place).join(format!("{name}.service"));
        let printed = run.join(format!("{name}.out"));
        Self { unit: Unit::new(manager, format!("{name}.service")), file, printed }
    }

    /// Writes its files, for their owner alone: settings may hold secrets.
    fn write(&self, text: &str) -> std::io::Result<()> {
        if let Some(above) = self.file.parent() {
            fs::Directory::make(above, 0o755)?;
        }
        fs::write_atomic(&self.printed, b"", Ownership::mode(0o600))?;
        fs::write_atomic(&self.file, text.as_bytes(), Ownership::mode(0o600))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        drop(self.unit.act("stop", &[]));
        drop(self.unit.reset_failed());
        drop(fs::remove(&self.file));
        drop(fs::remove(&self.printed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_those_of_all_files_and_the_last_command_counts() {
        let text = "# /usr/lib/systemd/system/x.service\n[Unit]\nA=1\n[Service]\n# why\nExecStart=/usr/bin/x --config a\nUser=x\n\
                    [Install]\nB=2\n\n# /etc/systemd/system/x.service.d/y.conf\n[Service]\nExecStart=\nExecStart=/opt/x \\\n  --config b\n";
        let service = section(text);
        assert_eq!(
            service,
            "ExecStart=/usr/bin/x --config a\nUser=x\nExecStart=\nExecStart=/opt/x \\\n  --config b\n"
        );
        let words: Vec<_> = command(&service).unwrap().split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["/opt/x", "--config", "b"]);
        assert_eq!(command("User=x\n"), None);
    }

    #[test]
    fn directories_of_the_service_can_be_written_and_are_not_the_trials_own() {
        let told = Properties::read("RuntimeDirectory=a b\nLogsDirectory=c\nStateDirectory=\n");
        let text = directories(&told, Manager::System);
        assert_eq!(
            text,
            "Environment=RUNTIME_DIRECTORY=/run/a:/run/b\nReadWritePaths=-/run/a -/run/b\n\
             Environment=LOGS_DIRECTORY=/var/log/c\nReadWritePaths=-/var/log/c\n"
        );
    }
}
