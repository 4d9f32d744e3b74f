//! The endpoints of the gateway, which outlive the upstreams that are behind them.

use std::sync::Arc;

use fieldwork::Fieldwork;

use super::client::ClientName;
use super::person::Person;

/// An endpoint of the gateway, as one client has it: what is behind it may differ from what others have there. Whatever is kept
/// by its endpoint is so kept by its client, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Fieldwork)]
#[fieldwork(get, vis = "pub(crate)")]
pub(crate) struct Endpoint {
    /// Its name in `/mcp/NAME`; `None` is `/mcp`.
    #[field(option_borrow_inner = true)]
    name: Option<Box<str>>,
    /// The client that has shown who it is; `None` is whoever need not.
    client: Option<ClientName>,
    /// What upstreams are shown of its client, where they are shown anything.
    #[field(option_borrow_inner = true, deref = false)]
    person: Option<Arc<Person>>,
}

impl Endpoint {
    /// `/mcp`, for whoever need not show who it is.
    pub(crate) const ALL: Self = Self { name: None, client: None, person: None };

    /// The endpoint of this name; without one, that of all.
    pub(crate) fn named(name: Option<String>) -> Self {
        Self { name: name.map(Into::into), ..Self::ALL }
    }

    /// Whether what has changed here has for those who have `other`: what is so for everybody is so for each client.
    pub(crate) fn concerns(&self, other: &Self) -> bool {
        let covers = |client: &ClientName| other.client.as_ref().is_some_and(|other| client.covers(other));
        self.name == other.name && self.client.as_ref().is_none_or(covers)
    }

    /// The same for this client.
    pub(crate) fn of(self, client: Option<ClientName>) -> Self {
        Self { client, ..self }
    }

    /// The same under another name.
    pub(crate) fn at(self, name: String) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The same for a client of whom upstreams are shown this.
    pub(crate) fn showing(self, person: Option<Arc<Person>>) -> Self {
        Self { person, ..self }
    }
}
