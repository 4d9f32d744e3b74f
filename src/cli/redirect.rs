//! Where a browser comes back to after a login: an address of this machine, or what a person pastes at the prompt.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::oauth::{Authorization, Error};

/// The path that the browser comes back to.
const PATH: &str = "/callback";
/// How long a browser may take to send a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a browser may take to read the answer.
const GOODBYE: Duration = Duration::from_secs(1);

/// An address of this machine that a browser comes back to.
pub(super) struct Redirect {
    /// Where it is heard.
    listener: TcpListener,
    /// The port.
    port: u16,
}

impl Redirect {
    /// One at this port, or at any. Nobody but this machine can reach it.
    pub(super) async fn open(port: Option<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// The address.
    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Waits for the code that comes back to it, or is pasted.
    pub(super) async fn code(self, login: Authorization) -> Result<String, Error> {
        let login = Arc::new(login);
        tokio::select! {
            code = self.comes(Arc::clone(&login)) => code,
            code = pasted(&login) => code,
        }
    }

    /// Waits for a browser. What does not belong to the login is refused, and waited on.
    async fn comes(&self, login: Arc<Authorization>) -> Result<String, Error> {
        let (sender, mut codes) = mpsc::channel(1);
        let mut connections = JoinSet::new();
        let code = loop {
            tokio::select! {
                accepted = self.listener.accept() => if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&login), sender.clone()));
                },
                Some(code) = codes.recv() => break code,
            }
        };
        let _ = timeout(GOODBYE, connections.join_all()).await;
        code
    }
}

/// Serves one connection of a browser.
async fn serve(stream: TcpStream, login: Arc<Authorization>, codes: mpsc::Sender<Result<String, Error>>) {
    let service = service_fn(|request: Request<_>| {
        let answer = answer(&request, &login, &codes);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
    // Whoever breaks off comes again, or not.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// Answers one request.
fn answer<B>(
    request: &Request<B>,
    login: &Authorization,
    codes: &mpsc::Sender<Result<String, Error>>,
) -> Response<Full<Bytes>> {
    let query = request.uri().query().unwrap_or_default();
    let (status, text) = if request.method() != Method::GET || request.uri().path() != PATH {
        (StatusCode::NOT_FOUND, "There is nothing here.\n")
    } else if !login.is_answer(query) {
        (StatusCode::BAD_REQUEST, "This does not belong to the login that mcpeg waits for.\n")
    } else {
        let code = login.code(query);
        let told = if code.is_ok() {
            (StatusCode::OK, "mcpeg goes on with the login. You can close this window.\n")
        } else {
            (
                StatusCode::BAD_REQUEST,
                "mcpeg cannot go on with the login: it says why where it was started.\n",
            )
        };
        // Only the first counts.
        let _ = codes.try_send(code);
        told
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Waits for an address that a person pastes. Where nobody is at the other end, that is for ever.
async fn pasted(login: &Authorization) -> Result<String, Error> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) if line.trim().is_empty() => {}
            Ok(Some(line)) => return login.code(&line),
            Ok(None) | Err(_) => return std::future::pending().await,
        }
    }
}
