//! Clients that count what fails: plain requests, calls of legacy sessions and stateless calls, with kept and with fresh
//! connections, and open event streams. The same clients put load on a gateway of a test, on one in a booted machine, and
//! on the web servers that the benchmark compares it with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The last request's identifier: none is used twice within a session.
static LAST_ID: AtomicU64 = AtomicU64::new(1);
/// How long anything may take; what takes longer has failed.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// What a request may fail with.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("no connection: {0}")]
    Refused(String),
    /// The connection broke before the answer was there.
    #[error("cut: {0}")]
    Cut(String),
    /// An answer, but not the right one.
    #[error("wrong: {0}")]
    Wrong(String),
}

/// What clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `GET /health/live`.
    Plain,
    /// `tools/list` in a legacy session.
    Session,
    /// `tools/list` without a session.
    Stateless,
}

/// Counts, shared by all clients.
#[derive(Debug, Default)]
struct Counts {
    /// Answered requests.
    answered: AtomicU64,
    /// What failed.
    failed: Mutex<Vec<Failure>>,
    /// Streams that were open.
    streams: AtomicU64,
    /// Streams that the other side has ended, in good order.
    ended: AtomicU64,
    /// Set at the end.
    over: AtomicBool,
}

/// What became of it all.
#[derive(Debug)]
pub struct Report {
    /// Answered requests.
    pub answered: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that broke while a request was in flight.
    pub cut: u64,
    /// Wrong answers.
    pub wrong: u64,
    /// Streams that the other side has ended in good order, so that they had to be opened again.
    pub ended: u64,
    /// Each different failure, with how often it happened.
    pub failures: BTreeMap<String, u64>,
}

impl Report {
    /// Everything that failed.
    pub fn failed(&self) -> u64 {
        self.refused + self.cut + self.wrong
    }

    /// Everything that was asked.
    pub fn total(&self) -> u64 {
        self.answered + self.failed()
    }
}

/// Clients at work.
pub struct Load {
    /// What they count.
    counts: Arc<Counts>,
    /// Their tasks.
    clients: JoinSet<()>,
}

impl Load {
    /// Starts clients: each second one keeps its connection, and they take the kinds in turns.
    pub fn start(address: SocketAddr, clients: usize, kinds: &[Kind]) -> Self {
        let mut load = Self { counts: Arc::default(), clients: JoinSet::new() };
        for number in 0..clients {
            let counts = Arc::clone(&load.counts);
            load.clients.spawn(client(address, number % 2 == 0, kinds[number / 2 % kinds.len()], counts));
        }
        load
    }

    /// Opens event streams, each in a legacy session of its own, and returns when they are open.
    pub async fn follow(&mut self, address: SocketAddr, streams: u64) {
        for _ in 0..streams {
            let session = Session::begin(address).await.expect("a session");
            self.clients.spawn(follower(session, Arc::clone(&self.counts)));
        }
        while self.counts.streams.load(Ordering::Relaxed) < streams {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until this many more requests are answered, so that the clients are at work.
    pub async fn go_on(&self, more: u64) {
        let goal = self.counts.answered.load(Ordering::Relaxed) + more;
        while self.counts.answered.load(Ordering::Relaxed) < goal {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Ends the clients.
    pub async fn end(mut self) -> Report {
        self.counts.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
        let answered = self.counts.answered.load(Ordering::Relaxed);
        let ended = self.counts.ended.load(Ordering::Relaxed);
        let mut report = Report { answered, refused: 0, cut: 0, wrong: 0, ended, failures: BTreeMap::new() };
        for failure in std::mem::take(&mut *self.counts.failed.lock().expect("no panic while locked")) {
            match &failure {
                Failure::Refused(_) => report.refused += 1,
                Failure::Cut(_) => report.cut += 1,
                Failure::Wrong(_) => report.wrong += 1,
            }
            *report.failures.entry(failure.to_string()).or_default() += 1;
        }
        report
    }
}

impl Counts {
    /// Whether the clients shall end.
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Notes a failure; the client rests, so that a server that is gone is not counted thousands of times.
    async fn fail(&self, failure: Failure) {
        self.failed.lock().expect("no panic while locked").push(failure);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// One client's life.
async fn client(address: SocketAddr, keep: bool, kind: Kind, counts: Arc<Counts>) {
    let session =
        if kind == Kind::Session { Some(Session::begin(address).await.expect("a session")) } else { None };
    let mut kept = None;
    while !counts.is_over() {
        let request = match (&session, kind) {
            (Some(session), _) => session.call(keep),
            (None, Kind::Stateless) => stateless(address, keep),
            (None, _) => get(address, keep),
        };
        let answered = exchange(address, &mut kept, request);
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        match answered.unwrap_or_else(|_| Err(Failure::Cut("no answer in time".to_owned()))) {
            Ok((response, body)) if response.status() == 200 && is_result(kind, &body) => {
                counts.answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok((response, body)) => {
                let text = format!("{kind:?}: {}: {}", response.status(), String::from_utf8_lossy(&body));
                counts.fail(Failure::Wrong(text)).await;
            }
            Err(failure) => counts.fail(failure).await,
        }
    }
}

/// Keeps an event stream open, and opens it again when the other side ends it in good order.
async fn follower(session: Session, counts: Arc<Counts>) {
    while !counts.is_over() {
        let mut body = match session.stream().await {
            Ok(response) if response.status() == 200 => response.into_body(),
            Ok(response) => {
                counts.fail(Failure::Wrong(format!("a stream: {}", response.status()))).await;
                continue;
            }
            Err(failure) => {
                counts.fail(failure).await;
                continue;
            }
        };
        counts.streams.fetch_add(1, Ordering::Relaxed);
        loop {
            match tokio::time::timeout(std::time::Duration::from_millis(20), body.frame()).await {
                Err(_) if counts.is_over() => return,
                Err(_) | Ok(Some(Ok(_))) => {}
                Ok(None) => {
                    counts.ended.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Ok(Some(Err(error))) => {
                    counts.fail(Failure::Cut(format!("a stream: {error:?}"))).await;
                    break;
                }
            }
        }
    }
}

/// Whether the answer is what was asked for.
fn is_result(kind: Kind, body: &[u8]) -> bool {
    kind == Kind::Plain || String::from_utf8_lossy(body).contains("\"result\"")
}

/// A request for the gateway's own health.
fn get(address: SocketAddr, keep: bool) -> Request<Full<Bytes>> {
    Request::get("/health/live")
        .header("host", address.to_string())
        .header("connection", if keep { "keep-alive" } else { "close" })
        .body(Full::default())
        .expect("a valid request")
}

/// Connects.
async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(address).await.map_err(|error| Failure::Refused(error.to_string()))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| Failure::Cut(format!("{error:?}")))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends a request over the kept connection, or a new one where there is none or the gateway has closed it.
async fn exchange(
    address: SocketAddr,
    kept: &mut Option<SendRequest<Full<Bytes>>>,
    request: Request<Full<Bytes>>,
) -> Result<(Response<()>, Bytes), Failure> {
    let keep = request.headers()["connection"] == "keep-alive";
    let mut open = kept.take();
    if let Some(sender) = &mut open
        && sender.ready().await.is_err()
    {
        open = None;
    }
    let cut = |error: hyper::Error| Failure::Cut(format!("keep {keep}: {error:?}"));
    let mut sender = if let Some(sender) = open { sender } else { connect(address).await? };
    let (head, body) = sender.send_request(request).await.map_err(cut)?.into_parts();
    let body = body.collect().await.map_err(cut)?.to_bytes();
    let closes = head.headers.get("connection").is_some_and(|value| value == "close");
    if keep && !closes {
        *kept = Some(sender);
    }
    Ok((Response::from_parts(head, ()), body))
}

/// A legacy session.
pub struct Session {
    /// Where.
    address: SocketAddr,
    /// Its identifier.
    id: String,
}

impl Session {
    /// Begins one.
    ///
    /// # Errors
    /// What the load counts as a failure.
    pub async fn begin(address: SocketAddr) -> Result<Self, Failure> {
        let params = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"load","version":"1"}}"#;
        let request =
            post(address, false).body(Full::from(body_of("initialize", params))).expect("a valid request");
        let (response, body) = exchange(address, &mut None, request).await?;
        let id = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok());
        let id = id.ok_or_else(|| Failure::Wrong(String::from_utf8_lossy(&body).into_owned()))?.to_owned();
        Ok(Self { address, id })
    }

    /// A request within the session.
    fn call(&self, keep: bool) -> Request<Full<Bytes>> {
        let request = post(self.address, keep).header("mcp-session-id", &self.id);
        request.body(Full::from(body_of("tools/list", "{}"))).expect("a valid request")
    }

    /// Calls once; the status.
    ///
    /// # Errors
    /// What the load counts as a failure.
    pub async fn answers(&self) -> Result<u16, Failure> {
        let (response, body) = exchange(self.address, &mut None, self.call(false)).await?;
        assert!(is_result(Kind::Session, &body) || response.status() != 200, "{body:?}");
        Ok(response.status().as_u16())
    }

    /// Opens the session's event stream.
    async fn stream(&self) -> Result<Response<hyper::body::Incoming>, Failure> {
        let request = Request::get("/mcp")
            .header("host", self.address.to_string())
            .header("accept", "text/event-stream")
            .header("mcp-session-id", &self.id)
            .body(Full::default())
            .expect("a valid request");
        let mut sender = connect(self.address).await?;
        sender.send_request(request).await.map_err(|error| Failure::Cut(format!("a stream: {error:?}")))
    }
}

/// A call without a session.
fn stateless(address: SocketAddr, keep: bool) -> Request<Full<Bytes>> {
    let params = concat!(
        r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
        r#""io.modelcontextprotocol/clientCapabilities":{}}}"#
    );
    let request =
        post(address, keep).header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/list");
    request.body(Full::from(body_of("tools/list", params))).expect("a valid request")
}

/// A JSON-RPC request without its body.
fn post(address: SocketAddr, keep: bool) -> http::request::Builder {
    Request::post("/mcp")
        .header("host", address.to_string())
        .header("connection", if keep { "keep-alive" } else { "close" })
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
}

/// The body of a JSON-RPC request.
fn body_of(method: &str, params: &str) -> Bytes {
    let id = LAST_ID.fetch_add(1, Ordering::Relaxed);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#).into()
}
