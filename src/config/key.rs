//! What one key of the configuration is, for the reader, the manual, the shipped example, `--check` and a reload.

use std::ops::RangeInclusive;

use super::reader::{Reader, Value};

/// The version whose configuration had the first keys.
pub const FIRST: &str = "0.1.0";

/// One key, whose value is a `T`.
pub struct Key<T: 'static> {
    /// Its name.
    pub name: &'static str,
    /// The kind of its value.
    pub kind: Kind<T>,
    /// What it does, in whole sentences.
    pub doc: &'static str,
    /// Its default as it would be written in the file; `None` if the description says what leaving it out means.
    pub default: Option<&'static str>,
    /// A value as it would be written in the file, for the example.
    pub example: &'static str,
    /// The least and the greatest number, or size in bytes.
    pub range: RangeInclusive<u64>,
    /// Whether a duration may be zero.
    pub zero: Zero,
    /// The version that knew it first.
    pub since: &'static str,
    /// What puts a change in force.
    pub on_change: OnChange,
    /// The key without which this one has no meaning.
    pub only_with: Option<&'static str>,
}

/// Whether a duration may be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// It may not.
    Refused,
    /// It may, and the description tells what it means.
    Allowed,
}

/// What puts a change in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// A reload.
    Reload,
    /// A restart that replaces the process: `mcpeg --restart`.
    Restart,
    /// A stop and a start.
    Start,
}

/// A kind of values: what it is called, and how it is read.
#[derive(Clone, Copy)]
pub struct Kind<T: 'static> {
    /// Its name, as in "must be …".
    name: &'static str,
    /// The units that a value may have.
    units: Option<&'static str>,
    /// The strings that it may be, if it is a choice.
    choices: &'static [(&'static str, T)],
    /// Reads a value, or notes what is wrong with it.
    read: Read<T>,
}

/// Reads the value of a key in both stages of the reader; `None` if a problem was noted.
pub(super) type Read<T> = fn(&Key<T>, &Value<'_>, &mut Reader<'_>) -> Option<T>;

/// What people are told about a key.
#[derive(Clone, Debug)]
pub struct Description {
    /// `Key::name`.
    pub name: &'static str,
    /// [`Key::doc`].
    pub doc: &'static str,
    /// [`Key::default`].
    pub default: Option<&'static str>,
    /// [`Key::example`].
    pub example: &'static str,
    /// [`Key::since`].
    pub since: &'static str,
    /// [`Key::on_change`].
    pub on_change: OnChange,
    /// The kind of its value in words, with the values of a choice.
    pub kind: String,
    /// The units that a value may have.
    pub units: Option<&'static str>,
}

/// A key of whatever kind.
pub(super) trait AnyKey: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// What people are told about it.
    fn describe(&self) -> Description;

    /// The key without which it has no meaning.
    fn only_with(&self) -> Option<&'static str>;

    /// Reads a value, for what is noted about it.
    fn check(&self, value: &Value<'_>, reader: &mut Reader<'_>);
}

impl<T> Key<T> {
    /// A key that may be left out, and that a reload changes.
    pub(super) const fn new(name: &'static str, kind: Kind<T>) -> Self {
        Self {
            name,
            kind,
            doc: "",
            default: None,
            example: "",
            range: 0..=u64::MAX,
            zero: Zero::Refused,
            since: FIRST,
            on_change: OnChange::Reload,
            only_with: None,
        }
    }

    /// Reads a value.
    pub(super) fn read(&self, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<T> {
        (self.kind.read)(self, value, reader)
    }

    /// Notes that the value is of the wrong type.
    pub(super) fn wrong_type(&self, value: &Value<'_>, reader: &mut Reader<'_>, hint: impl Into<String>) {
        reader.wrong_type(self.name, self.kind.name, value, hint);
    }
}

impl<T> Kind<T> {
    /// A kind of values.
    pub(super) const fn new(name: &'static str, read: Read<T>) -> Self {
        Self { name, units: None, choices: &[], read }
    }

    /// A kind of values with units.
    pub(super) const fn with_units(name: &'static str, units: &'static str, read: Read<T>) -> Self {
        Self { name, units: Some(units), choices: &[], read }
    }

    /// One of these strings.
    pub(super) const fn choice(choices: &'static [(&'static str, T)], read: Read<T>) -> Self {
        Self { name: "one of the strings listed", units: None, choices, read }
    }

    /// The strings that a value may be.
    pub(super) const fn choices(&self) -> &'static [(&'static str, T)] {
        self.choices
    }

    /// The kind in words.
    fn in_words(&self) -> String {
        match self.choices {
            [] => self.name.to_owned(),
            [(only, _)] => format!("the string \"{only}\""),
            several => {
                let quoted: Vec<_> = several.iter().map(|(choice, _)| format!("\"{choice}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
        }
    }
}

impl<T: Sync> AnyKey for Key<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn describe(&self) -> Description {
        Description {
            name: self.name,
            doc: self.doc,
            default: self.default,
            example: self.example,
            since: self.since,
            on_change: self.on_change,
            kind: self.kind.in_words(),
            units: self.kind.units,
        }
    }

    fn only_with(&self) -> Option<&'static str> {
        self.only_with
    }

    fn check(&self, value: &Value<'_>, reader: &mut Reader<'_>) {
        self.read(value, reader);
    }
}
