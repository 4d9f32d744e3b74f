//! What one client may ask for: rates, and how much at once.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;

use super::filters::Pattern;
use super::key::{Key, Kind};
use super::keys;
use super::kinds::{entries, string};
use super::reader::Reader;
use super::section::Section;

/// The most of anything in one unit of time.
const MOST: u32 = 1_000_000;
/// What rates are called.
const RATE_NAME: &str = "a rate such as \"600/m\"";
/// The units of rates.
const PER: &str = "/s, /m, /h";

/// A rate.
pub(super) const RATE: Kind<Rate> = Kind::with_units(RATE_NAME, PER, |key, value, reader| {
    let text = string(key, value, reader)?;
    rate(key.name, &text, reader)
});
/// Rates of tools, by patterns of their names.
pub(super) const TOOL_RATES: Kind<Vec<(Pattern, Rate)>> =
    Kind::with_units("a table of patterns and rates", PER, |key, value, reader| {
        let entries = entries(key, value, reader)?;
        let mut each = entries.into_iter().map(|(name, text)| {
            let rate = rate(&format!("{}.{}", key.name, name.get_ref()), &text, reader);
            rate.map(|rate| (Pattern::new(name.get_ref()), rate))
        });
        each.by_ref().collect()
    });

/// So much in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time.
    pub period: Duration,
    /// How many of them may come at once.
    pub burst: NonZeroU32,
}

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

impl FromStr for Rate {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (count, unit) = text.split_once('/').ok_or(())?;
        let count = count.trim().parse().ok().filter(|count: &NonZeroU32| count.get() <= MOST).ok_or(())?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            _ => return Err(()),
        };
        Ok(Self { count, period: Duration::from_secs(seconds), burst: count })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.period.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
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

/// Reads a rate.
fn rate(name: &str, text: &Spanned<&str>, reader: &mut Reader<'_>) -> Option<Rate> {
    let read = text.get_ref().parse().ok();
    if read.is_none() {
        let message = format!("`{name}` cannot be `{}`", text.get_ref());
        let hint = format!("write a number up to {MOST} and /s, /m or /h, such as \"600/m\"");
        reader.refuse_structure(&text.span(), message, hint);
    }
    read
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_number_and_a_unit() {
        for (text, count, seconds) in [("600/m", 600, 60), ("1/s", 1, 1), (" 5 / h", 5, 3600)] {
            let rate: Rate = text.parse().unwrap();
            let told = (rate.count.get(), rate.period.as_secs(), rate.burst.get());
            assert_eq!(told, (count, seconds, count), "{text}");
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
        for text in ["", "600", "600/", "/m", "0/s", "-1/s", "1.5/s", "600/d", "600/min", "1000001/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
