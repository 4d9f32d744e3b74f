//! Values as TOML wants them.

use std::fmt;
use std::path::Path;

use crate::systemd::{Invalid, plain};

/// A path as a TOML basic string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TomlString(String);

impl TomlString {
    /// Takes an absolute path.
    /// Fails with [`Invalid::Path`].
    pub(crate) fn new(path: &Path) -> Result<Self, Invalid> {
        plain(path).map(|text| Self(text.to_owned()))
    }

    /// Takes the text of something that has been understood before, such as a listener's address.
    pub(crate) fn of(text: &impl fmt::Display) -> Self {
        Self(text.to_string().chars().filter(|c| !c.is_control()).collect())
    }
}

impl fmt::Display for TomlString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}
