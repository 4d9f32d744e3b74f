//! Subscriptions to resources across the eras, and across restarts of the server.

use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::client::{Client, MODERN_META, open};
use crate::gateway::Gateway;
use crate::scripted::{Script, http_script};
use crate::upstreams::{http, http_probe, probe};

/// What is subscribed to.
const SUBJECT: &str = r#"{"uri":"probe://watched"}"#;

/// Reads a stream until its text has all of these.
pub(crate) async fn wait(stream: &mut Incoming, wanted: &[&str]) -> String {
    let mut text = String::new();
    let read = async {
        while !wanted.iter().all(|wanted| text.contains(wanted)) {
            let frame = stream.frame().await.expect("the stream goes on").expect("a frame");
            text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
        }
    };
    let read = tokio::time::timeout(std::time::Duration::from_secs(30), read).await;
    assert!(read.is_ok(), "{wanted:?} in {text}");
    text
}

/// A legacy session hears of an update at an upstream, and no more of it once it has unsubscribed.
async fn session_hears(configuration: &str) {
    let gateway = Gateway::start(configuration).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let mut stream = client.stream().await.into_body();
    client.request("1", "resources/subscribe", "", SUBJECT).await.result();
    client.call("touch", "{}").await.text();
    let text = wait(&mut stream, &["notifications/resources/updated", "probe://watched"]).await;
    assert!(!text.contains("subscriptionId"), "{text}");
    client.request("2", "resources/unsubscribe", "", SUBJECT).await.result();
    client.call("touch", "{}").await.text();
    client.request("3", "resources/subscribe", "", SUBJECT).await.result();
    client.call("touch", "{}").await.text();
    let text = wait(&mut stream, &["notifications/resources/updated"]).await;
    assert_eq!(text.matches("resources/updated").count(), 1, "{text}");
    client.end().await;
    gateway.stop().await;
}

#[tokio::test]
async fn legacy_session_hears_of_updates_at_a_modern_stdio_server() {
    session_hears(&probe("probe", &["--era", "modern", "--resources"])).await;
}

#[tokio::test]
async fn legacy_session_hears_of_updates_at_a_modern_http_server() {
    let upstream = http_probe(&["--era", "modern", "--resources"]).await;
    session_hears(&http("probe", upstream.port)).await;
}

#[tokio::test]
async fn legacy_session_hears_of_updates_at_a_legacy_server() {
    session_hears(&probe("probe", &["--era", "legacy", "--resources"])).await;
}

/// A session's stream after the event with this identifier.
async fn resumed(gateway: &Gateway, client: &Client, last: &str) -> Incoming {
    let [session, version] = client.session_headers();
    let headers = [session, version, ("accept", "text/event-stream"), ("last-event-id", last)];
    open(gateway.address(), Method::GET, "/mcp", &headers, "").await.into_body()
}

/// The identifiers of events, in their order.
fn identifiers(text: &str) -> Vec<String> {
    let ids = text.lines().filter_map(|line| line.strip_prefix("id:"));
    ids.map(|id| id.trim().to_owned()).collect()
}

#[tokio::test]
async fn stream_of_a_session_resumes_after_the_last_event_that_its_client_has() {
    const UPDATE: &str = "notifications/resources/updated";
    let gateway = Gateway::start(&probe("probe", &["--era", "legacy", "--resources"])).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let mut stream = client.stream().await.into_body();
    client.request("1", "resources/subscribe", "", SUBJECT).await.result();
    client.call("touch", "{}").await.text();
    let text = wait(&mut stream, &[UPDATE, "\n\n"]).await;
    let first = identifiers(&text);
    assert_eq!(first.len(), 2, "one to resume from, and one message: {text}");
    drop(stream);
    client.call("touch", "{}").await.text();
    // The client has not seen the message: it gets both.
    let mut stream = resumed(&gateway, &client, &first[0]).await;
    let both = wait(&mut stream, &["0.1-2\n", UPDATE, "\n\n"]).await;
    assert!(identifiers(&both).ends_with(&[first[1].clone(), "0.1-2".to_owned()]), "{both}");
    drop(stream);
    // It has seen all: it gets what is new.
    let mut stream = resumed(&gateway, &client, "0.1-2").await;
    client.call("touch", "{}").await.text();
    let text = wait(&mut stream, &[UPDATE, "\n\n"]).await;
    assert_eq!(
        (text.matches(UPDATE).count(), identifiers(&text).last()),
        (1, Some(&"0.1-3".to_owned())),
        "{text}"
    );
    client.end().await;
    gateway.stop().await;
}

#[tokio::test]
async fn subscription_that_a_modern_server_does_not_know_is_refused() {
    let gateway = Gateway::start(&probe("probe", &["--era", "modern"])).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let (_, message) = client.request("1", "resources/subscribe", "", SUBJECT).await.error();
    assert!(message.contains("does not tell of changes"), "{message}");
    gateway.stop().await;
}

/// Opens the stream of changes of a modern client, which wants to hear of the resource.
async fn listen(gateway: &Gateway) -> Incoming {
    listen_to(gateway, r#"{"resourceSubscriptions":["probe://watched"]}"#).await
}

/// The same of one that wants to hear of something else.
pub(crate) async fn listen_to(gateway: &Gateway, wanted: &str) -> Incoming {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{{"notifications":{wanted},"_meta":{{{MODERN_META}}}}}}}"#
    );
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    open(gateway.address(), http::Method::POST, "/mcp", &headers, &body).await.into_body()
}

/// The server of these tests, of this era and with this name.
fn server(era: &str, name: &str) -> String {
    probe("probe", &["--era", era, "--resources", "--name", name]) + "sharing = \"shared\"\n"
}

/// A stream of changes and a legacy session's subscription outlive the upstream's process, or its configuration.
async fn outlives(era: &str, reload: bool) {
    let gateway = Gateway::start(&server(era, "one")).await;
    let session = Client::legacy(gateway.address(), "/mcp").await;
    let (mut of_session, mut of_client) = (session.stream().await.into_body(), listen(&gateway).await);
    wait(&mut of_client, &["subscriptions/acknowledged", "probe://watched"]).await;
    session.request("1", "resources/subscribe", "", SUBJECT).await.result();
    let client = Client::modern(gateway.address(), "/mcp");
    if reload {
        let reloaded = gateway.reload("", &server(era, "two")).await;
        assert!(reloaded.status.success(), "{reloaded:?}");
    } else {
        client.call("crash", "{}").await.raw_error();
    }
    // The server that comes after it is told of both subscriptions some time after its start.
    let told = async {
        let updated = ["notifications/resources/updated"];
        tokio::join!(wait(&mut of_session, &updated), wait(&mut of_client, &updated))
    };
    let touch = async {
        loop {
            let _ = client.call("touch", "{}").await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let (_, changes) = tokio::select! {
        told = told => told,
        () = touch => unreachable!(),
    };
    let changes = changes.replace(' ', "");
    assert!(changes.contains(r#""io.modelcontextprotocol/subscriptionId":"l""#), "{changes}");
    gateway.stop().await;
}

#[tokio::test]
async fn subscriptions_outlive_the_process_of_a_legacy_server() {
    outlives("legacy", false).await;
}

#[tokio::test]
async fn subscriptions_outlive_the_process_of_a_modern_server() {
    outlives("modern", false).await;
}

#[tokio::test]
async fn subscriptions_outlive_the_change_of_a_legacy_server() {
    outlives("legacy", true).await;
}

#[tokio::test]
async fn subscriptions_outlive_the_change_of_a_modern_server() {
    outlives("modern", true).await;
}

#[tokio::test]
async fn legacy_session_is_told_when_a_modern_server_comes_back_with_its_lists() {
    let upstream = probe("probe", &["--era", "modern", "--resources"]);
    let gateway = Gateway::start(&upstream).await;
    // Interactive, so that it would have a connection of its own, which this server does not have.
    let session = Client::legacy_with(gateway.address(), "/mcp", r#"{"elicitation":{}}"#).await;
    let mut stream = session.stream().await.into_body();
    session.call("pids", "{}").await.text();
    session.call("crash", "{}").await.raw_error();
    wait(&mut stream, &["notifications/tools/list_changed"]).await;
    gateway.stop().await;
}

/// Parameters of a call that has the server do something.
fn script(steps: &str, meta: &str) -> String {
    format!(r#"{{"name":"script","arguments":{{"steps":{steps}}}{meta}}}"#)
}

#[tokio::test]
async fn change_that_a_legacy_server_tells_beside_an_answer_is_for_those_who_listen() {
    let upstream = http_probe(&["--era", "legacy"]).await;
    let gateway = Gateway::start(&http("probe", upstream.port)).await;
    let mut stream = listen_to(&gateway, r#"{"toolsListChanged":true}"#).await;
    wait(&mut stream, &["notifications/subscriptions/acknowledged"]).await;
    let notes = ["tools/list_changed", "elicitation/complete", "tasks/status", "vendor/note"];
    let notes = notes.map(|note| format!(r#"{{"note":"notifications/{note}"}}"#)).join(",");
    let meta = format!(r#","_meta":{{{MODERN_META}}}"#);
    let params = script(&format!(r#"[{{"say":[{notes}]}}]"#), &meta);
    let client = Client::modern(gateway.address(), "/mcp");
    let answer = client.request("1", "tools/call", "script", &params).await;
    // This era has neither of the others on the stream of an answer; what nobody knows passes.
    let messages = answer.messages();
    assert!(messages.len() == 2 && messages[0].contains("notifications/vendor/note"), "{messages:?}");
    wait(&mut stream, &["notifications/tools/list_changed", "subscriptionId"]).await;
    gateway.stop().await;
}

#[tokio::test]
async fn list_is_read_again_after_a_change_that_a_server_tells_beside_an_answer() {
    let upstream = http_probe(&["--era", "legacy"]).await;
    let gateway = Gateway::start(&(http("probe", upstream.port) + &probe("other", &[]))).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    assert!(!client.tools().await.contains(&"probe_late".to_owned()));
    let steps = r#"[{"tool":"late"},{"say":[{"note":"notifications/tools/list_changed"}]}]"#;
    let params = script(steps, "").replace("\"script\"", "\"probe_script\"");
    client.request("1", "tools/call", "", &params).await.result();
    let tools = client.tools().await;
    assert!(tools.contains(&"probe_late".to_owned()), "{tools:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn stream_of_changes_that_a_server_ends_by_a_cancellation_is_opened_again() {
    // MCP 2026-07-28 §Cancellation: that is how a server tears it down.
    let lines = r#"
capabilities = {"tools": {"listChanged": True}}
modern, listens = True, []
def opened(message):
    listens.append(message["id"])
    meta = {"io.modelcontextprotocol/subscriptionId": message["id"]}
    yield {"method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta, "notifications": {"toolsListChanged": True}}}
    if len(listens) == 1: yield {"method": "notifications/cancelled", "params": {"requestId": message["id"]}}
"#;
    let script = Script::new(&format!(
        "{lines}
def handle(message):
    if message['method'] != 'subscriptions/listen': return False
    for said in opened(message): send(said)
    return True
def call(message, name): return str(len(listens))
"
    ));
    let server = http_script(&format!(
        "{lines}
def post(handler, message):
    if message.get('method') != 'subscriptions/listen': return False
    handler.send_response(200)
    handler.send_header('Content-Type', 'text/event-stream')
    handler.end_headers()
    for said in opened(message):
        handler.wfile.write(b'data: ' + json.dumps({{'jsonrpc': '2.0', **said}}).encode() + b'\\n\\n')
    threading.Event().wait()
def call(handler, message, name): return str(len(listens))
"
    ))
    .await;
    let gateway = Gateway::start(&(script.upstream("p") + &http("h", server.port))).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    for tool in ["p_one", "h_one"] {
        while client.call(tool, "{}").await.text() != "2" {
            assert!(std::time::Instant::now() < deadline, "{tool}: it is not opened again");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn acknowledgement_names_what_servers_agree_to_tell_of_and_nothing_else() {
    // One of each era that declines one of its resources, and one that declines all.
    let server = |name: &str, more: &str| {
        Script::new(&format!(
            r#"
capabilities = {{"tools": {{}}, "resources": {{"subscribe": True}}}}
def handle(message):
    method, params = message["method"], message.get("params", {{}})
    if method == "resources/list":
        names = ["{name}://own", "{name}://declined"]
        reply(message, {{"resources": [{{"uri": uri, "name": uri}} for uri in names], "resultType": "complete"}})
    elif method == "resources/templates/list":
        reply(message, {{"resourceTemplates": [], "resultType": "complete"}})
    elif method == "resources/subscribe" and "declined" in params["uri"]: refuse(message, -32602)
    elif method == "resources/subscribe": reply(message, {{}})
    elif method == "subscriptions/listen" and "resourceSubscriptions" in params["notifications"] and everything:
        refuse(message, -32602)
    elif method == "subscriptions/listen":
        told = [uri for uri in params["notifications"].get("resourceSubscriptions", []) if "declined" not in uri]
        tag = {{"io.modelcontextprotocol/subscriptionId": message["id"]}}
        send({{"method": "notifications/subscriptions/acknowledged", "params": {{"notifications": {{"resourceSubscriptions": told}}, "_meta": tag}}}})
        # It tells of what it was not asked for, too.
        for uri in ["new://own", "old://own"] if told else ():
            send({{"method": "notifications/resources/updated", "params": {{"uri": uri, "by": "{name}", "_meta": tag}}}})
    else: return False
    return True
everything = False
{more}
"#
        ))
    };
    let servers = [("old", ""), ("new", "modern = True"), ("none", "modern = True\neverything = True")]
        .map(|(name, more)| (name, server(name, more)));
    let gateway =
        Gateway::start(&servers.iter().map(|(name, server)| server.upstream(name)).collect::<String>()).await;
    let wanted = r#"{"toolsListChanged":true,"resourceSubscriptions":["old://own","new://declined","none://own","old://declined","new://own"]}"#;
    let mut stream = listen_to(&gateway, wanted).await;
    let told =
        wait(&mut stream, &[r#""resourceSubscriptions":["old://own","new://own"]"#, r#""by": "new""#]).await;
    assert!(told.contains(r#""toolsListChanged":true"#), "{told}");
    assert_eq!(told.matches("resources/updated").count(), 1, "{told}");
    assert!(told.contains(r#""uri": "new://own""#), "{told}");
    gateway.stop().await;
}
