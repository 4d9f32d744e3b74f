//! What a request asks for: a repetition must ask for the same.

use fieldwork::Fieldwork;

use crate::gateway::endpoint::Endpoint;
use crate::gateway::relay::{RequestMeta, has_rounds, method};

/// What a request asks for; a repetition must ask for the same.
#[derive(Clone, Debug, PartialEq, Eq, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Subject {
    /// Its method.
    method: String,
    /// What it names, as the client knows it.
    #[field = false]
    name: Option<String>,
    /// The endpoint that it was sent to.
    endpoint: Endpoint,
}

impl Subject {
    /// Reads it from a request.
    pub(super) fn of(method: &str, meta: &RequestMeta<'_>, endpoint: Endpoint) -> Self {
        let name = if method == method::RESOURCES_READ { "uri" } else { "name" };
        Self { method: method.to_owned(), name: meta.param(name).map(Into::into), endpoint }
    }

    /// Whether it names anything.
    pub(super) const fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// Whether it may be answered with questions.
    pub(super) fn may_ask(&self) -> bool {
        has_rounds(&self.method)
    }
}
