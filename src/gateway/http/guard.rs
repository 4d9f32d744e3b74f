//! Keeping web pages out: the Host and Origin of each request are checked (MCP 2026-07-28 §Streamable HTTP,
//! "Security & Endpoint"), so that a page in a browser cannot reach a gateway on loopback by DNS rebinding.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::config::{ListenAddr, Listener, Server};
use crate::gateway::client::ClientKey;
use crate::gateway::client_log_limit::ClientLogLimit;
use crate::gateway::error::Fault;
use crate::gateway::telemetry::{Ledger, Origin, Reason};

/// Says which requests are let in.
#[derive(Debug)]
pub(crate) struct Guard {
    /// What is logged about clients.
    log_limit: Arc<ClientLogLimit>,
    /// Counts refusals.
    ledger: Arc<Ledger>,
    /// Whether the log says already that a proxy on this machine passes requests on.
    proxy_told: AtomicBool,
}

/// Why a request is refused: in a word for those who count, by this status, and in words for people.
pub(super) type Refused = (Reason, StatusCode, &'static str);

/// So much of a host that is none of ours is logged, in bytes.
const HOST_SHOWN: usize = 128;

/// That a request was let in; nobody else can say so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted(());

impl Guard {
    /// A guard that has not seen a request.
    pub(crate) const fn new(log_limit: Arc<ClientLogLimit>, ledger: Arc<Ledger>) -> Self {
        Self { log_limit, ledger, proxy_told: AtomicBool::new(false) }
    }

    /// Lets a request in whose Host and Origin are ours; otherwise its refusal.
    pub(super) fn check(
        &self,
        (server, named): (&Server, Option<&Listener>),
        head: &Parts,
        origin: &Origin,
    ) -> Result<Admitted, Box<Response>> {
        if named.is_none_or(|listener| listener.auth.is_empty() && listener.trusted_proxies.is_empty()) {
            self.notice_proxy(&head.headers, origin.address());
        }
        let refused = verdict((server, named), &head.headers, &head.uri);
        let Err(refused) = refused else { return Ok(Admitted(())) };
        Err(Box::new(self.refuse(head, origin, refused)))
    }

    /// The answer to a request that is refused, and what the log says of it.
    pub(super) fn refuse(&self, head: &Parts, origin: &Origin, (cause, status, reason): Refused) -> Response {
        self.ledger.refuse(cause, origin, (None, None));
        let client = ClientKey::of(origin.address());
        if self.log_limit.admits(reason, &client) {
            let host = head.uri.authority().map(|host| host.as_str().as_bytes());
            let host = host.or_else(|| head.headers.get(header::HOST).map(http::HeaderValue::as_bytes));
            let host =
                host.map(|host| String::from_utf8_lossy(&host[..host.len().min(HOST_SHOWN)]).into_owned());
            let host = host.unwrap_or_default();
            tracing::warn!(reason, host, %client, "a request is refused");
        }
        (status, format!("{reason}\n")).into_response()
    }

    /// Notes that a request is refused whose client does not show who it is, or may not use the gateway.
    pub(super) fn note_stranger(&self, (cause, reason): (Reason, &'static str), origin: &Origin) {
        self.ledger.refuse(cause, origin, (None, None));
        let (client, uid) = (ClientKey::of(origin.address()), origin.uid());
        if self.log_limit.admits(reason, &client) {
            tracing::warn!(reason, %client, uid, "a request is refused");
        }
    }

    /// Notes that a client has asked for more than it may.
    pub(super) fn note_limit(&self, fault: &Fault, client: &ClientKey) {
        if self.log_limit.admits("more than a client may", client) {
            tracing::warn!(reason = fault.message, %client, "a request is refused");
        }
    }

    /// Warns once where a proxy makes requests of others look like those of this machine.
    fn notice_proxy(&self, headers: &HeaderMap, peer: Option<IpAddr>) {
        let Some(header) = forwarded(headers, peer) else { return };
        if !self.proxy_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                header,
                "a proxy on this machine passes requests on: all who reach it can call every tool, although \
                 mcpeg listens on this machine only, and can read /metrics and /status unless `metrics` and `status` are off; see BEHIND \
                 A PROXY in mcpeg.toml(5)"
            );
        }
    }
}

/// The header by which a proxy on this machine tells that it passes a request on; a Unix socket has no peer's address.
fn forwarded(headers: &HeaderMap, peer: Option<IpAddr>) -> Option<&str> {
    let local = peer.is_none_or(|peer| peer.to_canonical().is_loopback());
    headers.keys().map(HeaderName::as_str).find(|name| local && is_forwarding(name))
}

/// Whether proxies add this header to the requests that they pass on: RFC 7239, and what was in use before.
fn is_forwarding(name: &str) -> bool {
    matches!(name, "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" | "x-real-ip")
}

/// Whether a request may pass, or why not.
fn verdict(
    (server, named): (&Server, Option<&Listener>),
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(), Refused> {
    let text = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap_or("\0"));
    let host = uri.authority().map(http::uri::Authority::as_str).or_else(|| text(header::HOST));
    // RFC 9112 §3.2: a server must answer more than one Host header with 400.
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Err((Reason::Host, StatusCode::BAD_REQUEST, "there is more than one Host header"));
    }
    let forbidden = |cause, reason| Err((cause, StatusCode::FORBIDDEN, reason));
    let hosts = named.and_then(|listener| listener.allowed_hosts.as_ref()).unwrap_or(&server.allowed_hosts);
    let origins =
        named.and_then(|listener| listener.allowed_origins.as_ref()).unwrap_or(&server.allowed_origins);
    if !host.is_some_and(|host| host_is_ours(server, hosts, host)) {
        return forbidden(
            Reason::Host,
            "the Host header names no host of this gateway; `allowed_hosts` in [server] adds one",
        );
    }
    match text(header::ORIGIN) {
        Some(origin) if !origin_is_ours(origins, origin) => {
            let reason = "the Origin header names a foreign page; `allowed_origins` in [server] adds one";
            forbidden(Reason::Origin, reason)
        }
        _ => Ok(()),
    }
}

/// Whether a Host value is a loopback name, a listener's own address, or allowed by the configuration.
fn host_is_ours(server: &Server, hosts: &[String], host: &str) -> bool {
    let name = without_port(host);
    is_loopback(name)
        || hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(name))
        || server.listen.iter().any(|listener| match listener {
            ListenAddr::Tcp { host: own, .. } => own.eq_ignore_ascii_case(name.trim_matches(['[', ']'])),
            ListenAddr::Unix(_) => false,
        })
}

/// Whether an Origin value is a loopback page or allowed by the configuration.
fn origin_is_ours(origins: &[String], origin: &str) -> bool {
    let loopback = origin
        .split_once("://")
        .is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && is_loopback(without_port(host)));
    loopback || origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
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
    fn forwarding_headers_count_from_this_machine_only() {
        let with = |name: &'static str| {
            HeaderMap::from_iter([(http::HeaderName::from_static(name), "x".parse().unwrap())])
        };
        let peer = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for name in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"] {
            for local in [None, peer("127.0.0.1"), peer("::1"), peer("::ffff:127.0.0.2")] {
                assert_eq!(forwarded(&with(name), local), Some(name));
            }
            assert_eq!(forwarded(&with(name), peer("10.0.0.1")), None);
        }
        assert_eq!(forwarded(&with("x-forwarded"), None), None);
    }

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
