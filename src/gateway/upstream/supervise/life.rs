//! How long an upstream is this process's to keep: until it is stopped, or left to another process.

use tokio_util::sync::CancellationToken;

/// Tells whether an upstream is still to be kept up; clones tell the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life {
    /// Asks for the end.
    stop: CancellationToken,
    /// Cancelled when another process has its child.
    left: CancellationToken,
}

impl Life {
    /// Asks for the end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether the end was asked for.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until the end is asked for.
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Notes that another process has its child.
    pub(crate) fn leave(&self) {
        self.left.cancel();
    }

    /// Whether another process has its child.
    pub(crate) fn is_left(&self) -> bool {
        self.left.is_cancelled()
    }

    /// Waits until another process has its child.
    pub(crate) async fn left(&self) {
        self.left.cancelled().await;
    }
}
