//! The record of a request in the log: written when nobody works on the request any more, and its answer is sent.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Instant;

use axum::BoxError;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::config::Access;
use crate::gateway::client::ClientName;
use crate::request_id::RequestId;

/// Bytes of a path that are told.
const PATH: usize = 256;

/// What the record of a request says.
#[derive(Debug)]
pub(crate) struct AccessEntry {
    /// The request's identifier.
    request: RequestId,
    /// When it has come.
    began: Instant,
    /// The method of HTTP.
    method: http::Method,
    /// The path, without a query.
    path: Box<str>,
    /// Whether it is written also where all has gone well.
    always: bool,
    /// The address that it comes from, and the client.
    client: OnceLock<(Option<IpAddr>, Option<ClientName>)>,
    /// The status of the answer.
    status: OnceLock<StatusCode>,
    /// What was asked of MCP.
    operation: OnceLock<Asked>,
}

/// What was asked of MCP, and what came of it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: Option<&'static str>,
    /// The tool.
    pub(crate) tool: Option<Box<str>>,
    /// The upstream.
    pub(crate) upstream: Option<Box<str>>,
    /// What came of it.
    pub(crate) outcome: &'static str,
    /// What kind of error that was.
    pub(crate) error: &'static str,
}

/// A body that keeps the record from being written until it is sent.
struct Held {
    /// The body.
    body: Body,
    /// The record.
    _entry: Arc<AccessEntry>,
}

impl AccessEntry {
    /// Of a request that has come, if it is to have a record.
    pub(crate) fn begin(access: Access, head: &Parts, request: &RequestId) -> Option<Arc<Self>> {
        if access == Access::Off {
            return None;
        }
        let path = head.uri.path();
        let end = (0..=PATH.min(path.len())).rev().find(|end| path.is_char_boundary(*end)).unwrap_or(0);
        Some(Arc::new(Self {
            request: request.clone(),
            began: Instant::now(),
            method: head.method.clone(),
            path: path[..end].into(),
            always: access == Access::All,
            client: OnceLock::new(),
            status: OnceLock::new(),
            operation: OnceLock::new(),
        }))
    }

    /// Notes whom it comes from.
    pub(crate) fn comes_from(&self, address: Option<IpAddr>, client: Option<&ClientName>) {
        let _ = self.client.set((address, client.cloned()));
    }

    /// Notes what was asked; of several in one request, the first one that is over.
    pub(crate) fn asked(&self, asked: Asked) {
        let _ = self.operation.set(asked);
    }

    /// The answer, with which the record waits.
    pub(crate) fn answered(self: Arc<Self>, response: Response) -> Response {
        let _ = self.status.set(response.status());
        response.map(|body| Body::new(Held { body, _entry: self }))
    }
}

impl Drop for AccessEntry {
    fn drop(&mut self) {
        let status = self.status.get().map(StatusCode::as_u16);
        let asked = self.operation.get();
        let outcome = asked.map(|asked| asked.outcome);
        // An answer that was never made, since its client has gone, is no failure of the gateway's.
        let failed = status.is_some_and(|status| status >= 400)
            || outcome.is_some_and(|outcome| !matches!(outcome, "ok" | "cancelled"));
        if !self.always && !failed {
            return;
        }
        let _entered = self.request.enter();
        let (address, client) =
            self.client.get().map_or((None, None), |(address, client)| (*address, client.as_ref()));
        tracing::info!(
            target: "mcpeg::access",
            client = client.map(ClientName::entry),
            subject = client.and_then(ClientName::subject).map(|(_, subject)| subject),
            client.address = address.map(tracing::field::display),
            http.request.method = %self.method,
            url.path = &*self.path,
            http.response.status_code = status,
            mcp.method.name = asked.and_then(|asked| asked.method),
            gen_ai.tool.name = asked.and_then(|asked| asked.tool.as_deref()),
            upstream = asked.and_then(|asked| asked.upstream.as_deref()),
            outcome,
            error.type = asked.map(|asked| asked.error).filter(|error| !error.is_empty()),
            duration_ms = self.began.elapsed().as_secs_f64() * 1000.0,
            "answered"
        );
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
