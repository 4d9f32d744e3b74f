//! The names of rotated files: `mcpeg.log.20261124T093000Z.000000`, with `.gz` behind it if compressed.
//!
//! As text they sort by the time of their rotation. Two rotations within one second, or while the clock goes back, are
//! told apart by the number, which then counts on from the newest name that there is. Names that are further ahead than
//! [`AHEAD`] are from a time at which the clock was wrong; they are passed over, or every later name would be wrong, too.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::Offset;

/// One more than the greatest number.
const NUMBERS: u32 = 1_000_000;
/// How far a name may be ahead of the clock, in seconds: a day, more than any mistake about time zones.
const AHEAD: i64 = 24 * 60 * 60;

/// What distinguishes one rotated file from the others of its log. The order is that of rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// Seconds since 1970, UTC.
    second: i64,
    /// Tells those of one second apart.
    number: u32,
}

/// What a file in the log's directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A rotated file as it was written.
    Plain,
    /// A compressed one.
    Gzip,
    /// One whose compression has not ended.
    Unfinished,
}

impl Name {
    /// The name of what is rotated now, after `last`, which is the newest so far.
    pub(super) fn next(now: Timestamp, last: Option<Self>) -> Self {
        let fresh = Self { second: now.as_second(), number: 0 };
        match last.filter(|last| !last.is_ahead(now)) {
            Some(last) if last >= fresh && last.number + 1 < NUMBERS => {
                Self { number: last.number + 1, ..last }
            }
            Some(last) if last >= fresh => Self { second: last.second + 1, number: 0 },
            _ => fresh,
        }
    }

    /// Whether the clock was wrong when it was given, or is now.
    pub(super) fn is_ahead(self, now: Timestamp) -> bool {
        self.second > now.as_second().saturating_add(AHEAD)
    }

    /// The time of rotation.
    pub(super) fn time(self) -> Timestamp {
        Timestamp::from_second(self.second).unwrap_or_default()
    }

    /// The name in the log's directory.
    pub(super) fn file(self, log: &Path, kind: Kind) -> OsString {
        self.path(Path::new(log.file_name().unwrap_or_default()), kind).into_os_string()
    }

    /// The path beside the log file.
    pub(super) fn path(self, log: &Path, kind: Kind) -> PathBuf {
        let mut path = log.as_os_str().to_owned();
        let time = Offset::UTC.to_datetime(self.time());
        let date = format!("{:04}{:02}{:02}", time.year(), time.month(), time.day());
        let ending = match kind {
            Kind::Plain => "",
            Kind::Gzip => ".gz",
            Kind::Unfinished => ".gz.tmp",
        };
        let (hour, minute, second, number) = (time.hour(), time.minute(), time.second(), self.number);
        path.push(format!(".{date}T{hour:02}{minute:02}{second:02}Z.{number:06}{ending}"));
        PathBuf::from(path)
    }

    /// Reads the name of a file in the log's directory; `None` for every name that [`Self::path`] does not give.
    pub(super) fn read(log: &Path, file: &OsStr) -> Option<(Self, Kind)> {
        let base = log.file_name()?.to_str()?;
        let rest = file.to_str()?.strip_prefix(base)?.strip_prefix('.')?;
        let (rest, kind) = match rest.strip_suffix(".gz.tmp") {
            Some(rest) => (rest, Kind::Unfinished),
            None => rest.strip_suffix(".gz").map_or((rest, Kind::Plain), |rest| (rest, Kind::Gzip)),
        };
        let (stamp, number) = rest.split_once('.')?;
        let digits = |text: &str, count: usize| {
            let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<i64>().ok().filter(|_| plain)
        };
        let (date, time) = stamp.strip_suffix('Z')?.split_once('T')?;
        let (date, time) = (digits(date, 8)?, digits(time, 6)?);
        let part = |number: i64| i8::try_from(number % 100).ok();
        let civil = jiff::civil::DateTime::new(
            i16::try_from(date / 10_000).ok()?,
            part(date / 100)?,
            part(date)?,
            part(time / 10_000)?,
            part(time / 100)?,
            part(time)?,
            0,
        );
        let second = Offset::UTC.to_timestamp(civil.ok()?).ok()?.as_second();
        let number = u32::try_from(digits(number, 6)?).ok()?;
        Some((Self { second, number }, kind))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log.
    const LOG: &str = "/var/log/mcpeg/mcpeg.log";

    /// The file name of a path.
    fn file_name(path: &Path) -> &OsStr {
        path.file_name().unwrap()
    }

    proptest! {
        #[test]
        fn names_sort_by_rotation_whatever_the_clock_does(steps in prop::collection::vec(-200_000_i64..100_000, 1..60)) {
            let (mut now, mut last, mut texts) = (1_800_000_000, None, Vec::new());
            for step in steps {
                now += step;
                let clock = Timestamp::from_second(now).unwrap();
                let name = Name::next(clock, last);
                if last.is_some_and(|last| last.is_ahead(clock)) {
                    // Nothing of a clock that was wrong is left in the names.
                    prop_assert_eq!(name.time(), clock);
                    texts.clear();
                } else {
                    prop_assert!(last.is_none_or(|last| last < name));
                }
                prop_assert!(!name.is_ahead(clock));
                texts.push(name.path(Path::new(LOG), Kind::Plain));
                last = Some(name);
            }
            prop_assert!(texts.windows(2).all(|pair| pair[0] < pair[1]));
        }

        #[test]
        fn a_name_is_read_as_it_was_written(second in 0_i64..200_000_000_000, number in 0..NUMBERS) {
            let name = Name { second, number };
            for kind in [Kind::Plain, Kind::Gzip, Kind::Unfinished] {
                let path = name.path(Path::new(LOG), kind);
                prop_assert_eq!(Name::read(Path::new(LOG), file_name(&path)), Some((name, kind)));
            }
        }

        #[test]
        fn whatever_is_read_is_a_name_that_we_give(text in "mcpeg\\.log\\.[0-9T]{6,16}Z?\\.[0-9]{0,7}(\\.gz)?(\\.tmp)?") {
            if let Some((name, kind)) = Name::read(Path::new(LOG), OsStr::new(&text)) {
                let path = name.path(Path::new(LOG), kind);
                prop_assert_eq!(file_name(&path), OsStr::new(&text));
            }
        }
    }

    #[test]
    fn names_of_others_are_not_read() {
        for other in [
            "mcpeg.log",
            "mcpeg.log.1",
            "mcpeg.log.1.gz",
            "mcpeg.log-20261124",
            "mcpeg.log.20261124T093000Z",
            "mcpeg.log.20261324T093000Z.000000",
            "mcpeg.log.20261124T093000Z.000000.bak",
            "mcpeg.log.20261124T093000Z.+00001",
            "other.log.20261124T093000Z.000000",
        ] {
            assert_eq!(Name::read(Path::new(LOG), OsStr::new(other)), None, "{other}");
        }
        let name = OsStr::new("mcpeg.log.20240229T235959Z.000007.gz");
        assert!(Name::read(Path::new(LOG), name).is_some(), "a leap day");
    }

    #[test]
    fn after_the_greatest_number_comes_the_next_second() {
        let now = Timestamp::from_second(100).unwrap();
        let last = Name { second: 100, number: NUMBERS - 1 };
        assert_eq!(Name::next(now, Some(last)), Name { second: 101, number: 0 });
    }
}
