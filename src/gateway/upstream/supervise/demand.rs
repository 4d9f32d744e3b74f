//! Whether anybody needs an upstream: one that sleeps is woken by that, and one that backs off is tried sooner.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// The demand for one upstream.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// Whether somebody needs it.
    needed: AtomicBool,
    /// Tells those who wait for that.
    wake: Notify,
    /// Whether it is tried as soon as somebody calls, though it backs off.
    eager: AtomicBool,
}

impl Demand {
    /// Notes that it is needed.
    pub(crate) fn need(&self) {
        self.needed.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Forgets that it was needed.
    pub(crate) fn forget(&self) {
        self.needed.store(false, Ordering::SeqCst);
    }

    /// Waits until somebody needs it, and forgets that.
    pub(crate) async fn needed(&self) {
        while !self.needed.swap(false, Ordering::SeqCst) {
            self.wake.notified().await;
        }
    }

    /// Sets whether it is tried as soon as somebody calls.
    pub(crate) fn set_eager(&self, eager: bool) {
        self.eager.store(eager, Ordering::SeqCst);
    }

    /// Whether it is tried as soon as somebody calls.
    pub(crate) fn is_eager(&self) -> bool {
        self.eager.load(Ordering::SeqCst)
    }
}
