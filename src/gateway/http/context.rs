//! What is known of a request before its message is read: one value, which is passed on to its handlers.

use std::sync::Arc;

use fieldwork::Fieldwork;

use super::authenticate::Identified;
use super::cutoff::Cutoff;
use super::guard::Admitted;
use super::peer::PeerAddress;
use crate::gateway::access::Usage;
use crate::gateway::client::{ClientKey, ClientName};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::person::Person;
use crate::gateway::relay::ClientMeta;
use crate::gateway::telemetry::Origin;
use crate::gateway::upstream::Caller;

/// What is known of a request.
#[derive(Clone, Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(crate) struct RequestContext {
    /// The endpoint that it was sent to.
    #[field(get)]
    endpoint: Endpoint,
    /// Whom it comes from.
    #[field(get)]
    origin: Origin,
    /// Whether it comes from this machine.
    #[field(get(copy))]
    is_local: bool,
    /// The client that it comes from, if that has shown who it is.
    #[field(get(option_borrow_inner = false))]
    identity: Option<Arc<Identified>>,
    /// What that client uses of its limits, if it has any.
    #[field(get(deref = false))]
    usage: Option<Arc<Usage>>,
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
        (identity, usage): (Option<Arc<Identified>>, Option<Arc<Usage>>),
        (origin, is_local): (Origin, bool),
        cutoff: Cutoff,
    ) -> Self {
        let client = identity.as_ref().map(|identity| identity.name().clone());
        let origin = origin.shown(identity.as_ref().map(|identity| identity.proof()));
        if let Some(entry) = origin.entry() {
            entry.comes_from(origin.address(), client.as_ref());
        }
        Self {
            endpoint: Endpoint::ALL.of(client),
            origin,
            is_local,
            identity,
            usage,
            cutoff,
            _admitted: admitted,
        }
    }

    /// The same from a client of whom upstreams are shown this.
    pub(super) fn showing(self, person: Option<Arc<Person>>) -> Self {
        Self { endpoint: self.endpoint.showing(person), ..self }
    }

    /// The same to the endpoint of this name.
    pub(super) fn at(self, name: String) -> Self {
        Self { endpoint: self.endpoint.at(name), ..self }
    }

    /// Where it comes from.
    pub(super) fn peer(&self) -> PeerAddress {
        self.origin.address()
    }

    /// The client that it comes from, if that has shown who it is.
    pub(super) fn client(&self) -> Option<&ClientName> {
        self.endpoint.client()
    }

    /// Whom it comes from in the modern era, where each request says something of its client.
    pub(super) fn caller(&self, client: &ClientMeta) -> Caller {
        Caller::of(ClientKey::of_client(self.client(), self.peer()), client)
    }
}
