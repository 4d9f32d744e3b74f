//! Requests of MCP 2026-07-28 to a gateway, over HTTP that its control socket has let in. Each has a connection of its own;
//! closing it calls the request off.

use std::path::PathBuf;

use fieldwork::Fieldwork;
use futures_util::StreamExt as _;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sse_stream::SseByteStream;

use super::error::{Error, Refusal};
use crate::control::{self, CLIENT_LIMIT};
use crate::gateway::header_value;

/// The revision that is spoken.
const REVISION: &str = "2026-07-28";
/// More pages than that has no list.
const PAGES: usize = 1000;

/// A way to ask a gateway.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(super) struct Connection {
    /// Its control socket.
    #[field(get)]
    socket: PathBuf,
    /// The path of the endpoint.
    path: String,
    /// Whether a person can be asked.
    #[field(get)]
    is_interactive: bool,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The method.
    method: &'static str,
    /// What it is about, which a header repeats.
    name: Option<String>,
    /// The parameters.
    params: Map<String, Value>,
    /// Further headers that repeat parameters.
    headers: Vec<(String, String)>,
}

/// A message of the gateway.
#[derive(Deserialize)]
struct Message {
    /// Of a notification.
    method: Option<String>,
    /// Of a notification.
    #[serde(default)]
    params: Value,
    /// Of an answer.
    result: Option<Box<RawValue>>,
    /// Of an answer.
    error: Option<Refusal>,
}

impl Connection {
    /// To the gateway with this control socket, or to one of its endpoints.
    pub(super) fn new(socket: PathBuf, endpoint: Option<&str>, is_interactive: bool) -> Self {
        let path = endpoint.map_or_else(|| "/mcp".to_owned(), |name| format!("/mcp/{name}"));
        Self { socket, path, is_interactive }
    }

    /// Sends a request; what comes before its answer is heard.
    pub(super) async fn send(
        &self,
        call: &Call,
        mut heard: impl FnMut(&str, &Value),
    ) -> Result<Box<RawValue>, Error> {
        let broken = |error: hyper::Error| Error::Broken(error.into());
        let stream = control::open_http(&self.socket, CLIENT_LIMIT)?;
        stream.set_nonblocking(true).map_err(Error::Start)?;
        let stream = tokio::net::UnixStream::from_std(stream).map_err(Error::Start)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(connection);
        // The end of this closes the connection.
        let _end = scopeguard::guard(driver, |driver| driver.abort());
        let response = sender.send_request(self.request(call)).await.map_err(broken)?;
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default());
        if !kind.unwrap_or_default().starts_with("text/event-stream") {
            let body = body.collect().await.map_err(broken)?.to_bytes();
            let text = String::from_utf8_lossy(&body);
            return match serde_json::from_str::<Message>(&text) {
                Ok(Message { result: Some(result), .. }) => Ok(result),
                Ok(Message { error: Some(refusal), .. }) => Err(Error::Refused(refusal)),
                _ if parts.status == StatusCode::NOT_FOUND => Err(self.no_endpoint()),
                _ => Err(Error::Strange(format!("{}, {}", parts.status, text.trim()))),
            };
        }
        let mut events = SseByteStream::new(body.into_data_stream());
        while let Some(event) = events.next().await {
            let Some(data) = event.map_err(|error| Error::Broken(error.into()))?.data else { continue };
            match serde_json::from_str::<Message>(&data) {
                Ok(Message { result: Some(result), .. }) => return Ok(result),
                Ok(Message { error: Some(refusal), .. }) => return Err(Error::Refused(refusal)),
                Ok(Message { method: Some(method), params, .. }) => heard(&method, &params),
                _ => return Err(Error::Strange(data)),
            }
        }
        Err(Error::Broken("the connection was closed".into()))
    }

    /// Nothing is at the path.
    fn no_endpoint(&self) -> Error {
        let name = self.path.trim_start_matches("/mcp/");
        Error::usage(format!("the gateway has no upstream `{name}`"), "`mcpeg status` lists them")
    }

    /// The HTTP request.
    fn request(&self, call: &Call) -> Request<Full<Bytes>> {
        let mut params = call.params.clone();
        let asks =
            if self.is_interactive { json!({ "elicitation": { "form": {}, "url": {} } }) } else { json!({}) };
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientCapabilities": asks,
            "io.modelcontextprotocol/clientInfo": { "name": "mcpeg", "version": env!("CARGO_PKG_VERSION") },
            "progressToken": 1,
        });
        params.insert("_meta".to_owned(), meta);
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": call.method, "params": params });
        let request = Request::post(&self.path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", REVISION)
            .header("mcp-method", call.method);
        let named = call.name.iter().map(|name| ("mcp-name", name));
        let others = call.headers.iter().map(|(name, value)| (name.as_str(), value));
        let request = named
            .chain(others)
            .fold(request, |request, (name, value)| request.header(name, header_value(value)));
        // A path or a header that cannot be sent is refused by the gateway as unknown.
        request.body(Full::from(body.to_string())).unwrap_or_default()
    }

    /// Every entry of a list, over all of its pages.
    pub(super) async fn list(&self, method: &'static str, member: &str) -> Result<Vec<Value>, Error> {
        let mut call = Call::new(method);
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let page = self.send(&call, |_, _| {}).await?;
            let mut page: Value = serde_json::from_str(page.get()).unwrap_or_default();
            if let Value::Array(entries) = page[member].take() {
                all.extend(entries);
            }
            match page["nextCursor"].take() {
                Value::Null => break,
                cursor => call = call.with("cursor", cursor),
            }
        }
        Ok(all)
    }
}

impl Call {
    /// One without parameters.
    pub(super) fn new(method: &'static str) -> Self {
        Self { method, name: None, params: Map::new(), headers: Vec::new() }
    }

    /// The same about this, with it as this parameter.
    pub(super) fn about(self, parameter: &str, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self.with(parameter, name) }
    }

    /// The same with this parameter.
    pub(super) fn with(mut self, parameter: &str, value: impl Into<Value>) -> Self {
        self.params.insert(parameter.to_owned(), value.into());
        self
    }

    /// The same with these headers.
    pub(super) fn and_headers(self, headers: Vec<(String, String)>) -> Self {
        Self { headers, ..self }
    }
}
