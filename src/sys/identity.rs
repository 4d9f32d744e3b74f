//! Which process a number means: numbers are used again, identities are not.
//!
//! A process is named for ever by its number, its start time in clock ticks since boot, and the id of that boot.
//! [`Handle::open`] turns an identity into a pidfd *before* it compares the rest, so that what is compared and what
//! is signalled cannot be two different processes.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustix::process::Signal;

use super::pidfd;

/// What names a process for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The process number.
    pub(crate) pid: i32,
    /// Field 22 of `proc_pid_stat(5)`: clock ticks from boot to the start of the process.
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// A process that was proved to be the one that an [`Identity`] names.
#[derive(Debug)]
pub(crate) struct Handle {
    /// The kernel's reference to the process: `pidfd_open(2)`.
    pidfd: OwnedFd,
    /// Its number, for messages and for /proc.
    pid: i32,
}

/// What became of an identity.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The process lives, and this is it.
    Alive(Handle),
    /// The number is free, or means another process by now.
    Gone,
}

impl Identity {
    /// The identity of this process.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn own() -> io::Result<Self> {
        let pid = nix::unistd::getpid().as_raw();
        if !cfg!(target_os = "linux") {
            // Nobody can prove it there, by whatever numbers.
            return Ok(Self { pid, start_time: 0, boot_id: String::new() });
        }
        Ok(Self { pid, start_time: start_time(pid)?, boot_id: boot_id()? })
    }
}

impl Handle {
    /// Looks a process up.
    pub(crate) fn open(identity: &Identity) -> io::Result<Lookup> {
        let Some(pid) = super::process::ordinary(identity.pid) else {
            return Ok(Lookup::Gone);
        };
        let pidfd = match pidfd::open(pid) {
            Ok(pidfd) => pidfd,
            // EINVAL: the number is that of a thread by now.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(Lookup::Gone),
            Err(error) => return Err(error.into()),
        };
        let handle = Self { pidfd, pid: identity.pid };
        // From here on the number cannot be given to another process without the pidfd telling that this one ended.
        let started = match start_time(identity.pid) {
            Ok(started) => started,
            Err(_) if handle.has_ended()? => return Ok(Lookup::Gone),
            Err(error) => return Err(error),
        };
        let same = started == identity.start_time && is_this_boot(identity)? && !handle.has_ended()?;
        Ok(if same { Lookup::Alive(handle) } else { Lookup::Gone })
    }

    /// Its number.
    pub(crate) const fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal to exactly this process: `pidfd_send_signal(2)`.
    /// Fails with `ESRCH` if it has ended, `EPERM` if this user may not.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd::send(&self.pidfd, signal)?)
    }

    /// Waits until the process ends, at most until `deadline`; whether it ended. A zombie counts as ended.
    /// Fails with what poll(2) answers.
    pub(crate) fn wait_until(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, so that the last wait does not become a busy loop of zero milliseconds.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            match nix::poll::poll(&mut fds, timeout) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether the process has ended.
    fn has_ended(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        Ok(nix::poll::poll(&mut fds, PollTimeout::ZERO)? > 0)
    }

    /// Whether the process is stopped by a signal (STOP, TSTP), so that it cannot answer. One that a tracer has stopped
    /// is not: `strace -p` does so for a moment at each system call.
    pub(crate) fn is_suspended(&self) -> bool {
        stat(self.pid).is_ok_and(|fields| fields.first().map(String::as_str) == Some("T"))
    }

    /// Whether the process is about to end, though it still has its files: it was killed, or its first thread has ended
    /// and others have not yet. A busy machine may take a while over that.
    pub(crate) fn is_ending(&self) -> bool {
        // Field 9 of proc_pid_stat(5), counted from field 3, and PF_EXITING of the kernel's linux/sched.h.
        const FLAGS: usize = 9 - 3;
        const EXITING: u32 = 4;
        // SIGKILL is pending in each thread of a process that was killed: `SigPnd` of proc_pid_status(5).
        const KILLED: u64 = 1 << (Signal::KILL.as_raw() - 1);
        let ends = stat(self.pid).is_ok_and(|fields| {
            let flags = fields.get(FLAGS).and_then(|flags| flags.parse::<u32>().ok());
            flags.is_some_and(|flags| flags & EXITING != 0)
        });
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
        let pending = pending.and_then(|pending| u64::from_str_radix(pending.trim(), 16).ok());
        ends || pending.is_some_and(|pending| pending & KILLED != 0)
    }

    /// The effective user that the process runs as.
    pub(crate) fn uid(&self) -> io::Result<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse().ok())
            .ok_or_else(|| io::Error::other("no Uid line in /proc/PID/status"))
    }
}

/// When the process started, in clock ticks since boot.
fn start_time(pid: i32) -> io::Result<u64> {
    // Counted from field 3, the state, because fields 1 and 2 are cut off.
    const INDEX: usize = 22 - 3;
    stat(pid)?
        .get(INDEX)
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::other("no start time in /proc/PID/stat"))
}

/// A process as a member of its group.
pub(super) struct Member {
    /// The process group.
    group: i32,
    /// The session that the group is in.
    session: i32,
    /// Whether it has ended, and only waits to be reaped.
    is_zombie: bool,
}

impl Member {
    /// Whether it is in this group of this session.
    pub(super) const fn is_in(&self, group: i32, session: i32) -> bool {
        self.group == group && self.session == session
    }

    /// Whether it has not ended.
    pub(super) const fn runs(&self) -> bool {
        !self.is_zombie
    }
}

/// The process's group and session.
pub(super) fn member(pid: i32) -> io::Result<Member> {
    // Fields 5 and 6, counted from field 3.
    let fields = stat(pid)?;
    let number = |index: usize| fields.get(index).and_then(|field| field.parse().ok());
    let is_zombie = matches!(fields.first().map(String::as_str), Some("Z" | "X"));
    let (group, session) =
        number(2).zip(number(3)).ok_or_else(|| io::Error::other("no process group in /proc/PID/stat"))?;
    Ok(Member { group, session, is_zombie })
}

/// Threads of this process, bytes of its addresses, and bytes of it that are in memory.
pub(super) fn memory() -> io::Result<[u64; 3]> {
    let fields = stat(std::process::id().cast_signed())?;
    // Fields 20, 23 and 24, counted from field 3.
    let number = |index: usize| fields.get(index - 3).and_then(|field| field.parse::<u64>().ok());
    let read = || Some([number(20)?, number(23)?, number(24)? * rustix::param::page_size() as u64]);
    read().ok_or_else(|| io::Error::other("malformed /proc/PID/stat"))
}

/// The fields of `proc_pid_stat(5)` from the third on. The second, the name, may hold blanks and parentheses, so
/// the fields are counted from the last closing one.
fn stat(pid: i32) -> io::Result<Vec<String>> {
    let text = fs::read(format!("/proc/{pid}/stat"))?;
    let text = String::from_utf8_lossy(&text);
    let (_, fields) = text.rsplit_once(')').ok_or_else(|| io::Error::other("malformed /proc/PID/stat"))?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

/// The id of this boot.
fn boot_id() -> io::Result<String> {
    boot_id_below("")
}

/// The id of this boot as it is seen below a root directory.
fn boot_id_below(root: &str) -> io::Result<String> {
    Ok(fs::read_to_string(format!("{root}/proc/sys/kernel/random/boot_id"))?.trim().to_owned())
}

/// Whether the identity is of this boot, as this process sees it or as the other one does: systemd-nspawn(1) shows a
/// container an id of its own, but a service with a /proc of its own (systemd.exec(5) `ProtectProc=`) sees the kernel's.
fn is_this_boot(identity: &Identity) -> io::Result<bool> {
    let seen_there = || boot_id_below(&format!("/proc/{}/root", identity.pid));
    Ok(boot_id()? == identity.boot_id || seen_there().is_ok_and(|seen| seen == identity.boot_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_identity_is_found_alive() {
        let own = Identity::own().unwrap();
        assert!(matches!(Handle::open(&own).unwrap(), Lookup::Alive(handle) if handle.pid() == own.pid));
    }

    #[test]
    fn another_start_time_or_boot_is_another_process() {
        let own = Identity::own().unwrap();
        let earlier = Identity { start_time: own.start_time - 1, ..own.clone() };
        let rebooted = Identity { boot_id: "another".to_owned(), ..own };
        assert!(matches!(Handle::open(&earlier).unwrap(), Lookup::Gone));
        assert!(matches!(Handle::open(&rebooted).unwrap(), Lookup::Gone));
    }

    #[test]
    fn numbers_that_mean_groups_or_init_are_nobody() {
        let own = Identity::own().unwrap();
        for pid in [i32::MIN, -1, 0, 1] {
            let identity = Identity { pid, ..own.clone() };
            assert!(matches!(Handle::open(&identity).unwrap(), Lookup::Gone), "{pid}");
        }
    }

    #[test]
    fn ended_child_is_gone_and_waiting_for_it_returns() {
        let mut child = crate::sys::process::command("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let identity = Identity { pid, start_time: start_time(pid).unwrap(), boot_id: boot_id().unwrap() };
        let Lookup::Alive(handle) = Handle::open(&identity).unwrap() else { panic!("child not found") };
        assert!(!handle.wait_until(Instant::now()).unwrap());
        handle.signal(Signal::KILL).unwrap();
        assert!(handle.wait_until(Instant::now() + Duration::from_secs(10)).unwrap());
        assert!(matches!(Handle::open(&identity).unwrap(), Lookup::Gone));
        child.wait().unwrap();
    }
}
