//! The addresses by which clients of extensions know things of a server: pages of tools (`ui://`, SEP-1865), and the
//! directories of skills (SEP-2640).
//!
//! An address is of its server: two servers may have the same one for different things.

use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;

use serde_json::value::RawValue;

use super::kind::Kind;
use crate::gateway::relay::{Raw, array_items, member, member_str};

/// What the addresses of pages begin with.
pub(crate) const PAGE_SCHEME: &str = "ui://";
/// The members of a tool's `_meta` that name its page: of the extension, of its first drafts, and of hosts before it.
pub(crate) const PAGE_KEYS: [&[&str]; 3] =
    [&["_meta", "ui", "resourceUri"], &["_meta", "ui/resourceUri"], &["_meta", "openai/outputTemplate"]];
/// The file that makes a directory a skill.
const SKILL_FILE: &str = "/SKILL.md";
/// What the addresses of skills begin with, unless their server has another scheme.
pub(crate) const SKILL_SCHEME: &str = "skill://";

/// Such addresses in one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    /// Pages.
    pages: HashSet<Box<str>>,
    /// The directories of skills, without a slash at the end.
    skills: BTreeSet<Box<str>>,
}

impl Addresses {
    /// The addresses in a list of this kind.
    pub(crate) fn of(kind: Kind, items: &[Raw]) -> Self {
        let mut found = Self::default();
        for item in items {
            match kind {
                // Most tools have none.
                Kind::Tools if item.get().contains("ui:") => {
                    found.pages.extend(PAGE_KEYS.iter().filter_map(|path| page(item, path)).map(Into::into));
                }
                Kind::Resources | Kind::Skills => {
                    let Some(uri) = member_str(item, "uri") else { continue };
                    if uri.starts_with(PAGE_SCHEME) {
                        found.pages.insert((*uri).into());
                    } else if kind == Kind::Skills || uri.starts_with(SKILL_SCHEME) {
                        found.skills.extend(directory(&uri).map(Into::into));
                    }
                }
                Kind::Tools | Kind::Prompts | Kind::Templates => {}
            }
        }
        found
    }

    /// Whether this page is there.
    pub(crate) fn has_page(&self, uri: &str) -> bool {
        self.pages.contains(uri)
    }

    /// Whether any page is there.
    pub(crate) fn has_pages(&self) -> bool {
        !self.pages.is_empty()
    }

    /// The directory of a skill that has this file or directory, or that is in it.
    pub(crate) fn skill_around(&self, uri: &str) -> Option<&str> {
        let uri = uri.trim_end_matches('/');
        let above = |uri: &str| self.skills.get(uri).map(|skill| &**skill);
        let mut ends = uri.match_indices('/').map(|(place, _)| place).chain([uri.len()]);
        ends.find_map(|end| above(&uri[..end])).or_else(|| self.skill_below(uri))
    }

    /// A skill in this directory, which is none itself.
    fn skill_below(&self, uri: &str) -> Option<&str> {
        // A scheme alone is no directory.
        uri.split_once("://")?;
        let inner = format!("{uri}/");
        let next = self.skills.range::<str, _>((Bound::Included(inner.as_str()), Bound::Unbounded)).next();
        next.map(|skill| &**skill).filter(|skill| skill.starts_with(&inner))
    }
}

/// The page at this place of a tool.
pub(crate) fn page(tool: &RawValue, path: &[&str]) -> Option<String> {
    let (last, first) = path.split_last()?;
    let holder = first.iter().try_fold(tool, |value, name| member(value, name))?;
    member_str(holder, last).filter(|uri| uri.starts_with(PAGE_SCHEME)).map(Into::into)
}

/// The directory of a skill.
fn directory(skill: &str) -> Option<&str> {
    skill.strip_suffix(SKILL_FILE).filter(|directory| !directory.is_empty())
}

/// The resources that a result names: as links, within it, or as what was read.
pub(crate) fn linked(result: &RawValue) -> Vec<String> {
    let list = |name: &str| member(result, name).and_then(array_items).unwrap_or_default();
    let said = list("messages").into_iter().filter_map(|message| member(message, "content"));
    // The content of a message is one part, or a list of them.
    let said = said.flat_map(|content| array_items(content).unwrap_or_else(|| vec![content]));
    let parts = list("content").into_iter().chain(said).chain(list("contents"));
    let uri = |part: &RawValue| {
        let uri = member_str(part, "uri").or_else(|| member_str(member(part, "resource")?, "uri"));
        uri.map(Into::into)
    };
    parts.filter_map(uri).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Raw JSON from text.
    fn json(text: &str) -> Raw {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn file_is_of_the_skill_in_whose_directory_it_is() {
        let items = ["skill://a/x/SKILL.md", "skill://a/x/sub/SKILL.md", "git://o/y/SKILL.md", "SKILL.md"];
        let items: Vec<_> = items.iter().map(|uri| json(&format!(r#"{{"uri":"{uri}"}}"#))).collect();
        let found = Addresses::of(Kind::Skills, &items);
        for (uri, skill) in [
            ("skill://a/x/SKILL.md", Some("skill://a/x")),
            ("skill://a/x/sub/b.md", Some("skill://a/x")),
            ("skill://a/x", Some("skill://a/x")),
            ("skill://a/x/", Some("skill://a/x")),
            ("skill://a", Some("skill://a/x")),
            ("git://o/y/deep/er.md", Some("git://o/y")),
            ("skill://a/xy", None),
            ("skill://a/w/SKILL.md", None),
            ("skill:", None),
            ("SKILL.md", None),
            ("", None),
        ] {
            assert_eq!(found.skill_around(uri), skill, "{uri}");
        }
    }

    #[test]
    fn links_are_found_wherever_a_result_may_have_them() {
        for (result, uris) in [
            (
                r#"{"content":[{"type":"resource_link","uri":"a:1"},{"type":"text","text":"uri"}]}"#,
                &["a:1"][..],
            ),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"a:2"}}],"contents":[{"uri":"a:3"}]}"#,
                &["a:2", "a:3"],
            ),
            (r#"{"messages":[{"content":{"uri":"a:4"}},{"content":[{"uri":"a:5"}]}]}"#, &["a:4", "a:5"]),
            (r#"{"content":"a:6","structuredContent":{"uri":"a:7"}}"#, &[]),
            ("7", &[]),
        ] {
            assert_eq!(linked(&json(result)), uris, "{result}");
        }
    }
}
