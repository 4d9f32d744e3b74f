//! The question before a change, asked of a person at a terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::report;
use crate::exit::Exit;

/// Whether there is somebody to ask.
pub(super) fn is_possible() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether the answer to the question before a change is yes; Enter means `default`. Each change can be asked for first, or
/// each with its reason.
pub(super) fn is_affirmed(
    question: &str,
    default: bool,
    (details, explanation): (impl Fn() -> String, impl Fn() -> String),
) -> bool {
    let choices = if default { "[Y]es [n]o" } else { "[y]es [N]o" };
    loop {
        let Some(answer) = answered(&format!("{question} {choices} [d]etails [e]xplain: ")) else {
            return false;
        };
        match answer.as_str() {
            "" => return default,
            "y" | "yes" => return true,
            "n" | "no" => return false,
            "d" | "details" => report::progress(format!("\n{}\n", details())),
            "e" | "explain" | "?" => report::progress(format!("\n{}\n", explanation())),
            _ => {}
        }
    }
}

/// Whether the answer to a question whose default is no, and to which there is nothing to show, is yes.
pub(super) fn confirmed(question: &str) -> bool {
    loop {
        match answered(&format!("{question} [y]es [N]o: ")).as_deref() {
            Some("y" | "yes") => return true,
            None | Some("" | "n" | "no") => return false,
            Some(_) => {}
        }
    }
}

/// The answer in small letters; `None` at the end of the input (Ctrl-D), which is no consent.
fn answered(prompt: &str) -> Option<String> {
    let mut terminal = std::io::stderr();
    let mut answer = String::new();
    let asked = write!(terminal, "{prompt}").and_then(|()| terminal.flush());
    let read = std::io::stdin().lock().read_line(&mut answer);
    if asked.is_err() || !matches!(read, Ok(1..)) {
        // What comes next begins on a line of its own.
        drop(writeln!(terminal));
        return None;
    }
    Some(answer.trim().to_ascii_lowercase())
}

/// The answer was no.
pub(super) fn refused() -> Exit {
    report::note("nothing was changed");
    Exit::Done
}
