//! A program that logs numbered records through the real module and ends in the way that it is told: this test binary
//! itself, started again with [`child`] as its only test.

use std::fs;
use std::io::{IoSliceMut, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mcpeg::config::{self, Source};
use mcpeg::log::{self, Console, Guard};
use mcpeg::sys::process::command;
use nix::sys::signal::{Signal, kill};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::support::daemon::{Finished, finish};

/// The variable that names the configuration.
const CONFIG: &str = "MCPEG_TEST_WORKLOAD_CONFIG";
/// The variable that says what to do.
const LOAD: &str = "MCPEG_TEST_WORKLOAD";

/// How many records each thread has logged.
static COUNTS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// What to log, and how to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// The number of the first thread.
    pub(crate) first: u64,
    /// How many threads log.
    pub(crate) threads: u64,
    /// How many records each of them has; `u64::MAX` is until TERM.
    pub(crate) records: u64,
    /// How many records a second each of them has; 0 is as many as it can.
    pub(crate) rate: u64,
    /// How the process ends.
    pub(crate) end: End,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The guard is dropped.
    Return,
    /// exit(3) while the guard lives.
    Exit,
    /// A task of a runtime panics, and the process is killed as soon as that is over.
    PanicInTask,
    /// A thread panics, and the process is killed as soon as that is over.
    PanicInThread,
    /// A thread calls abort(3).
    Abort,
}

impl End {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Return, Self::Exit, Self::PanicInTask, Self::PanicInThread, Self::Abort];
}

/// A directory with a log and the configuration for it.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    /// A place with these lines in `[log]`.
    pub(crate) fn new(lines: &str) -> Self {
        Self::within(tempfile::tempdir().unwrap(), lines)
    }

    /// The same in this directory, with the log in `log` there.
    pub(crate) fn within(directory: tempfile::TempDir, lines: &str) -> Self {
        let place = Self(directory);
        fs::create_dir_all(place.log().parent().unwrap()).unwrap();
        let text = format!("[log]\nfile = \"{}\"\nkeep_files = 0\n{lines}", place.log().display());
        fs::File::create(place.path("mcpeg.toml")).unwrap().write_all(text.as_bytes()).unwrap();
        place
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The log file.
    pub(crate) fn log(&self) -> PathBuf {
        self.path("log/mcpeg.log")
    }

    /// Starts the program.
    pub(crate) fn start(&self, load: Load) -> Child {
        let mut child = command(std::env::current_exe().unwrap());
        child
            .args(["--exact", "workload::child", "--ignored", "--nocapture"])
            .env(CONFIG, self.path("mcpeg.toml"))
            .env(
                LOAD,
                format!("{} {} {} {:?} {}", load.threads, load.records, load.rate, load.end, load.first),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        child.spawn().unwrap()
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, load: Load) -> Finished {
        finish(self.start(load))
    }
}

/// How many records each thread says that it has logged.
pub(crate) fn accepted(finished: &Finished) -> Vec<u64> {
    let line = finished.stdout.lines().find_map(|line| line.split_once("accepted ")).map(|(_, rest)| rest);
    let line = line.unwrap_or_else(|| panic!("no counts: {finished:?}"));
    line.split(' ').map(|count| count.parse().unwrap()).collect()
}

/// Waits until the log has this many bytes, so that the program is in the middle of it.
pub(crate) fn under_way(log: &Path, bytes: u64) {
    crate::support::daemon::until("the workload is under way", || {
        fs::metadata(log).is_ok_and(|metadata| metadata.len() >= bytes)
    });
}

/// The program.
#[test]
#[ignore = "runs as a child of the other tests, and does nothing by itself"]
fn child() {
    let Ok(load) = std::env::var(LOAD) else { return };
    let parts: Vec<&str> = load.split(' ').collect();
    let number = |at: usize| parts[at].parse::<u64>().unwrap();
    let end = End::ALL.into_iter().find(|end| format!("{end:?}") == parts[3]).unwrap();
    let load = Load { first: number(4), threads: number(0), records: number(1), rate: number(2), end };
    let source = Source { file: std::env::var_os(CONFIG).map(PathBuf::from), ..Source::default() };
    let settings = config::load(&source).unwrap().log;
    let guard = log::init(&settings, Console::Off).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    obey(guard.handle(), Arc::clone(&stop));
    write_all(load, &stop);
    end_by(load.end, guard);
}

/// Rotates on USR1 and stops on TERM; returns when both have their handlers.
fn obey(log: log::Handle, stop: Arc<AtomicBool>) {
    let (installed, ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let mut user = signal(SignalKind::user_defined1()).unwrap();
            let mut terminate = signal(SignalKind::terminate()).unwrap();
            installed.send(()).unwrap();
            loop {
                tokio::select! {
                    _ = user.recv() => drop(log.rotate().await.unwrap()),
                    _ = terminate.recv() => stop.store(true, Ordering::Relaxed),
                }
            }
        });
    });
    ready.recv().unwrap();
}

/// Logs, and tells how much.
fn write_all(load: Load, stop: &AtomicBool) {
    let counts = &COUNTS[..usize::try_from(load.threads).unwrap()];
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (thread, count) in (load.first..).zip(counts) {
            scope.spawn(move || {
                let mut number = 0_u64;
                while number < load.records && !stop.load(Ordering::Relaxed) {
                    if let Some(micros) = (number * 1_000_000).checked_div(load.rate) {
                        let due = start + Duration::from_micros(micros);
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    }
                    tracing::info!(thread, number, took_ms = 12.5, name = "example", ok = true, "a record");
                    number += 1;
                    count.store(number, Ordering::Relaxed);
                }
            });
        }
    });
    let counts: Vec<String> = counts.iter().map(|count| count.load(Ordering::Relaxed).to_string()).collect();
    let line = format!("\naccepted {}\n", counts.join(" "));
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// Ends the process.
#[expect(clippy::exit, reason = "that is one of the ends that are tested")]
fn end_by(end: End, guard: Guard) {
    let kill_ourselves = || kill(Pid::this(), Signal::SIGKILL).unwrap();
    match end {
        End::Return => drop(guard),
        End::Exit => {
            std::mem::forget(guard);
            std::process::exit(0);
        }
        End::PanicInTask => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            let task = runtime.spawn(async { panic!("in a task") });
            assert!(runtime.block_on(task).is_err());
            kill_ourselves();
        }
        End::PanicInThread => {
            assert!(std::thread::spawn(|| panic!("in a thread")).join().is_err());
            kill_ourselves();
        }
        End::Abort => {
            let thread = std::thread::spawn(|| std::process::abort());
            drop(thread.join());
        }
    }
}

/// How many records a running program has logged: its counters are where ours are, from the beginning of the binary on.
pub(crate) fn logged(pid: u32) -> u64 {
    let beginning = |pid: &str| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let exe = std::env::current_exe().unwrap();
        let first = maps.lines().find(|line| line.ends_with(exe.to_str().unwrap())).unwrap();
        usize::from_str_radix(first.split('-').next().unwrap(), 16).unwrap()
    };
    let base = COUNTS.as_ptr().addr() - beginning("self") + beginning(&pid.to_string());
    let mut bytes = [0; size_of_val(&COUNTS)];
    let remote = [RemoteIoVec { base, len: bytes.len() }];
    let pid = Pid::from_raw(pid.cast_signed());
    assert_eq!(process_vm_readv(pid, &mut [IoSliceMut::new(&mut bytes)], &remote).unwrap(), remote[0].len);
    bytes.chunks(8).map(|count| u64::from_ne_bytes(count.try_into().unwrap())).sum()
}

/// Kills a program and reaps it.
pub(crate) fn kill_now(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}
