//! When the next rotation by time is.
//!
//! Days and weeks are counted in local dates, so that each date has one rotation whatever its clocks do: a time that
//! does not exist because clocks go forward is the moment after, and of one that exists twice the first counts. Hours
//! are counted on the clock face as it is now.

use jiff::civil::{Date, Weekday as Day};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use crate::config::{At, Every, Weekday, Zone};

/// The rotation that is awaited.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// How often.
    every: Every,
    /// When.
    at: At,
    /// Whose time.
    zone: TimeZone,
    /// The next one; `None` without rotation by time.
    next: Option<Timestamp>,
}

impl Schedule {
    /// The rotations after `since`, the time of the last line before.
    pub(crate) fn new(every: Every, at: At, since: Timestamp) -> Self {
        let zone = match at.zone {
            Zone::Utc => TimeZone::UTC,
            Zone::Local => TimeZone::system(),
        };
        Self::in_zone(every, at, zone, since)
    }

    /// [`Self::new`] in a given time zone.
    fn in_zone(every: Every, at: At, zone: TimeZone, since: Timestamp) -> Self {
        let next = boundary(every, at, &zone, since);
        Self { every, at, zone, next }
    }

    /// Whether a rotation is due; it is told once.
    pub(crate) fn is_due(&mut self, now: Timestamp) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.next = boundary(self.every, self.at, &self.zone, now);
        }
        due
    }

    /// Looks whether the clock was set back so far that the next rotation is nearer than the one that is awaited.
    pub(crate) fn look_again(&mut self, now: Timestamp) {
        if self.next.is_some() {
            let fresh = boundary(self.every, self.at, &self.zone, now);
            self.next = self.next.min(fresh).or(fresh);
        }
    }
}

/// The first time of rotation after `now`; `None` without rotation by time, and at the end of time.
fn boundary(every: Every, at: At, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let today = zone.to_datetime(now).date();
    let dates = |step: i32, from: Date| {
        let on = move |date: Date| {
            let time = date.at(at.hour.cast_signed(), at.minute.cast_signed(), 0, 0);
            zone.to_timestamp(time).ok()
        };
        // A day before, because a zone may skip a date; the rest is enough for each weekday.
        (0..4_i32).filter_map(move |times| from.checked_add((step * times).days()).ok()).filter_map(on)
    };
    let next = |mut times: Box<dyn Iterator<Item = Timestamp> + '_>| times.find(|time| *time > now);
    match every {
        Every::Never => None,
        Every::Hour => hour(at.minute, zone, now),
        Every::Day => next(Box::new(dates(1, today.yesterday().ok()?))),
        Every::Week => {
            let back = today.weekday().since(day(at.day));
            let last = today.checked_sub(i32::from(back).days()).ok()?;
            next(Box::new(dates(7, last.checked_sub(7.days()).ok()?)))
        }
    }
}

/// The next time at which the clock face shows this minute.
fn hour(minute: u8, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let offset = i64::from(zone.to_offset(now).seconds());
    let shown = now.as_second() + offset;
    let into = (shown - i64::from(minute) * 60).rem_euclid(3600);
    let whole = Timestamp::from_second(now.as_second()).ok()?;
    whole.checked_add(SignedDuration::from_secs(3600 - into)).ok()
}

/// The same day in the calendar's own type.
const fn day(day: Weekday) -> Day {
    match day {
        Weekday::Monday => Day::Monday,
        Weekday::Tuesday => Day::Tuesday,
        Weekday::Wednesday => Day::Wednesday,
        Weekday::Thursday => Day::Thursday,
        Weekday::Friday => Day::Friday,
        Weekday::Saturday => Day::Saturday,
        Weekday::Sunday => Day::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Zones with and without changes, north and south, by whole and half hours: POSIX.1 TZ.
    const ZONES: [&str; 5] = [
        "UTC0",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "EST5EDT,M3.2.0,M11.1.0",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "NPT-5:45",
    ];

    /// A time.
    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Midnight, or another time of the day.
    fn at(hour: u8, minute: u8) -> At {
        At { hour, minute, ..At::default() }
    }

    /// The next `count` rotations.
    fn next(every: Every, at: At, zone: &str, from: &str, count: usize) -> Vec<String> {
        let zone = TimeZone::posix(zone).unwrap();
        let step = |now: &Timestamp| boundary(every, at, &zone, *now);
        std::iter::successors(Some(time(from)), step)
            .skip(1)
            .take(count)
            .map(|time| time.to_string())
            .collect()
    }

    /// Any plan.
    fn plans() -> impl Strategy<Value = (Every, At, TimeZone, i64)> {
        let every = prop::sample::select(vec![Every::Hour, Every::Day, Every::Week]);
        let day = prop::sample::select(Weekday::ALL.map(|(day, _)| day).to_vec());
        let zone = prop::sample::select(ZONES.to_vec());
        (every, day, 0..24_u8, 0..60_u8, zone, 946_684_800_i64..4_000_000_000).prop_map(
            |(every, day, hour, minute, zone, now)| {
                let at = At { day, hour, minute, zone: Zone::Local };
                (every, at, TimeZone::posix(zone).unwrap(), now)
            },
        )
    }

    proptest! {
        #[test]
        fn the_next_rotation_is_ahead_and_not_too_far((every, at, zone, now) in plans()) {
            let now = Timestamp::from_second(now).unwrap();
            let next = boundary(every, at, &zone, now).unwrap();
            let hours = match every { Every::Hour => 1, Every::Day => 25, _ => 7 * 24 + 1 };
            prop_assert!(next > now);
            prop_assert!(next.duration_since(now) <= SignedDuration::from_hours(hours), "{now} {next}");
        }

        #[test]
        fn each_local_date_has_one_daily_rotation((_, at, zone, now) in plans()) {
            let first = boundary(Every::Day, at, &zone, Timestamp::from_second(now).unwrap()).unwrap();
            let second = boundary(Every::Day, at, &zone, first).unwrap();
            let date = |time| zone.to_datetime(time).date();
            prop_assert_eq!(date(second), date(first).tomorrow().unwrap());
        }

        #[test]
        fn a_weekly_rotation_is_on_its_day((_, at, zone, now) in plans()) {
            let next = boundary(Every::Week, at, &zone, Timestamp::from_second(now).unwrap()).unwrap();
            prop_assert_eq!(zone.to_datetime(next).date().weekday(), day(at.day));
        }

        #[test]
        fn a_clock_that_jumps_never_stops_the_rotations(
            (every, at, zone, now) in plans(),
            steps in prop::collection::vec(-10_000_000_i64..10_000_000, 1..40),
        ) {
            let mut now = Timestamp::from_second(now).unwrap();
            let mut schedule = Schedule::in_zone(every, at, zone, now);
            for step in steps {
                now = now.checked_add(SignedDuration::from_secs(step)).unwrap();
                schedule.look_again(now);
                schedule.is_due(now);
                prop_assert!(!schedule.is_due(now), "told twice");
                let ahead = schedule.next.unwrap().duration_since(now);
                prop_assert!(ahead <= SignedDuration::from_hours(7 * 24 + 1), "{ahead}");
            }
        }
    }

    #[test]
    fn a_time_that_clocks_skip_is_the_moment_after_and_a_repeated_one_is_taken_once() {
        let berlin = ZONES[1];
        assert_eq!(
            next(Every::Day, at(2, 30), berlin, "2026-03-27T12:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            next(Every::Day, at(2, 30), berlin, "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn leap_days_have_their_rotation() {
        assert_eq!(
            next(Every::Day, at(0, 0), "UTC0", "2024-02-28T12:00:00Z", 2),
            ["2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"]
        );
        assert_eq!(next(Every::Day, at(0, 0), "UTC0", "2100-02-28T12:00:00Z", 1), ["2100-03-01T00:00:00Z"]);
    }

    #[test]
    fn hours_are_those_of_the_clock_face() {
        assert_eq!(
            next(Every::Hour, at(0, 15), "NPT-5:45", "2026-11-24T12:00:00Z", 2),
            ["2026-11-24T12:30:00Z", "2026-11-24T13:30:00Z"]
        );
        assert_eq!(next(Every::Never, at(0, 0), "UTC0", "2026-11-24T12:00:00Z", 1), [""; 0]);
    }

    #[test]
    fn a_rotation_that_was_missed_is_due_at_once() {
        let mut schedule =
            Schedule::in_zone(Every::Day, at(0, 0), TimeZone::UTC, time("2026-11-20T10:00:00Z"));
        assert!(schedule.is_due(time("2026-11-24T10:00:00Z")));
        assert!(!schedule.is_due(time("2026-11-24T23:59:59Z")));
        assert!(schedule.is_due(time("2026-11-25T00:00:00Z")));
    }
}
