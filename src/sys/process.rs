//! Starting and ending child processes.
//!
//! [`command`] is the crate's only way to a [`Command`], and gives the child the limit on open files back; [`prepare_child`] gives the child a clean signal state and a
//! process group of its own, so that [`signal_group`] reaches its children too; [`bind_to_parent`] makes it die with us.

#![expect(
    unsafe_code,
    reason = "pre_exec hooks run between fork and exec; a descriptor is registered with the runtime"
)]

use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal};
use tokio::io::unix::AsyncFd;

/// A command with nothing set; the caller decides about environment and standard descriptors.
#[expect(clippy::disallowed_methods, reason = "this is the constructor that the others are sent to")]
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    super::limits::restore_in_child(&mut command);
    command
}

/// Makes a child lead a process group of its own and start with default signal dispositions and an empty mask.
pub(crate) fn prepare_child(command: &mut Command) {
    command.process_group(0);
    super::limits::restore_in_child(command);
    let hook = || {
        super::signal::reset_dispositions_of_child();
        super::signal::unblock_all()
    };
    // SAFETY: the hook makes the system calls signal and sigprocmask only; it neither allocates nor takes a lock, as
    // signal-safety(7) demands between fork and exec.
    unsafe { command.pre_exec(hook) };
}

/// Has the kernel kill the child when this process dies.
///
/// prctl(2) `PR_SET_PDEATHSIG` follows the *thread* that starts the child, so the child must be spawned by a thread
/// that lives as long as the process: the main thread or a worker of the runtime, never one of its blocking pool.
/// The kernel signals the child alone; its own children are reached by [`signal_group`] while we live. Nobody but the
/// child itself could take it back, so that it is not for one that may be handed over to another process.
pub(crate) fn bind_to_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let hook = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before prctl took effect; then nobody would ever end this child.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(nix::libc::ESRCH))
        }
    };
    // SAFETY: the hook makes the system calls prctl and getppid only; it neither allocates nor takes a lock, as
    // signal-safety(7) demands between fork and exec.
    unsafe { command.pre_exec(hook) };
}

/// The most that a child may take; `None` is what this process may.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ceilings {
    /// Bytes of private memory: setrlimit(2) `RLIMIT_DATA`.
    pub(crate) memory: Option<u64>,
    /// Processes and threads of its user: `RLIMIT_NPROC`.
    pub(crate) tasks: Option<u64>,
    /// Open files: `RLIMIT_NOFILE`.
    pub(crate) open_files: Option<u64>,
}

/// Holds a child, and each process that it begins, to these ceilings.
pub(crate) fn limit(command: &mut Command, ceilings: Ceilings) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let wanted = [
        (Resource::RLIMIT_DATA, ceilings.memory),
        (Resource::RLIMIT_NPROC, ceilings.tasks),
        (Resource::RLIMIT_NOFILE, ceilings.open_files),
    ];
    if wanted.iter().all(|(_, most)| most.is_none()) {
        return;
    }
    let hook = move || {
        for (resource, most) in wanted {
            if let Some(most) = most {
                // Only root may raise the hard limit, and nobody needs to.
                let (_, hard) = getrlimit(resource)?;
                let most = ceiling(most).min(hard);
                setrlimit(resource, most, most)?;
            }
        }
        Ok(())
    };
    // SAFETY: the hook makes the system calls getrlimit and setrlimit only; it neither allocates nor takes a lock, as
    // signal-safety(7) demands between fork and exec.
    unsafe { command.pre_exec(hook) };
}

/// A ceiling as the kernel takes it: `rlim_t` has a sign on other platforms. Async-signal-safe.
#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "it has none here"))]
fn ceiling(most: u64) -> nix::libc::rlim_t {
    most.try_into().unwrap_or(nix::libc::rlim_t::MAX)
}

/// Makes the program the child of init, or of the nearest subreaper, by a second fork: a service manager that is told
/// of it as its main process (`sd_notify(3)` MAINPID=) will learn of its end. The number that
/// [`std::process::Child::id`] tells is that of the process in between, which is gone at once but leads the program's
/// process group; the number stays taken until it is waited for.
pub(crate) fn orphan(command: &mut Command) {
    command.process_group(0);
    let hook = || {
        super::signal::reset_dispositions_of_child();
        super::signal::unblock_all()?;
        match fork_again() {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(()),
            _ => super::fork::leave(0),
        }
    };
    // SAFETY: the hook makes the system calls signal, sigprocmask, clone and _exit only; it neither allocates nor takes
    // a lock, as signal-safety(7) demands between fork and exec.
    unsafe { command.pre_exec(hook) };
}

/// Forks a child between fork and exec once more. fork(3) of the C library is not async-signal-safe, as it runs handlers and
/// takes locks of the allocator that a thread may have held which no longer exists; `_Fork` is, but glibc has it since 2.34
/// only. This is what it comes to. Async-signal-safe.
#[cfg(target_os = "linux")]
fn fork_again() -> nix::libc::c_long {
    let (flags, none) = (nix::libc::c_long::from(nix::libc::SIGCHLD), 0 as nix::libc::c_long);
    // The first two arguments change places there: clone(2).
    let (first, second) = if cfg!(target_arch = "s390x") { (none, flags) } else { (flags, none) };
    // SAFETY: clone(2) without a stack and without anything that is shared is fork(2).
    unsafe { nix::libc::syscall(nix::libc::SYS_clone, first, second, none, none, none) }
}

/// fork(2), which POSIX calls async-signal-safe; this program registers no `pthread_atfork(3)` handlers.
#[cfg(not(target_os = "linux"))]
fn fork_again() -> nix::libc::c_long {
    // SAFETY: the caller is a child between fork and exec.
    nix::libc::c_long::from(unsafe { nix::libc::fork() })
}

/// Keeps the kernel from writing core files of this process and of those that it starts: they would hold the secrets of the
/// configuration. The hard limit stays, so that a program can ask for them by itself.
/// Fails with what setrlimit(2) answers.
pub(crate) fn forbid_core_files() -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, hard)?)
}

/// How a group of children is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// Asks for the end: TERM.
    Term,
    /// Forces the end: KILL.
    Kill,
}

impl Kill {
    /// The signal's number.
    pub(super) const fn number(self) -> nix::libc::c_int {
        match self {
            Self::Term => nix::libc::SIGTERM,
            Self::Kill => nix::libc::SIGKILL,
        }
    }
}

/// Kills exactly the process that the pidfd means; one that has ended is no error.
/// Fails with `EPERM` if this user may not.
pub(crate) fn kill_exactly(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    match super::pidfd::send(pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sends a signal to every process of a group; a group that has ended is no error.
/// Fails with `EPERM` if this user may signal none of them; `EINVAL` for a number that is not a group of children (below 2).
pub(crate) fn signal_group(leader: u32, kill: Kill) -> io::Result<()> {
    let invalid = || io::Error::from_raw_os_error(nix::libc::EINVAL);
    let group = i32::try_from(leader).ok().and_then(ordinary).ok_or_else(invalid)?;
    let signal = match kill {
        Kill::Term => Signal::TERM,
        Kill::Kill => Signal::KILL,
    };
    match rustix::process::kill_process_group(group, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A descriptor that becomes readable when a child that was not yet reaped ends: `pidfd_open(2)`, non-blocking.
/// Fails with what `pidfd_open(2)` answers.
pub(crate) fn pidfd_open(child: u32) -> io::Result<OwnedFd> {
    let invalid = || io::Error::from_raw_os_error(nix::libc::EINVAL);
    let pid = i32::try_from(child).ok().and_then(ordinary).ok_or_else(invalid)?;
    Ok(super::pidfd::of_child(pid)?)
}

/// The end of a process as an event of the runtime: its pidfd is readable once it has ended. Must be called inside a
/// runtime.
/// Fails with what `epoll_ctl(2)` answers.
pub(crate) fn exit_event(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` returns the same open descriptor from `as_raw_fd` until it is dropped with the `AsyncFd`.
    Ok(unsafe { AsyncFd::register(pidfd) }?)
}

/// The number as a process or group that may be signalled: kill(2) gives 0 and negative numbers other meanings
/// ("everybody"), and 1 is init.
pub(super) fn ordinary(number: i32) -> Option<Pid> {
    if number > 1 { Pid::from_raw(number) } else { None }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn prepared_child_leads_its_group_and_dies_with_it() {
        let mut sleeper = command("sh");
        sleeper.args(["-c", "sleep 600 & echo started; wait"]).stdout(Stdio::piped());
        prepare_child(&mut sleeper);
        let mut child = sleeper.spawn().unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        signal_group(child.id(), Kill::Kill).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        // The grandchild holds the pipe's other end: end of file proves that it is gone too.
        assert_eq!(std::io::Read::read_to_string(&mut output, &mut line).unwrap(), 0);
    }

    #[test]
    fn limited_child_and_its_children_are_held_to_the_ceilings() {
        let mut shell = command("sh");
        shell.args(["-c", "cat /proc/self/limits"]).stdout(Stdio::piped());
        limit(&mut shell, Ceilings { memory: Some(64 << 20), tasks: Some(4000), open_files: Some(99) });
        let limits = String::from_utf8(shell.output().unwrap().stdout).unwrap();
        for (name, value) in
            [("Max data size", "67108864"), ("Max processes", "4000"), ("Max open files", "99")]
        {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            assert_eq!(line.matches(value).count(), 2, "{line}");
        }
    }

    #[test]
    fn prepared_child_starts_with_clean_signal_state() {
        let mut cat = command("cat");
        cat.arg("/proc/self/status").stdout(Stdio::piped());
        prepare_child(&mut cat);
        let output = cat.output().unwrap();
        let status = String::from_utf8(output.stdout).unwrap();
        for field in ["SigBlk", "SigIgn"] {
            let line = status.lines().find(|line| line.starts_with(field)).unwrap();
            let bits = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
            // 32 and 33 belong to the C library's threads and cannot be reset through it: nptl(7).
            assert_eq!(bits & !(0b11 << 31), 0, "{line}");
        }
    }

    #[test]
    fn orphan_is_no_child_and_is_reached_by_its_group() {
        let mut sleeper = command("sh");
        sleeper.args(["-c", "echo $PPID; exec sleep 600"]).stdout(Stdio::piped());
        orphan(&mut sleeper);
        let mut child = sleeper.spawn().unwrap();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut parent = String::new();
        std::io::BufRead::read_line(&mut output, &mut parent).unwrap();
        assert_ne!(parent.trim().parse::<u32>().unwrap(), std::process::id());
        signal_group(child.id(), Kill::Kill).unwrap();
        // The program holds the pipe's other end: end of file proves that it is gone.
        assert_eq!(std::io::Read::read_to_string(&mut output, &mut parent).unwrap(), 0);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    #[test]
    fn group_numbers_that_mean_everybody_are_refused() {
        for leader in [0, 1, u32::MAX, 1 << 31] {
            assert!(signal_group(leader, Kill::Term).is_err(), "{leader}");
        }
    }
}
