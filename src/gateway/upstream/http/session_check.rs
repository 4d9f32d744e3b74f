//! Whether a server still knows a session: it is asked by `ping`.
//!
//! What a server says to another request proves nothing: it may have no such route, no such tool, or no such stream. A ping
//! it must answer (MCP 2025-11-25 §Ping), and 404 to it can only mean the session (§Session Management, 3).

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::requester::Requester;
use crate::gateway::relay::{Outcome, method};
use crate::gateway::upstream::call::exchange::{Exchange, Late};
use crate::gateway::upstream::call::request::{Call, speaks_of_session};

/// How long the server may take to say that the session still is.
const ASKED: Duration = Duration::from_secs(10);

/// How a request is sent.
pub(crate) type Ask = fn(&Arc<Requester>, Call, Instant, Late) -> Exchange;

/// Asks whether the session still is; if the server does not know it, the connection is closed. Whether it is.
pub(crate) async fn is_known(requester: &Arc<Requester>, ask: Ask) -> bool {
    if !requester.has_session() || requester.is_closed() {
        return !requester.is_closed();
    }
    let (name, limit) = (requester.name().clone(), ASKED);
    let ping = Call::new(method::PING, None, limit);
    let said = ask(requester, ping, Instant::now() + limit, Late { name, limit }).outcome().await;
    let is_lost = match said {
        Ok(Outcome::Error(error)) => speaks_of_session(&error),
        Ok(Outcome::Result(_)) => false,
        Err(fault) => matches!(fault.refused, Some(StatusCode::NOT_FOUND | StatusCode::GONE)),
    };
    if is_lost {
        requester.lose();
    }
    !requester.is_closed()
}
