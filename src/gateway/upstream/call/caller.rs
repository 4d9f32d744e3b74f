//! Whom a modern request comes from, as far as that can be told: by the name that it has shown to be its, or else by its
//! address and what it says of itself.
//!
//! Two clients without a name that are the same in both cannot be told apart. What must not reach the wrong one does not rest on this.

use crate::gateway::client::{ClientKey, ClientName};
use crate::gateway::relay::ClientMeta;
use crate::handover;

/// A client of the modern era.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    /// Its name, or the network that it has for itself.
    key: ClientKey,
    /// `clientInfo` as it writes it; nothing where its name says who it is.
    info: Box<str>,
}

impl Caller {
    /// Reads it from a request.
    pub(crate) fn of(key: ClientKey, client: &ClientMeta) -> Self {
        let info = if key.name().is_some() { "" } else { client.info.get() };
        Self { key, info: info.into() }
    }

    /// Its name, or the network that it has for itself.
    pub(crate) const fn key(&self) -> &ClientKey {
        &self.key
    }

    /// Whether both are of one network.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl From<&Caller> for handover::Caller {
    fn from(caller: &Caller) -> Self {
        let client = caller.key.name().map(ToString::to_string);
        Self { network: caller.key.address(), info: caller.info.clone(), client }
    }
}

impl From<handover::Caller> for Caller {
    fn from(caller: handover::Caller) -> Self {
        let name = caller.client.as_deref().map(ClientName::new);
        Self { key: ClientKey::of_client(name.as_ref(), caller.network), info: caller.info }
    }
}
