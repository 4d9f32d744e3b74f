//! Two kinds of failure: [`Error`] keeps the gateway from starting; [`Fault`] is what one downstream is told.
//!
//! A fault carries the side it arose on. Its message is written for the client's user: it names the upstream and what
//! can be done, never addresses, paths, commands or anything else from inside.

use std::fmt;

use http::StatusCode;
use serde_json::json;

use super::certificates::Error as CertificateError;
use super::relay::{Id, Message, Outcome, Raw, Response, code, member, raw};
use super::telemetry::reason::Reason;
use crate::exit::{Exit, ToExit};

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two upstreams offer the same name and `prefix = "never"` keeps them from being told apart.
    #[error("upstreams `{first}` and `{second}` both offer the {kind} `{name}`")]
    NameClash {
        /// "tool" or "prompt".
        kind: &'static str,
        /// The name that both offer.
        name: String,
        /// The upstream that comes first in the configuration.
        first: String,
        /// The other one.
        second: String,
    },
    /// The system's certificate store cannot be read, which `https://` upstreams need.
    #[error("cannot read the system's certificates")]
    Certificates(#[source] std::io::Error),
    /// The authorities that an upstream's `ca_file` names cannot be used.
    #[error("cannot use the certificates in `{file}`: {reason}")]
    Authorities {
        /// The file.
        file: std::path::PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The certificates of a listener cannot be used.
    #[error("the listener `{0}` cannot serve TLS")]
    Tls(String, #[source] CertificateError),
    /// The file of keys of an authorization server cannot be used.
    #[error("cannot use the keys of [auth.oauth.{issuer}] in `{file}`: {reason}")]
    Keys {
        /// The server's name in the configuration.
        issuer: String,
        /// The file.
        file: std::path::PathBuf,
        /// What is wrong.
        reason: String,
        /// Whether it could not be read, which another user may be able to.
        unread: bool,
    },
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::NameClash { .. } | Self::Authorities { .. } | Self::Tls(..) | Self::Keys { .. } => {
                Exit::Config
            }
            Self::Certificates(_) => Exit::Os,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NameClash { .. } => {
                "write `prefix = \"auto\"` in [server], or remove one of the two".to_owned()
            }
            Self::Authorities { .. } => {
                "write the path of a PEM file with the authorities' certificates".to_owned()
            }
            Self::Keys { issuer, .. } => {
                format!("write the path of a JWKS file as jwks_file in [auth.oauth.{issuer}]")
            }
            Self::Tls(name, error) => format!("{}, in `tls` of [listeners.{name}]", error.hint()),
            Self::Certificates(_) => "install the package `ca-certificates`".to_owned(),
        })
    }
}

/// Where a fault arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// In an upstream, or on the way to it.
    Upstream,
    /// In what the downstream sent.
    Downstream,
}

/// What a fault is to those who count requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The gateway refuses the request.
    Refused(Reason),
    /// Something has failed.
    Failed,
    /// The upstream has not answered in time.
    Late,
    /// The client has called it off.
    CalledOff,
}

/// A failure that is told to a downstream as a JSON-RPC error.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Whose failure it is.
    pub(crate) side: Side,
    /// What it is to those who count.
    pub(crate) cause: Cause,
    /// The JSON-RPC code.
    pub(crate) code: i64,
    /// One sentence for a person.
    pub(crate) message: String,
    /// `error.data`.
    pub(crate) data: Option<Raw>,
    /// The HTTP status that goes with it in the modern era.
    pub(crate) status: StatusCode,
    /// Whether the request certainly was not processed, so that sending it again is safe.
    pub(crate) unprocessed: bool,
    /// The HTTP status by which an upstream has refused the request.
    pub(crate) refused: Option<StatusCode>,
    /// The cause in the operator's words, with names from inside: for status and log, never for downstreams.
    pub(crate) detail: Option<String>,
}

impl Fault {
    /// A fault of the downstream's own making.
    pub(crate) fn downstream(code: i64, status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            side: Side::Downstream,
            cause: Reason::of(code, status).map_or(Cause::Failed, Cause::Refused),
            code,
            message: message.into(),
            data: None,
            status,
            unprocessed: true,
            refused: None,
            detail: None,
        }
    }

    /// A fault of an upstream.
    pub(crate) fn upstream(name: &impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self {
            side: Side::Upstream,
            cause: Cause::Failed,
            code: code::INTERNAL,
            message: format!("upstream `{name}` {reason}"),
            data: Some(raw(&json!({ "side": Side::Upstream, "upstream": name.to_string() }))),
            status: StatusCode::OK,
            unprocessed: false,
            refused: None,
            detail: None,
        }
    }

    /// The same fault, known to have struck before the request was processed.
    pub(crate) fn unprocessed(mut self) -> Self {
        self.unprocessed = true;
        self
    }

    /// The same fault, as a refusal for this reason.
    pub(crate) fn refusal(mut self, reason: Reason) -> Self {
        self.cause = Cause::Refused(reason);
        self
    }

    /// The same fault, as that of an upstream that has not answered in time.
    pub(crate) fn late(mut self) -> Self {
        self.cause = Cause::Late;
        self
    }

    /// The same fault, as an upstream's refusal by this HTTP status.
    pub(crate) fn by(mut self, status: StatusCode) -> Self {
        self.refused = Some(status);
        self
    }

    /// The same fault with its cause for the operator.
    pub(crate) fn because(mut self, detail: String) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Nobody here implements the method.
    pub(crate) fn method_not_found(method: &str) -> Self {
        let message = format!("method `{method}` is not available here");
        Self::downstream(code::METHOD_NOT_FOUND, StatusCode::NOT_FOUND, message)
    }

    /// The client has not declared what it needs to be asked this (MCP 2025-11-25 §Roots, §Sampling, §Elicitation: "Error
    /// Handling").
    pub(crate) fn cannot_be_asked(method: &str, lacking: &str) -> Self {
        if !lacking.contains('.') {
            return Self::method_not_found(method);
        }
        let message = format!("the client cannot be asked this: it has not declared `{lacking}`");
        Self::downstream(code::INVALID_PARAMS, StatusCode::OK, message)
    }

    /// The client is not ready to be asked (MCP 2025-11-25 §Lifecycle, "Initialization").
    pub(crate) fn not_ready() -> Self {
        let message = "the client cannot be asked anything: it has not said `notifications/initialized`";
        Self::downstream(code::INVALID_REQUEST, StatusCode::OK, message)
    }

    /// What became of a request that was in flight in a process which is gone is not known.
    pub(crate) fn restarted() -> Self {
        let message =
            "the gateway was restarted while this request was in flight; it may have been carried out";
        Self::downstream(code::INTERNAL, StatusCode::OK, message)
    }

    /// The drain has no more time for a request in flight.
    pub(crate) fn cut_off() -> Self {
        let message = "the gateway was stopped or restarted, and `drain_timeout` was over before this request was \
                       answered; it may have been carried out";
        Self { unprocessed: false, ..Self::downstream(code::INTERNAL, StatusCode::OK, message) }
    }

    /// The same of a message that has not come as a whole.
    pub(crate) fn unread() -> Self {
        let message = "the gateway was stopped or restarted, and `drain_timeout` was over before this message was there";
        Self::downstream(code::INTERNAL, StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The session of a request in flight has ended.
    pub(crate) fn session_ended() -> Self {
        let message = "the session ended while this request was in flight; it may have been carried out";
        Self { unprocessed: false, ..Self::downstream(code::INTERNAL, StatusCode::OK, message) }
    }

    /// The client has called the request off, and takes nothing but an answer.
    pub(crate) fn called_off() -> Self {
        let message = "the client has cancelled this request";
        let cause = Cause::CalledOff;
        Self { unprocessed: false, cause, ..Self::downstream(code::INTERNAL, StatusCode::OK, message) }
    }

    /// The same fault with a reason beside its message.
    pub(crate) fn with_reason(mut self, reason: &str) -> Self {
        self.message = format!("{}: {reason}", self.message);
        self
    }

    /// The request names something that does not exist; of a resource, its URI is told once more for programs.
    pub(crate) fn unknown(kind: &str, name: &str) -> Self {
        let data = (kind == "resource").then(|| raw(&json!({ "uri": name })));
        Self {
            data,
            cause: Cause::Refused(Reason::Name),
            ..Self::downstream(code::INVALID_PARAMS, StatusCode::OK, format!("unknown {kind}: {name}"))
        }
    }

    /// After how many seconds the request may be sent again, where that is said (RFC 9110 §10.2.3).
    pub(crate) fn retry_after(&self) -> Option<u64> {
        let millis = member(self.data.as_deref()?, "retryAfterMs")?.get().parse::<u64>().ok()?;
        Some(millis.div_ceil(1000))
    }

    /// The JSON-RPC error object.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            error["data"] = serde_json::from_str(data.get()).unwrap_or_default();
        }
        Outcome::Error(raw(&error))
    }

    /// The JSON-RPC response to the request `id`.
    pub(crate) fn response(&self, id: Option<Id>) -> Message {
        Message::Response(Response { id, outcome: self.outcome() })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
