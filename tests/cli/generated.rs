//! The generated files in the repository are what the program generates, and the tools that read them are content.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests start the real binary and the readers of manual pages"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository.
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

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
fn pages() -> Vec<PathBuf> {
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
fn manual_names_every_option_exit_code_and_configuration_key() {
    let page = |name: &str| {
        let text = std::fs::read_to_string(Path::new(REPOSITORY).join("packaging/man").join(name)).unwrap();
        text.replace("\\-", "-")
    };
    let (manual, configuration) = (page("mcpeg.8"), page("mcpeg.toml.5"));
    let command = <mcpeg::cli::definition::Cli as clap::CommandFactory>::command();
    for option in command.get_arguments().filter_map(clap::Arg::get_long) {
        assert!(manual.contains(&format!("--{option}")), "--{option}");
    }
    for variable in command.get_arguments().filter_map(clap::Arg::get_env) {
        let variable = variable.to_string_lossy();
        assert!(manual.contains(&format!(".B {variable}\n")), "{variable}");
    }
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        assert!(manual.contains(&format!("mcpeg {}", subcommand.get_name())), "{}", subcommand.get_name());
    }
    for (exit, _) in mcpeg::exit::Exit::ALL {
        assert!(manual.contains(&format!(".B {}\n", exit.code())), "exit code {}", exit.code());
    }
    for key in mcpeg::config::reference::keys() {
        assert!(configuration.contains(key.name), "{}", key.name);
    }
}

#[test]
fn manual_names_nothing_that_the_program_does_not_have() {
    let mut command = <mcpeg::cli::definition::Cli as clap::CommandFactory>::command();
    command.build();
    let mut options: Vec<String> = Vec::new();
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        options
            .extend(command.get_arguments().filter_map(|option| Some(format!("--{}", option.get_long()?))));
    }
    // A program of somebody else's in an example.
    options.extend(["--local-timezone".to_owned(), "--user".to_owned()]);
    for page in pages() {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(page).unwrap().replace("\\-", "-").replace("\\fR", " ");
        let named = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-'));
        for option in
            named.filter(|word| word.len() > 2 && word.starts_with("--") && !word.starts_with("---"))
        {
            assert!(options.iter().any(|known| known == option), "{name}: {option} is no option");
        }
        let status = text.split(".SH EXIT STATUS\n").nth(1).unwrap_or_default();
        let status = status.split(".SH ").next().unwrap_or_default();
        for code in
            status.lines().filter_map(|line| line.strip_prefix(".B ")).filter_map(|code| code.parse().ok())
        {
            assert!(mcpeg::exit::Exit::from_code(code).is_some(), "{name}: {code} is no exit code");
        }
        for key in
            text.lines().filter(|_| name == "mcpeg.toml.5").filter_map(|line| line.strip_prefix("\\fB"))
        {
            let key = key.split(' ').next().unwrap_or_default();
            assert!(mcpeg::config::reference::keys().any(|known| known.name == key), "{key} is no key");
        }
    }
}

#[test]
fn manual_has_the_sections_that_readers_look_for() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "EXAMPLES", "SECURITY", "SEE ALSO"] {
            assert!(text.contains(&format!(".SH {section}\n")), "{}: {section}", page.display());
        }
        if page.extension().is_some_and(|section| section == "8") {
            assert!(text.contains(".SH EXIT STATUS\n"), "{}", page.display());
        }
    }
    let manual = std::fs::read_to_string(Path::new(REPOSITORY).join("packaging/man/mcpeg.8")).unwrap();
    for word in ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", ".SH ENVIRONMENT\n"] {
        assert!(manual.contains(word), "{word}");
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
