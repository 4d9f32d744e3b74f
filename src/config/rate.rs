//! Rates: how often something may be done, also by the names of tools.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;

use super::filters::Pattern;
use super::key::Kind;
use super::kinds::{entries, string};
use super::reader::Reader;

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
