//! Processes of a test: their ends, their signals, and whether they live.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kept::keep;

/// No single step of a test takes longer, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// What is promised: this long after a gateway's death nothing of it is left.
pub const PROMISE: Duration = Duration::from_secs(2);
/// How much longer a busy machine may take to show it.
pub const GRACE: Duration = Duration::from_secs(20);

/// What a finished command left behind.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal, if one ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Waits for a child's end and collects its output; a child that hangs is killed and fails the test.
pub fn finish(child: Child) -> Finished {
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
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Insists that most of these ends came within [`PROMISE`]; each came within [`GRACE`] after that, since another process
/// may have had the processor.
pub fn most_within_promise(mut ends: Vec<Duration>) {
    ends.sort();
    assert!(ends[ends.len() / 2] <= PROMISE, "{ends:?}");
}

/// Sends a signal to a process of the test.
pub fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Suspends a process, and waits until all of it stands still.
pub fn suspend(pid: i32) {
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
pub fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    let threads = fields.split(' ').nth(20 - 3).and_then(|field| field.parse().ok()).unwrap_or(0);
    !fields.starts_with(['Z', 'X']) || threads > 1
}

/// Every process.
pub fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}
