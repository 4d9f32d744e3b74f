//! What is wrong with an upstream that works: each fault is told once in the log, and the status has it while it lasts.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::{LONGEST_TOOL_NAME, UpstreamName};

/// Faults of one upstream that are told in the log; more are counted by the status only.
const TOLD: usize = 100;
/// Items that the status names for one list.
const NAMED: usize = 3;

/// Something that is wrong with one item, or what a server says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Misfit {
    /// The item's name or address.
    pub(crate) item: String,
    /// What is wrong.
    pub(crate) why: String,
    /// Whether clients do without it; otherwise it is mended.
    pub(crate) left_out: bool,
}

/// What is wrong with one upstream.
#[derive(Debug, Default)]
pub(crate) struct Remarks(Mutex<State>);

/// What is known.
#[derive(Debug, Default)]
struct State {
    /// What the log was told of.
    told: HashSet<(&'static str, String)>,
    /// What holds now, by what it is about.
    now: BTreeMap<(Topic, &'static str), String>,
}

/// What a remark is about, beside a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    /// A list takes long.
    Slow,
    /// Items are not as they should be.
    Misfits,
    /// Names are too long.
    Long,
}

impl Remarks {
    /// Notes which parts of an answer do not fit the specification; those of before are forgotten.
    pub(crate) fn misfits(&self, upstream: &UpstreamName, method: &'static str, found: &[Misfit]) {
        for Misfit { item, why, left_out } in found {
            if !self.is_new(upstream, method, item) {
                continue;
            }
            if *left_out {
                tracing::warn!(%upstream, method, item, why, "what the server lists does not fit the specification and is left out at /mcp");
            } else {
                tracing::warn!(%upstream, method, item, why, "what the server says does not fit the specification and is mended at /mcp");
            }
        }
        let text = |found: &[Misfit], what| {
            let names: Vec<_> = found.iter().take(NAMED).map(|misfit| misfit.item.as_str()).collect();
            let more = if found.len() > NAMED { ", …" } else { "" };
            format!("`{method}`: {} {what} ({}{more})", found.len(), names.join(", "))
        };
        let (out, mended): (Vec<_>, Vec<_>) = found.iter().cloned().partition(|misfit| misfit.left_out);
        let texts =
            [(out, "left out at /mcp, since they do not fit the specification"), (mended, "mended at /mcp")];
        let texts = texts.into_iter().filter(|(found, _)| !found.is_empty());
        let texts: Vec<_> = texts.map(|(found, what)| text(&found, what)).collect();
        self.set((Topic::Misfits, method), (!texts.is_empty()).then(|| texts.join("; ")));
    }

    /// Notes that clients are shown a list without what the server offers, since it takes longer than this.
    pub(crate) fn is_late(&self, upstream: &UpstreamName, method: &'static str, limit: Duration) {
        let seconds = limit.as_secs();
        if self.is_new(upstream, method, "late") {
            tracing::warn!(
                %upstream, method, seconds,
                "the server takes long to list what it offers; clients are told when it is there"
            );
        }
        let text = format!("`{method}` takes longer than {seconds} s; clients are told when it is there");
        self.set((Topic::Slow, method), Some(text));
    }

    /// Notes how long a list took that is there now, and whether that was in time.
    pub(crate) fn took(&self, method: &'static str, time: Duration, in_time: bool) {
        let text = || format!("`{method}` took {} s", time.as_secs());
        self.set((Topic::Slow, method), (!in_time).then(text));
    }

    /// Notes the names of tools that models refuse, with the ones that the server gives.
    pub(crate) fn long_names(
        &self,
        upstream: &UpstreamName,
        method: &'static str,
        long: &[(String, String)],
    ) {
        for (shown, name) in long {
            if self.is_new(upstream, "long", shown) {
                let length = shown.chars().count();
                tracing::warn!(
                    %upstream, tool = shown, length,
                    "the usual models refuse names of tools with more than {LONGEST_TOOL_NAME} characters; `tools = {{ rename = {{ \
                     {name:?} = \"…\" }} }}` in [upstreams.{upstream}] gives it a shorter one"
                );
            }
        }
        let first = long.first().map(|(shown, _)| shown);
        let text = first.map(|first| {
            format!(
                "{} names of tools have more than {LONGEST_TOOL_NAME} characters, which models refuse (`{first}`); `tools.rename` \
                 shortens them",
                long.len()
            )
        });
        self.set((Topic::Long, method), text);
    }

    /// All that is wrong now, in words.
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().now.values().cloned().collect()
    }

    /// Whether the log was not told of something yet. What is too much is told as such.
    fn is_new(&self, upstream: &UpstreamName, method: &'static str, what: &str) -> bool {
        let mut state = self.0.lock();
        let full = state.told.len() >= TOLD;
        if full || !state.told.insert((method, what.to_owned())) {
            return false;
        }
        if state.told.len() == TOLD {
            tracing::warn!(%upstream, "more that is wrong with this upstream is not logged; `mcpeg --status` counts it");
        }
        true
    }

    /// Sets or removes a remark.
    fn set(&self, about: (Topic, &'static str), text: Option<String>) {
        let mut state = self.0.lock();
        match text {
            Some(text) => state.now.insert(about, text),
            None => state.now.remove(&about),
        };
    }
}
