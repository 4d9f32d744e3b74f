//! Listening sockets of either family, as one type.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::fs::{Directory, Owners};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// The mode of the file of a Unix socket.
const MODE: u32 = 0o660;

/// A bound, listening, non-blocking socket that children do not inherit.
#[derive(Debug)]
pub(crate) enum Listener {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpListener),
    /// A Unix stream socket.
    Unix(UnixListener),
}

/// Where a listener can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// The bound address, with the port that the kernel chose.
    Tcp(SocketAddr),
    /// The socket's path; empty if it has none.
    Unix(PathBuf),
}

impl Listener {
    /// Binds a TCP address with `SO_REUSEADDR`, so that connections of a former process that linger in
    /// TIME-WAIT do not keep a new one from starting.
    /// Fails with what bind(2) and listen(2) answer.
    pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<Self> {
        // The standard library sets SO_REUSEADDR and SOCK_CLOEXEC on Unix.
        let listener = TcpListener::bind(address)?;
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(listener))
    }

    /// The same beside sockets of this user that listen on the same port at addresses that overlap. All must say so at that
    /// moment (socket(7) `SO_REUSEPORT`); right after it none does, so that nobody else can join them, not even a child of
    /// the same user.
    /// Fails with what bind(2) and listen(2) answer.
    pub(crate) fn bind_tcp_beside<'a>(
        address: SocketAddr,
        others: &(impl Iterator<Item = &'a Self> + Clone),
    ) -> io::Result<Self> {
        let share = |shared: bool| {
            let tcp = |other: &'a Self| if let Self::Tcp(socket) = other { Some(socket) } else { None };
            others.clone().filter_map(tcp).try_for_each(|other| sockopt::set_socket_reuseport(other, shared))
        };
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        let bound = share(true)
            .and_then(|()| rustix::net::bind(&socket, &address))
            .and_then(|()| rustix::net::listen(&socket, BACKLOG));
        let closed = share(false).and_then(|()| sockopt::set_socket_reuseport(&socket, false));
        bound.and(closed)?;
        Ok(Self::Tcp(TcpListener::from(socket)))
    }

    /// Binds a Unix socket that only its owner and group may connect to (0660).
    /// Fails with [`super::fs::Untrusted`] for a directory that is not used, else what bind(2) and listen(2) answer.
    pub(crate) fn bind_unix(path: &Path, owners: Owners) -> io::Result<Self> {
        let address = rustix::net::SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let (directory, name) = Directory::of(path, owners)?;
        // unix(7): the file takes its mode from the socket, without what the umask takes away. Before listen(2),
        // connections are refused.
        rustix::fs::fchmod(&socket, super::fs::mode(MODE))?;
        rustix::net::bind(&socket, &address)?;
        directory.set_socket_mode(name, MODE)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self::Unix(UnixListener::from(socket)))
    }

    /// Makes a listener of a socket that a supervisor passed, after checking what it is.
    /// Fails with `EINVAL` if it is not a listening stream socket of a known family.
    pub(crate) fn from_inherited(socket: OwnedFd) -> io::Result<Self> {
        let invalid = || io::Error::from_raw_os_error(nix::libc::EINVAL);
        if sockopt::socket_type(&socket)? != SocketType::STREAM || !sockopt::socket_acceptconn(&socket)? {
            return Err(invalid());
        }
        let listener = match sockopt::socket_domain(&socket)? {
            AddressFamily::INET | AddressFamily::INET6 => Self::Tcp(TcpListener::from(socket)),
            AddressFamily::UNIX => Self::Unix(UnixListener::from(socket)),
            _ => return Err(invalid()),
        };
        match &listener {
            Self::Tcp(listener) => listener.set_nonblocking(true)?,
            Self::Unix(listener) => listener.set_nonblocking(true)?,
        }
        Ok(listener)
    }

    /// Where it can be reached.
    /// Fails with what getsockname(2) answers.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?)),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                Ok(Address::Unix(address.as_pathname().map(Path::to_path_buf).unwrap_or_default()))
            }
        }
    }

    /// A second handle of the same socket.
    /// Fails with what dup(2) answers.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => Ok(Self::Tcp(listener.try_clone()?)),
            Self::Unix(listener) => Ok(Self::Unix(listener.try_clone()?)),
        }
    }
}

/// Binds an address for an instant, without listening: whether this process could.
/// Fails with what bind(2) answers.
pub(crate) fn try_bind(address: SocketAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A gateway that starts in this instant can bind it, too: socket(7).
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(rustix::net::bind(&socket, &address)?)
}

/// Has the kernel end connections of this listener whose other end is gone: it asks those that are silent (`SO_KEEPALIVE`)
/// and waits no longer than this for the answer, or for an acknowledgement of what was sent (tcp(7),
/// `TCP_USER_TIMEOUT`). On Linux accepted connections have what their listener has.
/// Fails with what setsockopt(2) answers.
pub(crate) fn notice_lost_peers(listener: &TcpListener, limit: std::time::Duration) -> io::Result<()> {
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, limit)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(listener, u32::try_from(limit.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
