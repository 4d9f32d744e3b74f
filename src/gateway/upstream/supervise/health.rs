//! Watching over a live connection: whether it still answers, and whether anybody needs it.
//!
//! Order of suspicion: a connection is asked (`ping`, or `server/discover` in the modern era) at each interval and after
//! a lost request, while it has nothing to do: a server that works at a long call need not answer meanwhile. One unanswered
//! question makes it degraded, the second one ends it. After several lost requests in a row it is asked though it is busy.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::current::Current;
use super::demand::Demand;
use super::failures::Failures;
use super::followers::Followers;
use super::legacy_link::LegacyLink;
use crate::gateway::relay::{ClientMeta, Era, Outcome, method};
use crate::gateway::status::UpstreamState;
use crate::gateway::upstream::call::backoff::until;
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::link::connection::Link;
use crate::gateway::upstream::link::lists;
use crate::gateway::upstream::link::negotiate::{ClientIdentity, Connector};
use crate::gateway::upstream::link::wire::Wire;
use crate::gateway::upstream::lists::kind::Kind;

/// How long the answer to a question may take, at least and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// After an unanswered question, and while a suspect is busy, it is asked again so soon.
const AGAIN: Duration = Duration::from_secs(1);
/// How long an upstream that is about to sleep may take to tell one of its lists.
const LISTS: Duration = Duration::from_secs(5);

/// How the life of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was lost.
    Lost,
    /// It did not answer any more.
    Hung,
    /// Nobody needed it; it has been retired.
    Idle,
    /// Another server answers behind its address.
    Replaced,
}

/// What came of asking whether a connection answers.
enum Said {
    /// Nothing came.
    Nothing,
    /// It answers.
    Something,
    /// It answers, and is not the server that it was.
    SomebodyElse,
}

/// What is due next.
enum Due {
    /// The connection is closed.
    Closed,
    /// It is to be asked whether it answers.
    Question,
    /// It may have been idle for long enough.
    Idleness,
}

/// Watches over the native connection of one upstream.
#[derive(Debug)]
pub(crate) struct HealthWatch<'a> {
    /// How it is reached.
    pub(crate) connector: &'a Connector,
    /// Its state.
    pub(crate) current: &'a Current,
    /// Whether somebody needs it.
    pub(crate) demand: &'a Demand,
    /// Who follows it.
    pub(crate) followers: &'a Followers,
    /// The other connection that counts as use.
    pub(crate) legacy: &'a LegacyLink,
}

impl HealthWatch<'_> {
    /// Watches over a connection until its end.
    pub(crate) async fn until_end(&self, link: &Arc<Link>) -> End {
        let settings = &self.connector.settings();
        let (interval, mut missed) = (settings.health_interval, 0);
        let mut question = interval.map(|interval| Instant::now() + interval);
        loop {
            match self.due(link, question).await {
                Due::Closed => return End::Lost,
                Due::Question if link.is_busy() && !link.activity().is_silent() => {
                    question = Some(Instant::now() + AGAIN);
                }
                Due::Question => match answers(self.connector, link).await {
                    None => return End::Lost,
                    Some(Said::SomebodyElse) => {
                        tracing::info!(
                            upstream = %self.connector.name(),
                            "the server was replaced; asking it anew what it is"
                        );
                        return End::Replaced;
                    }
                    Some(Said::Something) => {
                        self.recovered(missed);
                        missed = 0;
                        question = interval.map(|interval| Instant::now() + interval);
                    }
                    Some(Said::Nothing) if missed > 0 => return End::Hung,
                    Some(Said::Nothing) => {
                        missed += 1;
                        self.degrade();
                        question = Some(Instant::now() + AGAIN);
                    }
                },
                Due::Idleness => {
                    if self.falls_asleep(link).await {
                        return End::Idle;
                    }
                }
            }
        }
    }

    /// Waits until something is due.
    async fn due(&self, link: &Link, question: Option<Instant>) -> Due {
        let mut closed = link.wire().closed();
        let idle = self.connector.settings().idle_timeout.map(|idle| {
            // A call in flight counts as use when it ends.
            let left = idle.saturating_sub(self.unused(link)).max(Duration::from_millis(20));
            Instant::now() + left
        });
        let asks = self.connector.settings().health_interval.is_some();
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Due::Closed,
            () = link.activity().suspected(), if asks => Due::Question,
            () = until(question) => Due::Question,
            () = until(idle) => Due::Idleness,
        }
    }

    /// Puts the connection to sleep if nobody has used it for long enough and nobody does now. What it lists is learned
    /// before, so that it can be told meanwhile.
    async fn falls_asleep(&self, link: &Arc<Link>) -> bool {
        let Some(idle) = self.connector.settings().idle_timeout else { return false };
        let spare = || !link.is_busy() && !self.followers.any() && self.unused(link) >= idle;
        if !spare() {
            return false;
        }
        for kind in Kind::ALL {
            if let Err(fault) = lists::learn_aside(link, kind, LISTS).await {
                tracing::debug!(upstream = %self.connector.name(), ?kind, %fault, "stays awake: its list cannot be had");
                link.activity().touch();
                return false;
            }
        }
        self.demand.forget();
        spare() && link.retire_unused()
    }

    /// For how long neither this connection nor the shared legacy one was used.
    fn unused(&self, link: &Link) -> Duration {
        link.activity().unused().min(self.legacy.unused())
    }

    /// Notes that a question was not answered.
    fn degrade(&self) {
        tracing::warn!(upstream = %self.connector.name(), "the upstream does not answer; asking once more");
        self.current.replace(UpstreamState::Ready, UpstreamState::Degraded);
    }

    /// Notes that a question was answered after `missed` others were not.
    fn recovered(&self, missed: u32) {
        if missed > 0 {
            tracing::info!(upstream = %self.connector.name(), "the upstream answers again");
            self.current.replace(UpstreamState::Degraded, UpstreamState::Ready);
        }
    }
}

/// Whether the connection answers; `None` if it ends meanwhile.
async fn answers(connector: &Connector, link: &Link) -> Option<Said> {
    let interval = connector.settings().health_interval.unwrap_or(PATIENCE.1);
    let limit = interval.clamp(PATIENCE.0, PATIENCE.1);
    let replaceable = may_be_replaced(link);
    let call = match link.era() {
        // Where there is no session, nothing else says that the server was replaced behind its address.
        Era::Legacy if replaceable => {
            Call::new(method::INITIALIZE, Some(ClientIdentity::default().hello()), limit)
        }
        Era::Legacy => Call::new(method::PING, None, limit),
        Era::Modern => Call::new(method::DISCOVER, Some(ClientMeta::default().apply(None)), limit),
    };
    let mut closed = link.wire().closed();
    let asked = async { link.call_aside(call).await.outcome().await };
    tokio::select! {
        biased;
        _ = closed.wait_for(|closed| *closed) => None,
        outcome = asked => Some(match outcome {
            Err(_) => Said::Nothing,
            Ok(Outcome::Result(said)) if replaceable && is_another(link, &said) => Said::SomebodyElse,
            // An error is an answer, too.
            Ok(_) => Said::Something,
        }),
    }
}

/// Watches in a task of its own over a connection beside the native one, until its end: it is asked at each interval, if
/// there is one, and after a lost request, and ended when it does not answer. The next request opens another.
pub(crate) fn watch_aside(
    connector: &Arc<Connector>,
    failures: &Arc<Failures>,
    link: &Arc<Link>,
    interval: Option<Duration>,
) {
    if connector.settings().health_interval.is_none() {
        return;
    }
    let (connector, failures) = (Arc::clone(connector), Arc::clone(failures));
    let (activity, mut closed) = (Arc::clone(link.activity()), link.wire().closed());
    let link = Arc::downgrade(link);
    tokio::spawn(async move {
        let next = || interval.map(|interval| Instant::now() + interval);
        let (mut missed, mut question) = (0, next());
        loop {
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return,
                () = activity.suspected() => {}
                () = until(question) => {}
            }
            let Some(link) = link.upgrade() else { return };
            question = Some(Instant::now() + AGAIN);
            if link.is_busy() && !link.activity().is_silent() {
                continue;
            }
            match answers(&connector, &link).await {
                None => return,
                Some(Said::Something | Said::SomebodyElse) => (missed, question) = (0, next()),
                Some(Said::Nothing) if missed == 0 => missed = 1,
                Some(Said::Nothing) => {
                    tracing::warn!(
                        upstream = %connector.name(),
                        "a connection that does not answer is ended"
                    );
                    failures.count_restart();
                    link.wire().end().await;
                    return;
                }
            }
        }
    });
}

/// Whether another server may answer than the one that the connection was opened to, without a trace. A child is what it is,
/// and a session is known to one server only.
fn may_be_replaced(link: &Link) -> bool {
    match link.era() {
        Era::Modern => matches!(link.wire(), Wire::Http(_)),
        Era::Legacy => link.is_without_session() && link.inbox().outlet().is_shared(),
    }
}

/// Whether what a server says of itself is of another one than that which the connection was opened to: also of one that
/// has sessions, where that one had none.
fn is_another(link: &Link, said: &RawValue) -> bool {
    link.handshake().is_of_another(said) || link.era() == Era::Legacy && !may_be_replaced(link)
}
