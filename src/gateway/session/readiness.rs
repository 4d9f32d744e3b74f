//! Whether a session's client has said that it is ready (`notifications/initialized`). Before, it is asked nothing (MCP
//! 2025-11-25 §Lifecycle, "Initialization"): pings of servers are answered by the gateway, and what they log may pass.
//!
//! A question that comes too soon is held, since the client is about to be ready: its server was told by the gateway that it may
//! ask. A client that never says it can be asked nothing.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long after its `initialize` the client may take for it; later questions are not held.
const HELD: Duration = Duration::from_secs(15);

/// Whether the client has said so.
#[derive(Debug)]
pub(super) struct Readiness {
    /// Cancelled when it has.
    said: CancellationToken,
    /// Until when it is waited for.
    until: Instant,
}

impl Readiness {
    /// Of a client that begins.
    pub(super) fn awaited() -> Self {
        Self { said: CancellationToken::new(), until: Instant::now() + HELD }
    }

    /// The client has said it.
    pub(super) fn say(&self) {
        self.said.cancel();
    }

    /// Whether the client has said it; waits while it may be about to.
    pub(super) async fn is_said(&self) -> bool {
        self.said.is_cancelled() || timeout_at(self.until, self.said.cancelled()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn question_is_held_until_the_client_is_ready_but_not_for_ever() {
        let ready = Readiness::awaited();
        assert!(ready.is_said().now_or_never().is_none(), "held");
        ready.say();
        assert!(ready.is_said().await);
        let silent = Readiness { until: Instant::now(), ..Readiness::awaited() };
        assert!(!silent.is_said().await, "its time is over");
        silent.say();
        assert!(silent.is_said().await, "at last");
    }
}
