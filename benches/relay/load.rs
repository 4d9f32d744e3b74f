//! The load: connections that call one tool as fast as they are answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use nix::time::ClockId;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

/// How long each figure is measured.
pub(crate) const RUN: Duration = Duration::from_secs(4);
/// The call that is made.
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
/// The same call in a session.
pub(crate) const SESSION_CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}"#;
/// What begins a session.
pub(crate) const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
/// What follows it.
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// How calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// In a session for each connection.
    Legacy,
    /// Each by itself.
    Modern,
}

/// Where calls go, and how a client gets in there.
#[derive(Clone)]
pub(crate) struct Target {
    /// The address.
    pub(crate) address: SocketAddr,
    /// What is in `Authorization`.
    pub(crate) authorization: Option<HeaderValue>,
    /// Whose certificates are trusted, where it is TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, authorization: None, tls: None }
    }
}

/// What a run has measured.
pub(crate) struct Figures {
    /// Calls.
    pub(crate) calls: f64,
    /// Calls a second.
    pub(crate) rate: f64,
    /// Median latency.
    pub(crate) median: Duration,
    /// 99th percentile.
    pub(crate) high: Duration,
    /// Processor time of the load itself for each call, in microseconds.
    pub(crate) load: f64,
}

/// One client: its connection, and its session if it has one.
pub(crate) struct Client {
    /// The connection.
    sender: SendRequest<Full<Bytes>>,
    /// What each request has in its head, whatever it asks for.
    authorization: Option<HeaderValue>,
    /// The session's identifier.
    session: Option<HeaderValue>,
}

/// A runtime for the load or the upstream.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// Drives an endpoint with this many connections.
pub(crate) fn measure(address: SocketAddr, era: Era, connections: usize) -> Figures {
    measure_tool(&address.into(), era, (connections, RUN), "echo")
}

/// The same for another target, time and name of a tool.
pub(crate) fn measure_tool(
    target: &Target,
    era: Era,
    (connections, run): (usize, Duration),
    tool: &'static str,
) -> Figures {
    runtime().block_on(async {
        let (before, stop) = (own_time(), Arc::new(AtomicBool::new(false)));
        let client = || tokio::spawn(drive(target.clone(), era, tool, Arc::clone(&stop)));
        let tasks: Vec<_> = (0..connections).map(|_| client()).collect();
        tokio::time::sleep(run).await;
        stop.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.expect("a connection that does not fail"));
        }
        let spent = own_time().saturating_sub(before);
        Figures::new(times, run, spent)
    })
}

impl Figures {
    /// Those of a run whose calls took these times, for which the load itself has used so much processor time.
    pub(crate) fn new(mut times: Vec<Duration>, run: Duration, spent: Duration) -> Self {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        let calls = f64::from(u32::try_from(times.len()).expect("fewer calls than that"));
        let (rate, load) = (calls / run.as_secs_f64(), spent.as_secs_f64() * 1e6 / calls);
        Self { calls, rate, median: at(50), high: at(99), load }
    }
}

/// The processor time that this process has used.
pub(crate) fn own_time() -> Duration {
    ClockId::CLOCK_PROCESS_CPUTIME_ID.now().expect("every process has this clock").into()
}

/// One connection: calls until told to stop; returns how long each call took.
async fn drive(target: Target, era: Era, tool: &'static str, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut client = Client::connect(target).await;
    if era == Era::Legacy {
        client.begin().await;
    }
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        times.push(client.call(tool).await);
    }
    times
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(target: impl Into<Target>) -> Self {
        let Target { address, authorization, tls } = target.into();
        let stream = TcpStream::connect(address).await.expect("the endpoint listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let sender = match tls {
            None => handshake(stream).await,
            Some(tls) => {
                let name = "localhost".try_into().expect("a name");
                handshake(TlsConnector::from(tls).connect(name, stream).await.expect("a TLS endpoint")).await
            }
        };
        Self { sender, authorization, session: None }
    }

    /// A request without its body.
    fn post(&self) -> http::request::Builder {
        let request = Request::post("/mcp")
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    /// Calls a tool once; returns how long it took.
    pub(crate) async fn call(&mut self, tool: &str) -> Duration {
        self.sender.ready().await.expect("a connection that goes on");
        let request = match &self.session {
            Some(session) => self
                .post()
                .header("mcp-session-id", session)
                .body(Full::new(Bytes::from_static(SESSION_CALL.as_bytes()))),
            None => self
                .post()
                .header("mcp-protocol-version", "2026-07-28")
                .header("mcp-method", "tools/call")
                .header("mcp-name", tool)
                .body(Full::new(match tool {
                    "echo" => Bytes::from_static(CALL.as_bytes()),
                    tool => Bytes::from(CALL.replacen("echo", tool, 1)),
                })),
        };
        let request = request.expect("a valid request");
        let began = Instant::now();
        let response = self.sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
        let taken = began.elapsed();
        assert!(body.windows(7).any(|part| part == b"\"hello\""), "{body:?}");
        taken
    }

    /// Begins a session.
    pub(crate) async fn begin(&mut self) {
        let hello =
            self.post().body(Full::new(Bytes::from_static(HELLO.as_bytes()))).expect("a valid request");
        // The answer before this may have been read to its end a moment before the connection knows.
        self.sender.ready().await.expect("a connection that goes on");
        let response = self.sender.send_request(hello).await.expect("an answer");
        let session = response.headers().get("mcp-session-id").expect("a session").clone();
        response.into_body().collect().await.expect("a whole answer");
        let note = self.post().header("mcp-session-id", &session);
        let note = note.body(Full::new(Bytes::from_static(INITIALIZED.as_bytes()))).expect("a valid request");
        self.sender.ready().await.expect("a connection that goes on");
        let response = self.sender.send_request(note).await.expect("an answer");
        response.into_body().collect().await.expect("a whole answer");
        self.session = Some(session);
    }

    /// Opens the event stream of this client's session, over a connection of its own.
    pub(crate) async fn listen(&self, address: SocketAddr) -> impl Sized + use<> {
        let mut other = Self::connect(address).await;
        let session = self.session.as_ref().expect("a session has begun");
        let get = Request::get("/mcp")
            .header("host", "127.0.0.1")
            .header("accept", "text/event-stream")
            .header("mcp-session-id", session);
        let get = get.body(Full::new(Bytes::new())).expect("a valid request");
        let response = other.sender.send_request(get).await.expect("an answer");
        assert_eq!(response.status(), 200);
        (other, response)
    }
}

/// Begins to speak HTTP over a connection.
async fn handshake<S>(stream: S) -> SendRequest<Full<Bytes>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("an HTTP endpoint");
    tokio::spawn(connection);
    sender
}
