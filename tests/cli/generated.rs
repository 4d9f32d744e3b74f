//! The generated files in the repository are what the program generates, and the tools that read them are content.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests start the real binary and the readers of manual pages"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository.
pub(crate) const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// Asserts that `mcpeg generate KIND` writes exactly the files of a directory of the repository, and that those which it makes
/// have the content that is there. Those which a person wrote come from that directory, so that they are not compared.
fn assert_fresh(kind: &str, directory: &str, written_by_hand: &[&str]) {
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
    for name in names(scratch.path()).iter().filter(|name| written_by_hand.iter().all(|hand| hand != name)) {
        let (old, new) = (std::fs::read(committed.join(name)), std::fs::read(scratch.path().join(name)));
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
    assert_fresh("man", "packaging/man", &[]);
}

#[test]
fn completions_that_are_generated_are_fresh() {
    // These three ask `mcpeg complete`; the tests of TAB run them.
    assert_fresh("completions", "completions", &["mcpeg.bash", "_mcpeg", "mcpeg.fish"]);
}

#[test]
fn units_are_fresh() {
    assert_fresh("units", "packaging/systemd", &[]);
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
fn scripts_that_know_the_options_know_all_that_are_shown_and_no_other() {
    let command = <mcpeg::cli::definition::Cli as clap::CommandFactory>::command();
    let hidden: Vec<_> = command.get_subcommands().filter(|command| command.is_hide_set()).collect();
    assert!(!hidden.is_empty());
    for name in ["mcpeg.elv", "_mcpeg.ps1"] {
        let text = std::fs::read_to_string(Path::new(REPOSITORY).join("completions").join(name)).unwrap();
        for shown in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            let options =
                shown.get_arguments().filter_map(clap::Arg::get_long).map(|long| format!("--{long}"));
            for word in options.chain([shown.get_name().to_owned()]) {
                assert!(text.contains(&word), "{name}: {word}");
            }
        }
        for hidden in &hidden {
            assert!(!text.contains(&format!(";{}", hidden.get_name())), "{name}: {}", hidden.get_name());
        }
    }
}

#[test]
#[ignore = "needs elvish"]
fn elvish_finds_options_and_commands() {
    // Outside of a terminal elvish has no namespace `edit:`, so the completer gets another name there.
    let text = std::fs::read_to_string(Path::new(REPOSITORY).join("completions/mcpeg.elv")).unwrap();
    let text = text.replace("set edit:completion:arg-completer[mcpeg] =", "var completer =");
    let text = text.replace("edit:complex-candidate", "candidate");
    let code = format!(
        "fn candidate {{|text &display=''| put $text}}\n{text}\neach $echo~ [($completer mcpeg '')]\n"
    );
    let output = Command::new("elvish").args(["-c", &code]).output().expect("elvish");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for word in ["--status", "-c", "install", "import"] {
        assert!(said.lines().any(|line| line == word), "{word}: {said}");
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
