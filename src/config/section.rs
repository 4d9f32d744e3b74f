//! One table of a file whose structure is right: its keys are asked for one by one.

use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Problems, Text};
use super::expand::Env;
use super::key::Key;
use super::reader::{Reader, Value};

/// The table.
pub(super) struct Section<'s, 'a> {
    /// What is written.
    table: &'s DeTable<'s>,
    /// How it is read.
    reader: &'s mut Reader<'a>,
}

impl<'s, 'a> Section<'s, 'a> {
    /// A table of the reader's file.
    pub(super) const fn new(table: &'s DeTable<'s>, reader: &'s mut Reader<'a>) -> Self {
        Self { table, reader }
    }

    /// What is read from an empty table: the defaults.
    pub(super) fn defaults<T>(read: impl FnOnce(&mut Section<'_, '_>) -> T) -> T {
        let mut problems = Problems::default();
        let env = Env::strict(&|_| None);
        let mut reader = Reader::of_meaning(Text::new(Path::new(""), ""), env, &mut problems);
        read(&mut Section::new(&DeTable::new(), &mut reader))
    }

    /// How it is read.
    pub(super) const fn reader(&mut self) -> &mut Reader<'a> {
        self.reader
    }

    /// The value of a key, if it is written.
    pub(super) fn written<T>(&self, key: &Key<T>) -> Option<&'s Value<'s>> {
        self.table.get(key.name)
    }

    /// Where the value of a key is written.
    pub(super) fn span<T>(&self, key: &Key<T>) -> Option<Range<usize>> {
        self.written(key).map(toml::Spanned::span)
    }

    /// What a key says, or its default; `None` if it has none, and where a problem was noted.
    pub(super) fn find<T>(&mut self, key: &Key<T>) -> Option<T> {
        match self.written(key) {
            Some(value) => key.read(value, self.reader),
            None => self.default(key),
        }
    }

    /// What a key with a default says; its default also where a problem was noted.
    ///
    /// # Panics
    /// If the key has no default, which every reading of it would show.
    pub(super) fn get<T>(&mut self, key: &Key<T>) -> T {
        self.find(key).or_else(|| self.default(key)).expect("the key has a default")
    }

    /// The default of a key.
    fn default<T>(&mut self, key: &Key<T>) -> Option<T> {
        key.read(&DeValue::parse(key.default?).ok()?, self.reader)
    }

    /// Refuses keys that have no meaning without `with`, rather than ignoring them.
    pub(super) fn refuse_without(&mut self, with: &str, names: impl Iterator<Item = &'static str>) {
        for name in names {
            if let Some(value) = self.table.get(name) {
                let message = format!("`{name}` belongs to upstreams with `{with}`");
                self.reader.refuse(&value.span(), message, format!("remove `{name}`"));
            }
        }
    }
}
