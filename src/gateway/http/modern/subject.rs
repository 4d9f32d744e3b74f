//! What a request asks for: a repetition must ask for the same.

use fieldwork::Fieldwork;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::gateway::endpoint::Endpoint;
use crate::gateway::relay::{Method, Object, RequestMeta, has_rounds, method};

/// Parameters that may differ between a request and its repetition, and those that name something: routing rewrites these.
const OTHERS: [&str; 5] = ["_meta", "inputResponses", "requestState", "name", "uri"];

/// What a request asks for; a repetition must ask for the same.
#[derive(Clone, Debug, PartialEq, Eq, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Subject {
    /// Its method.
    method: Method,
    /// What it names, as the client knows it.
    #[field = false]
    name: Option<String>,
    /// The endpoint that it was sent to.
    endpoint: Endpoint,
    /// A digest of the other parameters, where it was asked for.
    #[field = false]
    digest: Option<[u8; 32]>,
}

impl Subject {
    /// Reads it from a request.
    pub(super) fn of(method: &Method, meta: &RequestMeta<'_>, endpoint: Endpoint) -> Self {
        let name = if method == method::RESOURCES_READ { "uri" } else { "name" };
        Self { method: method.clone(), name: meta.param(name).map(Into::into), endpoint, digest: None }
    }

    /// The same with a digest of the other parameters, for a request that may be put aside, or repeats one that was: its answer is
    /// for these only (MCP 2026-07-28 §Multi Round-Trip Requests, "Server Requirements", 5). How they are written does not
    /// count.
    pub(super) fn with_digest(mut self, params: Option<&RawValue>) -> Self {
        let object = params.and_then(Object::parse);
        let members = object.iter().flat_map(Object::iter).filter(|(name, _)| !OTHERS.contains(name));
        let value = |json: &RawValue| {
            serde_json::from_str(json.get()).unwrap_or_else(|_| Value::String(json.get().to_owned()))
        };
        let members: Map<_, _> = members.map(|(name, json)| (name.to_owned(), value(json))).collect();
        let text = serde_json::to_vec(&members).expect("keys are strings");
        self.digest = Some(Sha256::digest(text).into());
        self
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
