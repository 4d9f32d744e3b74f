//! When records are forced to the disk, as strace(1) sees it.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mcpeg::sys::process::command;
use nix::sys::signal::Signal;

use crate::site::{site, warn};
use crate::support::daemon::{Site, finish, send, until};
use crate::support::program::mcpeg;

/// A gateway under strace(1), which notes each call that forces something to the disk; the tracer is our child.
fn traced(mode: &str) -> (Site, Child) {
    let site = site(&format!("fsync = \"{mode}\"\ncompress = \"none\"\n"));
    let mut strace = command("strace");
    strace.args(["-f", "-y", "-e", "trace=fsync,fdatasync", "-o"]).arg(site.path("trace")).arg(mcpeg());
    strace
        .env("MCPEG_CONFIG", site.path("mcpeg.toml"))
        .env("MCPEG_PID_FILE", site.pid_file())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let tracer = strace.spawn().unwrap();
    until("the gateway writes its pid file", || site.pid_file().exists());
    (site, tracer)
}

/// How often the log file was forced to the disk.
fn syncs(trace: &Path) -> usize {
    // `PID fdatasync(7</…/mcpeg.log>) = 0`; what other threads interrupt is not counted twice.
    let text = fs::read_to_string(trace).unwrap();
    text.lines().filter(|line| line.contains("sync(") && line.contains("/mcpeg.log>")).count()
}

/// Rotates three times and stops; how often the log file was forced to the disk.
fn rotated_thrice(mode: &str) -> usize {
    let (site, tracer) = traced(mode);
    for _ in 0..3 {
        let answer = site.run(&["--log-rotate"]);
        assert!(answer.stdout.starts_with("rotated: "), "{answer:?}");
    }
    send(site.pid(), Signal::SIGTERM);
    let finished = finish(tracer);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    syncs(&site.path("trace"))
}

#[test]
#[ignore = "needs strace"]
fn with_never_the_kernel_decides() {
    assert_eq!(rotated_thrice("never"), 0);
}

#[test]
#[ignore = "needs strace"]
fn with_rotate_each_file_is_on_the_disk_before_the_next_one_is_used() {
    // Each of three rotations, and the end.
    assert_eq!(rotated_thrice("rotate"), 4);
}

#[test]
#[ignore = "needs strace"]
fn with_1s_it_happens_each_second_in_which_something_was_written_and_in_no_other() {
    let (site, tracer) = traced("1s");
    let (trace, address) = (site.path("trace"), site.address());
    let (start, before) = (Instant::now(), syncs(&trace));
    until("three seconds' records are on the disk", || {
        warn(address);
        syncs(&trace) >= before + 3
    });
    // One for each second that is over, one for the one that is not, and one that was under way when they were counted.
    let most = usize::try_from(start.elapsed().as_secs()).unwrap() + 2;
    let now = syncs(&trace) - before;
    assert!(now <= most, "{now} in {most} s");
    // The last record that was written is on the disk within about a second; after that there is nothing to do.
    until("everything is on the disk", || {
        let last = syncs(&trace);
        std::thread::sleep(Duration::from_millis(2500));
        syncs(&trace) == last
    });
    send(site.pid(), Signal::SIGTERM);
    assert_eq!(finish(tracer).code, Some(0));
}
