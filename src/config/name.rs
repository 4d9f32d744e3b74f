//! The names of upstreams, each alone and all together.

use std::fmt;
use std::sync::Arc;

use toml::Spanned;

use super::diagnostic::{Place, Problems};
use super::reader::Reader;

/// `[A-Za-z0-9][A-Za-z0-9_-]{0,62}`. Loading refuses two names of which one followed by `_` begins the other, so that
/// `NAME_tool` can always be taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamName(Arc<str>);

impl UpstreamName {
    /// The built-in upstream's name; also the only name with which no table may be configured.
    pub const BUILTIN: &'static str = "mcpeg";
    /// What the path below an endpoint is kept for: its server card (SEP-2127).
    const RESERVED: &'static str = "server-card";

    /// Checks the name's form; `None` if it is not allowed.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let first = name.chars().next()?;
        let fits = name.len() <= 63 && first.is_ascii_alphanumeric() && name.chars().all(allowed);
        fits.then(|| Self(name.into()))
    }

    /// The built-in upstream's name as a name.
    #[must_use]
    pub fn builtin() -> Self {
        Self(Self::BUILTIN.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks the name of a table.
pub(super) fn allowed_name(name: &Spanned<&str>, reader: &mut Reader<'_>) -> Option<UpstreamName> {
    let text = *name.get_ref();
    if text == UpstreamName::BUILTIN {
        let message = format!("upstream name `{text}` is taken by the built-in upstream");
        reader.refuse(&name.span(), message, "choose another name");
        return None;
    }
    if text == UpstreamName::RESERVED {
        let message =
            format!("upstream name `{text}` is reserved: `/mcp/{text}` is where a gateway describes itself");
        reader.refuse(&name.span(), message, "choose another name");
        return None;
    }
    let allowed = UpstreamName::new(text);
    if allowed.is_none() {
        reader.refuse(
            &name.span(),
            format!("upstream name `{text}` is not allowed"),
            "use 1 to 63 letters, digits, `-` and `_`, beginning with a letter or digit",
        );
    }
    allowed
}

/// Refuses two upstreams of one name, and names of which one with `_` behind it begins the other: `a_b_tool` could be
/// tool `b_tool` of `a` or tool `tool` of `a_b`.
pub(super) fn distinct(found: &[(Place, UpstreamName)], problems: &mut Problems) {
    for (at, (place, later)) in found.iter().enumerate() {
        let name = later.as_str();
        if begins(UpstreamName::BUILTIN, name) {
            let message =
                format!("upstream name `{name}` begins with `mcpeg_`, as tools of the built-in upstream do");
            problems.push_with_hint(place.clone(), message, "choose another name");
        }
        for (other_place, earlier) in &found[..at] {
            let other = earlier.as_str();
            if name == other {
                problems.push_with_hint(
                    place.clone(),
                    format!("upstream `{name}` is already defined at {other_place}"),
                    "rename one of them, or remove it",
                );
            } else if begins(name, other) || begins(other, name) {
                problems.push_with_hint(
                    place.clone(),
                    format!("upstream names `{name}` and `{other}` ({other_place}) cannot be told apart in tool names"),
                    "rename one, so that neither followed by `_` begins the other",
                );
            }
        }
    }
}

/// Whether `short` followed by `_` begins `long`.
fn begins(short: &str, long: &str) -> bool {
    long.strip_prefix(short).is_some_and(|rest| rest.starts_with('_'))
}
