//! What a child writes to its standard error, as lines of the gateway's log, of a file of its own, or of neither; the last
//! one is remembered, since it often says why a child has ended.
//!
//! A child is not trusted with the log: its lines are cut at a length, their control characters are made visible, and
//! a child that writes without end fills neither memory nor disk.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::day_file::DayFile;
use crate::config::{Stderr, StderrRules, UpstreamName};
use crate::gateway::upstream::log_limit::LogRateLimit;

/// The longest line; the rest of a longer one is dropped.
const LINE: usize = 8 << 10;
/// Lines that are logged in a second; the rest is counted.
const LINES: u32 = 200;

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    /// The line that has begun.
    line: Vec<u8>,
    /// Whether some of it was dropped.
    cut: bool,
}

/// A child's standard error, and the line that has begun.
#[derive(Debug)]
pub(crate) struct Errors {
    /// The pipe.
    pipe: ChildStderr,
    /// The line.
    lines: Lines,
}

impl Errors {
    /// Goes on with a line that another process has begun to read.
    pub(crate) fn new(pipe: ChildStderr, begun: Vec<u8>) -> Self {
        Self { pipe, lines: Lines { line: begun, cut: false } }
    }

    /// The pipe.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The line that has begun.
    pub(crate) fn begun(&self) -> &[u8] {
        &self.lines.line
    }
}

/// Where what the children of one upstream write goes, and by which rules.
#[derive(Debug)]
pub(crate) struct Sink {
    /// The upstream.
    upstream: UpstreamName,
    /// The rules; a reload changes them.
    rules: Mutex<StderrRules>,
    /// The files, of all children together.
    file: Arc<Mutex<DayFile>>,
}

impl Sink {
    /// That of an upstream, whose files are in this directory.
    pub(crate) fn new(upstream: UpstreamName, rules: StderrRules, directory: PathBuf) -> Self {
        let file = Arc::new(Mutex::new(DayFile::new(directory, upstream.clone())));
        Self { upstream, rules: Mutex::new(rules), file }
    }

    /// The upstream.
    pub(crate) const fn upstream(&self) -> &UpstreamName {
        &self.upstream
    }

    /// The rules in force.
    fn rules(&self) -> StderrRules {
        *self.rules.lock()
    }

    /// Goes by these rules from now on.
    pub(crate) fn set(&self, rules: StderrRules) {
        let before = std::mem::replace(&mut *self.rules.lock(), rules);
        if before.to.is_filed() && !rules.to.is_filed() {
            let file = Arc::clone(&self.file);
            drop(tokio::task::spawn_blocking(move || file.lock().close()));
        }
    }

    /// Writes whole lines into the file.
    async fn keep(&self, lines: Vec<u8>, rules: StderrRules) {
        if lines.is_empty() {
            return;
        }
        let file = Arc::clone(&self.file);
        // A panic is in the log, and ends the gateway.
        let _ = tokio::task::spawn_blocking(move || file.lock().write(&lines, rules)).await;
    }
}

/// What one child has written, for whoever asks why it has ended.
#[derive(Debug)]
pub(crate) struct ChildErrors {
    /// Where it goes.
    sink: Arc<Sink>,
    /// The last line, unless lines go nowhere.
    last: Mutex<Option<Box<str>>>,
    /// Cancelled at the end.
    ended: CancellationToken,
}

impl ChildErrors {
    /// Of a child of this upstream.
    pub(crate) fn new(sink: Arc<Sink>) -> Self {
        Self { sink, last: Mutex::default(), ended: CancellationToken::new() }
    }

    /// The last line, after a wait for it that is not long.
    pub(crate) async fn last_line(&self, limit: Duration) -> Option<Box<str>> {
        // Something that the child has started may keep the pipe open.
        let _ = timeout(limit, self.ended.cancelled()).await;
        self.last.lock().clone()
    }
}

/// Passes a child's standard error on until it ends. When it is held, what is left is returned.
pub(crate) async fn pass_on(
    child: Arc<ChildErrors>,
    mut errors: Errors,
    hold: CancellationToken,
) -> Option<Errors> {
    let upstream = &child.sink.upstream;
    let mut limit = LogRateLimit::new(LINES);
    let mut buffer = vec![0; LINE];
    let Errors { pipe, lines } = &mut errors;
    let interrupted = loop {
        let read = hold.run_until_cancelled(pipe.read(&mut buffer));
        let read = match limit.due() {
            Some(due) => timeout_at(due, read).await,
            None => Ok(read.await),
        };
        let rules = child.sink.rules();
        let mut passing = Passing { child: &child, limit: &mut limit, rules, file: Vec::new() };
        let end = match read {
            Ok(Some(Ok(count @ 1..))) => {
                lines.add(&buffer[..count], |text| passing.pass(text));
                None
            }
            Ok(Some(_)) => {
                lines.end(|text| passing.pass(text));
                Some(false)
            }
            Ok(None) => Some(true),
            // It has fallen silent after a flood.
            Err(_) => {
                passing.limit.report(upstream);
                None
            }
        };
        let file = passing.file;
        child.sink.keep(file, rules).await;
        if let Some(interrupted) = end {
            break interrupted;
        }
    };
    limit.report(upstream);
    if interrupted {
        return Some(errors);
    }
    child.ended.cancel();
    None
}

/// Lines on their way.
struct Passing<'a> {
    /// Whose they are.
    child: &'a ChildErrors,
    /// How many may be logged.
    limit: &'a mut LogRateLimit,
    /// Where they go.
    rules: StderrRules,
    /// What goes to the file.
    file: Vec<u8>,
}

impl Passing<'_> {
    /// Passes a line on.
    fn pass(&mut self, text: &str) {
        let upstream = &self.child.sink.upstream;
        if self.rules.to.is_logged() && self.limit.admits(upstream) {
            tracing::info!(target: "mcpeg::upstream", %upstream, "{text}");
        }
        if self.rules.to.is_filed() {
            self.file.extend_from_slice(text.as_bytes());
            self.file.push(b'\n');
        }
        *self.child.last.lock() = (self.rules.to != Stderr::Discard).then(|| text.into());
    }
}

impl Lines {
    /// Adds bytes and emits the lines that are complete.
    fn add(&mut self, bytes: &[u8], mut emit: impl FnMut(&str)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let room = LINE.saturating_sub(self.line.len());
            self.cut |= text.len() > room;
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if part.ends_with(b"\n") {
                self.end(&mut emit);
            }
        }
    }

    /// Emits the line that has begun.
    fn end(&mut self, mut emit: impl FnMut(&str)) {
        let text = visible(String::from_utf8_lossy(&self.line).trim_end());
        if !text.is_empty() {
            emit(&if std::mem::take(&mut self.cut) { text + " …" } else { text });
        }
        self.line.clear();
        self.cut = false;
    }
}

/// Text without characters that a terminal or a reader of the log would act upon.
fn visible(text: &str) -> String {
    if !text.contains(|c: char| c.is_control() && c != '\t') {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that these writes make.
    fn lines(writes: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for write in writes {
            lines.add(write, |text| all.push(text.to_owned()));
        }
        lines.end(|text| all.push(text.to_owned()));
        all
    }

    #[test]
    fn lines_are_whole_however_they_were_written() {
        assert_eq!(lines(&[b"a", b"b\nc\r\n\n", b"d"]), ["ab", "c", "d"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_next_one_is_whole() {
        let long = vec![b'x'; LINE * 3];
        let all = lines(&[&long, b"\nnext\n"]);
        assert_eq!(all[0].len(), LINE + " …".len());
        assert_eq!(all[1], "next");
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(visible("a\u{1b}[31mb\rc\t\u{9b}"), "a\\u{1b}[31mb\\rc\t\\u{9b}");
    }
}
