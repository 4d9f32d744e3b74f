//! A request to an upstream as it is to be sent, and who uses the connection that it goes over.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::value::RawValue;

use crate::gateway::relay::{Method, Raw, code, member, member_str};

/// A request as it is to be sent, without an identifier.
#[derive(Debug)]
pub(crate) struct Call {
    /// The method's name.
    pub(crate) method: Method,
    /// The parameters.
    pub(crate) params: Option<Raw>,
    /// Headers of the downstream that belong to the request (`Mcp-Param-*`).
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// How long the upstream may take.
    pub(crate) limit: Duration,
    /// Whether a client waits for it, so that what the server asks or tells meanwhile can belong to it; the gateway's own
    /// calls have nobody to ask.
    pub(crate) for_client: bool,
    /// The progress token as the upstream and as the downstream knows it; filled in by the connection.
    pub(crate) token: Option<(Box<str>, Box<str>)>,
}

/// Who uses a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// One legacy session: requests of the server can be answered by its client.
    Dedicated,
    /// Everybody: nobody can be asked.
    Shared,
}

impl Call {
    /// A call of the gateway's own, without headers.
    pub(crate) fn new(method: impl Into<Method>, params: Option<Raw>, limit: Duration) -> Self {
        Self { method: method.into(), params, headers: Vec::new(), limit, for_client: false, token: None }
    }
}

/// Whether an error says that there is no such method.
pub(crate) fn is_unknown_method(error: &RawValue) -> bool {
    member(error, "code").is_some_and(|number| number.get() == code::METHOD_NOT_FOUND.to_string())
}

/// Whether an error's words are about a session.
pub(crate) fn speaks_of_session(error: &RawValue) -> bool {
    member_str(error, "message").is_some_and(|message| message.to_ascii_lowercase().contains("session"))
}
