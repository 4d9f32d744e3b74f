//! Symbolic links on the way to what is installed: those that only root could have made are followed, all others are refused.

use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use crate::scratch::{Scratch, assert_same, text};

/// Somebody who is not root.
const OTHER: u32 = 65_534;

/// Why a link is refused, where it leads, and what makes it so.
type Case = (&'static str, &'static str, fn(&Scratch));

/// A root in which `usr/local` is a symbolic link with this text, and `place` is a directory.
fn linked(to: &str, place: &str) -> Scratch {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.at(place)).unwrap();
    std::fs::remove_dir_all(scratch.at("usr/local")).unwrap();
    symlink(to, scratch.at("usr/local")).unwrap();
    scratch
}

/// Gives a directory another mode.
fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
#[ignore = "needs root: changes owners"]
fn links_that_only_root_could_have_made_are_followed_and_a_purge_restores_the_tree() {
    for (to, log) in [
        ("../var/usrlocal", "other"),
        ("../var/usrlocal", "/var/other"),
        // It cannot lead out of the root.
        ("../var/usrlocal", "../../../../var/other"),
        ("../var/./a/../usrlocal", "./link"),
    ] {
        let place = "var/usrlocal";
        let scratch = linked(to, place);
        std::fs::create_dir_all(scratch.at("var/a")).unwrap();
        std::fs::rename(scratch.at("var/log"), scratch.at("var/other")).unwrap();
        symlink("other", scratch.at("var/link")).unwrap();
        symlink(log, scratch.at("var/log")).unwrap();
        let before = scratch.picture();
        scratch.ok(&["install"]);
        assert!(
            scratch.at(place).join("bin/mcpeg").is_file() && scratch.at("var/other/mcpeg").is_dir(),
            "{to}"
        );
        assert!(scratch.at("usr/local").is_symlink(), "{to}");
        scratch.ok(&["install", "--check"]);
        scratch.ok(&["uninstall", "--purge"]);
        assert_same(&before, &scratch.picture(), to);
    }
}

#[test]
#[ignore = "needs root: changes owners"]
fn links_that_others_could_have_made_or_changed_are_refused() {
    let prepare: [Case; 5] = [
        ("belongs to somebody else", "../var/usrlocal", |scratch| {
            lchown(scratch.at("usr/local"), Some(OTHER), Some(OTHER)).unwrap();
        }),
        ("others could lead elsewhere", "../var/usrlocal", |scratch| chmod(&scratch.at("usr"), 0o777)),
        ("others could lead elsewhere", "../var/usrlocal", |scratch| chmod(&scratch.at("var"), 0o1777)),
        ("leads nowhere", "../var/missing", |_| {}),
        ("leads in a circle", "local", |_| {}),
    ];
    for (why, to, prepare) in prepare {
        let scratch = linked(to, "var/usrlocal");
        prepare(&scratch);
        let before = scratch.picture();
        let output = scratch.run(&["install"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(11), "{why}: {said}");
        assert!(said.contains("usr/local` is a symbolic link that ") && said.contains(why), "{why}: {said}");
        assert_same(&before, &scratch.picture(), why);
    }
}
