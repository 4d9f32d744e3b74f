//! Disks that fail, quotas that are used up, file systems that have become read-only, directories that are locked.
//!
//! EIO and EDQUOT come from the kernel on strace(1)'s order, for the log file alone; EROFS from an ext4 file system whose
//! kernel has found an error in it, and EPERM from a directory that chattr(1) has made immutable.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcpeg::sys::process::command;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;

use crate::checker::check;
use crate::site::{get, site, warn};
use crate::support::daemon::{finish, send, until};
use crate::support::fault::Fault;
use crate::trouble::reckon;
use crate::workload::{End, Load, Place, accepted, under_way};

/// Makes writing this file fail in this process.
fn refuse_writes(pid: i32, file: &Path, error: &str) -> Fault {
    let inject = format!("inject=write:error={error}");
    Fault::attach(pid, &["-P", file.to_str().unwrap(), "-e", "trace=write", "-e", &inject])
}

/// Runs a workload whose log cannot be written from `begin` on until `end` has mended it; gives what was lost.
fn suffer<T>(
    what: &str,
    place: &Place,
    extra: &[PathBuf],
    begin: impl FnOnce(i32) -> T,
    end: impl FnOnce(T),
) -> u64 {
    let child = place.start(Load { first: 0, threads: 2, records: u64::MAX, rate: 500, end: End::Return });
    under_way(&place.log(), 10_000);
    let fault = begin(child.id().cast_signed());
    // More records than wait for the disk at most.
    std::thread::sleep(Duration::from_millis(1500));
    let state = || fs::metadata(place.log()).map(|file| (file.ino(), file.len()));
    let before = state().unwrap();
    end(fault);
    until("the log goes on", || state().is_ok_and(|now| now.1 > 0 && now != before));
    reckon(what, place, child, extra)
}

#[test]
#[ignore = "needs strace"]
fn a_disk_that_fails_and_a_quota_cost_exactly_what_is_reported() {
    for error in ["EIO", "EDQUOT"] {
        let place = Place::new("rotate_size = \"never\"\nqueue = \"16KiB\"\n");
        let begin = |pid| refuse_writes(pid, &place.log(), error);
        assert!(suffer(error, &place, &[], begin, drop) > 0);
    }
}

#[test]
#[ignore = "needs strace"]
fn a_gateway_serves_on_and_tells_of_a_failing_disk_in_status_and_metrics() {
    for (error, text) in
        [("EIO", "Input/output error"), ("EDQUOT", "quota"), ("EROFS", "Read-only file system")]
    {
        let site = site("console_level = \"off\"\nqueue = \"1KiB\"\n");
        let child = site.foreground();
        let (address, file) = (site.address(), site.path("mcpeg.log"));
        let metric = |name: &str| {
            let (status, text) = get(address, "/metrics");
            assert_eq!(status, 200);
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} in {text}")).parse::<u64>().unwrap()
        };
        assert_eq!(metric("mcpeg_log_trouble"), 0);
        let fault = refuse_writes(child.id().cast_signed(), &file, error);
        until("so much is lost that it shows", || {
            warn(address);
            metric("mcpeg_log_records_lost_total{level=\"warn\"}") > 10
        });
        let status = site.status();
        assert!(status["log"]["trouble"].as_str().is_some_and(|trouble| trouble.contains(text)), "{status}");
        assert_eq!(metric("mcpeg_log_trouble"), 1);
        drop(fault);
        until("the trouble is over", || site.status()["log"]["trouble"].is_null());
        assert_eq!(metric("mcpeg_log_trouble"), 0);
        let status = site.status();
        let lost = status["log"]["lost"].as_u64().unwrap();
        assert_eq!(status["log"]["lost_by_level"]["warn"].as_u64(), Some(lost), "{status}");
        assert_eq!(metric("mcpeg_log_records_lost_total{level=\"warn\"}"), lost);
        assert!(site.run(&["--status"]).stdout.contains(&format!("{lost} records ({lost} warn)")));
        send(child.id().cast_signed(), Signal::SIGTERM);
        let finished = finish(child);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let told: Vec<&str> = finished.stderr.lines().collect();
        assert!(
            matches!(told[..], [begin, end] if begin.contains(text) && end.contains(&format!("{lost} records")))
        );
        let found = check(&file, &[]);
        found.is_sound();
        assert_eq!(found.reported, lost);
    }
}

#[test]
#[ignore = "needs strace"]
fn a_file_that_cannot_be_forced_to_the_disk_is_told_of_once_however_often_it_is_tried() {
    let site = site("console_level = \"off\"\nfsync = \"1s\"\n");
    let child = site.foreground();
    let (address, file) = (site.address(), site.path("mcpeg.log"));
    let trouble = || site.status()["log"]["trouble"].as_str().map(str::to_owned);
    let injection = ["-P", file.to_str().unwrap(), "-e", "inject=fdatasync:error=EIO"];
    let fault = Fault::attach(child.id().cast_signed(), &injection);
    until("the trouble is in the status", || {
        warn(address);
        trouble().is_some_and(|text| text.contains("cannot sync log file"))
    });
    // Three more attempts, after each of which it could be forgotten.
    let tried = std::time::Instant::now();
    while tried.elapsed() < Duration::from_secs(3) {
        warn(address);
        assert!(trouble().is_some());
    }
    drop(fault);
    until("the trouble is over", || trouble().is_none());
    send(child.id().cast_signed(), Signal::SIGTERM);
    let finished = finish(child);
    let told: Vec<&str> = finished.stderr.lines().collect();
    assert!(
        matches!(told[..], [begin, end] if begin.contains("cannot sync") && end.contains("over: ")),
        "{told:?}"
    );
}

#[test]
#[ignore = "needs strace"]
fn a_gateway_that_must_not_work_without_its_log_ends_when_the_disk_fails() {
    let site = site("on_full = \"stop\"\n");
    let child = site.foreground();
    let address = site.address();
    let _fault = refuse_writes(child.id().cast_signed(), &site.path("mcpeg.log"), "EIO");
    warn(address);
    let finished = finish(child);
    assert_eq!(finished.code, Some(71), "{finished:?}");
    assert!(finished.stderr.contains("Input/output error"), "{finished:?}");
}

/// A file system of its own on a loop device.
struct Ext4(PathBuf);

impl Ext4 {
    /// Makes one in this file, and mounts it; an error in it makes it read-only.
    fn mount(image: &Path, target: PathBuf) -> Self {
        fs::create_dir_all(&target).unwrap();
        fs::File::create(image).unwrap().set_len(16 << 20).unwrap();
        run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        run("mount", &["-o", "loop,errors=remount-ro", image.to_str().unwrap(), target.to_str().unwrap()]);
        Self(target)
    }

    /// Has the kernel find an error in it.
    fn damage(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let here = format!(" {} ", self.0.display());
        let device = mounts.lines().find(|line| line.contains(&here)).and_then(|line| line.split(' ').next());
        let name = device.and_then(|device| device.strip_prefix("/dev/")).unwrap();
        let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
        fs::OpenOptions::new().write(true).open(trigger).unwrap().write_all(b"1").unwrap();
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // What was mounted above it goes first.
        while umount2(&self.0, MntFlags::MNT_DETACH).is_ok() {}
    }
}

/// Runs a program that must succeed.
fn run(program: &str, arguments: &[&str]) {
    let output = command(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

#[test]
#[ignore = "needs root for mount(2)"]
fn a_file_system_that_has_become_read_only_is_left_for_the_one_that_is_mounted_over_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (log, old) = (scratch.path().join("log"), scratch.path().join("old"));
    let disk = Ext4::mount(&scratch.path().join("image"), log.clone());
    fs::create_dir(&old).unwrap();
    mount(Some(&log), &old, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let bound = Ext4(old.clone());
    let place = Place::within(scratch, "rotate_size = \"never\"\nqueue = \"16KiB\"\n");
    let end = |()| mount(Some("tmpfs"), &log, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
    let lost = suffer("EROFS", &place, &[old.join("mcpeg.log")], |_| disk.damage(), end);
    assert!(lost > 0);
    drop((bound, disk));
}

#[test]
#[ignore = "needs root for mount(2)"]
fn a_directory_that_cannot_be_changed_keeps_the_file_in_use_until_it_can() {
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("log");
    let disk = Ext4::mount(&scratch.path().join("image"), log.clone());
    let place = Place::within(scratch, "rotate_size = \"20KiB\"\ncompress = \"none\"\n");
    let child = place.start(Load { first: 0, threads: 2, records: u64::MAX, rate: 500, end: End::Return });
    under_way(&place.log(), 1);
    run("chattr", &["+i", log.to_str().unwrap()]);
    under_way(&place.log(), 100_000);
    run("chattr", &["-i", log.to_str().unwrap()]);
    until("the file is rotated", || fs::metadata(place.log()).is_ok_and(|file| file.len() < 20 << 10));
    send(child.id().cast_signed(), Signal::SIGTERM);
    let finished = finish(child);
    let found = check(&place.log(), &[]);
    found.is_sound();
    assert_eq!((found.missing, found.records()), (0, accepted(&finished).iter().sum()), "{found:?}");
    assert!(found.rotated > 0, "{found:?}");
    drop(disk);
}
