//! Why requests are refused, in the words of `mcpeg_refused_total{reason}`.

use http::StatusCode;

use crate::gateway::relay::code;

/// Why a request is refused, in the order in which that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There are as many connections as there may be.
    Connections,
    /// The handshake of TLS has failed.
    Tls,
    /// A proxy says two things of its client, or says it wrongly.
    Proxy,
    /// The Host header names somebody else.
    Host,
    /// The Origin header names a foreign page.
    Origin,
    /// The message is too large.
    Size,
    /// The message comes too slowly.
    Time,
    /// Nothing shows who it is, or what is shown is not good.
    Credential,
    /// Whether what is shown is good cannot be told, since its authorization server is away.
    Issuer,
    /// What is shown is good, and nobody's who may use the gateway.
    Client,
    /// There is no such endpoint for this client.
    Endpoint,
    /// The client asks too often.
    Rate,
    /// There is no such session for this client.
    Session,
    /// There are as many sessions or streams as there may be.
    Sessions,
    /// The gateway has no more memory for it.
    Memory,
    /// The message is none of MCP, or has the wrong form.
    Message,
    /// The revision is not spoken, or what is said of it contradicts itself.
    Era,
    /// There is no such method here.
    Method,
    /// There is no such tool, prompt, resource or task.
    Name,
    /// There is one, but not for this client.
    Rights,
    /// The parameters are wrong.
    Params,
    /// Too many wait for the upstream.
    Busy,
}

/// The words for them, in the same order.
const WORDS: [&str; 22] = [
    "connections",
    "tls",
    "proxy",
    "host",
    "origin",
    "size",
    "time",
    "credential",
    "issuer",
    "client",
    "endpoint",
    "rate",
    "session",
    "sessions",
    "memory",
    "message",
    "era",
    "method",
    "name",
    "rights",
    "params",
    "busy",
];

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Self; 22] = [
        Self::Connections,
        Self::Tls,
        Self::Proxy,
        Self::Host,
        Self::Origin,
        Self::Size,
        Self::Time,
        Self::Credential,
        Self::Issuer,
        Self::Client,
        Self::Endpoint,
        Self::Rate,
        Self::Session,
        Self::Sessions,
        Self::Memory,
        Self::Message,
        Self::Era,
        Self::Method,
        Self::Name,
        Self::Rights,
        Self::Params,
        Self::Busy,
    ];

    /// The word for it.
    pub(crate) const fn text(self) -> &'static str {
        WORDS[self as usize]
    }

    /// That of a fault of the client's; `None` if it is not one.
    pub(crate) fn of(number: i64, status: StatusCode) -> Option<Self> {
        Some(match (number, status) {
            (_, StatusCode::PAYLOAD_TOO_LARGE) => Self::Size,
            (_, StatusCode::REQUEST_TIMEOUT) => Self::Time,
            (_, StatusCode::TOO_MANY_REQUESTS) => Self::Rate,
            (code::PARSE | code::INVALID_REQUEST, _) => Self::Message,
            (code::METHOD_NOT_FOUND, _) => Self::Method,
            (code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION, _) => Self::Era,
            (code::INVALID_PARAMS | code::LEGACY_NOT_FOUND, _) => Self::Params,
            _ => return None,
        })
    }
}
