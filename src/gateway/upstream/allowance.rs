//! How much one upstream may have logged: a server that writes without end must not fill the disk.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::UpstreamName;

/// The time that an allowance is for.
const WINDOW: Duration = Duration::from_secs(1);

/// How many records may still be logged of an upstream; the rest is counted.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Records in one [`WINDOW`].
    most: u32,
    /// When the window began.
    began: Instant,
    /// Records logged in it.
    logged: u32,
    /// Records dropped in it.
    dropped: u64,
}

impl Allowance {
    /// A full one.
    pub(super) fn new(most: u32) -> Self {
        Self { most, began: Instant::now(), logged: 0, dropped: 0 }
    }

    /// Whether one more may be logged; otherwise it is counted.
    pub(super) fn admits(&mut self, upstream: &UpstreamName) -> bool {
        if self.began.elapsed() >= WINDOW {
            self.report(upstream);
        }
        let admitted = self.logged < self.most;
        if admitted {
            self.logged += 1;
        } else {
            self.dropped += 1;
        }
        admitted
    }

    /// When it is to be told how many were dropped, if any were.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.dropped > 0).then(|| self.began + WINDOW)
    }

    /// Tells how many were dropped, and begins anew.
    pub(super) fn report(&mut self, upstream: &UpstreamName) {
        let dropped = self.dropped;
        *self = Self::new(self.most);
        if dropped > 0 {
            tracing::warn!(
                target: "mcpeg::upstream", %upstream, dropped,
                "what the upstream writes is more than is logged; the rest is not logged"
            );
        }
    }
}
