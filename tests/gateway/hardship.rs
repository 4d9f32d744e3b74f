//! Upstreams and clients that behave badly, or that are merely unlucky: what they do must stay their own affair.

use std::time::{Duration, Instant};

use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::client::{Client, LEGACY, MODERN_META, Message, post};
use crate::gateway::Gateway;
use crate::upstreams::{http, http_odd, http_probe, odd, probe};

/// As long as a merged list may take, whatever its upstreams do, with room for a busy machine.
const LIST: Duration = Duration::from_secs(40);

#[tokio::test]
async fn end_of_one_session_leaves_the_process_that_others_share_alone() {
    // The server is modern only, so a session that would have had a process of its own uses the shared one.
    let gateway = Gateway::start(&probe("probe", &["--era", "modern"])).await;
    let other = Client::modern(gateway.address(), "/mcp");
    let before = other.call("pids", "{}").await.text();
    let session = Client::legacy_with(gateway.address(), "/mcp", r#"{"sampling":{}}"#).await;
    assert_eq!(session.call("pids", "{}").await.text(), before);
    session.end().await;
    assert_eq!(other.call("pids", "{}").await.text(), before);
    gateway.stop().await;
}

#[tokio::test]
async fn call_after_the_upstream_forgot_its_sessions_succeeds() {
    let upstream = http_probe(&["--era", "legacy"]).await;
    let gateway = Gateway::start(&http("probe", upstream.port)).await;
    let clients =
        [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp/probe")];
    for client in clients {
        assert_eq!(client.call("forget", "{}").await.text(), "forgotten");
        client.call("echo", "{}").await.text();
    }
    gateway.stop().await;
}

#[tokio::test]
async fn hung_upstream_neither_blocks_nor_blanks_the_merged_lists() {
    let upstreams = odd("hung", &["--hang", "tools/list"]) + &probe("probe", &[]);
    let gateway = Gateway::start(&upstreams).await;
    for client in [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
    {
        let asked = Instant::now();
        assert!(client.tools().await.contains(&"probe_echo".to_owned()));
        assert!(asked.elapsed() < LIST, "{:?}", asked.elapsed());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn schema_of_any_depth_does_not_bring_the_gateway_down() {
    let gateway = Gateway::start(&odd("odd", &["--deep", "20000"])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    assert_eq!(client.call("echo", "{}").await.text(), "\"echoed\"");
    gateway.stop().await;
}

#[tokio::test]
async fn event_without_end_is_cut_at_the_message_limit() {
    let upstream = http_odd().await;
    let server = "max_message_size = \"64KiB\"";
    let gateway = Gateway::start_with(server, &http("odd", upstream.port), &[]).await;
    for client in [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
    {
        let (_, message) = client.call("echo", "{}").await.error();
        assert!(message.contains("odd") && message.contains("max_message_size"), "{message}");
    }
    gateway.stop().await;
}

/// Reads the stream until a question of the server has come; returns its id.
async fn question(stream: &mut Incoming) -> String {
    let mut text = String::new();
    let asked = async {
        loop {
            let frame = stream.frame().await.expect("the stream goes on").expect("a frame");
            text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
            let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
            let mut messages = data.filter(|data| !data.is_empty()).map(Message::read);
            if let Some(asked) = messages.find(|message| message.method == Some("roots/list")) {
                return asked.id.expect("an id").get().to_owned();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect("the question comes")
}

#[tokio::test]
async fn question_that_a_server_asks_at_once_reaches_the_client() {
    let gateway = Gateway::start(&odd("odd", &["--roots"])).await;
    let client = Client::legacy_with(gateway.address(), "/mcp", r#"{"roots":{}}"#).await;
    let mut stream = client.stream().await.into_body();
    let first = question(&mut stream).await;
    client.request("5", "logging/setLevel", "", r#"{"level":"debug"}"#).await.result();
    // The next call opens another connection, on which the log level is set again while the server asks.
    client.call("exit", "{}").await.raw_error();
    assert_eq!(client.call("echo", "{}").await.text(), "\"echoed\"");
    let second = question(&mut stream).await;
    assert_ne!(first, second);
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{second},"result":{{"roots":[]}}}}"#);
    assert_eq!(client.post("", "", &answer).await.status, StatusCode::ACCEPTED);
    assert_eq!(client.call("roots", "{}").await.text(), r#"{"roots": []}"#);
    gateway.stop().await;
}

#[tokio::test]
async fn one_sessions_unsubscribing_leaves_the_others_subscription() {
    let upstream = odd("odd", &[]) + "sharing = \"shared\"\n";
    let gateway = Gateway::start(&upstream).await;
    let subject = r#"{"uri":"odd://x"}"#;
    let one = Client::legacy(gateway.address(), "/mcp").await;
    let other = Client::legacy(gateway.address(), "/mcp").await;
    for client in [&one, &other] {
        client.request("1", "resources/subscribe", "", subject).await.result();
    }
    one.request("2", "resources/unsubscribe", "", subject).await.result();
    assert_eq!(other.call("subscribed", "{}").await.text(), r#"["odd://x"]"#);
    other.request("2", "resources/unsubscribe", "", subject).await.result();
    assert_eq!(other.call("subscribed", "{}").await.text(), "[]");
    gateway.stop().await;
}

#[tokio::test]
async fn burst_of_thousands_of_messages_arrives_whole() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let modern = format!(",{}", crate::client::MODERN_META);
    let clients = [
        (Client::legacy(gateway.address(), "/mcp").await, ""),
        (Client::modern(gateway.address(), "/mcp"), modern.as_str()),
    ];
    for (client, meta) in clients {
        let params = format!(
            r#"{{"name":"progress","arguments":{{"count":5000,"call":1}},"_meta":{{"progressToken":1{meta}}}}}"#
        );
        assert_eq!(client.request("1", "tools/call", "progress", &params).await.messages().len(), 5001);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn accepted_types_may_stand_in_several_headers() {
    let gateway = Gateway::start("").await;
    let ping = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{{"name":"raw","version":"1"}}}}}}"#
    );
    let headers = [("accept", "application/json"), ("accept", "text/event-stream")];
    assert_eq!(post(gateway.address(), "/mcp", &headers, &ping).await.status, StatusCode::OK);
    gateway.stop().await;
}

#[tokio::test]
async fn unknown_resource_has_the_code_of_the_clients_era() {
    let gateway = Gateway::start(&(odd("odd", &[]) + &probe("probe", &[]))).await;
    let subject = r#"{"uri":"odd://nowhere"}"#;
    let legacy = Client::legacy(gateway.address(), "/mcp").await;
    let refused = legacy.request("1", "resources/read", "", subject).await.error();
    assert_eq!(refused.0, -32002, "{refused:?}");
    let modern = Client::modern(gateway.address(), "/mcp");
    let subject = format!(r#"{{"uri":"odd://nowhere","_meta":{{{}}}}}"#, crate::client::MODERN_META);
    assert_eq!(modern.request("1", "resources/read", "odd://nowhere", &subject).await.error().0, -32602);
    gateway.stop().await;
}

/// Connections to a port of this machine, open or closed a short while ago: `proc_net_tcp(5)`, column `rem_address`.
fn connections(port: u16) -> usize {
    let end = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    table.lines().filter(|line| line.split_whitespace().nth(2).is_some_and(|to| to.ends_with(&end))).count()
}

#[tokio::test]
async fn connection_to_a_server_that_streams_its_answers_is_used_again() {
    let upstream = http_probe(&["--era", "modern"]).await;
    let gateway = Gateway::start(&http("probe", upstream.port)).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let params = format!(
        r#"{{"name":"progress","arguments":{{"count":1,"pause":1}},"_meta":{{"progressToken":1,{MODERN_META}}}}}"#
    );
    let stream = async || client.request("1", "tools/call", "progress", &params).await.messages().len();
    assert_eq!(stream().await, 2);
    let before = connections(upstream.port);
    for _ in 0..20 {
        assert_eq!(stream().await, 2);
    }
    let more = connections(upstream.port) - before;
    assert!(more < 10, "{more} more connections for 20 calls");
    gateway.stop().await;
}
