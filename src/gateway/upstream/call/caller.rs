//! Whom a modern request comes from, as far as that can be told: until clients have names, by their address and by what they
//! say of themselves.
//!
//! Two clients that are the same in both cannot be told apart. What must not reach the wrong one does not rest on this.

use std::net::IpAddr;

use crate::gateway::client::ClientKey;
use crate::gateway::relay::ClientMeta;
use crate::handover;

/// A client of the modern era.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    /// The network that one client has for itself.
    network: ClientKey,
    /// `clientInfo` as it writes it.
    info: Box<str>,
}

impl Caller {
    /// Reads it from a request.
    pub(crate) fn of(address: Option<IpAddr>, client: &ClientMeta) -> Self {
        Self { network: ClientKey::of(address), info: client.info.get().into() }
    }

    /// Whether both are of one network.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        self.network == other.network
    }
}

impl From<&Caller> for handover::Caller {
    fn from(caller: &Caller) -> Self {
        Self { network: caller.network.address(), info: caller.info.clone() }
    }
}

impl From<handover::Caller> for Caller {
    fn from(caller: handover::Caller) -> Self {
        Self { network: ClientKey::of(caller.network), info: caller.info }
    }
}
