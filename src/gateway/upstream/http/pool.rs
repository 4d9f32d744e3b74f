//! Kept HTTP connections that nobody but their user drives.
//!
//! The task that waits for an answer works on the connection itself: no message passes between tasks for a
//! call, and a call that is given up closes its connection by being dropped. While nobody uses it, a connection is not looked
//! at; whether the server has closed it meanwhile is found out when it is taken again.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tower::{Service as _, ServiceExt as _};

use super::balancer::Target;
use super::credential::Trouble;

/// How long a connection is kept that nobody uses.
const KEPT: Duration = Duration::from_secs(60);
/// How often such connections are looked for.
const SWEEP: Duration = Duration::from_secs(15);
/// How long connecting may take, with TLS.
const CONNECT: Duration = Duration::from_secs(20);
/// Connections to one place that are kept.
const MOST: usize = 256;

/// What a request's body is.
type Sent = Full<Bytes>;
/// A TCP connection, with or without TLS.
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// No connection; the request was not sent.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection failed, or what came over it is no HTTP.
    #[error("no answer")]
    Answer(#[source] hyper::Error),
    /// No token for the upstream; the request was not sent.
    #[error(transparent)]
    Token(Box<Trouble>),
}

/// One connection.
struct IdleConnection {
    /// Where requests go in.
    sender: SendRequest<Sent>,
    /// What works on them.
    connection: Box<Connection<Stream, Sent>>,
    /// Since when it is kept.
    since: Instant,
}

/// Connections that nobody uses, by server, the last used at the end.
#[derive(Default)]
struct IdleConnections(Mutex<HashMap<String, Vec<IdleConnection>>>);

/// Connections to anywhere; clones share them.
#[derive(Clone)]
pub(crate) struct Pool {
    /// Makes new ones.
    connector: HttpsConnector<HttpConnector>,
    /// Keeps old ones.
    idle: Arc<IdleConnections>,
}

/// The body of an answer, which works on its connection while it is read and gives it back at its end.
pub(crate) struct ResponseBody {
    /// What was read.
    incoming: Incoming,
    /// Its connection, until the end.
    kept: Option<IdleConnection>,
    /// Where the connection goes then.
    idle: Arc<IdleConnections>,
    /// Where it leads to.
    target: Arc<Target>,
}

impl Failed {
    /// Whether the request was certainly not sent.
    pub(crate) const fn is_connect(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

impl Pool {
    /// No connections.
    pub(crate) fn new(connector: HttpsConnector<HttpConnector>) -> Self {
        Self { connector, idle: Arc::default() }
    }

    /// One that makes connections in the same way, and shares none.
    pub(crate) fn apart(&self) -> Self {
        Self::new(self.connector.clone())
    }

    /// How connections are made.
    pub(crate) const fn connector(&self) -> &HttpsConnector<HttpConnector> {
        &self.connector
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn request(
        &self,
        target: &Arc<Target>,
        mut request: Request<Sent>,
    ) -> Result<Response<ResponseBody>, Failed> {
        loop {
            let taken = self.idle.take(&target.server).await;
            let fresh = taken.is_none();
            let mut kept = match taken {
                Some(kept) => kept,
                // Large, and seldom needed.
                None => Box::pin(self.connect(&target.uri)).await?,
            };
            let mut sending = std::pin::pin!(kept.sender.try_send_request(request));
            let mut ended = false;
            let answered = poll_fn(|cx| {
                // The end of the connection is told by the request, too.
                ended = ended || Pin::new(&mut kept.connection).poll(cx).is_ready();
                sending.as_mut().poll(cx)
            });
            match answered.await {
                Ok(response) => {
                    let (kept, idle) = (Some(kept).filter(|_| !ended), Arc::clone(&self.idle));
                    let target = Arc::clone(target);
                    return Ok(response.map(|incoming| ResponseBody { incoming, kept, idle, target }));
                }
                // A kept connection that the server has just closed: nothing was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(Failed::Answer(error.into_error())),
                },
            }
        }
    }

    /// A new connection.
    async fn connect(&self, uri: &Uri) -> Result<IdleConnection, Failed> {
        let mut connector = self.connector.clone();
        let connecting = async {
            let connector = connector.ready().await.map_err(Failed::Connect)?;
            connector.call(uri.clone()).await.map_err(Failed::Connect)
        };
        let late = |late: Elapsed| Failed::Connect(late.into());
        let stream = timeout(CONNECT, connecting).await.map_err(late)??;
        let (sender, connection) = handshake(stream).await.map_err(Failed::Answer)?;
        Ok(IdleConnection { sender, connection: Box::new(connection), since: Instant::now() })
    }
}

impl IdleConnection {
    /// Works on the connection; whether it can take a request now.
    fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        let alive = Pin::new(&mut self.connection).poll(cx).is_pending();
        alive && matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())))
    }
}

impl IdleConnections {
    /// A connection to a place that is still open.
    async fn take(&self, place: &str) -> Option<IdleConnection> {
        loop {
            let mut kept = self.0.lock().get_mut(place)?.pop()?;
            if poll_fn(|cx| Poll::Ready(kept.is_ready(cx))).await {
                return Some(kept);
            }
        }
    }

    /// Keeps a connection for the next request.
    fn put(self: &Arc<Self>, place: &str, mut kept: IdleConnection) {
        kept.since = Instant::now();
        let mut places = self.0.lock();
        let first = places.is_empty();
        if !places.contains_key(place) {
            places.insert(place.to_owned(), Vec::new());
        }
        if let Some(others) = places.get_mut(place).filter(|others| others.len() < MOST) {
            others.push(kept);
        }
        drop(places);
        if first {
            tokio::spawn(Arc::clone(self).sweep());
        }
    }

    /// Closes what nobody has used for long, until there is nothing left.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let mut places = self.0.lock();
            places.retain(|_, kept| {
                kept.retain(|kept| kept.since.elapsed() < KEPT);
                !kept.is_empty()
            });
            if places.is_empty() {
                return;
            }
        }
    }
}

impl ResponseBody {
    /// Works on the connection and reads what has come.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(kept) = &mut self.kept
            && Pin::new(&mut kept.connection).poll(cx).is_ready()
        {
            self.kept = None;
        }
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    /// The connection goes to the next request, if it can take one.
    fn give_back(&mut self, cx: &mut Context<'_>) {
        if let Some(mut kept) = self.kept.take()
            && kept.is_ready(cx)
        {
            self.idle.put(&self.target.server, kept);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let mut frame = this.read(cx);
        if frame.is_pending() {
            // Now that more is wanted, the connection reads on.
            frame = this.read(cx);
        }
        if matches!(frame, Poll::Ready(None)) || frame.is_ready() && this.incoming.is_end_stream() {
            this.give_back(cx);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ResponseBody {
    /// Closes the connection, unless there was nothing more to read.
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.give_back(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}
