//! Who is at the other end of a connection, as far as the connection itself tells.

use std::net::IpAddr;
use std::sync::Arc;

use crate::sys;

/// Who connects: a network address, or nobody in particular over a Unix socket.
pub(super) type PeerAddress = Option<IpAddr>;

/// Who is at the other end of a connection, as far as the connection itself tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// Its network address.
    pub(super) address: PeerAddress,
    /// What the kernel says of who connected to a Unix socket.
    pub(super) kernel: Option<Arc<sys::peer::Peer>>,
    /// Whether it is this process, which asks itself.
    pub(super) own: bool,
}
