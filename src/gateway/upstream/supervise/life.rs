//! How long an upstream is this process's to keep: until it is stopped, or left to another process.

use fieldwork::Fieldwork;
use tokio_util::sync::CancellationToken;

/// Tells whether an upstream is still to be kept up; clones tell the same.
#[derive(Clone, Debug, Default, Fieldwork)]
#[fieldwork(get, vis = "pub(crate)")]
pub(crate) struct Life {
    /// Cancelled when it is to end.
    stop: CancellationToken,
    /// Cancelled when another process has its child.
    left: CancellationToken,
}

impl Life {
    /// One that ends with this one at the latest.
    pub(crate) fn within(&self) -> Self {
        Self { stop: self.stop.child_token(), left: self.left.clone() }
    }
}
