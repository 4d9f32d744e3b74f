//! The whole line.

use std::time::SystemTime;

use tracing::{Event, Level, Metadata};

use super::escape::{self, Rules};
use super::fields::{self, RecordedFields, Value, Visitor};
use super::stamp;
use super::style::Style;
use crate::request_id::RequestId;

/// The field of a span that stands at the top of a record of JSON in any case.
const TRACE_ID: &str = "trace_id";
/// The field of each record that is about a request of a client.
const REQUEST_ID: &str = "request_id";
/// What the journal knows records of the audit by; mcpeg(8) names it.
const AUDIT: &str = "0c350607edf14faba5aac98997b36daf";

/// What every record of one output has.
#[derive(Debug)]
pub(crate) struct Context {
    /// How it is written.
    style: Style,
    /// The end of each record: who wrote it.
    ending: Vec<u8>,
}

/// A span around a record: its name and fields.
pub(crate) type Around<'a> = (&'static str, Option<&'a RecordedFields>);

impl Context {
    /// For records of this process under this name.
    pub(crate) fn new(style: Style, instance: &str) -> Self {
        let mut ending = Vec::new();
        let pid = std::process::id();
        match style {
            Style::Json { .. } => {
                ending.extend_from_slice(format!(",\"pid\":{pid},\"instance\":\"").as_bytes());
                escape::push(&mut ending, instance, Rules::Json);
                ending.extend_from_slice(b"\"}\n");
            }
            Style::Logfmt => {
                ending.extend_from_slice(format!(" pid={pid} instance=\"").as_bytes());
                escape::push(&mut ending, instance, Rules::Quoted);
                ending.extend_from_slice(b"\"\n");
            }
            Style::Fields => {
                ending.extend_from_slice(format!("SYSLOG_IDENTIFIER=mcpeg\nMESSAGE_ID={AUDIT}\n").as_bytes());
                ending.extend_from_slice(b"MCPEG_INSTANCE=");
                escape::push(&mut ending, instance, Rules::Plain);
                ending.push(b'\n');
            }
            Style::Text { .. } | Style::Journal => ending.push(b'\n'),
        }
        Self { style, ending }
    }

    /// How it is written.
    pub(crate) const fn style(&self) -> Style {
        self.style
    }

    /// Appends the record of an event; `spans` are those around it, the innermost first.
    pub(crate) fn event(&self, out: &mut Vec<u8>, event: &Event<'_>, spans: &[Around<'_>]) {
        let metadata = event.metadata();
        let start = out.len();
        self.head(out, *metadata.level(), metadata.target());
        event.record(&mut Visitor::new(out, self.style));
        RequestId::show_current(|id| fields::push(out, self.style, REQUEST_ID, &Value::Text(id), false));
        self.spans(out, metadata, spans);
        out.extend_from_slice(&self.ending);
        if self.style == Style::Journal {
            prioritise(out, start, *metadata.level());
        }
    }

    /// A record of the log's own, with numbers.
    pub(crate) fn own(&self, level: Level, text: &str, numbers: &[(&'static str, u64)]) -> Vec<u8> {
        let mut out = Vec::new();
        self.head(&mut out, level, "mcpeg::log");
        fields::push(&mut out, self.style, "message", &Value::Text(text), true);
        for (name, number) in numbers {
            let number = itoa::Buffer::new().format(*number).to_owned();
            fields::push(&mut out, self.style, name, &Value::Number(&number), false);
        }
        out.extend_from_slice(&self.ending);
        if self.style == Style::Journal {
            prioritise(&mut out, 0, level);
        }
        out
    }

    /// The part before the message.
    fn head(&self, out: &mut Vec<u8>, level: Level, target: &str) {
        match self.style {
            Style::Json { .. } => {
                out.extend_from_slice(b"{\"timestamp\":\"");
                stamp::push(out, SystemTime::now());
                out.extend_from_slice(b"\",\"level\":\"");
                out.extend_from_slice(level.as_str().as_bytes());
                out.extend_from_slice(b"\",\"target\":\"");
                escape::push(out, target, Rules::Json);
                out.push(b'"');
            }
            Style::Logfmt => {
                out.extend_from_slice(b"ts=");
                stamp::push(out, SystemTime::now());
                out.extend_from_slice(b" level=");
                out.extend(level.as_str().bytes().map(|byte| byte.to_ascii_lowercase()));
                out.extend_from_slice(b" target=");
                escape::push(out, target, Rules::Plain);
            }
            Style::Text { colour } => {
                let dim = |out: &mut Vec<u8>, code: &[u8]| {
                    if colour {
                        out.extend_from_slice(code);
                    }
                };
                dim(out, b"\x1b[2m");
                stamp::push(out, SystemTime::now());
                dim(out, b"\x1b[0m");
                out.push(b' ');
                dim(out, paint(level));
                out.extend(std::iter::repeat_n(b' ', 5 - level.as_str().len()));
                out.extend_from_slice(level.as_str().as_bytes());
                dim(out, b"\x1b[0m");
                out.push(b' ');
                dim(out, b"\x1b[2m");
                escape::push(out, target, Rules::Plain);
                out.push(b':');
                dim(out, b"\x1b[0m");
            }
            Style::Journal => {
                escape::push(out, target, Rules::Plain);
                out.push(b':');
            }
            Style::Fields => {
                out.extend_from_slice(b"PRIORITY=");
                out.push(priority(level));
                out.push(b'\n');
            }
        }
    }

    /// The part behind the fields of the event.
    fn spans(&self, out: &mut Vec<u8>, metadata: &Metadata<'_>, spans: &[Around<'_>]) {
        let Some((innermost, _)) = spans.first() else { return };
        match self.style {
            Style::Json { nested: true } => nested(out, metadata, spans),
            Style::Json { nested: false } => {
                out.extend_from_slice(b",\"span\":\"");
                escape::push(out, innermost, Rules::Json);
                out.push(b'"');
                flat(out, metadata, spans);
            }
            Style::Logfmt => {
                out.extend_from_slice(b" span=");
                escape::push(out, innermost, Rules::Plain);
                flat(out, metadata, spans);
            }
            Style::Fields => {}
            Style::Text { .. } | Style::Journal => {
                for (name, kept) in spans.iter().rev() {
                    out.push(b' ');
                    escape::push(out, name, Rules::Plain);
                    out.push(b'{');
                    let text = kept.map_or(&[][..], RecordedFields::text);
                    out.extend_from_slice(text.strip_prefix(b" ").unwrap_or(text));
                    out.push(b'}');
                }
            }
        }
    }
}

/// The fields of all spans; of those with one name that of the record itself, or else of the innermost span, counts.
fn flat(out: &mut Vec<u8>, metadata: &Metadata<'_>, spans: &[Around<'_>]) {
    for (at, (_, kept)) in spans.iter().enumerate() {
        for (name, text) in kept.iter().flat_map(|kept| kept.iter()) {
            let mut inner = spans[..at].iter().filter_map(|(_, kept)| *kept);
            let hidden = inner.any(|kept| kept.has(name));
            if !hidden && !has(metadata, name) {
                out.extend_from_slice(text);
            }
        }
    }
}

/// Whether the record itself has a field of this name. A span's message is written under another name than its own.
fn has(metadata: &Metadata<'_>, name: &str) -> bool {
    name != "message" && metadata.fields().iter().any(|field| field.name() == name)
}

/// The spans as an array, the outermost first, and the trace id beside it.
fn nested(out: &mut Vec<u8>, metadata: &Metadata<'_>, spans: &[Around<'_>]) {
    let mut all = spans.iter().filter_map(|(_, kept)| *kept).flat_map(RecordedFields::iter);
    let trace = if has(metadata, TRACE_ID) { None } else { all.find(|(name, _)| *name == TRACE_ID) };
    if let Some((_, text)) = trace {
        out.extend_from_slice(text);
    }
    out.extend_from_slice(b",\"spans\":[");
    for (at, (name, kept)) in spans.iter().rev().enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"span\":\"" } else { b",{\"span\":\"" });
        escape::push(out, name, Rules::Json);
        out.push(b'"');
        out.extend_from_slice(kept.map_or(&[][..], RecordedFields::text));
        out.push(b'}');
    }
    out.push(b']');
}

/// The colour of a level.
const fn paint(level: Level) -> &'static [u8] {
    match level {
        Level::ERROR => b"\x1b[31m",
        Level::WARN => b"\x1b[33m",
        Level::INFO => b"\x1b[32m",
        Level::DEBUG => b"\x1b[34m",
        Level::TRACE => b"\x1b[35m",
    }
}

/// Puts the priority before each line: without it the second line of a message would lose it.
fn prioritise(out: &mut Vec<u8>, start: usize, level: Level) {
    let record = out.split_off(start);
    for line in record.split_inclusive(|byte| *byte == b'\n') {
        out.extend_from_slice(&[b'<', priority(level), b'>']);
        out.extend_from_slice(line);
    }
}

/// The priority of a level, as a digit: sd-daemon(3) `SD_ERR`, `SD_WARNING`, `SD_INFO`, `SD_DEBUG`.
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => b'3',
        Level::WARN => b'4',
        Level::INFO => b'6',
        Level::DEBUG | Level::TRACE => b'7',
    }
}
