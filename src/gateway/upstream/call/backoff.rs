//! How long to wait before an upstream is tried again: exponential with jitter.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The wait after the first failure.
const FIRST: Duration = Duration::from_millis(50);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// A connection that lived for this long was a success: the next wait is the first again.
const STEADY: Duration = Duration::from_secs(10);

/// The state of one upstream's retries.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// Failures in a row.
    failures: u32,
}

impl Backoff {
    /// The next wait, after an attempt that lived for `lived`.
    pub(crate) fn next(&mut self, lived: Duration) -> Duration {
        if lived >= STEADY {
            self.failures = 0;
        }
        let base = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        base.mul_f64(0.75 + 0.5 * jitter())
    }
}

/// Waits until a moment; for ever if there is none.
pub(crate) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// A number from 0 to 1 that differs between gateways that have lost, or asked, the same upstream at once.
pub(crate) fn jitter() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_again_after_a_steady_life() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.next(Duration::ZERO)).collect();
        assert!(waits[0] < Duration::from_millis(100));
        assert!(waits[11] >= LONGEST.mul_f64(0.75) && waits[11] <= LONGEST.mul_f64(1.25));
        assert!(backoff.next(STEADY) < Duration::from_millis(100));
    }
}
