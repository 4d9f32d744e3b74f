//! The proof that an installed service works: systemd says so, it answers `GET /health/ready`, and it answers an MCP
//! request as a client would send it.

use std::path::Path;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::error::Error;
use super::layout::CONFIGURATION;
use super::service;
use crate::config::{self, ListenAddr};
use crate::probe::{self, Target};

/// How long the service may take from READY=1 to its first answer.
const LIMIT: Duration = Duration::from_secs(30);
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// A request without a session, so that the probe leaves nothing behind (MCP 2026-07-28 `server/discover`).
const DISCOVER: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"#,
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientCapabilities":{},"#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"mcpeg-install","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}}}"#
);
/// The headers that go with it.
const HEADERS: [(&str, &str); 2] =
    [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "server/discover")];

/// Proves that the service works.
///
/// # Errors
/// [`Error::Service`].
pub(super) fn service() -> Result<(), Error> {
    if !service::is_active()? {
        return Err(service::failed("systemd does not report it as active".to_owned()));
    }
    let Some(target) = target() else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::file("start a runtime for", CONFIGURATION))?;
    runtime.block_on(answers(&target)).map_err(service::failed)
}

/// The first listener. `None` if the configuration holds references that resolve in the service's environment only;
/// the service itself has then proved its readiness, since READY=1 comes after a request over its own listener.
fn target() -> Option<Target> {
    let source =
        config::Source { file: Some(Path::new(CONFIGURATION).to_owned()), ..config::Source::default() };
    let config = config::load(&source).ok()?;
    Some(match config.server.listen.first()? {
        ListenAddr::Tcp { host, port } => {
            // A wildcard is no address to connect to; loopback reaches it.
            let host = match host.as_str() {
                "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                host => host,
            };
            Target::Tcp(ListenAddr::Tcp { host: host.to_owned(), port: *port }.to_string())
        }
        ListenAddr::Unix(path) => Target::Unix(path.clone()),
    })
}

/// Asks until the gateway is ready, then sends the MCP request.
async fn answers(target: &Target) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = probe::get(target, "/health/ready", REQUEST_LIMIT).await;
        if matches!(answer, Ok((StatusCode::OK, _))) {
            break;
        }
        if Instant::now() > deadline {
            return Err(answer.map_or_else(
                |error| error.to_string(),
                |(status, _)| format!("/health/ready answers {status}"),
            ));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let (status, body) = probe::post(target, "/mcp", &HEADERS, DISCOVER.to_owned(), REQUEST_LIMIT)
        .await
        .map_err(|error| error.to_string())?;
    let body = String::from_utf8_lossy(&body);
    if status == StatusCode::OK && body.contains("\"result\"") {
        Ok(())
    } else {
        Err(format!("an MCP request is answered with {status}: {body}"))
    }
}
