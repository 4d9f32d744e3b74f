//! What was wrong with an upstream last, and how often its connections have ended by themselves.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::gateway::error::Fault;

/// The failures of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The last one; none once it works.
    last: Mutex<Option<Fault>>,
    /// Connections that ended.
    restarts: AtomicU64,
}

impl Failures {
    /// What was wrong last.
    pub(crate) fn last(&self) -> Option<Fault> {
        self.last.lock().clone()
    }

    /// Notes what is wrong; `None` if nothing is any more.
    pub(crate) fn set(&self, fault: Option<Fault>) {
        *self.last.lock() = fault;
    }

    /// Counts a connection that ended by itself.
    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}
