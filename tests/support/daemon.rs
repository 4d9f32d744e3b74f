//! The real binary with run-time files of its own, in a scratch directory that takes its gateway along.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mcpeg::sys::process::command;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::kept::{SECRET, keep, keep_files, planted};

/// No single step of a test takes longer, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// What is promised: this long after a gateway's death nothing of it is left.
pub(crate) const PROMISE: Duration = Duration::from_secs(2);
/// How much longer a busy machine may take to show it.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// The binary under test.
pub(crate) const MCPEG: &str = env!("CARGO_BIN_EXE_mcpeg");

/// A directory with a configuration, a pid file and whatever else a gateway makes.
pub(crate) struct Site(tempfile::TempDir);

/// What a finished command left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal, if one ended it.
    pub(crate) signal: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Site {
    /// A site whose gateway listens on a free port of the loopback address.
    pub(crate) fn new() -> Self {
        Self::with_config("[server]\nlisten = [\"127.0.0.1:0\"]\n")
    }

    /// A site with this configuration.
    pub(crate) fn with_config(config: &str) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        site.write("mcpeg.toml", config);
        site
    }

    /// Every living gateway of the site.
    pub(crate) fn gateways(&self) -> Vec<i32> {
        processes().filter(|pid| uses(*pid, self.0.path())).collect()
    }

    /// A path in the site.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The pid file.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.path("mcpeg.pid")
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let content = content.as_ref();
        let text = std::str::from_utf8(content).ok().filter(|_| name == "mcpeg.toml");
        let planted = text.map_or_else(|| content.to_vec(), |text| planted(text).into_bytes());
        fs::File::create(self.path(name)).unwrap().write_all(&planted).unwrap();
    }

    /// mcpeg with these arguments and an environment that only names the site's files.
    pub(crate) fn mcpeg(&self, arguments: &[&str]) -> Command {
        let mut mcpeg = command(MCPEG);
        mcpeg.args(arguments);
        self.surround(&mut mcpeg);
        mcpeg
    }

    /// A shell script in which `$MCPEG` is the binary.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut shell = command("sh");
        shell.args(["-c", script]);
        self.surround(&mut shell);
        shell.env("MCPEG", MCPEG);
        shell
    }

    /// Environment, directory and standard descriptors.
    fn surround(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("MCPEG_CONFIG", self.path("mcpeg.toml"))
            .env("MCPEG_PID_FILE", self.pid_file())
            .env("PLANTED_TOKEN", SECRET)
            // Where a daemon logs that is told of no file.
            .env("LOGS_DIRECTORY", self.path("logs"))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    }

    /// Runs mcpeg to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.mcpeg(arguments).spawn().unwrap())
    }

    /// Starts a daemon, and returns its pid.
    pub(crate) fn daemon(&self) -> i32 {
        let finished = self.run(&["--daemon"]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let pid = self.pid();
        assert!(finished.stdout.starts_with("mcpeg is serving on "), "{finished:?}");
        assert!(finished.stdout.ends_with(&format!(", pid {pid}\n")), "{finished:?}");
        pid
    }

    /// Starts a gateway in the foreground, as our child, and waits until it is ready.
    pub(crate) fn foreground(&self) -> Child {
        let child = self.mcpeg(&[]).spawn().unwrap();
        until("the gateway writes its pid file", || self.pid_file().exists());
        child
    }

    /// The number in the pid file.
    pub(crate) fn pid(&self) -> i32 {
        fs::read_to_string(self.pid_file()).unwrap().trim().parse().unwrap()
    }

    /// What `--status --json` answers, once it is the gateway itself that answers: on a busy machine that may take longer
    /// than the command waits for it.
    pub(crate) fn status(&self) -> serde_json::Value {
        let mut status = serde_json::Value::Null;
        until("the gateway answers for itself", || {
            let finished = self.run(&["--status", "--json"]);
            status = serde_json::from_str(&finished.stdout)
                .unwrap_or_else(|error| panic!("{error}: {finished:?}"));
            status["degraded"].is_null()
        });
        status
    }

    /// Waits until the gateway serves, and is not only on the way to that: until then a request to stop ends its start.
    pub(crate) fn serves(&self) {
        until("the gateway serves", || self.status()["state"] == "running");
    }

    /// The first listener's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.status()["listeners"][0].as_str().unwrap().parse().unwrap()
    }

    /// The record in the lock file.
    pub(crate) fn record(&self) -> Option<serde_json::Value> {
        let content = fs::read_to_string(self.path("mcpeg.lock")).ok()?;
        serde_json::from_str(content.lines().next()?).ok()
    }
}

impl Drop for Site {
    /// Ends every gateway that still uses the site, also after a failed test.
    fn drop(&mut self) {
        for pid in self.gateways() {
            // It may have ended by itself since.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        keep_files(self.0.path());
    }
}

/// A request that is in flight until [`Held::complete`]: its body is not sent as a whole.
pub(crate) struct Held(TcpStream);

/// The body of a request that a gateway answers in some way.
const BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

impl Held {
    /// Sends the first half, and waits until the gateway has accepted it.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            BODY.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The gateway asks for the body only when its handler reads it: from here on the request is in flight.
        let mut answer = [0; 25];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(&BODY.as_bytes()[..10]).unwrap();
        Self(stream)
    }

    /// Waits until the connection ends without an answer.
    pub(crate) fn ends_unanswered(mut self) -> bool {
        let mut answer = Vec::new();
        match self.0.read_to_end(&mut answer) {
            Ok(_) => answer.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Sends the rest and returns the beginning of the answer, without waiting for the end of the connection.
    pub(crate) fn answer(mut self) -> String {
        self.0.write_all(&BODY.as_bytes()[10..]).unwrap();
        let mut answer = [0; 64];
        let length = self.0.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    /// Sends the rest and returns the whole answer.
    pub(crate) fn complete(mut self) -> String {
        self.0.write_all(&BODY.as_bytes()[10..]).unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// Waits for a child's end and collects its output; a child that hangs is killed and fails the test.
pub(crate) fn finish(child: Child) -> Finished {
    let pid = Pid::from_raw(child.id().cast_signed());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(DEADLINE) else {
        let _ = kill(pid, Signal::SIGKILL);
        panic!("process {pid} did not end in time");
    };
    let output = output.unwrap();
    keep(&output.stderr);
    Finished {
        code: output.status.code(),
        signal: output.status.signal(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits until a condition holds; names it if it never does.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Insists that most of these ends came within [`PROMISE`]; each came within [`GRACE`] after that, since another process
/// may have had the processor.
pub(crate) fn most_within_promise(mut ends: Vec<Duration>) {
    ends.sort();
    assert!(ends[ends.len() / 2] <= PROMISE, "{ends:?}");
}

/// Sends a signal to a process of the test.
pub(crate) fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Suspends a process, and waits until all of it stands still.
pub(crate) fn suspend(pid: i32) {
    send(pid, Signal::SIGSTOP);
    until("every thread is suspended", || {
        let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        // One that has ended since it was listed is not suspended, and is not listed again.
        tasks.all(|task| {
            task.and_then(|task| fs::read_to_string(task.path().join("stat")))
                .is_ok_and(|stat| stat.contains(") T "))
        })
    });
}

/// Whether the process exists and is no zombie. A zombie that still has other threads is dying: they hold its files
/// and with them its lock (field 20 of `proc_pid_stat(5)`, here counted from field 3).
pub(crate) fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    let threads = fields.split(' ').nth(20 - 3).and_then(|field| field.parse().ok()).unwrap_or(0);
    !fields.starts_with(['Z', 'X']) || threads > 1
}

/// Every process.
pub(crate) fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Whether a process is mcpeg with its pid file in this directory.
fn uses(pid: i32, directory: &Path) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let wanted = format!("MCPEG_PID_FILE={}/", directory.display());
    let is_mcpeg = fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| exe == Path::new(MCPEG) || exe.starts_with(directory));
    is_mcpeg && environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(wanted.as_bytes()))
}
