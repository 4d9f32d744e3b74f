//! What was wrong with an upstream last, and how often its connections have ended by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::gateway::error::Fault;
use crate::gateway::upstream::stdio::stderr::ChildErrors;

/// The failures of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The last one, and the child that it was about; none once it works.
    last: Mutex<Option<(Fault, Option<Arc<ChildErrors>>)>>,
    /// Connections that ended.
    restarts: AtomicU64,
}

impl Failures {
    /// What was wrong last.
    pub(crate) fn last(&self) -> Option<Fault> {
        self.last.lock().as_ref().map(|(fault, _)| fault.clone())
    }

    /// The child that it was about.
    pub(crate) fn child(&self) -> Option<Arc<ChildErrors>> {
        self.last.lock().as_ref()?.1.clone()
    }

    /// Notes what is wrong, with this child if it is about one.
    pub(crate) fn set(&self, fault: Fault, child: Option<Arc<ChildErrors>>) {
        *self.last.lock() = Some((fault, child));
    }

    /// Notes that nothing is wrong any more.
    pub(crate) fn clear(&self) {
        *self.last.lock() = None;
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
