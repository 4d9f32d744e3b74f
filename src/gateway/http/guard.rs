//! Keeping web pages out: the Host and Origin of each request are checked (MCP 2026-07-28 §Streamable HTTP,
//! "Security & Endpoint"), so that a page in a browser cannot reach a gateway on loopback by DNS rebinding.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::request::Parts;

use crate::config::{ListenAddr, Server};
use crate::gateway::catalog::RoutingHandle;
use crate::gateway::client::ClientKey;
use crate::gateway::client_log_limit::ClientLogLimit;

/// Says which requests are let in.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The configuration in force.
    routing: Arc<RoutingHandle>,
    /// What is logged about clients.
    log_limit: Arc<ClientLogLimit>,
}

/// So much of a host that is none of ours is logged, in bytes.
const HOST_SHOWN: usize = 128;

/// That a request was let in; nobody else can say so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted(());

impl Guard {
    /// A guard for the configuration in force.
    pub(crate) const fn new(routing: Arc<RoutingHandle>, log_limit: Arc<ClientLogLimit>) -> Self {
        Self { routing, log_limit }
    }

    /// Lets a request in whose Host and Origin are ours; otherwise its refusal.
    pub(super) fn check(&self, head: &Parts, peer: Option<IpAddr>) -> Result<Admitted, Box<Response>> {
        let refused = verdict(&self.routing.current().server, &head.headers, &head.uri);
        let Err((status, reason)) = refused else { return Ok(Admitted(())) };
        let client = ClientKey::of(peer);
        if self.log_limit.admits(reason, client) {
            let host = head.uri.authority().map(|host| host.as_str().as_bytes());
            let host = host.or_else(|| head.headers.get(header::HOST).map(http::HeaderValue::as_bytes));
            let host =
                host.map(|host| String::from_utf8_lossy(&host[..host.len().min(HOST_SHOWN)]).into_owned());
            let host = host.unwrap_or_default();
            tracing::warn!(reason, host, %client, "a request is refused");
        }
        Err(Box::new((status, format!("{reason}\n")).into_response()))
    }
}

/// Whether a request may pass, or why not.
fn verdict(server: &Server, headers: &HeaderMap, uri: &Uri) -> Result<(), (StatusCode, &'static str)> {
    let text = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap_or("\0"));
    let host = uri.authority().map(http::uri::Authority::as_str).or_else(|| text(header::HOST));
    // RFC 9112 §3.2: a server must answer more than one Host header with 400.
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Err((StatusCode::BAD_REQUEST, "there is more than one Host header"));
    }
    let forbidden = |reason| Err((StatusCode::FORBIDDEN, reason));
    if !host.is_some_and(|host| host_is_ours(server, host)) {
        return forbidden(
            "the Host header names no host of this gateway; `allowed_hosts` in [server] adds one",
        );
    }
    match text(header::ORIGIN) {
        Some(origin) if !origin_is_ours(server, origin) => {
            forbidden("the Origin header names a foreign page; `allowed_origins` in [server] adds one")
        }
        _ => Ok(()),
    }
}

/// Whether a Host value is a loopback name, a listener's own address, or allowed by the configuration.
fn host_is_ours(server: &Server, host: &str) -> bool {
    let name = without_port(host);
    is_loopback(name)
        || server
            .allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(name))
        || server.listen.iter().any(|listener| match listener {
            ListenAddr::Tcp { host: own, .. } => own.eq_ignore_ascii_case(name.trim_matches(['[', ']'])),
            ListenAddr::Unix(_) => false,
        })
}

/// Whether an Origin value is a loopback page or allowed by the configuration.
fn origin_is_ours(server: &Server, origin: &str) -> bool {
    let loopback = origin
        .split_once("://")
        .is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && is_loopback(without_port(host)));
    loopback || server.allowed_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

/// A host without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

/// Whether a host name means this machine for every resolver (RFC 6761 §6.3).
fn is_loopback(name: &str) -> bool {
    let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_loopback() {
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "127.9.9.9", "[::1]:80", "[::1]"] {
            assert!(is_loopback(without_port(host)), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "::1:80", "", "10.0.0.1"]
        {
            assert!(!is_loopback(without_port(host)), "{host}");
        }
    }
}
