//! A pass over text that is known to be valid JSON, as every [`RawValue`](serde_json::value::RawValue) is. It checks nothing
//! again, and allocates nothing unless a string is escaped. Text that is not valid does no harm.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memchr2};

/// The name by which a result of a tool says whether the tool has failed.
const FAILED: &str = "\"isError\"";
/// Finds it; made once, since that takes longer than most searches.
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(FAILED));

/// A pass over JSON text.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    /// The text.
    text: &'a str,
    /// What comes next.
    at: usize,
}

impl<'a> Scan<'a> {
    /// A pass that begins at a value.
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Goes into the object that begins here; `None` if it is something else.
    pub(super) fn enter(&mut self) -> Option<()> {
        (self.next() == Some(b'{')).then(|| self.at += 1)
    }

    /// The next name of an object, with what is around it; `None` after the last.
    pub(super) fn name(&mut self) -> Option<Token<'a>> {
        let first = loop {
            self.space();
            let next = self.next();
            if next != Some(b',') {
                break next;
            }
            self.at += 1;
        };
        if first != Some(b'"') {
            self.at += 1;
            return None;
        }
        let name = self.string();
        self.space();
        self.at += 1;
        self.space();
        Some(name)
    }

    /// The string that begins here.
    pub(super) fn string(&mut self) -> Token<'a> {
        let (start, mut escaped) = (self.at, false);
        self.at += 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            match memchr2(b'"', b'\\', rest) {
                Some(place) if rest[place] == b'"' => {
                    self.at += place + 1;
                    return Token { text: &self.text[start..self.at], escaped };
                }
                Some(place) => {
                    escaped = true;
                    self.at += place + 2;
                }
                // Valid JSON ends its strings.
                None => {
                    self.at = self.text.len();
                    return Token { text: "\"\"", escaped: false };
                }
            }
        }
    }

    /// The value that begins here, as it is written.
    pub(super) fn value(&mut self) -> &'a str {
        let start = self.at;
        self.skip();
        self.text.get(start..self.at).unwrap_or_default().trim_ascii_end()
    }

    /// Passes over the value that begins here.
    pub(super) fn skip(&mut self) {
        let mut depth = 0_usize;
        while let Some(next) = self.next() {
            match next {
                b'"' => {
                    self.string();
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' | b',' if depth == 0 => return,
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// The byte that comes next.
    pub(super) fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over white space.
    fn space(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

/// Whether the result of a tool may say that it has failed: most say nothing of it, or `false`, and need not be read.
pub(super) fn may_have_failed(text: &str) -> bool {
    let says_so = |at: usize| {
        let rest = text[at + FAILED.len()..].trim_ascii_start().strip_prefix(':');
        rest.is_some_and(|rest| rest.trim_ascii_start().starts_with("true"))
    };
    FINDER.find_iter(text.as_bytes()).any(says_so)
}

/// A string as it was written, with its quotes.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// The text.
    text: &'a str,
    /// Whether it has escapes.
    escaped: bool,
}

impl<'a> Token<'a> {
    /// A value that is a string; `None` if it is something else.
    pub(super) fn of(value: &'a str) -> Option<Self> {
        let escaped = memchr(b'\\', value.as_bytes()).is_some();
        value.starts_with('"').then_some(Self { text: value, escaped })
    }

    /// The string; `None` if it has a surrogate without its other half.
    pub(super) fn read(&self) -> Option<Cow<'a, str>> {
        if self.escaped {
            return serde_json::from_str::<String>(self.text).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(&self.text[1..self.text.len() - 1]))
    }
}
