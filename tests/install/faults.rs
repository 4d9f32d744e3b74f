//! Every system call that changes something is made to fail, and separately the process is killed there: after a failure
//! the tree is as before; after a kill, running the command again completes it, and a purge restores the tree.
//!
//! strace(1) injects at the n-th call, so that the faults are real for the program, in order and complete.
//! `MCPEG_TEST_STRIDE=1` tries every n that changes something; by default six of each call are tried, from the first to the
//! last, and two that only look.

#![expect(clippy::print_stdout, reason = "the number of points tried is a result")]

use std::collections::BTreeSet;

use crate::scratch::{Scratch, assert_same, text};

/// The calls that change something on the disk, in the installer and in the programs that it runs. `openat` makes files
/// too; it is by far the most frequent, because it opens each directory on the way.
const CALLS: [&str; 11] = [
    "mkdirat",
    "openat",
    "write",
    "fchown",
    "fchmod",
    "fsync",
    "linkat",
    "renameat",
    "renameat2",
    "symlinkat",
    "unlinkat",
];

/// How many points of each call that changes something are tried by default.
const POINTS: usize = 6;
/// How many points of each call that only looks are tried.
const LOOKS: usize = 2;

/// The points that are tried of these calls: [`POINTS`] of those that change something, or what the environment asks for,
/// and [`LOOKS`] of the others.
fn points(calls: &[bool]) -> BTreeSet<usize> {
    let asked = std::env::var("MCPEG_TEST_STRIDE").ok().and_then(|stride| stride.parse().ok());
    let of = |changes: bool, points: usize, asked: Option<usize>| {
        let all: Vec<_> = (1..).zip(calls).filter(|(_, call)| **call == changes).map(|(n, _)| n).collect();
        let stride = asked.unwrap_or(all.len().div_ceil(points)).max(1);
        all.into_iter().step_by(stride)
    };
    of(true, POINTS, asked).chain(of(false, LOOKS, None)).collect()
}

/// A root on which an installation has drifted and gets another configuration, so that files are replaced.
fn drifted() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok(&["install", "--log-rotation", "logrotate"]);
    scratch.put("usr/local/lib/systemd/system/mcpeg.service", "[Service]\n");
    scratch.put("etc/logrotate.d/mcpeg", "#\n");
    scratch.put("usr/local/share/zsh/site-functions/_mcpeg", "#\n");
    scratch
}

/// Injects `fault` at the n-th `call` of the command, for the [`points`] of those that it makes undisturbed; hands each root
/// to `check` afterwards. Returns the number of points.
fn each_point(
    call: &str,
    fault: &str,
    verb: &[&str],
    fresh: fn() -> Scratch,
    check: &dyn Fn(&Scratch, &str),
) -> usize {
    let points = points(&fresh().calls(call, verb));
    let mut scratch = fresh();
    for n in &points {
        let before = scratch.picture();
        let inject = format!("{call}:{fault}:when={n}");
        let output = scratch.traced(&inject, verb);
        let failed = !fault.starts_with("signal") && !output.status.success();
        if failed {
            assert_same(&before, &scratch.picture(), &format!("{inject}: {}", text(&output)));
        }
        check(&scratch, &inject);
        // What is as before serves again, unless it was empty: there, the account stays.
        if !failed || !scratch.at("etc/mcpeg").exists() {
            scratch = fresh();
        }
    }
    points.len()
}

/// A root on which logrotate(8) rotates the log.
fn rotated() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok(&["install", "--log-rotation", "logrotate"]);
    scratch
}

/// One error at every call of an installation below such a root.
fn fails_everywhere(error: &str, fresh: fn() -> Scratch) {
    fails_with(error, &["install"], fresh);
}

/// One error at every call of such an installation.
fn fails_with(error: &str, verb: &[&str], fresh: fn() -> Scratch) {
    let mut points = 0;
    for call in CALLS {
        points += each_point(call, &format!("error={error}"), verb, fresh, &|_, _| {});
    }
    println!("{error}: {points} failures were injected");
    assert!(points > 25, "only {points} points: does strace inject?");
}

#[test]
#[ignore = "needs root: strace injects failures into installations"]
fn broken_disk_at_any_call_of_a_change_of_who_rotates_leaves_the_tree_as_before() {
    fails_with("EIO", &["install", "--log-rotation", "own"], rotated);
}

#[test]
#[ignore = "needs root: strace injects failures into installations"]
fn full_disk_at_any_call_of_a_first_install_leaves_the_tree_as_before() {
    fails_everywhere("ENOSPC", Scratch::new);
}

#[test]
#[ignore = "needs root: strace injects failures into installations"]
fn full_disk_at_any_call_of_a_repair_leaves_the_tree_as_before() {
    fails_everywhere("ENOSPC", drifted);
}

#[test]
#[ignore = "needs root: strace injects failures into installations"]
fn read_only_disk_at_any_call_of_a_first_install_leaves_the_tree_as_before() {
    fails_everywhere("EROFS", Scratch::new);
}

#[test]
#[ignore = "needs root: strace injects failures into installations"]
fn read_only_disk_at_any_call_of_a_repair_leaves_the_tree_as_before() {
    fails_everywhere("EROFS", drifted);
}

#[test]
#[ignore = "needs root: strace injects failures into installations"]
fn refused_permission_at_any_call_of_a_first_install_leaves_the_tree_as_before() {
    fails_everywhere("EPERM", Scratch::new);
}

#[test]
#[ignore = "needs root: strace injects failures into installations"]
fn refused_permission_at_any_call_of_a_repair_leaves_the_tree_as_before() {
    fails_everywhere("EPERM", drifted);
}

#[test]
#[ignore = "needs root: strace injects failures into installations"]
fn broken_disk_at_any_call_of_a_first_install_leaves_the_tree_as_before() {
    fails_everywhere("EIO", Scratch::new);
}

#[test]
#[ignore = "needs root: strace injects failures into installations"]
fn broken_disk_at_any_call_of_a_repair_leaves_the_tree_as_before() {
    fails_everywhere("EIO", drifted);
}

/// Kills an installation at these calls; the same command then completes it, and a purge restores the tree.
fn completes_when_run_again(calls: &[&str]) {
    let clean = Scratch::new().picture();
    let mut points = 0;
    for call in calls {
        points += each_point(call, "signal=KILL", &["install"], Scratch::new, &|scratch, point| {
            scratch.ok(&["install"]);
            let whole = scratch.picture();
            let hidden = |name: &str| name.starts_with('.') && name.contains("mcpeg");
            let named =
                |path: &std::path::Path| hidden(&path.file_name().unwrap_or_default().to_string_lossy());
            assert_eq!(whole.keys().find(|path| named(path)), None, "{point}");
            assert!(scratch.ok(&["install"]).contains("nothing had to be changed"), "{point}");
            scratch.ok(&["uninstall", "--purge"]);
            assert_same(&clean, &scratch.picture(), point);
        });
    }
    println!("{points} kills");
    assert!(points > 5, "only {points} points: does strace inject?");
}

#[test]
#[ignore = "needs root: strace kills installations"]
fn killed_where_it_writes_install_completes_when_run_again_and_purge_restores() {
    completes_when_run_again(&CALLS[..6]);
}

#[test]
#[ignore = "needs root: strace kills installations"]
fn killed_where_it_names_install_completes_when_run_again_and_purge_restores() {
    completes_when_run_again(&CALLS[6..]);
}

#[test]
#[ignore = "needs root: strace kills installations"]
fn killed_at_any_call_install_is_restored_by_a_purge_alone() {
    let clean = Scratch::new().picture();
    let mut points = 0;
    for call in CALLS {
        points += each_point(call, "signal=KILL", &["install"], Scratch::new, &|scratch, point| {
            scratch.ok(&["uninstall", "--purge"]);
            assert_same(&clean, &scratch.picture(), point);
        });
    }
    println!("{points} kills");
    assert!(points > 20, "only {points} points: does strace inject?");
}

#[test]
#[ignore = "needs root: strace kills uninstallations"]
fn killed_at_any_call_purge_completes_when_run_again() {
    let clean = Scratch::new().picture();
    let installed = || {
        let scratch = Scratch::new();
        scratch.ok(&["install"]);
        scratch
    };
    let mut points = 0;
    for call in ["unlinkat", "renameat2", "fsync", "renameat", "write"] {
        points += each_point(call, "signal=KILL", &["uninstall", "--purge"], installed, &|scratch, point| {
            scratch.ok(&["uninstall", "--purge"]);
            assert_same(&clean, &scratch.picture(), point);
        });
    }
    println!("{points} kills");
    assert!(points > 2, "only {points} points: does strace inject?");
}
