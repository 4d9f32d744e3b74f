//! The proof that an installed service works: systemd says so, it answers `GET /health/ready`, and it answers an MCP
//! request as a client would send it, or asks it to show who it is. That no upstream can be used is told and fails nothing:
//! the gateway keeps trying, and an upstream may well be installed after it.
//!
//! A listener without TLS is asked. Where there is none, the certificates are for clients to judge; what the service says of
//! itself over its control socket is the proof then.
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
use crate::config::{self, ListenAddr, Server};
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

/// Where clients reach the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entrance {
    /// The listener.
    pub(crate) listener: ListenAddr,
    /// Whether it speaks TLS.
    pub(crate) secure: bool,
}

/// What was proved.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    /// Where it was asked.
    pub(crate) entrance: Entrance,
    /// Whether an upstream can be used.
    pub(crate) ready: bool,
}

impl Proof {
    /// What was proved, in words that follow a name.
    pub(crate) fn words(&self) -> String {
        format!("serves on {}", self.address())
    }

    /// Where it serves, and how that was proved.
    pub(crate) fn address(&self) -> String {
        let Entrance { listener, secure } = &self.entrance;
        let how = if *secure { "with TLS" } else { "and has answered an MCP request" };
        format!("{listener} {how}")
    }
}

/// Where the installed configuration has the gateway listen; `None` if it does not say so in a form that is valid.
pub(crate) fn configured_entrance(target: &Installation) -> Option<Entrance> {
    let server = configured(&target.tree().outside(&target.layout().configuration)).ok()?;
    entrance(&server.listen, &server)
}

/// Proves that the service works.
pub(super) fn service(installation: &Installation) -> Result<Proof, Error> {
    let layout = installation.layout();
    let failed = |why| service::failed(layout, why);
    if !service::is_active(layout)? {
        return Err(failed("systemd does not report it as active".to_owned()));
    }
    let (entrance, told) = served(layout).map_err(failed)?;
    let ready = if let (true, Some(service)) = (entrance.secure, told) {
        service.healthy
    } else {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::file("start a runtime for", &layout.configuration))?;
        runtime.block_on(answers(&target(&entrance.listener))).map_err(failed)?
    };
    Ok(Proof { entrance, ready })
}

/// Where it is to be asked, of the listeners that the service tells, or else of those of the configuration; and what the
/// service tells.
fn served(layout: &Layout) -> Result<(Entrance, Option<Identity>), String> {
    // Beside the pid file and of its name: man mcpeg, FILES.
    let socket = layout.pid_file.with_extension("sock");
    let told =
        control::ask::<Identity>(&socket, Request::Status, CLIENT_LIMIT).ok().map(|reply| reply.answer);
    let server = configured(&layout.configuration);
    let bound = told.iter().flat_map(|told| &told.listeners).filter_map(|bound| bound.parse().ok());
    let bound: Vec<ListenAddr> = bound.collect();
    let entrance = match server {
        Ok(server) => entrance(&bound, &server).or_else(|| entrance(&server.listen, &server)),
        Err(_) if !bound.is_empty() => entrance(&bound, &Server::default()),
        Err(error) => return Err(format!("cannot tell where it listens: {}", chain(&error))),
    };
    Ok((entrance.ok_or_else(|| "it listens nowhere".to_owned())?, told))
}

/// The first of these listeners without TLS, or else the first.
fn entrance(listeners: &[ListenAddr], server: &Server) -> Option<Entrance> {
    let mut entrances = listeners.iter().map(|listener| entrance_at(listener, server));
    let first = entrances.next()?;
    Some(if first.secure { entrances.find(|entrance| !entrance.secure).unwrap_or(first) } else { first })
}

/// What clients find at a listener.
pub(super) fn entrance_at(listener: &ListenAddr, server: &Server) -> Entrance {
    let named = server.listener_at(&listener.to_string(), None).flatten();
    Entrance { listener: listener.clone(), secure: named.is_some_and(|named| named.tls.is_some()) }
}

/// What a configuration file says of listeners.
fn configured(file: &Path) -> Result<Server, config::Error> {
    Ok(config::candidate(file, &config::fragment_directory(file))?.server)
}

/// The URL for clients on this machine; `None` for a Unix socket, which has none.
pub(crate) fn endpoint(entrance: &Entrance) -> Option<String> {
    let scheme = if entrance.secure { "https" } else { "http" };
    match reachable(&entrance.listener) {
        ListenAddr::Unix(_) => None,
        tcp @ ListenAddr::Tcp { .. } => Some(format!("{scheme}://{tcp}/mcp")),
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
    // Who installs may be no client: then it has to be told so.
    let asks_who = status == StatusCode::UNAUTHORIZED
        || status == StatusCode::FORBIDDEN && matches!(target, Target::Unix(_));
    if status == StatusCode::OK && body.contains("\"result\"") || asks_who {
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
        assert_eq!(configured(file.path()).unwrap().listen[0].to_string(), "127.0.0.1:9999");
    }

    #[test]
    fn wildcards_are_reached_over_loopback() {
        for (listener, reached) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            let listener = listener.parse().unwrap();
            assert_eq!(reachable(&listener).to_string(), reached);
            for (secure, scheme) in [(false, "http"), (true, "https")] {
                let entrance = Entrance { listener: listener.clone(), secure };
                assert_eq!(endpoint(&entrance), Some(format!("{scheme}://{reached}/mcp")));
            }
        }
    }

    #[test]
    fn listener_without_tls_is_asked_where_there_is_one() {
        let tls = "tls = { cert = \"/c.pem\", key = \"/k.pem\" }";
        let (secure, plain) = ("address = \"127.0.0.1:8443\"", "address = \"127.0.0.1:8081\"");
        for (text, address, secured) in [
            (format!("[server]\nlisten = []\n[listeners.a]\n{secure}\n{tls}\n"), "127.0.0.1:8443", true),
            (
                format!("[server]\nlisten = []\n[listeners.a]\n{secure}\n{tls}\n[listeners.b]\n{plain}\n"),
                "127.0.0.1:8081",
                false,
            ),
            (format!("[listeners.a]\n{secure}\n{tls}\n"), "127.0.0.1:8080", false),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::io::Write::write_all(&mut file.as_file(), text.as_bytes()).unwrap();
            let server = configured(file.path()).unwrap();
            let found = entrance(&server.listen, &server).unwrap();
            assert_eq!((found.listener.to_string().as_str(), found.secure), (address, secured), "{text}");
        }
    }
}
