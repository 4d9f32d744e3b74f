//! The real binary with run-time files of its own, in a scratch directory that takes its gateway along.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::{Finished, finish, processes, until};
use crate::kept::{SECRET, keep_files, planted};
use crate::program::{command, mcpeg};

/// How long upstreams may take until they were tried once.
const ATTEMPT: Duration = Duration::from_secs(30);

/// A directory with a configuration, a pid file and whatever else a gateway makes.
pub struct Site {
    /// The directory; removed at last.
    directory: tempfile::TempDir,
    /// Where a daemon logs that is told of no file.
    logs: tempfile::TempDir,
    /// Further variables of each process.
    variables: Vec<(String, String)>,
    /// Whether processes outlive the value.
    abandoned: bool,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// A site whose gateway listens on a free port of the loopback address.
    pub fn new() -> Self {
        Self::serving("", "")
    }

    /// The same with further lines of `[server]`, and with these upstreams.
    pub fn serving(server: &str, upstreams: &str) -> Self {
        Self::with_config(&configuration(server, upstreams))
    }

    /// A site with this configuration.
    pub fn with_config(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let logs = tempfile::tempdir().unwrap();
        // For users as whom gateways run.
        fs::set_permissions(logs.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let site = Self { directory, logs, variables: Vec::new(), abandoned: false };
        site.write("mcpeg.toml", config);
        site
    }

    /// Gives each process of the site another variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets processes outlive the value: what ends them is for the test to see.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Gives the site another configuration, like [`Self::serving`].
    pub(crate) fn configure(&self, server: &str, upstreams: &str) {
        self.write("mcpeg.toml", configuration(server, upstreams));
    }

    /// Every living gateway of the site.
    pub fn gateways(&self) -> Vec<i32> {
        processes().filter(|pid| uses(*pid, self.directory.path())).collect()
    }

    /// A path in the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where a daemon logs that is told of no file.
    pub fn logs(&self) -> PathBuf {
        self.logs.path().join("mcpeg")
    }

    /// The pid file.
    pub fn pid_file(&self) -> PathBuf {
        self.path("mcpeg.pid")
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let content = content.as_ref();
        let text = std::str::from_utf8(content).ok().filter(|_| name == "mcpeg.toml");
        let planted = text.map_or_else(|| content.to_vec(), |text| planted(text).into_bytes());
        write(&self.path(name), planted);
    }

    /// mcpeg with these arguments and an environment that only names the site's files.
    pub fn mcpeg(&self, arguments: &[&str]) -> Command {
        let mut mcpeg = command(mcpeg());
        mcpeg.args(arguments);
        self.surround(&mut mcpeg);
        mcpeg
    }

    /// A shell script in which `$MCPEG` is the binary.
    pub fn shell(&self, script: &str) -> Command {
        let mut shell = command("sh");
        shell.args(["-c", script]);
        self.surround(&mut shell);
        shell.env("MCPEG", mcpeg());
        shell
    }

    /// Gives a command the site's environment and directory, and standard descriptors that the test reads.
    pub fn surround(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("MCPEG_CONFIG", self.path("mcpeg.toml"))
            .env("MCPEG_PID_FILE", self.pid_file())
            .env("PLANTED_TOKEN", SECRET)
            .env("LOGS_DIRECTORY", self.logs())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    }

    /// Runs mcpeg to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.mcpeg(arguments).spawn().unwrap())
    }

    /// Starts a daemon, and returns its pid.
    pub fn daemon(&self) -> i32 {
        let finished = self.run(&["--daemon"]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let pid = self.pid();
        assert!(finished.stdout.starts_with("mcpeg is serving on "), "{finished:?}");
        assert!(finished.stdout.ends_with(&format!(", pid {pid}\n")), "{finished:?}");
        self.tried();
        pid
    }

    /// Waits until each upstream was tried once, as far as that does not take too long.
    fn tried(&self) {
        let begun = Instant::now();
        let starting = |upstream: &serde_json::Value| upstream["state"] == "starting";
        while begun.elapsed() < ATTEMPT
            && self.status()["upstreams"].as_array().into_iter().flatten().any(starting)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts a gateway in the foreground, as our child, and waits until it is ready.
    pub fn foreground(&self) -> Child {
        let child = self.mcpeg(&[]).spawn().unwrap();
        until("the gateway writes its pid file", || self.pid_file().exists());
        child
    }

    /// The number in the pid file.
    pub fn pid(&self) -> i32 {
        fs::read_to_string(self.pid_file()).unwrap().trim().parse().unwrap()
    }

    /// What `--status --json` answers, once it is the gateway itself that answers: on a busy machine that may take longer
    /// than the command waits for it.
    pub fn status(&self) -> serde_json::Value {
        let mut status = None;
        until("the gateway answers for itself", || {
            let finished = self.run(&["--status", "--json"]);
            status = own_answer(finished.stdout.as_bytes());
            status.is_some()
        });
        status.unwrap()
    }

    /// Waits until the gateway serves, and is not only on the way to that: until then a request to stop ends its start.
    pub fn serves(&self) {
        until("the gateway serves", || self.status()["state"] == "running");
    }

    /// The first listener's address.
    pub fn address(&self) -> SocketAddr {
        self.status()["listeners"][0].as_str().unwrap().parse().unwrap()
    }

    /// The record in the lock file.
    pub fn record(&self) -> Option<serde_json::Value> {
        let content = fs::read_to_string(self.path("mcpeg.lock")).ok()?;
        serde_json::from_str(content.lines().next()?).ok()
    }
}

impl Drop for Site {
    /// Ends every gateway that still uses the site, also after a failed test.
    fn drop(&mut self) {
        for pid in if self.abandoned { Vec::new() } else { self.gateways() } {
            // It may have ended by itself since.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        keep_files(self.directory.path());
        keep_files(&self.logs());
    }
}

/// Writes a file.
pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::File::create(path).unwrap().write_all(content.as_ref()).unwrap();
}

/// A configuration with a listener on a free port, further lines of `[server]`, and these upstreams.
fn configuration(server: &str, upstreams: &str) -> String {
    format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{server}\n{upstreams}")
}

/// What `--status --json` has printed, if the gateway itself has answered.
pub(crate) fn own_answer(printed: &[u8]) -> Option<serde_json::Value> {
    let status: serde_json::Value = serde_json::from_slice(printed)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(printed)));
    status["degraded"].is_null().then_some(status)
}

/// Whether a process is mcpeg with its pid file in this directory.
fn uses(pid: i32, directory: &Path) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let wanted = format!("MCPEG_PID_FILE={}/", directory.display());
    let is_mcpeg = fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| exe == Path::new(mcpeg()) || exe.starts_with(directory));
    is_mcpeg && environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(wanted.as_bytes()))
}
