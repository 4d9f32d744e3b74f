//! Connections: accepting, serving, and draining them.
//!
//! Clients speak HTTP/1.1, or HTTP/2 with prior knowledge (RFC 9113 §3.3).
//!
//! The order of a drain: stop accepting; tell HTTP/2 clients by GOAWAY to go elsewhere with what is new (RFC 9113 §6.8); let
//! idle keep-alive connections live for a grace period, in which their next
//! response says `Connection: close`, since closing them at once would cut requests that are already on their way
//! (RFC 9112 §9.6); then close idle ones; then wait for the rest until the deadline.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::router::Front;
use super::version::{Connection, Version, version};
use crate::drain::Watch;
use crate::sys::net::Listener;

/// How long idle connections are kept after a drain has begun.
const GRACE: Duration = Duration::from_secs(2);
/// How often an HTTP/2 client that is silent is asked whether it is there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(30);
/// The pause after a failed accept(2), such as on EMFILE, so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// Who connects: a network address, or nobody in particular over a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(super) Option<IpAddr>);

/// What the connections of one listener share.
#[derive(Clone)]
struct Shared {
    /// Answers requests.
    front: Front,
    /// How long a client may take to send a request's head.
    patience: Duration,
    /// Set when the drain begins: responses say `Connection: close`.
    closing: CancellationToken,
    /// Set after the grace period: idle connections are closed.
    shutdown: CancellationToken,
    /// Connections that are open.
    open: Arc<AtomicUsize>,
    /// Their tasks.
    tasks: TaskTracker,
    /// Whether new connections are left to wait.
    paused: watch::Receiver<bool>,
}

/// Serves a listener until drained; returns the number of connections that were cut at the deadline.
pub(crate) async fn accept(
    listener: Listener,
    (front, patience): (Front, Duration),
    mut drain: Watch,
    paused: watch::Receiver<bool>,
) -> io::Result<usize> {
    let shared = Shared {
        front,
        patience,
        closing: CancellationToken::new(),
        shutdown: CancellationToken::new(),
        open: Arc::default(),
        tasks: TaskTracker::new(),
        paused,
    };
    let deadline = match listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
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
    shared.closing.cancel();
    shared.tasks.close();
    let grace = deadline.min(tokio::time::Instant::now() + GRACE);
    let _ = tokio::time::timeout_at(grace, shared.tasks.wait()).await;
    shared.shutdown.cancel();
    let _ = tokio::time::timeout_at(deadline, shared.tasks.wait()).await;
    Ok(shared.open.load(Ordering::Relaxed))
}

/// Accepts TCP connections.
async fn accept_tcp(listener: &TcpListener, shared: &Shared) {
    loop {
        match shared.next(listener.accept()).await {
            Ok((stream, from)) => {
                let _ = stream.set_nodelay(true);
                shared.spawn(stream, Address(Some(from.ip())));
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Accepts connections to a Unix socket.
async fn accept_unix(listener: &UnixListener, shared: &Shared) {
    loop {
        match shared.next(listener.accept()).await {
            Ok((stream, _)) => shared.spawn(stream, Address(None)),
            Err(error) => pause(&error).await,
        }
    }
}

/// After a failed accept(2): the listener is fine, but the process may be out of descriptors.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(PAUSE).await;
}

impl Shared {
    /// The next connection, while they are not left to wait in the kernel: another process is about to accept them, and
    /// if it does not, this one goes on.
    async fn next<T>(&self, accept: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut paused = self.paused.clone();
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

    /// Serves one connection in a task of its own.
    fn spawn(&self, stream: impl Connection, address: Address) {
        let shared = self.clone();
        self.open.fetch_add(1, Ordering::Relaxed);
        self.tasks.spawn(async move {
            shared.serve(stream, address).await;
            shared.open.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Serves one connection to its end.
    async fn serve(&self, stream: impl Connection, address: Address) {
        let version = tokio::select! {
            // In this order: what has arrived is answered.
            biased;
            version = tokio::time::timeout(self.patience, version(&stream)) => version,
            () = self.shutdown.cancelled() => return,
        };
        let result = match version {
            Ok(Ok(Version::One)) => self.serve_http1(stream, address).await,
            // In a box, so that the far more common connections are not as large.
            Ok(Ok(Version::Two)) => Box::pin(self.serve_http2(stream, address)).await,
            Ok(Err(error)) => return tracing::debug!(%error, "a connection ended before its first request"),
            Err(_) => return tracing::debug!("a connection was closed that has sent no request"),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// Serves one connection with HTTP/1.1.
    async fn serve_http1(&self, stream: impl Connection, address: Address) -> hyper::Result<()> {
        let service = service_fn(|request: hyper::Request<Incoming>| async move {
            let mut response = self.front.answer(request, address).await;
            if self.closing.is_cancelled() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = connection.as_mut() => result,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }

    /// Serves one connection with HTTP/2. A client that is told to go elsewhere knows which of its requests are answered
    /// here, so that nothing is gained by waiting.
    async fn serve_http2(&self, stream: impl Connection, address: Address) -> hyper::Result<()> {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let front = self.front.clone();
            async move { Ok::<_, Infallible>(front.answer(request, address).await) }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = connection.as_mut() => result,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }
}
