//! Clients that speak HTTP+SSE, the transport of revision 2024-11-05: one event stream, and messages posted beside it.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::client::{Answer, open, post, send};
use crate::gateway::Gateway;
use crate::upstreams::{Gate, http, http_probe, probe, sse, sse_probe};

/// How long something may take to happen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What lets such clients in.
const ON: &str = "legacy_sse = true";

/// Such a client.
struct Events {
    /// `host:port`.
    address: String,
    /// Its stream.
    stream: Incoming,
    /// What of the stream was not looked at.
    text: String,
    /// Where messages go.
    target: String,
    /// The last event that it has got.
    last: String,
}

impl Events {
    /// Opens a stream, perhaps after the last event of another one.
    async fn open(address: &str, path: &str, last: Option<&str>) -> Self {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last.map(|last| ("last-event-id", last)));
        let opened = open(address, Method::GET, path, &headers, "").await;
        assert_eq!(opened.status(), StatusCode::OK);
        assert_eq!(opened.headers()["content-type"], "text/event-stream");
        let (address, stream) = (address.to_owned(), opened.into_body());
        let mut client =
            Self { address, stream, text: String::new(), target: String::new(), last: String::new() };
        let (event, target) = client.next().await.expect("an event");
        assert_eq!(event, "endpoint");
        client.target = target;
        client
    }

    /// Begins a session.
    async fn begin(address: &str, path: &str) -> Self {
        let mut client = Self::open(address, path, None).await;
        let params = json!({ "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": { "name": "old", "version": "1" } });
        client.ask(0, "initialize", &params).await;
        let result = client.answer(0).await;
        assert_eq!(result["result"]["protocolVersion"], "2024-11-05", "{result}");
        let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(client.post(note).await.status, StatusCode::ACCEPTED);
        client
    }

    /// The next event: its type and data; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, String)> {
        let read = async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let field = |name: &str| {
                        let line = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                        line.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned())
                    };
                    let (kind, data, id) = (field("event"), field("data"), field("id"));
                    let rest = rest.to_owned();
                    self.text = rest;
                    if let Some(id) = id {
                        self.last = id;
                    }
                    if let Some(kind) = kind {
                        return Some((kind, data.unwrap_or_default()));
                    }
                    continue;
                }
                let frame = self.stream.frame().await?.expect("a frame");
                self.text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("something comes")
    }

    /// The next message.
    async fn message(&mut self) -> Value {
        let (event, data) = self.next().await.expect("a message");
        assert_eq!(event, "message", "{data}");
        serde_json::from_str(&data).expect("JSON")
    }

    /// The answer to a request; other messages are passed over.
    async fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.message().await;
            if message["id"] == id {
                return message;
            }
        }
    }

    /// Posts a message.
    async fn post(&self, body: &str) -> Answer {
        post(&self.address, &self.target, &[("accept", "*/*")], body).await
    }

    /// Posts a request, which must be accepted.
    async fn ask(&self, id: u64, method: &str, params: &Value) {
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let accepted = self.post(&body.to_string()).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{accepted:?}");
    }

    /// Calls a tool.
    async fn call(&self, id: u64, name: &str, arguments: &Value) {
        self.ask(id, "tools/call", &json!({ "name": name, "arguments": arguments })).await;
    }
}

#[tokio::test]
async fn session_over_one_stream_reaches_all_upstreams_and_one() {
    let (over_http, over_events) = (http_probe(&[]).await, sse_probe(&[]).await);
    let upstreams = probe("pipes", &[]) + &http("net", over_http.port) + &sse("old", over_events.port, "");
    let gateway = Gateway::start_with(ON, &upstreams, &[]).await;
    for (path, tool) in
        [("/sse", "pipes_echo"), ("/sse", "net_echo"), ("/sse", "old_echo"), ("/sse/old", "echo")]
    {
        let mut client = Events::begin(gateway.address(), path).await;
        assert!(
            client.target.starts_with("/message?sessionId=") && client.target.len() > 50,
            "{}",
            client.target
        );
        client.ask(1, "tools/list", &json!({})).await;
        let listed = client.answer(1).await;
        let names: Vec<_> =
            listed["result"]["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
        assert!(names.contains(&&json!(tool)), "{path}: {names:?}");
        // What typed models and sorted maps change comes as it was written.
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"z":1.0,"a":12345678901234567890,"e":"\u00e9"}}}}}}"#
        );
        assert_eq!(client.post(&body).await.status, StatusCode::ACCEPTED);
        let data = loop {
            let (_, data) = client.next().await.expect("a message");
            if data.contains("\"id\":2") {
                break data;
            }
        };
        assert!(
            data.contains(r#""structuredContent":{"z":1.0,"a":12345678901234567890,"e":"\u00e9"}"#),
            "{data}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn progress_precedes_its_result_in_order_and_nothing_is_lost() {
    let upstream = http_probe(&[]).await;
    let gateway = Gateway::start_with(ON, &http("probe", upstream.port), &[]).await;
    let mut client = Events::begin(gateway.address(), "/sse").await;
    for call in 1..=64 {
        let params = json!({ "name": "progress", "arguments": { "count": 3, "call": call }, "_meta": { "progressToken": format!("t{call}") } });
        client.ask(call, "tools/call", &params).await;
    }
    let (mut seen, mut done) = (vec![0; 65], 0);
    while done < 64 {
        let message = client.message().await;
        if message["method"] == "notifications/progress" {
            let call = usize::try_from(message["params"]["call"].as_u64().expect("a number")).expect("small");
            seen[call] += 1;
            assert_eq!(message["params"]["progress"], seen[call], "{message}");
        } else if let Some(id) = message["id"].as_u64() {
            assert_eq!(seen[usize::try_from(id).expect("small")], 3, "{message}");
            done += 1;
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn such_clients_are_kept_out_unless_they_are_let_in_and_guarded_as_others() {
    let gateway = Gateway::start("").await;
    for (method, path) in
        [(Method::GET, "/sse"), (Method::GET, "/sse/mcpeg"), (Method::POST, "/message?sessionId=1")]
    {
        let answer = send(gateway.address(), method, path, &[], "").await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == StatusCode::NOT_FOUND && text.contains("legacy_sse"), "{path} {answer:?}");
    }
    gateway.stop().await;
    let gateway = Gateway::start_with("legacy_sse = true\nclient_timeout = \"1s\"", "", &[]).await;
    let evil = [("host", "evil.example")];
    assert_eq!(send(gateway.address(), Method::GET, "/sse", &evil, "").await.status, StatusCode::FORBIDDEN);
    let origin = [("origin", "https://evil.example")];
    assert_eq!(send(gateway.address(), Method::GET, "/sse", &origin, "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        send(gateway.address(), Method::GET, "/sse/nobody", &[], "").await.status,
        StatusCode::NOT_FOUND
    );
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let unknown =
        post(gateway.address(), "/message?sessionId=00000000000000000000000000000000", &[], ping).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{unknown:?}");
    // A stream on which no session begins ends.
    let mut idle = Events::open(gateway.address(), "/sse", None).await;
    assert!(idle.next().await.is_none());
    assert_eq!(idle.post(ping).await.status, StatusCode::NOT_FOUND);
    // One name twice is refused here as anywhere.
    let client = Events::begin(gateway.address(), "/sse").await;
    let twice =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"status","name":"upstreams"}}"#;
    assert_eq!(client.post(twice).await.status, StatusCode::OK);
    gateway.stop().await;
}

#[tokio::test]
async fn client_that_asks_before_it_begins_is_answered_and_begins() {
    let gateway = Gateway::start_with(ON, &probe("one", &[]), &[]).await;
    let mut client = Events::open(gateway.address(), "/sse", None).await;
    client.ask(1, "server/discover", &json!({})).await;
    assert_eq!(client.answer(1).await["error"]["code"], -32601);
    client.ask(2, "ping", &json!({})).await;
    assert_eq!(client.answer(2).await["result"], json!({}));
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "new", "version": "1" } });
    client.ask(3, "initialize", &params).await;
    assert_eq!(client.answer(3).await["result"]["protocolVersion"], "2025-11-25");
    client.call(4, "sleep", &json!({})).await;
    assert!(client.answer(4).await["result"].is_object());
    gateway.stop().await;
}

#[tokio::test]
async fn client_that_comes_back_as_if_nothing_had_been_goes_on_at_the_new_stream() {
    let gateway = Gateway::start_with(ON, &probe("one", &[]), &[]).await;
    for path in ["/sse", "/sse/one"] {
        let mut client = Events::open(gateway.address(), path, None).await;
        let note = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        assert_eq!(client.post(note).await.status, StatusCode::NOT_FOUND, "no request, no session");
        client.call(1, "sleep", &json!({})).await;
        assert!(client.answer(1).await["result"].is_object(), "{path}");
        client.ask(2, "tools/list", &json!({})).await;
        assert!(client.answer(2).await["result"]["tools"].is_array(), "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn message_whose_answer_nobody_would_read_is_refused() {
    let gateway = Gateway::start_with(ON, &probe("one", &[]), &[]).await;
    for restarted in [false, true] {
        let mut client = Events::begin(gateway.address(), "/sse").await;
        if restarted {
            gateway.restart().await;
            while client.next().await.is_some() {}
        } else {
            let other = Events::open(gateway.address(), "/sse", None).await;
            client.stream = other.stream;
        }
        let call =
            r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"sleep","arguments":{}}}"#;
        // The gateway learns in its own time that the client has gone.
        let refused = async { while client.post(call).await.status != StatusCode::NOT_FOUND {} };
        tokio::time::timeout(PATIENCE, refused).await.unwrap_or_else(|_| panic!("{restarted}: it is taken"));
    }
    gateway.stop_successor().await;
}

#[tokio::test]
async fn session_goes_on_in_the_next_process_after_its_stream_has_ended_in_order() {
    let upstream = http_probe(&[]).await;
    let gateway = Gateway::start_with(ON, &http("probe", upstream.port), &[]).await;
    let mut client = Events::begin(gateway.address(), "/sse").await;
    let gate = Gate::closed();
    let arguments: Value = serde_json::from_str(&gate.arguments()).expect("JSON");
    client.call(7, "sleep", &arguments).await;
    let flying = async { while gateway.in_flight().await < 1 {} };
    tokio::time::timeout(PATIENCE, flying).await.expect("it is in flight");
    gateway.restart().await;
    // The next process takes what is posted meanwhile, once the client reads what comes of it.
    let call = r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"sleep","arguments":{}}}"#;
    let (address, path) = (client.address.clone(), client.target.clone());
    let meanwhile = tokio::spawn(async move { post(&address, &path, &[("accept", "*/*")], call).await });
    gate.open();
    assert!(client.answer(7).await["result"].is_object(), "what was in flight is answered over its stream");
    let parted = loop {
        match client.next().await {
            Some((event, _)) if event == "message" => {}
            Some((event, _)) => break event,
            None => panic!("the client is not told where it can go on"),
        }
    };
    assert_eq!(parted, "reconnect");
    assert!(client.next().await.is_none());
    let (last, target) = (client.last.clone(), client.target.clone());
    let mut client = Events::open(gateway.address(), "/sse", Some(&last)).await;
    assert_eq!(client.target, target, "it is the same session");
    assert_eq!(meanwhile.await.expect("an answer").status, StatusCode::ACCEPTED);
    assert!(client.answer(8).await["result"].is_object());
    client.call(9, "sleep", &json!({})).await;
    assert!(client.answer(9).await["result"].is_object());
    gateway.stop_successor().await;
}

#[tokio::test]
async fn call_that_the_drain_has_no_time_for_is_answered_over_the_stream() {
    let upstream = http_probe(&[]).await;
    let server = "legacy_sse = true\ndrain_timeout = \"1s\"";
    let gateway = Gateway::start_with(server, &http("probe", upstream.port), &[]).await;
    let mut client = Events::begin(gateway.address(), "/sse").await;
    let gate = Gate::closed();
    let arguments: Value = serde_json::from_str(&gate.arguments()).expect("JSON");
    client.call(7, "sleep", &arguments).await;
    let flying = async { while gateway.in_flight().await < 1 {} };
    tokio::time::timeout(PATIENCE, flying).await.expect("it is in flight");
    nix::sys::signal::kill(gateway.pid(), nix::sys::signal::Signal::SIGTERM).expect("it runs");
    let answer = client.answer(7).await;
    assert!(answer["error"]["message"].as_str().expect("an error").contains("drain_timeout"), "{answer}");
    assert_eq!(gateway.ended().await, Some(0));
}
