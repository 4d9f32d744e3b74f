//! One request on its way to its upstream: put into the upstream's era, and sent once more where the connection was
//! lost before the upstream can have seen it, or where a server refuses the headers that the gateway has made of its arguments
//! (MCP 2026-07-28 §Streamable HTTP, "Client Behavior").
//!
//! `tasks/result` waits until the task has ended, however long that takes (MCP 2025-11-25 §Tasks, "Result Retrieval"):
//! `request_timeout` is not for it, and it keeps no permit from others.

use std::sync::Arc;
use std::time::Duration;

use fieldwork::Fieldwork;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::gateway::catalog::{Answered, ConnectionSource, Knowing, Way, note_shown, passed, soon};
use crate::gateway::error::{Fault, Side};
use crate::gateway::relay::{
    ClientMeta, Era, MODERN, Method, Outcome, Raw, code, has_code, key, member, method, names, set_path,
    to_legacy_params,
};
use crate::gateway::telemetry::Verdict;
use crate::gateway::upstream::{
    Call, Event, Exchange, Kind, LastingToken, Link, Upstream, mirrored_headers, mirrors_arguments,
    tools_anew,
};

/// How long a task may take that somebody waits for: nobody has one for longer.
const TASK: Duration = Duration::from_secs(24 * 60 * 60);

/// What is left at least of a request's time when its permit has come.
const LEAST: Duration = Duration::from_millis(100);

/// A request as its downstream wrote it, routed.
#[derive(Clone, Debug)]
pub(crate) struct Routed {
    /// Where it goes.
    pub(crate) upstream: Arc<Upstream>,
    /// The era of the downstream.
    pub(crate) era: Era,
    /// The method's name.
    pub(crate) method: Method,
    /// The parameters, with the names that the upstream knows.
    pub(crate) params: Option<Raw>,
    /// Headers of the downstream that belong to it.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// What is done with the answer.
    pub(crate) answered: Answered,
}

impl Routed {
    /// A request on the way that was found for it.
    pub(crate) fn along(way: Way, era: Era, method: Method, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        let Way { upstream, params, answered, .. } = way;
        Self { upstream, era, method, params, headers, answered }
    }
}

/// Why a request is to be sent again.
#[derive(Debug)]
enum Again {
    /// The connection was lost before its server has seen it.
    Lost,
    /// Its server refuses the headers that mirror its arguments, in these words.
    Mismatch(Raw),
    /// Its server does not speak the revision any more, in these words.
    Unspoken(Raw),
}

/// A request that was sent.
#[derive(Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(crate) struct ForwardedCall<L> {
    /// Where it goes.
    #[field(get(deref = false))]
    upstream: Arc<Upstream>,
    /// Where connections come from.
    #[field(get)]
    source: L,
    /// The list that is asked for, if it is one, and the parameters.
    list: Option<(Kind, Option<Raw>)>,
    /// Whether the connection stands in for the one to use.
    borrowed: bool,
    /// What is sent again if need be; `None` once something has come of it.
    spare: Option<Routed>,
    /// The era of the downstream.
    era: Era,
    /// What is done with the answer.
    answered: Answered,
    /// Why it is to be sent again, if it is.
    again: Option<Again>,
    /// The connection that it went over.
    #[field(get(deref = false))]
    link: Arc<Link>,
    /// What happens to it. Dropping it cancels the request.
    exchange: Exchange,
    /// Its progress token, where that outlasts it.
    lasting: Option<LastingToken>,
    /// Counts how long it takes.
    meter: Meter,
}

/// Counts how long an upstream takes for a request, when it is dropped.
struct Meter {
    /// The upstream.
    upstream: Arc<Upstream>,
    /// The method.
    method: &'static str,
    /// When the request was sent.
    began: Instant,
    /// What came of it, unless it was called off.
    verdict: Option<Verdict>,
}

impl Drop for Meter {
    fn drop(&mut self) {
        let error = self.verdict.unwrap_or(Verdict::Cancelled).error_type();
        let times = self.upstream.ledger().asked();
        times.get([self.method, self.upstream.name(), error]).observe(self.began.elapsed());
    }
}

/// What was sent.
struct Sent {
    /// The connection that it went over.
    knowing: Knowing,
    /// What happens to it.
    exchange: Exchange,
    /// Its progress token, where that outlasts it.
    lasting: Option<LastingToken>,
}

impl<L: ConnectionSource> ForwardedCall<L> {
    /// Sends a request.
    pub(crate) async fn begin(source: L, routed: Routed) -> Result<Self, Fault> {
        let (upstream, era, answered) = (Arc::clone(&routed.upstream), routed.era, routed.answered.clone());
        let list = Kind::of_method(&routed.method).map(|kind| (kind, routed.params.clone()));
        let method = routed.method.label();
        let began = Instant::now();
        let mut meter = Meter { upstream: Arc::clone(&upstream), method, began, verdict: None };
        let sent = send(&source, routed.clone()).await;
        let sent = sent.inspect_err(|fault| meter.verdict = Some(fault.into()));
        let Sent { knowing: Knowing { link, borrowed }, exchange, lasting } = sent.inspect_err(|_| {
            if let Some((kind, _)) = &list {
                note_shown(&source, &upstream, *kind, None, false);
            }
        })?;
        let spare = Some(routed);
        let again = None;
        Ok(Self {
            upstream,
            source,
            list,
            borrowed,
            spare,
            era,
            answered,
            again,
            link,
            exchange,
            lasting,
            meter,
        })
    }

    /// The same, to take from.
    pub(super) const fn source_mut(&mut self) -> &mut L {
        &mut self.source
    }

    /// Its progress token, where that outlasts it: of a task that has begun.
    pub(super) fn take_lasting(&mut self) -> Option<LastingToken> {
        self.lasting.take()
    }

    /// What happens next; after the last event this must not be called again. Safe to cancel. An answer of which something
    /// is read is refused where another reader may read it otherwise.
    pub(crate) async fn next(&mut self) -> Event {
        let event = self.happens().await;
        if event.is_last() {
            self.note_list(&event);
            self.meter.verdict = match &event {
                Event::Done(outcome) => Some(Verdict::of(outcome, self.meter.method == method::TOOLS_CALL)),
                Event::Lost(fault) => Some(fault.into()),
                Event::Notification(_) | Event::Request(_) => None,
            };
        }
        let event = match event {
            Event::Done(Outcome::Result(result)) if self.answered != Answered::AsIs => {
                Event::Done(Outcome::Result(self.answered.see(&self.upstream, result)))
            }
            Event::Notification(note) => Event::Notification(match &self.lasting {
                Some(token) => token.put_back(note),
                None => note,
            }),
            event => event,
        };
        if self.era == self.link.era() {
            return event;
        }
        let (answer, place) = match &event {
            Event::Done(Outcome::Result(result)) => (result, names::RESULT),
            Event::Done(Outcome::Error(error)) => (error, names::ERROR),
            _ => return event,
        };
        match self.link.check_names("a request", answer, place) {
            Ok(()) => event,
            Err(fault) => Event::Lost(fault),
        }
    }

    /// Notes what the client is shown of a list.
    fn note_list(&mut self, last: &Event) {
        let Some((kind, params)) = self.list.take() else { return };
        let listing = match last {
            Event::Done(Outcome::Result(result)) => passed(kind, params.as_deref(), result),
            _ => None,
        };
        note_shown(&self.source, &self.upstream, kind, listing.as_ref(), self.borrowed);
    }

    /// What happens next.
    async fn happens(&mut self) -> Event {
        if self.again.is_none() {
            match self.exchange.next().await {
                Event::Lost(fault)
                    if self.spare.is_some() && fault.unprocessed && fault.side == Side::Upstream =>
                {
                    tracing::debug!(upstream = self.upstream.name(), fault = fault.message, "sent again");
                    self.again = Some(Again::Lost);
                }
                Event::Done(Outcome::Error(error)) if self.is_mismatch(&error) => {
                    self.again = Some(Again::Mismatch(error));
                }
                Event::Done(Outcome::Error(error)) if self.is_unspoken(&error) => {
                    self.again = Some(Again::Unspoken(error));
                }
                event => {
                    if let Event::Notification(note) = &event {
                        // A server may tell of a change beside an answer, too.
                        self.link.heard(note);
                    }
                    self.spare = None;
                    return event;
                }
            }
        }
        if let Some(spare) = self.spare.clone() {
            match &self.again {
                Some(Again::Mismatch(error)) => {
                    let error = error.clone();
                    let client = self.source.client().map(|(client, _)| client).unwrap_or_default();
                    // Its server may want others by now.
                    let _ = tools_anew(&self.link, &client).await;
                    if self.era == Era::Modern {
                        // These are the client's own headers, and the list that it asks for next is the new one.
                        (self.again, self.spare) = (None, None);
                        return Event::Done(Outcome::Error(error));
                    }
                }
                Some(Again::Unspoken(error)) => {
                    let error = error.clone();
                    if !Box::pin(self.upstream.agrees_anew(&self.link)).await {
                        (self.again, self.spare) = (None, None);
                        return Event::Done(Outcome::Error(error));
                    }
                }
                Some(Again::Lost) | None => self.upstream.renewed().await,
            }
            let sent = send(&self.source, spare).await;
            // Only now: a caller that gives up waiting and comes back begins here again.
            (self.again, self.spare) = (None, None);
            match sent {
                Ok(Sent { knowing: Knowing { link, borrowed }, exchange, lasting }) => {
                    (self.link, self.borrowed) = (link, borrowed);
                    (self.exchange, self.lasting) = (exchange, lasting);
                }
                Err(fault) => return Event::Lost(fault),
            }
        }
        self.exchange.next().await
    }

    /// Whether an error says that the headers do not fit the arguments, before anything else has come of the request.
    fn is_mismatch(&self, error: &Raw) -> bool {
        self.spare.as_ref().is_some_and(|spare| spare.method == method::TOOLS_CALL)
            && mirrors_arguments(&self.link)
            && has_code(error, code::HEADER_MISMATCH)
    }

    /// Whether an error says that a server over HTTP, which was modern, speaks other revisions now: it may be another version
    /// of it (MCP 2026-07-28 §Versioning, "Protocol Version Negotiation").
    fn is_unspoken(&self, error: &Raw) -> bool {
        let listed = || member(error, "data").and_then(|data| member(data, "supported"));
        self.spare.is_some()
            && self.link.era() == Era::Modern
            && self.link.pid().is_none()
            && has_code(error, code::UNSUPPORTED_VERSION)
            && listed().is_some_and(|listed| !listed.get().contains(MODERN))
    }

    /// What came of it, once its last event was taken; if it was called off, that.
    pub(super) fn verdict(&self) -> Verdict {
        self.meter.verdict.unwrap_or(Verdict::Cancelled)
    }

    /// Its way to the server and back.
    pub(super) fn exchange(&mut self) -> &mut Exchange {
        &mut self.exchange
    }
}

/// Parameters of a legacy client as a modern server expects them: with what the session knows of its client.
fn for_modern(source: &impl ConnectionSource, params: Option<Raw>) -> Raw {
    let Some((client, level)) = source.client() else { return ClientMeta::default().apply(params) };
    let params = client.apply(params);
    match level {
        Some(level) => set_path(&params, &["_meta", key::LOG_LEVEL], level.get()).unwrap_or(params),
        None => params,
    }
}

/// Sends a request over the connection that there is now.
async fn send(source: &impl ConnectionSource, routed: Routed) -> Result<Sent, Fault> {
    let Routed { upstream, era, method, params, headers, .. } = routed;
    let limit = upstream.settings().request_timeout;
    let asked = Instant::now();
    let permit = upstream.permit(limit, false).await?;
    // What all servers of the upstream list is known before a client's own one is there.
    let knowing = if Kind::of_method(&method).is_some() && source.meanwhile(&upstream).is_some() {
        soon(source, &upstream).await?
    } else {
        Knowing { link: source.link(&upstream).await?, borrowed: false }
    };
    let link = Arc::clone(&knowing.link);
    if era != link.era() && method.starts_with("tasks/") {
        return Err(Fault::method_not_found(&method).with_reason(
            "the server's tasks are those of the other era of the protocol, which cannot be bridged",
        ));
    }
    if !link.takes(&method) {
        return Err(
            Fault::method_not_found(&method).with_reason("its server has not declared that it can do this")
        );
    }
    let mut mirrors = headers;
    let mut params = match (era, link.era()) {
        (Era::Modern, Era::Legacy) => to_legacy_params(params),
        (Era::Legacy, Era::Modern) => {
            let params = for_modern(source, params);
            if method == method::TOOLS_CALL {
                let client = source.client().map(|(client, _)| client).unwrap_or_default();
                mirrors = mirrored_headers(&link, &params, &client).await;
            }
            Some(params)
        }
        _ => params,
    };
    let lasts = era == link.era() && era == Era::Legacy && link.has_tasks() && method == method::TOOLS_CALL;
    let lasting = if lasts { link.inbox().lasting().claim(&mut params, || source.later()) } else { None };
    let waits = method == method::TASKS_RESULT;
    // The wait for the permit is part of the time that the request has.
    let left = if waits { TASK } else { limit.saturating_sub(asked.elapsed()).max(LEAST) };
    let mut call = Call::new(method, params, left);
    call.headers = mirrors;
    call.for_client = true;
    let exchange = link.call(call).await.with_permit(permit.filter(|_| !waits));
    Ok(Sent { knowing, exchange, lasting })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::gateway::catalog::Native;
    use crate::gateway::service::Gateway;

    /// The built-in upstream of a gateway that was just started.
    fn builtin() -> (Gateway, Arc<Upstream>) {
        let gateway = Gateway::start(&Config::default(), Vec::new(), std::path::Path::new("/")).unwrap();
        let upstream = Arc::clone(&gateway.routing().current().upstreams()[0]);
        (gateway, upstream)
    }

    #[tokio::test]
    async fn request_is_sent_again_though_something_else_is_looked_at_while_it_waits_for_a_connection() {
        let (before, former) = builtin();
        let link = former.native().await.unwrap();
        // What is sent over it from now on is lost before anybody has seen it.
        assert!(link.retire_unused());
        let (after, upstream) = builtin();
        let routed = Routed {
            upstream: Arc::clone(&upstream),
            era: Era::Modern,
            method: "tools/list".into(),
            params: None,
            headers: Vec::new(),
            answered: Answered::AsIs,
        };
        let exchange = link.call(Call::new("tools/list", None, Duration::from_secs(60))).await;
        let spare = Some(routed);
        let era = Era::Modern;
        let meter = Meter {
            upstream: Arc::clone(&upstream),
            method: method::TOOLS_LIST,
            began: Instant::now(),
            verdict: None,
        };
        let mut call = ForwardedCall {
            upstream,
            source: Native,
            list: None,
            borrowed: false,
            spare,
            era,
            answered: Answered::AsIs,
            again: None,
            link,
            exchange,
            meter,
            lasting: None,
        };
        // The upstream's own task has not run yet: the request waits for its connection.
        for _ in 0..3 {
            assert!(futures_util::poll!(Box::pin(call.next())).is_pending());
        }
        let event = call.next().await;
        let Event::Done(Outcome::Result(result)) = event else { panic!("{event:?}") };
        assert!(result.get().contains("tools"), "{}", result.get());
        before.stop().await;
        after.stop().await;
    }
}
