//! Watching over a live connection: whether it still answers, and whether anybody needs it.
//!
//! Order of suspicion: a connection is asked (`ping`, or `server/discover` in the modern era) at each interval and after
//! a lost request, while it has nothing to do: a server that works at a long call need not answer meanwhile. One unanswered
//! question makes it degraded, the second one ends it. After several lost requests in a row it is asked though it is busy.
//! Where an HTTP server refuses a question, or answers errors, a new session is tried ([`super::renewal`]).

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::current::Current;
use super::demand::Demand;
use super::failures::Failures;
use super::followers::Followers;
use super::legacy_link::LegacyLink;
use super::renewal::{Renewals, Verdict, refuses};
use crate::gateway::relay::{ClientMeta, Era, Outcome, code, member, method};
use crate::gateway::status::UpstreamState;
use crate::gateway::upstream::call::activity::Activity;
use crate::gateway::upstream::call::backoff::until;
use crate::gateway::upstream::call::request::{Call, is_unknown_method, speaks_of_session};
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
    /// The server refuses everything in its session, and not in a new one.
    Refused,
}

/// What came of asking whether a connection answers.
enum Said {
    /// Nothing came.
    Nothing,
    /// It answers.
    Something,
    /// It refuses the question, which may be because of the session.
    Refusal,
    /// It answers, and is not the server that it was.
    SomebodyElse,
}

/// What is due next.
enum Due {
    /// The connection is closed.
    Closed,
    /// It is to be asked whether it answers.
    Question,
    /// It answers errors, be it because of them or of the session.
    Doubt,
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
    /// Tries of new sessions.
    pub(crate) renewals: &'a Renewals,
}

impl HealthWatch<'_> {
    /// Watches over a connection until its end.
    pub(crate) async fn until_end(&self, link: &Arc<Link>) -> End {
        let settings = &self.connector.settings();
        let (interval, mut missed, mut asked) = (settings.health_interval, 0, None);
        let mut question = interval.map(|interval| Instant::now() + interval);
        loop {
            match self.due(link, (question, asked)).await {
                Due::Closed => return End::Lost,
                Due::Question if link.is_busy() && !link.activity().is_silent() => {
                    question = Some(Instant::now() + AGAIN);
                }
                Due::Doubt => {
                    if is_lost(self.connector, link, self.renewals).await {
                        return End::Refused;
                    }
                }
                Due::Question => match self.asks(link, &mut asked).await {
                    None => return End::Lost,
                    Some(Said::SomebodyElse) => {
                        tracing::info!(
                            upstream = %self.connector.name(),
                            "the server was replaced; asking it anew what it is"
                        );
                        return End::Replaced;
                    }
                    Some(Said::Refusal) => return End::Refused,
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

    /// Asks whether the connection answers, and notes when.
    async fn asks(&self, link: &Link, asked: &mut Option<Instant>) -> Option<Said> {
        *asked = Some(Instant::now());
        said(self.connector, link, self.renewals).await
    }

    /// Waits until something is due.
    async fn due(&self, link: &Link, (question, asked): (Option<Instant>, Option<Instant>)) -> Due {
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
            () = suspected(link.activity(), asked), if asks => Due::Question,
            () = link.activity().doubted(), if asks && link.has_session() => Due::Doubt,
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
            Err(fault) if fault.refused.is_some() && link.has_session() => Said::Refusal,
            Err(_) => Said::Nothing,
            Ok(Outcome::Result(said)) if replaceable && is_another(link, &said) => Said::SomebodyElse,
            // It has answered the same question before.
            Ok(Outcome::Error(error)) if replaceable && is_of_another(&error) => Said::SomebodyElse,
            Ok(Outcome::Error(error)) if link.has_session() && !is_unknown_method(&error) => Said::Refusal,
            // An error is an answer, too.
            Ok(_) => Said::Something,
        }),
    }
}

/// Waits until a request was lost, but not before so soon after the last question.
async fn suspected(activity: &Activity, asked: Option<Instant>) {
    if let Some(asked) = asked {
        sleep_until(asked + AGAIN).await;
    }
    activity.suspected().await;
}

/// The same, after a new session was tried where the question was refused: [`Said::Refusal`] only if that helps.
async fn said(connector: &Connector, link: &Link, renewals: &Renewals) -> Option<Said> {
    let said = answers(connector, link).await?;
    if !matches!(said, Said::Refusal) {
        return Some(said);
    }
    let mut closed = link.wire().closed();
    tokio::select! {
        biased;
        _ = closed.wait_for(|closed| *closed) => None,
        verdict = renewals.verdict(connector) => Some(match verdict {
            Verdict::Lost => Said::Refusal,
            // It is the question that the server refuses.
            Verdict::Same => Said::Something,
            Verdict::Away => Said::Nothing,
        }),
    }
}

/// Whether a session is lost over which errors are answered: the server refuses whatever it is asked in it, and not in
/// a new one.
async fn is_lost(connector: &Connector, link: &Link, renewals: &Renewals) -> bool {
    let mut closed = link.wire().closed();
    tokio::select! {
        biased;
        // Whoever watches sees that for himself.
        _ = closed.wait_for(|closed| *closed) => false,
        lost = async { refuses(link).await && renewals.verdict(connector).await == Verdict::Lost } => lost,
    }
}

/// Whether an error to a question that the server has answered before is that of another server, which speaks another era or
/// wants a session.
fn is_of_another(error: &RawValue) -> bool {
    let code = member(error, "code").map(RawValue::get);
    is_unknown_method(error)
        || code.is_some_and(|number| number == code::UNSUPPORTED_VERSION.to_string())
        || speaks_of_session(error)
}

/// What a connection beside the native one is watched over with.
#[derive(Clone, Debug)]
pub(crate) struct AsideWatch {
    /// How its upstream is reached.
    pub(crate) connector: Arc<Connector>,
    /// Where its end is counted.
    pub(crate) failures: Arc<Failures>,
    /// Tries of new sessions.
    pub(crate) renewals: Arc<Renewals>,
}

impl AsideWatch {
    /// Watches in a task of its own until the connection's end: it is asked at each interval, if there is one, and after a
    /// lost request, and ended when it does not answer or its session is lost. Whoever needs it opens another.
    pub(crate) fn begin(self, link: &Arc<Link>, interval: Option<Duration>) {
        if self.connector.settings().health_interval.is_none() {
            return;
        }
        let (activity, closed) = (Arc::clone(link.activity()), link.wire().closed());
        tokio::spawn(self.run(Arc::downgrade(link), (activity, closed), interval));
    }

    /// The task.
    async fn run(
        self,
        link: Weak<Link>,
        (activity, mut closed): (Arc<Activity>, watch::Receiver<bool>),
        interval: Option<Duration>,
    ) {
        let next = || interval.map(|interval| Instant::now() + interval);
        let (mut missed, mut question, mut asked) = (0, next(), None);
        loop {
            let doubt = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return,
                () = suspected(&activity, asked) => false,
                () = until(question) => false,
                () = activity.doubted() => true,
            };
            let Some(link) = link.upgrade() else { return };
            if doubt {
                if link.has_session() && is_lost(&self.connector, &link, &self.renewals).await {
                    return self.end(&link, "refuses everything in its session").await;
                }
                continue;
            }
            question = Some(Instant::now() + AGAIN);
            if link.is_busy() && !link.activity().is_silent() {
                continue;
            }
            asked = Some(Instant::now());
            match said(&self.connector, &link, &self.renewals).await {
                None => return,
                Some(Said::Something | Said::SomebodyElse) => (missed, question) = (0, next()),
                Some(Said::Nothing) if missed == 0 => missed = 1,
                Some(Said::Nothing) => return self.end(&link, "does not answer").await,
                Some(Said::Refusal) => return self.end(&link, "refuses everything in its session").await,
            }
        }
    }

    /// Ends the connection.
    async fn end(&self, link: &Link, why: &str) {
        tracing::warn!(upstream = %self.connector.name(), "a connection whose server {why} is ended");
        self.failures.count_restart();
        link.wire().end().await;
    }
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
