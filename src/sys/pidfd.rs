//! The kernel's references to processes: `pidfd_open(2)`, `pidfd_send_signal(2)`. What they mean cannot become another
//! process, so that every signal of ours goes through one.
//!
//! Elsewhere than on Linux there are none. A child's end is told by a pipe there, which a thread closes; a process that
//! is not a child cannot be proved, so that none is ever signalled.

#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "pidfd_send_signal(2) with flags, which rustix lacks")
)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::libc;
use rustix::io;
use rustix::process::{Pid, Signal};

/// A reference to a process. Async-signal-safe.
/// Fails with `ESRCH` if there is none, `EINVAL` if the number is a thread's, `ENOSYS` where there are no such references.
#[cfg(target_os = "linux")]
pub(super) fn open(pid: Pid) -> io::Result<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
}

/// A reference to a child that was not yet reaped: non-blocking, and readable once the child has ended.
#[cfg(target_os = "linux")]
pub(super) fn of_child(pid: Pid) -> io::Result<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK)
}

/// Sends a signal to exactly the process that the reference means.
/// Fails with `ESRCH` if it has ended, `EPERM` if this user may not, `ENOSYS` where there are no such references.
#[cfg(target_os = "linux")]
pub(super) fn send(pidfd: impl AsFd, signal: Signal) -> io::Result<()> {
    rustix::process::pidfd_send_signal(pidfd, signal)
}

/// `PIDFD_SIGNAL_PROCESS_GROUP` of linux/pidfd.h, which the libc crate does not have for every target.
#[cfg(target_os = "linux")]
const PROCESS_GROUP: libc::c_uint = 1 << 2;

/// Signals the group that the process led, whether it has ended or not.
/// Fails with `ESRCH` if there is no such group, `EINVAL` where that is impossible: before Linux 6.9, and elsewhere.
#[cfg(target_os = "linux")]
pub(super) fn send_to_group(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: an open pidfd, plain numbers, and a null pointer for details that the kernel fills in: pidfd_send_signal(2).
    let status =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, PROCESS_GROUP) };
    if status == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// That is impossible here.
#[cfg(not(target_os = "linux"))]
pub(super) fn send_to_group(_: BorrowedFd<'_>, _: libc::c_int) -> std::io::Result<()> {
    Err(std::io::Error::from_raw_os_error(libc::EINVAL))
}

/// There are none here.
#[cfg(not(target_os = "linux"))]
pub(super) const fn open(_: Pid) -> io::Result<OwnedFd> {
    Err(io::Errno::NOSYS)
}

/// A pipe that is at its end once the child has ended, which a thread waits for without reaping it.
#[cfg(not(target_os = "linux"))]
pub(super) fn of_child(pid: Pid) -> io::Result<OwnedFd> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let (reader, writer) = rustix::pipe::pipe()?;
    for end in [&reader, &writer] {
        rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
    }
    rustix::io::ioctl_fionbio(&reader, true)?;
    std::thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(io::Errno::INTR)) {}
        drop(writer);
    });
    Ok(reader)
}

/// There is nothing to signal by here.
#[cfg(not(target_os = "linux"))]
pub(super) fn send(_: impl AsFd, _: Signal) -> io::Result<()> {
    Err(io::Errno::NOSYS)
}
