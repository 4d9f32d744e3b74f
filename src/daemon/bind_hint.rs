//! What is to be done when an address cannot be bound: each error has several causes, and the hint is that of the one that
//! holds here.
//!
//! Under a unit the view of the file system is the unit's, so that it is looked at from inside: what is hidden or read-only
//! there is told by `proc_pid_mountinfo(5)`, as systemd.exec(5) `ProtectHome=` and `ProtectSystem=` have made it.

use std::env;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::{AccessFlags, access};

use crate::sys::holder;
use crate::systemd;

/// The most bytes of a Unix socket's path: unix(7) has 108 with the end of the string.
const LONGEST: usize = 107;
/// Below this, ports are privileged unless the kernel says otherwise: ip(7).
const PRIVILEGED: u16 = 1024;
/// How systemd names what it hides a directory with: `/run/systemd/inaccessible/dir`, or `/run/host/…` in a container.
const HIDING: &str = "/inaccessible/";

/// The hint for a bind of `address`, as an error names it, that has failed.
pub(super) fn of(address: &str, error: &io::Error) -> Option<String> {
    match address.strip_prefix("unix:") {
        Some(path) => unix(Path::new(path), error),
        None => tcp(address.rsplit_once(':')?.1.parse().ok()?, error),
    }
}

/// That for a TCP address.
fn tcp(port: u16, error: &io::Error) -> Option<String> {
    Some(match error.raw_os_error()? {
        libc::EADDRINUSE => {
            let who = holder::of_port(port).map(|who| format!("{who} has it; ")).unwrap_or_default();
            format!("{who}`ss -ltnp 'sport = :{port}'` names the process; --listen chooses another address")
        }
        libc::EACCES | libc::EPERM if port < privileged() => {
            let unit = if systemd::is_service() {
                "; the unit gives none: choose a port from 1024 on, or have a socket unit or a proxy hold this one"
            } else {
                ""
            };
            format!(
                "ports below {} need root or CAP_NET_BIND_SERVICE{unit}; a gateway that has given root up is stopped \
                 and started again for a new one",
                privileged()
            )
        }
        libc::EACCES | libc::EPERM => {
            "a policy of the system refuses the port: SELinux, AppArmor, or SocketBindDeny= of the unit".to_owned()
        }
        libc::EADDRNOTAVAIL => "the address is not one of this machine's; `ip address` lists them".to_owned(),
        libc::EAFNOSUPPORT => {
            "this machine has no IP of that version, or RestrictAddressFamilies= of the unit forbids it; `ip address` \
             lists the addresses"
                .to_owned()
        }
        _ => return None,
    })
}

/// The first port that anybody may bind.
fn privileged() -> u16 {
    let said = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    said.ok().and_then(|said| said.trim().parse().ok()).unwrap_or(PRIVILEGED)
}

/// That for a Unix socket.
fn unix(path: &Path, error: &io::Error) -> Option<String> {
    let length = path.as_os_str().as_bytes().len();
    if length > LONGEST {
        return Some(format!("the path of a Unix socket has at most {LONGEST} bytes, and this one {length}"));
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    Some(match error.raw_os_error()? {
        libc::EACCES | libc::EPERM => denied(path, directory),
        libc::EROFS => {
            format!("`{}` is on a file system that is mounted read-only{}", directory.display(), instead())
        }
        libc::ENOENT => {
            let missing = directory.ancestors().filter(|place| !place.exists()).last()?;
            match hidden(missing) {
                Some(place) => hides(&place),
                None => format!("the directory `{}` does not exist; make it first", missing.display()),
            }
        }
        libc::ENOTDIR => {
            let file = directory.ancestors().filter(|place| place.exists() && !place.is_dir()).last()?;
            format!("`{}` is not a directory", file.display())
        }
        libc::EADDRINUSE => format!("`ss -lxp src {}` names the process", path.display()),
        libc::ELOOP => "symbolic links on the way lead in a circle".to_owned(),
        libc::ENOSPC | libc::EDQUOT => {
            format!("the file system of `{}` is full", directory.display())
        }
        _ => return None,
    })
}

/// Why the user of this process may not make the socket, or not ask whether somebody serves on the one that is there.
fn denied(path: &Path, directory: &Path) -> String {
    if let Some(place) = hidden(path) {
        return hides(&place);
    }
    let mut above: Vec<&Path> = directory.ancestors().collect();
    above.reverse();
    let closed = above.iter().find(|place| access(**place, AccessFlags::X_OK).is_err());
    if let Some(closed) = closed {
        return format!("the user of mcpeg may not look into `{}`{}", closed.display(), instead());
    }
    if access(directory, AccessFlags::W_OK).is_err() {
        return format!("the user of mcpeg may not make files in `{}`{}", directory.display(), instead());
    }
    if path.symlink_metadata().is_ok() {
        return "a socket of somebody else is there; remove it if nobody serves on it any more".to_owned();
    }
    "a policy of the system refuses it: SELinux or AppArmor".to_owned()
}

/// The hint for what a unit hides.
fn hides(place: &Path) -> String {
    format!(
        "the unit hides {} (ProtectHome= or InaccessiblePaths=, systemd.exec(5)){}",
        place.display(),
        instead()
    )
}

/// The directory above or at the path that systemd has hidden from this process.
fn hidden(path: &Path) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    hidden_in(&mounts, path)
}

/// The same for a text of `proc_pid_mountinfo(5)`: identifier, parent, device, root, mount point, and what is of no interest.
fn hidden_in(mounts: &str, path: &Path) -> Option<PathBuf> {
    let hidden = |line: &str| {
        let mut words = line.split(' ').skip(3);
        let (root, point) = (words.next()?, words.next()?);
        (root.contains(HIDING) && path.starts_with(point)).then(|| PathBuf::from(point))
    };
    mounts.lines().find_map(hidden)
}

/// Where a socket can be under a unit.
fn instead() -> String {
    if !systemd::is_service() {
        return String::new();
    }
    let given = env::var("RUNTIME_DIRECTORY").unwrap_or_default();
    match given.split(':').next() {
        Some(directory) if !directory.is_empty() => {
            format!(
                "; put the socket into {directory}, or let the unit write elsewhere with ReadWritePaths= by \
                 `systemctl edit`"
            )
        }
        _ => "; let the unit write there with ReadWritePaths= by `systemctl edit`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_hides_is_told_from_what_is_only_mounted() {
        let mounts = "21 20 0:5 / / rw - ext4 /dev/sda rw\n\
                      22 21 0:6 / /srv rw - ext4 /dev/sdb rw\n\
                      23 21 0:7 /systemd/inaccessible/dir /home ro,nosuid - tmpfs tmpfs rw\n";
        assert_eq!(hidden_in(mounts, Path::new("/home/x.sock")), Some(PathBuf::from("/home")));
        for seen in ["/homely/x", "/srv/x", "/x"] {
            assert_eq!(hidden_in(mounts, Path::new(seen)), None, "{seen}");
        }
    }
}
