//! The processes that are measured: starting them, what they take, ending them.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

/// Names another binary to measure. The one that `cargo bench` builds is larger than what is shipped: it has the features of
/// libraries that only tests want.
const BINARY: &str = "MCPEG";

/// A running gateway in a scratch directory.
pub(crate) struct Gateway {
    /// Its process.
    pub(crate) child: Child,
    /// Where it serves.
    pub(crate) address: SocketAddr,
    /// Its files.
    scratch: tempfile::TempDir,
}

/// Memory that is resident, in KiB (`proc_pid_status(5)`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) all: u64,
    /// What is the process's own: `RssAnon`.
    pub(crate) anonymous: u64,
    /// Pages of the binary and its libraries: `RssFile`.
    pub(crate) file: u64,
}

impl Gateway {
    /// Starts one with this rest of `[server]` and these upstreams; returns when it serves.
    pub(crate) fn start(configuration: &str) -> Self {
        Self::start_under(&[], configuration)
    }

    /// The same under another program.
    pub(crate) fn start_under(words: &[&str], configuration: &str) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let command = command(words, scratch.path(), "127.0.0.1:0", configuration);
        Self::spawn(command, scratch)
    }

    /// Starts another binary, or this one, with this whole configuration.
    pub(crate) fn start_other(binary: Option<&str>, configuration: &str) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let mut command = binary.map_or_else(|| Command::new(own()), Command::new);
        place(&mut command, scratch.path(), configuration);
        Self::spawn(command, scratch)
    }

    /// Starts a command whose files are here.
    fn spawn(mut command: Command, scratch: tempfile::TempDir) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the gateway starts");
        let address = announced(&mut child);
        Self { child, address, scratch }
    }

    /// A new token for a client.
    pub(crate) fn token(&self, client: &str) -> String {
        let mut command = Command::new(own());
        let words = ["token", "create", client, "--pid-file"];
        command.args(words).arg(self.scratch.path().join("mcpeg.pid"));
        let output = command.env("STATE_DIRECTORY", self.scratch.path()).output().expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a token").trim().to_owned()
    }

    /// What it has resident.
    pub(crate) fn memory(&self) -> Memory {
        Memory::of(self.child.id())
    }

    /// Its processor time.
    pub(crate) fn time(&self) -> Duration {
        processor_time(self.child.id())
    }

    /// The processor time of its children.
    pub(crate) fn time_of_children(&self) -> Duration {
        children(self.child.id()).into_iter().map(processor_time).sum()
    }

    /// Asks it to stop and waits for it.
    pub(crate) fn end(mut self) {
        end(&mut self.child);
    }
}

impl Memory {
    /// That of a process.
    pub(crate) fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
        let line = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel counts it");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
        };
        Self { all: line("VmRSS:"), anonymous: line("RssAnon:"), file: line("RssFile:") }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { all, anonymous, file } = self;
        write!(f, "{all} KiB resident ({anonymous} of its own, {file} of files)")
    }
}

/// A gateway's command line, under another program if there are words of one.
pub(crate) fn command(words: &[&str], scratch: &Path, listen: &str, configuration: &str) -> Command {
    let mut command = match words {
        [] => Command::new(own()),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(own());
            command
        }
    };
    place(&mut command, scratch, &format!("[server]\nlisten = [\"{listen}\"]\n{configuration}"));
    command
}

/// The binary that is measured.
fn own() -> std::ffi::OsString {
    std::env::var_os(BINARY).unwrap_or_else(|| env!("CARGO_BIN_EXE_mcpeg").into())
}

/// Writes a configuration, and adds where the gateway's files are.
fn place(command: &mut Command, scratch: &Path, configuration: &str) {
    let file = scratch.join("mcpeg.toml");
    std::fs::write(&file, format!("{configuration}\n")).expect("the scratch directory can be written");
    command.arg("--config").arg(&file).arg("--pid-file").arg(scratch.join("mcpeg.pid"));
    command.env("STATE_DIRECTORY", scratch);
}

/// The first line that a child prints.
pub(crate) fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    std::io::BufReader::new(stdout).read_line(&mut line).expect("a line");
    line.trim().to_owned()
}

/// The address that the gateway's log announces; the rest of the log is read and dropped.
fn announced(child: &mut Child) -> SocketAddr {
    let stderr = child.stderr.take().expect("piped");
    let mut lines = std::io::BufReader::new(stderr).lines().map_while(Result::ok);
    let address = lines
        .find_map(|line| {
            let url = line.split_once("serving on http")?.1.trim_start_matches('s').strip_prefix("://")?;
            url.split_once('/')?.0.parse().ok()
        })
        .expect("the gateway announces where it serves");
    std::thread::spawn(move || lines.for_each(drop));
    address
}

/// A process's processor time, that of all its threads.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.cast_signed()));
    clock.and_then(ClockId::now).map(Duration::from).unwrap_or_default()
}

/// The children of a process.
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("the processes can be listed").filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').collect::<Vec<_>>());
        fields.is_some_and(|fields| fields.get(1).and_then(|pid| pid.parse().ok()) == Some(parent))
    };
    pids.filter(is_child).collect()
}

/// Asks a process to stop and waits for it.
pub(crate) fn end(child: &mut Child) {
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    let _ = child.wait();
}
