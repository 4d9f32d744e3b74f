//! HTTP upstreams that lose sessions and connections, send other things than answers, or want to be left alone.

use std::time::Duration;

use crate::client::{Client, MODERN_META};
use crate::gateway::Gateway;
use crate::port::Port;
use crate::scripted::http_script;
use crate::upstreams::{http, http_probe};

/// How long something may take on a busy machine.
const SOON: Duration = Duration::from_secs(40);

/// What the first upstream is doing.
async fn upstream(gateway: &Gateway) -> serde_json::Value {
    gateway.status().await["upstreams"][0].clone()
}

/// `[upstreams.NAME]` with several endpoints.
fn several(name: &str, ports: &[u16]) -> String {
    let urls: Vec<_> = ports.iter().map(|port| format!("\"http://127.0.0.1:{port}/mcp\"")).collect();
    format!("[upstreams.{name}]\nurls = [{}]\n", urls.join(", "))
}

#[tokio::test]
async fn session_that_a_server_denies_with_400_is_begun_anew() {
    let server = http_script(
        r#"
def call(handler, message, name):
    if name == "forget": sessions.clear()
    return "fine"
"#,
    )
    .await;
    let gateway = Gateway::start(&http("amnesic", server.port)).await;
    let clients =
        [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")];
    for client in clients {
        assert_eq!(client.call("forget", "{}").await.text(), "fine");
        assert_eq!(client.call("x", "{}").await.text(), "fine");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn server_that_is_back_is_used_by_the_first_call_after_that() {
    let port = Port::free();
    let lines = format!("port = {}", port.address.port());
    let server = http_script(&lines).await;
    let gateway = Gateway::start(&http("back", server.port)).await;
    let clients =
        [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")];
    for client in &clients {
        assert_eq!(client.call("x", "{}").await.text(), "fine");
    }
    drop(server);
    // By then it waits for seconds before it tries again by itself.
    let failures = || gateway.printed().matches("the upstream is not available").count();
    let away = async {
        while failures() < 8 {
            let (_, message) = clients[0].call("x", "{}").await.error();
            assert!(message.contains("`back`"), "{message}");
        }
    };
    tokio::time::timeout(SOON, away).await.expect("it is missed");
    let _server = http_script(&lines).await;
    for client in &clients {
        assert_eq!(client.call("x", "{}").await.text(), "fine");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn connection_that_breaks_costs_its_own_call_and_no_session() {
    for modern in ["True", "False"] {
        let lines = format!(
            r#"
modern = {modern}
def call(handler, message, name):
    if name == "break": return handler.cut()
    return handler.headers.get("Mcp-Session-Id", "none")
"#
        );
        let server = http_script(&lines).await;
        let gateway = Gateway::start(&http("frail", server.port)).await;
        for client in
            [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
        {
            let before = client.call("session", "{}").await.text();
            for _ in 0..8 {
                let (_, message) = client.call("break", "{}").await.error();
                assert!(message.contains("`frail`") && !message.contains("tried again"), "{message}");
                assert_eq!(client.call("session", "{}").await.text(), before, "modern: {modern}");
            }
        }
        assert_eq!(upstream(&gateway).await["restarts"], 0);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn session_is_begun_at_an_endpoint_that_can_be_reached() {
    let server = http_script("").await;
    let (one, other) = (Port::free(), Port::free());
    let ports = [one.address.port(), other.address.port(), server.port];
    let gateway = Gateway::start(&several("some", &ports)).await;
    for _ in 0..4 {
        let client = Client::legacy(gateway.address(), "/mcp").await;
        assert_eq!(client.call("x", "{}").await.text(), "fine");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn answer_to_another_request_is_not_taken_for_the_answer() {
    let server = http_script(
        r#"
modern = True
def call(handler, message, name):
    if name != "wrong": return "fine"
    handler.result({"id": 4711}, {"content": [{"type": "text", "text": "somebody else's"}]})
"#,
    )
    .await;
    let gateway = Gateway::start(&http("mixed", server.port)).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let (_, message) = client.call("wrong", "{}").await.error();
    assert!(message.contains("`mixed`") && message.contains("another request"), "{message}");
    assert_eq!(client.call("right", "{}").await.text(), "fine");
    gateway.stop().await;
}

#[tokio::test]
async fn events_that_are_no_messages_do_not_fill_the_log() {
    let server = http_script(
        r#"
modern = True
def call(handler, message, name):
    if name != "chat": return "fine"
    answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete", "content": []}})
    body = (b"data: happy to tell you so\n\n" * 5000) + b"data: " + answer.encode() + b"\n\n"
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
"#,
    )
    .await;
    let gateway = Gateway::start(&http("chatty", server.port)).await;
    let client = Client::modern(gateway.address(), "/mcp");
    client.call("chat", "{}").await.result();
    gateway.prints("not MCP").await;
    // The log keeps its order, and this is said of what comes later.
    drop(server);
    client.call("x", "{}").await.error();
    gateway.prints("the upstream is not available").await;
    let told = gateway.printed().matches("not MCP").count();
    assert!((1..1000).contains(&told), "{told} lines");
    gateway.stop().await;
}

#[tokio::test]
async fn statuses_say_what_can_be_done() {
    let server = http_script(
        r#"
modern = True
answers = {
    "busy": (429, [("Retry-After", "7")]), "away": (503, [("Retry-After", "Wed, 21 Oct 2065 07:28:00 GMT")]),
    "elsewhere": (307, [("Location", "/mcp/")]), "closed": (401, []), "forbidden": (403, []),
}
def call(handler, message, name):
    if name not in answers: return "fine"
    status, headers = answers[name]
    handler.answer(status, headers=headers)
"#,
    )
    .await;
    let gateway = Gateway::start(&http("strict", server.port)).await;
    let client = Client::modern(gateway.address(), "/mcp");
    for (tool, words) in [
        ("busy", ["429", "try again in 7 s"]),
        ("away", ["503", "try again later"]),
        ("elsewhere", ["307", "redirect"]),
        ("closed", ["401", "credentials"]),
        ("forbidden", ["403", "credentials"]),
    ] {
        let (_, message) = client.call(tool, "{}").await.error();
        assert!(words.iter().all(|word| message.contains(word)), "{tool}: {message}");
        assert_eq!(client.call("x", "{}").await.text(), "fine", "{tool}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn endpoint_that_wants_to_be_left_alone_is_and_another_one_takes_the_request() {
    const BUSY: &str = r#"
modern = True
count = 0
def call(handler, message, name):
    global count
    count += 1
    if name == "count": return str(count)
    handler.answer(429, headers=[("Retry-After", "600")])
"#;
    let (busy, free) = (http_script(BUSY).await, http_script("modern = True").await);
    let gateway = Gateway::start(&several("some", &[busy.port, free.port])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    for _ in 0..10 {
        assert_eq!(client.call("x", "{}").await.text(), "fine");
    }
    assert_eq!(upstream(&gateway).await["state"], "degraded");
    let told = upstream(&gateway).await["last_error"].to_string();
    assert!(told.contains("1 of 2"), "the reason: {told}");
    gateway.stop().await;
}

#[tokio::test]
async fn stream_of_a_session_is_opened_again_after_a_failure() {
    let server = http_script(
        r#"
gets = 0
def call(handler, message, name):
    return str(gets)
def get(handler):
    global gets
    gets += 1
    if gets % 3 == 2: handler.answer(503)
    else: handler.answer(200, headers=[("Content-Type", "text/event-stream")])
    return True
"#,
    )
    .await;
    let gateway = Gateway::start(&http("flaky", server.port)).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let again =
        async { while client.call("gets", "{}").await.text().parse::<u32>().expect("a number") < 4 {} };
    tokio::time::timeout(SOON, again).await.expect("it is opened again");
    gateway.stop().await;
}

/// Connections to a port of this machine that are open: `proc_net_tcp(5)`, columns `rem_address` and `st`.
fn open_connections(port: u16) -> usize {
    let end = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    let is_open = |line: &&str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        columns.len() > 3 && columns[2].ends_with(&end) && columns[3] == "01"
    };
    table.lines().filter(is_open).count()
}

#[tokio::test]
async fn removed_upstream_is_followed_no_more() {
    let server = http_probe(&["--era", "modern", "--resources"]).await;
    let gateway = Gateway::start(&http("probe", server.port)).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let wanted = format!(
        r#"{{"notifications":{{"resourceSubscriptions":["probe://watched"]}},"_meta":{{{MODERN_META}}}}}"#
    );
    let stream = tokio::spawn(async move { client.request("1", "subscriptions/listen", "", &wanted).await });
    let follows = async {
        while open_connections(server.port) < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, follows).await.expect("it is followed");
    assert!(gateway.reload("", "").await.status.success());
    let left = async {
        while open_connections(server.port) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, left).await.expect("nobody is connected any more");
    stream.abort();
    gateway.stop().await;
}
