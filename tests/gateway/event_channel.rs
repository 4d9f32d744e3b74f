//! Upstreams that speak HTTP+SSE, the transport of revision 2024-11-05.

use std::time::Duration;

use serde_json::Value;

use crate::client::Client;
use crate::gateway::{Gateway, HttpUpstream};
use crate::scripted::http_script;
use crate::tools::bound;
use crate::upstreams::{Gate, PROBE, PYTHON, http, sse, sse_probe};

/// How long something may take to happen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What says it.
const CONFIGURED: &str = "transport = \"sse\"\n";

/// Waits until the first upstream's entry in the status passes the test.
async fn until(gateway: &Gateway, test: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            let upstream = gateway.status().await["upstreams"][0].clone();
            if test(&upstream) {
                return upstream;
            }
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("it printed {}", gateway.printed()))
}

#[tokio::test]
async fn server_whose_process_dies_comes_back_and_calls_in_flight_are_told() {
    for lines in [CONFIGURED, ""] {
        let upstream = sse_probe(&[]).await;
        let port = upstream.port;
        let gateway = Gateway::start(&(sse("probe", port, lines) + "sharing = \"shared\"\n")).await;
        let client = Client::legacy(gateway.address(), "/mcp").await;
        assert_eq!(client.call("sleep", "{}").await.text(), "slept");
        let gate = Gate::closed();
        let waits = client.clone();
        let arguments = gate.arguments();
        let waiting = tokio::spawn(async move {
            let params = format!(r#"{{"name":"sleep","arguments":{arguments}}}"#);
            waits.request("\"waits\"", "tools/call", "sleep", &params).await
        });
        let flying = async { while gateway.in_flight().await < 1 {} };
        tokio::time::timeout(PATIENCE, flying).await.expect("it is in flight");
        drop(upstream);
        let (_, message) = waiting.await.expect("an answer").error();
        assert!(message.contains("`probe`"), "{message}");
        until(&gateway, |upstream| upstream["state"] == "backing-off").await;
        let mut again = bound(PYTHON);
        let again = again.arg(PROBE).args(["--sse", "--era", "legacy", "--port", &port.to_string()]);
        let _again = HttpUpstream::start(again).await;
        let called = async {
            while client
                .request("1", "tools/call", "sleep", r#"{"name":"sleep","arguments":{}}"#)
                .await
                .reply()
                .contains("error")
            {}
        };
        tokio::time::timeout(PATIENCE, called).await.expect("it is back");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn client_of_each_era_answers_what_the_server_asks() {
    let upstream = sse_probe(&[]).await;
    let gateway = Gateway::start(&sse("probe", upstream.port, "")).await;
    let client = Client::legacy_with(gateway.address(), "/mcp", r#"{"elicitation":{}}"#).await;
    let session = client.session_headers();
    let headers = [
        session[0],
        session[1],
        ("accept", "text/event-stream, application/json"),
        ("content-type", "application/json"),
    ];
    let call =
        r#"{"jsonrpc":"2.0","id":"asks","method":"tools/call","params":{"name":"ask","arguments":{}}}"#;
    let mut stream =
        crate::client::open(gateway.address(), http::Method::POST, "/mcp", &headers, call).await.into_body();
    let asked = crate::following::wait(&mut stream, &["elicitation/create"]).await;
    let question = asked
        .lines()
        .find_map(|line| line.strip_prefix("data: {"))
        .or_else(|| asked.lines().find_map(|line| line.strip_prefix("data:{")));
    let question: Value = serde_json::from_str(&format!("{{{}", question.expect("a message"))).expect("JSON");
    let answer = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"accept","content":{{"name":"x"}}}}}}"#,
        question["id"]
    );
    assert_eq!(client.post("", "", &answer).await.status, http::StatusCode::ACCEPTED);
    let told = crate::following::wait(&mut stream, &["asks"]).await;
    assert!(told.contains("accept"), "{told}");
    gateway.stop().await;
}

#[tokio::test]
async fn address_of_another_origin_is_refused() {
    let upstream = sse_probe(&["--base", "http://127.0.0.1:9"]).await;
    let gateway = Gateway::start(&sse("probe", upstream.port, CONFIGURED)).await;
    let found = until(&gateway, |upstream| upstream["last_error"].is_string()).await;
    let error = found["last_error"].as_str().expect("text");
    assert!(error.contains("http://127.0.0.1:9/messages"), "{error}");
    gateway.stop().await;
}

#[tokio::test]
async fn server_that_speaks_neither_is_told_by_what_it_has_answered() {
    let lines = "
def post(handler, message):
    handler.answer(405)
    return True
";
    let upstream = http_script(lines).await;
    let gateway = Gateway::start(&http("neither", upstream.port)).await;
    let found = until(&gateway, |upstream| upstream["last_error"].is_string()).await;
    assert!(found["last_error"].as_str().expect("text").contains("405"), "{found}");
    // And one that is said to speak the newer transport is not tried with the older one.
    let old = sse_probe(&[]).await;
    let fixed = Gateway::start(&sse("fixed", old.port, "transport = \"streamable-http\"\n")).await;
    let found = until(&fixed, |upstream| upstream["last_error"].is_string()).await;
    assert!(found["last_error"].as_str().expect("text").contains("405"), "{found}");
    fixed.stop().await;
    gateway.stop().await;
}

#[tokio::test]
async fn call_goes_on_in_the_old_process_while_the_next_one_opens_its_own_stream() {
    let upstream = sse_probe(&[]).await;
    let gateway = Gateway::start(&sse("probe", upstream.port, "")).await;
    let (client, gate) = (Client::legacy(gateway.address(), "/mcp").await, Gate::closed());
    let (waits, arguments) = (client.clone(), gate.arguments());
    let waiting = tokio::spawn(async move { waits.call("sleep", &arguments).await.text() });
    let flying = async { while gateway.in_flight().await < 1 {} };
    tokio::time::timeout(PATIENCE, flying).await.expect("it is in flight");
    gateway.restart().await;
    let params = r#"{"name":"sleep","arguments":{}}"#;
    let beside = client.request("2", "tools/call", "sleep", params).await;
    assert_eq!(beside.text(), "slept");
    gate.open();
    assert_eq!(waiting.await.expect("an answer"), "slept");
    gateway.stop_successor().await;
}
