//! fork(2), made safe by refusing to run with more than one thread.
//!
//! After a fork from a process with threads, the child may only call async-signal-safe functions: a lock of the
//! allocator may be held by a thread that no longer exists. A process with a single thread has no such locks, so
//! its child may go on as an ordinary program. The runtime and the log writer are therefore started after forking.

#![expect(unsafe_code, reason = "fork(2)")]

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::libc;
use nix::unistd::ForkResult;

/// How long a thread that has done its work may take to be gone.
const LEAVING: Duration = Duration::from_secs(2);
/// How often it is looked for.
const STEP: Duration = Duration::from_millis(1);

/// Which side of the fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fork {
    /// The process that called; it holds the number of the new process.
    Parent(i32),
    /// The new process.
    Child,
}

/// Forks this process.
/// Fails with `EBUSY` when another thread runs, else what fork(2) answers.
pub(crate) fn fork() -> io::Result<Fork> {
    if !is_alone()? {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    // SAFETY: this is the only thread of the process (checked above, and only this thread could start another),
    // so the child inherits no lock held by somebody else: fork(2), signal-safety(7).
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child.as_raw())),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Ends this process without exit handlers or destructors, which belong to the process it was forked from: `_exit(2)`.
pub(crate) fn leave(code: u8) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(libc::c_int::from(code)) }
}

/// Whether this is the only thread of the process, from `proc_pid_task(5)`. One that has done its work, such as asking
/// systemd something, may still be on its way out, for which it is given a moment.
pub(crate) fn is_alone() -> io::Result<bool> {
    if !cfg!(target_os = "linux") {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let deadline = Instant::now() + LEAVING;
    loop {
        let alone = fs::read_dir("/proc/self/task")?.count() == 1;
        if alone || Instant::now() >= deadline {
            return Ok(alone);
        }
        std::thread::sleep(STEP);
    }
}
