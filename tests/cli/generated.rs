//! The generated files in the repository are what the program generates, and the tools that read them are content.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests start the real binary and the readers of manual pages"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository.
pub(crate) const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// Asserts that `mcpeg generate KIND` makes exactly the files of a directory of the repository.
fn assert_fresh(kind: &str, directory: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let status =
        Command::new(env!("CARGO_BIN_EXE_mcpeg")).arg("generate").arg(kind).arg(scratch.path()).status();
    assert!(status.unwrap().success());
    let committed = Path::new(REPOSITORY).join(directory);
    let names = |directory: &Path| {
        let mut names: Vec<_> =
            directory.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&committed), names(scratch.path()), "{directory}");
    for name in names(scratch.path()) {
        let (old, new) = (std::fs::read(committed.join(&name)), std::fs::read(scratch.path().join(&name)));
        assert!(
            old.unwrap() == new.unwrap(),
            "{directory}/{} is stale: mcpeg generate {kind} {directory}",
            name.display()
        );
    }
}

/// The manual pages of the repository.
pub(crate) fn pages() -> Vec<PathBuf> {
    let directory = Path::new(REPOSITORY).join("packaging/man");
    directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn manual_pages_are_fresh() {
    assert_fresh("man", "packaging/man");
}

#[test]
fn completions_are_fresh() {
    assert_fresh("completions", "completions");
}

#[test]
fn units_are_fresh() {
    assert_fresh("units", "packaging/systemd");
}

#[test]
fn shipped_configuration_is_that_of_every_release() {
    // dpkg asks whoever has edited a configuration that a new package changes, and without a terminal leaves the package
    // unconfigured. So what is shipped never changes: new defaults live in the program, new words in the reference.
    let shipped = std::fs::read(Path::new(REPOSITORY).join("packaging/systemd/mcpeg.toml")).unwrap();
    assert!(
        shipped == include_bytes!("../fixtures/shipped.toml"),
        "packaging/systemd/mcpeg.toml has changed"
    );
}

#[test]
#[ignore = "needs mandoc, groff and man-db"]
fn readers_of_manual_pages_have_nothing_to_say() {
    let readers: [(&str, &[&str]); 3] = [
        ("mandoc", &["-Tlint", "-Wwarning"]),
        ("groff", &["-ww", "-man", "-Tutf8", "-z"]),
        ("man", &["--warnings", "--local-file", "--encoding=UTF-8"]),
    ];
    for page in pages() {
        for (reader, arguments) in readers {
            let output = Command::new(reader).args(arguments).arg(&page).output().expect(reader);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let lint = if reader == "mandoc" {
                String::from_utf8_lossy(&output.stdout).into_owned()
            } else {
                String::new()
            };
            assert!(
                output.status.success() && said.is_empty() && lint.is_empty(),
                "{reader} {}: {said}{lint}",
                page.display()
            );
        }
        let output = Command::new("lexgrog").arg(&page).output().expect("lexgrog");
        assert!(output.status.success(), "lexgrog {}", page.display());
    }
}

#[test]
#[ignore = "needs bash, zsh and fish"]
fn completions_are_read_by_their_shells() {
    for (shell, arguments, file) in [
        ("bash", vec!["-n"], "mcpeg.bash"),
        ("zsh", vec!["-n"], "_mcpeg"),
        ("fish", vec!["--no-execute"], "mcpeg.fish"),
    ] {
        let output = Command::new(shell)
            .args(arguments)
            .arg(Path::new(REPOSITORY).join("completions").join(file))
            .output();
        let output = output.expect(shell);
        assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
    }
}
