//! What each request passes through, in this order: the proxy it comes by, guard, authentication, limits, and the handler of
//! its era.

use std::pin::pin;
use std::sync::Arc;

use axum::BoxError;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body::Body;

use super::authenticate::{Asked, Identified, authenticate};
use super::bodies::Bodies;
use super::context::RequestContext;
use super::cutoff::Cutoff;
use super::forwarded;
use super::gate::Gate;
use super::guard::Guard;
use super::legacy::{EventClients, Legacy};
use super::message::Received;
use super::modern::Modern;
use super::peer::{Peer, PeerAddress};
use super::{answer, message, validate};
use crate::config::Auth;
use crate::gateway::access::{Exceeded, KnownTokens, Usage, Usages};
use crate::gateway::catalog::{RoutingHandle, RoutingTable};
use crate::gateway::client::ClientKey;
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, Id, Message, code};
use crate::gateway::requests::{InFlight, RequestCounter};

/// What is answered where two headers of a trusted proxy cannot both be its own.
const CONTRADICTION: (StatusCode, &str) = (
    StatusCode::BAD_REQUEST,
    "Forwarded and X-Forwarded-For name different clients; have the proxy remove the one that it does not set",
);
/// What names every upstream, which is for clients only that may use all of them.
const TELLING: [&str; 2] = ["/health", "/metrics"];

/// The way of a request to its handler.
pub(crate) struct Pipeline {
    /// Says which requests are let in.
    guard: Guard,
    /// The configuration in force, and what is behind which endpoint.
    routing: Arc<RoutingHandle>,
    /// The tokens that are believed.
    tokens: Arc<KnownTokens>,
    /// What clients use that the configuration does not name.
    usages: Arc<Usages>,
    /// Bodies of requests that are not complete.
    bodies: Arc<Bodies>,
    /// Counts requests.
    requests: Arc<RequestCounter>,
    /// Handles requests that stand by themselves.
    modern: Modern,
    /// Handles requests within sessions.
    legacy: Arc<Legacy>,
    /// Serves clients of HTTP+SSE.
    events: EventClients,
}

impl Pipeline {
    /// A pipeline of these parts.
    pub(crate) fn new(
        guard: Guard,
        routing: Arc<RoutingHandle>,
        (tokens, usages): (Arc<KnownTokens>, Arc<Usages>),
        requests: Arc<RequestCounter>,
        (modern, legacy): (Modern, Legacy),
    ) -> Self {
        let legacy = Arc::new(legacy);
        let events = EventClients::new(Arc::clone(&legacy));
        Self { guard, routing, tokens, usages, bodies: Arc::default(), requests, modern, legacy, events }
    }

    /// Of every request, before anything else: proxy, guard, authentication. The answer to one that is refused.
    pub(super) fn admit(
        &self,
        head: &Parts,
        gate: &Gate,
        (peer, cutoff): (&Peer, &Cutoff),
    ) -> Result<RequestContext, Box<Response>> {
        let table = self.routing.current();
        let Some(named) = gate.named() else {
            let admitted = self.guard.check((&table.server, None), head, peer.address)?;
            let client = self.identify(&table, &[], (head, peer, peer.address))?;
            let client = self.with_usage(&table, client, peer.address);
            let place = (peer.address, gate.is_local());
            return Ok(RequestContext::new(admitted, client, place, cutoff.clone()));
        };
        let listener = named.listener();
        let mut address = peer.address;
        if listener.trusted_proxies.have(address) {
            address = forwarded::client(&head.headers, address, &listener.trusted_proxies)
                .map_err(|_| Box::new(self.guard.refuse(head, address, CONTRADICTION)))?;
        }
        let admitted = self.guard.check((&table.server, Some(listener)), head, address)?;
        let client = self.identify(&table, &listener.auth, (head, peer, address))?;
        let client = self.with_usage(&table, client, address);
        let is_local = gate.is_local() && address.is_none_or(|it| it.to_canonical().is_loopback());
        Ok(RequestContext::new(admitted, client, (address, is_local), cutoff.clone()))
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
    fn begin(&self, context: &RequestContext, message: &Message) -> Result<InFlight, Fault> {
        let slot = match context.usage() {
            None => None,
            Some(usage) => usage.begin(message).map_err(|exceeded| self.too_much(context, exceeded))?,
        };
        Ok(self.requests.begin(slot))
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
            Err(exceeded) => answer::fault(&self.too_much(context, exceeded), None, Era::Legacy),
        }
    }

    /// What a client is told that has asked for more than it may, of which the log tells.
    fn too_much(&self, context: &RequestContext, exceeded: Exceeded) -> Fault {
        let fault = Fault::from(exceeded);
        self.guard.note_limit(&fault, &ClientKey::of_client(context.client(), context.peer()));
        fault
    }

    /// The client of a request, where clients have to show who they are: because the listener asks for it in these ways, or
    /// because there are clients with names. The answer to one that is refused.
    fn identify(
        &self,
        table: &RoutingTable,
        ways: &[Auth],
        (head, peer, address): (&Parts, &Peer, PeerAddress),
    ) -> Result<Option<Arc<Identified>>, Box<Response>> {
        if ways.is_empty() && (table.clients().is_empty() || peer.is_operator) {
            return Ok(None);
        }
        let asked = Asked { ways, open: table.server.auth.is_some() };
        let identified = authenticate((table.clients(), &self.tokens), asked, (head, peer));
        let identified = identified.map_err(|refused| {
            let uid = peer.kernel.as_ref().map(|peer| peer.uid);
            self.guard.note_stranger(refused.reason(), (address, uid));
            Box::new(refused.answer())
        })?;
        let is_hidden = |identity: &Arc<Identified>| {
            TELLING.contains(&head.uri.path()) && table.restricts(identity.name())
        };
        if identified.as_ref().is_some_and(is_hidden) {
            return Err(Box::new(StatusCode::NOT_FOUND.into_response()));
        }
        Ok(identified)
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
        let (message, era) = match self.receive(&cutoff, headers, body).await {
            Ok(Received::Message(message, era)) => (message, era),
            // In a box, so that single messages need no room for it.
            Ok(Received::Batch(entries)) => {
                let begin = |message: &Message| self.begin(&context, message);
                return Box::pin(self.legacy.batch((&context, headers), entries, begin)).await;
            }
            Err(refusal) => return refusal,
        };
        let id = if let Message::Request(request) = &message { Some(request.id.clone()) } else { None };
        let in_flight = match self.begin(&context, &message) {
            Ok(in_flight) => in_flight,
            Err(fault) => return answer::fault(&fault, id, era),
        };
        let answered = match era {
            // Looked up only now: a body that comes slowly must not keep an upstream that a reload has removed.
            Era::Modern => match self.routing.view(context.endpoint()) {
                Some(view) => {
                    // Pinned here: it is large, and would be copied several times.
                    let work = pin!(self.modern.post((context, view), headers, message, in_flight));
                    cutoff.before(work).await
                }
                None => Some(answer::unknown(context.endpoint())),
            },
            Era::Legacy => self.legacy.post(context, headers, message, in_flight).await,
        };
        answered.unwrap_or_else(|| too_late(id, era))
    }

    /// Of a message that a client of HTTP+SSE posts beside the event stream of this identifier.
    pub(super) async fn post_beside(
        &self,
        context: RequestContext,
        stream: &str,
        (headers, body): (&HeaderMap, impl Body<Data = Bytes, Error: Into<BoxError>> + Unpin),
    ) -> Response {
        if let Err(fault) = validate::legacy_version(headers) {
            return answer::fault(&fault, None, Era::Legacy);
        }
        let cutoff = context.cutoff().clone();
        let message = match self.receive(&cutoff, headers, body).await {
            Ok(Received::Message(message, _)) => message,
            Ok(Received::Batch(_)) => {
                let message = "this transport has no batches; send one message after the other";
                let fault = Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message);
                return answer::fault(&fault, None, Era::Legacy);
            }
            Err(refusal) => return refusal,
        };
        let id = if let Message::Request(request) = &message { Some(request.id.clone()) } else { None };
        let in_flight = match self.begin(&context, &message) {
            Ok(in_flight) => in_flight,
            Err(fault) => return answer::fault(&fault, id, Era::Legacy),
        };
        let answered = self.events.take_posted(&context, stream, (message, in_flight)).await;
        answered.unwrap_or_else(|| too_late(id, Era::Legacy))
    }

    /// Reads a message and tells its era, while there is time.
    async fn receive(
        &self,
        cutoff: &Cutoff,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    ) -> Result<Received, Response> {
        let server = &self.routing.current().server;
        let received = pin!(message::receive(headers, body, &self.bodies, server));
        match cutoff.before(received).await {
            Some(received) => received,
            None => Err(answer::fault(&Fault::unread(), None, Era::Modern)),
        }
    }

    /// The handler of what belongs to a session but is no message.
    pub(super) fn legacy(&self) -> &Legacy {
        &self.legacy
    }

    /// What serves clients of HTTP+SSE.
    pub(super) const fn events(&self) -> &EventClients {
        &self.events
    }
}

/// The answer to a message whose time is over.
fn too_late(id: Option<Id>, era: Era) -> Response {
    let fault = if id.is_some() { Fault::cut_off() } else { Fault::unread() };
    answer::fault(&fault, id, era)
}
