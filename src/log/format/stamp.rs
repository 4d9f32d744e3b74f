//! The time of a record: RFC 3339 §5.6 in UTC, always with six digits of a second, so that lines sort as text.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A second as it is written, up to the dot.
#[derive(Clone, Copy)]
struct Second {
    /// Since 1970.
    number: u64,
    /// `2026-11-24T09:30:00.`
    text: [u8; 20],
}

thread_local! {
    /// The last one that this thread has written: records of one second share it.
    static LAST: Cell<Second> = const { Cell::new(Second { number: u64::MAX, text: [0; 20] }) };
}

/// Appends `2026-11-24T09:30:00.000000Z`.
pub(super) fn push(out: &mut Vec<u8>, now: SystemTime) {
    // Before 1970 no clock is right.
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut last = LAST.get();
    if last.number != since.as_secs() {
        last = Second { number: since.as_secs(), text: second(since.as_secs()) };
        LAST.set(last);
    }
    let mut text = [0; 27];
    text[..20].copy_from_slice(&last.text);
    put(&mut text[20..26], u64::from(since.subsec_micros()));
    text[26] = b'Z';
    out.extend_from_slice(&text);
}

/// A second as it is written.
fn second(seconds: u64) -> [u8; 20] {
    let (year, month, day) = date(seconds / 86_400);
    let mut text = *b"0000-00-00T00:00:00.";
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], seconds / 3600 % 24);
    put(&mut text[14..16], seconds / 60 % 60);
    put(&mut text[17..19], seconds % 60);
    text
}

/// Writes a number with leading zeros.
fn put(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The date of a day since 1970: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
const fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year + era * 400 + (month <= 2) as u64, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_time_is_written_as_the_calendar_has_it(micros in 0_u64..253_402_300_799_000_000) {
            let mut text = Vec::new();
            push(&mut text, UNIX_EPOCH + Duration::from_micros(micros));
            let time = jiff::Timestamp::from_microsecond(micros.cast_signed()).unwrap();
            prop_assert_eq!(String::from_utf8(text).unwrap(), format!("{time:.6}"));
        }
    }
}
