//! Install, install again, uninstall, purge.

use std::os::unix::fs::MetadataExt as _;

use crate::scratch::{Scratch, assert_same};

/// The configuration below a root.
const CONFIGURATION: &str = "etc/mcpeg/mcpeg.toml";
/// The unit below a root.
const UNIT: &str = "usr/local/lib/systemd/system/mcpeg.service";

#[test]
#[ignore = "needs root: changes owners"]
fn purge_after_install_restores_the_tree_exactly() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    scratch.ok(&["install"]);
    assert_ne!(before, scratch.picture());
    let said = scratch.ok(&["uninstall", "--purge"]);
    assert_same(&before, &scratch.picture(), "after purge");
    assert!(said.contains("kept account mcpeg"), "{said}");
}

#[test]
#[ignore = "needs root: changes owners"]
fn files_belong_to_whom_they_should() {
    let scratch = Scratch::new();
    scratch.ok(&["install"]);
    let group = std::fs::read_to_string(scratch.at("etc/group")).unwrap();
    let line = group.lines().find(|line| line.starts_with("mcpeg:")).unwrap();
    let gid: u32 = line.split(':').nth(2).unwrap().parse().unwrap();
    let expected = [
        ("usr/local/bin/mcpeg", 0o755, 0),
        (UNIT, 0o644, 0),
        ("etc/mcpeg", 0o750, gid),
        (CONFIGURATION, 0o640, gid),
        ("etc/mcpeg/conf.d", 0o750, gid),
        ("var/lib/mcpeg/install.json", 0o644, 0),
        ("var/lib/mcpeg", 0o755, 0),
        ("var/log/mcpeg", 0o750, gid),
    ];
    for (path, mode, gid) in expected {
        let metadata = scratch.at(path).metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (mode, gid), "{path}");
    }
    let enabled = std::fs::read_link(scratch.at("etc/systemd/system/multi-user.target.wants/mcpeg.service"));
    assert_eq!(enabled.unwrap().to_str(), Some("/usr/local/lib/systemd/system/mcpeg.service"));
}

#[test]
#[ignore = "needs root: changes owners"]
fn second_install_rewrites_nothing() {
    let scratch = Scratch::new();
    scratch.ok(&["install"]);
    let before = scratch.inodes();
    let said = scratch.ok(&["install"]);
    assert_eq!(before, scratch.inodes());
    assert!(said.contains("nothing had to be changed"), "{said}");
}

#[test]
#[ignore = "needs root: changes owners"]
fn drift_is_repaired_and_nothing_else_is_touched() {
    let scratch = Scratch::new();
    scratch.ok(&["install"]);
    let (whole, inodes) = (scratch.picture(), scratch.inodes());
    scratch.put(UNIT, "[Service]\n");
    std::fs::remove_file(scratch.at("usr/local/share/man/man8/mcpeg.8")).unwrap();
    scratch.ok(&["install"]);
    let mut after = scratch.picture();
    let mut before = whole;
    let receipt = std::path::Path::new("var/lib/mcpeg/install.json");
    before.remove(receipt);
    after.remove(receipt);
    assert_same(&before, &after, "after repair");
    let program = scratch.at("usr/local/bin/mcpeg");
    assert_eq!(inodes[&program], scratch.inodes()[&program]);
}

#[test]
#[ignore = "needs root: changes owners"]
fn edited_configuration_is_kept_and_named_until_purge() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    scratch.ok(&["install"]);
    scratch.put(CONFIGURATION, "[log]\nlevel = \"debug\"\n");
    assert!(scratch.ok(&["install"]).contains("nothing had to be changed"));
    let said = scratch.ok(&["uninstall"]);
    assert!(said.contains("kept /etc/mcpeg/mcpeg.toml: edited"), "{said}");
    assert!(!scratch.at("usr/local/bin/mcpeg").exists());
    scratch.ok(&["install"]);
    assert!(std::fs::read_to_string(scratch.at(CONFIGURATION)).unwrap().contains("debug"));
    scratch.ok(&["uninstall", "--purge"]);
    assert_same(&before, &scratch.picture(), "after purge");
}

#[test]
#[ignore = "needs root: changes owners"]
fn edited_unit_survives_even_a_purge_and_is_named() {
    let scratch = Scratch::new();
    scratch.ok(&["install"]);
    scratch.put(UNIT, "[Service]\n");
    let said = scratch.ok(&["uninstall", "--purge"]);
    assert!(said.contains("kept /usr/local/lib/systemd/system/mcpeg.service: its content"), "{said}");
    assert!(scratch.at(UNIT).exists());
}

#[test]
#[ignore = "needs root: changes owners"]
fn configuration_that_was_there_before_survives_a_purge() {
    let scratch = Scratch::new();
    scratch.put(CONFIGURATION, "[log]\nlevel = \"warn\"\n");
    let before = scratch.picture();
    scratch.ok(&["install"]);
    scratch.ok(&["uninstall", "--purge"]);
    assert_same(&before, &scratch.picture(), "after purge");
}

#[test]
#[ignore = "needs root: changes owners"]
fn what_the_service_left_behind_goes_with_a_purge() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    scratch.ok(&["install"]);
    for path in [
        "var/log/mcpeg/mcpeg.log",
        "var/log/mcpeg/stderr.time.log.2026-11-30",
        "var/lib/mcpeg/home/.npm/a/b",
        "etc/mcpeg/conf.d/time.toml",
    ] {
        scratch.put(path, "x");
    }
    let today = "/var/log/mcpeg/stderr.time.log.2026-11-30";
    std::os::unix::fs::symlink(today, scratch.at("var/log/mcpeg/stderr.time.log")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", scratch.at("var/cache/mcpeg/link")).unwrap();
    scratch.ok(&["uninstall", "--purge"]);
    assert_same(&before, &scratch.picture(), "after purge");
}

#[test]
#[ignore = "needs root: changes owners"]
fn dry_run_prints_the_plan_that_is_then_carried_out() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    let mut command = scratch.command(&["install", "--dry-run", "--details"]);
    std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    let output = command.output().unwrap();
    let planned = crate::scratch::text(&output);
    assert!(output.status.success(), "{planned}");
    assert_same(&before, &scratch.picture(), "after the dry run");
    let done = scratch.ok(&["install", "--details"]);
    let acts = |text: &str| {
        let lines = text.lines().map(str::trim_start).filter(|line| line.starts_with(['+', '~', '>']));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(acts(&planned), acts(&done));
}
