//! What becomes of the addresses in a server's answer before its client has it.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::apart::answer_apart;
use crate::config::Filters;
use crate::gateway::relay::{Raw, array_items, member, member_str, method, set_member};
use crate::gateway::upstream::{Upstream, linked};

/// What is done with an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It passes.
    #[default]
    AsIs,
    /// The resources that it names are remembered as the upstream's.
    Noted,
    /// It names resources, some of which may be denied; what is left may carry the upstream's name, as the request did.
    Sifted {
        /// What may be named beside what the upstream shows, each of them.
        rights: Vec<Arc<Filters>>,
        /// Whether addresses carry the upstream's name.
        apart: bool,
    },
}

impl Answered {
    /// What is done with the answer of one of several upstreams, or of a single one, where these are its client's rights.
    pub(super) fn of(method: &str, upstream: &Upstream, several: bool, rights: &[Arc<Filters>]) -> Self {
        let names_others = matches!(method, method::DIRECTORY_READ | method::SKILLS_GET);
        if names_others && !(rights.is_empty() && upstream.filters().everything()) {
            return Self::Sifted { rights: rights.to_vec(), apart: false };
        }
        match method {
            method::TOOLS_CALL | method::PROMPTS_GET | method::RESOURCES_READ | method::DIRECTORY_READ
                if several =>
            {
                Self::Noted
            }
            _ => Self::AsIs,
        }
    }

    /// Does it.
    pub(crate) fn see(&self, upstream: &Upstream, result: Raw) -> Raw {
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
            Self::Sifted { rights, apart } => {
                let skill = member(&result, "skill").and_then(|skill| sifted(upstream, rights, skill));
                let sifted = match skill {
                    Some(skill) => set_member(&result, "skill", skill.get()),
                    None => sifted(upstream, rights, &result),
                };
                let result = sifted.unwrap_or(result);
                if *apart { answer_apart(upstream, result) } else { result }
            }
        }
    }
}

/// What names resources, a directory or a skill, without those that are denied; `None` if none is.
pub(super) fn sifted(upstream: &Upstream, rights: &[Arc<Filters>], holder: &RawValue) -> Option<Raw> {
    let items = member(holder, "resources").and_then(array_items)?;
    let own = &upstream.filters().resources;
    let may = |uri: &str| {
        own.admits_address(uri) && rights.iter().all(|filters| filters.resources.admits_address(uri))
    };
    let named = |item: &RawValue| member_str(item, "uri").is_some_and(|uri| may(&uri));
    let left: Vec<_> = items.iter().filter(|item| named(item)).map(|item| item.get()).collect();
    let all = left.len() == items.len();
    if all { None } else { set_member(holder, "resources", &format!("[{}]", left.join(","))) }
}
