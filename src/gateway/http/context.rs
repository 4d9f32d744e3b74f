//! What is known of a request before its message is read: one value, which is passed on to its handlers.

use std::net::IpAddr;

use fieldwork::Fieldwork;
use rustls::pki_types::CertificateDer;

use super::cutoff::Cutoff;
use super::guard::Admitted;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::relay::ClientMeta;
use crate::gateway::upstream::Caller;

/// Who connects: a network address, or nobody in particular over a Unix socket.
pub(super) type PeerAddress = Option<IpAddr>;

/// Who is at the other end of a connection, as far as the connection itself tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// Its network address: that of whom it asks for, where a trusted proxy has told it by the PROXY protocol.
    pub(super) address: PeerAddress,
    /// The certificate that it has shown, which one of the listener's authorities has signed.
    pub(super) certificate: Option<CertificateDer<'static>>,
    /// Whether it is this process, which asks itself.
    pub(super) own: bool,
}

/// Who a client has shown to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Nobody in particular: it is known by its address only.
    Anonymous,
}

/// What is known of a request.
#[derive(Clone, Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(crate) struct RequestContext {
    /// The endpoint that it was sent to.
    #[field(get)]
    endpoint: Endpoint,
    /// Where it comes from.
    #[field(get(copy))]
    peer: PeerAddress,
    /// Whether it comes from this machine.
    #[field(get(copy))]
    is_local: bool,
    /// Whom it comes from.
    identity: Identity,
    /// Until when it must be answered.
    #[field(get)]
    cutoff: Cutoff,
    /// That the guard lets it in.
    _admitted: Admitted,
}

impl RequestContext {
    /// The context of a request that the guard has let in, to the endpoint of all upstreams.
    pub(super) fn new(
        admitted: Admitted,
        identity: Identity,
        (peer, is_local): (PeerAddress, bool),
        cutoff: Cutoff,
    ) -> Self {
        Self { endpoint: Endpoint::All, peer, is_local, identity, cutoff, _admitted: admitted }
    }

    /// The same to the endpoint of one upstream.
    pub(super) fn at(self, upstream: String) -> Self {
        Self { endpoint: Endpoint::One(upstream), ..self }
    }

    /// Whom it comes from in the modern era, where each request says something of its client.
    pub(super) fn caller(&self, client: &ClientMeta) -> Caller {
        match self.identity {
            Identity::Anonymous => Caller::of(self.peer, client),
        }
    }
}
