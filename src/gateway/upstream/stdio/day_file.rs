//! One file a day for what the commands of an upstream write to standard error: `stderr.NAME.log.2026-11-30`, and the link
//! `stderr.NAME.log`, which leads to the one of today. Days are those of UTC.
//!
//! tracing-appender names and opens the files, sets the link and deletes old files. What it lacks stands here: it follows
//! links and takes the umask's mode, so that each file is made first under the rules of [`crate::sys::fs`]; it goes on in
//! yesterday's file where a new one cannot be opened, so that it is built anew each day and says why; it does not see
//! that a file was moved or deleted, nor how large it is; a line that a full disk has cut is taken back here.
//!
//! Invariants: only whole lines are in a file, also of two connections or two processes that write it; it does not become
//! larger than its bound; each line that is not in it is counted and told.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use rustix::fs::{fstat, ftruncate};
use tracing_appender::rolling::{RollingFileAppender, Rotation};

use crate::config::{StderrRules, UpstreamName};
use crate::sys::fd::device_inode;
use crate::sys::fs::{Access, Directory, Owners, identity};

/// The mode of a new file: what servers write names users and hosts, so that only the group reads along.
const FILE_MODE: u32 = 0o640;
/// The mode of a directory that is made for it.
const DIRECTORY_MODE: u32 = 0o750;
/// What is left for our own last lines within the bound, in bytes.
const RESERVED: u64 = 256;
/// How long nothing is tried after a file could not be opened.
const RETRY: Duration = Duration::from_secs(1);
/// How often the link is set where another process sets it at the same moment.
const TRIES: usize = 3;

/// The files of one upstream.
#[derive(Debug)]
pub(crate) struct DayFile {
    /// Where they are.
    directory: PathBuf,
    /// The upstream, for messages.
    upstream: UpstreamName,
    /// How their names begin; also that of the link.
    prefix: String,
    /// The one in use.
    open: Option<Open>,
    /// What was beyond the bound of the day.
    beyond: Lost,
    /// What could not be written.
    failed: Lost,
    /// When opening was tried in vain.
    tried: Option<Instant>,
}

/// The file of a day.
#[derive(Debug)]
struct Open {
    /// The day.
    day: Date,
    /// The rules that it was opened under.
    rules: StderrRules,
    /// Its directory.
    directory: Directory,
    /// Its name there.
    name: OsString,
    /// The file.
    file: File,
    /// Who writes it.
    appender: RollingFileAppender,
    /// Whether it ends with a torn line.
    torn: bool,
}

/// Lines that are in no file.
#[derive(Debug, Default)]
struct Lost {
    /// How many.
    lines: u64,
    /// Their size.
    bytes: u64,
}

impl Lost {
    /// Counts these whole lines; whether they are the first.
    fn add(&mut self, lines: &[u8]) -> bool {
        let first = self.lines == 0;
        self.lines += memchr::memchr_iter(b'\n', lines).count() as u64;
        self.bytes += lines.len() as u64;
        first && self.lines > 0
    }
}

impl DayFile {
    /// The files of an upstream in a directory; none is opened before there is a line.
    pub(crate) fn new(directory: PathBuf, upstream: UpstreamName) -> Self {
        let prefix = format!("stderr.{upstream}.log");
        let (beyond, failed) = (Lost::default(), Lost::default());
        Self { directory, upstream, prefix, open: None, beyond, failed, tried: None }
    }

    /// Writes whole lines into the file of today, as far as there is room.
    pub(crate) fn write(&mut self, lines: &[u8], rules: StderrRules) {
        let full = self.beyond.lines > 0;
        let written = self.current(rules).and_then(|(open, is_new)| open.append(lines, full && !is_new));
        let (kept, error) = written.unwrap_or_else(|error| (0, Some(error)));
        let rest = &lines[kept..];
        if let Some(error) = error {
            if self.failed.add(rest) {
                let (upstream, file) = (&self.upstream, self.directory.join(&self.prefix));
                tracing::warn!(
                    %upstream, file = %file.display(), %error,
                    "the upstream's standard error cannot be kept; lines are counted until it can"
                );
            }
            return;
        }
        if self.beyond.add(rest) {
            self.note("stderr_size is reached; the rest of this day is counted, not kept");
            tracing::warn!(
                upstream = %self.upstream, stderr_size = rules.size,
                "today's file of the upstream's standard error is full; the rest of the day is counted"
            );
        }
        self.tell_failed();
    }

    /// Leaves the file, after telling what is not in it.
    pub(crate) fn close(&mut self) {
        self.tell_beyond();
        self.tell_failed();
        self.open = None;
    }

    /// The file of today, and whether it had to be opened: it is another day, the rules are others, or the file was moved
    /// or deleted.
    fn current(&mut self, rules: StderrRules) -> io::Result<(&mut Open, bool)> {
        let day = today();
        let fits = |open: &Open| open.day == day && open.rules == rules && open.is_in_place();
        if self.open.as_ref().is_some_and(fits) {
            return Ok((self.open.as_mut().expect("it was looked at"), false));
        }
        if self.tried.is_some_and(|tried| tried.elapsed() < RETRY) {
            return Err(io::Error::other("the file could not be opened a moment ago"));
        }
        self.tell_beyond();
        self.open = None;
        self.tried = Some(Instant::now());
        let opened = Open::new(&self.directory, &self.prefix, rules, day)?;
        self.tried = None;
        Ok((self.open.insert(opened), true))
    }

    /// Tells what was beyond the bound, in the log and at the end of the file.
    fn tell_beyond(&mut self) {
        let Lost { lines, bytes } = std::mem::take(&mut self.beyond);
        if lines > 0 {
            self.note(&format!("{lines} more lines ({bytes} bytes) of this day are left out"));
            let upstream = &self.upstream;
            tracing::warn!(
                %upstream, lines, bytes,
                "lines of the upstream's standard error are left out, since the file of the day was full"
            );
        }
    }

    /// Tells what could not be written, once something can be.
    fn tell_failed(&mut self) {
        let Lost { lines, bytes } = std::mem::take(&mut self.failed);
        if lines > 0 {
            let upstream = &self.upstream;
            tracing::warn!(
                %upstream, lines, bytes, "lines of the upstream's standard error are lost: they could not be written"
            );
        }
    }

    /// Writes a line of our own, if it fits within the bound.
    fn note(&mut self, text: &str) {
        if let Some(open) = &mut self.open {
            // Without it the log tells the same.
            drop(open.note(&format!("[mcpeg] {text}\n")));
        }
    }
}

impl Drop for DayFile {
    fn drop(&mut self) {
        self.close();
    }
}

impl Open {
    /// Opens or makes the file of a day.
    fn new(directory: &Path, prefix: &str, rules: StderrRules, day: Date) -> io::Result<Self> {
        let name = OsString::from(format!("{prefix}.{day}"));
        let opened = Directory::make(directory, DIRECTORY_MODE)?.owned(Owners::Ours)?;
        let (file, _) = opened.open_or_create(&name, FILE_MODE, Access::Append, Owners::Ours)?;
        let builder = RollingFileAppender::builder()
            .rotation(Rotation::DAILY)
            .filename_prefix(prefix)
            .latest_symlink(prefix)
            // The library makes room for a new file, which is there by now.
            .max_log_files(rules.keep + 1);
        let mut built = builder.build(directory);
        for _ in 1..TRIES {
            built = built.or_else(|_| builder.build(directory));
        }
        let appender = built.map_err(io::Error::other)?;
        let torn = ends_torn(&file)?;
        Ok(Self { day, rules, directory: opened, name, file, appender, torn })
    }

    /// Whether the file is the one of its name.
    fn is_in_place(&self) -> bool {
        let there = self.directory.stat(&self.name).map(|stat| identity(&stat));
        matches!((there, device_inode(self.file.as_fd())), (Ok(there), Ok(ours)) if there == ours)
    }

    /// Appends lines as far as they fit, none if the file is full; one that is written by half is taken back. How many bytes
    /// of them are in the file, and why the rest is not if it could not be written.
    fn append(&mut self, lines: &[u8], full: bool) -> io::Result<(usize, Option<io::Error>)> {
        let mut before = self.size()?;
        let room = self.rules.size.saturating_sub(RESERVED).saturating_sub(before);
        let room = if full { 0 } else { usize::try_from(room).unwrap_or(usize::MAX) };
        let lines = &lines[..whole(lines, room)];
        if self.torn && !lines.is_empty() {
            self.appender.write_all(b"\n")?;
            self.torn = false;
            before += 1;
        }
        let (mut done, mut error) = (0, None);
        while error.is_none() && done < lines.len() {
            match self.appender.write(&lines[done..]) {
                Ok(0) => error = Some(io::ErrorKind::WriteZero.into()),
                Ok(more) => done += more,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => error = Some(cause),
            }
        }
        let kept = whole(lines, done);
        if done > kept {
            // Unless another process has written behind it.
            let is_last = self.size().ok() == Some(before + done as u64);
            self.torn = !is_last || ftruncate(&self.file, before + kept as u64).is_err();
        }
        Ok((kept, error))
    }

    /// Writes a line of our own, if it fits: not by the appender, for which it may be another day by now.
    fn note(&self, line: &str) -> io::Result<()> {
        if !self.torn && self.size()? + line.len() as u64 <= self.rules.size {
            (&self.file).write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// Its size in bytes.
    fn size(&self) -> io::Result<u64> {
        Ok(fstat(&self.file)?.st_size.cast_unsigned())
    }
}

/// Today.
fn today() -> Date {
    Offset::UTC.to_datetime(Timestamp::now()).date()
}

/// How many of these bytes, of `most`, are whole lines.
fn whole(lines: &[u8], most: usize) -> usize {
    let end = most.min(lines.len());
    memchr::memrchr(b'\n', &lines[..end]).map_or(0, |last| last + 1)
}

/// Whether a file does not end with a whole line.
fn ends_torn(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let size = file.metadata()?.len();
    let mut last = *b"\n";
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    Ok(last != *b"\n")
}
