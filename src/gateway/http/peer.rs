//! Who is at the other end of a connection, as far as the connection itself tells.

use std::net::IpAddr;
use std::sync::Arc;

use fieldwork::Fieldwork;
use tokio::net::UnixStream;

use crate::gateway::access::Certificate;
use crate::sys;

/// Who connects: a network address, or nobody in particular over a Unix socket.
pub(super) type PeerAddress = Option<IpAddr>;

/// Who is at the other end of a connection, as far as the connection itself tells.
#[derive(Clone, Debug, Default, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(super) struct Peer {
    /// Its network address: that of whom it asks for, where a trusted proxy has told it by the PROXY protocol.
    #[field(get(copy))]
    address: PeerAddress,
    /// The certificate that it has shown, which one of the listener's authorities has signed.
    #[field(get)]
    certificate: Option<Arc<Certificate>>,
    /// What the kernel says of who connected to a Unix socket.
    #[field(get)]
    kernel: Option<Arc<sys::peer::Peer>>,
    /// Whether it is this process, which asks itself.
    #[field(get = is_own)]
    own: bool,
    /// Whether it is an operator, whom the control socket has let in.
    #[field(get)]
    is_operator: bool,
}

impl Peer {
    /// One at this address.
    pub(super) fn at(address: IpAddr, own: bool) -> Self {
        Self { address: Some(address), own, ..Self::default() }
    }

    /// One that has connected to a Unix socket.
    pub(super) fn local(stream: &UnixStream) -> Self {
        let this = i32::try_from(std::process::id()).ok();
        let own = stream.peer_cred().is_ok_and(|peer| peer.pid().is_some() && peer.pid() == this);
        Self { kernel: sys::peer::Peer::of(stream).ok().map(Arc::new), own, ..Self::default() }
    }

    /// An operator.
    pub(super) fn operator(stream: &UnixStream) -> Self {
        let kernel = sys::peer::Peer::of(stream).ok().map(Arc::new);
        Self { kernel, is_operator: true, ..Self::default() }
    }

    /// Notes whom it asks for, if a trusted proxy tells that.
    pub(super) fn asks_for(&mut self, address: PeerAddress) {
        self.address = address.or(self.address);
    }

    /// Notes the certificate that it has shown.
    pub(super) fn shows(&mut self, certificate: Option<Certificate>) {
        self.certificate = certificate.map(Arc::new);
    }

    /// Where it is: its address, or its user on this machine.
    pub(super) fn place(&self) -> (PeerAddress, Option<u32>) {
        (self.address, self.kernel().map(|peer| peer.uid))
    }
}
