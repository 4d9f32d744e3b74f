//! The same sources and the same binary make the same packages, wherever and whenever they are built.
//!
//! That the binary too is the same from another directory takes a whole release build: `scripts/build-packages --verify`,
//! which scripts/check runs.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::built::{VERSION, build, repository};
use crate::machine::text;

/// What of the repository is copied: all but what git ignores.
const TREE: [&str; 12] = [
    "src",
    "tests",
    "benches",
    "templates",
    "packaging",
    "completions",
    "scripts",
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
];

/// Copies the repository's files, with other times and, on purpose, with less private modes.
fn copy_tree(target: &Path) {
    for top in TREE {
        let source = repository().join(top);
        for entry in walkdir::WalkDir::new(&source) {
            let entry = entry.unwrap();
            let place = target.join(entry.path().strip_prefix(repository()).unwrap());
            if entry.file_type().is_dir() {
                std::fs::create_dir_all(place).unwrap();
            } else {
                std::fs::copy(entry.path(), &place).unwrap();
                let mode = entry.metadata().unwrap().permissions().mode() | 0o222;
                std::fs::set_permissions(place, PermissionsExt::from_mode(mode)).unwrap();
            }
        }
    }
}

/// Each file of a directory with its content.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = directory.read_dir().unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
#[ignore = "needs rpmbuild, and cargo-deb from crates.io"]
fn packages_from_another_directory_time_and_locale_are_the_same_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    let (tree, first, second) = (
        scratch.path().join("a longer name/mcpeg"),
        scratch.path().join("first"),
        scratch.path().join("second"),
    );
    build(&["--output", first.to_str().unwrap()]);

    copy_tree(&tree);
    #[expect(clippy::disallowed_methods, reason = "the script of the copy is a child of the test")]
    let output = std::process::Command::new("sh")
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(tree.join("scripts/build-packages"))
        .args(["--fast", "--binary", env!("CARGO_BIN_EXE_mcpeg"), "--output"])
        .arg(&second)
        .envs([
            ("TZ", "Pacific/Auckland"),
            ("LC_ALL", "C"),
            ("SOURCE_DATE_EPOCH", "1"),
            ("HOSTNAME", "other"),
        ])
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));

    let (first, second) = (contents(&first), contents(&second));
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (name, content) in &first {
        assert!(*content == second[name], "{name} differs");
    }
    for kind in [".deb", ".rpm", ".tar.gz", "SHA256SUMS"] {
        assert!(first.keys().any(|name| name.ends_with(kind)), "{kind} was not built: {:?}", first.keys());
    }
    assert_eq!(text(&first["SHA256SUMS"]).matches(VERSION).count(), 3);
}
