//! The HTTP surface: guards, statuses of each era, sessions, health.

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;

use crate::client::{Answer, Client, Era, LEGACY, MODERN_META, open, post, send};
use crate::gateway::Gateway;
use crate::upstreams::probe;

/// A legacy handshake.
const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
    r#""capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}"#
);

/// The headers of a modern `tools/list`.
const LIST: [(&str, &str); 2] = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];

/// A modern `tools/list` with these members in its `_meta`.
fn list(meta: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"q","method":"tools/list","params":{{"_meta":{{{meta}}}}}}}"#)
}

/// The status and the JSON-RPC error code of an answer that carries the id of [`list`].
fn refusal(answer: &Answer) -> (u16, i64) {
    let reply = answer.reply();
    assert_eq!(crate::client::Message::read(&reply).id.expect("an id").get(), r#""q""#, "{reply}");
    (answer.status.as_u16(), answer.error().0)
}

#[tokio::test]
async fn foreign_host_and_origin_are_refused_with_403() {
    let gateway = Gateway::start("").await;
    let address = gateway.address();
    let own = format!("http://{address}");
    for (header, expected) in [
        (("host", "evil.example.com"), StatusCode::FORBIDDEN),
        (("host", "127.0.0.1.evil.example.com"), StatusCode::FORBIDDEN),
        (("origin", "http://evil.example.com"), StatusCode::FORBIDDEN),
        (("origin", "http://localhost.evil.example.com"), StatusCode::FORBIDDEN),
        (("origin", "null"), StatusCode::FORBIDDEN),
        (("origin", own.as_str()), StatusCode::OK),
        (("host", "localhost"), StatusCode::OK),
    ] {
        let answer = post(address, "/mcp", &[header], INITIALIZE).await;
        assert_eq!(answer.status, expected, "{header:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn malformed_bodies_are_refused_with_400_and_their_json_rpc_code() {
    let gateway = Gateway::start("").await;
    for (body, code) in [("{", -32700), ("", -32700), ("[]", -32600), ("1", -32600), (r#"{"id":1}"#, -32600)]
    {
        let answer = post(gateway.address(), "/mcp", &[], body).await;
        assert_eq!((answer.status.as_u16(), answer.error().0), (400, code), "{body}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn oversized_body_is_refused_with_413() {
    let gateway = Gateway::start_with("max_message_size = \"64KiB\"", "", &[]).await;
    let body = INITIALIZE.replace("raw", &"x".repeat(128 * 1024));
    let answer = post(gateway.address(), "/mcp", &[], &body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(post(gateway.address(), "/mcp", &[], INITIALIZE).await.status, StatusCode::OK);
    gateway.stop().await;
}

#[tokio::test]
async fn unknown_paths_and_upstreams_are_refused_with_404() {
    let gateway = Gateway::start("").await;
    for path in ["/", "/mcp/nobody", "/mcp/mcpeg/more", "/metricsx"] {
        assert_eq!(
            post(gateway.address(), path, &[], INITIALIZE).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn session_ends_by_delete_and_is_unknown_afterwards() {
    let gateway = Gateway::start("").await;
    let address = gateway.address();
    let client = Client::legacy(address, "/mcp").await;
    let Era::Legacy(session) = &client.era else { unreachable!("a legacy client") };
    let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", LEGACY)];
    let other = send(address, Method::DELETE, "/mcp", &[("mcp-session-id", "unknown")], "").await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    assert!(!client.tools().await.is_empty());
    assert!(send(address, Method::DELETE, "/mcp", &headers, "").await.status.is_success());
    let late = client.post("", "", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
    assert_eq!(late.status, StatusCode::NOT_FOUND);
    let unknown = [("mcp-session-id", "unknown"), ("accept", "text/event-stream")];
    assert_eq!(send(address, Method::GET, "/mcp", &unknown, "").await.status, StatusCode::NOT_FOUND);
    gateway.stop().await;
}

#[tokio::test]
async fn get_opens_an_event_stream_that_ends_with_its_session() {
    let gateway = Gateway::start("").await;
    let address = gateway.address();
    let client = Client::legacy(address, "/mcp").await;
    let Era::Legacy(session) = &client.era else { unreachable!("a legacy client") };
    let headers = [
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", LEGACY),
        ("accept", "text/event-stream"),
    ];
    let stream = open(address, Method::GET, "/mcp", &headers, "").await;
    assert_eq!(stream.status(), StatusCode::OK);
    assert!(stream.headers()["content-type"].to_str().expect("ASCII").starts_with("text/event-stream"));
    assert!(send(address, Method::DELETE, "/mcp", &headers[..2], "").await.status.is_success());
    let rest = tokio::time::timeout(std::time::Duration::from_secs(10), stream.into_body().collect()).await;
    rest.expect("the stream ends").expect("in good order");
    gateway.stop().await;
}

#[tokio::test]
async fn modern_era_has_neither_get_nor_delete() {
    let gateway = Gateway::start("").await;
    for method in [Method::GET, Method::DELETE] {
        let headers = [("mcp-protocol-version", "2026-07-28"), ("accept", "text/event-stream")];
        let answer = send(gateway.address(), method, "/mcp", &headers, "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn modern_requests_that_contradict_themselves_are_refused_with_400() {
    let gateway = Gateway::start("").await;
    let address = gateway.address();
    let good = list(MODERN_META);
    assert_eq!(post(address, "/mcp", &LIST, &good).await.status, StatusCode::OK);
    let no_meta = r#"{"jsonrpc":"2.0","id":"q","method":"tools/list","params":{}}"#.to_owned();
    let no_capabilities = list(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#);
    let future = list(&MODERN_META.replace("2026-07-28", "2099-01-01"));
    let future_header = [("mcp-protocol-version", "2099-01-01"), ("mcp-method", "tools/list")];
    let other_method = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "prompts/list")];
    for (headers, body, code) in [
        (&LIST[..], &no_meta, -32602),
        (&LIST[..], &no_capabilities, -32602),
        (&LIST[..1], &good, -32020),
        (&other_method[..], &good, -32020),
        (&LIST[..], &future, -32020),
        (&future_header[..], &future, -32022),
    ] {
        let answer = post(address, "/mcp", headers, body).await;
        assert_eq!(refusal(&answer), (400, code), "{headers:?} {body}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn methods_that_the_modern_era_lacks_are_refused_with_404() {
    let gateway = Gateway::start("").await;
    let lacking = [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "tasks/list",
        "tasks/result",
        "no/such",
    ];
    for method in lacking {
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        let body = list(MODERN_META).replace("tools/list", method);
        let answer = post(gateway.address(), "/mcp", &headers, &body).await;
        assert_eq!(refusal(&answer), (404, -32601), "{method}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn request_without_session_and_version_is_refused_with_400() {
    let gateway = Gateway::start("").await;
    let body = r#"{"jsonrpc":"2.0","id":"q","method":"tools/list"}"#;
    assert_eq!(post(gateway.address(), "/mcp", &[], body).await.status, StatusCode::BAD_REQUEST);
    gateway.stop().await;
}

#[tokio::test]
async fn health_endpoints_answer() {
    let gateway = Gateway::start("").await;
    for path in ["/health/live", "/health/ready", "/health"] {
        let answer = send(gateway.address(), Method::GET, path, &[], "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn built_in_upstream_alone_serves_its_tools_unprefixed() {
    let gateway = Gateway::start("").await;
    let address = gateway.address();
    for path in ["/mcp", "/mcp/mcpeg"] {
        for client in [Client::legacy(address, path).await, Client::modern(address, path)] {
            let mut tools = client.tools().await;
            tools.sort();
            assert_eq!(tools, ["config_check", "status", "upstreams"], "{path}");
            for tool in tools {
                assert!(!client.call(&tool, "{}").await.result().contains(r#""isError":true"#), "{tool}");
            }
            let (code, _) = client.call("no_such_tool", "{}").await.error();
            assert_eq!(code, -32602);
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn names_are_prefixed_where_upstreams_meet_and_plain_where_one_is_asked() {
    let gateway = Gateway::start(&(probe("one", &[]) + &probe("two", &[]))).await;
    let address = gateway.address();
    for modern in [false, true] {
        let client = async |path| {
            if modern { Client::modern(address, path) } else { Client::legacy(address, path).await }
        };
        let merged = client("/mcp").await.tools().await;
        assert!(
            merged.contains(&"one_echo".to_owned()) && merged.contains(&"two_echo".to_owned()),
            "{merged:?}"
        );
        let one = client("/mcp/one").await;
        assert!(one.tools().await.contains(&"echo".to_owned()));
        one.call("pids", "{}").await.text();
        let pids = [client("/mcp").await.call("one_pids", "{}").await, one.call("pids", "{}").await];
        assert_eq!(pids[0].text(), pids[1].text(), "both paths reach the same process");
        let other = client("/mcp").await.call("two_pids", "{}").await;
        assert_ne!(other.text(), pids[0].text());
    }
    gateway.stop().await;
}
