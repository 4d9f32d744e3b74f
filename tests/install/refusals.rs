//! What is refused, with which exit code, and that nothing changes.

use std::os::unix::process::CommandExt as _;

use crate::scratch::{Scratch, assert_same, text};

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

/// Asserts the exit code, what is said, and that the tree is as before.
fn refused(scratch: &Scratch, mut command: std::process::Command, code: i32, says: &str) {
    let before = scratch.picture();
    let output = command.output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(says), "{said}");
    assert_same(&before, &scratch.picture(), "after the refusal");
}

#[test]
fn foreign_file_is_refused_with_11_and_named() {
    if !rustix::process::geteuid().is_root() {
        return refused_without_root();
    }
    let scratch = Scratch::new();
    scratch.put("usr/local/bin/mcpeg", "somebody's\n");
    refused(&scratch, scratch.command(&["install"]), 11, "/usr/local/bin/mcpeg");
}

/// Without root the same is refused for that.
fn refused_without_root() {
    let scratch = Scratch::new();
    refused(&scratch, scratch.command(&["install"]), 77, "sudo mcpeg install");
}

#[test]
#[ignore = "needs root: becomes another user"]
fn install_without_root_exits_77_with_the_command_to_use() {
    for (verb, says) in [("install", "sudo mcpeg install"), ("uninstall", "sudo mcpeg uninstall")] {
        let scratch = Scratch::new();
        let mut command = scratch.command(&[verb]);
        command.uid(NOBODY);
        refused(&scratch, command, 77, says);
    }
}

#[test]
#[ignore = "needs root: changes owners"]
fn directory_in_place_of_a_file_is_refused() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.at("usr/local/share/man/man8/mcpeg.8")).unwrap();
    refused(&scratch, scratch.command(&["install"]), 11, "mcpeg.8");
}

#[test]
#[ignore = "needs root: changes owners"]
fn symbolic_link_on_the_way_is_not_followed() {
    let scratch = Scratch::new();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), scratch.at("etc/mcpeg")).unwrap();
    refused(&scratch, scratch.command(&["install"]), 11, "etc/mcpeg");
    assert_eq!(elsewhere.path().read_dir().unwrap().count(), 0);
}

#[test]
#[ignore = "needs root: changes owners"]
fn unit_of_the_administrator_that_would_hide_ours_is_refused() {
    let scratch = Scratch::new();
    scratch.put("etc/systemd/system/mcpeg.service", "[Service]\n");
    refused(&scratch, scratch.command(&["install"]), 11, "etc/systemd/system/mcpeg.service");
}

#[test]
#[ignore = "needs root: changes owners"]
fn receipt_that_names_a_path_of_the_system_is_refused() {
    let scratch = Scratch::new();
    let receipt = r#"{"version":1,"program":"0","state":"installed","entries":[
        {"kind":"directory","path":"/etc/ssh","existed":false}]}"#;
    scratch.put("var/lib/mcpeg/install.json", receipt);
    refused(&scratch, scratch.command(&["uninstall", "--purge"]), 78, "/etc/ssh");
}

#[test]
#[ignore = "needs root: changes owners"]
fn receipt_of_a_newer_version_is_refused_by_both_commands() {
    let scratch = Scratch::new();
    scratch.put("var/lib/mcpeg/install.json", r#"{"version":99,"anything":true}"#);
    refused(&scratch, scratch.command(&["install"]), 78, "version 99");
    refused(&scratch, scratch.command(&["uninstall"]), 78, "version 99");
}

#[test]
#[ignore = "needs root: changes owners"]
fn second_command_at_the_same_time_exits_75() {
    let scratch = Scratch::new();
    let root = std::fs::File::open(scratch.at("")).unwrap();
    root.lock().unwrap();
    refused(&scratch, scratch.command(&["install"]), 75, "runs now");
}

#[test]
#[ignore = "needs root: changes owners"]
fn uninstall_of_nothing_says_so_and_succeeds() {
    let scratch = Scratch::new();
    refused(&scratch, scratch.command(&["uninstall", "--purge"]), 0, "was not installed");
}
