//! One HTTP request to a listener of our own: how readiness is proved, by the daemon before it announces it and
//! by the installer after it started the service.
//!
//! Works over TCP and Unix sockets. There is no pool and no TLS: the peer is a local mcpeg.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// More than any answer that a probe asks for, in bytes.
const ANSWER_LIMIT: usize = 1 << 20;

/// Where to ask.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A TCP address as `host:port`.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody listens, or the connection broke.
    #[error("cannot connect to `{0}`")]
    Connect(Target, #[source] std::io::Error),
    /// The peer does not speak HTTP, or closed the connection.
    #[error("no HTTP answer from `{0}`")]
    Exchange(Target, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer did not come in time.
    #[error("no answer from `{0}` within {1:?}")]
    TimeOut(Target, Duration),
}

/// Sends `GET path` and returns status and body.
/// Fails with [`Error`] when no complete answer arrives within `limit`.
pub(crate) async fn get(target: &Target, path: &str, limit: Duration) -> Result<(StatusCode, Bytes), Error> {
    exchange(target, Request::get(path), Bytes::new(), limit).await
}

/// Sends `GET path` to a TCP address from a socket that is bound already, and returns status and body.
/// Fails with [`Error`] when no complete answer arrives within `limit`.
pub(crate) async fn get_from(
    socket: TcpSocket,
    address: std::net::SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<(StatusCode, Bytes), Error> {
    let target = Target::Tcp(address.to_string());
    let work = async {
        let stream = socket.connect(address).await.map_err(|error| Error::Connect(target.clone(), error))?;
        let answer = over(stream, &address.to_string(), Request::get(path), Bytes::new()).await;
        answer.map_err(|error| Error::Exchange(target.clone(), error))
    };
    tokio::time::timeout(limit, work).await.map_err(|_| Error::TimeOut(target.clone(), limit))?
}

/// Sends `POST path` with a JSON body, as an MCP client does, and returns status and body.
/// Fails with [`Error`] when no complete answer arrives within `limit`.
pub(crate) async fn post(
    target: &Target,
    path: &str,
    headers: &[(&str, &str)],
    body: String,
    limit: Duration,
) -> Result<(StatusCode, Bytes), Error> {
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    exchange(target, request, body.into(), limit).await
}

/// Connects, sends, and collects, all within `limit`.
async fn exchange(
    target: &Target,
    request: http::request::Builder,
    body: Bytes,
    limit: Duration,
) -> Result<(StatusCode, Bytes), Error> {
    let failed = |error| Error::Connect(target.clone(), error);
    let work = async {
        match target {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                over(stream, address, request, body).await
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                over(stream, "localhost", request, body).await
            }
        }
        .map_err(|error| Error::Exchange(target.clone(), error))
    };
    tokio::time::timeout(limit, work).await.map_err(|_| Error::TimeOut(target.clone(), limit))?
}

/// One request over a fresh connection, closed afterwards.
async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    request: http::request::Builder,
    body: Bytes,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let request =
        request.header(header::HOST, host).header(header::CONNECTION, "close").body(Full::new(body))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await?.to_bytes();
    driver.abort();
    Ok((status, body))
}
