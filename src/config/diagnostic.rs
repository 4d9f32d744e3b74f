//! Where a problem of the configuration is, and the list of all problems that one loading found.
//!
//! Order: problems stand in the order in which they were found, which is the order of the files and, inside a file,
//! structure before meaning. Invariant: no problem holds a value that may be a secret; it names the key instead.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where something in the configuration was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file; line and column count from 1, columns in characters.
    At {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// On the command line (or in the option's environment variable).
    Option(&'static str),
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// How it is mended.
    pub hint: Option<String>,
}

/// All problems that loading found; an error only if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// A text with its file's name, to turn byte offsets into places.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    /// The file's name, as the user wrote it.
    file: &'a Path,
    /// The file's content.
    content: &'a str,
}

impl<'a> Text<'a> {
    /// The content of this file.
    pub(super) const fn new(file: &'a Path, content: &'a str) -> Self {
        Self { file, content }
    }

    /// The place of a span's start.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        place_of(self.file, self.content.as_bytes(), span.start)
    }
}

/// The place of a byte offset in a content that need not be valid UTF-8 after that offset.
pub(super) fn place_of(file: &Path, content: &[u8], offset: usize) -> Place {
    let before = &content[..offset.min(content.len())];
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let newlines = before[..line_start].iter().map(|&byte| usize::from(byte == b'\n')).sum::<usize>();
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    Place::At { file: file.to_owned(), line: newlines + 1, column }
}

impl Problems {
    /// Notes a problem without a hint.
    pub(super) fn push(&mut self, place: Place, message: impl Into<String>) {
        self.0.push(Problem { place, message: message.into(), hint: None });
    }

    /// Notes a problem and how it is mended.
    pub(super) fn push_with_hint(
        &mut self,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.0.push(Problem { place, message: message.into(), hint: Some(hint.into()) });
    }

    /// The problems, in the order in which they were found.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Option(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A single problem is shown bare (its hint is the error's hint); several are listed, each with its hint.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.as_slice() {
            return only.fmt(f);
        }
        write!(f, "the configuration has {} problems", self.0.len())?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
            if let Some(hint) = &problem.hint {
                write!(f, "\n    hint: {hint}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        let text = Text::new(Path::new("a.toml"), "x = 1\nä = öö?\n");
        let offset = text.content.find('?').unwrap();
        assert_eq!(text.place(&(0..1)).to_string(), "a.toml:1:1");
        assert_eq!(text.place(&(offset..offset + 1)).to_string(), "a.toml:2:7");
    }

    #[test]
    fn an_offset_behind_the_end_is_the_end() {
        let text = Text::new(Path::new("a.toml"), "x\n");
        assert_eq!(text.place(&(99..99)).to_string(), "a.toml:2:1");
    }
}
