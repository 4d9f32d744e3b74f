//! How long things took, counted in the buckets that OpenTelemetry names for MCP.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::gateway::metric::Snapshot;

/// The upper bounds of the buckets, in seconds.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// A histogram; each part is exact, and a reader may see the parts of an observation one after the other.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Observations by bucket; the last one is for those above all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// Their sum in microseconds.
    sum: AtomicU64,
}

impl Histogram {
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
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_micros(self.sum.load(Ordering::Relaxed)).as_secs_f64();
        Snapshot { buckets, count, sum }
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
}
