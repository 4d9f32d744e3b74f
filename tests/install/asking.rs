//! What a person at a terminal is asked, with script(1) as the terminal.

use std::io::Write as _;
use std::process::Stdio;

use mcpeg_test::transcript::plain;

use crate::scratch::{MCPEG, Scratch, assert_same, program, write};

/// Runs `mcpeg` with these words at a terminal that is given these answers; returns everything on its screen.
fn at_a_terminal(scratch: &Scratch, words: &str, answers: &str, environment: &[(&str, &str)]) -> String {
    let line = format!("{MCPEG} {words} --root {}", scratch.at("").display());
    let mut child = program("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{screen}");
    screen
}

#[test]
#[ignore = "needs root: changes owners"]
fn no_and_the_end_of_input_change_nothing() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    for answers in ["no\n", "N\n", "perhaps\nn\n", ""] {
        let screen = at_a_terminal(&scratch, "install", answers, &[]);
        assert!(screen.contains("Install mcpeg as shown?"), "{screen}");
        assert!(screen.contains("nothing was changed"), "{screen}");
        assert_same(&before, &scratch.picture(), "after the answer");
    }
}

#[test]
#[ignore = "needs root: changes owners"]
fn explain_gives_reasons_and_asks_again_and_enter_is_the_marked_answer() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    // Enter is the answer that is marked.
    let screen = at_a_terminal(&scratch, "install", "explain\n\n", &[]);
    assert_eq!(screen.matches("Install mcpeg as shown?").count(), 2, "{screen}");
    // The terminal is narrow: lines are broken between words.
    let words = plain(&screen).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("the service starts when the machine does"), "{screen}");
    assert!(
        words.contains("Listens on http://127.0.0.1:8080/mcp (from this machine only)")
            && words.contains("starts no program, reaches this machine only"),
        "{screen}"
    );
    assert!(screen.contains("http://127.0.0.1:8080/mcp"), "{screen}");
    assert!(scratch.at("usr/local/bin/mcpeg").exists());

    let screen = at_a_terminal(&scratch, "uninstall --purge", "explain\n\n", &[]);
    let words = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("`mcpeg install` wrote it, and nobody has changed it since"), "{screen}");
    assert!(
        screen.contains("[y]es [N]o [d]etails [e]xplain") && screen.contains("nothing was changed"),
        "{screen}"
    );
    let screen = at_a_terminal(&scratch, "uninstall --purge", "y\n", &[]);
    assert!(screen.contains("mcpeg is uninstalled"), "{screen}");
    assert_same(&before, &scratch.picture(), "after purge");
}

#[test]
#[ignore = "needs root: changes owners"]
fn colours_are_for_terminals_that_want_them() {
    let scratch = Scratch::new();
    assert!(at_a_terminal(&scratch, "install --dry-run", "", &[]).contains('\u{1b}'));
    assert!(!at_a_terminal(&scratch, "install --dry-run", "", &[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!scratch.ok(&["install", "--dry-run"]).contains('\u{1b}'));
}

#[test]
#[ignore = "needs root: changes owners"]
fn url_to_paste_is_that_of_the_installed_configuration() {
    let scratch = Scratch::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    write(file.path(), "[server]\nlisten = [\"127.0.0.1:9191\"]\n");
    let said = scratch.ok(&["install", "--config", file.path().to_str().unwrap()]);
    for words in ["\"url\": \"http://127.0.0.1:9191/mcp\"", "systemctl status mcpeg", "mcpeg --status"] {
        assert!(said.contains(words), "{said}");
    }
}
