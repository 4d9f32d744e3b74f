//! The real binary in the foreground, on a port of the kernel's choice, with a configuration of the test's own.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::kept::{keep, keep_files, planted};
use crate::tools::{bound, run_any};

/// How long a gateway may take to serve, or to stop.
const PATIENCE: Duration = Duration::from_secs(90);

/// What precedes the address in the line that announces the service: in the banner for people, and in the log.
const ANNOUNCEMENTS: [&str; 2] = ["serving on http://", "listening=\""];

/// A running gateway; dropping it kills it.
pub(crate) struct Gateway {
    /// The process.
    child: Child,
    /// Its process group; `None` once it has ended by itself, since what it leaves behind is for the tests to find.
    group: Option<Pid>,
    /// `127.0.0.1:PORT`.
    address: String,
    /// Everything it has printed.
    printed: Arc<Mutex<String>>,
    /// Where its files are; removed at last.
    scratch: tempfile::TempDir,
}

impl Gateway {
    /// Starts a gateway with these upstreams and waits until it serves.
    pub(crate) async fn start(upstreams: &str) -> Self {
        Self::start_with("", upstreams, &[]).await
    }

    /// Starts a gateway with further lines of `[server]` and further variables in its own environment.
    pub(crate) async fn start_with(server: &str, upstreams: &str, environment: &[(&str, &str)]) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let text = format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{server}\n{upstreams}");
        write(&scratch.path().join("mcpeg.toml"), &planted(&text));
        Self::launch(scratch, environment).await
    }

    /// Starts the gateway whose files are in `scratch`.
    async fn launch(scratch: tempfile::TempDir, environment: &[(&str, &str)]) -> Self {
        let mut command = command(scratch.path());
        command.envs(environment.iter().copied());
        let mut child = command.kill_on_drop(true).spawn().expect("the binary starts");
        let group = Pid::from_raw(child.id().expect("running").try_into().expect("a pid fits"));
        let printed = Arc::<Mutex<String>>::default();
        let (sender, mut lines) = mpsc::unbounded_channel();
        follow(child.stdout.take().expect("piped"), sender.clone(), Arc::clone(&printed));
        follow(child.stderr.take().expect("piped"), sender, Arc::clone(&printed));
        let announced = tokio::time::timeout(PATIENCE, announcement(&mut lines)).await;
        let Ok(Some(address)) = announced else {
            let _ = killpg(group, Signal::SIGKILL);
            panic!("the gateway does not serve; it printed:\n{}", text_of(&printed));
        };
        Self { child, group: Some(group), address, printed, scratch }
    }

    /// Runs a gateway that is expected to end by itself, with this whole configuration.
    pub(crate) async fn run(configuration: &str) -> Output {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        write(&scratch.path().join("mcpeg.toml"), configuration);
        let mut command = command(scratch.path());
        let ended = tokio::time::timeout(PATIENCE, run_any(&mut command)).await;
        ended.expect("a gateway that cannot serve ends by itself")
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The process.
    pub(crate) fn pid(&self) -> Pid {
        self.group.expect("it has not been stopped before")
    }

    /// Waits until it has ended by itself or by a signal sent before; its exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it does not end; it printed:\n{}", self.printed()));
        self.group = None;
        ended.expect("a child of ours").code()
    }

    /// The endpoint's URL: of all upstreams for `/mcp`, of one for `/mcp/NAME`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything it has printed up to now.
    pub(crate) fn printed(&self) -> String {
        text_of(&self.printed)
    }

    /// Gives it another configuration and reloads; what the command printed, and how it ended.
    pub(crate) async fn reload(&self, server: &str, upstreams: &str) -> Output {
        let text = format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{server}\n{upstreams}");
        write(&self.scratch.path().join("mcpeg.toml"), &planted(&text));
        self.control("--reload").await
    }

    /// Waits until it has printed this.
    pub(crate) async fn prints(&self, text: &str) {
        let printed = async {
            while !self.printed().contains(text) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, printed).await;
        assert!(waited.is_ok(), "it does not print `{text}`: {}", self.printed());
    }

    /// What `--status --json` answers, once it is the gateway itself that answers: on a busy machine that may take longer
    /// than the command waits for it.
    pub(crate) async fn status(&self) -> serde_json::Value {
        let answered = async {
            loop {
                let output = self.control("--status").await;
                let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
                if status["degraded"].is_null() {
                    return status;
                }
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("the gateway answers for itself")
    }

    /// Requests in flight.
    pub(crate) async fn in_flight(&self) -> u64 {
        self.status().await["in_flight"].as_u64().expect("a number")
    }

    /// Runs a control action, which answers as JSON where it is `--status`.
    async fn control(&self, action: &str) -> Output {
        let mut command = bound(env!("CARGO_BIN_EXE_mcpeg"));
        command.arg(action).arg("--pid-file").arg(self.scratch.path().join("run/mcpeg.pid"));
        if action == "--status" {
            command.arg("--json");
        }
        run_any(&mut command).await
    }

    /// Stops it by TERM and insists on exit code 0.
    pub(crate) async fn stop(mut self) {
        let group = self.group.expect("it has not been stopped before");
        nix::sys::signal::kill(group, Signal::SIGTERM).expect("it runs");
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it does not stop; it printed:\n{}", self.printed()));
        self.group = None;
        let status = ended.expect("a child of ours");
        assert_eq!(status.code(), Some(0), "it printed:\n{}", self.printed());
    }

    /// Has another process take its place, and returns when that serves.
    pub(crate) async fn restart(&self) {
        let restarted = self.control("--restart").await;
        assert!(restarted.status.success(), "{restarted:?}: {}", self.printed());
    }

    /// Stops whichever process has its place now.
    pub(crate) async fn stop_all(self) {
        let stopped = self.control("--stop").await;
        assert!(stopped.status.success(), "{stopped:?}: {}", self.printed());
    }

    /// Kills it without a chance to clean up, and starts it again in the same place.
    pub(crate) async fn crash(mut self) -> Self {
        self.child.kill().await.expect("it runs");
        self.group = None;
        let empty = tempfile::tempdir().expect("a scratch directory");
        let scratch = std::mem::replace(&mut self.scratch, empty);
        Self::launch(scratch, &[]).await
    }

    /// A file of its own.
    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path().join(name)
    }

    /// Stops it by TERM and starts it again in the same place.
    pub(crate) async fn again(mut self) -> Self {
        let empty = tempfile::tempdir().expect("a scratch directory");
        let scratch = std::mem::replace(&mut self.scratch, empty);
        self.stop().await;
        Self::launch(scratch, &[]).await
    }

    /// Kills it without a chance to clean up.
    pub(crate) async fn kill(mut self) {
        self.group = None;
        self.child.kill().await.expect("it runs");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // A gateway that crashed has no group any more, which is fine.
            let _ = killpg(group, Signal::SIGKILL);
        }
        keep(self.printed().as_bytes());
        keep_files(self.scratch.path());
    }
}

/// The command for a foreground gateway whose files are all in `scratch`.
fn command(scratch: &Path) -> Command {
    let path = scratch.join("mcpeg.toml");
    let mut command = bound(env!("CARGO_BIN_EXE_mcpeg"));
    command.arg("--config").arg(path).arg("--pid-file").arg(scratch.join("run/mcpeg.pid"));
    for name in [
        "STATE_DIRECTORY",
        "MCPEG_LISTEN",
        "MCPEG_DEV",
        "MCPEG_LOG_FILE",
        "MCPEG_LOG_LEVEL",
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
    ] {
        command.env_remove(name);
    }
    std::fs::create_dir_all(scratch.join("run")).expect("scratch is writable");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command
}

/// Writes a file.
pub(crate) fn write(path: &Path, content: &str) {
    let mut file = std::fs::File::create(path).expect("scratch is writable");
    file.write_all(content.as_bytes()).expect("scratch is writable");
}

/// Passes on each line, and keeps all of them for failure messages.
fn follow(
    output: impl AsyncRead + Unpin + Send + 'static,
    sender: mpsc::UnboundedSender<String>,
    printed: Arc<Mutex<String>>,
) {
    let mut lines = BufReader::new(output).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let _ = writeln!(printed.lock().expect("no panic while locked"), "{line}");
            // Nobody listens any more once the address is known.
            let _ = sender.send(line);
        }
    });
}

/// The address in the line that announces the service; `None` if the process ends without one.
async fn announcement(lines: &mut mpsc::UnboundedReceiver<String>) -> Option<String> {
    while let Some(line) = lines.recv().await {
        for before in ANNOUNCEMENTS {
            if let Some((_, rest)) = line.split_once(before) {
                let end = rest.find(|c: char| "/\",".contains(c) || c.is_whitespace()).unwrap_or(rest.len());
                return Some(rest[..end].to_owned());
            }
        }
    }
    None
}

/// A copy of what was printed.
fn text_of(printed: &Mutex<String>) -> String {
    printed.lock().expect("no panic while locked").clone()
}

/// An upstream over HTTP, started by the test; dropping it kills it.
pub(crate) struct HttpUpstream {
    /// The process.
    child: Child,
    /// Its port.
    pub(crate) port: u16,
    /// Keeps reading what the process prints.
    _lines: mpsc::UnboundedReceiver<String>,
}

impl HttpUpstream {
    /// Starts a command that serves on loopback and prints a line that ends with its port.
    pub(crate) async fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the upstream starts");
        let printed = Arc::<Mutex<String>>::default();
        let (sender, mut lines) = mpsc::unbounded_channel();
        follow(child.stdout.take().expect("piped"), sender.clone(), Arc::clone(&printed));
        follow(child.stderr.take().expect("piped"), sender, Arc::clone(&printed));
        let first = tokio::time::timeout(PATIENCE, lines.recv()).await.ok().flatten();
        let port = first.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        let port = port.unwrap_or_else(|| panic!("the upstream names no port: {}", text_of(&printed)));
        Self { child, port, _lines: lines }
    }

    /// The number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}
