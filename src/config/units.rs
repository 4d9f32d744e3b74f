//! Durations and sizes: always written with a unit, so that nobody has to guess seconds or milliseconds.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Longer than any sensible time-out; a deadline that far ahead still fits every clock.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads a duration such as `30s` or `1m 30s`; the error is a message without the key.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if !text.chars().any(char::is_alphabetic) {
        return Err(format!("`{text}` has no unit"));
    }
    let parsed = humantime::parse_duration(text).map_err(|error| format!("`{text}`: {error}"))?;
    if parsed > LONGEST { Err(format!("`{text}` is longer than a year")) } else { Ok(parsed) }
}

/// Reads a size within a range, in bytes; the error is a message without the key.
pub(super) fn bytes(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    if !text.chars().any(char::is_alphabetic) {
        return Err(format!("`{text}` has no unit"));
    }
    let parsed = text.parse::<bytesize::ByteSize>().map_err(|_| format!("`{text}` is not a size"))?.as_u64();
    if range.contains(&parsed) {
        return Ok(parsed);
    }
    let (least, most) = (bytesize::ByteSize(*range.start()), bytesize::ByteSize(*range.end()));
    let short =
        |size: bytesize::ByteSize| size.display().iec().to_string().replace(".0 ", "").replace(' ', "");
    Err(format!("`{text}` is not between {} and {}", short(least), short(most)))
}

/// How a bare number of seconds is written with a unit.
pub(super) fn suggest_duration(number: &str) -> String {
    if number.chars().all(|c| c.is_ascii_digit()) && !number.is_empty() {
        format!("write \"{number}s\" if seconds are meant")
    } else {
        "write a number and its unit, such as \"30s\"".to_owned()
    }
}

/// How a bare number of bytes is written with a unit.
pub(super) fn suggest_size(number: &str) -> String {
    match number.parse::<u64>() {
        Ok(bytes) if bytes > 0 && bytes % (1 << 20) == 0 => format!("write \"{}MiB\"", bytes >> 20),
        Ok(bytes) => format!("write \"{bytes}B\" if bytes are meant"),
        Err(_) => "write a number and its unit, such as \"16MiB\"".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the size of a message.
    fn size(text: &str) -> Result<u64, String> {
        bytes(text, &(1 << 10..=1 << 30))
    }

    #[test]
    fn durations_take_combined_units() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn a_bare_number_is_refused() {
        assert!(duration("30").is_err());
        assert!(duration("0").is_err());
        assert!(size("1048576").is_err());
    }

    #[test]
    fn sizes_know_both_systems_of_units() {
        assert_eq!(size("16MiB"), Ok(16 << 20));
        assert_eq!(size("2MB"), Ok(2_000_000));
    }

    #[test]
    fn absurd_values_are_refused() {
        assert!(duration("1000years").is_err());
        assert!(size("1B").is_err());
        assert_eq!(size("9TiB"), Err("`9TiB` is not between 1KiB and 1GiB".to_owned()));
    }

    #[test]
    fn suggestions_are_accepted_values() {
        assert_eq!(suggest_duration("30"), "write \"30s\" if seconds are meant");
        assert_eq!(suggest_size("16777216"), "write \"16MiB\"");
        assert_eq!(suggest_size("5000"), "write \"5000B\" if bytes are meant");
        assert_eq!(size("5000B"), Ok(5000));
    }
}
