//! What of an upstream is shown: allowed and denied names, and names of the operator's own choice.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::de::{DeArray, DeTable, DeValue};
use wildmatch::WildMatch;

use super::key::{Key, Kind};
use super::kinds;
use super::reader::{Reader, Value};
use super::suggestion::suggestion;

/// The longest name of a tool that the usual models take, in characters.
pub const LONGEST_TOOL_NAME: usize = 64;

/// The selections of one upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
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

/// A selection, as the file has it.
pub(super) const SELECTION: Kind<Selection> =
    Kind::new("a table with `allow`, `deny` and `rename`", selection);

/// A selection of what others have selected before, which renames nothing.
pub(super) const NARROWING: Kind<Selection> =
    Kind::new("a table with `allow` and `deny`", |key, value, reader| {
        let read = selection(key, value, reader);
        if let Some(rename) = value.get_ref().as_table().and_then(|table| table.get("rename")) {
            let message =
                format!("`{}.rename` has no place here: names are given in [upstreams.NAME]", key.name);
            reader.refuse(&rename.span(), message, "remove it");
        }
        read
    });

/// A selection of resources: clients use the addresses that a server gives, so that these cannot be renamed.
pub(super) const RESOURCES: Kind<Selection> =
    Kind::new("a table with `allow`, `deny` and `rename`", |key, value, reader| {
        let read = selection(key, value, reader);
        if let Some(rename) = value.get_ref().as_table().and_then(|table| table.get("rename")) {
            let message = "`resources.rename` cannot be: clients use the addresses that a server gives";
            reader.refuse(&rename.span(), message, "remove it");
        }
        read
    });

impl Filters {
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

    /// Whether the resource at this address is shown. What is denied is so however its address is written: the pattern and
    /// the address are compared in one spelling (`plain`), the address with and without its fragment and the parameters
    /// of its segments (`;x`), that of a file also without its query. Letters of the path count with their case. What
    /// climbs (`..`) is shown nowhere.
    #[must_use]
    pub fn admits_address(&self, uri: &str) -> bool {
        if self.everything() {
            return true;
        }
        // Parsers of addresses drop white space around them and line breaks and tabs within them, and some end at a NUL.
        let is_plain = uri.trim() == uri && !uri.contains(char::is_control) && !decoded(uri).contains('\0');
        if !is_plain || !self.admits(uri) || climbs(uri) {
            return false;
        }
        let denied: Vec<_> =
            self.deny.iter().map(|pattern| Pattern::new(&plain(&pattern.text, true))).collect();
        let whole = plain(uri, false);
        // A file has neither query nor fragment, and no fragment is sent anywhere.
        let end = uri.find('#').unwrap_or(uri.len());
        let end = if whole.starts_with("file:") { uri.find(['?', '#']).unwrap_or(end) } else { end };
        let bare = plain(&uri[..end], false);
        let simple = without_parameters(&bare);
        !denied.iter().any(|pattern| [&whole, &bare, &simple].into_iter().any(|uri| pattern.fits(uri)))
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

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
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

/// Whether an address has a segment that means another place (RFC 3986 §5.2.4), written out or percent-encoded: an address
/// that climbs is not what it seems. `file:///open/../secret` is within what `file:///open/*` allows, and outside of what
/// `file:///secret` denies.
fn climbs(uri: &str) -> bool {
    let path = uri.split(['?', '#']).next().unwrap_or(uri);
    // Some servers drop what follows a semicolon, the parameters of a segment (RFC 3986 §3.3).
    let name = |segment: &str| segment.split(';').next().map(|name| matches!(name, "." | ".."));
    decoded(path).split(['/', '\\']).any(|segment| name(segment) == Some(true))
}

/// An address without the parameters of its segments.
fn without_parameters(uri: &str) -> String {
    let segments: Vec<_> =
        uri.split('/').map(|segment| segment.split_once(';').map_or(segment, |(name, _)| name)).collect();
    segments.join("/")
}

/// An address, or a pattern of addresses, in the one spelling that its other ones are compared by (RFC 3986 §6.2.2 and
/// §6.2.3, and what parsers forgive).
fn plain(uri: &str, is_pattern: bool) -> String {
    let uri = decoded(uri).replace('\\', "/");
    let scheme = uri.find(':').filter(|end| {
        uri[..*end].bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    });
    let Some(end) = scheme else { return uri };
    let (scheme, rest) = (uri[..end].to_ascii_lowercase(), &uri[end + 1..]);
    let (host, path) = match rest.strip_prefix("//") {
        // In a pattern a question mark is any letter.
        Some(rest) if is_pattern => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let mut host = plain_authority(&scheme, host);
    if scheme == "file" && host == "localhost" {
        host.clear();
    }
    // An empty path of these is the root. What a pattern's host ends with may stand for a path.
    let is_rooted = default_port(&scheme).is_some() && !host.is_empty() && !host.contains(['*', '?']);
    let root = if is_rooted && !path.starts_with('/') { "/" } else { "" };
    let mut path = format!("{root}{path}");
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    let slashes = if rest.starts_with("//") || scheme == "file" { "//" } else { "" };
    format!("{scheme}:{slashes}{host}{path}")
}

/// Host and port in the one spelling (RFC 3986 §6.2.3): who logs in there, and a default port, make no
/// other resource.
fn plain_authority(scheme: &str, authority: &str) -> String {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
    let usual = default_port(scheme);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.is_empty() || usual == Some(port.trim_start_matches('0')) => name,
        _ => &host,
    };
    host.strip_suffix('.').unwrap_or(host).to_owned()
}

/// The port of a scheme where the address names none.
fn default_port(scheme: &str) -> Option<&'static str> {
    match scheme {
        "http" | "ws" => Some("80"),
        "https" | "wss" => Some("443"),
        "ftp" => Some("21"),
        _ => None,
    }
}

/// The text without percent-encoding, however often it was encoded.
fn decoded(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    loop {
        match percent_encoding::percent_decode_str(&text).decode_utf8_lossy() {
            Cow::Owned(less) if less != *text => text = Cow::Owned(less),
            _ => return text,
        }
    }
}

/// Reads a selection.
fn selection(key: &Key<Selection>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Selection> {
    let DeValue::Table(table) = value.get_ref() else {
        key.wrong_type(value, reader, format!("write {} = {}", key.name, key.example));
        return None;
    };
    let mut read = Selection::default();
    for (entry, value) in table {
        let full = format!("{}.{}", key.name, entry.get_ref());
        match (entry.get_ref().as_ref(), value.get_ref()) {
            ("allow", DeValue::Array(items)) => read.allow = patterns(key.name, &full, items, reader),
            ("deny", DeValue::Array(items)) => read.deny = patterns(key.name, &full, items, reader),
            ("rename", DeValue::Table(names)) => read.rename = renamed(key.name, &full, names, reader),
            ("allow" | "deny", _) => {
                let hint = format!("write {full} = [\"read_*\"]");
                reader.wrong_type(&full, "an array of strings", value, hint);
            }
            ("rename", _) => {
                let hint = format!("write {full} = {{ OLD = \"NEW\" }}");
                reader.wrong_type(&full, "a table of strings", value, hint);
            }
            (unknown, _) => {
                let hint = suggestion(unknown, &["allow", "deny", "rename"]);
                reader.refuse_structure(&entry.span(), format!("unknown key `{full}`"), hint);
            }
        }
    }
    Some(read)
}

/// Reads patterns.
fn patterns(key: &str, full: &str, items: &DeArray<'_>, reader: &mut Reader<'_>) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for item in items {
        let Some(text) = kinds::element(full, item, reader) else { continue };
        if text.get_ref().is_empty() {
            reader.refuse(&text.span(), format!("`{key}` has an empty pattern"), "write \"*\" for all");
        }
        patterns.push(Pattern::new(text.get_ref()));
    }
    patterns
}

/// Reads new names.
fn renamed(key: &str, full: &str, names: &DeTable<'_>, reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let (mut renamed, mut taken) = (BTreeMap::new(), BTreeSet::new());
    for (old, new) in names {
        let Some((old, new)) = kinds::named(full, old, new, reader) else { continue };
        if !is_name(new.get_ref()) {
            let message = format!("`{}` cannot be the name of one of the {key}", new.get_ref());
            reader.refuse(&new.span(), message, "use 1 to 128 letters, digits, `_`, `-` and `.`");
        }
        if !taken.insert(*new.get_ref()) {
            let message = format!("two of the {key} are renamed to `{}`", new.get_ref());
            reader.refuse(&new.span(), message, "rename one of them to something else");
        }
        renamed.insert((*old.get_ref()).to_owned(), (*new.get_ref()).to_owned());
    }
    renamed
}

/// Whether a tool may have this name (MCP 2026-07-28 §Tools, "Tool Names").
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=128).contains(&text.len()) && text.chars().all(allowed)
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

    #[test]
    fn an_address_that_climbs_is_seen_however_it_is_written() {
        for uri in [
            "f:///a/../b",
            "f:///a/%2E%2e/b",
            "f:///a/..",
            "f:///a%2f..%2Fb",
            "f:///a/./b",
            "f:///a/..\\b",
            "f:///a/%252e%252e/b",
            "f:///a/..;/b",
            "f:///a/..;x=1/b",
            "f:///a/%2e.%3b/b",
            "f:///a/.;/b",
        ] {
            assert!(climbs(uri), "{uri}");
        }
        for uri in
            ["f:///a/b", "f:///a/..b/c...", "f:///a?x=/../", "mailto:a.b", "f:///a/.hidden", "f:///a/b;.."]
        {
            assert!(!climbs(uri), "{uri}");
        }
    }

    /// What is denied in the following.
    const DENIED: &[&str] = &[
        "file:///secret/*",
        "file:///one",
        "http://host/caf%C3%A9/*",
        "urn:x:secret",
        "https://root/",
        "https://any*",
        "https://query.example/*",
    ];

    /// Spellings of that.
    const DENIED_ADDRESSES: &[&str] = &[
        "file:///secret/b",
        "FILE:///secret/b",
        "file:///%73ecret/b",
        "file:///%2573ecret/b",
        "file:////secret/b",
        "file:///secret//b",
        "file://localhost/secret/b",
        "file://LOCALHOST/secret/b",
        "file:/secret/b",
        "file:///secret%2fb",
        "file:///secret\\b",
        "file:\\\\\\secret\\b",
        "file:///sec\tret/b",
        "file:///sec\nret/b",
        " file:///secret/b",
        "file:///open/.\t./secret/b",
        "file:///open/%252e%252e/secret/b",
        "file:///one",
        "file:///one#x",
        "file:///one?x",
        "http://HOST/caf%c3%a9/x",
        "http://host/caf\u{e9}/x",
        "URN:x:secret",
        "urn:x:secret#f",
        "file:///secret;x/b",
        "file:///secret/..;/secret/b",
        "file:///open/..;/secret/b",
        "file:///open/%2e%2e;a=b/secret/b",
        "FILE://LocalHost/secret/b",
        "file:///one;v=2",
        "file:///one%00.txt",
        "file:///open%00",
        "HTTP://host:80/caf%C3%A9/x",
        "http://host:/caf%C3%A9/x",
        "http://host:080/caf%C3%A9/x",
        "http://host./caf%C3%A9/x",
        "http://somebody:word@Host/caf%C3%A9/x",
        "http://ho%53t/caf%C3%A9/x",
        "https://root",
        "https://root:443/",
        "https://root#x",
        "https://any.example",
        "https://any.example/x",
        "https://query.example?x",
    ];

    /// What is something else.
    const OTHER_ADDRESSES: &[&str] = &[
        "file:///open/a",
        "file:///open/%C3%A4%20b",
        "file:///one/two",
        "http://host/one?x#y",
        "http://host:8080/caf%C3%A9/x",
        "http://host.example/caf%C3%A9/x",
        "https://root/x",
        "file:///open/b;v=1",
        "file:///SECRET/b",
        "plain",
        "",
    ];

    #[test]
    fn denied_address_is_denied_in_every_spelling() {
        let denied = selection(&[], DENIED, &[]);
        for uri in DENIED_ADDRESSES {
            assert!(!denied.admits_address(uri), "{uri:?}");
        }
        for uri in OTHER_ADDRESSES {
            assert!(denied.admits_address(uri), "{uri:?}");
        }
        let allowed = selection(&["http://host/caf%C3%A9/*"], &[], &[]);
        assert!(allowed.admits_address("http://host/caf%C3%A9/a%20b"));
        assert!(!allowed.admits_address("http://host/caf%C3%A9/../b"));
        assert!(selection(&[], &[], &[]).admits_address("file:///a/../b"));
    }
}
