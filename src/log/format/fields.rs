//! One field in each format, and the visitor through which tracing hands fields out.

use std::error::Error;
use std::fmt;
use std::io::Write as _;

use tracing::field::{Field, Visit};

use super::escape::{self, Rules, push_debug};
use super::style::Style;
use crate::exit;

/// The value of a field.
pub(super) enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// What a type shows of itself.
    Shown(&'a dyn fmt::Debug),
    /// A whole number, as text.
    Number(&'a str),
    /// Another number.
    Float(f64),
    /// True or false.
    Flag(bool),
}

/// Fields as they are written, each with its name: those of a span, kept until its records are written.
#[derive(Debug, Default)]
pub(crate) struct RecordedFields {
    /// The fields.
    text: Vec<u8>,
    /// Of each the name, and where in `text` it ends; it begins where the one before ends.
    names: Vec<(&'static str, usize)>,
}

impl RecordedFields {
    /// Adds fields; one that is there already is replaced.
    pub(crate) fn add(&mut self, style: Style, record: impl FnOnce(&mut dyn Visit)) {
        let mut fresh = Self::default();
        record(&mut Visitor { out: &mut fresh.text, style, names: Some(&mut fresh.names) });
        if self.names.is_empty() {
            *self = fresh;
            return;
        }
        let mut all = Self::default();
        let stays = |name: &str| !fresh.has(name);
        for (name, text) in self.iter().filter(|(name, _)| stays(name)).chain(fresh.iter()) {
            all.text.extend_from_slice(text);
            all.names.push((name, all.text.len()));
        }
        *self = all;
    }

    /// All fields.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether there is a field of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|(other, _)| *other == name)
    }

    /// Each field's name and text.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let mut start = 0;
        self.names.iter().map(move |(name, end)| {
            let text = &self.text[start..*end];
            start = *end;
            (*name, text)
        })
    }
}

/// Writes the fields that it is shown.
pub(super) struct Visitor<'a> {
    /// Where they go.
    out: &'a mut Vec<u8>,
    /// How they are written.
    style: Style,
    /// Where the names go, for the fields of a span.
    names: Option<&'a mut Vec<(&'static str, usize)>>,
}

impl<'a> Visitor<'a> {
    /// For the fields of an event.
    pub(super) const fn new(out: &'a mut Vec<u8>, style: Style) -> Self {
        Self { out, style, names: None }
    }

    /// Writes one field.
    fn field(&mut self, field: &Field, value: &Value<'_>) {
        let message = self.names.is_none() && field.name() == "message";
        push(self.out, self.style, field.name(), value, message);
        if let Some(names) = &mut self.names {
            names.push((field.name(), self.out.len()));
        }
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, &Value::Text(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, &Value::Shown(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, &Value::Number(itoa::Buffer::new().format(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, &Value::Number(itoa::Buffer::new().format(value)));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.field(field, &Value::Number(itoa::Buffer::new().format(value)));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.field(field, &Value::Number(itoa::Buffer::new().format(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, &Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, &Value::Flag(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.field(field, &Value::Text(&exit::chain(value)));
    }
}

/// Names that every record has, or may have, for itself.
const fn is_ours(name: &str) -> bool {
    matches!(
        name.as_bytes(),
        b"timestamp"
            | b"ts"
            | b"level"
            | b"target"
            | b"message"
            | b"msg"
            | b"pid"
            | b"instance"
            | b"span"
            | b"spans"
    )
}

/// Appends one field with its separator. A name that every record has for itself gets an underscore behind it.
pub(super) fn push(out: &mut Vec<u8>, style: Style, name: &str, value: &Value<'_>, message: bool) {
    let name = name.strip_prefix("r#").unwrap_or(name);
    match style {
        Style::Json { .. } => {
            out.extend_from_slice(b",\"");
            escape::push(out, name, Rules::Json);
            out.extend_from_slice(if !message && is_ours(name) { b"_\":" } else { b"\":" });
            json(out, value);
        }
        Style::Logfmt => {
            out.push(b' ');
            if message {
                out.extend_from_slice(b"msg");
            } else {
                key(out, name);
                if is_ours(name) {
                    out.push(b'_');
                }
            }
            out.push(b'=');
            logfmt(out, value);
        }
        Style::Fields => {
            if message {
                out.extend_from_slice(b"MESSAGE=");
            } else {
                out.extend_from_slice(b"MCPEG_");
                out.extend(name.bytes().map(|byte| byte.to_ascii_uppercase()));
                out.push(b'=');
            }
            match value {
                Value::Text(text) => escape::push(out, text, Rules::Plain),
                other => text(out, other, Rules::Plain),
            }
            out.push(b'\n');
        }
        Style::Text { .. } | Style::Journal => {
            let rules = if style == Style::Journal { Rules::Lines } else { Rules::Plain };
            out.push(b' ');
            if message {
                match value {
                    Value::Text(text) => escape::push(out, text, rules),
                    other => text(out, other, rules),
                }
            } else {
                escape::push(out, name, Rules::Plain);
                out.push(b'=');
                text(out, value, rules);
            }
        }
    }
}

/// A value of JSON: RFC 8259 §3.
fn json(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Text(text) => {
            out.push(b'"');
            escape::push(out, text, Rules::Json);
            out.push(b'"');
        }
        Value::Shown(shown) => {
            out.push(b'"');
            push_debug(out, *shown, Rules::Json);
            out.push(b'"');
        }
        Value::Number(number) => out.extend_from_slice(number.as_bytes()),
        Value::Float(number) if number.is_finite() => {
            out.extend_from_slice(zmij::Buffer::new().format_finite(*number).as_bytes());
        }
        Value::Float(_) => out.extend_from_slice(b"null"),
        Value::Flag(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
    }
}

/// A value in text for people: text in quotes, everything else as it shows itself.
fn text(out: &mut Vec<u8>, value: &Value<'_>, rules: Rules) {
    match value {
        Value::Text(text) => {
            out.push(b'"');
            escape::push(out, text, Rules::Quoted);
            out.push(b'"');
        }
        Value::Shown(shown) => push_debug(out, *shown, rules),
        Value::Number(number) => out.extend_from_slice(number.as_bytes()),
        Value::Float(number) => push_debug(out, number, rules),
        Value::Flag(flag) => push_debug(out, flag, rules),
    }
}

/// A value of logfmt: in quotes if it needs them.
fn logfmt(out: &mut Vec<u8>, value: &Value<'_>) {
    let start = out.len();
    match value {
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        // What is escaped, if anything, is decided below.
        Value::Shown(shown) => drop(out.write_fmt(format_args!("{shown:?}"))),
        other => return text(out, other, Rules::Plain),
    }
    let bare = |byte: &u8| !(*byte <= b' ' || matches!(byte, b'"' | b'=' | b'\\' | 0x7f | 0xc2));
    if out.len() > start && out[start..].iter().all(bare) {
        return;
    }
    let value = String::from_utf8_lossy(&out.split_off(start)).into_owned();
    out.push(b'"');
    escape::push(out, &value, Rules::Quoted);
    out.push(b'"');
}

/// A key of logfmt: without what would end it.
fn key(out: &mut Vec<u8>, name: &str) {
    let fits = |byte: u8| byte > b' ' && !matches!(byte, b'"' | b'=' | 0x7f);
    out.extend(name.bytes().map(|byte| if fits(byte) { byte } else { b'_' }));
}
