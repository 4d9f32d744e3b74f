//! How the log is written: its levels, its formats, and what happens when it cannot be written.

use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;

use super::diagnostic::{Place, Problems};
use super::key::{Key, Kind};
use super::kinds;
use super::reader::{Reader, Value};

/// Where the audit goes.
pub(super) const AUDIT: Kind<Audit> = Kind::new("\"auto\", \"off\", or an absolute path", audit);
/// Filter directives.
pub(super) const LEVEL: Kind<String> = Kind::new("a string", level);

/// How a log record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    #[default]
    Json,
    /// `key=value` pairs.
    Logfmt,
}

/// Where JSON has the fields of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spans {
    /// Beside the record's own.
    #[default]
    Flat,
    /// In an array `spans`, outermost first.
    Nested,
}

/// How the console is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsoleFormat {
    /// As text, or as the journal reads it.
    #[default]
    Auto,
    /// In this format, whatever standard error is.
    Always(LogFormat),
}

/// Where the audit goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Audit {
    /// To the journal, where standard error goes there; else nowhere.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// To this file.
    File(PathBuf),
}

/// Which records of the audit are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditLevel {
    /// All.
    #[default]
    Info,
    /// Those of what has not gone well.
    Warn,
}

/// Of which requests the log has a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Of none.
    #[default]
    Off,
    /// Of those that have not gone well.
    Errors,
    /// Of all.
    All,
}

/// What happens when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The thread that logs waits.
    #[default]
    Block,
    /// New records are dropped and counted.
    Drop,
}

/// What happens when the file cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// The oldest records that wait are dropped and counted.
    #[default]
    Drop,
    /// The gateway drains and ends.
    Stop,
}

/// When records are forced to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Never: when the kernel sees fit.
    #[default]
    Never,
    /// Before each rotation.
    Rotate,
    /// Each second in which something was written, and before each rotation.
    Second,
}

impl Audit {
    /// The file, if it goes to one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        if let Self::File(file) = self { Some(file) } else { None }
    }
}

/// Reads where the audit goes.
fn audit(key: &Key<Audit>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Audit> {
    let text = kinds::string(key, value, reader)?;
    match *text.get_ref() {
        "auto" => Some(Audit::Auto),
        "off" => Some(Audit::Off),
        path if path.starts_with('/') && !path.contains('\0') => Some(Audit::File(path.into())),
        other => {
            let hint = "write \"auto\", \"off\", or the path of a file, which begins with /";
            reader.refuse(&text.span(), format!("`audit` cannot go to `{other}`"), hint);
            None
        }
    }
}

/// Reads filter directives.
fn level(key: &Key<String>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = kinds::string(key, value, reader)?;
    let problem = check_level(text.get_ref());
    if let Some((message, hint)) = &problem {
        reader.refuse(&value.span(), message, *hint);
    }
    problem.is_none().then(|| (*text.get_ref()).to_owned())
}

/// Checks the level that the command line gives.
pub(super) fn check_overridden_level(level: &str, problems: &mut Problems) {
    if let Some((message, hint)) = check_level(level) {
        problems.push_with_hint(Place::Option("--log-level"), message, hint);
    }
}

/// What is wrong with filter directives, and how it is mended. `EnvFilter` takes any word as the name of a target, so that a misspelt level would
/// silence the log; here a lone word must be a level.
fn check_level(directives: &str) -> Option<(String, &'static str)> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    let plain = |directive: &str| match directive.split_once('=') {
        Some((target, level)) => !target.trim().is_empty() && is_level(level.trim()),
        None => is_level(directive.trim()),
    };
    let spans = directives.contains('[');
    let understood = EnvFilter::builder().parse(directives).is_ok();
    let wrong = !understood || !spans && !directives.split(',').all(plain);
    wrong.then(|| {
        let hint = "write off, error, warn, info, debug or trace, then TARGET=LEVEL after commas, as in \
                    \"info,mcpeg::gateway=debug\"";
        (format!("`{directives}` is not a log level"), hint)
    })
}
