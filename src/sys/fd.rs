//! Descriptors: which ones a new process image keeps, and where the standard ones lead.
//!
//! Everything that mcpeg opens is close-on-exec; what matters here are the descriptors that the caller of
//! mcpeg left open (an editor's pipe, a shell's log), which a daemon must not keep.

#![expect(unsafe_code, reason = "close_range(2) and taking over descriptors by number")]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;

/// The first descriptor after standard input, output and error; also where `sd_listen_fds(3)` starts.
pub(crate) const FIRST: RawFd = 3;

/// Set once the inherited descriptors were taken or closed: afterwards numbers from [`FIRST`] up belong to us.
static CLAIMED: AtomicBool = AtomicBool::new(false);

/// What happens to inherited descriptors that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// They stay open in this process but do not reach its children.
    CloseOnExec,
    /// They are closed: daemon(7) SysV step 1.
    Close,
}

/// Takes over the `count` descriptors from [`FIRST`] up and that numbered `beside`, and closes or shields all others.
///
/// This must be the first thing that the process does with descriptors, so that no number from [`FIRST`] up can
/// belong to an object of ours; it is refused the second time and while other threads run.
/// Fails with `EBUSY` on a second call or with several threads, `EBADF` if one of the `count` descriptors or that `beside` is
/// not open, `EINVAL` if that one is among those.
pub(crate) fn claim_inherited(
    count: u16,
    beside: Option<RawFd>,
    rest: Rest,
) -> io::Result<(Vec<OwnedFd>, Option<OwnedFd>)> {
    // Where it cannot be told, the order of `main` has to do: this comes before anything that starts threads.
    let alone = !cfg!(target_os = "linux") || super::fork::is_alone()?;
    if !alone || CLAIMED.swap(true, Ordering::SeqCst) {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let end = FIRST + RawFd::from(count);
    if beside.is_some_and(|number| number < end) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let taken = (FIRST..end).map(take).collect::<io::Result<Vec<_>>>()?;
    let kept = beside.map(take).transpose()?;
    match beside {
        Some(number) => {
            leave(end, number - 1, rest)?;
            leave(number + 1, RawFd::MAX, rest)?;
        }
        None => leave(end, RawFd::MAX, rest)?,
    }
    Ok((taken, kept))
}

/// Closes or shields the descriptors from `first` to `last`, which are those that [`claim_inherited`] has not taken.
fn leave(first: RawFd, last: RawFd, rest: Rest) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    let flags = match rest {
        Rest::CloseOnExec => libc::CLOSE_RANGE_CLOEXEC.cast_signed(),
        Rest::Close => 0,
    };
    // SAFETY: close_range(2) takes plain numbers. No descriptor between them belongs to an object of this process:
    // this is its first use of descriptors and its only thread, which the caller has checked.
    let status = unsafe { libc::close_range(first.cast_unsigned(), last.cast_unsigned(), flags) };
    if status == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether a descriptor is open for writing, by its number: fcntl(2) `F_GETFL`.
/// Fails with `EBADF` if it is not open.
pub(crate) fn is_writable(number: RawFd) -> io::Result<bool> {
    // SAFETY: fcntl(2) F_GETFL on a number; a descriptor that is not open is answered with EBADF.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    if flags == -1 {
        return Err(io::Error::last_os_error());
    }
    // A descriptor that was opened by O_PATH can do nothing.
    Ok(flags & libc::O_ACCMODE != libc::O_RDONLY && flags & libc::O_PATH == 0)
}

/// Makes one inherited descriptor ours, close-on-exec.
fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl(2) F_SETFD on a number; a descriptor that is not open is answered with EBADF.
    let status = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if status == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open (checked above) and, as `claim_inherited` is refused the second time,
    // becomes owned exactly once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Connects standard input and output with /dev/null, daemon(7) SysV step 9; standard error follows when the
/// daemon is ready, by [`silence_stderr`].
pub(crate) fn silence_stdin_stdout() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(())
}

/// Connects standard error with /dev/null: the second half of daemon(7) SysV step 9.
pub(crate) fn silence_stderr() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// Takes what was passed as standard input, and leaves /dev/null in its place.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    use std::os::fd::AsFd as _;
    let taken = std::io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(&OpenOptions::new().read(true).open("/dev/null")?)?;
    Ok(taken)
}

/// Connects standard error with an open descriptor.
/// Fails with what dup2(2) answers.
pub(crate) fn replace_stderr(with: BorrowedFd<'_>) -> io::Result<()> {
    nix::unistd::dup2_stderr(with)?;
    Ok(())
}

/// The device and inode behind a descriptor, by which two paths to one file are recognised.
/// Fails with what fstat(2) answers.
pub(crate) fn device_inode(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}
