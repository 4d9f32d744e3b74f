//! What the checkers of distributions say.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::built::{VERSION, deb, repository, rpm};
use crate::machine::{script, text};

/// A program of the machine with these arguments, run to its end.
fn run(program: &str, arguments: &[&str]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "the checkers are children of the test")]
    let mut command = Command::new(program);
    command.args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Everything that a command said, which must have succeeded.
#[track_caller]
fn ok(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{program}: {}\n{said}", output.status);
    said
}

/// A path as an argument.
fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
#[ignore = "needs lintian, and cargo-deb from crates.io"]
fn lintian_finds_neither_errors_nor_warnings() {
    let package = deb(VERSION);
    let said =
        ok("lintian", &["--allow-root", "--tag-display-limit=0", "--fail-on=error,warning", word(&package)]);
    let findings: Vec<_> =
        said.lines().filter(|line| line.starts_with("E: ") || line.starts_with("W: ")).collect();
    assert!(findings.is_empty(), "{findings:#?}");
    // It would find something in a package that is wrong.
    let unused =
        ok("lintian", &["--allow-root", "--info", "--display-info", "--show-overrides", word(&package)]);
    assert!(unused.contains("uses-dpkg-database-directly"), "lintian did not look: {unused}");
    assert!(!unused.contains("unused-override"), "an override overrides nothing: {unused}");
}

#[test]
#[ignore = "needs rpmlint and rpmbuild"]
fn rpmlint_finds_neither_errors_nor_warnings() {
    let configuration = repository().join("packaging/rpm/rpmlint.toml");
    let package = rpm(VERSION);
    let specification = repository().join("packaging/rpm/mcpeg.spec");
    let said = ok("rpmlint", &["--config", word(&configuration), word(&package), word(&specification)]);
    assert!(said.contains("1 packages and 1 specfiles checked; 0 errors, 0 warnings"), "{said}");
}

#[test]
#[ignore = "needs root, piuparts, and cargo-deb from crates.io"]
fn piuparts_installs_and_purges_without_a_trace() {
    let root = script("testbed").args(["make", "bookworm"]).output().expect("scripts/testbed can be run");
    assert!(root.status.success(), "{}", text(&root.stderr));
    let chroot = text(&root.stdout);
    let scratch = tempfile::tempdir().unwrap();
    let package = deb(VERSION);
    let arguments = [
        // What it mounts must not outlive it.
        "--mount",
        "--propagation=slave",
        "piuparts",
        "--existing-chroot",
        chroot.trim(),
        "--tmpdir",
        word(scratch.path()),
        "--distribution=bookworm",
        "--skip-minimize",
        "--no-upgrade-test",
        word(&package),
    ];
    let said = ok("unshare", &arguments);
    assert!(said.contains("PASS: All tests."), "{said}");
}

#[test]
#[ignore = "needs shellcheck, and cargo-deb from crates.io"]
fn scripts_of_both_packages_pass_shellcheck() {
    let scratch = tempfile::tempdir().unwrap();
    ok("dpkg-deb", &["--control", word(&deb(VERSION)), word(scratch.path())]);
    let mut scripts: Vec<PathBuf> = ["preinst", "postinst", "prerm", "postrm"]
        .map(|name| scratch.path().join(name))
        .into_iter()
        .collect();
    for name in ["prein", "postin", "preun", "postun"] {
        let format = format!("#!/bin/sh\n%{{{}}}\n", name.to_uppercase());
        let script = scratch.path().join(name);
        let text =
            run("rpm", &["--query", "--queryformat", &format, "--package", word(&rpm(VERSION))]).stdout;
        assert!(text.len() > 30, "the package has no {name}");
        std::io::Write::write_all(&mut std::fs::File::create(&script).unwrap(), &text).unwrap();
        scripts.push(script);
    }
    let words: Vec<&str> = scripts.iter().map(|script| word(script)).collect();
    assert_eq!(ok("shellcheck", &words), "");
}

#[test]
#[ignore = "needs rpmbuild, and cargo-deb from crates.io"]
fn program_needs_the_c_library_only() {
    let scratch = tempfile::tempdir().unwrap();
    ok("dpkg-deb", &["--extract", word(&deb(VERSION)), word(scratch.path())]);
    let said = ok("readelf", &["--dynamic", word(&scratch.path().join("usr/bin/mcpeg"))]);
    let family = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];
    let needed = said.lines().filter(|line| line.contains("(NEEDED)"));
    let others: Vec<_> = needed.filter(|line| !family.iter().any(|name| line.contains(name))).collect();
    assert!(others.is_empty(), "{others:?}");
}
