//! What the installer does to the machine is in one small module, and nowhere else in it.

use crate::files;
use crate::paths::{Named, named};
use crate::source::{Source, assert_none, sources_below};

/// The module that may.
const PRIVILEGED: &str = "src/install/privileged/";
/// The most lines that can be read in one sitting, with comments and tests.
const SITTING: usize = 800;
/// What changes files or runs programs, beside the deeds of [`files`]. Reading is not among them.
const DEEDS: [&str; 6] =
    ["crate::program", "rustix::fs", "std::process::Command", "nix", "crate::sys::fs", "crate::sys::rename"];

/// The deeds of a file.
fn violations(source: &Source) -> Vec<String> {
    // An error is no deed.
    let acts = |named: &Named| {
        (named.is_one_of(&DEEDS) || named.is_one_of(files::DEEDS)) && !named.path.contains("::Error")
    };
    let path = source.path.display();
    let deeds = named(source).into_iter().filter(acts);
    deeds
        .map(|Named { path: deed, line }| format!("{path}:{line}: `{deed}` is for {PRIVILEGED} only"))
        .collect()
}

#[test]
fn the_installer_acts_through_one_module_that_can_be_read_in_one_sitting() {
    let sources = sources_below(&["src/install"]);
    let is_privileged = |source: &&Source| source.path.to_string_lossy().contains(PRIVILEGED);
    let (acting, others): (Vec<_>, Vec<_>) = sources.iter().partition(is_privileged);
    let findings: Vec<_> = others.into_iter().flat_map(violations).collect();
    assert_none("privileged deeds outside of their module", &findings);
    assert!(acting.iter().flat_map(|source| violations(source)).next().is_some(), "the test sees nothing");
    let lines: usize = acting.iter().map(|source| source.text.lines().count()).sum();
    assert!(lines <= SITTING, "{PRIVILEGED} has {lines} lines, and {SITTING} are one sitting");
}

#[test]
fn deeds_are_found_in_every_form() {
    for deed in [
        "use rustix::fs;",
        "use rustix::fs::{self, Mode};",
        "use std::{fs::rename, io};",
        "use std::process::Command;",
        "use crate::program;",
        "fn f() { std::fs::write(\"x\", \"y\"); }",
        "fn f() { rustix::fs::unlink(\"x\"); }",
        "use nix::unistd::*;",
        "use std::fs; fn f() { fs::remove_file(\"x\"); }",
        "use std::fs::{self, File}; fn f() { File::create(\"x\"); }",
        "use std::fs as files; fn f() { files::set_permissions(\"x\", y); }",
        "use std::os::unix::fs::symlink;",
        "use std::os::unix; fn f() { unix::fs::chown(\"x\", a, b); }",
        "use std::fs::*;",
        "use std::process; fn f() { process::Command::new(\"x\"); }",
        "use crate::sys; fn f() { sys::fs::remove(\"x\"); }",
    ] {
        assert!(!violations(&Source::new("src/install/plan.rs", deed)).is_empty(), "{deed}");
    }
    for right in [
        "use std::fs::File; fn f() { File::open(\"x\"); }",
        "use std::fs; fn f() { fs::read(\"x\"); }",
        "use rustix::process::geteuid;",
        "use crate::sys::holder;",
        "mod tests { use rustix::fs; }",
    ] {
        assert_eq!(violations(&Source::new("src/install/plan.rs", right)), Vec::<String>::new(), "{right}");
    }
}
