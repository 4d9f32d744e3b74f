//! Whom a request comes from, as records name it.

use std::net::IpAddr;
use std::sync::Arc;

use fieldwork::Fieldwork;

use super::access::AccessEntry;
use crate::request_id::RequestId;

/// How a client has shown who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By a token that the gateway has made.
    Token,
    /// By a token of an authorization server.
    Oauth,
    /// By the certificate of its connection.
    Certificate,
    /// By what the kernel says of it.
    Peer,
}

/// Whom a request comes from.
#[derive(Clone, Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Origin {
    /// The request's identifier.
    #[field(get)]
    request: RequestId,
    /// Where it comes from.
    #[field(get(copy))]
    address: Option<IpAddr>,
    /// The user at the other end of a Unix socket.
    #[field(get(copy))]
    uid: Option<u32>,
    /// How the client has shown who it is, if it has.
    #[field(get(copy))]
    proof: Option<Proof>,
    /// The record in the log that the request will have, if it will.
    #[field(get(option_borrow_inner = false))]
    entry: Option<Arc<AccessEntry>>,
}

impl Proof {
    /// The word for it.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Oauth => "oauth",
            Self::Certificate => "certificate",
            Self::Peer => "peer",
        }
    }
}

impl Origin {
    /// Somebody who has shown nothing.
    pub(crate) const fn new(
        request: RequestId,
        (address, uid): (Option<IpAddr>, Option<u32>),
        entry: Option<Arc<AccessEntry>>,
    ) -> Self {
        Self { request, address, uid, proof: None, entry }
    }

    /// The same from this address, on whose behalf a proxy asks.
    pub(crate) fn at(self, address: Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    /// The same with this proof.
    pub(crate) fn shown(self, proof: Option<Proof>) -> Self {
        Self { proof, ..self }
    }
}
