//! What becomes of the addresses in a server's answer before its client has it.

use super::apart::answer_apart;
use crate::gateway::relay::{Raw, array_items, member, member_str, method, set_member};
use crate::gateway::upstream::{Upstream, linked};

/// What is done with an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It passes.
    #[default]
    AsIs,
    /// The resources that it names are remembered as the upstream's.
    Noted,
    /// Its addresses carry the upstream's name, as that of the request did.
    Apart,
    /// It is the content of a directory, of which some may be denied.
    Sifted,
}

impl Answered {
    /// What is done with the answer of one of several upstreams, or of a single one.
    pub(super) fn of(method: &str, upstream: &Upstream, several: bool) -> Self {
        match method {
            method::DIRECTORY_READ if !upstream.filters().everything() => Self::Sifted,
            method::TOOLS_CALL | method::PROMPTS_GET | method::RESOURCES_READ | method::DIRECTORY_READ
                if several =>
            {
                Self::Noted
            }
            _ => Self::AsIs,
        }
    }

    /// Does it.
    pub(crate) fn see(self, upstream: &Upstream, result: Raw) -> Raw {
        match self {
            Self::AsIs => result,
            Self::Noted => {
                // Most answers name none.
                if result.get().contains("\"uri\"") {
                    for uri in linked(&result) {
                        upstream.links().note(&uri);
                    }
                }
                result
            }
            Self::Apart => answer_apart(upstream, sifted(upstream, result)),
            Self::Sifted => sifted(upstream, result),
        }
    }
}

/// The content of a directory without what is denied.
fn sifted(upstream: &Upstream, result: Raw) -> Raw {
    let shown = &upstream.filters().resources;
    let Some(items) = member(&result, "resources").and_then(array_items) else { return result };
    if shown.everything() {
        return result;
    }
    let may = |item: &&&serde_json::value::RawValue| {
        member_str(item, "uri").is_some_and(|uri| shown.admits_address(&uri))
    };
    let items: Vec<_> = items.iter().filter(may).map(|item| item.get()).collect();
    set_member(&result, "resources", &format!("[{}]", items.join(","))).unwrap_or(result)
}
