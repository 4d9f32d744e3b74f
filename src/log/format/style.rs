//! The formats in which records are written.

use crate::config::{LogFormat, Spans};

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// One object a line.
    Json {
        /// Whether the fields of spans are in an array of their own.
        nested: bool,
    },
    /// For people.
    Text {
        /// With colours.
        colour: bool,
    },
    /// `key=value` pairs.
    Logfmt,
    /// For the journal: each line begins with its priority as `<N>`, sd-daemon(3); the journal adds the timestamp.
    Journal,
    /// As fields of the journal's own protocol, one a line: systemd.journal-fields(7).
    Fields,
}

impl Style {
    /// The style of a file's format.
    pub(crate) fn of(format: LogFormat, spans: Spans) -> Self {
        match format {
            LogFormat::Json => Self::Json { nested: spans == Spans::Nested },
            LogFormat::Text => Self::Text { colour: false },
            LogFormat::Logfmt => Self::Logfmt,
        }
    }
}
