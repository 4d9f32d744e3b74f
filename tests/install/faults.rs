//! Every system call that changes something is made to fail, and separately the process is killed there: after a failure
//! the tree is as before; after a kill, running the command again completes it, and a purge restores the tree.
//!
//! strace(1) injects at the n-th call, so that the faults are real for the program, in order and complete.
//! `MCPEG_TEST_STRIDE=1` tries every n; by default some are left out.

#![expect(clippy::print_stdout, reason = "the number of points tried is a result")]

use crate::scratch::{Scratch, assert_same, text};

/// The calls that change something on the disk.
const CALLS: [&str; 9] =
    ["mkdirat", "openat", "write", "fchown", "fchmod", "fsync", "renameat", "renameat2", "unlinkat"];

/// The step from one n to the next. A prime, so that the points do not fall on the same place of each file.
fn stride() -> usize {
    std::env::var("MCPEG_TEST_STRIDE").ok().and_then(|stride| stride.parse().ok()).unwrap_or(13)
}

/// A root on which an installation has drifted and gets another configuration, so that files are replaced.
fn drifted() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok(&["install"]);
    scratch.put("usr/local/lib/systemd/system/mcpeg.service", "[Service]\n");
    scratch.put("usr/local/share/zsh/site-functions/_mcpeg", "#\n");
    scratch
}

/// Injects `fault` at the n-th `call` of the command, for n from 1 to the number of calls that it makes undisturbed;
/// hands each root to `check` afterwards. Returns the number of points.
fn each_point(
    call: &str,
    fault: &str,
    verb: &[&str],
    fresh: fn() -> Scratch,
    check: &dyn Fn(&Scratch, &str),
) -> usize {
    let mut points = 0;
    for n in (1..=fresh().calls(call, verb)).step_by(stride()) {
        let scratch = fresh();
        let before = scratch.picture();
        let inject = format!("{call}:{fault}:when={n}");
        let output = scratch.traced(&inject, verb);
        let killed = fault.starts_with("signal");
        if !killed && !output.status.success() {
            assert_same(&before, &scratch.picture(), &format!("{inject}: {}", text(&output)));
        }
        check(&scratch, &inject);
        points += 1;
    }
    points
}

/// Every error at every call.
fn fails_everywhere(fresh: fn() -> Scratch, errors: &[&str]) {
    let mut points = 0;
    for call in CALLS {
        for error in errors {
            points += each_point(call, &format!("error={error}"), &["install"], fresh, &|_, _| {});
        }
    }
    println!("{points} failures were injected");
    assert!(points > 10, "only {points} points: does strace inject?");
}

#[test]
#[ignore = "needs root: strace injects failures into installations"]
fn any_failing_call_of_a_first_install_leaves_the_tree_as_before() {
    fails_everywhere(Scratch::new, &["ENOSPC", "EIO"]);
}

#[test]
#[ignore = "needs root: strace injects failures into installations"]
fn any_failing_call_of_a_repair_leaves_the_tree_as_before() {
    fails_everywhere(drifted, &["EROFS"]);
}

#[test]
#[ignore = "needs root: strace kills installations"]
fn killed_at_any_call_install_completes_when_run_again_and_purge_restores() {
    let clean = Scratch::new().picture();
    let mut points = 0;
    for call in CALLS {
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
    assert!(points > 10, "only {points} points: does strace inject?");
}

#[test]
#[ignore = "needs root: strace kills installations"]
fn killed_at_any_call_install_is_restored_by_a_purge_alone() {
    let clean = Scratch::new().picture();
    for call in CALLS {
        each_point(call, "signal=KILL", &["install"], Scratch::new, &|scratch, point| {
            scratch.ok(&["uninstall", "--purge"]);
            assert_same(&clean, &scratch.picture(), point);
        });
    }
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
    assert!(points > 5, "only {points} points: does strace inject?");
}
