//! Parsing, help, and what becomes of output that nobody reads.

use std::fs::OpenOptions;
use std::process::Stdio;

use crate::command::{Finished, Scratch};

#[test]
fn two_actions_at_once_exit_64_and_name_both() {
    let actions = ["--daemon", "--stop", "--restart", "--reload", "--status", "--log-rotate", "--check"];
    for (at, first) in actions.iter().enumerate() {
        let second = actions[(at + 1) % actions.len()];
        Scratch::new().run(&[first, second]).exits(64).says(&[first, second]);
    }
}

#[test]
fn an_unknown_option_exits_64_and_suggests_the_near_one() {
    Scratch::new().run(&["--chek"]).exits(64).says(&["--chek", "--check"]);
    for (typed, meant) in [
        ("instal", "install"),
        ("statsu", "status"),
        ("relaod", "reload"),
        ("rotat", "rotate"),
        ("chek", "check"),
    ] {
        Scratch::new().run(&[typed]).exits(64).says(&[&format!("'{typed}'"), &format!("'{meant}'")]);
    }
    Scratch::new().run(&["version"]).exits(64).says(&["`mcpeg --version`"]);
    Scratch::new().run(&["--log-level", "loud"]).exits(64).says(&["loud", "debug"]);
}

#[test]
fn word_does_what_its_flag_does() {
    let wrong = Scratch::with_config("nonsense");
    let right = Scratch::with_config("");
    let config = ["--config", "mcpeg.toml", "--pid-file", "run/mcpeg.pid"];
    for (word, flag) in [
        ("start", "--daemon"),
        ("stop", "--stop"),
        ("restart", "--restart"),
        ("reload", "--reload"),
        ("status", "--status"),
        ("rotate", "--log-rotate"),
        ("check", "--check"),
    ] {
        for (scratch, starts) in [(&wrong, true), (&right, false)] {
            if !starts && matches!(word, "start" | "restart") {
                continue;
            }
            for more in [&[][..], &["--json"], &["--force"], &["--upstream", "x"], &["--bogus"], &["--stop"]]
            {
                let run = |action: &str, first: bool| {
                    let (before, after) = if first { (&[][..], &config[..]) } else { (&config[..], &[][..]) };
                    scratch.run(&[before, &[action], after, more].concat())
                };
                for first in [true, false] {
                    let (expected, found) = (run(flag, first), run(word, first));
                    assert_eq!(
                        (found.code, &found.stdout, &found.stderr),
                        (expected.code, &expected.stdout, &expected.stderr),
                        "{word} {more:?}"
                    );
                }
            }
        }
        let help = Scratch::new().run(&[word, "--help"]).exits(0).prints(&[flag, "Usage: mcpeg"]);
        assert_eq!(Scratch::new().run(&["help", word]).exits(0).stdout, help.stdout);
    }
}

#[test]
fn help_is_on_standard_output_with_examples() {
    for command in [&["--help"][..], &["install", "--help"], &["uninstall", "--help"], &["import", "--help"]]
    {
        let finished = Scratch::new().run(command).exits(0).prints(&["Examples:", "Usage:"]);
        assert_eq!(finished.stderr, "");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let finished = Scratch::new().run(&["--version"]).exits(0);
    assert_eq!(finished.stdout, format!("mcpeg {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    for arguments in [&["--help"][..], &["--check"], &["--check", "--json"]] {
        let scratch = Scratch::new();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = scratch.command(arguments);
        command.env("HOME", scratch.path("home")).stdout(Stdio::from(writer)).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn output_that_cannot_be_written_exits_71() {
    let scratch = Scratch::with_config("");
    let mut command = scratch.command(&["--check", "--config", "mcpeg.toml"]);
    command.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap()).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(71));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output"));
}

#[test]
fn a_pipe_gets_no_colours() {
    let finished = Scratch::with_config("nonsense").check(&[]).exits(78);
    assert!(!finished.stderr.contains('\u{1b}'), "{:?}", finished.stderr);
}

#[test]
fn colours_can_be_forced_and_no_color_wins_on_a_terminal_only() {
    let scratch = Scratch::with_config("nonsense");
    let mut command = scratch.command(&["--check", "--config", "mcpeg.toml"]);
    command.env("CLICOLOR_FORCE", "1");
    assert!(Finished::of(command).stderr.contains("\u{1b}["));
}

#[test]
fn instance_is_named_to_each_action() {
    for action in ["--status", "--stop", "--reload", "--log-rotate"] {
        let finished = Scratch::new().run(&[action, "--instance", "there-is-none"]);
        assert!(
            finished.stdout.contains("stopped") || finished.stdout.contains("not running"),
            "{action}: {}",
            finished.stdout
        );
    }
    Scratch::new().run(&["--status", "--instance", "A b"]).exits(64).says(&["no name for an instance"]);
    Scratch::new().run(&["--status", "--instance", "a", "--pid-file", "/run/x"]).exits(64);
}
