//! Notifications come before the result that they belong to, in the order in which they were sent, and none is lost.

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;

use crate::client::{Answer, Client, MODERN_META, Message};
use crate::gateway::Gateway;
use crate::upstreams::{http, http_probe, probe, sse, sse_probe};

/// Calls for each transport and era.
const CALLS: usize = 256;

/// Calls in flight at once.
const CONCURRENCY: usize = 64;

/// The params of a progress notification of the probe server.
#[derive(Debug, Deserialize, PartialEq)]
struct Params {
    /// The token of the request.
    #[serde(rename = "progressToken")]
    token: String,
    /// Counts from 1.
    progress: u32,
    /// The number of the call.
    call: usize,
}

/// Three notifications with this call's token, then this call's result, and nothing else.
fn in_order(call: usize, answer: &Answer) {
    let messages = answer.messages();
    assert_eq!(messages.len(), 4, "call {call}: {messages:?}");
    for (progress, text) in (1..).zip(&messages[..3]) {
        let message = Message::read(text);
        assert_eq!(message.method, Some("notifications/progress"), "call {call}: {messages:?}");
        let params: Params = serde_json::from_str(message.params.expect("params").get()).expect("progress");
        assert_eq!(params, Params { token: format!("token-{call}"), progress, call });
    }
    assert_eq!(answer.text(), call.to_string());
}

/// Many calls at once in one session, each with its own token.
async fn many(client: &Client, modern: bool) {
    many_times(client, modern, CALLS).await;
}

/// So many calls in one session.
async fn many_times(client: &Client, modern: bool, calls: usize) {
    let meta = if modern { format!(",{MODERN_META}") } else { String::new() };
    let meta = meta.as_str();
    let calls = stream::iter(0..calls).map(|call| async move {
        let params = format!(
            r#"{{"name":"progress","arguments":{{"count":3,"call":{call}}},"_meta":{{"progressToken":"token-{call}"{meta}}}}}"#
        );
        in_order(call, &client.request(&call.to_string(), "tools/call", "progress", &params).await);
    });
    calls.buffer_unordered(CONCURRENCY).collect::<()>().await;
}

/// Both eras through one gateway.
async fn both_eras(configuration: &str) {
    let gateway = Gateway::start(configuration).await;
    many(&Client::legacy(gateway.address(), "/mcp").await, false).await;
    many(&Client::modern(gateway.address(), "/mcp"), true).await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_probe_server_itself_keeps_order() {
    let upstream = http_probe(&[]).await;
    let address = format!("127.0.0.1:{}", upstream.port);
    many(&Client::legacy(&address, "/mcp").await, false).await;
    many(&Client::modern(&address, "/mcp"), true).await;
}

#[tokio::test]
async fn progress_over_stdio_precedes_its_result_in_order() {
    both_eras(&probe("probe", &[])).await;
}

#[tokio::test]
async fn progress_over_http_precedes_its_result_in_order() {
    let upstream = http_probe(&[]).await;
    both_eras(&http("probe", upstream.port)).await;
}

#[tokio::test]
async fn progress_over_http_with_sse_precedes_its_result_in_order() {
    let upstream = sse_probe(&[]).await;
    both_eras(&sse("probe", upstream.port, "")).await;
    // Many sessions over one connection, whose tokens are the same.
    let gateway = Gateway::start(&sse("probe", upstream.port, "sharing = \"shared\"\n")).await;
    let clients = [(); 3].map(|()| async {
        many(&Client::legacy(gateway.address(), "/mcp").await, false).await;
    });
    futures_util::future::join_all(clients).await;
    gateway.stop().await;
}

#[tokio::test]
#[ignore = "needs a minute"]
async fn ten_thousand_calls_over_stdio_lose_and_reorder_nothing() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    many_times(&Client::modern(gateway.address(), "/mcp"), true, 10_000).await;
    gateway.stop().await;
}

#[tokio::test]
#[ignore = "needs a minute"]
async fn ten_thousand_calls_over_http_lose_and_reorder_nothing() {
    let upstream = http_probe(&[]).await;
    let gateway = Gateway::start(&http("probe", upstream.port)).await;
    many_times(&Client::legacy(gateway.address(), "/mcp").await, false, 10_000).await;
    gateway.stop().await;
}
