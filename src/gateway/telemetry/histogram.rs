//! How long things took, counted in the buckets that OpenTelemetry names for MCP.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::gateway::metric::Snapshot;

/// The upper bounds of the buckets, in seconds.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// As many buckets; the last one is for what is above all bounds.
const BUCKETS: usize = BOUNDS.len() + 1;

/// A histogram; each part is exact, and a reader may see the parts of an observation one after the other.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Observations by bucket.
    counts: [AtomicU64; BUCKETS],
    /// Their sum in microseconds.
    sum: AtomicU64,
}

/// What histograms have counted up to a moment, or between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Observations by bucket.
    counts: [u64; BUCKETS],
    /// Their sum in microseconds.
    micros: u64,
}

impl Counted {
    /// With what another one has counted.
    pub(crate) fn and(self, other: &Self) -> Self {
        let counts = std::array::from_fn(|bucket| self.counts[bucket] + other.counts[bucket]);
        Self { counts, micros: self.micros + other.micros }
    }

    /// What was counted since an earlier moment.
    pub(super) fn since(self, earlier: &Self) -> Self {
        let counts = std::array::from_fn(|bucket| self.counts[bucket].saturating_sub(earlier.counts[bucket]));
        Self { counts, micros: self.micros.saturating_sub(earlier.micros) }
    }

    /// So many that took this time each.
    #[cfg(test)]
    pub(crate) fn of(count: u64, took: Duration) -> Self {
        let histogram = Histogram::default();
        (0..count).for_each(|_| histogram.observe(took));
        histogram.counted()
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they took on average, if there are any.
    pub(crate) fn mean(&self) -> Option<Duration> {
        self.micros.checked_div(self.count()).map(Duration::from_micros)
    }

    /// How long at most all took but one in so many: the bound of a bucket; `None` where that is above all bounds, or nothing
    /// was counted.
    pub(crate) fn all_but(&self, one_in: u64) -> Option<Duration> {
        let wanted = self.count() - self.count() / one_in;
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += count;
            below >= wanted && below > 0
        })?;
        BOUNDS.get(bucket).copied().map(Duration::from_secs_f64)
    }
}

impl Histogram {
    /// What it has counted up to now.
    pub(super) fn counted(&self) -> Counted {
        let counts = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Counted { counts, micros: self.sum.load(Ordering::Relaxed) }
    }

    /// Counts one.
    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// What it is now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let counted = self.counted();
        let sum = Duration::from_micros(counted.micros).as_secs_f64();
        Snapshot { buckets: bounds.zip(counted.counts).collect(), count: counted.count(), sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_observation_is_in_the_first_bucket_that_it_fits_into() {
        let histogram = Histogram::default();
        for millis in [0, 5, 6, 300_000, 300_001] {
            histogram.observe(Duration::from_millis(millis));
        }
        let told = histogram.snapshot();
        let counts: Vec<_> = told.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert!(told.count == 5 && (told.sum - 600.012).abs() < 1e-6, "{told:?}");
    }

    #[test]
    fn mean_and_bounds_are_those_of_what_was_counted_between_two_moments() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_secs(100));
        let earlier = histogram.counted();
        assert_eq!(Counted::default().mean(), None);
        assert_eq!(Counted::default().all_but(20), None);
        (0..19).for_each(|_| histogram.observe(Duration::from_millis(20)));
        histogram.observe(Duration::from_millis(420));
        let between = histogram.counted().since(&earlier);
        assert_eq!((between.count(), between.mean()), (20, Some(Duration::from_millis(40))));
        assert_eq!(between.all_but(20), Some(Duration::from_millis(25)));
        assert_eq!(between.all_but(100), Some(Duration::from_millis(500)));
        histogram.observe(Duration::from_secs(1000));
        assert_eq!(histogram.counted().since(&earlier).all_but(100), None, "above all bounds");
        assert_eq!(earlier.and(&between).count(), 21);
    }
}
