//! Who is at the other end of a connection, as far as the connection itself tells.

use std::net::IpAddr;
use std::sync::Arc;

use crate::gateway::access::Certificate;
use crate::sys;

/// Who connects: a network address, or nobody in particular over a Unix socket.
pub(super) type PeerAddress = Option<IpAddr>;

/// Who is at the other end of a connection, as far as the connection itself tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// Its network address: that of whom it asks for, where a trusted proxy has told it by the PROXY protocol.
    pub(super) address: PeerAddress,
    /// The certificate that it has shown, which one of the listener's authorities has signed.
    pub(super) certificate: Option<Arc<Certificate>>,
    /// What the kernel says of who connected to a Unix socket.
    pub(super) kernel: Option<Arc<sys::peer::Peer>>,
    /// Whether it is this process, which asks itself.
    pub(super) own: bool,
    /// Whether it is an operator, whom the control socket has let in.
    pub(super) is_operator: bool,
}
