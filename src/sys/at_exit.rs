//! Waiting at the end of the process for what threads still write.
//!
//! exit(3) and abort(3) run no destructors. Handlers that are registered here look at counters until everything that
//! was accepted has been settled, at most for a second; the threads themselves go on in the meantime. Nothing is woken
//! or locked, because a handler may have interrupted the holder of the lock.

#![expect(unsafe_code, reason = "atexit(3), sigaction(2), and raise(3) in a handler")]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// How long one look takes.
const STEP: Duration = Duration::from_micros(200);
/// After how many looks the process ends anyway: a second.
const LOOKS: u32 = 5_000;

/// What the handlers look at; set once.
static WATCHED: OnceLock<Vec<Arc<Progress>>> = OnceLock::new();

/// How much has been accepted and how much of that is settled.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// What was accepted.
    accepted: AtomicU64,
    /// What is on its way no more.
    settled: AtomicU64,
    /// Whether waiting is in vain for now.
    stuck: AtomicBool,
}

impl Progress {
    /// Notes that more was accepted; gives how much that is in all.
    pub(crate) fn accept(&self, more: u64) -> u64 {
        self.accepted.fetch_add(more, Ordering::Release) + more
    }

    /// How much has been accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// Notes that more is settled.
    pub(crate) fn settle(&self, more: u64) {
        self.settled.fetch_add(more, Ordering::Release);
    }

    /// How much is settled.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// How much is on its way.
    pub(crate) fn pending(&self) -> u64 {
        // In this order: the other one could find more settled than accepted.
        let settled = self.settled();
        self.accepted().saturating_sub(settled)
    }

    /// Says whether waiting is in vain for now.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Release);
    }

    /// Whether waiting is in vain for now.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }

    /// Whether there is something to wait for.
    fn is_pending(&self) -> bool {
        self.settled() < self.accepted() && !self.is_stuck()
    }
}

/// Makes exit(3) and abort(3) wait for these; refused the second time.
/// Fails with `EALREADY` on a second call, else what sigaction(2) or atexit(3) answer.
pub(crate) fn wait_at_end(progress: Vec<Arc<Progress>>) -> io::Result<()> {
    if WATCHED.set(progress).is_err() {
        return Err(io::Error::from_raw_os_error(libc::EALREADY));
    }
    // SAFETY: atexit(3) with a function of this program that lives as long as it.
    if unsafe { libc::atexit(at_exit) } != 0 {
        return Err(io::Error::from_raw_os_error(libc::ENOMEM));
    }
    let flags = SaFlags::SA_RESETHAND | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::Handler(on_abort), flags, SigSet::empty());
    // SAFETY: the handler is async-signal-safe: signal-safety(7). It reads atomics, sleeps, and raises.
    unsafe { sigaction(Signal::SIGABRT, &action) }?;
    Ok(())
}

/// Keeps the handler for abort(3) out of this thread, which is one of those that are waited for.
pub(crate) fn spare_this_thread() {
    let mut set = SigSet::empty();
    set.add(Signal::SIGABRT);
    // It cannot fail for a set that is made like this.
    let _ = set.thread_block();
}

/// Waits until nothing is pending. Async-signal-safe.
fn wait() {
    let Some(watched) = WATCHED.get() else { return };
    for _ in 0..LOOKS {
        if !watched.iter().any(|progress| progress.is_pending()) {
            return;
        }
        std::thread::sleep(STEP);
    }
}

/// The handler of exit(3).
extern "C" fn at_exit() {
    wait();
}

/// The handler of abort(3), and of ABRT from elsewhere.
extern "C" fn on_abort(_: libc::c_int) {
    wait();
    // The disposition is the default again; the signal is blocked while we are here and takes effect on return.
    // SAFETY: raise(3) is async-signal-safe.
    unsafe { libc::raise(libc::SIGABRT) };
}
