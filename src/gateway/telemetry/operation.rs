//! One message of a client, from its arrival to what came of it: counted, and, where it calls a tool or is refused, told to the
//! audit. It is over when the last part of the gateway has let it go, and tells then what it was last told itself.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use fieldwork::Fieldwork;
use sha2::{Digest as _, Sha256};

use super::access::Asked;
use super::family::Place;
use super::ledger::{Ledger, OUTCOMES};
use super::origin::{Origin, Proof};
use super::reason::Reason;
use super::recent::Failure;
use crate::audit::{self, Event, Record};
use crate::config::UpstreamName;
use crate::gateway::access::Slot;
use crate::gateway::client::ClientName;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::{Cause, Fault};
use crate::gateway::memory::Held;
use crate::gateway::relay::{Message, Object, Outcome, Raw, Response, code, member, method, only_str, text};

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A result.
    Ok,
    /// A result of a tool that says that it has failed.
    ToolError,
    /// An error of this number.
    Error(i64),
    /// The upstream has not answered in time.
    Timeout,
    /// The client has gone, or has called it off.
    Cancelled,
    /// The gateway has refused it.
    Refused(Reason),
}

/// One message of a client.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Operation {
    /// Where it is counted.
    ledger: Arc<Ledger>,
    /// Its place among those that its client may have at once.
    _slot: Option<Slot>,
    /// What it takes of memory, if that is much.
    _held: Option<Held>,
    /// When it began.
    began: Instant,
    /// Whom it comes from.
    #[field(get)]
    origin: Origin,
    /// Where it was sent to.
    endpoint: Endpoint,
    /// The method of a request.
    method: Option<&'static str>,
    /// Whether it calls a tool.
    is_call: bool,
    /// What a call of a tool says, where that is told.
    call: Option<ToolCall>,
    /// Where a call is counted, once it is known where it goes.
    place: OnceLock<Place>,
    /// Where it was sent on to, where that is told.
    way: OnceLock<Way>,
    /// What came of it; nothing is told of where it goes on for another process, which tells it.
    verdict: OnceLock<Verdict>,
    /// Why it has failed, in words.
    why: OnceLock<Box<str>>,
}

/// What a call of a tool says.
#[derive(Debug)]
struct ToolCall {
    /// The tool as the client calls it.
    tool: Option<Box<str>>,
    /// The trace that it belongs to.
    trace: Option<Box<str>>,
    /// The digest of the arguments.
    digest: Option<String>,
}

/// Where a call was sent on to.
#[derive(Debug)]
struct Way {
    /// The upstream.
    upstream: UpstreamName,
    /// The tool as that calls it, if that is another name.
    tool: Option<Box<str>>,
}

impl Verdict {
    /// That of an answer.
    pub(crate) fn of(outcome: &Outcome, of_tool: bool) -> Self {
        match outcome {
            Outcome::Result(_) if of_tool && outcome.is_tool_error() => Self::ToolError,
            Outcome::Result(_) => Self::Ok,
            Outcome::Error(error) => {
                let number = member(error, "code").and_then(|number| number.get().parse().ok());
                Self::Error(number.unwrap_or(code::INTERNAL))
            }
        }
    }

    /// Whether there is a result.
    pub(crate) const fn is_result(self) -> bool {
        matches!(self, Self::Ok | Self::ToolError)
    }

    /// The place in [`OUTCOMES`].
    const fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::ToolError => 1,
            Self::Error(_) => 2,
            Self::Timeout => 3,
            Self::Cancelled => 4,
            Self::Refused(_) => 5,
        }
    }

    /// The word for it.
    const fn text(self) -> &'static str {
        OUTCOMES[self.index()]
    }

    /// What kind of error it is to metrics: none where it is the client's own fault.
    pub(crate) const fn error_type(self) -> &'static str {
        match self {
            Self::Ok | Self::Refused(_) => "",
            Self::ToolError => "tool_error",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Error(number) => match number {
                code::PARSE
                | code::INVALID_REQUEST
                | code::METHOD_NOT_FOUND
                | code::INVALID_PARAMS
                | code::LEGACY_NOT_FOUND => "",
                code::INTERNAL => "-32603",
                // So that no server can make labels.
                _ => "_OTHER",
            },
        }
    }
}

impl From<&Fault> for Verdict {
    fn from(fault: &Fault) -> Self {
        match fault.cause {
            Cause::Refused(reason) => Self::Refused(reason),
            Cause::Failed => Self::Error(fault.code),
            Cause::Late => Self::Timeout,
            Cause::CalledOff => Self::Cancelled,
        }
    }
}

impl ToolCall {
    /// Reads it from the parameters, where anybody is told; what only the audit has, where there is one.
    fn read(params: Option<&Raw>, origin: &Origin, ledger: &Ledger) -> Option<Self> {
        let is_audited = audit::is_on_for_failures();
        if !is_audited && origin.entry().is_none() {
            return None;
        }
        let object = params.and_then(|params| Object::parse(params));
        let get = |name: &str| object.as_ref().and_then(|object| object.get(name));
        let tool = get("name").and_then(text).map(Into::into);
        if !is_audited {
            return Some(Self { tool, trace: None, digest: None });
        }
        let parent = get("_meta").and_then(|meta| member(meta, "traceparent")).and_then(text);
        // version "-" trace-id "-" parent-id "-" flags: W3C Trace Context §3.2.2.
        let trace = parent.and_then(|parent| parent.split('-').nth(1).map(Into::into));
        let digest = get("arguments").filter(|_| ledger.has_digests());
        let digest = digest.map(|arguments| {
            let hex = |byte: &u8| format!("{byte:02x}");
            Sha256::digest(arguments.get()).iter().map(hex).collect()
        });
        Some(Self { tool, trace, digest })
    }
}

impl Operation {
    /// A message that has come.
    pub(crate) fn begin(
        ledger: &Arc<Ledger>,
        (origin, endpoint): (&Origin, &Endpoint),
        message: Option<&Message>,
        (slot, held): (Option<Slot>, Option<Held>),
    ) -> Arc<Self> {
        let request = if let Some(Message::Request(request)) = message { Some(request) } else { None };
        let call = request.filter(|request| request.method == method::TOOLS_CALL);
        ledger.begin();
        Arc::new(Self {
            ledger: Arc::clone(ledger),
            _slot: slot,
            _held: held,
            began: Instant::now(),
            origin: origin.clone(),
            endpoint: endpoint.clone(),
            method: request.map(|request| request.method.label()),
            is_call: call.is_some(),
            call: call.and_then(|call| ToolCall::read(call.params.as_ref(), origin, ledger)),
            place: OnceLock::new(),
            way: OnceLock::new(),
            verdict: OnceLock::new(),
            why: OnceLock::new(),
        })
    }

    /// One that another process has taken from its client, and tells of.
    pub(crate) fn of_another_process(
        ledger: &Arc<Ledger>,
        origin: &Origin,
        endpoint: &Endpoint,
    ) -> Arc<Self> {
        Self::begin(ledger, (origin, endpoint), None, (None, None))
    }

    /// One that nobody has asked for.
    #[cfg(test)]
    pub(crate) fn nobodys() -> Arc<Self> {
        let ledger = Arc::new(Ledger::new(1, &crate::config::Log::default()));
        let origin = Origin::new(crate::request_id::RequestId::made(), (None, None), None);
        Self::begin(&ledger, (&origin, &Endpoint::ALL), None, (None, None))
    }

    /// Notes where it is sent on to, if it is a call: the upstream, the tool as that calls it, if that is another name or else
    /// in these parameters, and whether it lists it, as far as is known.
    pub(crate) fn sent_to(
        &self,
        upstream: &UpstreamName,
        (renamed, params): (Option<&str>, Option<&Raw>),
        is_listed: impl FnOnce(&str) -> Option<bool>,
    ) {
        // A call that is sent once more goes the same way.
        if !self.is_call || self.place.get().is_some() {
            return;
        }
        let stated = || params.and_then(|params| only_str(params, "name"));
        let tool = renamed.map(Cow::Borrowed).or_else(stated).unwrap_or_default();
        // Clients must not make labels.
        let may = || is_listed(&tool).unwrap_or(true);
        let _ = self.place.set(self.ledger.calls().place([upstream.as_str(), &tool], may));
        if self.call.is_some() {
            let _ = self.way.set(Way { upstream: upstream.clone(), tool: renamed.map(Into::into) });
        }
    }

    /// Notes what came of it, unless that is known already.
    pub(crate) fn ended(&self, verdict: Verdict) {
        let _ = self.verdict.set(verdict);
    }

    /// Notes that this came of it.
    pub(crate) fn failed(&self, fault: &Fault) {
        if self.verdict.set(fault.into()).is_ok() {
            let _ = self.why.set(fault.message.as_str().into());
        }
    }

    /// Notes what came of it, if the message is its answer.
    pub(crate) fn told(&self, message: &Message) {
        let Message::Response(Response { outcome, .. }) = message else { return };
        if self.verdict.get().is_none() {
            self.ended(Verdict::of(outcome, self.is_call));
        }
        if let Outcome::Error(error) = outcome
            && let Some(message) = member(error, "message").and_then(text)
        {
            let _ = self.why.set(message.into());
        }
    }

    /// Remembers what went wrong, if anything did.
    fn remember(&self, verdict: Verdict) {
        let reason = match verdict {
            Verdict::Ok | Verdict::Cancelled => return,
            Verdict::Refused(reason) => Some(reason.text()),
            _ => self.why.get().map(|why| &**why),
        };
        let whose = (self.origin.request(), self.endpoint.client());
        let what = (self.method, self.place.get().copied());
        let failure = Failure::now(whose, what, (verdict.text(), reason));
        let recent = self.ledger.recent();
        if matches!(verdict, Verdict::Refused(_)) { recent.refused(failure) } else { recent.failed(failure) }
    }

    /// Counts a call.
    fn count(&self, verdict: Verdict) {
        let place = self.place.get().copied().unwrap_or(Place::REST);
        self.ledger.calls().at(place)[verdict.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the audit.
    fn audit(&self, event: Event, verdict: Verdict) {
        if !audit::is_on_for_failures() {
            return;
        }
        let client = self.endpoint.client();
        let (call, way) = (self.call.as_ref(), self.way.get());
        let number = if let Verdict::Error(number) = verdict { Some(number.to_string()) } else { None };
        let reason =
            if let Verdict::Refused(reason) = verdict { Some(reason.text()) } else { number.as_deref() };
        Record {
            event,
            client: client.map(ClientName::entry),
            subject: client.and_then(ClientName::subject).map(|(_, subject)| subject),
            proof: self.origin.proof().map(Proof::text),
            address: self.origin.address(),
            uid: self.origin.uid(),
            endpoint: self.endpoint.name(),
            upstream: way.map(|way| way.upstream.as_str()),
            tool: call.and_then(|call| call.tool.as_deref()),
            upstream_tool: way.and_then(|way| way.tool.as_deref()),
            outcome: verdict.text(),
            reason,
            duration: Some(self.began.elapsed()),
            request_id: Some(self.origin.request()),
            trace_id: call.and_then(|call| call.trace.as_deref()),
            arguments: call.and_then(|call| call.digest.as_deref()),
        }
        .write();
    }

    /// Tells the log.
    fn log(&self, verdict: Verdict) {
        let Some(entry) = self.origin.entry() else { return };
        entry.asked(Asked {
            method: self.method,
            tool: self.call.as_ref().and_then(|call| call.tool.clone()),
            upstream: self.way.get().map(|way| way.upstream.as_str().into()),
            outcome: verdict.text(),
            error: verdict.error_type(),
        });
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.ledger.end();
        let verdict = self.verdict.get().copied();
        let Some(method) = self.method else {
            // A notification or an answer is told of only if it was refused.
            if let Some(verdict @ Verdict::Refused(reason)) = verdict {
                self.ledger.count_refusal(reason);
                self.remember(verdict);
                self.audit(Event::Refusal, verdict);
                self.log(verdict);
            }
            return;
        };
        let verdict = verdict.unwrap_or(Verdict::Cancelled);
        self.remember(verdict);
        let endpoint = self.endpoint.name().unwrap_or_default();
        self.ledger.served().get([method, endpoint, verdict.error_type()]).observe(self.began.elapsed());
        if let Verdict::Refused(reason) = verdict {
            self.ledger.count_refusal(reason);
        }
        if self.is_call {
            self.count(verdict);
            self.audit(Event::Call, verdict);
        } else if matches!(verdict, Verdict::Refused(_)) {
            self.audit(Event::Refusal, verdict);
        }
        self.log(verdict);
    }
}
