//! What a child writes to its standard error, as lines of the gateway's log.
//!
//! A child is not trusted with the log: its lines are cut at a length, their control characters are made visible, and
//! a child that writes without end fills neither memory nor disk.

use std::os::fd::{AsFd as _, BorrowedFd};

use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use crate::config::UpstreamName;
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

/// Passes a child's standard error on to the log until it ends. When it is held, what is left is returned.
pub(crate) async fn log(
    upstream: UpstreamName,
    mut errors: Errors,
    hold: CancellationToken,
) -> Option<Errors> {
    let mut limit = LogRateLimit::new(LINES);
    let mut buffer = vec![0; LINE];
    let Errors { pipe, lines } = &mut errors;
    let logged = hold.run_until_cancelled(async {
        loop {
            let read = pipe.read(&mut buffer);
            let read = match limit.due() {
                Some(due) => timeout_at(due, read).await,
                None => Ok(read.await),
            };
            match read {
                Ok(Ok(count @ 1..)) => {
                    lines.add(&buffer[..count], |text| tell(&upstream, &mut limit, text));
                }
                Ok(_) => break,
                // It has fallen silent after a flood.
                Err(_) => limit.report(&upstream),
            }
        }
        lines.end(|text| tell(&upstream, &mut limit, text));
    });
    let interrupted = logged.await.is_none();
    limit.report(&upstream);
    interrupted.then_some(errors)
}

/// Logs a line, if it may be.
fn tell(upstream: &UpstreamName, limit: &mut LogRateLimit, text: &str) {
    if limit.admits(upstream) {
        tracing::info!(target: "mcpeg::upstream", %upstream, "{text}");
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
