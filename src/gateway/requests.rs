//! How many requests there are and were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::access::Slot;
use super::memory::Held;

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
pub(crate) struct InFlight {
    /// All that are in flight.
    all: Arc<AtomicUsize>,
    /// Its place among its client's.
    _slot: Option<Slot>,
    /// What it takes of memory, if that is much.
    _held: Option<Held>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RequestCounter {
    /// Counts a request until the guard is dropped.
    pub(crate) fn begin(&self, slot: Option<Slot>, held: Option<Held>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.posted.fetch_add(1, Ordering::Relaxed);
        InFlight { all: Arc::clone(&self.in_flight), _slot: slot, _held: held }
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
