//! Values that know how to write themselves into the files of systemd.
//!
//! The constructors refuse what cannot be written safely in any form (control characters, relative paths), so that
//! rendering itself cannot fail and cannot change the meaning of a line.

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// Why a value cannot be written into a file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// A path that is relative, has `..` in it, is not UTF-8, or holds control characters.
    #[error("the path `{}` must be absolute, without `..` and without control characters", .0.display())]
    Path(PathBuf),
    /// Not an account name that all tools accept (systemd's "strict" rules).
    #[error("`{0}` is not an account name")]
    Account(String),
}

/// An absolute path as one word of `ExecStart=` (systemd.service(5) "COMMAND LINES").
///
/// `%` begins a specifier and `$` a variable there, so both are doubled; blanks, quotes and backslashes need quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecWord(String);

/// An absolute path as a field of sysusers.d(5) or tmpfiles.d(5), where `%` begins a specifier too, but `$` is plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldPath(String);

/// The name of a system account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountName(String);

impl ExecWord {
    /// Takes an absolute path.
    /// Fails with [`Invalid::Path`].
    pub(crate) fn new(path: &Path) -> Result<Self, Invalid> {
        plain(path).map(|text| Self(text.to_owned()))
    }
}

impl FieldPath {
    /// Takes an absolute path.
    /// Fails with [`Invalid::Path`].
    pub(crate) fn new(path: &Path) -> Result<Self, Invalid> {
        plain(path).map(|text| Self(text.to_owned()))
    }
}

impl AccountName {
    /// Takes a name of at most 31 letters, digits, `-` and `_` that begins with a lower-case letter or `_`.
    /// Fails with [`Invalid::Account`].
    pub(crate) fn new(name: &str) -> Result<Self, Invalid> {
        let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let first = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
        if first && name.len() <= 31 && name.chars().all(rest) {
            Ok(Self(name.to_owned()))
        } else {
            Err(Invalid::Account(name.to_owned()))
        }
    }

    /// The name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The path as text, if it is one that can be written down.
/// Fails with [`Invalid::Path`].
pub(crate) fn plain(path: &Path) -> Result<&str, Invalid> {
    let invalid = || Invalid::Path(path.to_owned());
    let text = path.to_str().ok_or_else(invalid)?;
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if path.is_absolute() && !climbs && !text.chars().any(char::is_control) {
        Ok(text)
    } else {
        Err(invalid())
    }
}

/// Writes `text` with each character of `doubled` twice, in quotes if systemd would otherwise split it.
fn word(f: &mut fmt::Formatter<'_>, text: &str, doubled: &[char]) -> fmt::Result {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if doubled.contains(&c) || c == '\\' {
            escaped.push(c);
        } else if c == '"' {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    let quotes = text.contains([' ', '"', '\'', '\\', ';']);
    if quotes { write!(f, "\"{escaped}\"") } else { f.write_str(&escaped) }
}

impl fmt::Display for ExecWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        word(f, &self.0, &['%', '$'])
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        word(f, &self.0, &['%'])
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
