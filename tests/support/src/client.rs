//! A raw MCP client: it sends the bytes it is given and returns the bytes it got.
//!
//! No SDK is between the test and the wire, so that what an SDK would mend or hide is seen. One connection a request.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;

use crate::kept::SECRET;

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The legacy revision that the tests speak.
pub const LEGACY: &str = "2025-11-25";

/// The `_meta` members that the modern era asks of each request, without the braces.
pub const MODERN_META: &str = concat!(
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientCapabilities":{}"#
);

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// The parts of a JSON-RPC message that tests look at, as the sender wrote them.
#[derive(Debug, Deserialize)]
pub struct Message<'a> {
    /// The request's id.
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    /// The method of a notification or request.
    pub method: Option<&'a str>,
    /// The parameters of a notification or request.
    pub params: Option<&'a RawValue>,
    /// The result.
    pub result: Option<&'a RawValue>,
    /// The error.
    pub error: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Takes a message apart; anything else than a JSON object fails the test.
    pub fn read(text: &'a str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in `{text}`"))
    }
}

/// The data of one server-sent event, its lines joined as the HTML standard has it; empty for a priming event.
fn event_data(event: &str) -> String {
    let data = event.lines().filter_map(|line| line.strip_prefix("data:"));
    data.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Sends a request and collects the answer.
pub async fn send(address: &str, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let exchange = async {
        let response = open(address, method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a complete body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| panic!("no answer to {path} {body}"))
}

/// Sends a request and returns as soon as the answer's head is there.
pub async fn open(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> http::Response<Incoming> {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", address);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    for name in ["authorization", "cookie"] {
        if !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
            request = request.header(name, SECRET);
        }
    }
    let request = request.body(Full::<Bytes>::from(body.to_owned())).expect("valid headers");
    sender.send_request(request).await.expect("an answer")
}

/// Posts a message as MCP clients do.
pub async fn post(address: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut all = headers.to_vec();
    for (name, value) in
        [("content-type", "application/json"), ("accept", "application/json, text/event-stream")]
    {
        if !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
            all.push((name, value));
        }
    }
    send(address, Method::POST, path, &all, body).await
}

impl Answer {
    /// The JSON-RPC messages in the body, from JSON or from an event stream, in order.
    pub fn messages(&self) -> Vec<String> {
        let text = std::str::from_utf8(&self.body).expect("UTF-8");
        let kind = self.headers.get("content-type").map_or("", |kind| kind.to_str().expect("text"));
        if kind.starts_with("text/event-stream") {
            return text.split("\n\n").map(event_data).filter(|data| !data.is_empty()).collect();
        }
        if text.is_empty() { Vec::new() } else { vec![text.to_owned()] }
    }

    /// The message that ends the exchange.
    pub fn reply(&self) -> String {
        self.messages().pop().unwrap_or_else(|| panic!("no message in {self:?}"))
    }

    /// The raw result; an error fails the test.
    pub fn result(&self) -> String {
        let reply = self.reply();
        let result = Message::read(&reply).result;
        result.unwrap_or_else(|| panic!("not a result: {reply}")).get().to_owned()
    }

    /// The raw error; a result fails the test.
    pub fn raw_error(&self) -> String {
        let reply = self.reply();
        let error = Message::read(&reply).error;
        error.unwrap_or_else(|| panic!("not an error: {reply}")).get().to_owned()
    }

    /// The code and message of the JSON-RPC error; a result fails the test.
    pub fn error(&self) -> (i64, String) {
        /// The members of an error.
        #[derive(Deserialize)]
        struct Error {
            /// The code.
            code: i64,
            /// The message.
            message: String,
        }
        let error: Error = serde_json::from_str(&self.raw_error()).expect("code and message");
        (error.code, error.message)
    }

    /// The text of a tool's first content.
    pub fn text(&self) -> String {
        let result: serde_json::Value = serde_json::from_str(&self.result()).expect("JSON");
        let text = result["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("no text in {result}")).to_owned()
    }

    /// The names in the result of `tools/list`.
    pub fn tools(&self) -> Vec<String> {
        let result: serde_json::Value = serde_json::from_str(&self.result()).expect("JSON");
        let tools = result["tools"].as_array().expect("tools");
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    }
}

/// Which era a [`Client`] speaks, and what it must send along.
#[derive(Clone, Debug)]
pub enum Era {
    /// A session with its identifier.
    Legacy(String),
    /// Each request stands alone.
    Modern,
}

/// One client of one endpoint.
#[derive(Clone, Debug)]
pub struct Client {
    /// `host:port`.
    address: String,
    /// The endpoint's path.
    path: String,
    /// The era.
    pub era: Era,
}

impl Client {
    /// A client of the modern era.
    pub fn modern(address: &str, path: &str) -> Self {
        Self { address: address.to_owned(), path: path.to_owned(), era: Era::Modern }
    }

    /// Opens a legacy session without client capabilities.
    pub async fn legacy(address: &str, path: &str) -> Self {
        Self::legacy_with(address, path, "{}").await
    }

    /// Opens a legacy session with these client capabilities.
    pub async fn legacy_with(address: &str, path: &str, capabilities: &str) -> Self {
        let initialize = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{capabilities},"clientInfo":{{"name":"raw","version":"1"}}}}}}"#
        );
        let answer = post(address, path, &[], &initialize).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.result();
        let session = answer.headers.get("mcp-session-id").expect("a session").to_str().expect("ASCII");
        let era = Era::Legacy(session.to_owned());
        let client = Self { address: address.to_owned(), path: path.to_owned(), era };
        let initialized =
            client.post("", "", r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        assert_eq!(initialized.status, StatusCode::ACCEPTED, "{initialized:?}");
        client
    }

    /// Sends a request whose params are these bytes; in the modern era they must hold `_meta` already.
    pub async fn request(&self, id: &str, method: &str, name: &str, params: &str) -> Answer {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        self.post(method, name, &body).await
    }

    /// Calls a tool with these raw arguments.
    pub async fn call(&self, tool: &str, arguments: &str) -> Answer {
        let params = match self.era {
            Era::Legacy(_) => format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#),
            Era::Modern => {
                format!(r#"{{"name":"{tool}","arguments":{arguments},"_meta":{{{MODERN_META}}}}}"#)
            }
        };
        self.request("1", "tools/call", tool, &params).await
    }

    /// The headers that name a legacy session.
    fn session(&self) -> [(&str, &str); 2] {
        let Era::Legacy(session) = &self.era else { panic!("only legacy clients have sessions") };
        [("mcp-session-id", session), ("mcp-protocol-version", LEGACY)]
    }

    /// The same client at another address.
    #[must_use]
    pub fn at(self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self }
    }

    /// The headers that name a legacy session, for requests of the test's own.
    pub fn session_headers(&self) -> [(&str, &str); 2] {
        self.session()
    }

    /// Opens the stream of a legacy session.
    pub async fn stream(&self) -> http::Response<Incoming> {
        let [id, version] = self.session();
        let headers = [id, version, ("accept", "text/event-stream")];
        open(&self.address, Method::GET, &self.path, &headers, "").await
    }

    /// Ends a legacy session.
    pub async fn end(self) {
        let answer = send(&self.address, Method::DELETE, &self.path, &self.session(), "").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }

    /// The names of the tools.
    pub async fn tools(&self) -> Vec<String> {
        let params = match self.era {
            Era::Legacy(_) => "{}".to_owned(),
            Era::Modern => format!(r#"{{"_meta":{{{MODERN_META}}}}}"#),
        };
        self.request("1", "tools/list", "", &params).await.tools()
    }

    /// Posts a body with the headers of the era.
    pub async fn post(&self, method: &str, name: &str, body: &str) -> Answer {
        let mut headers = Vec::new();
        match &self.era {
            Era::Legacy(session) => {
                headers.push(("mcp-session-id", session.as_str()));
                headers.push(("mcp-protocol-version", LEGACY));
            }
            Era::Modern => {
                headers.push(("mcp-protocol-version", "2026-07-28"));
                headers.push(("mcp-method", method));
                if !name.is_empty() {
                    headers.push(("mcp-name", name));
                }
            }
        }
        post(&self.address, &self.path, &headers, body).await
    }
}
