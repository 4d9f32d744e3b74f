//! Whether a new session helps where an HTTP server refuses what it is asked in the one that there is.
//!
//! The specification has 404 for a session that a server does not know, but servers say so by 401, 403, 503, or by an error
//! to each call, which may as well mean something else. So one new session is tried beside the old one: only if the same
//! questions are answered there, the old one was lost. Where it does not help, the next try waits for longer each time.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::gateway::relay::{Outcome, method};
use crate::gateway::upstream::call::request::{Call, Role, is_unknown_method};
use crate::gateway::upstream::inbox::inbox;
use crate::gateway::upstream::link::connection::Link;
use crate::gateway::upstream::link::negotiate::{ClientIdentity, Connector};
use crate::gateway::upstream::lists::kind::Kind;

/// The first wait after a try that has not helped.
const FIRST: Duration = Duration::from_secs(10);
/// The longest.
const LONGEST: Duration = Duration::from_secs(600);
/// How long the answer to one question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a new session has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It works: the old one is lost.
    Lost,
    /// The server refuses the same in it, so that the session is not why.
    Same,
    /// None can be begun.
    Away,
}

/// The tries of one upstream, for all of its connections.
#[derive(Debug, Default)]
pub(crate) struct Renewals(Mutex<Option<Tried>>);

/// Tries that have not helped.
#[derive(Clone, Copy, Debug)]
struct Tried {
    /// How many in a row.
    count: u32,
    /// Before then none is made.
    until: Instant,
    /// What the last one has shown.
    verdict: Verdict,
}

impl Renewals {
    /// Tries a new session, or says what the last one has shown while it is too early for another.
    pub(crate) async fn verdict(&self, connector: &Connector) -> Verdict {
        let before = *self.0.lock();
        if let Some(Tried { verdict, .. }) = before.filter(|tried| Instant::now() < tried.until) {
            return verdict;
        }
        let verdict = attempt(connector).await;
        let mut tried = self.0.lock();
        if verdict == Verdict::Lost {
            *tried = None;
            return verdict;
        }
        let count = before.map_or(0, |tried| tried.count);
        let wait = FIRST.saturating_mul(1 << count.min(8)).min(LONGEST);
        *tried = Some(Tried { count: count.saturating_add(1), until: Instant::now() + wait, verdict });
        let word = if verdict == Verdict::Same { "is refused the same" } else { "cannot be begun" };
        tracing::warn!(
            upstream = %connector.name(), next_in = ?wait,
            "the server refuses what it is asked, and a new session {word}"
        );
        verdict
    }
}

/// Begins a session that is for nothing else.
async fn attempt(connector: &Connector) -> Verdict {
    let (outlet, _told) = inbox();
    let opened = connector.open_legacy(&ClientIdentity::default(), Role::Dedicated, outlet).await;
    let Ok(link) = opened else { return Verdict::Away };
    let verdict = if refuses(&link).await { Verdict::Same } else { Verdict::Lost };
    tokio::spawn(async move { link.wire().end().await });
    verdict
}

/// Whether a server refuses what it must be able to answer: a ping, or a list that it says it has. That nothing comes is no
/// refusal.
pub(crate) async fn refuses(link: &Link) -> bool {
    let list = Kind::ALL.into_iter().find(|kind| link.offers(*kind)).map(Kind::method);
    for method in std::iter::once(method::PING).chain(list) {
        let refused = match link.call_aside(Call::new(method, None, PATIENCE)).await.outcome().await {
            Err(fault) => fault.refused.is_some(),
            Ok(Outcome::Error(error)) => !is_unknown_method(&error),
            Ok(Outcome::Result(_)) => false,
        };
        if refused {
            return true;
        }
    }
    false
}
