//! Signal dispositions and the signal mask, as a new daemon or a new child must find them.
//!
//! Both survive exec(2): a caller that has TERM blocked or ignored (`nohup`, a careless supervisor)
//! would otherwise make it impossible to stop.

#![expect(unsafe_code, reason = "signal(2) with the default disposition")]

use std::io;

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};

/// One more than the greatest signal number of Linux on every architecture but MIPS.
const SIGNAL_COUNT: libc::c_int = 65;

/// Resets each signal to its default: daemon(7) SysV step 2.
///
/// Left alone are PIPE, which stays ignored because a closed connection is an error value to us, and SEGV and BUS,
/// with which Rust's runtime tells a stack overflow from other faults.
pub(crate) fn reset_dispositions() {
    reset_all_but(&[libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS]);
}

/// Resets each signal to its default in a child between fork and exec; async-signal-safe.
pub(super) fn reset_dispositions_of_child() {
    reset_all_but(&[]);
}

/// Makes a child ignore every signal by which somebody asks a program to stop or to do something, so that one that is
/// sent to each process of a service does not end it; async-signal-safe. Unlike handlers this survives exec(2).
pub(super) fn ignore_requests_to_stop() {
    reset_all_but(&[]);
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGPIPE,
        libc::SIGALRM,
    ] {
        // SAFETY: signal(2) with SIG_IGN installs no function of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Resets all signals but these; KILL and STOP cannot be changed and answer `EINVAL`, which is of no interest.
fn reset_all_but(kept: &[libc::c_int]) {
    for signal in (1..SIGNAL_COUNT).filter(|signal| !kept.contains(signal)) {
        // SAFETY: signal(2) with SIG_DFL installs no function of ours; a wrong number is answered by EINVAL.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Unblocks every signal in this thread: daemon(7) SysV step 3. Async-signal-safe.
pub(crate) fn unblock_all() -> io::Result<()> {
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}
