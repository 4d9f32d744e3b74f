//! Who is at the other end of a Unix socket, as the kernel has it from the moment of connect(2).

#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "SO_PEERGROUPS, whose length differs, which rustix and nix lack")
)]

use std::io;
use std::os::fd::AsFd;

/// The process at the other end of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its user.
    pub(crate) uid: u32,
    /// All its groups.
    pub(crate) groups: Vec<u32>,
    /// Its systemd unit, if it can be told.
    pub(crate) unit: Option<String>,
}

impl Peer {
    /// The peer of a connected socket.
    /// Fails with what getsockopt(2) answers.
    #[cfg(target_os = "linux")]
    pub(crate) fn of(socket: impl AsFd) -> io::Result<Self> {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
        let credentials = getsockopt(&socket.as_fd(), PeerCredentials)?;
        let mut groups = groups(&socket)?;
        groups.push(credentials.gid());
        let unit = unit(&socket, credentials.pid());
        Ok(Self { uid: credentials.uid(), groups, unit })
    }

    /// Nobody can tell here.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of(_: impl AsFd) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Why they cannot be told there, and what to do about it.
pub(crate) const HIDDEN: &str = "the unit of mcpeg hides the processes of others; write `[Service]` and `ProtectProc=default` by \
                          `systemctl edit` of that unit, and restart it";

/// Whether the units of other processes can be told at all: a service whose unit hides those (`ProtectProc=`, systemd.exec(5))
/// sees none.
pub(crate) fn sees_units() -> bool {
    std::path::Path::new("/proc/1/cgroup").exists()
}

/// The further groups of the peer.
#[cfg(target_os = "linux")]
fn groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    use nix::libc;
    use std::os::fd::AsRawFd as _;
    let mut groups = vec![0_u32; 32];
    loop {
        let mut length = libc::socklen_t::try_from(size_of_val(groups.as_slice())).unwrap_or_default();
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: an open socket, and a buffer of exactly the length that is told: getsockopt(2). It writes gid_t, 32 bits.
        let status = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<u32>();
        if status == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// The unit of the peer. The number of a process that has ended may be another's by now; the kernel's reference, from Linux 6.5
/// on, cannot, and while it is alive, its number means it.
#[cfg(target_os = "linux")]
fn unit(socket: &impl AsFd, pid: i32) -> Option<String> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};
    // Of a process that this one cannot see, the number is 0.
    let number = rustix::process::Pid::from_raw(pid)?;
    let process = getsockopt(&socket.as_fd(), PeerPidfd).ok().or_else(|| super::pidfd::open(number).ok())?;
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    // Readable as soon as the process has ended: pidfd_open(2).
    let ended = poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).ok()? > 0;
    unit_of(&cgroup).filter(|_| !ended).map(str::to_owned)
}

/// The unit of a process by `cgroup(7)` /proc/PID/cgroup, as systemd finds it: the first part of the path that is no slice.
/// What comes after it is the business of whom that unit is given to, such as users, who may name units there as they like.
fn unit_of(cgroup: &str) -> Option<&str> {
    let path =
        |begin: &str| cgroup.lines().find_map(|line| line.strip_prefix(begin)).filter(|path| *path != "/");
    let named = || cgroup.lines().find_map(|line| line.split_once(":name=systemd:").map(|(_, path)| path));
    let mut parts = path("0::").or_else(named)?.strip_prefix('/')?.split('/');
    let kind = |part: &str| part.rsplit_once('.').map(|(_, kind)| kind.to_owned());
    let unit = parts.find(|part| kind(part).as_deref() != Some("slice"))?;
    let kinds = ["service", "scope", "socket", "mount", "swap"];
    kind(unit).is_some_and(|kind| kinds.contains(&kind.as_str())).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_is_the_first_part_of_the_path_that_is_no_slice() {
        for (cgroup, unit) in [
            ("0::/system.slice/a.service", Some("a.service")),
            ("0::/system.slice/system-b.slice/b@1.service/inner/c.service", Some("b@1.service")),
            ("12:pids:/x\n1:name=systemd:/system.slice/a.service\n0::/", Some("a.service")),
            ("0::/user.slice/user-1.slice/user@1.service/app.slice/a.service", Some("user@1.service")),
            ("0::/user.slice/user-1.slice/session-3.scope", Some("session-3.scope")),
            ("0::/../a.service", None),
            ("0::/docker/a.service", None),
            ("0::/", None),
            ("", None),
        ] {
            assert_eq!(unit_of(cgroup), unit, "{cgroup}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_process_is_known_at_the_other_end() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert!(peer.groups.contains(&nix::unistd::getegid().as_raw()));
    }
}
