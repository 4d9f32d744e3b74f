//! What of an upstream is shown: allowed and denied names, and names of the operator's own choice.

use std::collections::BTreeMap;
use std::fmt;

use wildmatch::WildMatch;

/// The selections of one upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shows {
    /// `tools`.
    pub tools: Selection,
    /// `prompts`.
    pub prompts: Selection,
    /// `resources`, by URI; templates by their text.
    pub resources: Selection,
}

/// One selection. Patterns are held against the names that the upstream gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these are shown; all if empty.
    pub allow: Vec<Pattern>,
    /// These are not shown.
    pub deny: Vec<Pattern>,
    /// The upstream's name, and the one that is shown instead.
    pub rename: BTreeMap<String, String>,
}

/// A pattern: `*` stands for any text, `?` for one character.
#[derive(Clone)]
pub struct Pattern {
    /// As it is written.
    text: String,
    /// Ready for use.
    matcher: WildMatch,
}

impl Shows {
    /// Whether everything is shown as it is.
    #[must_use]
    pub fn everything(&self) -> bool {
        [&self.tools, &self.prompts, &self.resources].into_iter().all(Selection::everything)
    }
}

impl Selection {
    /// Whether everything is shown as it is.
    #[must_use]
    pub fn everything(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty() && self.rename.is_empty()
    }

    /// Whether what has this name is shown at all.
    #[must_use]
    pub fn admits(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.fits(name));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }

    /// The name under which it is shown; `None` if it is not, or if another one was given its name.
    #[must_use]
    pub fn shown<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if !self.admits(name) {
            return None;
        }
        match self.rename.get(name) {
            Some(renamed) => Some(renamed),
            None => (!self.is_taken(name)).then_some(name),
        }
    }

    /// The upstream's name of what is shown under this one; `None` if nothing is.
    #[must_use]
    pub fn original<'a>(&'a self, shown: &'a str) -> Option<&'a str> {
        let renamed = self.rename.iter().find(|(_, new)| *new == shown).map(|(old, _)| old.as_str());
        let name = renamed.or_else(|| (!self.rename.contains_key(shown)).then_some(shown))?;
        self.admits(name).then_some(name)
    }

    /// Whether something else was given this name.
    fn is_taken(&self, name: &str) -> bool {
        self.rename.values().any(|new| new == name)
    }
}

impl Pattern {
    /// A pattern from its text; every text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), matcher: WildMatch::new(text) }
    }

    /// Whether a name fits.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        self.matcher.matches(name)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A selection.
    fn selection(allow: &[&str], deny: &[&str], rename: &[(&str, &str)]) -> Selection {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text)).collect();
        let own = |(old, new): &(&str, &str)| ((*old).to_owned(), (*new).to_owned());
        Selection { allow: patterns(allow), deny: patterns(deny), rename: rename.iter().map(own).collect() }
    }

    #[test]
    fn denial_wins_over_permission() {
        let selection = selection(&["read_*", "list"], &["*_secret"], &[]);
        for (name, shown) in [("read_file", true), ("list", true), ("read_secret", false), ("write", false)] {
            assert_eq!(selection.shown(name).is_some(), shown, "{name}");
            assert_eq!(selection.original(name).is_some(), shown, "{name}");
        }
    }

    #[test]
    fn a_renamed_one_is_known_by_its_new_name_only_and_hides_others_of_that_name() {
        let selection = selection(&[], &[], &[("fetch", "get"), ("a", "b"), ("b", "a")]);
        assert_eq!((selection.shown("fetch"), selection.shown("get")), (Some("get"), None));
        assert_eq!((selection.original("get"), selection.original("fetch")), (Some("fetch"), None));
        assert_eq!((selection.shown("a"), selection.original("a")), (Some("b"), Some("b")));
    }
}
