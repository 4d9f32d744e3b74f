//! Connections: accepting, serving, and draining them.
//!
//! Clients speak HTTP/1.1, or HTTP/2 with prior knowledge (RFC 9113 §3.3).
//!
//! The order of a drain: stop accepting; tell HTTP/2 clients by GOAWAY to go elsewhere with what is new (RFC 9113 §6.8); let
//! idle keep-alive connections live for a grace period, in which their next
//! response says `Connection: close`, since closing them at once would cut requests that are already on their way
//! (RFC 9112 §9.6); then close idle ones; then wait for the rest until the deadline; then answer what is left with an error,
//! give clients [`LAST_WORD`] to read it, and cut those that have not.
//!
//! What a client may hold a connection with, and for how long (`client_timeout` where nothing else is said):
//!
//! | what | until | then |
//! |---|---|---|
//! | nothing, or a part of the first bytes | since the connection began | it is closed |
//! | a part of the PROXY protocol's header or of the handshake (TLS) | since the connection began | it is closed |
//! | a part of the head of a request, or nothing after an answer (HTTP/1.1) | since the first byte could come | it is closed |
//! | a preface without SETTINGS, or no stream (HTTP/2) | since the beginning, or the last stream's end | GOAWAY, and [`GOODBYE`] later it is closed |
//! | an answer of which a part is not taken (HTTP/2) | since it could be, or anything was written | it is closed |
//! | no answer to a ping (HTTP/2) | [`PING`] twice | it is closed |
//! | an answer that is not read | between two writes | it is closed |
//! | no acknowledgement of what was sent (TCP) | [`UNACKNOWLEDGED`] at least | the kernel ends it |
//! | a connection while there is no room | 1 s | 503, and it is closed |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::cutoff::Cutoff;
use super::gate::Named;
use super::moment::Moment;
use super::open_connections::{Active, OpenConnection, OpenConnections};
use super::peer::Peer;
use super::proxy_header;
use super::router::Front;
use super::stall::Stalling;
use super::version::{Connection, Version, version};
use super::woken::at_once;
use crate::drain::Watch;
use crate::gateway::access::Certificate;
use crate::gateway::catalog::RoutingHandle;
use crate::gateway::client::ClientKey;
use crate::gateway::client_log_limit::ClientLogLimit;
use crate::gateway::telemetry::{Ledger, Origin, Reason};
use crate::request_id::RequestId;
use crate::sys::net::Listener;

/// How long idle connections are kept after a drain has begun.
const GRACE: Duration = Duration::from_secs(2);
/// How long an idle connection that was told to go may take to go by itself.
const GOODBYE: Duration = Duration::from_millis(100);
/// How often an HTTP/2 client that is silent is asked whether it is there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(30);
/// The pause after a failed accept(2), such as on EMFILE, so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);
/// How long clients may take at the deadline of a drain to read that their requests have come to nothing.
const LAST_WORD: Duration = Duration::from_millis(400);
/// How long cut connections may take to end.
const CUT: Duration = Duration::from_millis(100);
/// The shortest time after which the kernel gives up a connection whose other end acknowledges nothing.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Bytes that the head of a request may have.
const HEAD: u32 = 64 << 10;
/// Streams that an HTTP/2 client may have open at once.
const STREAMS: u32 = 128;
/// Bytes of each that an HTTP/2 client may send before they are read, and of all streams of a connection together.
const WINDOW: u32 = 1 << 20;
/// Bytes of an answer that wait for an HTTP/2 client, for each stream.
const WAITING: usize = 64 << 10;
/// Streams that an HTTP/2 client may reset before they are accepted (CVE-2023-44487), and that it may make us reset by its
/// errors, before the connection is closed.
const RESETS: usize = 32;

/// Connections that are told at once that there is no room; others are closed without an answer.
const TURNED_AWAY: usize = 64;
/// How long a connection for which there is no room may take to send its request, and to read the answer.
const AWAY_LIMIT: Duration = Duration::from_millis(500);
/// What it is answered.
const AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 59\r\n\r\nas many connections are in use as `max_connections` allows\n";

/// The number of the last listener.
static LISTENERS: AtomicU64 = AtomicU64::new(0);

/// Who may connect.
#[derive(Clone)]
pub(crate) struct Admission {
    /// The connections that are open.
    connections: Arc<OpenConnections>,
    /// The configuration in force.
    routing: Arc<RoutingHandle>,
    /// What is logged about clients.
    log_limit: Arc<ClientLogLimit>,
    /// Counts what is refused.
    ledger: Arc<Ledger>,
    /// Whether new connections are left to wait.
    paused: watch::Receiver<bool>,
}

impl Admission {
    /// As many as the configuration in force says, while they are not left to wait.
    pub(crate) fn new(
        (connections, routing): (Arc<OpenConnections>, Arc<RoutingHandle>),
        (log_limit, ledger): (Arc<ClientLogLimit>, Arc<Ledger>),
        paused: watch::Receiver<bool>,
    ) -> Self {
        Self { connections, routing, log_limit, ledger, paused }
    }

    /// Counts a connection that is refused.
    fn refuse(&self, reason: Reason, peer: &Peer) {
        // Nothing of it is a request yet, and what is logged of it has the identifier that it would have.
        let origin = Origin::new(RequestId::made(), peer.place(), None);
        self.ledger.refuse(reason, &origin, (None, None));
    }

    /// How many connections there may be.
    fn most(&self) -> usize {
        self.connections.most(self.routing.current().server.max_connections)
    }
}

/// What bytes are read from and written to.
trait Transport: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static> Transport for T {}

/// A connection that has begun. Over TLS, the client must read what is written below it: what TLS holds back waits there.
enum Begun<S> {
    /// Without TLS.
    Plain(S),
    /// Over TLS, of whatever socket, so that HTTP over it is compiled once.
    Tls(Box<TlsStream<Stalling<Box<dyn Transport>>>>),
}

/// What the connections of one listener share.
#[derive(Clone)]
struct Shared {
    /// Answers requests.
    front: Front,
    /// The listener's number.
    number: u64,
    /// How long a client may take to send a request's head.
    patience: Duration,
    /// Set when the drain begins: responses say `Connection: close`.
    closing: Moment,
    /// Set after the grace period: idle connections are closed.
    shutdown: Moment,
    /// Reached at the deadline: what is in flight is answered.
    cutoff: Cutoff,
    /// Their tasks.
    tasks: TaskTracker,
    /// Who may connect.
    admission: Admission,
    /// Who may be told that there is no room.
    away: Arc<Semaphore>,
}

/// Serves a listener until drained; returns the number of connections with requests in flight at the deadline.
pub(crate) async fn accept(
    listener: Listener,
    (front, admission): (Front, Admission),
    mut drain: Watch,
) -> io::Result<usize> {
    let shared = Shared::new(front, admission);
    let deadline = match listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let limit = shared.patience.max(UNACKNOWLEDGED);
            if let Err(error) = crate::sys::net::notice_lost_peers(&listener, limit) {
                tracing::debug!(%error, "the kernel does not watch over connections");
            }
            let listener = TcpListener::from_std(listener)?;
            tokio::select! {
                deadline = drain.started() => deadline,
                () = accept_tcp(&listener, &shared) => return Ok(0),
            }
        }
        Listener::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            tokio::select! {
                deadline = drain.started() => deadline,
                () = accept_unix(&listener, &shared) => return Ok(0),
            }
        }
    };
    Ok(shared.drain(deadline).await)
}

/// Serves connections of operators, which the control socket has let in, until drained; returns the same.
pub(crate) async fn accept_operators(
    mut opened: mpsc::Receiver<UnixStream>,
    (front, admission): (Front, Admission),
    mut drain: Watch,
) -> io::Result<usize> {
    let shared = Shared::new(front, admission);
    let deadline = loop {
        tokio::select! {
            deadline = drain.started() => break deadline,
            Some(stream) = opened.recv() => {
                let peer = Peer::operator(&stream);
                shared.admit(stream, peer).await;
            }
        }
    };
    Ok(shared.drain(deadline).await)
}

/// Accepts TCP connections.
async fn accept_tcp(listener: &TcpListener, shared: &Shared) {
    loop {
        match shared.next(listener.accept()).await {
            Ok((stream, from)) => {
                let _ = stream.set_nodelay(true);
                let own = shared.admission.connections.expects(from);
                shared.admit(stream, Peer::at(from.ip(), own)).await;
            }
            Err(error) => shared.pause(&error).await,
        }
    }
}

/// Accepts connections to a Unix socket.
async fn accept_unix(listener: &UnixListener, shared: &Shared) {
    loop {
        match shared.next(listener.accept()).await {
            Ok((stream, _)) => {
                let peer = Peer::local(&stream);
                shared.admit(stream, peer).await;
            }
            Err(error) => shared.pause(&error).await,
        }
    }
}

/// Tells a client that there is no room. Its request is read before, and the end of the connection waited for: a
/// connection that is closed with something unread is reset, and the answer lost.
async fn turn_away(mut stream: impl Connection) {
    let mut buffer = [0; 4096];
    let talk = async {
        if tokio::time::timeout(AWAY_LIMIT, stream.read(&mut buffer)).await?? > 0 {
            stream.write_all(AWAY).await?;
            stream.shutdown().await?;
            while stream.read(&mut buffer).await? > 0 {}
        }
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(AWAY_LIMIT * 2, talk).await;
}

impl Shared {
    /// What the connections of one more listener share.
    fn new(front: Front, admission: Admission) -> Self {
        Self {
            front,
            number: LISTENERS.fetch_add(1, Ordering::Relaxed),
            patience: admission.routing.current().server.client_timeout,
            closing: Moment::default(),
            shutdown: Moment::default(),
            cutoff: Cutoff::default(),
            tasks: TaskTracker::new(),
            admission,
            away: Arc::new(Semaphore::new(TURNED_AWAY)),
        }
    }

    /// Ends its connections, at the latest at the deadline; returns how many had requests in flight then.
    async fn drain(self, deadline: Instant) -> usize {
        self.closing.come();
        self.tasks.close();
        let grace = deadline.min(Instant::now() + GRACE);
        let _ = tokio::time::timeout_at(grace, self.tasks.wait()).await;
        self.shutdown.come();
        if tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_ok() {
            // Requests whose clients are not there any more have their time all the same.
            tokio::spawn(async move {
                tokio::time::sleep_until(deadline).await;
                self.cutoff.reach();
            });
            return 0;
        }
        let busy = self.admission.connections.busy(self.number);
        self.cutoff.reach();
        let _ = tokio::time::timeout(LAST_WORD, self.tasks.wait()).await;
        self.admission.connections.cut(self.number);
        let _ = tokio::time::timeout(CUT, self.tasks.wait()).await;
        busy
    }

    /// The next connection, while they are not left to wait in the kernel: another process is about to accept them, and
    /// if it does not, this one goes on.
    async fn next<T>(&self, accept: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut paused = self.admission.paused.clone();
        tokio::pin!(accept);
        loop {
            // The sender lives as long as the gateway, which this task holds through its front.
            let _ = paused.wait_for(|paused| !paused).await;
            tokio::select! {
                biased;
                _ = paused.wait_for(|paused| *paused) => {}
                accepted = &mut accept => return accepted,
            }
        }
    }

    /// After a failed accept(2): the listener is fine, but the process may be out of descriptors.
    async fn pause(&self, error: &io::Error) {
        if self.admission.log_limit.admits("accept", &ClientKey::of(None)) {
            tracing::warn!(%error, "cannot accept a connection");
        }
        self.admission.connections.make_room();
        tokio::time::sleep(PAUSE).await;
    }

    /// Serves a connection in a task of its own, if there is room.
    async fn admit(&self, stream: impl Connection, peer: Peer) {
        let client = ClientKey::of(peer.address());
        let most = self.admission.most();
        if let Some(slot) =
            self.admission.connections.take((client.clone(), self.number, peer.is_own()), most).await
        {
            let shared = self.clone();
            self.tasks.spawn(at_once(async move { shared.serve(stream, peer, &slot).await }));
            return;
        }
        self.admission.refuse(Reason::Connections, &peer);
        if self.admission.log_limit.admits("no room", &client) {
            tracing::warn!(
                %client, most,
                "a connection is refused: as many are in use as `max_connections` in [server] or the limit on open \
                 files allows"
            );
        }
        // Over TLS there is no answer without a handshake.
        let is_plain = self.front.gate().named().is_none_or(|named| named.tls().is_none());
        if is_plain && let Ok(permit) = Arc::clone(&self.away).try_acquire_owned() {
            self.tasks.spawn(async move {
                turn_away(stream).await;
                drop(permit);
            });
        }
    }

    /// Serves one connection to its end. What the gateway asks itself goes without TLS and proxies.
    async fn serve(&self, stream: impl Connection, peer: Peer, slot: &OpenConnection) {
        let named = self.front.gate().named().filter(|_| !peer.is_own());
        // In a box, so that the far more common connections are not as large.
        let result = match named.filter(|named| named.tls().is_some() || named.listener().proxy_protocol) {
            Some(named) => Box::pin(self.serve_behind(&named, stream, peer, slot)).await,
            None => match self.before_request(slot, version(&stream)).await {
                Some(version) => self.serve_version(version, self.watched(stream, slot), (&peer, slot)).await,
                None => return,
            },
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// Serves one connection on a listener with TLS, or that proxies connect to.
    async fn serve_behind(
        &self,
        named: &Named,
        mut stream: impl Connection,
        mut peer: Peer,
        slot: &OpenConnection,
    ) -> hyper::Result<()> {
        let listener = named.listener();
        let begun = async {
            if listener.proxy_protocol && listener.trusted_proxies.have(peer.address()) {
                let told = proxy_header::read(&mut stream).await;
                let told = told.inspect_err(|_| self.admission.refuse(Reason::Proxy, &peer))?;
                peer.asks_for(told);
                slot.belongs_to(ClientKey::of(peer.address()));
            }
            let Some(tls) = named.tls() else { return Ok((version(&stream).await?, Begun::Plain(stream))) };
            let stream: Box<dyn Transport> = Box::new(stream);
            let accepted = TlsAcceptor::from(tls.server()).accept(self.watched(stream, slot)).await;
            let stream = accepted.inspect_err(|_| self.admission.refuse(Reason::Tls, &peer))?;
            let (_, session) = stream.get_ref();
            let shown = session.peer_certificates().and_then(|all| all.first());
            peer.shows(shown.map(|der| Certificate::read(der)));
            let is_two = session.alpn_protocol() == Some(b"h2");
            Ok((if is_two { Version::Two } else { Version::One }, Begun::Tls(Box::new(stream))))
        };
        let Some((version, stream)) = self.before_request(slot, begun).await else { return Ok(()) };
        match stream {
            Begun::Plain(stream) => {
                self.serve_version(version, self.watched(stream, slot), (&peer, slot)).await
            }
            Begun::Tls(stream) => self.serve_version(version, *stream, (&peer, slot)).await,
        }
    }

    /// Waits for what a connection begins with, which has a limit; `None` if there is nothing to serve.
    async fn before_request<T>(
        &self,
        slot: &OpenConnection,
        work: impl Future<Output = io::Result<T>>,
    ) -> Option<T> {
        let begun = tokio::select! {
            // In this order: what has arrived is answered.
            biased;
            begun = tokio::time::timeout(self.patience, work) => begun,
            () = self.shutdown.wait() => return None,
            () = slot.going() => return None,
        };
        match begun {
            Ok(Ok(begun)) => return Some(begun),
            Ok(Err(error)) => tracing::debug!(%error, "a connection ended before its first request"),
            Err(_) => tracing::debug!("a connection was closed that has sent no request"),
        }
        None
    }

    /// A connection whose client must read what is written.
    fn watched<S>(&self, stream: S, slot: &OpenConnection) -> Stalling<S> {
        Stalling::new(stream, self.patience, (slot.writing(), self.closing.clone()))
    }

    /// Serves one connection with a version of HTTP.
    async fn serve_version(
        &self,
        version: Version,
        stream: impl Transport,
        (peer, slot): (&Peer, &OpenConnection),
    ) -> hyper::Result<()> {
        match version {
            Version::One => self.serve_http1(stream, peer, slot).await,
            // In a box, so that the far more common connections are not as large.
            Version::Two => Box::pin(self.serve_http2(stream, peer, slot)).await,
        }
    }

    /// Serves one connection with HTTP/1.1.
    async fn serve_http1(
        &self,
        stream: impl Transport,
        peer: &Peer,
        slot: &OpenConnection,
    ) -> hyper::Result<()> {
        let service = service_fn(|request: hyper::Request<Incoming>| async move {
            let active = slot.begin();
            let mut response = self.front.answer(request, (peer, &self.cutoff)).await;
            if self.closing.has_come() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| Tracked { body, _active: active, untaken: None }))
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            .max_header_size(HEAD as usize)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            result = connection.as_mut() => return result,
            () = self.shutdown.wait() => {}
            () = slot.going() => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            result = connection.as_mut() => result,
            () = gone(slot) => Ok(()),
        }
    }

    /// Serves one connection with HTTP/2. A client that is told to go elsewhere knows which of its requests are answered
    /// here, so that nothing is gained by waiting.
    async fn serve_http2(
        &self,
        stream: impl Transport,
        peer: &Peer,
        slot: &OpenConnection,
    ) -> hyper::Result<()> {
        let unread = Arc::<Unread>::default();
        let peer = Arc::new(peer.clone());
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let (front, active, unread) = (self.front.clone(), slot.begin(), Arc::clone(&unread));
            let (peer, cutoff) = (Arc::clone(&peer), self.cutoff.clone());
            async move {
                let response = front.answer(request, (&peer, &cutoff)).await;
                let untaken = Some(unread.answer());
                Ok::<_, Infallible>(response.map(|body| Tracked { body, _active: active, untaken }))
            }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(WAITING)
            .max_header_list_size(HEAD)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            result = connection.as_mut() => return result,
            () = self.closing.wait() => {}
            () = slot.going() => {}
            () = slot.unused(self.patience) => {}
            () = unread.for_long(slot, self.patience) => {
                tracing::debug!("a connection was closed whose client does not read an answer");
                return Ok(());
            }
        }
        connection.as_mut().graceful_shutdown();
        let left = async {
            tokio::select! {
                // A client that is there says that it has read the GOAWAY; then the connection ends by itself.
                () = self.shutdown.wait(), if self.closing.has_come() => {}
                () = slot.going() => {}
                () = unread.for_long(slot, self.patience) => return,
                () = tokio::time::sleep(GRACE), if !self.closing.has_come() => {}
            }
            gone(slot).await;
        };
        tokio::select! {
            result = connection.as_mut() => result,
            () = left => Ok(()),
        }
    }
}

/// Waits until a connection that was told to go has no request in flight, or is to go whatever is.
async fn gone(slot: &OpenConnection) {
    loop {
        if slot.is_cut() {
            return;
        }
        tokio::time::sleep(GOODBYE).await;
        if slot.idle().is_some() {
            return;
        }
    }
}

/// The answers of an HTTP/2 connection of which the next part is not taken: a client can leave a stream unread while the
/// connection goes on (RFC 9113 §5.2).
#[derive(Debug, Default)]
struct Unread {
    /// Since when, by the number of the answer.
    since: Mutex<BTreeMap<u64, Instant>>,
    /// The last number.
    last: AtomicU64,
}

/// One of these answers, until dropped.
#[derive(Debug)]
struct Untaken(Arc<Unread>, u64);

impl Unread {
    /// An answer of which nothing was taken.
    fn answer(self: &Arc<Self>) -> Untaken {
        let untaken = Untaken(Arc::clone(self), self.last.fetch_add(1, Ordering::Relaxed));
        untaken.note(true);
        untaken
    }

    /// Waits until a part of an answer was not taken for so long, and nothing else was written.
    async fn for_long(&self, slot: &OpenConnection, limit: Duration) {
        loop {
            let oldest = self.since.lock().values().min().copied();
            let waits = oldest.map_or(Duration::ZERO, |since| since.elapsed().min(slot.silent()));
            if waits >= limit {
                return;
            }
            tokio::time::sleep(limit.saturating_sub(waits)).await;
        }
    }
}

impl Untaken {
    /// Notes whether there is a part that the client has not taken.
    fn note(&self, waits: bool) {
        let mut since = self.0.since.lock();
        if waits {
            since.insert(self.1, Instant::now());
        } else {
            since.remove(&self.1);
        }
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        self.note(false);
    }
}

/// A body whose request is in flight until it is sent.
struct Tracked {
    /// The body.
    body: Body,
    /// Counts the request.
    _active: Active,
    /// Whether it is taken, where that cannot be seen by what is written.
    untaken: Option<Untaken>,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        // The next part is only asked for when this one can be sent.
        if let Some(untaken) = &self.untaken {
            untaken.note(matches!(frame, Poll::Ready(Some(Ok(_)))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
