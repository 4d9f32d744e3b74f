//! Ports that a test names before somebody else listens on them.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

/// A port of the loopback address that is kept until this is dropped: nobody is given it who asks for any free one, and
/// connections are refused. Whoever names it and sets `SO_REUSEADDR` (socket(7)), as every listener does, gets it
/// nevertheless, since nobody listens here.
pub struct Port {
    /// The bound socket.
    _socket: OwnedFd,
    /// Its address.
    pub address: SocketAddr,
}

impl Port {
    /// One that the kernel chooses.
    pub fn free() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.expect("a socket");
        sockopt::set_socket_reuseaddr(&socket, true).expect("a TCP socket");
        bind(&socket, &any).expect("a free port");
        let address = getsockname(&socket).expect("bound").try_into().expect("an Internet address");
        Self { _socket: socket, address }
    }
}
