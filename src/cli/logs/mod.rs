//! `mcpeg logs`: the gateway's log, or what is about one upstream: what its command has written to standard error and what the
//! gateway says of it, wherever the configuration has that go.
//!
//! | what is asked for | where it is |
//! |---|---|
//! | the gateway's log | its log file, or else the journal of its unit |
//! | an upstream whose `stderr` is a file | `stderr.NAME.log` |
//! | an upstream whose `stderr` is the log | the records of the log that name it |

mod file;

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::file::Followed;
use super::definition::LogsArgs;
use super::report;
use super::site::{Site, Unknown};
use crate::config::{self, Stderr};
use crate::control::Request;
use crate::daemon::locate::{self, State};
use crate::daemon::{PathsError, unit};
use crate::exit::{Exit, ToExit};
use crate::systemd::{Unit, journal};
use crate::{control, install, program};

/// How long the gateway may take to say where its log is.
const LIMIT: Duration = Duration::from_secs(5);

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The run-time directory.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// There is no such upstream.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// It goes nowhere.
    #[error("nothing is kept of what `{0}` writes: its `stderr` is \"discard\"")]
    Discarded(String),
    /// There is no log.
    #[error("there is no log file, and no unit whose journal could be read")]
    Nowhere,
    /// A file cannot be read.
    #[error("cannot read `{}`", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] program::Error),
    /// It breaks off.
    #[error("cannot read what journalctl says")]
    Broken(#[source] io::Error),
}

/// Where it is.
enum Place {
    /// In a file.
    File(PathBuf),
    /// In the journal.
    Journal(Unit),
}

/// Which records are shown: all, or those that name this upstream.
struct About(Option<String>);

/// `mcpeg logs`.
pub(super) fn run(arguments: &LogsArgs) -> Exit {
    show(arguments).unwrap_or_else(|error| report::error(&error))
}

/// Shows the last lines, and those that follow.
fn show(arguments: &LogsArgs) -> Result<Exit, Error> {
    let site = Site::find(&arguments.place)?;
    let json = arguments.place.json;
    let (place, about) = match &arguments.upstream {
        Some(name) => of_upstream(&site, name)?,
        None => (of_gateway(&site)?, About(None)),
    };
    match place {
        Place::File(path) => {
            let failed = |error| Error::Read(path.clone(), error);
            let mut followed = Followed::open(&path).map_err(failed)?;
            let last = followed.last(arguments.lines, &|line| about.includes(line)).map_err(failed)?;
            if let Err(exit) = report::each(last.iter().map(|line| about.shown(line, json))) {
                return Ok(exit);
            }
            if !arguments.follow {
                return Ok(Exit::Done);
            }
            loop {
                let lines = followed.next().map_err(failed)?;
                let lines = lines.iter().filter(|line| about.includes(line));
                if let Err(exit) = report::each(lines.map(|line| about.shown(line, json))) {
                    return Ok(exit);
                }
            }
        }
        Place::Journal(unit) => of_journal(&unit, &about, arguments),
    }
}

/// Where what is about an upstream is.
fn of_upstream(site: &Site, name: &str) -> Result<(Place, About), Error> {
    site.file_of(name)?;
    let config = site.check(&[]).unwrap_or_default();
    let stderr = config.upstreams.iter().find(|upstream| upstream.name.as_str() == name);
    match stderr.map_or(Stderr::Log, |upstream| upstream.stderr.to) {
        Stderr::Discard => Err(Error::Discarded(name.to_owned())),
        Stderr::File | Stderr::Both => {
            let log = log_file(site).and_then(|file| Some(file.parent()?.to_owned()));
            let directory = log.unwrap_or_else(|| site.state_directory());
            Ok((Place::File(directory.join(format!("stderr.{name}.log"))), About(None)))
        }
        Stderr::Log => Ok((of_gateway(site)?, About(Some(name.to_owned())))),
    }
}

/// Where the gateway's log is.
fn of_gateway(site: &Site) -> Result<Place, Error> {
    if let Some(file) = log_file(site) {
        return Ok(Place::File(file));
    }
    let running = match locate::locate(site.paths()) {
        Ok(State::Running(running)) => unit::of(&running.record),
        _ => None,
    };
    let unit = running.or_else(|| {
        let unit = install::service_with(&site.file())?;
        unit.told("LoadState")?.is_loaded().then_some(unit)
    });
    if let Some(unit) = unit {
        return Ok(Place::Journal(unit));
    }
    // That of a daemon that is told of none.
    let usual = config::default_log_file();
    if usual.exists() { Ok(Place::File(usual)) } else { Err(Error::Nowhere) }
}

/// The log file: that of the gateway that runs, or else of the configuration.
fn log_file(site: &Site) -> Option<PathBuf> {
    match control::ask::<Value>(&site.paths().control, Request::Status, LIMIT) {
        Ok(reply) => reply.value["log_file"].as_str().map(PathBuf::from),
        Err(_) => site.check(&[]).ok()?.log.file,
    }
}

/// Shows what the journal has.
fn of_journal(unit: &Unit, about: &About, arguments: &LogsArgs) -> Result<Exit, Error> {
    let (mut last, mut cursor) = (Vec::new(), None);
    let before = Reading::begin(unit, &["--reverse"])?;
    for entry in before {
        let entry = entry.map_err(Error::Broken)?;
        cursor.get_or_insert_with(|| entry["__CURSOR"].as_str().unwrap_or_default().to_owned());
        if last.len() >= arguments.lines {
            break;
        }
        last.extend(text_of(&entry).filter(|text| about.includes(text)));
    }
    last.reverse();
    let json = arguments.place.json;
    if let Err(exit) = report::each(last.iter().map(|line| about.shown(line, json))) {
        return Ok(exit);
    }
    if !arguments.follow {
        return Ok(Exit::Done);
    }
    let after = cursor.map_or_else(|| "--lines=all".to_owned(), |cursor| format!("--after-cursor={cursor}"));
    for entry in Reading::begin(unit, &["--follow", &after])? {
        let text = text_of(&entry.map_err(Error::Broken)?).filter(|text| about.includes(text));
        if let Err(exit) = report::each(text.iter().map(|line| about.shown(line, json))) {
            return Ok(exit);
        }
    }
    Ok(Exit::Done)
}

/// What an entry of the journal says, and when.
fn text_of(entry: &Value) -> Option<String> {
    let micros: i64 = entry["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()?;
    let time = Timestamp::from_microsecond(micros).ok()?;
    Some(format!("{time:.6} {}", entry["MESSAGE"].as_str()?))
}

/// A journalctl(1) that is read; it ends with this.
struct Reading {
    /// The process.
    child: Child,
    /// What it prints.
    lines: io::Lines<BufReader<ChildStdout>>,
}

impl Reading {
    /// Begins to read what a unit has written.
    fn begin(unit: &Unit, arguments: &[&str]) -> Result<Self, Error> {
        let (child, output) = journal::read(unit, arguments)?;
        Ok(Self { child, lines: BufReader::new(output).lines() })
    }
}

impl Iterator for Reading {
    type Item = io::Result<Value>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        Some(line.map(|line| serde_json::from_str(&line).unwrap_or_default()))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl About {
    /// Whether a record is about it, in whatever form it is.
    fn includes(&self, record: &str) -> bool {
        let Some(name) = &self.0 else { return true };
        if record.starts_with('{') {
            let record: Value = serde_json::from_str(record).unwrap_or_default();
            return record["upstream"] == name.as_str();
        }
        record.match_indices("upstream=").any(|(at, key)| {
            let value = record[at + key.len()..].trim_start_matches('"');
            let rest = value.strip_prefix(name.as_str());
            let begins = record[..at].ends_with([' ', '{']);
            begins && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '"', '}']))
        })
    }

    /// A record as it is shown: for programs as JSON; for people, of JSON about an upstream what it says.
    fn shown(&self, record: &str, json: bool) -> String {
        const KNOWN: [&str; 8] =
            ["timestamp", "level", "target", "message", "upstream", "pid", "instance", "spans"];
        let parsed = serde_json::from_str(record).ok();
        let Some(Value::Object(fields)) = parsed else {
            return if json { json!({ "text": record }).to_string() } else { record.to_owned() };
        };
        if json || self.0.is_none() {
            return record.to_owned();
        }
        let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut shown = format!("{} {} {}", text("timestamp"), text("level"), text("message"));
        for (key, value) in fields.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
            let _ = write!(shown, " {key}={value}");
        }
        shown
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Paths(error) => error.to_exit(),
            Self::Unknown(error) => error.to_exit(),
            Self::Read(_, error) if error.kind() == io::ErrorKind::PermissionDenied => Exit::Permission,
            Self::Discarded(_) | Self::Nowhere | Self::Read(..) => Exit::Unavailable,
            Self::Journal(error) => error.to_exit(),
            Self::Broken(_) => Exit::Os,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Paths(error) => error.hint(),
            Self::Unknown(error) => error.hint(),
            Self::Discarded(_) => Some("set `stderr = \"log\"` and reload".to_owned()),
            Self::Nowhere => Some(
                "a gateway in the foreground logs to its terminal; `file` in [log] names a file".to_owned(),
            ),
            Self::Read(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as root or as the gateway's user".to_owned())
            }
            Self::Read(_, error) if error.kind() == io::ErrorKind::NotFound => {
                Some("nothing was written yet".to_owned())
            }
            Self::Journal(error) => error.hint(),
            Self::Read(..) | Self::Broken(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_by_the_upstream_that_they_name_in_each_format() {
        let about = About(Some("time".to_owned()));
        for (record, is_about) in [
            ("2026-11-30T00:00:00Z  INFO mcpeg::upstream: hello upstream=time", true),
            ("2026-11-30T00:00:00Z  INFO mcpeg::upstream: hello upstream=times", false),
            ("2026-11-30T00:00:00Z  INFO mcpeg::upstream: hello upstream=time child=3", true),
            ("ts=2026-11-30T00:00:00Z level=info msg=\"a b\" upstream=\"time\" pid=1", true),
            ("mcpeg::gateway: x request{upstream=time}", true),
            ("mcpeg::gateway: no_upstream=time", false),
            (r#"{"message":"x","upstream":"time"}"#, true),
            (r#"{"message":"upstream=time","upstream":"docs"}"#, false),
        ] {
            assert_eq!(about.includes(record), is_about, "{record}");
            assert!(About(None).includes(record));
        }
        let json = r#"{"timestamp":"T","level":"INFO","target":"t","message":"said","upstream":"time","n":3,"pid":1}"#;
        assert_eq!(about.shown(json, false), "T INFO said n=3");
        assert_eq!(
            (about.shown(json, true), About(None).shown(json, false)),
            (json.to_owned(), json.to_owned())
        );
        assert_eq!(about.shown("a \"b\"", true), r#"{"text":"a \"b\""}"#);
    }
}
