//! Which rotated files go: by number, age and size together, whichever is stricter.

use jiff::Timestamp;

use crate::config::Retention;

use super::name::Name;

/// A rotated file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RotatedFile {
    /// Its name.
    name: Name,
    /// Its size in bytes.
    bytes: u64,
    /// When it was last written; `None` if that is not known.
    written: Option<Timestamp>,
}

impl RotatedFile {
    /// One with these facts.
    pub(super) const fn new(name: Name, bytes: u64, written: Option<Timestamp>) -> Self {
        Self { name, bytes, written }
    }
}

/// Those that go. Age is counted from the last line, not from the name, which a wrong clock may have given.
///
/// Files whose names are ahead of the clock count as the oldest. One that was written ahead of it is as old as those that
/// were rotated after it, and as good as new while there are none.
pub(super) fn doomed(files: &[RotatedFile], rules: &Retention, now: Timestamp) -> Vec<Name> {
    let mut files = files.to_vec();
    files.sort_by_key(|file| std::cmp::Reverse((!file.name.is_ahead(now), file.name)));
    let (mut total, mut full, mut newest, mut aged) = (0_u64, false, now, false);
    let goes = |(place, file): (usize, &RotatedFile)| {
        total = total.saturating_add(file.bytes);
        // An older file that would fit does not outlive a newer one.
        full |= rules.bytes.is_some_and(|most| total > most);
        let many = rules.files.is_some_and(|most| place >= most);
        newest = newest.min(file.written.unwrap_or_else(|| file.name.time()));
        aged |= rules.age.is_some_and(|most| now.duration_since(newest).unsigned_abs() > most);
        (full || many || aged).then_some(file.name)
    };
    files.iter().enumerate().filter_map(goes).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Files with these ages in seconds and sizes.
    fn files(now: i64, ages: &[(i64, u64)]) -> Vec<RotatedFile> {
        let mut last = None;
        let mut ages = ages.to_vec();
        ages.sort_by_key(|(age, _)| -age);
        let file = |(age, bytes): &(i64, u64)| {
            let written = Timestamp::from_second(now - age).unwrap();
            let name = Name::next(written, last);
            last = Some(name);
            RotatedFile { name, bytes: *bytes, written: Some(written) }
        };
        ages.iter().map(file).collect()
    }

    proptest! {
        #[test]
        fn what_stays_obeys_each_rule_and_nothing_goes_without_one(
            ages in prop::collection::vec((-1000_i64..1_000_000, 0_u64..5000), 0..40),
            count in prop::option::of(0_usize..50),
            age in prop::option::of(0_u64..1_000_000),
            bytes in prop::option::of(0_u64..100_000),
        ) {
            let now = Timestamp::from_second(1_800_000_000).unwrap();
            let all = files(1_800_000_000, &ages);
            let rules = Retention { files: count, age: age.map(Duration::from_secs), bytes };
            let gone = doomed(&all, &rules, now);
            let stay: Vec<_> = all.iter().filter(|file| !gone.contains(&file.name)).collect();
            prop_assert!(count.is_none_or(|most| stay.len() <= most));
            prop_assert!(bytes.is_none_or(|most| stay.iter().map(|file| file.bytes).sum::<u64>() <= most));
            let age_of = |file: &RotatedFile| now.duration_since(file.written.unwrap()).as_secs();
            prop_assert!(age.is_none_or(|most| stay.iter().all(|file| age_of(file) <= most.cast_signed())));
            // The newest stay: none that goes is newer than one that stays.
            let oldest = stay.iter().map(|file| file.name).min();
            prop_assert!(oldest.is_none_or(|oldest| gone.iter().all(|name| *name < oldest)));
            // The newest of those that go breaks a rule.
            if let Some(first) = gone.iter().max() {
                let file = all.iter().find(|file| file.name == *first).unwrap();
                let many = count.is_some_and(|most| stay.len() >= most);
                let old = age.is_some_and(|most| age_of(file) > most.cast_signed());
                let total: u64 = stay.iter().map(|file| file.bytes).sum::<u64>() + file.bytes;
                prop_assert!(many || old || bytes.is_some_and(|most| total > most));
            }
        }
    }

    #[test]
    fn what_was_rotated_while_the_clock_was_ahead_goes_with_its_age() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let ahead = Name::next(at(4_070_908_800), None);
        let day = 24 * 60 * 60;
        let rules = Retention { age: Some(Duration::from_secs(10 * 86_400)), ..Retention::default() };
        // Names that went on from 2099, as earlier versions gave them, with times that are right.
        let old = RotatedFile {
            name: Name::next(at(4_070_908_800), Some(ahead)),
            bytes: 1,
            written: Some(at(1_800_000_000 - 11 * day)),
        };
        let new = RotatedFile {
            name: Name::next(at(4_070_908_801), None),
            bytes: 1,
            written: Some(at(1_800_000_000 - day)),
        };
        assert_eq!(doomed(&[old, new], &rules, now), [old.name]);
        // One whose time is wrong, too, has no age before something was rotated after it.
        let wrong = RotatedFile { name: ahead, bytes: 1, written: Some(at(4_070_908_800)) };
        assert_eq!(doomed(&[wrong], &rules, now), []);
        let sane = |age: i64| RotatedFile {
            name: Name::next(at(1_800_000_000 - age), None),
            bytes: 1,
            written: Some(at(1_800_000_000 - age)),
        };
        assert_eq!(doomed(&[wrong, sane(day)], &rules, now), []);
        assert_eq!(doomed(&[wrong, sane(11 * day), sane(day)], &rules, now), [sane(11 * day).name, ahead]);
        // By number, it goes before those of the right time.
        let rules = Retention { files: Some(1), ..Retention::default() };
        assert_eq!(doomed(&[wrong, sane(day)], &rules, now), [ahead]);
    }

    #[test]
    fn without_rules_everything_stays() {
        let all = files(1000, &[(1, 1), (999, 1_000_000)]);
        assert_eq!(doomed(&all, &Retention::default(), Timestamp::from_second(1000).unwrap()), []);
    }
}
