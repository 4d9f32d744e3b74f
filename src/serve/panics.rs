//! Panics: each is a bug, and whatever it has touched can no longer be trusted.
//!
//! The log's hook writes a panic down. Around it, the hook of this module counts the panic wherever it happened: in a
//! task whose end nobody waits for, or in a thread. The serving loop then drains and ends the process with exit code 70,
//! and its supervisor starts another one, which finds its listeners in systemd's descriptor store.
//!
//! Going on would be worse: the task may have been the one that keeps an upstream alive, and would never do so again.
//! An abort would be worse too: it cuts every request in flight for a fault of one, and upstreams get no end of their
//! input. Where a panic makes an orderly end impossible (it hits the main thread, or another panic follows inside of a
//! destructor), lock, guardian and the next start see to the rest, as after SIGKILL.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::error::Error;
use crate::exit::Exit;

/// Panics so far.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Told of each.
static NOTED: Notify = Notify::const_new();

/// Counts panics from here on, and leaves the rest to the hook that was there before.
pub(super) fn watch() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // First, because a panic while another is written down ends the process.
        COUNT.fetch_add(1, Ordering::SeqCst);
        before(info);
        NOTED.notify_waiters();
    }));
}

/// Whether there was a panic.
pub(super) fn any() -> bool {
    COUNT.load(Ordering::SeqCst) > 0
}

/// Waits for the first panic; returns at once if it was before. Safe to cancel.
pub(super) async fn first() {
    loop {
        // Before looking, so that a panic in between is not missed.
        let noted = NOTED.notified();
        if any() {
            return;
        }
        noted.await;
    }
}

/// Runs what must not unwind any further; a panic becomes an error.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Error::Panicked))
}

/// An orderly end is none if there was a panic on the way to it.
pub(super) fn decide(result: Result<Exit, Error>) -> Result<Exit, Error> {
    match result {
        Ok(Exit::Done) if any() => Ok(Exit::Bug),
        other => other,
    }
}
