//! Batches, which revision 2025-03-26 has and no other (MCP 2025-03-26 §Batching).

use serde_json::{Value, json};

use crate::client::{Answer, Client, MODERN_META, post};
use crate::gateway::Gateway;
use crate::scripted::{Script, http_script};
use crate::upstreams::{http, probe, sse};

/// A session of a revision: its headers.
async fn session(gateway: &Gateway, revision: &'static str) -> [(&'static str, String); 2] {
    let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": revision, "capabilities": {}, "clientInfo": { "name": "raw", "version": "1" } } });
    let answer = post(gateway.address(), "/mcp", &[], &body.to_string()).await;
    let id = answer.headers["mcp-session-id"].to_str().expect("ASCII").to_owned();
    [("mcp-session-id", id), ("mcp-protocol-version", revision.to_owned())]
}

/// Posts a batch within a session.
async fn batch(gateway: &Gateway, session: &[(&str, String)], body: &Value) -> Answer {
    let headers: Vec<_> = session.iter().map(|(name, value)| (*name, value.as_str())).collect();
    post(gateway.address(), "/mcp", &headers, &body.to_string()).await
}

/// A call of a tool.
fn call(id: i64, tool: &str, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

/// A request without parameters.
fn request(id: i64, method: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method })
}

#[tokio::test]
async fn every_entry_of_a_batch_is_answered_in_the_revision_that_has_batches() {
    let gateway = Gateway::start(&probe("one", &[])).await;
    let session = session(&gateway, "2025-03-26").await;
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let all = json!([
        request(1, "ping"), note, call(2, "echo", &json!({ "a": 1 })), request(3, "tools/list"), request(4, "no/such"),
        request(2, "ping"), 7, request(5, "initialize"), { "jsonrpc": "2.0", "method": "ping" },
        { "jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": { "name": "a", "name": "b" } },
    ]);
    // `json!` keeps one of two equal names.
    let twice = all.to_string().replace(r#"{"name":"b"}"#, r#"{"name":"a","name":"b"}"#);
    let headers: Vec<_> = session.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = post(gateway.address(), "/mcp", &headers, &twice).await;
    assert_eq!(
        (answer.status.as_u16(), answer.headers["content-type"].to_str().expect("ASCII")),
        (200, "application/json")
    );
    let answers: Vec<Value> = serde_json::from_slice(&answer.body).expect("a list");
    let of = |id: i64| answers.iter().filter(|answer| answer["id"] == id).collect::<Vec<_>>();
    assert_eq!(answers.len(), 9, "{answers:#?}");
    assert_eq!(of(1)[0]["result"], json!({}));
    assert!(of(3)[0]["result"]["tools"].is_array());
    assert_eq!(of(4)[0]["error"]["code"], -32601);
    assert_eq!(of(5)[0]["error"]["code"], -32600);
    assert_eq!(of(6)[0]["error"]["code"], -32602);
    let two = of(2);
    assert!(two.len() == 2 && two.iter().any(|answer| answer["result"]["content"].is_array()), "{two:?}");
    assert!(two.iter().any(|answer| answer["error"]["code"] == -32600), "{two:?}");
    assert_eq!(answers.iter().filter(|answer| answer["id"].is_null()).count(), 2, "{answers:#?}");
    let told = batch(&gateway, &session, &json!([note, note])).await;
    assert_eq!((told.status.as_u16(), told.body.len()), (202, 0));
    for wrong in [json!([]), Value::from(vec![request(1, "ping"); 101])] {
        let refused = batch(&gateway, &session, &wrong).await;
        assert_eq!((refused.status.as_u16(), refused.error().0), (400, -32600));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn batch_of_which_more_comes_than_answers_is_a_stream() {
    let gateway = Gateway::start(&probe("one", &[])).await;
    let session = session(&gateway, "2025-03-26").await;
    let mut progress = call(1, "progress", &json!({ "count": 2, "call": 1 }));
    progress["params"]["_meta"] = json!({ "progressToken": 5 });
    let answer = batch(&gateway, &session, &json!([progress, request(2, "ping")])).await;
    assert!(answer.headers["content-type"].to_str().expect("ASCII").starts_with("text/event-stream"));
    let messages: Vec<Value> =
        answer.messages().iter().map(|message| serde_json::from_str(message).expect("JSON")).collect();
    assert_eq!(messages.iter().filter(|message| message["method"] == "notifications/progress").count(), 2);
    for id in [1, 2] {
        assert_eq!(
            messages.iter().filter(|message| message["id"] == id && message["result"].is_object()).count(),
            1
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn other_revisions_have_no_batches() {
    let gateway = Gateway::start("").await;
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let session = session(&gateway, revision).await;
        let refused = batch(&gateway, &session, &json!([request(1, "ping")])).await;
        assert_eq!((refused.status.as_u16(), refused.error().0), (400, -32600), "{revision}");
    }
    let modern = [("mcp-protocol-version", "2026-07-28".to_owned())];
    assert_eq!(batch(&gateway, &modern, &json!([request(1, "ping")])).await.status, 400);
    gateway.stop().await;
}

/// The batch by which a server answers a call: progress, what is no message, a batch within, the answer, and more progress.
const ANSWER: &str = r#"
def batch(message):
    note = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"z":1.0,"a":9007199254740993}}'
    token = json.dumps(message["params"]["_meta"]["progressToken"])
    result = '{"zVendor":1.0e2,"content":[{"type":"text","text":"\\u00e9"}]}'
    answer = '{"jsonrpc":"2.0","result":%s,"id":%s}' % (result, json.dumps(message["id"]))
    return '[%s, 7, [{}], %s,%s]' % (note % (token, 1), answer, note % (token, 2))
"#;

#[tokio::test]
async fn batches_of_servers_are_taken_apart_and_nothing_of_them_is_lost() {
    let script = Script::new(&format!(
        "{ANSWER}
def call(message, name):
    out.write(batch(message).encode() + b'\\n')
    out.flush()
"
    ));
    let over_http = |kind: &str, data: &str| {
        format!(
            "{ANSWER}
def call(handler, message, name):
    body = ({data} % batch(message)).encode()
    handler.send_response(200)
    handler.send_header('Content-Type', '{kind}')
    handler.send_header('Content-Length', str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
"
        )
    };
    let body = http_script(&over_http("application/json", "'%s'")).await;
    let events = http_script(&over_http("text/event-stream", "'data: %s\\n\\n'")).await;
    let channel = http_script(&format!(
        "{ANSWER}{}
def call(handler, message, name):
    streams[handler.path].put(batch(message).encode())
    handler.answer(202)
",
        crate::unreadable::EVENT_CHANNEL
    ))
    .await;
    let (body, events) = (http("b", body.port), http("b", events.port));
    for upstream in [script.upstream("b"), body, events, sse("b", channel.port, "transport = \"sse\"\n")] {
        let gateway = Gateway::start(&upstream).await;
        let legacy = Client::legacy(gateway.address(), "/mcp").await;
        let modern = (Client::modern(gateway.address(), "/mcp"), format!(",{MODERN_META}"));
        for (client, meta) in [(legacy, String::new()), modern] {
            let params =
                format!(r#"{{"name":"one","arguments":{{}},"_meta":{{"progressToken":"t"{meta}}}}}"#);
            let answer = client.request("1", "tools/call", "one", &params).await;
            let messages = answer.messages();
            let progress = |message: &&String| message.contains(r#""z":1.0,"a":9007199254740993"#);
            let found = (messages.len(), messages.iter().filter(progress).count());
            assert_eq!(found, (3, 2), "{upstream}: {messages:?}");
            let written = r#"{"zVendor":1.0e2,"content":[{"type":"text","text":"\u00e9"}]"#;
            assert!(answer.result().starts_with(written), "{upstream}: {messages:?}");
        }
        gateway.stop().await;
    }
}
