//! All terminal output: data on standard output, everything for people on standard error.
//!
//! Colours appear on terminals only and never with `NO_COLOR`. A reader that closes the pipe has what it wanted, so
//! that a broken pipe changes neither the exit code nor standard error. Nothing that is printed for people ends the
//! process if it cannot be printed.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::json;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue};

use super::definition::Cli;
use super::terminal::wrapped_aside;
use crate::exit::{Exit, ToExit, chain};
use crate::text::{shown, shown_json};

/// `error:`.
const ERROR: Style = AnsiColor::Red.on_default().bold();
/// `warning:`.
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// `note:` and `hint:`.
const NOTE: Style = AnsiColor::Cyan.on_default().bold();

/// Prints an error with its causes, and how it is mended; gives its exit code.
pub fn error(error: &dyn ToExit) -> Exit {
    labelled(ERROR, "mcpeg: error:", &chain(error));
    if let Some(hint) = error.hint() {
        labelled(NOTE, "hint:", &hint);
    }
    error.to_exit()
}

/// Prints that something is wrong but does not stop the command.
pub fn warning(text: impl Display) {
    labelled(WARNING, "mcpeg: warning:", &text.to_string());
}

/// Prints what the reader should know or do next.
pub fn note(text: impl Display) {
    labelled(NOTE, "note:", &text.to_string());
}

/// Prints lines of data, and gives `exit` unless the data could not be written.
#[must_use]
pub fn lines(text: impl Display, exit: Exit) -> Exit {
    let mut stdout = anstream::stdout();
    let text = text.to_string();
    let text = shown(text.trim_end_matches('\n'));
    written(stdout.write_all(text.as_bytes()).and_then(|()| end(&mut stdout)), exit)
}

/// Prints lines of data that go on.
///
/// # Errors
/// The exit code to end with: nobody reads on, or they cannot be written.
pub(super) fn each(mut lines: impl Iterator<Item = String>) -> Result<(), Exit> {
    let mut stdout = anstream::stdout();
    let printed = lines.try_for_each(|line| writeln!(stdout, "{}", shown(&line)));
    printed.and_then(|()| stdout.flush()).map_err(|error| written(Err(error), Exit::Done))
}

/// Prints a line about what happens. That nobody can read it is no failure, and does not stop an act half-way.
pub fn progress(text: impl Display) {
    let _unread = lines(text, Exit::Done);
}

/// Prints a value as one JSON document, and gives `exit` unless it could not be written.
///
/// # Panics
/// If the value cannot be JSON at all, such as a map whose keys are not strings: a bug of the caller.
#[must_use]
pub fn json(value: &impl Serialize, exit: Exit) -> Exit {
    let text = serde_json::to_string_pretty(value).expect("answers have string keys and finite numbers");
    lines(shown_json(&text), exit)
}

/// Says that no gateway runs for an `act`, whose answers have this schema.
pub(super) fn not_running(act: &str, schema: u32, stale_removed: bool, json: bool) -> Exit {
    if json {
        return self::json(&json!({ "schema": schema, act: "not_running" }), Exit::NotRunning);
    }
    let removed = if stale_removed { "; removed the pid file that it left behind" } else { "" };
    lines(format!("mcpeg is not running{removed}"), Exit::NotRunning)
}

/// Prints what the parser of the command line says: help and version are answers, the rest are errors of usage.
#[must_use]
pub fn command_line(error: &clap::Error) -> Exit {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    let exit = written(error.print(), exit);
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) {
        let mut cli = Cli::command();
        cli.build();
        if cli.get_arguments().any(|known| known.get_long() == Some(word.as_str())) {
            labelled(NOTE, "hint:", &format!("that is an option: `mcpeg --{word}`"));
        }
    }
    exit
}

/// Prints a label in its colour and a text, broken where a terminal ends. That standard error is closed or full is nobody's concern here.
fn labelled(style: Style, label: &str, text: &str) {
    let text = wrapped_aside(&format!("{label} {}", shown(text)));
    drop(writeln!(anstream::stderr(), "{style}{label}{style:#}{}", &text[label.len()..]));
}

/// Ends a text on standard output and hands it to the kernel.
fn end(stdout: &mut impl io::Write) -> io::Result<()> {
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// The exit code after writing to standard output.
pub(super) fn written(result: io::Result<()>, exit: Exit) -> Exit {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            labelled(ERROR, "mcpeg: error:", &format!("cannot write to standard output: {error}"));
            Exit::Os
        }
        _ => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with a cause.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot do it")]
    struct Outer(#[source] io::Error);

    #[test]
    fn the_chain_joins_messages_with_colons() {
        let error = Outer(io::Error::other("the kernel refused"));
        assert_eq!(chain(&error), "cannot do it: the kernel refused");
    }

    #[test]
    fn only_a_broken_pipe_leaves_the_exit_code_alone() {
        assert_eq!(written(Err(ErrorKind::BrokenPipe.into()), Exit::NotRunning), Exit::NotRunning);
        assert_eq!(written(Err(ErrorKind::StorageFull.into()), Exit::Done), Exit::Os);
        assert_eq!(written(Ok(()), Exit::Done), Exit::Done);
    }
}
