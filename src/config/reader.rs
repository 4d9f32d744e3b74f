//! Reading one file: where its values stand, where references are looked up, and where problems go.
//!
//! A file is read twice. First its structure is checked, unknown keys and values of the wrong type; only where that is
//! right, the meaning is read, so that one mistake is not reported twice. Each kind of value has one reader for both,
//! and [`Reader`] keeps the problems of its stage. Invariant: a value of the wrong type is not quoted; it may be a secret.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Place, Problems, Text};
use super::expand::{self, Env};
use super::header::ClientHeader;
use super::secret::Secret;

/// A value as the TOML parser gives it, with its place.
pub(super) type Value<'v> = Spanned<DeValue<'v>>;

/// What reading the values of one file needs.
pub(super) struct Reader<'a> {
    /// The file.
    text: Text<'a>,
    /// Where references are looked up; `None` while the structure is checked.
    env: Option<Env<'a>>,
    /// Where problems go.
    problems: &'a mut Problems,
}

impl<'a> Reader<'a> {
    /// Checks the structure.
    pub(super) const fn of_structure(text: Text<'a>, problems: &'a mut Problems) -> Self {
        Self { text, env: None, problems }
    }

    /// Reads the meaning.
    pub(super) const fn of_meaning(text: Text<'a>, env: Env<'a>, problems: &'a mut Problems) -> Self {
        Self { text, env: Some(env), problems }
    }

    /// Looks references up here from now on.
    pub(super) const fn set_env(&mut self, env: Env<'a>) {
        self.env = Some(env);
    }

    /// The place of a span.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        self.text.place(span)
    }

    /// Where problems of the meaning go that are not at a span.
    pub(super) const fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// Notes a problem of the structure.
    pub(super) fn refuse_structure(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.env.is_none() {
            self.problems.push_with_hint(self.text.place(span), message, hint);
        }
    }

    /// Notes a problem of the meaning.
    pub(super) fn refuse(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.env.is_some() {
            self.problems.push_with_hint(self.text.place(span), message, hint);
        }
    }

    /// Notes that `name` has a value of the wrong type.
    pub(super) fn wrong_type(
        &mut self,
        name: &str,
        expected: &str,
        value: &Value<'_>,
        hint: impl Into<String>,
    ) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a bare integer",
            DeValue::Float(_) => "a bare number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.refuse_structure(&value.span(), format!("`{name}` must be {expected}, not {found}"), hint);
    }

    /// Resolves the references of the value of a key.
    pub(super) fn expanded(&mut self, value: &Spanned<&str>, name: &str) -> Option<String> {
        let Some(env) = self.env else { return Some((*value.get_ref()).to_owned()) };
        let text = self.resolved((value, name), expand::expand(value.get_ref(), env))?;
        if text.contains('\0') {
            self.refuse(&value.span(), format!("`{name}` contains a NUL character"), "remove it");
            return None;
        }
        Some(text)
    }

    /// The same of the value of a header, which may be another one for each client.
    pub(super) fn expanded_header(&mut self, value: &Spanned<&str>, name: &str) -> Option<ClientHeader> {
        let text = value.get_ref();
        let expanded = self
            .env
            .map_or_else(|| Ok(((*text).to_owned(), Vec::new())), |env| expand::expand_header(text, env));
        let (text, inserted) = self.resolved((value, name), expanded)?;
        Some(ClientHeader::new(Secret::new(text), inserted))
    }

    /// What references stand for; notes why it is not known.
    fn resolved<T>(
        &mut self,
        (value, name): (&Spanned<&str>, &str),
        expanded: Result<T, expand::Failure>,
    ) -> Option<T> {
        match expanded {
            Ok(expanded) => Some(expanded),
            Err(failure) => {
                let (message, hint) = failure.into_parts();
                self.refuse(&value.span(), format!("`{name}`: {message}"), hint);
                None
            }
        }
    }

    /// Whether what a text stands for is not known.
    pub(super) fn assumes(&self, text: &str) -> bool {
        self.env.is_some_and(|env| env.assumes(text))
    }
}
