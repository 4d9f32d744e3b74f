//! The meaning of those keys of `[upstreams.NAME]` that tell how an upstream is kept up, and what of it is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde_spanned::Spanned;

use super::model::{Limits, Start, Upstream};
use super::settings::Reader;
use super::shows::{Pattern, Selection, Shows};
use super::{shape, units};

/// What a limit on memory may be: less than the least no interpreter starts with.
const MEMORY: RangeInclusive<u64> = 16 << 20..=1 << 40;

/// Values of an upstream that any transport has.
pub(super) struct Supervision {
    /// What is shown.
    pub(super) shows: Arc<Shows>,
    /// Requests at once.
    pub(super) max_concurrency: Option<usize>,
    /// Requests that wait.
    pub(super) max_queue: usize,
    /// When it is started.
    pub(super) start: Start,
    /// After how long without use it is ended.
    pub(super) idle_timeout: Option<Duration>,
    /// How often it is asked whether it answers.
    pub(super) health_interval: Option<Duration>,
}

/// Reads them.
pub(super) fn supervision(shape: &shape::Upstream, reader: &mut Reader<'_>) -> Supervision {
    let mut period = |value: Option<&shape::Text>, key, default| {
        let duration = reader.duration(value, key, default, true);
        (!duration.is_zero()).then_some(duration)
    };
    let idle_timeout = period(shape.idle_timeout.as_ref(), "idle_timeout", Duration::ZERO);
    let health_interval =
        period(shape.health_interval.as_ref(), "health_interval", Upstream::HEALTH_INTERVAL);
    let count = |value: Option<u64>| value.and_then(|value| usize::try_from(value).ok());
    let max_concurrency = count(number(shape.max_concurrency.as_ref()));
    let max_queue = count(number(shape.max_queue.as_ref()));
    let shows = Shows {
        tools: selection(shape.tools.as_ref(), "tools", reader),
        prompts: selection(shape.prompts.as_ref(), "prompts", reader),
        resources: selection(shape.resources.as_ref(), "resources", reader),
    };
    if let Some(rename) = shape.resources.as_ref().and_then(|value| value.get_ref().rename.as_ref()) {
        let message = "`resources.rename` cannot be: clients use the addresses that a server gives";
        reader.refuse(&rename.span(), message, "remove it");
    }
    let lazy = shape.start.as_ref().is_some_and(|start| start.get_ref() == "lazy");
    Supervision {
        shows: Arc::new(shows),
        max_concurrency,
        max_queue: max_queue.unwrap_or(Upstream::MAX_QUEUE),
        start: if lazy { Start::Lazy } else { Start::Eager },
        idle_timeout,
        health_interval,
    }
}

/// Reads the limits of a child.
pub(super) fn limits(shape: &shape::Upstream, reader: &mut Reader<'_>) -> Limits {
    let memory = shape.memory_max.as_ref().and_then(|value| match units::bytes(value.get_ref(), &MEMORY) {
        Ok(bytes) => Some(bytes),
        Err(why) => {
            let hint = units::suggest_size(value.get_ref().trim());
            reader.refuse(&value.span(), format!("`memory_max` must be a size: {why}"), hint);
            None
        }
    });
    Limits {
        memory,
        tasks: number(shape.tasks_max.as_ref()),
        open_files: number(shape.open_files_max.as_ref()),
    }
}

/// Reads a number, whose range the table of keys has.
pub(super) fn number(value: Option<&shape::Number>) -> Option<u64> {
    value.and_then(|value| u64::try_from(*value.get_ref()).ok())
}

/// Reads a selection.
fn selection(value: Option<&Spanned<shape::Selection>>, key: &str, reader: &mut Reader<'_>) -> Selection {
    let Some(value) = value else { return Selection::default() };
    let shape::Selection { allow, deny, rename } = value.get_ref();
    let mut patterns = |list: &Option<shape::List>| {
        let mut patterns = Vec::new();
        for item in list.iter().flat_map(Spanned::get_ref) {
            if item.get_ref().is_empty() {
                reader.refuse(&item.span(), format!("`{key}` has an empty pattern"), "write \"*\" for all");
            }
            patterns.push(Pattern::new(item.get_ref()));
        }
        patterns
    };
    let (allow, deny) = (patterns(allow), patterns(deny));
    let mut names = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (old, new) in rename.iter().flat_map(Spanned::get_ref) {
        if !is_name(new.get_ref()) {
            let message = format!("`{}` cannot be the name of one of the {key}", new.get_ref());
            reader.refuse(&new.span(), message, "use 1 to 128 letters, digits, `_`, `-` and `.`");
        }
        if !taken.insert(new.get_ref().clone()) {
            let message = format!("two of the {key} are renamed to `{}`", new.get_ref());
            reader.refuse(&new.span(), message, "rename one of them to something else");
        }
        names.insert(old.get_ref().clone(), new.get_ref().clone());
    }
    Selection { allow, deny, rename: names }
}

/// Whether a tool may have this name (MCP 2026-07-28 §Tools, "Tool Names").
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=128).contains(&text.len()) && text.chars().all(allowed)
}
