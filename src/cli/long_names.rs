//! Names of tools that clients' models refuse, as far as the configuration tells them.

use crate::config::{Config, LONGEST_TOOL_NAME, Prefix, Upstream};

/// As many characters as a name of a tool should have left beside its upstream's.
const LEFT: usize = 24;

/// What is doubtful about the names of an upstream's tools.
pub(super) fn doubts(config: &Config, upstream: &Upstream) -> Vec<String> {
    let prefixed = match config.server.prefix {
        Prefix::Auto => config.upstreams.len() > 1,
        Prefix::Always => true,
        Prefix::Never => false,
    };
    let prefix = if prefixed { format!("{}_", upstream.name) } else { String::new() };
    let left = LONGEST_TOOL_NAME.saturating_sub(prefix.len());
    let mut doubts = Vec::new();
    if left < LEFT {
        doubts.push(format!(
            "its name leaves {left} characters for the names of its tools, of which the usual models refuse those with \
             more than {LONGEST_TOOL_NAME} in all; a shorter name of the upstream leaves more"
        ));
    }
    let tools = &upstream.filters.tools;
    let literal = |name: &&str| !name.contains(['*', '?']);
    let allowed = tools.allow.iter().map(crate::config::Pattern::text).filter(literal);
    let allowed = allowed.filter_map(|name| tools.shown(name));
    let mut names: Vec<_> = tools.rename.values().map(String::as_str).chain(allowed).collect();
    names.sort_unstable();
    names.dedup();
    for shown in names.into_iter().map(|name| format!("{prefix}{name}")) {
        let length = shown.chars().count();
        if length > LONGEST_TOOL_NAME {
            doubts.push(format!(
                "the tool `{shown}` has a name of {length} characters, and the usual models refuse more than \
                 {LONGEST_TOOL_NAME}; give it a shorter one in `tools.rename`"
            ));
        }
    }
    doubts
}
