//! What the two eras of MCP call things: revisions, `_meta` keys, error codes.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::raw::{Raw, raw, raw_string};
use super::splice::{Object, set_path, text};

/// The revision of the modern era.
pub(crate) const MODERN: &str = "2026-07-28";
/// The newest revision of the legacy era, which the gateway asks upstreams for.
pub(crate) const LATEST_LEGACY: &str = "2025-11-25";
/// The revisions of the legacy era, newest first.
pub(crate) const LEGACY_VERSIONS: [&str; 4] = [LATEST_LEGACY, "2025-06-18", "2025-03-26", "2024-11-05"];

/// Which of the two shapes of MCP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// Revisions up to 2025-11-25: `initialize`, sessions, requests in both directions.
    Legacy,
    /// Revision 2026-07-28: stateless, metadata with each request.
    Modern,
}

impl Era {
    /// Its name in the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// The extension that gives the modern era its tasks.
pub(crate) const TASKS: &str = "io.modelcontextprotocol/tasks";

/// The extension by which servers offer skills (SEP-2640).
pub(crate) const SKILLS: &str = "io.modelcontextprotocol/skills";
/// The extension by which tools have pages of their own (SEP-1865, MCP Apps).
pub(crate) const APPS: &str = "io.modelcontextprotocol/ui";

/// Keys of `_meta` (MCP 2026-07-28 §Basic, "General fields").
pub(crate) mod key {
    /// What all keys of the protocol begin with.
    pub(crate) const PREFIX: &str = "io.modelcontextprotocol/";
    /// The request's revision.
    pub(crate) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// The client's capabilities.
    pub(crate) const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// The client's name and version.
    pub(crate) const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    /// The server's name and version.
    pub(crate) const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
    /// The least severe log message that the client wants for this request.
    pub(crate) const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    /// The `subscriptions/listen` request that a notification belongs to.
    pub(crate) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    /// Our own: the upstream that asks, where the client sees several as one.
    pub(crate) const UPSTREAM: &str = "mcpeg/upstream";
    /// The task that a message belongs to.
    pub(crate) const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
}

/// The keys of a trace's context, which have the names of the HTTP headers that carry the same (SEP-414; W3C Trace Context,
/// W3C Baggage).
pub(crate) const TRACE: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// The parameters of a request with the context of the trace that its HTTP headers state. What the message itself says of a
/// trace counts; a context that cannot be read is none.
pub(crate) fn traced(params: Option<Raw>, header: impl Fn(&str) -> Option<String>) -> Option<Raw> {
    let [parent, ..] = TRACE;
    let stated = RequestMeta::of(params.as_deref()).get(parent).is_some();
    if stated || !header(parent).is_some_and(|parent| is_trace_parent(&parent)) {
        return params;
    }
    let found = TRACE.into_iter().filter_map(|name| Some((name, header(name)?)));
    let params = params.unwrap_or_else(|| raw(&serde_json::json!({})));
    Some(found.fold(params, |params, (name, value)| {
        set_path(&params, &["_meta", name], raw_string(&value).get()).unwrap_or(params)
    }))
}

/// Whether a header names a trace: version, trace, parent and flags, of which later versions have more (W3C Trace Context
/// §traceparent Header).
fn is_trace_parent(text: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<_> = text.split('-').collect();
    let known = parts.iter().zip([2, 32, 16, 2]).all(|(part, length)| part.len() == length && hex(part));
    known && parts.len() >= 4 && (parts.len() == 4 || parts[0] != "00") && parts[0] != "ff"
}

/// The severity of a log message: its place among [`SEVERITIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Severity(usize);

/// The severities of log messages, the least severe first (RFC 5424 §6.2.1).
const SEVERITIES: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

impl Severity {
    /// Whether a level is one of the protocol's.
    pub(crate) fn is_known(level: &RawValue) -> bool {
        text(level).is_some_and(|level| SEVERITIES.contains(&level.as_ref()))
    }

    /// The levels of the protocol.
    pub(crate) const fn names() -> [&'static str; 8] {
        SEVERITIES
    }

    /// Reads a level; one that nobody knows is as severe as can be, so that nothing is lost.
    pub(crate) fn of(level: &RawValue) -> Self {
        let level = level.get().trim_matches('"');
        Self(SEVERITIES.iter().position(|known| *known == level).unwrap_or(SEVERITIES.len() - 1))
    }

    /// The level's name.
    pub(crate) const fn name(self) -> &'static str {
        SEVERITIES[self.0]
    }
}

/// JSON-RPC error codes (JSON-RPC 2.0 §5.1; MCP 2026-07-28 §Basic, "Error Codes").
pub(crate) mod code {
    /// The text is not JSON.
    pub(crate) const PARSE: i64 = -32700;
    /// The JSON is not a request.
    pub(crate) const INVALID_REQUEST: i64 = -32600;
    /// Nobody implements the method.
    pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters are wrong, or the named thing does not exist.
    pub(crate) const INVALID_PARAMS: i64 = -32602;
    /// Something failed on our side or behind it.
    pub(crate) const INTERNAL: i64 = -32603;
    /// The client has sent more than it may (EIP-1474, "Error codes"; JSON-RPC leaves these to servers).
    pub(crate) const LIMIT_EXCEEDED: i64 = -32005;
    /// A resource does not exist (legacy era only).
    pub(crate) const LEGACY_NOT_FOUND: i64 = -32002;
    /// A page must be visited first (legacy era only).
    pub(crate) const URL_ELICITATION: i64 = -32042;
    /// Headers and body disagree.
    pub(crate) const HEADER_MISMATCH: i64 = -32020;
    /// The client lacks a capability that the request needs.
    pub(crate) const MISSING_CAPABILITY: i64 = -32021;
    /// The revision is not supported.
    pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;

    /// Whether a legacy server's own code must not be one of the modern era: that one has given it up, or reserves it.
    pub(crate) const fn is_not_modern(number: i64) -> bool {
        matches!(number, LEGACY_NOT_FOUND | -32099..=-32020)
    }
}

/// What a request says about itself in its parameters, which are read once.
#[derive(Debug, Default)]
pub(crate) struct RequestMeta<'a> {
    /// The parameters, where they are an object.
    params: Option<Object<'a>>,
    /// Their `_meta`.
    meta: Option<Object<'a>>,
}

impl<'a> RequestMeta<'a> {
    /// Reads the parameters.
    pub(crate) fn of(params: Option<&'a RawValue>) -> Self {
        let params = params.and_then(Object::parse);
        let meta = params.as_ref().and_then(|params| params.object("_meta"));
        Self { params, meta }
    }

    /// A string among the parameters.
    pub(crate) fn param(&self, name: &str) -> Option<Cow<'a, str>> {
        self.params.as_ref()?.text(name)
    }

    /// A parameter as it was written.
    pub(crate) fn raw_param(&self, name: &str) -> Option<&'a RawValue> {
        self.params.as_ref()?.get(name)
    }

    /// A member of `_meta`.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.meta.as_ref()?.get(name)
    }

    /// Its revision, if stated.
    pub(crate) fn version(&self) -> Option<Cow<'a, str>> {
        self.meta.as_ref()?.text(key::VERSION)
    }

    /// Whether it states the client's capabilities.
    pub(crate) fn has_capabilities(&self) -> bool {
        self.get(key::CAPABILITIES).is_some_and(|capabilities| capabilities.get().starts_with('{'))
    }
}
