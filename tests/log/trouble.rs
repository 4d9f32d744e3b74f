//! Queues and disks that are full, and what is told about it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use mcpeg::sys::process::command;
use nix::sys::signal::Signal;

use crate::checker::check;
use crate::disk::Small;
use crate::site::get;
use crate::support::daemon::{Site, finish, send, suspend, until};
use crate::workload::{End, Load, Place, accepted, under_way};

#[test]
fn a_queue_that_drops_reports_exactly_what_is_missing() {
    let place = Place::new("queue = \"1KiB\"\noverflow = \"drop\"\n");
    let finished = place.run(Load { first: 0, threads: 4, records: 5_000, rate: 0, end: End::Return });
    let found = check(&place.log(), &[]);
    found.is_sound();
    assert!(found.reported > 0, "{found:?}");
    let all: u64 = accepted(&finished).iter().sum();
    assert_eq!(found.records() + found.reported, all, "{found:?}");
}

#[test]
fn a_log_that_nobody_can_own_is_not_rotated_and_loses_nothing() {
    let place = Place::new("rotate_size = \"4KiB\"\n");
    // Unlike the mode of the directory this keeps root out too.
    fs::create_dir(place.log().with_file_name(".mcpeg.log.lock")).unwrap();
    let finished = place.run(Load { first: 0, threads: 2, records: 500, rate: 0, end: End::Return });
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let found = check(&place.log(), &[]);
    found.is_whole(2, 500);
    assert_eq!(found.rotated, 0);
}

#[test]
fn a_name_that_cannot_be_made_keeps_the_file_in_use_and_the_answer_says_why() {
    let site = Site::new();
    let name = format!("{}.log", "x".repeat(240));
    let file = site.path(&name);
    let text = format!("[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nfile = \"{}\"\n", file.display());
    site.write("mcpeg.toml", text);
    let child = site.foreground();
    // With the time behind it the name is longer than any file system allows.
    for _ in 0..3 {
        let answer = site.run(&["--log-rotate"]);
        assert_eq!(answer.code, Some(73), "{answer:?}");
        assert!(answer.stderr.contains("cannot rotate log file"), "{answer:?}");
    }
    send(child.id().cast_signed(), Signal::SIGTERM);
    assert_eq!(finish(child).code, Some(0));
    let log = fs::read_to_string(file).unwrap();
    assert_eq!(log.matches("\"not rotated\"").count(), 3, "{log}");
    assert!(log.contains("\"stopped\""), "{log}");
}

#[test]
fn a_standard_error_that_nobody_reads_does_not_hold_the_gateway_up() {
    let site = Site::with_config("[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nlevel = \"trace\"\n");
    let child = site.foreground();
    // A pipe holds 64 KiB; each request has several lines of trace.
    let address = site.address();
    for _ in 0..300 {
        assert_eq!(get(address, "/health").0, 200);
    }
    assert_eq!(site.status()["state"], "running");
    send(child.id().cast_signed(), Signal::SIGTERM);
    assert_eq!(finish(child).code, Some(0));
}

/// Runs a workload on a disk that is full for this long; gives what was lost.
fn full_for(time: Duration, queue: &str) -> u64 {
    let scratch = tempfile::tempdir().unwrap();
    let disk = Small::mount(scratch.path().join("log"), 4 << 20);
    let place = Place::within(scratch, &format!("rotate_size = \"never\"\nqueue = \"{queue}\"\n"));
    let load = Load { first: 0, threads: 2, records: u64::MAX, rate: 500, end: End::Return };
    let child = place.start(load);
    under_way(&place.log(), 10_000);
    let ballast = disk.fill();
    let size = || fs::metadata(place.log()).unwrap().len();
    // Time is what is tested here.
    std::thread::sleep(time);
    let before = size();
    fs::remove_file(ballast).unwrap();
    until("the log goes on", || size() > before);
    reckon(&format!("full for {time:?}"), &place, child, &[])
}

/// Stops a workload whose log could not be written for a while: what is lost must be what is reported. Gives that.
pub(crate) fn reckon(what: &str, place: &Place, child: Child, extra: &[PathBuf]) -> u64 {
    send(child.id().cast_signed(), Signal::SIGTERM);
    let finished = finish(child);
    let found = check(&place.log(), extra);
    found.is_sound();
    let all: u64 = accepted(&finished).iter().sum();
    assert_eq!((found.missing, found.records()), (found.reported, all - found.reported), "{found:?}");
    let line = format!("{what}: {all} accepted, {} lost, {} reported\n", found.missing, found.reported);
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    found.missing
}

#[test]
#[ignore = "needs root for mount(2)"]
fn a_disk_that_is_full_for_a_second_costs_nothing_and_for_longer_exactly_what_is_reported() {
    assert_eq!(full_for(Duration::from_secs(1), "4MiB"), 0);
    assert!(full_for(Duration::from_secs(2), "16KiB") > 0);
}

#[test]
#[ignore = "needs root for mount(2)"]
fn a_disk_that_is_full_for_a_minute_costs_exactly_what_is_reported() {
    assert!(full_for(Duration::from_secs(60), "64KiB") > 0);
}

/// A gateway that logs to a small disk.
fn gateway(lines: &str) -> (Site, Small, Child) {
    let site = Site::new();
    let disk = Small::mount(site.path("log"), 1 << 20);
    let file = site.path("log/mcpeg.log");
    let head = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\ncompress = \"none\"\nfile = \"{}\"\n",
        file.display()
    );
    site.write("mcpeg.toml", head + lines);
    let child = site.foreground();
    (site, disk, child)
}

#[test]
#[ignore = "needs root for mount(2)"]
fn a_gateway_serves_on_while_its_disk_is_full_and_tells_the_beginning_and_the_end() {
    let (site, disk, child) = gateway("console_level = \"off\"\n");
    let address = site.address();
    let ballast = disk.fill();
    until("the trouble is in the status", || {
        // A new file needs room for its first record, which tells of the rotation.
        send(child.id().cast_signed(), Signal::SIGUSR1);
        assert_eq!(get(address, "/health").0, 200);
        site.status()["log"]["trouble"].as_str().is_some_and(|text| text.contains("No space left"))
    });
    assert!(site.run(&["--status"]).stdout.contains("log trouble"));
    fs::remove_file(ballast).unwrap();
    until("the trouble is over", || {
        assert_eq!(get(address, "/health").0, 200);
        site.status()["log"]["trouble"].is_null()
    });
    send(child.id().cast_signed(), Signal::SIGTERM);
    let finished = finish(child);
    assert_eq!(finished.code, Some(0));
    let told: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(told.len(), 2, "{finished:?}");
    assert!(
        told[0].contains("cannot write log file") && told[1].contains("is written again"),
        "{finished:?}"
    );
    let log = fs::read_to_string(site.path("log/mcpeg.log")).unwrap();
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
#[ignore = "needs root for mount(2)"]
fn a_gateway_that_must_not_work_without_its_log_drains_and_exits_71() {
    let (site, disk, child) = gateway("on_full = \"stop\"\n");
    let address = site.address();
    disk.fill();
    send(child.id().cast_signed(), Signal::SIGUSR1);
    until("nobody listens any more", || std::net::TcpStream::connect(address).is_err());
    let finished = finish(child);
    assert_eq!(finished.code, Some(71), "{finished:?}");
    assert!(finished.stderr.contains("the log cannot be written"), "{finished:?}");
}

/// Runs logrotate(8) with this snippet for the log, `times` times.
fn logrotate(place: &Place, script: &str, times: usize) {
    let snippet = place.path("snippet");
    let text =
        format!("{} {{\n  rotate 100\n  nocompress\n  missingok\n{script}\n}}\n", place.log().display());
    fs::File::create(&snippet).unwrap().write_all(text.as_bytes()).unwrap();
    fs::set_permissions(&snippet, fs::Permissions::from_mode(0o644)).unwrap();
    for _ in 0..times {
        let mut logrotate = command("/usr/sbin/logrotate");
        logrotate.args(["--force", "--state"]).arg(place.path("state")).arg(&snippet);
        let finished = logrotate.output().unwrap();
        assert!(finished.status.success(), "{finished:?}");
    }
}

/// What logrotate has moved, the oldest first.
fn moved(log: &Path, times: usize) -> Vec<PathBuf> {
    (1..=times).rev().map(|number| PathBuf::from(format!("{}.{number}", log.display()))).collect()
}

#[test]
#[ignore = "needs logrotate"]
fn logrotate_fifty_times_loses_nothing() {
    let place = Place::new("rotate = \"external\"\n");
    let child = place.start(Load { first: 0, threads: 4, records: u64::MAX, rate: 2_000, end: End::Return });
    under_way(&place.log(), 1);
    let pid = child.id();
    logrotate(&place, &format!("  create\n  postrotate\n    kill -USR1 {pid}\n  endscript"), 50);
    send(pid.cast_signed(), Signal::SIGTERM);
    let finished = finish(child);
    let found = check(&place.log(), &moved(&place.log(), 50));
    found.is_sound();
    assert_eq!((found.missing, found.records()), (0, accepted(&finished).iter().sum()), "{found:?}");
}

#[test]
#[ignore = "needs logrotate"]
fn copytruncate_tears_nothing_while_the_gateway_stands_still() {
    let place = Place::new("rotate = \"external\"\n");
    let child = place.start(Load { first: 0, threads: 2, records: u64::MAX, rate: 500, end: End::Return });
    let pid = child.id().cast_signed();
    for _ in 0..5 {
        under_way(&place.log(), 1000);
        // Between the copy and the truncation nobody may write: that is its limit, whatever the program.
        suspend(pid);
        logrotate(&place, "  copytruncate", 1);
        send(pid, Signal::SIGCONT);
    }
    send(pid, Signal::SIGTERM);
    let finished = finish(child);
    let found = check(&place.log(), &moved(&place.log(), 5));
    found.is_sound();
    assert_eq!((found.missing, found.records()), (0, accepted(&finished).iter().sum()), "{found:?}");
}
