//! What is refused, with which exit code, and that nothing changes.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::scratch::{MCPEG, Scratch, assert_same, program, text, write};

/// Changes who may write a directory.
type Change = fn(&std::path::Path);

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

/// Asserts the exit code, what is said, and that the tree is as before.
fn refused(scratch: &Scratch, mut command: Command, code: i32, says: &str) {
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

#[test]
#[ignore = "needs root: changes owners"]
fn wrong_configuration_is_refused_with_its_place_before_anything_is_touched() {
    let scratch = Scratch::new();
    scratch.put("root/mine.toml", "[server]\nlisten = [\"127.0.0.1:8080\"]\nprefx = \"auto\"\n");
    let file = scratch.at("root/mine.toml");
    let command = || scratch.command(&["install", "--config", file.to_str().unwrap()]);
    refused(&scratch, command(), 78, "mine.toml:3:1");
    write(&file, "[upstreams.time]\ncommand = \"date\"\n");
    // It is held against what is beside its place, not against what is beside FILE.
    scratch.put("etc/mcpeg/conf.d/time.toml", "[upstreams.time]\ncommand = \"date\"\n");
    refused(&scratch, command(), 78, "conf.d/time.toml:1:12");
    std::fs::remove_file(&file).unwrap();
    refused(&scratch, command(), 78, "mine.toml` does not exist");
}

#[test]
#[ignore = "needs root: installs a package in a scratch root"]
fn package_of_dpkg_is_refused_with_10_and_apt_is_named() {
    let scratch = Scratch::new();
    let package = tempfile::tempdir().unwrap();
    let control =
        "Package: mcpeg\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: x\n";
    for (path, content) in [("DEBIAN/control", control), ("usr/bin/mcpeg", "#!/bin/true\n")] {
        write(&package.path().join(path), content);
    }
    std::fs::set_permissions(package.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for path in ["info", "updates", "triggers"] {
        std::fs::create_dir_all(scratch.at("var/lib/dpkg").join(path)).unwrap();
    }
    for path in ["status", "available"] {
        scratch.put(&format!("var/lib/dpkg/{path}"), "");
    }
    let deb = package.path().with_extension("deb");
    run("dpkg-deb", &["--build".as_ref(), package.path().as_ref(), deb.as_ref()]);
    let root = format!("--root={}", scratch.at("").display());
    run("dpkg", &[root.as_ref(), "--log=/dev/null".as_ref(), "--install".as_ref(), deb.as_ref()]);
    std::fs::remove_file(deb).unwrap();
    for (verb, says) in [("install", "use apt for `mcpeg`"), ("uninstall", "use apt for `mcpeg`")] {
        refused(&scratch, scratch.command(&[verb]), 10, says);
    }
}

#[test]
#[ignore = "needs root: mounts in a namespace of its own"]
fn read_only_usr_is_refused_and_named_before_anything_is_touched() {
    let scratch = Scratch::new();
    let usr = scratch.at("usr");
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let mut command = in_mount_namespace(script);
    command.arg(&usr).arg(MCPEG).args(["install", "--root"]).arg(scratch.at(""));
    refused(&scratch, command, 13, "is on a file system that is mounted read-only");
}

#[test]
#[ignore = "needs root: mounts in a namespace of its own"]
fn without_a_running_systemd_install_exits_14_and_names_no_start() {
    let scratch = Scratch::new();
    // sd_booted(3) looks below /run, which is empty here. Nothing can be written, so that a broken refusal installs nothing.
    let script = "mount -t tmpfs none /run && mount -o remount,bind,ro / && exec \"$@\"";
    let mut command = in_mount_namespace(script);
    command.arg(MCPEG).args(["install", "--yes"]);
    refused(&scratch, command, 14, "--no-start installs");
    // A plan can be made anywhere, and says so.
    let mut command = in_mount_namespace("mount -t tmpfs none /run && exec \"$@\"");
    let planned = command.arg(MCPEG).args(["install", "--dry-run"]).output().unwrap();
    let said = text(&planned);
    assert!(planned.status.success() && said.contains("systemd does not run here"), "{said}");
    let mut command = in_mount_namespace("mount -t tmpfs none /run && exec \"$@\"");
    let output =
        command.arg(MCPEG).args(["install", "--dry-run", "--details", "--no-start"]).output().unwrap();
    let said = text(&output);
    assert!(output.status.success() && said.contains("> systemctl enable"), "{said}");
    assert!(!said.contains("> systemctl start"), "{said}");
}

/// A shell script in a mount namespace of its own, whose arguments follow.
fn in_mount_namespace(script: &str) -> Command {
    let mut command = program("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    command
}

/// Runs a program that must succeed.
fn run(name: &str, arguments: &[&std::ffi::OsStr]) {
    let output = program(name).args(arguments).output().unwrap();
    assert!(output.status.success(), "{name}: {}", text(&output));
}

#[test]
#[ignore = "needs root: changes owners"]
fn prefix_that_others_may_write_is_refused() {
    let changes: [Change; 4] = [
        |path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap(),
        |path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o1777)).unwrap(),
        |path| chown(path, Some(NOBODY), None).unwrap(),
        |path| {
            chown(path, None, Some(NOBODY)).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o775)).unwrap();
        },
    ];
    for place in ["opt", "opt/mcpeg", "opt/mcpeg/bin"] {
        for change in changes {
            let scratch = Scratch::new();
            std::fs::create_dir_all(scratch.at("opt/mcpeg/bin")).unwrap();
            change(&scratch.at(place));
            let command = scratch.command(&["install", "--prefix", "/opt/mcpeg"]);
            refused(&scratch, command, 64, "could exchange the program");
        }
    }
}
