//! What one client may ask for: rates, and how much at once.

use std::num::NonZeroU32;

use super::filters::Pattern;
use super::key::Key;
use super::keys;
use super::rate::Rate;
use super::section::Section;

/// What one client may ask for; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// How often it may send something.
    pub rate: Option<Rate>,
    /// How many of its requests may be in flight.
    pub max_concurrency: Option<usize>,
    /// How many sessions it may have.
    pub max_sessions: Option<usize>,
    /// How many event streams it may have open.
    pub max_streams: Option<usize>,
    /// How often it may call tools; of several patterns that fit, the first counts.
    pub tool_rates: Vec<(Pattern, Rate)>,
}

impl ClientLimits {
    /// Reads what `[clients.NAME]` says.
    pub(super) fn of_client(section: &mut Section<'_, '_>) -> Self {
        Self {
            rate: with_burst((&keys::CLIENT_RATE, &keys::CLIENT_BURST), section),
            max_concurrency: section.find(&keys::CLIENT_CONCURRENCY),
            max_sessions: section.find(&keys::CLIENT_SESSIONS),
            max_streams: section.find(&keys::CLIENT_STREAMS),
            tool_rates: section.find(&keys::CLIENT_TOOL_RATES).unwrap_or_default(),
        }
    }

    /// Reads what `[server]` says for clients of which nothing else is said.
    pub(super) fn of_each(section: &mut Section<'_, '_>) -> Self {
        Self {
            rate: with_burst((&keys::RATE_PER_CLIENT, &keys::BURST_PER_CLIENT), section),
            max_concurrency: section.find(&keys::MAX_CONCURRENCY_PER_CLIENT),
            max_sessions: section.find(&keys::MAX_SESSIONS_PER_CLIENT),
            max_streams: section.find(&keys::MAX_STREAMS_PER_CLIENT),
            tool_rates: Vec::new(),
        }
    }

    /// These, and what others say where these say nothing.
    #[must_use]
    pub fn or(&self, others: &Self) -> Self {
        Self {
            rate: self.rate.or(others.rate),
            max_concurrency: self.max_concurrency.or(others.max_concurrency),
            max_sessions: self.max_sessions.or(others.max_sessions),
            max_streams: self.max_streams.or(others.max_streams),
            tool_rates: self.tool_rates.clone(),
        }
    }

    /// Whether there is no limit.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.counts_anything() && self.max_sessions.is_none()
    }

    /// Whether something has to be counted beside sessions.
    #[must_use]
    pub const fn counts_anything(&self) -> bool {
        self.rate.is_some()
            || self.max_concurrency.is_some()
            || self.max_streams.is_some()
            || !self.tool_rates.is_empty()
    }
}

/// Reads a rate and how much of it may come at once.
fn with_burst((rate, burst): (&Key<Rate>, &Key<u32>), section: &mut Section<'_, '_>) -> Option<Rate> {
    let (read, most) = (section.find(rate), section.find(burst).and_then(NonZeroU32::new));
    if let (None, Some(span), None) = (section.written(rate), section.span(burst), read) {
        let message = format!("`{}` has no effect without `{}`", burst.name, rate.name);
        section.reader().refuse(&span, message, format!("add `{}`", rate.name));
    }
    read.map(|read| Rate { burst: most.unwrap_or(read.burst), ..read })
}
