//! That a server refuses the legacy era, so that it is not asked again by each legacy client: the era is a property of the
//! server (MCP 2026-07-28 §Versioning, "Backward Compatibility with Initialization-Based Versions").
//!
//! That is known for a while, and until the server is asked anew what it is: another version of it may speak both eras. Only
//! a refusal of the era itself counts, not that of a client, or of a moment.

use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::gateway::error::Fault;
use crate::gateway::relay::{code, member};

/// For how long it is known.
const HOLDS: Duration = Duration::from_secs(300);

/// Errors by which a server that knows no `initialize` refuses it.
const CODES: [i64; 6] = [
    code::METHOD_NOT_FOUND,
    code::INVALID_PARAMS,
    code::INVALID_REQUEST,
    code::HEADER_MISMATCH,
    code::MISSING_CAPABILITY,
    code::UNSUPPORTED_VERSION,
];

/// What is known of one server: until when, and what was told of its refusal.
#[derive(Debug, Default)]
pub(super) struct KnownEra(Mutex<Option<(Instant, Fault)>>);

impl KnownEra {
    /// The server is asked anew.
    pub(super) fn forget(&self) {
        *self.0.lock() = None;
    }

    /// The server has refused the handshake of the legacy era.
    pub(super) fn refused(&self, fault: &Fault) {
        *self.0.lock() = Some((Instant::now() + HOLDS, fault.clone()));
    }

    /// What was told of that, if it is known.
    pub(super) fn refusal(&self) -> Option<Fault> {
        let refused = self.0.lock();
        refused.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, fault)| fault.clone())
    }
}

/// Whether an error to `initialize` may be about the era.
pub(super) fn is_of_era(error: &RawValue) -> bool {
    let number = member(error, "code").and_then(|number| number.get().parse().ok());
    number.is_some_and(|number: i64| CODES.contains(&number))
}

/// Whether a status says that the endpoint may speak another transport, or another era: it refuses what it was sent, and not
/// for whom it comes from or when.
pub(super) fn is_of_endpoint(status: StatusCode) -> bool {
    let about_client = matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
    );
    status.is_client_error() && !about_client
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::relay::raw;

    #[test]
    fn refusal_is_known_for_a_while_and_until_the_server_is_asked_anew() {
        let known = KnownEra::default();
        assert!(known.refusal().is_none());
        known.refused(&Fault::not_ready());
        assert!(known.refusal().is_some());
        known.forget();
        assert!(known.refusal().is_none());
        *known.0.lock() = Some((Instant::now(), Fault::not_ready()));
        assert!(known.refusal().is_none(), "another version of the server may speak both");
    }

    #[test]
    fn only_what_is_about_the_era_counts() {
        let error = |code: i64| raw(&serde_json::json!({ "code": code, "message": "no" }));
        assert!([-32601, -32602, -32600, -32020, -32022].map(error).iter().all(|error| is_of_era(error)));
        assert!(![-32603, -32000, -32001, 1].map(error).iter().any(|error| is_of_era(error)));
        assert!(
            [400, 404, 405].into_iter().all(|status| is_of_endpoint(StatusCode::from_u16(status).unwrap()))
        );
        assert!(
            ![401, 403, 429, 500, 503]
                .into_iter()
                .any(|status| is_of_endpoint(StatusCode::from_u16(status).unwrap()))
        );
    }
}
