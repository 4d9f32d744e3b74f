//! What `[log]` says, validated.

use std::path::PathBuf;
use std::time::Duration;

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Filter directives as tracing-subscriber's `EnvFilter` understands them, such as `info` or `info,mcpeg::relay=debug`.
    pub level: String,
    /// The log file; `None` is console only.
    pub file: Option<PathBuf>,
    /// The format of the file.
    pub format: LogFormat,
    /// Where JSON has the fields of spans.
    pub spans: Spans,
    /// The name of this gateway in records; `None` is the host's.
    pub instance: Option<String>,
    /// The console's filter directives; `None` is [`Log::level`].
    pub console_level: Option<String>,
    /// The format of the console.
    pub console_format: ConsoleFormat,
    /// How many bytes of records may wait for the disk.
    pub queue: usize,
    /// What happens when the queue is full.
    pub overflow: Overflow,
    /// What happens when the file cannot be written.
    pub on_full: OnFull,
    /// When records are forced to the disk.
    pub fsync: Fsync,
    /// When the file is rotated, and what becomes of rotated files.
    pub rotation: Rotation,
}

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

/// What happens when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Whoever logs waits.
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

/// When the file is rotated, and what becomes of rotated files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Whether another program rotates; we only reopen then.
    pub external: bool,
    /// The size in bytes that the file does not exceed.
    pub size: Option<u64>,
    /// How often it is rotated.
    pub every: Every,
    /// When that is.
    pub at: At,
    /// How rotated files are compressed.
    pub compress: Compress,
    /// Which rotated files are kept.
    pub keep: Retention,
}

/// How often the file is rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Every {
    /// Not by time.
    #[default]
    Never,
    /// Each hour, at the minute of [`At`].
    Hour,
    /// Each day, at the time of [`At`].
    Day,
    /// Each week, at the day and time of [`At`].
    Week,
}

/// A time of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The day.
    pub day: Weekday,
    /// The hour, 0 to 23.
    pub hour: u8,
    /// The minute, 0 to 59.
    pub minute: u8,
    /// Whose time.
    pub zone: Zone,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weekday {
    /// The first day, as ISO 8601 counts.
    #[default]
    Monday,
    /// The second.
    Tuesday,
    /// The third.
    Wednesday,
    /// The fourth.
    Thursday,
    /// The fifth.
    Friday,
    /// The sixth.
    Saturday,
    /// The last one.
    Sunday,
}

/// Whose time a time is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// That of the machine.
    #[default]
    Local,
    /// UTC.
    Utc,
}

/// How rotated files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compress {
    /// Not at all.
    None,
    /// By gzip, with a level from 1 to 9.
    Gzip(u32),
}

/// Which rotated files are kept; what is stricter holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// At most so many.
    pub files: Option<usize>,
    /// None older than this.
    pub age: Option<Duration>,
    /// At most so many bytes together.
    pub bytes: Option<u64>,
}

impl Weekday {
    /// All days, with the names by which the configuration knows them.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Monday, "mon"),
        (Self::Tuesday, "tue"),
        (Self::Wednesday, "wed"),
        (Self::Thursday, "thu"),
        (Self::Friday, "fri"),
        (Self::Saturday, "sat"),
        (Self::Sunday, "sun"),
    ];
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            file: None,
            format: LogFormat::default(),
            spans: Spans::default(),
            instance: None,
            console_level: None,
            console_format: ConsoleFormat::default(),
            queue: 4 << 20,
            overflow: Overflow::default(),
            on_full: OnFull::default(),
            fsync: Fsync::default(),
            rotation: Rotation::default(),
        }
    }
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            external: false,
            size: Some(100 << 20),
            every: Every::default(),
            at: At::default(),
            compress: Compress::Gzip(3),
            keep: Retention { files: Some(10), age: None, bytes: None },
        }
    }
}
