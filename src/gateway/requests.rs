//! How many requests there are and were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::access::Slot;

/// Counts the messages of clients.
#[derive(Debug, Default)]
pub(crate) struct RequestCounter {
    /// Requests in flight.
    in_flight: Arc<AtomicUsize>,
    /// Messages that clients have posted.
    posted: AtomicU64,
}

/// Counts one request in flight until dropped, also for its client where that may have so many.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<AtomicUsize>, #[expect(dead_code, reason = "held for its end")] Option<Slot>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RequestCounter {
    /// Counts a request until the guard is dropped.
    pub(crate) fn begin(&self, slot: Option<Slot>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.posted.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.in_flight), slot)
    }

    /// How many are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How many messages clients have posted.
    pub(super) fn posted(&self) -> u64 {
        self.posted.load(Ordering::Relaxed)
    }
}
