//! What a child writes to its standard error, as lines of the gateway's log, of a file of its own, or of neither; the last
//! one is remembered, since it often says why a child has ended.
//!
//! A child is not trusted with the log: its lines are cut at a length, their control characters are made visible, and
//! a child that writes without end fills neither memory nor disk.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::child::ChildEnd;
use super::day_file::DayFile;
use super::mask::Mask;
use crate::config::{Stderr, StderrRules, Upstream, UpstreamName};
use crate::gateway::upstream::log_limit::LogRateLimit;

/// The longest line; the rest of a longer one is dropped.
const LINE: usize = 8 << 10;
/// As many last lines are remembered.
const KEPT: usize = 10;
/// Bytes that are remembered of what is not MCP on standard output.
const STRAY: usize = 200;
/// How long the last line of a child that has ended is waited for.
const LAST_LINE: Duration = Duration::from_secs(1);
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
    /// What is not told of a line.
    mask: Mask,
    /// The rules; a reload changes them.
    rules: Mutex<StderrRules>,
    /// The files, of all children together.
    file: Arc<Mutex<DayFile>>,
    /// The child that was started last for all clients together.
    last: Mutex<Option<Arc<ChildErrors>>>,
}

impl Sink {
    /// That of an upstream, whose files are in this directory.
    pub(crate) fn new(settings: &Upstream, directory: PathBuf) -> Self {
        let upstream = settings.name.clone();
        let file = Arc::new(Mutex::new(DayFile::new(directory, upstream.clone())));
        let (mask, rules) = (Mask::of(&settings.transport), Mutex::new(settings.stderr));
        Self { upstream, mask, rules, file, last: Mutex::default() }
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

    /// The child that was started last for all clients together: what is wrong with the upstream may be seen there.
    pub(crate) fn last(&self) -> Option<Arc<ChildErrors>> {
        self.last.lock().clone()
    }

    /// Another child is about to be started.
    pub(crate) fn forget(&self) {
        *self.last.lock() = None;
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

/// What one child has written last, and how it has ended.
#[derive(Debug)]
pub(crate) struct ChildErrors {
    /// Where it goes.
    sink: Weak<Sink>,
    /// The last lines, unless lines go nowhere.
    lines: Mutex<VecDeque<Box<str>>>,
    /// What it has written first to standard output that is not MCP.
    stray: Mutex<Option<Box<str>>>,
    /// How it has ended.
    end: Mutex<Option<ChildEnd>>,
    /// Whether it was asked to end.
    asked: AtomicBool,
    /// Cancelled when nothing more comes.
    silent: CancellationToken,
}

impl ChildErrors {
    /// Of a child of this upstream, which all clients share or not.
    pub(crate) fn new(sink: &Arc<Sink>, shared: bool) -> Arc<Self> {
        let child = Arc::new(Self {
            sink: Arc::downgrade(sink),
            lines: Mutex::default(),
            stray: Mutex::default(),
            end: Mutex::default(),
            asked: AtomicBool::new(false),
            silent: CancellationToken::new(),
        });
        if shared {
            *sink.last.lock() = Some(Arc::clone(&child));
        }
        child
    }

    /// Notes that the child is asked to end.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// How it has ended, if that is known.
    pub(crate) fn how(&self) -> Option<ChildEnd> {
        *self.end.lock()
    }

    /// Its last line, without secrets that are known.
    pub(crate) fn line(&self) -> Option<String> {
        let line = self.lines.lock().back().cloned()?;
        Some(self.sink.upgrade()?.mask.apply(&line))
    }

    /// Its last lines in the same form.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Some(sink) = self.sink.upgrade() else { return Vec::new() };
        self.lines.lock().iter().map(|line| sink.mask.apply(line)).collect()
    }

    /// Notes what it has written to standard output that is not MCP; the first of it counts.
    pub(crate) fn note_stray(&self, line: &[u8]) {
        let begin = String::from_utf8_lossy(&line[..line.len().min(STRAY)]);
        self.stray.lock().get_or_insert_with(|| visible(begin.trim()).into());
    }

    /// How it has ended and its last line, in words; empty if nothing is known.
    pub(crate) fn account(&self) -> String {
        let end = self.how().map(|end| format!(": {end}")).unwrap_or_default();
        let line = self.line().map(|line| {
            let hint = sandbox_hint(&line);
            format!("; its last line on standard error: {line}{hint}")
        });
        let stray = self.stray.lock().clone().and_then(|text| Some(self.sink.upgrade()?.mask.apply(&text)));
        let stray = stray.map(|text| format!("; it has written to standard output what is not MCP: {text}"));
        end + &line.unwrap_or_default() + &stray.unwrap_or_default()
    }

    /// Waits until what it has written last is read, but not for long: what it has started may keep the pipe open.
    pub(crate) async fn settle(&self) {
        let _ = timeout(LAST_LINE, self.silent.cancelled()).await;
    }

    /// Notes how the child has ended, and tells of an end that nobody has asked for.
    pub(crate) async fn end(&self, end: ChildEnd, pid: u32) {
        *self.end.lock() = Some(end);
        if self.asked.load(Ordering::Relaxed) {
            return;
        }
        self.settle().await;
        let Some(sink) = self.sink.upgrade() else { return };
        let (upstream, line) = (&sink.upstream, self.line());
        tracing::error!(%upstream, child = pid, %end, last_line = line, "the upstream's command has ended by itself");
    }
}

/// What can be done where a line says that a command cannot write: few file systems are read-only but for a service's sandbox.
fn sandbox_hint(line: &str) -> &'static str {
    if line.to_ascii_lowercase().contains("read-only file system") {
        " (as a service it may write only where its unit lets it: ReadWritePaths= by `systemctl edit mcpeg`)"
    } else {
        ""
    }
}

/// Passes a child's standard error on until it ends. When it is held, what is left is returned.
pub(crate) async fn pass_on(
    child: Arc<ChildErrors>,
    mut errors: Errors,
    hold: CancellationToken,
) -> Option<Errors> {
    let sink = child.sink.upgrade()?;
    let upstream = &sink.upstream;
    let mut limit = LogRateLimit::new(LINES);
    let mut buffer = vec![0; LINE];
    let Errors { pipe, lines } = &mut errors;
    let interrupted = loop {
        let read = hold.run_until_cancelled(pipe.read(&mut buffer));
        let read = match limit.due() {
            Some(due) => timeout_at(due, read).await,
            None => Ok(read.await),
        };
        let rules = sink.rules();
        let mut passing = Passing { child: &child, upstream, limit: &mut limit, rules, file: Vec::new() };
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
        sink.keep(file, rules).await;
        if let Some(interrupted) = end {
            break interrupted;
        }
    };
    limit.report(upstream);
    if interrupted {
        return Some(errors);
    }
    child.silent.cancel();
    None
}

/// Lines on their way.
struct Passing<'a> {
    /// Whose they are.
    child: &'a ChildErrors,
    /// Its upstream.
    upstream: &'a UpstreamName,
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
        let upstream = self.upstream;
        if self.rules.to.is_logged() && self.limit.admits(upstream) {
            tracing::info!(target: "mcpeg::upstream", %upstream, "{text}");
        }
        if self.rules.to.is_filed() {
            self.file.extend_from_slice(text.as_bytes());
            self.file.push(b'\n');
        }
        let mut lines = self.child.lines.lock();
        if self.rules.to == Stderr::Discard {
            return lines.clear();
        }
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(text.into());
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
    fn line_about_a_read_only_file_system_has_a_hint_at_the_unit() {
        for (line, hinted) in [
            ("OSError: [Errno 30] Read-only file system: '/srv/a'", true),
            ("Error: EROFS: read-only file system, open '/srv/a'", true),
            ("Error: EACCES: permission denied, open '/srv/a'", false),
        ] {
            assert_eq!(sandbox_hint(line).contains("ReadWritePaths="), hinted, "{line}");
        }
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
