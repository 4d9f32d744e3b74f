//! The proof that an installed service works: systemd says so, it answers `GET /health/ready`, and it answers an MCP
//! request as a client would send it. That no upstream can be used is told and fails nothing: the gateway keeps trying,
//! and an upstream may well be installed after it.
//!
//! Where it listens is asked of the service itself, because a drop-in of the administrator may say something else than
//! the configuration file. Only if that gives no answer, the file is read; its references may be ones that resolve in
//! the service's environment alone, so they need not resolve here.

use std::path::Path;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::error::Error;
use super::layout::Layout;
use super::service;
use super::target::Target as Installation;
use crate::config::{self, ListenAddr};
use crate::control::{self, CLIENT_LIMIT, Identity, Request};
use crate::exit::chain;
use crate::probe::{self, Target};

/// How long the service may take from READY=1 to its first answer.
const LIMIT: Duration = Duration::from_secs(30);
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How long upstreams may take to become usable before the installation goes on without them.
const UPSTREAM_PATIENCE: Duration = Duration::from_secs(10);
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

/// What was proved.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The listener that has answered.
    pub listener: ListenAddr,
    /// Whether an upstream can be used.
    pub ready: bool,
}

/// Where the installed configuration has the gateway listen; `None` if it does not say so in a form that is valid.
#[must_use]
pub fn configured_listener(target: &Installation) -> Option<ListenAddr> {
    configured(&target.tree().outside(&target.layout().configuration)).ok()
}

/// Proves that the service works.
pub(super) fn service(installation: &Installation) -> Result<Proof, Error> {
    let layout = installation.layout();
    let failed = |why| service::failed(layout, why);
    if !service::is_active(layout)? {
        return Err(failed("systemd does not report it as active".to_owned()));
    }
    let listener = listener(layout).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::file("start a runtime for", &layout.configuration))?;
    let ready = runtime.block_on(answers(&target(&listener))).map_err(failed)?;
    Ok(Proof { listener, ready })
}

/// The first listener, as the service tells it, or else as the configuration does.
fn listener(layout: &Layout) -> Result<ListenAddr, String> {
    // Beside the pid file and of its name: man mcpeg, FILES.
    let socket = layout.pid_file.with_extension("sock");
    let told = control::ask::<Identity>(&socket, Request::Status, CLIENT_LIMIT);
    if let Some(listener) = told.ok().and_then(|reply| reply.answer.listeners.first()?.parse().ok()) {
        return Ok(listener);
    }
    configured(&layout.configuration)
        .map_err(|error| format!("cannot tell where it listens: {}", chain(&error)))
}

/// The first listener of a configuration file.
fn configured(file: &Path) -> Result<ListenAddr, config::Error> {
    let config = config::candidate(file, &config::fragment_directory(file))?;
    Ok(config.server.listen.into_iter().next().expect("a configuration has a listener"))
}

/// The URL for clients on this machine; `None` for a Unix socket, which has none.
#[must_use]
pub fn endpoint(listener: &ListenAddr) -> Option<String> {
    match reachable(listener) {
        ListenAddr::Unix(_) => None,
        tcp @ ListenAddr::Tcp { .. } => Some(format!("http://{tcp}/mcp")),
    }
}

/// Where a request to the listener goes: a wildcard is no address to connect to; loopback reaches it.
fn reachable(listener: &ListenAddr) -> ListenAddr {
    match listener {
        ListenAddr::Tcp { host, port } if host == "0.0.0.0" => {
            ListenAddr::Tcp { host: "127.0.0.1".to_owned(), port: *port }
        }
        ListenAddr::Tcp { host, port } if host == "::" => {
            ListenAddr::Tcp { host: "::1".to_owned(), port: *port }
        }
        other => other.clone(),
    }
}

/// The listener as a probe wants it.
fn target(listener: &ListenAddr) -> Target {
    match reachable(listener) {
        ListenAddr::Unix(path) => Target::Unix(path),
        tcp @ ListenAddr::Tcp { .. } => Target::Tcp(tcp.to_string()),
    }
}

/// Asks until the gateway is ready, or only its upstreams are missing; then sends the MCP request. Whether it is ready.
async fn answers(target: &Target) -> Result<bool, String> {
    let begin = Instant::now();
    let ready = loop {
        let answer = probe::get(target, "/health/ready", REQUEST_LIMIT).await;
        match &answer {
            Ok((StatusCode::OK, _)) => break true,
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) if begin.elapsed() > UPSTREAM_PATIENCE => break false,
            _ if begin.elapsed() > LIMIT => return Err(unready(answer)),
            _ => tokio::time::sleep(PAUSE).await,
        }
    };
    let (status, body) = probe::post(target, "/mcp", &HEADERS, DISCOVER.to_owned(), REQUEST_LIMIT)
        .await
        .map_err(|error| chain(&error))?;
    let body = String::from_utf8_lossy(&body);
    if status == StatusCode::OK && body.contains("\"result\"") {
        Ok(ready)
    } else {
        Err(format!("an MCP request is answered with {status}: {body}"))
    }
}

/// The last answer, in words.
fn unready<T>(answer: Result<(StatusCode, T), probe::Error>) -> String {
    answer.map_or_else(|error| chain(&error), |(status, _)| format!("/health/ready answers {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_with_references_that_only_the_unit_can_resolve_tells_its_listener() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[server]\nlisten = [\"127.0.0.1:9999\"]\n[upstreams.a]\nurl = \"http://127.0.0.1:1/mcp\"\n\
                    headers = { A = \"${env:MCPEG_NOT_SET_HERE}\", B = \"${credential:x}\" }\n";
        std::io::Write::write_all(&mut file.as_file(), text.as_bytes()).unwrap();
        assert_eq!(configured(file.path()).unwrap().to_string(), "127.0.0.1:9999");
    }

    #[test]
    fn wildcards_are_reached_over_loopback() {
        for (listener, reached) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            let listener = listener.parse().unwrap();
            assert_eq!(reachable(&listener).to_string(), reached);
            assert_eq!(endpoint(&listener), Some(format!("http://{reached}/mcp")));
        }
    }
}
