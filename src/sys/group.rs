//! Process groups as somebody who is not their parent may signal them.
//!
//! A group's number is its leader's. The kernel keeps the number from being used again while the leader is not
//! reaped or the group has a member, so it can only mislead after the whole group has ended. [`Group`] therefore
//! signals through the leader's pidfd, which means that one group for ever: `pidfd_send_signal(2)`
//! `PIDFD_SIGNAL_PROCESS_GROUP`, Linux 6.9. Older kernels get the number, after a proof that it still means the
//! group: the leader is not reaped, or a member is in the session that the group was in; no group changes its session.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustix::process::Pid;

use super::identity::{self, Member};
use super::pidfd;
use super::process::{Kill, ordinary};

/// A process group that is or was led by a process that somebody vouched for while it was not reaped.
#[derive(Debug)]
pub(crate) struct Group {
    /// The leader's number, which is the group's.
    leader: Pid,
    /// The session that the group is in.
    session: i32,
    /// The kernel's reference to the leader; `None` if there was no room for a descriptor.
    pidfd: Option<OwnedFd>,
}

impl Group {
    /// A group by its leader's number and pidfd; `None` for numbers with a meaning of their own in kill(2).
    pub(crate) fn new(leader: i32, session: i32, pidfd: Option<OwnedFd>) -> Option<Self> {
        Some(Self { leader: ordinary(leader)?, session, pidfd })
    }

    /// The group of a child that was not reaped, or of one that another process has handed over.
    /// Fails with `ESRCH` if there is no such process any more, `EINVAL` for a number with a meaning of its own.
    pub(crate) fn led_by(leader: u32, pidfd: OwnedFd) -> io::Result<Self> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let leader = i32::try_from(leader).map_err(|_| invalid())?;
        let session = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(leader)))?.as_raw();
        Self::new(leader, session, Some(pidfd)).ok_or_else(invalid)
    }

    /// Signals every process of the group, or only looks whether there is one; tells whether there was. Zombies count.
    /// Fails with `EPERM` if this user may signal none of them.
    pub(crate) fn signal(&self, kill: Option<Kill>) -> io::Result<bool> {
        let signal = kill.map_or(0, Kill::number);
        match self.signal_exactly(signal) {
            // EINVAL: a kernel before 6.9 knows no flags.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.signal_by_number(signal),
            result => result,
        }
    }

    /// By the pidfd; `EINVAL` if that is impossible here.
    fn signal_exactly(&self, signal: libc::c_int) -> io::Result<bool> {
        let pidfd = self.pidfd.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        match pidfd::send_to_group(pidfd.as_fd(), signal) {
            Ok(()) => Ok(true),
            Err(error) => existed(error),
        }
    }

    /// By the number, once it is proved to mean the group.
    fn signal_by_number(&self, signal: libc::c_int) -> io::Result<bool> {
        if !self.is_led()? && self.members()?.next().is_none() {
            return Ok(false);
        }
        let signal = nix::sys::signal::Signal::try_from(signal).ok();
        let group = nix::unistd::Pid::from_raw(self.leader.as_raw_nonzero().get());
        match nix::sys::signal::killpg(group, signal) {
            Ok(()) => Ok(true),
            Err(error) => existed(error.into()),
        }
    }

    /// Whether the leader has not ended, by which nobody else can have its number.
    fn is_led(&self) -> io::Result<bool> {
        let Some(pidfd) = &self.pidfd else { return Ok(false) };
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        Ok(nix::poll::poll(&mut fds, PollTimeout::ZERO)? == 0)
    }

    /// Whether a process of the group runs that this user can see in /proc. Zombies do not, and nobody may ever reap
    /// them: containers often have no init.
    pub(crate) fn runs(&self) -> io::Result<bool> {
        Ok(self.members()?.any(|member| member.runs()))
    }

    /// The processes in a group of this number in the session.
    fn members(&self) -> io::Result<impl Iterator<Item = Member>> {
        let (group, session) = (self.leader.as_raw_nonzero().get(), self.session);
        let numbers =
            fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // A process that ends while we look is no member any more.
        let members = numbers.filter_map(|pid| identity::member(pid).ok());
        Ok(members.filter(move |member| member.is_in(group, session)))
    }
}

/// Turns "there is no such group" into an answer.
fn existed(error: io::Error) -> io::Result<bool> {
    if error.raw_os_error() == Some(libc::ESRCH) { Ok(false) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Child, ChildStdout, Stdio};

    use super::*;
    use crate::sys::process::{command, pidfd_open, prepare_child};

    /// The session of this process.
    fn session() -> i32 {
        nix::unistd::getsid(None).unwrap().as_raw()
    }

    /// A leader that has ended but is not reaped, with a child that lives; the pipe ends with that child.
    fn orphaned() -> (Child, ChildStdout) {
        let mut shell = command("sh");
        shell.args(["-c", "sleep 600 & echo started"]).stdout(Stdio::piped());
        prepare_child(&mut shell);
        let mut child = shell.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; 8]).unwrap();
        (child, output)
    }

    /// The group of a child.
    fn group_of(child: &Child, session: i32) -> Group {
        let pidfd = pidfd_open(child.id()).unwrap();
        Group::new(child.id().cast_signed(), session, Some(pidfd)).unwrap()
    }

    #[test]
    fn group_is_reached_after_its_leader_was_reaped() {
        let (mut child, mut output) = orphaned();
        let group = group_of(&child, session());
        child.wait().unwrap();
        assert!(group.signal(None).unwrap() && group.runs().unwrap());
        group.signal(Some(Kill::Kill)).unwrap();
        assert_eq!(output.read(&mut [0]).unwrap(), 0, "the pipe ends with its last holder");
    }

    #[test]
    fn number_is_used_only_for_a_group_in_the_same_session() {
        let (mut child, mut output) = orphaned();
        let (group, strange) = (group_of(&child, session()), group_of(&child, session() - 1));
        child.wait().unwrap();
        assert!(!strange.signal_by_number(libc::SIGKILL).unwrap(), "another session's group of that number");
        assert!(group.signal_by_number(libc::SIGKILL).unwrap());
        assert_eq!(output.read(&mut [0]).unwrap(), 0, "the pipe ends with its last holder");
    }

    #[test]
    fn ended_group_is_nobody_and_special_numbers_are_no_groups() {
        let mut leader = command("true");
        prepare_child(&mut leader);
        let mut child = leader.spawn().unwrap();
        let group = group_of(&child, session());
        group.signal(Some(Kill::Kill)).unwrap();
        while group.is_led().unwrap() {
            std::thread::yield_now();
        }
        assert!(group.signal(None).unwrap() && !group.runs().unwrap(), "a zombie is left");
        child.wait().unwrap();
        assert!(!group.signal(Some(Kill::Kill)).unwrap());
        assert!(!group.signal_by_number(libc::SIGKILL).unwrap());
        for number in [i32::MIN, -1, 0, 1] {
            assert!(Group::new(number, session(), None).is_none(), "{number}");
        }
    }
}
