//! How much one upstream may have logged: a server that writes without end must not fill the disk.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::UpstreamName;

/// The time that a limit is for.
const WINDOW: Duration = Duration::from_secs(1);

/// How many records may still be logged of an upstream; the rest is counted.
#[derive(Debug)]
pub(crate) struct LogRateLimit(crate::allowance::Allowance);

impl LogRateLimit {
    /// A full one.
    pub(crate) fn new(most: u32) -> Self {
        Self(crate::allowance::Allowance::new(most, WINDOW))
    }

    /// Whether one more may be logged; otherwise it is counted.
    pub(crate) fn admits(&mut self, upstream: &UpstreamName) -> bool {
        self.0.admits(|dropped| tell(upstream, dropped))
    }

    /// When it is to be told how many were dropped, if any were.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.due()
    }

    /// Tells how many were dropped, and begins anew.
    pub(crate) fn report(&mut self, upstream: &UpstreamName) {
        self.0.report(|dropped| tell(upstream, dropped));
    }
}

/// Tells how many records were dropped.
fn tell(upstream: &UpstreamName, dropped: u64) {
    tracing::warn!(
        target: "mcpeg::upstream", %upstream, dropped,
        "the upstream writes more than is logged; the rest is left out"
    );
}
