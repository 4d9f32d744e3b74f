//! What a child writes to its standard error, as lines of the gateway's log.
//!
//! A child is not trusted with the log: its lines are cut at a length, their control characters are made visible, and
//! a child that writes without end fills neither memory nor disk.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::UpstreamName;

/// The longest line; the rest of a longer one is dropped.
const LINE: usize = 8 << 10;
/// Lines that are logged in one [`WINDOW`]; the rest is counted.
const LINES: u32 = 200;
/// The time that [`LINES`] are for.
const WINDOW: Duration = Duration::from_secs(1);

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    /// The line that has begun.
    line: Vec<u8>,
    /// Whether some of it was dropped.
    cut: bool,
}

/// How many lines may still be logged.
#[derive(Debug)]
struct Allowance {
    /// When the window began.
    began: Instant,
    /// Lines logged in it.
    logged: u32,
    /// Lines dropped in it.
    dropped: u64,
}

/// A child's standard error, and the line that has begun.
#[derive(Debug)]
pub(super) struct Errors {
    /// The pipe.
    pub(super) pipe: ChildStderr,
    /// The line.
    lines: Lines,
}

impl Errors {
    /// Goes on with a line that another process has begun to read.
    pub(super) fn new(pipe: ChildStderr, begun: Vec<u8>) -> Self {
        Self { pipe, lines: Lines { line: begun, cut: false } }
    }

    /// The line that has begun.
    pub(super) fn begun(&self) -> &[u8] {
        &self.lines.line
    }
}

/// Passes a child's standard error on to the log until it ends. When it is held, what is left is returned.
pub(super) async fn log(
    upstream: UpstreamName,
    mut errors: Errors,
    hold: CancellationToken,
) -> Option<Errors> {
    let mut allowance = Allowance::new();
    let mut buffer = vec![0; LINE];
    let Errors { pipe, lines } = &mut errors;
    let logged = hold.run_until_cancelled(async {
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            lines.add(&buffer[..count], |text| allowance.log(&upstream, text));
        }
        lines.end(|text| allowance.log(&upstream, text));
    });
    let interrupted = logged.await.is_none();
    allowance.report(&upstream);
    interrupted.then_some(errors)
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

impl Allowance {
    /// A full one.
    fn new() -> Self {
        Self { began: Instant::now(), logged: 0, dropped: 0 }
    }

    /// Logs a line or counts it as dropped.
    fn log(&mut self, upstream: &UpstreamName, text: &str) {
        if self.began.elapsed() >= WINDOW {
            self.report(upstream);
            *self = Self::new();
        }
        if self.logged < LINES {
            self.logged += 1;
            tracing::info!(target: "mcpeg::upstream", %upstream, "{text}");
        } else {
            self.dropped += 1;
        }
    }

    /// Tells how many lines were dropped.
    fn report(&self, upstream: &UpstreamName) {
        if self.dropped > 0 {
            let dropped = self.dropped;
            tracing::warn!(target: "mcpeg::upstream", %upstream, dropped, "the upstream writes too much to be logged");
        }
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
