//! Files are made, renamed, removed and given away by `sys::fs`, which knows whom to trust, and nowhere else.
//!
//! Reading by path is free: configuration and secrets lie where an administrator has named them, also behind links.

use crate::paths::{Named, named};
use crate::source::{Source, assert_none, sources_below};

/// Who may, with the reason.
const MAY: [(&str, &str); 4] = [
    ("src/sys/", "it is the place"),
    ("src/install/privileged/", "the installer has rules of its own, in one module"),
    ("src/cli/fragment.rs", "writes once, for the person at the terminal, where that person says"),
    ("src/cli/generate.rs", "writes into a directory that a developer names"),
];
/// What acts by path, without a look at whose the directories on the way are.
pub(crate) const DEEDS: &[&str] = &[
    "std::fs::write",
    "std::fs::copy",
    "std::fs::rename",
    "std::fs::remove_file",
    "std::fs::remove_dir",
    "std::fs::remove_dir_all",
    "std::fs::create_dir",
    "std::fs::create_dir_all",
    "std::fs::set_permissions",
    "std::fs::hard_link",
    "std::fs::soft_link",
    "std::fs::OpenOptions",
    "std::fs::DirBuilder",
    "std::fs::File::create",
    "std::fs::File::create_new",
    "std::fs::File::options",
    "std::os::unix::fs::symlink",
    "std::os::unix::fs::chown",
    "std::os::unix::fs::lchown",
    "std::os::unix::net::UnixListener::bind",
    "std::os::unix::net::UnixDatagram::bind",
    "tokio::net::UnixListener::bind",
    "tokio::net::UnixDatagram::bind",
    "tokio::fs",
    "rustix::fs::open",
    "rustix::fs::openat",
    "rustix::fs::openat2",
    "rustix::fs::unlink",
    "rustix::fs::unlinkat",
    "rustix::fs::rmdir",
    "rustix::fs::rename",
    "rustix::fs::renameat",
    "rustix::fs::renameat_with",
    "rustix::fs::link",
    "rustix::fs::linkat",
    "rustix::fs::symlink",
    "rustix::fs::symlinkat",
    "rustix::fs::mkdir",
    "rustix::fs::mkdirat",
    "rustix::fs::mknodat",
    "rustix::fs::chmod",
    "rustix::fs::chmodat",
    "rustix::fs::chown",
    "rustix::fs::chownat",
    "rustix::net::bind_unix",
    "nix::fcntl::open",
    "nix::fcntl::openat",
    "nix::fcntl::renameat",
    "nix::unistd::unlink",
    "nix::unistd::unlinkat",
    "nix::unistd::mkdir",
    "nix::unistd::mkfifo",
    "nix::unistd::chown",
    "nix::unistd::fchownat",
    "nix::unistd::linkat",
    "nix::unistd::symlinkat",
    "nix::sys::stat::fchmodat",
    "nix::sys::stat::mkdirat",
    "nix::sys::stat::mknod",
    "nix::libc::open",
    "nix::libc::unlink",
    "nix::libc::rename",
    "nix::libc::mkdir",
    "nix::libc::chmod",
    "nix::libc::chown",
];

/// The deeds of a file.
fn violations(source: &Source) -> Vec<String> {
    let deeds = named(source).into_iter().filter(|named| named.is_one_of(DEEDS));
    let path = source.path.display();
    deeds
        .map(|Named { path: deed, line }| {
            format!("{path}:{line}: `{deed}` acts by path; `sys::fs` has a way by descriptor")
        })
        .collect()
}

/// Whether a file holds tests only.
fn is_tests(path: &str) -> bool {
    path.ends_with("tests.rs")
}

#[test]
fn files_are_made_and_removed_in_one_place_that_knows_whom_to_trust() {
    let sources = sources_below(&["src"]);
    let mut findings = Vec::new();
    for source in &sources {
        let path = source.path.to_string_lossy();
        let may = MAY.iter().any(|(place, _)| path.contains(place));
        if !may && !is_tests(&path) {
            findings.extend(violations(source));
        }
    }
    assert_none("files that are changed by path", &findings);
    let place = sources.iter().filter(|source| source.path.to_string_lossy().contains(MAY[0].0));
    assert!(place.flat_map(violations).next().is_some(), "the test sees nothing");
}

#[test]
fn deeds_are_found_however_they_are_written() {
    for deed in [
        "fn f() { std::fs::write(\"x\", \"y\"); }",
        "use std::fs; fn f() { fs::write(\"x\", \"y\"); }",
        "use std::{fs as files, io}; fn f() { files::remove_file(\"x\"); }",
        "use std::fs::{self, File}; fn f() { File::create(\"x\"); }",
        "use std::fs::{self as f}; use f::rename as r; fn g() { r(\"x\", \"y\"); }",
        "use std::fs::File as Q; fn f() { Q::options(); }",
        "use std::fs::*;",
        "use std::fs::OpenOptions;",
        "fn f() { use std::fs; fs::create_dir(\"x\"); }",
        "use std::fs; fn f() { assert!(fs::rename(\"x\", \"y\").is_ok()); }",
        "use std::fs; fn f() { let g = fs::set_permissions; }",
        "use rustix::fs::{openat, Mode};",
        "fn f() { rustix::fs::chownat(a, b, c, d, e); }",
        "use nix::unistd; fn f() { unistd::mkfifo(a, b); }",
        "use nix::libc; fn f() { libc::chmod(a, b); }",
        "use std::os::unix::net::UnixListener; fn f() { UnixListener::bind(\"x\"); }",
        "use tokio::net; fn f() { net::UnixListener::bind(\"x\"); }",
        "use tokio::fs::File;",
    ] {
        assert!(!violations(&Source::new("src/log/x.rs", deed)).is_empty(), "{deed}");
    }
    for right in [
        "use std::fs::{self, File}; fn f() { File::open(\"x\"); fs::read_dir(\"x\"); }",
        "use crate::sys::fs; fn f() { fs::rename(a, b); fs::remove(a); }",
        "use crate::sys::fs::{self as files}; fn f() { files::write_atomic(a, b, c); }",
        "use tokio::net::UnixListener; fn f() { UnixListener::from_std(x); }",
        "mod tests { use std::fs; fn f() { fs::write(\"x\", \"y\"); } }",
    ] {
        assert_eq!(violations(&Source::new("src/log/x.rs", right)), Vec::<String>::new(), "{right}");
    }
}
