//! What the log tells about itself: records of its own, words to a person, and the health that others ask for.
//!
//! Invariant: an error is told once when it begins and once when it ends, never for each record.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldwork::Fieldwork;
use tracing::Level;

use super::batch::{Counts, index};
use super::console_writer::ConsoleQueue;
use super::error::Error;
use super::format::Context;
use super::health::Shared;
use super::trouble::{Act, Troubles};
use crate::exit;

/// The socket of syslog(3), which the journal serves too.
const SYSLOG: &str = "/dev/log";

/// How the console takes records, and its queue.
pub(super) type Told = (Arc<Context>, Arc<ConsoleQueue>);

/// What the writer of the file tells, and to whom.
#[derive(Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(super) struct SelfReport {
    /// Makes records for the file.
    file: Arc<Context>,
    /// Where a person reads; without a console that is syslog(3), which the journal answers.
    console: Option<Told>,
    /// What others may know.
    #[field(get(deref = false))]
    shared: Arc<Shared>,
    /// What is wrong.
    #[field(get)]
    troubles: Troubles,
}

impl SelfReport {
    /// Nothing is wrong yet.
    pub(super) fn new(file: Arc<Context>, console: Option<Told>, path: &Path) -> Self {
        let shared = Arc::new(Shared::of(path.to_owned()));
        Self { file, console, shared, troubles: Troubles::default() }
    }

    /// Tells a person something, without waiting.
    pub(super) fn alarm(&self, level: Level, text: &str) {
        match &self.console {
            Some((context, queue)) => queue.push(&context.own(level, text, &[]), index(level)),
            None => syslog(level, text),
        }
    }

    /// Notes that the file cannot be moved, opened or synced; what there is stays in use.
    pub(super) fn failed(&mut self, act: Act, error: &Error) {
        let text = exit::chain(error);
        if self.troubles.fail(act, text.clone()) {
            self.alarm(Level::ERROR, &format!("{text}; the log goes on in the file that is open"));
            self.publish();
        }
    }

    /// Notes that this is over.
    pub(super) fn succeeded(&mut self, act: Act) {
        if let Some(text) = self.troubles.succeed(act) {
            self.alarm(Level::WARN, &format!("over: {text}"));
            self.publish();
        }
    }

    /// Notes that the file cannot be written; whether that is news.
    pub(super) fn cannot_write(&mut self, path: &Path, error: &std::io::Error) -> bool {
        let text = format!("cannot write log file `{}`: {error}", path.display());
        let news = self.troubles.fail_to_write(text.clone());
        if news {
            self.alarm(Level::ERROR, &format!("{text}; the newest records are kept"));
            self.publish();
        }
        news
    }

    /// Notes that the file can be written; if it could not, for how long, and what was lost.
    pub(super) fn can_write(&mut self, path: &Path) -> Option<(Duration, Counts)> {
        let (during, lost) = self.troubles.write()?;
        let (total, took) = (lost.total(), humantime::format_duration(round(during)));
        let path = path.display();
        self.alarm(
            Level::WARN,
            &format!("log file `{path}` is written again after {took}; {total} records were lost"),
        );
        self.publish();
        Some((during, lost))
    }

    /// Counts what was lost because the file cannot be written.
    pub(super) fn lost(&mut self, lost: Counts) {
        self.troubles.lose(lost);
    }

    /// The end: tells what was lost if the file still cannot be written.
    pub(super) fn end(&mut self, path: &Path) {
        if let Some((_, lost)) = self.troubles.write() {
            let (lost, path) = (lost.total(), path.display());
            self.alarm(Level::ERROR, &format!("log file `{path}`: {lost} records were lost"));
        }
    }

    /// A record for the file about records that were lost.
    pub(super) fn loss(&self, during: Duration, lost: Counts) -> Vec<u8> {
        let during = humantime::format_duration(round(during));
        let text = format!("dropped {} records in {during}", lost.total());
        let counts: Vec<_> = lost.by_level().filter(|(_, count)| *count > 0).collect();
        self.file.own(Level::WARN, &text, &counts)
    }

    /// Lets others know what is wrong.
    fn publish(&self) {
        self.shared.health().trouble = self.troubles.text().map(str::to_owned);
    }
}

/// Sends one line to syslog(3) without waiting; where nobody takes it, nobody reads it.
fn syslog(level: Level, text: &str) {
    // Facility daemon, severity err or warning: RFC 5424 §6.2.1.
    let priority = if level == Level::ERROR { 27 } else { 28 };
    let line = format!("<{priority}>mcpeg[{}]: {text}", std::process::id());
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(line.as_bytes(), SYSLOG)
    });
    drop(sent);
}

/// Whole milliseconds.
fn round(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
