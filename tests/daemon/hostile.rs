//! Pid files that are stale, forged or dangerous: nothing but a proved mcpeg is ever signalled.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Child;

use mcpeg::sys::identity::Identity;
use mcpeg::sys::process::command;

use crate::support::daemon::{Site, lives};

/// A process that has nothing to do with mcpeg.
struct Innocent(Child);

impl Innocent {
    /// Starts it.
    fn new() -> Self {
        Self(command("sleep").arg("600").spawn().unwrap())
    }

    /// Its number.
    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// Fails the test if somebody ended it.
    fn check(&mut self, what: &str) {
        assert!(self.0.try_wait().unwrap().is_none(), "{what} ended an innocent process");
    }
}

impl Drop for Innocent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn stale_pid_of_an_innocent_is_dead_for_status_and_not_signalled_by_stop() {
    let site = Site::new();
    let mut innocent = Innocent::new();
    site.write("mcpeg.pid", format!("{}\n", innocent.pid()));
    assert_eq!(site.run(&["--status"]).code, Some(1));
    let stopped = site.run(&["--stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    innocent.check("--stop");
    assert!(!site.pid_file().exists(), "the stale file stayed");
    site.write("mcpeg.pid", format!("{}\n", innocent.pid()));
    assert_ne!(site.daemon(), innocent.pid());
    innocent.check("--daemon");
}

#[test]
fn held_lock_with_a_forged_record_signals_nobody() {
    let site = Site::new();
    let mut innocent = Innocent::new();
    let own = Identity::own().unwrap();
    let record = serde_json::json!({
        "pid": innocent.pid(), "start_time": own.start_time - 1, "boot_id": own.boot_id, "since": 0,
        "version": "0", "executable": null, "config": null,
        "pid_file": site.pid_file(), "control": site.path("mcpeg.sock"),
    });
    site.write("mcpeg.lock", format!("{record}\n"));
    site.write("mcpeg.pid", format!("{}\n", innocent.pid()));
    let file = fs::File::open(site.path("mcpeg.lock")).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    for (action, code) in [("--stop", 75), ("--status", 4), ("--daemon", 75)] {
        let finished = site.run(&[action]);
        assert_eq!(finished.code, Some(code), "{finished:?}");
        innocent.check(action);
    }
    assert!(site.pid_file().exists(), "a file under somebody's lock was removed");
}

/// Puts something in the place of the pid file.
type Trap = fn(&Site);

/// Each with its name.
const TRAPS: [(&str, Trap); 10] = [
    ("text", |site| site.write("mcpeg.pid", "precious\n")),
    ("minus one", |site| site.write("mcpeg.pid", "-1\n")),
    ("zero", |site| site.write("mcpeg.pid", "0\n")),
    ("one", |site| site.write("mcpeg.pid", "1\n")),
    ("mebibyte", |site| site.write("mcpeg.pid", vec![b'7'; 1 << 20])),
    ("binary", |site| site.write("mcpeg.pid", [0xff, 0, 7])),
    ("symlink", |site| {
        site.write("target", "4711\n");
        symlink(site.path("target"), site.pid_file()).unwrap();
    }),
    ("fifo", |site| nix::unistd::mkfifo(&site.pid_file(), nix::sys::stat::Mode::S_IRWXU).unwrap()),
    ("directory", |site| fs::create_dir(site.pid_file()).unwrap()),
    ("world-writable", |site| {
        site.write("mcpeg.pid", "4711\n");
        fs::set_permissions(site.pid_file(), Permissions::from_mode(0o666)).unwrap();
    }),
];

#[test]
fn what_is_no_pid_file_is_refused_and_left_alone() {
    for (name, trap) in TRAPS {
        let site = Site::new();
        trap(&site);
        let before = fs::symlink_metadata(site.pid_file()).unwrap();
        for (action, code) in [("--status", 1), ("--stop", 73), ("--daemon", 73)] {
            let finished = site.run(&[action]);
            assert_eq!(finished.code, Some(code), "{name}, {action}: {finished:?}");
            let said = format!("{}{}", finished.stdout, finished.stderr);
            assert!(said.contains(site.pid_file().to_str().unwrap()), "{name}, {action}: {finished:?}");
        }
        let after = fs::symlink_metadata(site.pid_file()).unwrap();
        assert_eq!(before.modified().unwrap(), after.modified().unwrap(), "{name} was changed");
        assert_eq!((before.len(), before.file_type()), (after.len(), after.file_type()), "{name}");
    }
}

#[test]
fn empty_pid_file_is_stale() {
    let site = Site::new();
    site.write("mcpeg.pid", "");
    assert_eq!(site.run(&["--status"]).code, Some(1));
    assert!(lives(site.daemon()));
}

#[test]
fn world_writable_directory_is_refused_by_every_action() {
    let site = Site::new();
    fs::set_permissions(site.path(""), Permissions::from_mode(0o777)).unwrap();
    for (action, code) in [("--daemon", 73), ("--stop", 73), ("--status", 4)] {
        let finished = site.run(&[action]);
        assert_eq!(finished.code, Some(code), "{finished:?}");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(said.contains("writable for everybody"), "{finished:?}");
    }
}

#[test]
fn lock_file_that_is_a_link_or_fifo_is_refused_and_does_not_hang() {
    let link: Trap = |site| symlink(site.path("mcpeg.toml"), site.path("mcpeg.lock")).unwrap();
    let fifo: Trap =
        |site| nix::unistd::mkfifo(&site.path("mcpeg.lock"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for trap in [link, fifo] {
        let site = Site::new();
        let config = fs::read(site.path("mcpeg.toml")).unwrap();
        trap(&site);
        for (action, code) in [("--daemon", 73), ("--stop", 73), ("--status", 4)] {
            let finished = site.run(&[action]);
            assert_eq!(finished.code, Some(code), "{finished:?}");
        }
        assert_eq!(fs::read(site.path("mcpeg.toml")).unwrap(), config);
    }
}
