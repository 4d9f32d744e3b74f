//! A modern client's request on its way, as the stream of its messages.
//!
//! Where its upstream is a legacy one and asks the client something, the stream ends with an `input_required` result and
//! the request is put aside with the server's questions; the client's repetition goes on with it (MCP 2026-07-28 §Multi
//! Round-Trip Requests).

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fieldwork::Fieldwork;
use futures_util::FutureExt as _;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::input_required::{can_visit, input_required, question, visits};
use super::subject::Subject;
use super::suspended::SuspendedCalls;
use crate::gateway::catalog::ConnectionSource;
use crate::gateway::changes::is_change;
use crate::gateway::error::Fault;
use crate::gateway::http::forwarded_call::ForwardedCall;
use crate::gateway::http::task_owners::TaskOwners;
use crate::gateway::relay::{
    ClientMeta, Era, Id, Message, Notification, Outcome, Raw, Request, RequestMeta, Response as Answer,
    Severity, code, complete_result, key, member, member_str, method, raw, raw_string, set_member,
};
use crate::gateway::telemetry::{Operation, Verdict};
use crate::gateway::upstream::{
    Caller, Event, Inbound, InboxReceiver, Kind, Lease, Link, Upstream, task_begun,
};

/// How long after a question the next one may come that is asked in the same round: a server that wants several things
/// at once sends one question after the other. One that comes later is asked in the next round, so that nothing depends
/// on this but how often the client is asked.
const SAME_ROUND: Duration = Duration::from_millis(20);

/// Events that are taken at most while nobody can be told of them; others wait where they are counted in bytes.
const EARLY: usize = 64;

/// Which connection a request goes over.
#[derive(Debug)]
pub(super) enum Route {
    /// The one that everybody shares.
    Shared,
    /// One of its own, so that the server can ask the client.
    Lent(Lease),
}

/// What a request says of how its messages are to be told.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(super) struct ReplyContext {
    /// The request's identifier.
    #[field(get)]
    id: Id,
    /// The least severe log message that is wanted, if any is.
    #[field(get(copy))]
    log: Option<Severity>,
    /// The progress token.
    token: Option<Raw>,
    /// What came of it.
    #[field(get(deref = false))]
    operation: Arc<Operation>,
}

/// A relayed request. Dropping it cancels it.
pub(crate) struct PendingCall {
    /// What happens to it.
    call: ForwardedCall<Route>,
    /// What the server says outside of its answer, on a connection of the request's own.
    inbox: Option<InboxReceiver>,
    /// What it asks for.
    subject: Subject,
    /// Whose it is.
    client: ClientMeta,
    /// The same, as far as it can be told from others.
    caller: Caller,
    /// How it is told; nobody while it is put aside.
    reply: Option<ReplyContext>,
    /// Whether this is a repetition, which may have another progress token than its first request.
    repeated: bool,
    /// What has happened before anybody could be told.
    early: VecDeque<Event>,
    /// Questions of the server that are not answered, by the names that the client knows.
    open: Vec<(String, Request)>,
    /// How many questions there have been.
    questions: usize,
    /// Until when questions are gathered that are asked in the same round.
    gathers: Instant,
    /// Until when the client may answer.
    waits: Instant,
    /// Whether it has given its permit at the upstream back.
    aside: bool,
    /// Where it is put aside.
    suspended: Arc<SuspendedCalls<Self>>,
    /// Who is told of its task.
    tasks: Arc<TaskOwners>,
}

impl ConnectionSource for Route {
    async fn link(&self, upstream: &Arc<Upstream>) -> Result<Arc<Link>, Fault> {
        match self {
            Self::Shared => upstream.native().await,
            Self::Lent(lease) => lease.link(),
        }
    }
}

impl Route {
    /// The way for a request of this client.
    pub(super) async fn choose(
        upstream: &Arc<Upstream>,
        native: &Link,
        subject: &Subject,
        (client, caller): (&ClientMeta, &Caller),
    ) -> Result<Self, Fault> {
        if !upstream.leases().lends_to(client, native) {
            return Ok(Self::Shared);
        }
        // Where there is none to spare, the connection that everybody has is better than none, unless the client is asked.
        if subject.may_ask() && client.is_interactive() {
            let patience = upstream.settings().request_timeout;
            return Box::pin(upstream.leases().lend((client, caller), patience)).await.map(Self::Lent);
        }
        if (Kind::of_method(subject.method()).is_some() || subject.may_ask())
            && let Ok(lease) = Box::pin(upstream.leases().lend((client, caller), Duration::ZERO)).await
        {
            return Ok(Self::Lent(lease));
        }
        Ok(Self::Shared)
    }

    /// What is asked for, with a digest of the parameters where the request may be put aside.
    pub(super) fn bind(&self, subject: Subject, params: Option<&RawValue>) -> Subject {
        match self {
            Self::Lent(_) if subject.may_ask() => subject.with_digest(params),
            Self::Lent(_) | Self::Shared => subject,
        }
    }

    /// Notes that something of a client goes this way.
    pub(super) fn used(&mut self) {
        if let Self::Lent(lease) = self {
            lease.used();
        }
    }
}

impl ReplyContext {
    /// Reads it from a request.
    pub(super) fn of(id: Id, meta: &RequestMeta<'_>, operation: Arc<Operation>) -> Self {
        let log = meta.get(key::LOG_LEVEL).map(Severity::of);
        Self { id, log, token: meta.get("progressToken").map(ToOwned::to_owned), operation }
    }
}

impl PendingCall {
    /// A request that was sent.
    pub(super) fn new(
        mut call: ForwardedCall<Route>,
        subject: Subject,
        (client, caller): (ClientMeta, Caller),
        reply: ReplyContext,
        (suspended, tasks): (&Arc<SuspendedCalls<Self>>, &Arc<TaskOwners>),
    ) -> Self {
        let (inbox, asked) = match call.source_mut() {
            Route::Lent(lease) if subject.may_ask() => (lease.inbox.take(), std::mem::take(&mut lease.asked)),
            Route::Lent(_) | Route::Shared => (None, Vec::new()),
        };
        let (early, now) = (asked.into_iter().map(Event::Request).collect(), Instant::now());
        let (reply, suspended, tasks) = (Some(reply), Arc::clone(suspended), Arc::clone(tasks));
        let (repeated, aside, open, questions, gathers, waits) = (false, false, Vec::new(), 0, now, now);
        Self {
            call,
            inbox,
            subject,
            client,
            caller,
            reply,
            repeated,
            early,
            open,
            questions,
            gathers,
            waits,
            aside,
            suspended,
            tasks,
        }
    }

    /// The next message; the state is `None` after the last.
    pub(super) async fn next(pending: Option<Self>) -> Option<(Message, Option<Self>)> {
        let mut pending = pending?;
        loop {
            let event = if pending.open.is_empty() {
                pending.event().await
            } else {
                match timeout_at(pending.gathers, pending.event()).await {
                    Ok(event) => event,
                    Err(_) => return pending.put_aside(),
                }
            };
            match event {
                Event::Notification(note) if pending.takes_back(&note) => pending.forget(&note).await,
                Event::Notification(note) => {
                    if let Some(note) = pending.translated(note) {
                        return Some((Message::Notification(note), Some(pending)));
                    }
                }
                Event::Request(asked) if pending.can_ask(&asked) => pending.ask(asked),
                Event::Request(asked) => {
                    let lacking = pending.client.lacks(&asked.method, asked.params.as_deref());
                    Self::refuse(pending.call.link(), asked, lacking.unwrap_or_default()).await;
                }
                Event::Done(outcome) => {
                    pending.note_task(&outcome);
                    let outcome = pending.adapt(outcome);
                    if let (Outcome::Result(_), Some(reply)) = (&outcome, &pending.reply) {
                        let verdict = pending.call.verdict();
                        // What the client is asked instead of an error is no error.
                        reply.operation.ended(if verdict.is_result() { verdict } else { Verdict::Ok });
                    }
                    return pending.last(outcome);
                }
                Event::Lost(fault) => {
                    if let Some(reply) = &pending.reply {
                        reply.operation.failed(&fault);
                    }
                    return pending.last(fault.outcome());
                }
            }
        }
    }

    /// The response.
    fn last(&mut self, outcome: Outcome) -> Option<(Message, Option<Self>)> {
        let id = self.reply.take()?.id;
        Some((Message::Response(Answer { id: Some(id), outcome }), None))
    }

    /// What happens next, in the server's answer or, on a connection of the request's own, beside it.
    async fn event(&mut self) -> Event {
        match self.early.pop_front() {
            Some(event) => event,
            None => self.arrival().await,
        }
    }

    /// The same, of what nobody has seen. Safe to cancel.
    async fn arrival(&mut self) -> Event {
        let Some(inbox) = &mut self.inbox else { return self.call.next().await };
        loop {
            tokio::select! {
                biased;
                event = self.call.next() => return event,
                Some((_, message)) = inbox.recv() => match message {
                    Inbound::Request(asked) => return Event::Request(asked),
                    Inbound::Notification(note) if matches!(note.method.as_str(), method::LOG_MESSAGE | method::CANCELLED) => {
                        return Event::Notification(note);
                    }
                    // The shared connection tells clients of these.
                    Inbound::Notification(_) | Inbound::AnyUpdated => {}
                },
            }
        }
    }

    /// A notification as this client expects it; `None` if it does not want it.
    fn translated(&self, note: Notification) -> Option<Notification> {
        let reply = self.reply.as_ref()?;
        match note.method.as_str() {
            // A legacy server does not know that this era has log messages only on request (§Logging).
            method::LOG_MESSAGE => {
                let level = note.params.as_deref().and_then(|params| member(params, "level"));
                reply
                    .log
                    .is_some_and(|least| level.is_none_or(|level| Severity::of(level) >= least))
                    .then_some(note)
            }
            method if self.call.link().era() == Era::Legacy && is_change(method) => {
                self.call.upstream().tell_change(note);
                None
            }
            method::PROGRESS if self.repeated => {
                let token = reply.token.as_ref()?;
                let params = set_member(note.params.as_deref()?, "progressToken", token.get())?;
                Some(Notification { params: Some(params), ..note })
            }
            // What a modern server tells of changes beside an answer reaches those who listen (§Streamable HTTP, "Receiving
            // Messages": all that comes before an answer must relate to its request).
            method if method != method::PROGRESS && method::is_notification(method) => None,
            _ => Some(note),
        }
    }

    /// Whether the client can be asked this.
    fn can_ask(&self, asked: &Request) -> bool {
        self.inbox.is_some() && self.client.answers(&asked.method, asked.params.as_deref())
    }

    /// Tells the server that its question cannot be asked.
    async fn refuse(link: &Link, asked: Request, lacking: &str) {
        tracing::warn!(upstream = %link.name(), method = &*asked.method, "a request to the client is refused");
        let outcome = Fault::cannot_be_asked(&asked.method, lacking).outcome();
        let _ = link.write(&Message::Response(Answer { id: Some(asked.id), outcome })).await;
    }

    /// Adds a question to those that the client is to be asked.
    fn ask(&mut self, asked: Request) {
        let now = Instant::now();
        if self.open.is_empty() {
            self.gathers = now + SAME_ROUND;
        }
        self.waits = now + self.limit();
        self.questions += 1;
        // The server's own identifiers can differ by their type only, and come again.
        self.open.push((format!("{}-{}", asked.method, self.questions), asked));
    }

    /// Whether a legacy server tells that it does not wait for an answer any more, which this era cannot tell a client.
    fn takes_back(&self, note: &Notification) -> bool {
        self.call.link().era() == Era::Legacy && note.method == method::CANCELLED
    }

    /// Forgets the question that the server has taken back, if it is open.
    async fn forget(&mut self, note: &Notification) {
        let id = note.params.as_deref().and_then(|params| member(params, "requestId"));
        let Some(id) = id.and_then(|id| Id::from_json(id.get())) else { return };
        self.open.retain(|(_, asked)| asked.id != id);
        if self.open.is_empty() {
            self.step_up().await;
        }
    }

    /// Puts the request aside and gives the client the server's open questions. Meanwhile others have its permit.
    fn put_aside(mut self) -> Option<(Message, Option<Self>)> {
        let id = self.reply.take()?.id;
        let request = |(name, asked): &(String, Request)| {
            question(name, &asked.method, asked.params.as_deref().map_or("{}", RawValue::get))
        };
        let requests = format!("{{{}}}", self.open.iter().map(request).collect::<Vec<_>>().join(","));
        self.call.exchange().step_aside();
        self.aside = true;
        let limit = self.waits.saturating_duration_since(Instant::now());
        let gives_way = match self.call.source() {
            Route::Lent(lease) => lease.suspend(),
            Route::Shared => CancellationToken::new(),
        };
        let (suspended, subject) = (Arc::clone(&self.suspended), self.subject.clone());
        let outcome = match suspended.put((subject, self), limit, gives_way) {
            Ok(state) => input_required(&requests, &state),
            Err(error) => {
                tracing::error!(%error, "cannot name a request that waits for its client");
                let message = "the gateway cannot put the request aside";
                Fault::downstream(code::INTERNAL, http::StatusCode::OK, message).outcome()
            }
        };
        Some((Message::Response(Answer { id: Some(id), outcome }), None))
    }

    /// How long the server may take, and the client between two rounds.
    fn limit(&self) -> Duration {
        self.call.upstream().settings().request_timeout
    }

    /// Goes on with the client's answers, which are told to the server that asked. Questions that are left are asked
    /// again, in the time that they had: a client that comes back without an answer has not more of it.
    pub(super) async fn go_on(&mut self, answers: Option<&RawValue>, reply: ReplyContext) {
        if let Route::Lent(lease) = self.call.source() {
            lease.resume();
        }
        self.reply = Some(reply);
        self.repeated = true;
        let limit = self.limit();
        self.call.exchange().extend(limit);
        let mut answered = Vec::new();
        for (name, asked) in std::mem::take(&mut self.open) {
            match answers.and_then(|answers| member(answers, &name)) {
                Some(result) => answered.push((asked.id, result.to_owned())),
                None => self.open.push((name, asked)),
            }
        }
        if self.open.is_empty() {
            self.step_up().await;
        } else {
            self.gathers = Instant::now() + SAME_ROUND;
            if !answered.is_empty() {
                self.waits = Instant::now() + limit;
            }
        }
        if self.early.back().is_some_and(Event::is_last) {
            return;
        }
        for (id, result) in answered {
            let answer = Message::Response(Answer { id: Some(id), outcome: Outcome::Result(result) });
            if let Err(fault) = self.call.link().write(&answer).await {
                return self.give_up(fault);
            }
        }
    }

    /// Notes that the server cannot be told what it waits for, unless it has ended without.
    fn give_up(&mut self, fault: Fault) {
        while self.early.len() < EARLY
            && let Some(event) = self.arrival().now_or_never()
        {
            let last = event.is_last();
            self.early.push_back(event);
            if last {
                return;
            }
        }
        self.early.push_back(Event::Lost(fault));
    }

    /// Waits for the request's next permit at its upstream, unless the server has done without.
    async fn step_up(&mut self) {
        if !std::mem::take(&mut self.aside) {
            return;
        }
        let (limit, upstream) = (self.limit(), Arc::clone(self.call.upstream()));
        let mut permit = pin!(upstream.permit(limit, true));
        loop {
            tokio::select! {
                biased;
                event = self.arrival(), if self.early.len() < EARLY => {
                    let last = event.is_last();
                    self.early.push_back(event);
                    if last {
                        return;
                    }
                }
                permit = &mut permit => {
                    match permit {
                        Ok(permit) => self.call.exchange().step_up(permit),
                        Err(fault) => self.early.push_back(Event::Lost(fault)),
                    }
                    return self.call.exchange().extend(limit);
                }
            }
        }
    }

    /// Notes whose task has begun, if one has.
    fn note_task(&self, outcome: &Outcome) {
        let Outcome::Result(result) = outcome else { return };
        if self.call.link().era() == Era::Modern
            && let Some(id) = task_begun(self.call.link(), result)
        {
            self.tasks.own(self.call.upstream(), &id, &self.caller);
        }
    }

    /// The outcome as a modern client expects it.
    fn adapt(&self, outcome: Outcome) -> Outcome {
        if self.call.link().era() == Era::Modern {
            return outcome;
        }
        match outcome {
            Outcome::Result(result) => Outcome::Result(complete_result(self.subject.method(), result)),
            Outcome::Error(error) => self.adapt_error(error),
        }
    }

    /// An error of a legacy server as a modern client expects it. Numbers that this era has given up, or reserves for the
    /// specification, mean nothing here that the server could have meant (MCP 2026-07-28 §Basic, "Error Codes": they must not be
    /// emitted): where none of this era says the same, the error is an internal one and its words tell the number.
    fn adapt_error(&self, error: Raw) -> Outcome {
        let number = member(&error, "code").and_then(|number| number.get().parse::<i64>().ok());
        let set = |error: &Raw, number: i64| set_member(error, "code", &number.to_string());
        let adapted = match number {
            Some(code::LEGACY_NOT_FOUND) if self.subject.method() == method::RESOURCES_READ => {
                set(&error, code::INVALID_PARAMS)
            }
            Some(code::URL_ELICITATION) if self.subject.may_ask() && !can_visit(&self.client) => {
                let required = json!({ "requiredCapabilities": { "elicitation": { "url": {} } } });
                set(&error, code::MISSING_CAPABILITY)
                    .and_then(|error| set_member(&error, "data", raw(&required).get()))
            }
            Some(code::URL_ELICITATION)
                if self.subject.may_ask()
                    && let Some(asked) = visits(&error) =>
            {
                return asked;
            }
            Some(number) if code::is_not_modern(number) => {
                let words = member_str(&error, "message").unwrap_or_default();
                let words = raw_string(&format!("{words} (the server's own code is {number})"));
                set(&error, code::INTERNAL).and_then(|error| set_member(&error, "message", words.get()))
            }
            _ => None,
        };
        Outcome::Error(adapted.unwrap_or(error))
    }
}
