//! The machines themselves: a test bed that lies makes every other test worthless.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::machine::{Machine, testbed, text};
use crate::snapshot::Snapshot;

/// The claims that both suites must meet.
fn boots_and_tells_the_truth(suite: &str, version: &str) {
    let machine = Machine::boot(suite);
    assert!(machine.ok(&["systemctl", "--version"]).starts_with(version));
    assert_eq!(machine.ok(&["ps", "--no-headers", "-o", "comm", "-p", "1"]).trim(), "systemd");
    assert_eq!(machine.run(&["sh", "-c", "exit 7"]).status.code(), Some(7));
    let before = Snapshot::of(&machine);
    machine.ok(&["systemd-run", "--wait", "--quiet", "--property=DynamicUser=yes", "true"]);
    Snapshot::of(&machine).assert_same_as(&before);
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn bookworm_boots_systemd_252_and_rests() {
    boots_and_tells_the_truth("bookworm", "systemd 252");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn trixie_boots_systemd_257_and_rests() {
    boots_and_tells_the_truth("trixie", "systemd 257");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn snapshot_finds_an_added_a_changed_and_a_removed_file() {
    let machine = Machine::boot("bookworm");
    for (act, finding) in [
        ("touch /etc/stray", "left behind: /etc/stray"),
        ("echo x >>/etc/debian_version", "changed: /etc/debian_version"),
        ("chmod 700 /srv", "changed: /srv"),
        ("chown 7 /etc/issue", "changed: /etc/issue"),
        ("rm /etc/issue.net", "missing: /etc/issue.net"),
    ] {
        let before = Snapshot::of(&machine);
        machine.ok(&["sh", "-c", act]);
        let after = Snapshot::of(&machine);
        let panic = catch_unwind(AssertUnwindSafe(|| after.assert_same_as(&before))).expect_err(act);
        let message = panic.downcast_ref::<String>().expect("assert! with arguments panics with a String");
        assert!(message.contains(finding), "`{act}` was reported as: {message}");
    }
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn two_machines_of_one_suite_do_not_meet() {
    let (one, other) = (Machine::boot("bookworm"), Machine::boot("bookworm"));
    one.ok(&["touch", "/etc/mark"]);
    assert!(!other.run(&["test", "-e", "/etc/mark"]).status.success());
    drop(one);
    assert_eq!(other.ok(&["systemctl", "is-system-running"]).trim(), "running");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn machine_of_a_panicked_test_is_gone() {
    let mut handle = None;
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let machine = Machine::boot("bookworm");
        handle = Some(machine.handle().to_owned());
        machine.ok(&["false"]);
    }));
    assert!(panic.is_err());
    let handle = handle.expect("the machine has booted");
    assert!(!handle.exists(), "{} is still there", handle.display());
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn machine_of_a_killed_test_is_removed_by_clean() {
    let bystander = Machine::boot("bookworm");
    // The owner stands for the test process: it ends without a chance to stop its machine.
    #[expect(clippy::disallowed_methods, reason = "a child of the test, not of the daemon")]
    let mut owner = std::process::Command::new("sleep").arg("60").spawn().expect("sleep can be run");
    let booted = testbed("boot").arg(format!("--owner={}", owner.id())).arg("bookworm").output();
    let orphan = PathBuf::from(text(&booted.expect("it can be run").stdout).trim_end());
    assert!(orphan.exists());
    owner.kill().expect("the owner can be killed");
    owner.wait().expect("the owner can be reaped");
    assert!(testbed("clean").status().expect("it can be run").success());
    assert!(!orphan.exists(), "{} is still there", orphan.display());
    assert_eq!(bystander.ok(&["systemctl", "is-system-running"]).trim(), "running");
}
