//! What each request passes through, in this order: the proxy it comes by, guard, authentication, limits, and the handler of
//! its era.

use std::pin::pin;
use std::sync::Arc;

use axum::BoxError;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use fieldwork::Fieldwork;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body::Body;

use super::authenticate::{Asked, Believed, Identified, NotAdmitted, authenticate};
use super::bodies::Bodies;
use super::context::RequestContext;
use super::cutoff::Cutoff;
use super::forwarded;
use super::gate::Gate;
use super::guard::{Guard, Refused};
use super::legacy::{EventClients, Legacy};
use super::message::{Received, Refusal};
use super::modern::Modern;
use super::peer::{Peer, PeerAddress};
use super::{answer, cors, message, validate};
use crate::config::Auth;
use crate::gateway::access::{Exceeded, Issuer, Issuers, KnownTokens, Usage, Usages};
use crate::gateway::catalog::{RoutingHandle, RoutingTable};
use crate::gateway::client::ClientKey;
use crate::gateway::error::{Cause, Fault};
use crate::gateway::memory;
use crate::gateway::person::Ambiguous;
use crate::gateway::relay::{Era, Id, Message, code};
use crate::gateway::telemetry::{Ledger, Operation, Origin, Reason, Verdict};

/// What is answered where two headers of a trusted proxy cannot both be its own.
const CONTRADICTION: Refused = (
    Reason::Proxy,
    StatusCode::BAD_REQUEST,
    "Forwarded and X-Forwarded-For name different clients; have the proxy remove the one that it does not set",
);
/// What is answered where it cannot be told what upstreams are to be shown.
const AMBIGUOUS: Refused = (
    Reason::Message,
    StatusCode::BAD_REQUEST,
    "a header that goes on to an upstream must be there once only, in visible ASCII characters",
);
/// What names every upstream, which is for clients only that may use all of them.
const TELLING: [&str; 4] = ["health", "metrics", "status", "status/events"];

/// Why a request is not let in, or not yet.
pub(super) enum Held {
    /// This is its answer.
    Answer(Box<Response>),
    /// Keys of this server have to be looked for first.
    Wait(Arc<Issuer>),
}

impl From<Box<Response>> for Held {
    fn from(answer: Box<Response>) -> Self {
        Self::Answer(answer)
    }
}

/// The way of a request to its handler.
#[derive(Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(crate) struct Pipeline {
    /// Says which requests are let in.
    guard: Guard,
    /// The configuration in force, and what is behind which endpoint.
    routing: Arc<RoutingHandle>,
    /// The tokens that are believed.
    tokens: Arc<KnownTokens>,
    /// The authorization servers whose tokens are.
    issuers: Arc<Issuers>,
    /// What clients use that the configuration does not name.
    usages: Arc<Usages>,
    /// Bodies of requests that are not complete.
    bodies: Arc<Bodies>,
    /// Counts requests.
    ledger: Arc<Ledger>,
    /// Handles requests that stand by themselves.
    modern: Modern,
    /// Handles requests within sessions.
    #[field(get)]
    legacy: Arc<Legacy>,
    /// Serves clients of HTTP+SSE.
    #[field(get)]
    events: EventClients,
}

impl Pipeline {
    /// A pipeline of these parts.
    pub(crate) fn new(
        guard: Guard,
        routing: Arc<RoutingHandle>,
        (tokens, issuers, usages): (Arc<KnownTokens>, Arc<Issuers>, Arc<Usages>),
        ledger: Arc<Ledger>,
        (modern, legacy): (Modern, Legacy),
    ) -> Self {
        let legacy = Arc::new(legacy);
        let events = EventClients::new(Arc::clone(&legacy));
        let bodies = Arc::default();
        Self { guard, routing, tokens, issuers, usages, bodies, ledger, modern, legacy, events }
    }

    /// Of every request, before anything else: proxy, guard, authentication. Why one is not let in; where it has `waited`, not
    /// because keys have to be looked for.
    pub(super) fn admit(
        &self,
        head: &Parts,
        gate: &Gate,
        (peer, cutoff): (&Peer, &Cutoff),
        origin: &Origin,
        waited: bool,
    ) -> Result<RequestContext, Held> {
        let table = self.routing.current();
        let Some(named) = gate.named() else {
            let admitted = self.guard.check((&table.server, None), head, origin)?;
            let client = self.identify(&table, &[], (head, peer, origin), waited)?;
            let client = self.with_usage(&table, client, origin.address());
            let place = (origin.clone(), gate.is_local());
            let context = RequestContext::new(admitted, client, place, cutoff.clone());
            return self.showing(&table, head, context);
        };
        let listener = named.listener();
        let mut origin = origin.clone();
        if listener.trusted_proxies.have(peer.address()) {
            let found = forwarded::client(&head.headers, peer.address(), &listener.trusted_proxies);
            let found = found.map_err(|_| Box::new(self.guard.refuse(head, &origin, CONTRADICTION)))?;
            origin = origin.at(found);
        }
        let admitted = self.guard.check((&table.server, Some(listener)), head, &origin)?;
        let client = self.identify(&table, &listener.auth, (head, peer, &origin), waited)?;
        let client = self.with_usage(&table, client, origin.address());
        let is_local = gate.is_local() && origin.address().is_none_or(|it| it.to_canonical().is_loopback());
        let context = RequestContext::new(admitted, client, (origin, is_local), cutoff.clone());
        self.showing(&table, head, context)
    }

    /// The same request with what upstreams are shown of its client, where they want that.
    fn showing(
        &self,
        table: &RoutingTable,
        head: &Parts,
        context: RequestContext,
    ) -> Result<RequestContext, Held> {
        let Some(wanted) = table.wanted() else { return Ok(context) };
        match wanted.read(&head.headers, context.client()) {
            Ok(person) => {
                let subject = context.identity().as_ref().filter(|_| wanted.exchanges());
                let subject = subject.and_then(|identity| identity.subject(head));
                if let Some((person, subject)) = person.as_ref().zip(subject) {
                    table.upstreams().iter().for_each(|upstream| upstream.show(person, &subject));
                }
                Ok(context.showing(person))
            }
            Err(Ambiguous) => Err(Box::new(self.guard.refuse(head, context.origin(), AMBIGUOUS)).into()),
        }
    }

    /// Who has sent a request, and what that client uses of its limits, if it has any.
    fn with_usage(
        &self,
        table: &RoutingTable,
        identity: Option<Arc<Identified>>,
        address: PeerAddress,
    ) -> (Option<Arc<Identified>>, Option<Arc<Usage>>) {
        let usage = match &identity {
            Some(identity) if !table.clients().is_empty() => identity.usage().cloned(),
            _ => self.usages.of(&table.server.per_client, || {
                ClientKey::of_client(identity.as_ref().map(|identity| identity.name()), address)
            }),
        };
        (identity, usage)
    }

    /// Counts a message, unless its client has sent more than it may.
    fn begin(
        &self,
        context: &RequestContext,
        message: &Message,
        held: Option<memory::Held>,
    ) -> Result<Arc<Operation>, Fault> {
        let taken = context.usage().map_or(Ok(None), |usage| usage.begin(message));
        let taken = taken.map_err(|exceeded| self.too_much(context, exceeded));
        let begin = |slot, held| {
            let place = (context.origin(), context.endpoint());
            Operation::begin(&self.ledger, place, Some(message), (slot, held))
        };
        match taken {
            Ok(slot) => Ok(begin(slot, held)),
            Err(fault) => {
                begin(None, held).failed(&fault);
                Err(fault)
            }
        }
    }

    /// Opens an event stream, unless its client has as many as it may.
    pub(super) async fn open(
        &self,
        context: &RequestContext,
        answer: impl Future<Output = Response>,
    ) -> Response {
        let Some(usage) = context.usage() else { return answer.await };
        match usage.open() {
            Ok(slot) => answer::holding(answer.await, slot),
            Err(exceeded) => {
                let fault = self.too_much(context, exceeded);
                self.refuse(context, Refusal::new(fault, Era::Legacy))
            }
        }
    }

    /// What a client is told that has asked for more than it may, of which the log tells.
    fn too_much(&self, context: &RequestContext, exceeded: Exceeded) -> Fault {
        let fault = Fault::from(exceeded);
        self.guard.note_limit(&fault, &ClientKey::of_client(context.client(), context.peer()));
        fault
    }

    /// The client of a request, where clients have to show who they are: because the listener asks for it in these ways, or
    /// because there are clients with names. Why one is not let in.
    fn identify(
        &self,
        table: &RoutingTable,
        ways: &[Auth],
        (head, peer, origin): (&Parts, &Peer, &Origin),
        waited: bool,
    ) -> Result<Option<Arc<Identified>>, Held> {
        if ways.is_empty() && (table.clients().is_empty() || peer.is_operator()) {
            return Ok(None);
        }
        let asked = Asked::new(ways, table.server.auth.is_some());
        let believed = Believed::new(table.clients(), &self.tokens, &self.issuers);
        let identified = authenticate(believed, asked, (head, peer), waited).map_err(|why| {
            let (refused, missing) = match why {
                NotAdmitted::Refused(refused) => (refused, None),
                NotAdmitted::Lacking(refused, missing) => (refused, Some(missing)),
                NotAdmitted::Wait(issuer) => return Held::Wait(issuer),
            };
            self.guard.note_stranger((refused.cause(), refused.reason()), origin);
            let told = Some(head.uri.path()).filter(|_| takes_oauth(ways));
            let told = told.and_then(|path| self.issuers.challenge(path));
            let mut answer = refused.answer(told.as_ref(), missing.as_deref());
            cors::tell(&head.headers, answer.headers_mut());
            Held::Answer(Box::new(answer))
        })?;
        let is_hidden = |identity: &Arc<Identified>| {
            // Slashes around it lead to the same.
            TELLING.contains(&head.uri.path().trim_matches('/')) && table.restricts(identity.name())
        };
        if let Some(identity) = identified.as_ref().filter(|identity| is_hidden(identity)) {
            self.ledger.refuse(Reason::Rights, origin, (Some(identity.name()), None));
            return Err(Held::Answer(Box::new(StatusCode::NOT_FOUND.into_response())));
        }
        Ok(identified)
    }

    /// What clients are told of authorization servers that come over a listener and look below the well-known place.
    pub(super) fn resource_metadata(&self, gate: &Gate, below: &str) -> Option<serde_json::Value> {
        let is_asked = gate.named().is_none_or(|named| takes_oauth(&named.listener().auth));
        self.issuers.metadata(below).filter(|_| is_asked)
    }

    /// Of a message that is posted to an endpoint: limits, era. Whatever it waits for, it is answered when a drain has no more
    /// time.
    pub(super) async fn post(
        &self,
        context: RequestContext,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    ) -> Response {
        let cutoff = context.cutoff().clone();
        let (message, era, held) = match self.receive(&cutoff, headers, body).await {
            Ok((Received::Message(message, era), held)) => (message, era, held),
            // In a box, so that single messages need no room for it.
            Ok((Received::Batch(entries), _held)) => {
                let begin = |message: &Message| self.begin(&context, message, None);
                return Box::pin(self.legacy.batch((&context, headers), entries, begin)).await;
            }
            Err(refusal) => return self.refuse(&context, refusal),
        };
        let id = if let Message::Request(request) = &message { Some(request.id.clone()) } else { None };
        let operation = match self.begin(&context, &message, held) {
            Ok(operation) => operation,
            Err(fault) => return answer::fault(&fault, id, era),
        };
        let answered = match era {
            // Looked up only now: a body that comes slowly must not keep an upstream that a reload has removed.
            Era::Modern => {
                if let Some(view) = self.routing.view(context.endpoint()) {
                    // Pinned here: it is large, and would be copied several times.
                    let work = pin!(self.modern.post((context, view), headers, message, &operation));
                    cutoff.before(work).await
                } else {
                    operation.ended(Verdict::Refused(Reason::Endpoint));
                    Some(answer::unknown(context.endpoint()))
                }
            }
            Era::Legacy => self.legacy.post(context, headers, message, &operation).await,
        };
        answered.unwrap_or_else(|| too_late(&operation, id, era))
    }

    /// Counts a message that cannot be taken, and answers it.
    fn refuse(&self, context: &RequestContext, refusal: Refusal) -> Response {
        if let Cause::Refused(reason) = refusal.fault().cause {
            self.ledger.refuse(reason, context.origin(), (context.client(), context.endpoint().name()));
        }
        refusal.answer()
    }

    /// Answers a request to an endpoint that is not there for its client.
    pub(super) fn nowhere(&self, context: &RequestContext) -> Response {
        let endpoint = context.endpoint();
        self.ledger.refuse(Reason::Endpoint, context.origin(), (context.client(), endpoint.name()));
        answer::unknown(endpoint)
    }

    /// Of a message that a client of HTTP+SSE posts beside the event stream of this identifier.
    pub(super) async fn post_beside(
        &self,
        context: RequestContext,
        stream: &str,
        (headers, body): (&HeaderMap, impl Body<Data = Bytes, Error: Into<BoxError>> + Unpin),
    ) -> Response {
        if let Err(fault) = validate::legacy_version(headers) {
            return self.refuse(&context, Refusal::new(fault, Era::Legacy));
        }
        let cutoff = context.cutoff().clone();
        let (message, held) = match self.receive(&cutoff, headers, body).await {
            Ok((Received::Message(message, _), held)) => (message, held),
            Ok((Received::Batch(_), _)) => {
                let message = "this transport has no batches; send one message after the other";
                let fault = Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message);
                return self.refuse(&context, Refusal::new(fault, Era::Legacy));
            }
            Err(refusal) => return self.refuse(&context, refusal),
        };
        let id = if let Message::Request(request) = &message { Some(request.id.clone()) } else { None };
        let operation = match self.begin(&context, &message, held) {
            Ok(operation) => operation,
            Err(fault) => return answer::fault(&fault, id, Era::Legacy),
        };
        let answered = self.events.take_posted(&context, stream, (message, &operation)).await;
        answered.unwrap_or_else(|| too_late(&operation, id, Era::Legacy))
    }

    /// Reads a message and tells its era, while there is time.
    async fn receive(
        &self,
        cutoff: &Cutoff,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    ) -> Result<(Received, Option<memory::Held>), Refusal> {
        let server = &self.routing.current().server;
        let received = pin!(message::receive(headers, body, &self.bodies, server));
        match cutoff.before(received).await {
            Some(received) => received,
            None => Err(Refusal::new(Fault::unread(), Era::Modern)),
        }
    }
}

/// Whether a token of an authorization server is one of these ways; none is every way.
fn takes_oauth(ways: &[Auth]) -> bool {
    ways.is_empty() || ways.contains(&Auth::Oauth)
}

/// The answer to a message whose time is over.
fn too_late(operation: &Operation, id: Option<Id>, era: Era) -> Response {
    let fault = if id.is_some() { Fault::cut_off() } else { Fault::unread() };
    operation.failed(&fault);
    answer::fault(&fault, id, era)
}
