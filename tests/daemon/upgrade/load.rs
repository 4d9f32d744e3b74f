//! Clients that count what fails: plain requests and calls of sessions, with kept and with fresh connections.

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

/// What a request may fail with.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Counts, shared by all clients.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Answered requests.
    pub(super) answered: AtomicU64,
    /// What failed.
    pub(super) failed: Mutex<Vec<String>>,
    /// Set at the end.
    over: AtomicBool,
}

/// Clients at work.
pub(super) struct Load {
    /// What they count.
    counts: Arc<Counts>,
    /// Their tasks.
    clients: JoinSet<()>,
}

impl Load {
    /// Starts clients: each second one keeps its connection, each second pair calls in a session of its own.
    pub(super) fn start(address: SocketAddr, clients: usize) -> Self {
        let counts = Arc::new(Counts::default());
        let mut load = Self { counts, clients: JoinSet::new() };
        for number in 0..clients {
            let counts = Arc::clone(&load.counts);
            load.clients.spawn(client(address, number % 2 == 0, number % 4 < 2, counts));
        }
        load
    }

    /// Waits until this many more requests are answered, so that the clients are at work.
    pub(super) async fn go_on(&self, more: u64) {
        let goal = self.counts.answered.load(Ordering::Relaxed) + more;
        while self.counts.answered.load(Ordering::Relaxed) < goal {
            tokio::task::yield_now().await;
        }
    }

    /// Ends the clients; the number of answered requests, and what failed.
    pub(super) async fn end(mut self) -> (u64, Vec<String>) {
        self.counts.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let failed = std::mem::take(&mut *self.counts.failed.lock().unwrap());
        (self.counts.answered.load(Ordering::Relaxed), failed)
    }
}

/// One client's life.
async fn client(address: SocketAddr, keep: bool, plain: bool, counts: Arc<Counts>) {
    let session = if plain { None } else { Some(Session::begin(address).await.unwrap()) };
    let mut kept = None;
    while !counts.over.load(Ordering::Relaxed) {
        let request = match &session {
            None => get(address, keep),
            Some(session) => session.call(keep),
        };
        match exchange(address, &mut kept, request).await {
            Ok((response, body)) if response.status() == 200 && is_result(plain, &body) => {
                counts.answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok((response, body)) => {
                let failure = format!("{}: {}", response.status(), String::from_utf8_lossy(&body));
                counts.failed.lock().unwrap().push(failure);
            }
            Err(error) => {
                let failure = format!("keep {keep}, plain {plain}: {error:?}");
                counts.failed.lock().unwrap().push(failure);
            }
        }
    }
}

/// Whether the answer is what was asked for.
fn is_result(plain: bool, body: &[u8]) -> bool {
    plain || String::from_utf8_lossy(body).contains("\"result\"")
}

/// A request for the gateway's own health.
fn get(address: SocketAddr, keep: bool) -> Request<Full<Bytes>> {
    Request::get("/health/live")
        .header("host", address.to_string())
        .header("connection", if keep { "keep-alive" } else { "close" })
        .body(Full::default())
        .unwrap()
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
    let mut sender = if let Some(sender) = open {
        sender
    } else {
        let stream = TcpStream::connect(address).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender
    };
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    let closes = head.headers.get("connection").is_some_and(|value| value == "close");
    if keep && !closes {
        *kept = Some(sender);
    }
    Ok((Response::from_parts(head, ()), body))
}

/// A legacy session.
pub(super) struct Session {
    /// Where.
    address: SocketAddr,
    /// Its identifier.
    id: String,
}

impl Session {
    /// Begins one.
    pub(super) async fn begin(address: SocketAddr) -> Result<Self, Failure> {
        let params = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"load","version":"1"}}"#;
        let request = post(address, None, false, "initialize", params);
        let (response, _) = exchange(address, &mut None, request).await?;
        let id = response.headers().get("mcp-session-id").ok_or("no session")?.to_str()?.to_owned();
        Ok(Self { address, id })
    }

    /// A request within the session.
    fn call(&self, keep: bool) -> Request<Full<Bytes>> {
        post(self.address, Some(&self.id), keep, "tools/list", "{}")
    }

    /// Calls once; the status.
    pub(super) async fn answers(&self) -> Result<u16, Failure> {
        let (response, body) = exchange(self.address, &mut None, self.call(false)).await?;
        assert!(is_result(response.status() != 200, &body), "{body:?}");
        Ok(response.status().as_u16())
    }
}

/// A JSON-RPC request.
fn post(
    address: SocketAddr,
    session: Option<&str>,
    keep: bool,
    method: &str,
    params: &str,
) -> Request<Full<Bytes>> {
    let id = LAST_ID.fetch_add(1, Ordering::Relaxed);
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
    let mut request = Request::post("/mcp")
        .header("host", address.to_string())
        .header("connection", if keep { "keep-alive" } else { "close" })
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    request.body(Full::new(body.into())).unwrap()
}
