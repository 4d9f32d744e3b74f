//! One budget of memory: what waits for somebody is counted, what can be spared goes first, and who comes when there is no room is
//! told to come back.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::access::modern;
use crate::client::{Client, post, send};
use crate::gateway::Gateway;
use crate::upstreams::probe;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What may wait.
const LIMIT_IS: &str = "limit_bytes";
/// All that waits.
const HELD: &str = "held_bytes{";
/// Messages that are not answered.
const REQUESTS: &str = "held_bytes{of=\"requests\"}";
/// The budget of the tests.
const LIMIT: u64 = 64 << 20;

/// What is told of memory: the sum of those numbers whose lines begin so.
async fn memory(gateway: &Gateway, begin: &str) -> u64 {
    let answer = send(gateway.address(), Method::GET, "/metrics", &[], "").await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let values = text.lines().filter_map(|line| line.strip_prefix("mcpeg_memory_")?.strip_prefix(begin));
    values.map(|value| value.rsplit(' ').next().expect("a number").parse::<u64>().expect("a number")).sum()
}

/// Waits until something is told of memory.
async fn until(gateway: &Gateway, of: &str, what: &str, is_so: impl Fn(u64) -> bool) {
    let reached = async { while !is_so(memory(gateway, of).await) {} };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "{what}: {}", gateway.status().await["memory"]);
}

/// A call that hangs and takes so many bytes, of which so many are sent unless it is refused before; its connection.
async fn hanging(address: &str, bytes: usize, sent: usize) -> TcpStream {
    let (lines, body) = modern("tools/call", r#""name":"sleep","arguments":{"ms":600000,"pad":"PAD"}"#);
    let body = body.replace("PAD", &"x".repeat(bytes));
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n{}\r\n\r\n",
        body.len(),
        lines.join("\r\n")
    );
    let _ = stream.write_all((head + &body[..sent.min(body.len())]).as_bytes()).await;
    stream
}

/// Whether an answer says that there is no room now; anything but that and success fails the test.
fn is_shed(answer: &crate::client::Answer) -> bool {
    if answer.status == StatusCode::OK {
        return false;
    }
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert_eq!(answer.headers["retry-after"], "1");
    let message: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(message["error"]["data"]["retryAfterMs"], json!(1000), "{message}");
    true
}

#[tokio::test]
async fn what_waits_has_one_budget_and_what_can_be_spared_goes_before_anybody_is_refused() {
    let server = "memory = \"64MiB\"";
    let gateway = Gateway::start_with(server, &probe("probe", &[]), &[]).await;
    let address = gateway.address();
    assert_eq!((memory(&gateway, LIMIT_IS).await, memory(&gateway, HELD).await), (LIMIT, 0));
    // Answers that clients may come back for, of many sessions.
    let pad = "x".repeat(3 << 20);
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"echo","arguments":{{"pad":"{pad}"}}}}}}"#
    );
    for _ in 0..6 {
        let client = Client::legacy(address, "/mcp").await;
        let [id, version] = client.session_headers();
        for _ in 0..2 {
            let headers = [id, version, ("accept", "text/event-stream, application/json")];
            while is_shed(&post(address, "/mcp", &headers, &call).await) {}
        }
    }
    gateway.prints("memory is short").await;
    until(&gateway, HELD, "answers that can be spared make room", |held| held < LIMIT).await;
    // Messages that cannot be spared: their servers have not answered.
    let refused = async || gateway.status().await["memory"]["refused"].as_u64().expect("a number");
    let before = refused().await;
    let mut calls = Vec::new();
    for number in 1..=3 {
        let expected = (number * 2 * (11 << 20)).min(LIMIT);
        calls.push(loop {
            let call = hanging(address, 11 << 20, usize::MAX).await;
            tokio::select! {
                () = until(&gateway, REQUESTS, "a call counts until it is answered", |held| held >= expected) => break call,
                // It is refused while the answers before it make room.
                _ = call.readable() => {}
            }
        });
    }
    let small = || Client::modern(address, "/mcp");
    let list = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}"#;
    assert!(!is_shed(&small().request("1", "tools/list", "", list).await), "small ones are served");
    let mut late = hanging(address, 11 << 20, 128 << 10).await;
    let mut answer = [0; 12];
    tokio::time::timeout(PATIENCE, late.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 503");
    assert!(refused().await > before);
    let large = list.replace("{\"_meta\"", &format!("{{\"pad\":\"{}\",\"_meta\"", "x".repeat(100 << 10)));
    assert!(is_shed(&small().request("1", "tools/list", "", &large).await), "large ones are not");
    // Who goes has called off.
    drop((calls, late));
    until(&gateway, REQUESTS, "nothing is left of what was called off", |held| held == 0).await;
    assert!(!is_shed(&small().request("1", "tools/list", "", list).await));
    let counted = crate::audit::series(&gateway, "mcpeg_refused_total", &[]).await;
    assert_eq!(counted["{reason=\"memory\"}"], refused().await);
    // A reload changes the limit.
    let output = gateway.reload("memory = \"65MiB\"", &probe("probe", &[])).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(memory(&gateway, LIMIT_IS).await, 65 << 20);
    gateway.stop().await;
}
