//! The question before a change, asked of a person at a terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::report;
use crate::exit::Exit;

/// Whether there is somebody to ask.
pub(super) fn is_possible() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks a question whose default is no. Where there is an explanation, it can be asked for first.
pub(super) fn confirmed(question: &str, explanation: Option<&dyn Fn() -> String>) -> bool {
    let choices = if explanation.is_some() { "[yes / NO / explain]" } else { "[yes / NO]" };
    loop {
        let mut terminal = std::io::stderr();
        let mut answer = String::new();
        let asked = write!(terminal, "{question} {choices} ").and_then(|()| terminal.flush());
        let read = std::io::stdin().lock().read_line(&mut answer);
        // The end of the input (Ctrl-D) is no consent.
        if asked.is_err() || !matches!(read, Ok(1..)) {
            return false;
        }
        match (answer.trim().to_ascii_lowercase().as_str(), explanation) {
            ("y" | "yes", _) => return true,
            ("" | "n" | "no", _) => return false,
            ("e" | "explain" | "?", Some(explanation)) => report::progress(format!("\n{}\n", explanation())),
            _ => {}
        }
    }
}

/// The answer was no.
pub(super) fn refused() -> Exit {
    report::note("nothing was changed");
    Exit::Done
}
