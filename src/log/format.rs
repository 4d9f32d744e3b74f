//! How events are written: timestamps, the journal's priorities, and fields of the file apart from the console's.

use std::fmt;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{Compact, DefaultFields, Format, Writer};
use tracing_subscriber::fmt::time::UtcTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// RFC 3339 §5.6 in UTC; always six digits of a second, so that lines sort as text.
const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// The clock of every format but the journal's.
pub(super) fn clock() -> UtcTime<&'static [BorrowedFormatItem<'static>]> {
    UtcTime::new(TIMESTAMP)
}

/// The journal's format: the compact text, each line behind its priority.
pub(super) struct Journal(Format<Compact, ()>);

impl Journal {
    /// The format, which is the same for every process.
    pub(super) fn new() -> Self {
        Self(Format::default().compact().without_time().with_level(false).with_ansi(false))
    }
}

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        // The journal reads a priority for each line: without it the second line of a message would lose it.
        for line in text.lines() {
            writeln!(writer, "<{}>{line}", priority(*event.metadata().level()))?;
        }
        Ok(())
    }
}

/// The priority of a level: sd-daemon(3) SD_ERR, SD_WARNING, SD_INFO, SD_DEBUG.
#[expect(clippy::doc_markdown, reason = "names of the manual page, which has them without quotes")]
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// The fields of spans in a text file. They are of a type of their own because the registry keeps formatted fields by
/// type, and a file would otherwise show the colours of the console.
#[derive(Default)]
pub(super) struct FileFields(DefaultFields);

impl<'writer> FormatFields<'writer> for FileFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        self.0.format_fields(writer, fields)
    }
}
