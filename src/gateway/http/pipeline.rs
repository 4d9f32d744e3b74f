//! What each request passes through, in this order: guard, authentication, limits, and the handler of its era.

use std::sync::Arc;

use axum::BoxError;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use http_body::Body;

use super::bodies::Bodies;
use super::context::{Identity, PeerAddress, RequestContext};
use super::cutoff::Cutoff;
use super::guard::Guard;
use super::legacy::Legacy;
use super::message::Received;
use super::modern::Modern;
use super::{answer, message};
use crate::gateway::catalog::RoutingHandle;
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, Message};
use crate::gateway::requests::RequestCounter;

/// The way of a request to its handler.
pub(crate) struct Pipeline {
    /// Says which requests are let in.
    guard: Guard,
    /// The configuration in force, and what is behind which endpoint.
    routing: Arc<RoutingHandle>,
    /// Bodies of requests that are not complete.
    bodies: Arc<Bodies>,
    /// Counts requests.
    requests: Arc<RequestCounter>,
    /// Handles requests that stand by themselves.
    modern: Modern,
    /// Handles requests within sessions.
    legacy: Legacy,
}

impl Pipeline {
    /// A pipeline of these parts.
    pub(crate) fn new(
        guard: Guard,
        routing: Arc<RoutingHandle>,
        requests: Arc<RequestCounter>,
        (modern, legacy): (Modern, Legacy),
    ) -> Self {
        Self { guard, routing, bodies: Arc::default(), requests, modern, legacy }
    }

    /// Of every request, before anything else: guard, authentication. The answer to one that is refused.
    pub(super) fn admit(
        &self,
        head: &Parts,
        (peer, cutoff): (PeerAddress, &Cutoff),
    ) -> Result<RequestContext, Box<Response>> {
        let admitted = self.guard.check(head, peer)?;
        let identity = authenticate(&head.headers);
        Ok(RequestContext::new(admitted, identity, (peer, cutoff.clone())))
    }

    /// Of a message that is posted to an endpoint: limits, era. Whatever it waits for, it is answered when a drain has no more
    /// time.
    pub(super) async fn post(
        &self,
        context: RequestContext,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    ) -> Response {
        let server = &self.routing.current().server;
        let cutoff = context.cutoff().clone();
        let received = cutoff.before(message::receive(headers, body, &self.bodies, server)).await;
        let (message, era) = match received {
            Some(Ok(Received::Message(message, era))) => (message, era),
            // In a box, so that single messages need no room for it.
            Some(Ok(Received::Batch(entries))) => {
                let begin = || self.requests.begin();
                return Box::pin(self.legacy.batch((headers, &cutoff), entries, begin)).await;
            }
            Some(Err(refusal)) => return refusal,
            None => return answer::fault(&Fault::unread(), None, Era::Modern),
        };
        let in_flight = self.requests.begin();
        let id = if let Message::Request(request) = &message { Some(request.id.clone()) } else { None };
        let answered = match era {
            // Looked up only now: a body that comes slowly must not keep an upstream that a reload has removed.
            Era::Modern => match self.routing.view(context.endpoint()) {
                Some(view) => {
                    cutoff.before(self.modern.post((context, view), headers, message, in_flight)).await
                }
                None => Some(answer::unknown(context.endpoint())),
            },
            Era::Legacy => self.legacy.post(context, headers, message, in_flight).await,
        };
        answered.unwrap_or_else(|| {
            let fault = if id.is_some() { Fault::cut_off() } else { Fault::unread() };
            answer::fault(&fault, id, era)
        })
    }

    /// The handler of what belongs to a session but is no message.
    pub(super) const fn legacy(&self) -> &Legacy {
        &self.legacy
    }
}

/// Whom a request comes from, by what it has to show: for now nobody can show anything.
const fn authenticate(_: &HeaderMap) -> Identity {
    Identity::Anonymous
}
