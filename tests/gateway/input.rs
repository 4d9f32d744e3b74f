//! Questions of servers to clients across the eras.

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::client::{Client, Era, LEGACY, Message, open, post};
use crate::gateway::Gateway;
use crate::scripted::Script;
use crate::upstreams::probe;

/// Reads a stream until a message passes the test; returns its text.
async fn next(stream: &mut Incoming, text: &mut String, wanted: impl Fn(&Message<'_>) -> bool) -> String {
    let found = async {
        loop {
            let frame = stream.frame().await.expect("the stream goes on").expect("a frame");
            *text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
            let data =
                text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| !data.is_empty());
            if let Some(found) =
                data.filter(|data| data.ends_with('}')).find(|data| wanted(&Message::read(data)))
            {
                return found.to_owned();
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), found).await.expect("it comes")
}

/// Calls the tool that asks, as a legacy client that can be asked; returns its stream.
async fn call(gateway: &Gateway, client: &Client) -> Incoming {
    call_with(gateway, client, "ask", &json!({})).await
}

/// The same with a name and arguments.
async fn call_with(gateway: &Gateway, client: &Client, tool: &str, arguments: &Value) -> Incoming {
    let [id, version] = client.session_headers();
    // A client that lists the stream first would rather have one, also where one body would do.
    let accept = ("accept", "text/event-stream, application/json");
    let headers = [id, version, accept, ("content-type", "application/json")];
    let params = json!({ "name": tool, "arguments": arguments });
    let call = json!({ "jsonrpc": "2.0", "id": tool, "method": "tools/call", "params": params }).to_string();
    open(gateway.address(), Method::POST, "/mcp", &headers, &call).await.into_body()
}

#[tokio::test]
async fn question_of_a_modern_server_reaches_a_legacy_client_and_its_answer_the_server() {
    let gateway = Gateway::start(&probe("probe", &["--era", "modern"])).await;
    let client = Client::legacy_with(gateway.address(), "/mcp", r#"{"elicitation":{}}"#).await;
    client.request("1", "logging/setLevel", "", r#"{"level":"debug"}"#).await.result();
    let (mut stream, mut text) = (call(&gateway, &client).await, String::new());
    let asked = next(&mut stream, &mut text, |message| message.method == Some("elicitation/create")).await;
    let asked = Message::read(&asked);
    assert!(asked.params.expect("parameters").get().contains("Who?"));
    let id = asked.id.expect("an id").get();
    let answer =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept","content":{{"z":1.0}}}}}}"#);
    assert_eq!(client.post("", "", &answer).await.status, StatusCode::ACCEPTED);
    let result = next(&mut stream, &mut text, |message| message.result.is_some()).await;
    let told = result.replace('\\', "");
    assert!(told.contains(r#"{"who":{"action":"accept","content":{"z":1.0}}}"#), "{told}");
    assert!(told.contains(r#""state": ""s1"""#), "the state comes back as it was: {told}");
    assert!(told.contains("logLevel") && told.contains("debug"), "{told}");
    assert!(told.contains("clientCapabilities") && told.contains("elicitation"), "{told}");
    assert!(!told.contains("resultType"), "{told}");
    gateway.stop().await;
}

#[tokio::test]
async fn refusal_of_a_legacy_client_ends_its_request_with_the_reason() {
    let gateway = Gateway::start(&probe("probe", &["--era", "modern"])).await;
    let client = Client::legacy_with(gateway.address(), "/mcp", r#"{"elicitation":{}}"#).await;
    let (mut stream, mut text) = (call(&gateway, &client).await, String::new());
    let asked = next(&mut stream, &mut text, |message| message.method.is_some()).await;
    let id = Message::read(&asked).id.expect("an id").get().to_owned();
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"not now"}}}}"#);
    assert_eq!(client.post("", "", &answer).await.status, StatusCode::ACCEPTED);
    let error = next(&mut stream, &mut text, |message| message.error.is_some()).await;
    assert!(error.contains("not now") && error.contains("elicitation/create"), "{error}");
    gateway.stop().await;
}

#[tokio::test]
async fn request_of_a_session_leaves_its_turn_to_others_while_its_client_is_asked() {
    for sharing in ["auto", "per-session"] {
        // One at a time, and nobody may wait: whoever is not let through is refused.
        let limits = format!("max_concurrency = 1\nmax_queue = 0\nsharing = \"{sharing}\"\n");
        let gateway = Gateway::start(&(probe("probe", &["--era", "legacy"]) + &limits)).await;
        let client = Client::legacy_with(gateway.address(), "/mcp", r#"{"elicitation":{}}"#).await;
        let (mut stream, mut text) = (call(&gateway, &client).await, String::new());
        let asked = next(&mut stream, &mut text, |message| message.method.is_some()).await;
        Client::modern(gateway.address(), "/mcp").call("echo", "{}").await.result();
        let id = Message::read(&asked).id.expect("an id").get().to_owned();
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"decline"}}}}"#);
        assert_eq!(client.post("", "", &answer).await.status, StatusCode::ACCEPTED);
        let result = next(&mut stream, &mut text, |message| message.result.is_some()).await;
        assert!(result.contains("decline"), "{result}");
        Client::modern(gateway.address(), "/mcp").call("echo", "{}").await.result();
        gateway.stop().await;
    }
}

/// A server whose tool asks its client what its arguments say, and returns what it was told.
const ASKING: &str = r#"
capabilities = {"tools": {}, "completions": {}}
tools, waiting = ["ask"], {}
def handle(message):
    method, params = message.get("method"), message.get("params", {})
    asks = lambda question: reply(message, {"resultType": "input_required", "inputRequests": {"q": question}})
    if method is None: reply(waiting.pop(message["id"]), text(json.dumps(message.get("result", message.get("error")))))
    elif method == "initialize" and modern: refuse(message)
    elif method == "completion/complete": asks({"method": "roots/list"})
    elif method != "tools/call": return False
    elif "inputResponses" in params: reply(message, text(json.dumps(params["inputResponses"]["q"])))
    elif modern: asks(params["arguments"])
    else:
        waiting["q"] = message
        send({"id": "q", **params["arguments"]})
    return True
"#;

/// What a client was asked, if it was, and the last that it was told.
async fn put(gateway: &Gateway, client: &Client, tool: &str, question: &Value) -> (Option<Value>, Value) {
    let (mut stream, mut text) = (call_with(gateway, client, tool, question).await, String::new());
    let parse = |message: &str| serde_json::from_str::<Value>(message).expect("JSON");
    let first = parse(&next(&mut stream, &mut text, |_| true).await);
    if first["method"].is_null() {
        return (None, first);
    }
    let answer = json!({ "jsonrpc": "2.0", "id": first["id"], "result": { "answered": true } }).to_string();
    assert_eq!(client.post("", "", &answer).await.status, StatusCode::ACCEPTED);
    let last = next(&mut stream, &mut text, |message| message.method.is_none()).await;
    (Some(first["params"].clone()), parse(&last))
}

#[tokio::test]
async fn client_is_asked_what_it_has_declared_and_nothing_else_and_told_which_server_asks() {
    let servers = [Script::new(ASKING), Script::new(&format!("{ASKING}\nmodern = True\n"))];
    let [old, new] = &servers;
    let gateway = Gateway::start(&(old.upstream("old") + &new.upstream("new"))).await;
    let form =
        json!({ "method": "elicitation/create", "params": { "message": "Who?", "requestedSchema": {} } });
    let page = json!({ "method": "elicitation/create", "params": { "mode": "url", "message": "Go", "url": "https://a.org/" } });
    let model = json!({ "method": "sampling/createMessage", "params": { "messages": [], "maxTokens": 1 } });
    let mut tools = model.clone();
    tools["params"]["tools"] = json!([]);
    let roots = json!({ "method": "roots/list" });
    for (capabilities, question, refused) in [
        (r#"{"elicitation":{}}"#, &form, 0),
        (r#"{"elicitation":{}}"#, &page, -32602),
        (r#"{"elicitation":{"url":{}}}"#, &page, 0),
        (r#"{"elicitation":{"url":{}}}"#, &form, -32602),
        (r#"{"sampling":{}}"#, &model, 0),
        (r#"{"sampling":{}}"#, &tools, -32602),
        (r#"{"sampling":{"tools":{}}}"#, &tools, 0),
        (r#"{"sampling":{}}"#, &roots, -32601),
        (r#"{"roots":{}}"#, &model, -32601),
    ] {
        let legacy = Client::legacy_with(gateway.address(), "/mcp", capabilities).await;
        for (name, tool) in [("old", "old_ask"), ("new", "new_ask")] {
            let what = format!("{capabilities} {question} {name}");
            let (asked, last) = put(&gateway, &legacy, tool, question).await;
            assert_eq!(asked.is_some(), refused == 0, "{what}: {last}");
            if let Some(asked) = asked {
                let words = asked["message"].as_str();
                assert!(
                    words.is_none_or(|words| words.starts_with(&format!("[{name}] "))),
                    "{what}: {asked}"
                );
                let signed = question["method"] != "sampling/createMessage"
                    || asked["_meta"]["mcpeg/upstream"] == name;
                assert!(signed, "{what}: {asked}");
                // MCP 2025-11-25 §Elicitation: a page has an identifier.
                let identified =
                    asked["mode"] != "url" || name == "old" || asked["elicitationId"].is_string();
                assert!(identified, "{what}: {asked}");
                assert!(last["result"].to_string().contains("answered"), "{what}: {last}");
            } else if name == "old" {
                assert!(last["result"].to_string().contains(&refused.to_string()), "{what}: {last}");
            } else {
                assert!(last["error"]["message"].to_string().contains("`new` asks for"), "{what}: {last}");
            }
        }
        let modern = Client::modern(gateway.address(), "/mcp");
        let meta = format!(
            r#"{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities}}}"#
        );
        let params = format!(r#"{{"name":"old_ask","arguments":{question},"_meta":{meta}}}"#);
        let result = modern.request("1", "tools/call", "old_ask", &params).await.result();
        let wanted = if refused == 0 { "input_required".to_owned() } else { refused.to_string() };
        assert!(result.contains(&wanted), "{capabilities} {question}: {result}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn questions_of_the_only_server_are_as_it_writes_them_and_no_other_request_has_any() {
    let server = Script::new(&format!("{ASKING}\nmodern = True\n"));
    let gateway = Gateway::start(&server.upstream("new")).await;
    let client = Client::legacy_with(gateway.address(), "/mcp", r#"{"elicitation":{},"roots":{}}"#).await;
    let form =
        json!({ "method": "elicitation/create", "params": { "message": "Who?", "requestedSchema": {} } });
    let (asked, _) = put(&gateway, &client, "ask", &form).await;
    assert_eq!(asked, Some(form["params"].clone()));
    let complete = r#"{"ref":{"type":"ref/prompt","name":"a"},"argument":{"name":"b","value":""}}"#;
    let (code, message) = client.request("1", "completion/complete", "", complete).await.error();
    assert!(code == -32603 && message.contains("asks for input"), "{code} {message}");
    gateway.stop().await;
}

/// A server that asks as soon as it has shaken hands, and in a call; it makes a file when the gateway has read what it has asked.
const HASTY: &str = r#"
capabilities, revision, called = {"tools": {}, "logging": {}}, [], []
question = {"messages": [], "maxTokens": 1}
def told(id): open(os.path.join("DIRECTORY", id + (revision[0] if revision else "new")), "w").close()
def ask(id):
    send({"method": "notifications/message", "params": {"level": "info", "data": "before " + id}})
    send({"id": id, "method": "sampling/createMessage", "params": {**question, "systemPrompt": id}})
    send({"id": "ping-" + id, "method": "ping"})
def handle(message):
    method, params, id = message.get("method"), message.get("params") or {}, message["id"]
    if method == "initialize" and modern: refuse(message)
    elif method == "initialize":
        revision.append(params["protocolVersion"])
        info = {"name": "hasty", "version": "1"}
        reply(message, {"protocolVersion": revision[0], "capabilities": capabilities, "serverInfo": info})
        if "sampling" in params["capabilities"]: ask("hello")
    elif method == "tools/call" and "inputResponses" in params: reply(message, text("answered"))
    elif method == "tools/call" and modern:
        asked = {"method": "sampling/createMessage", "params": {**question, "systemPrompt": "call"}}
        reply(message, {"resultType": "input_required", "inputRequests": {"q": asked}})
        told("call")
    elif method == "tools/call":
        called.append(message)
        ask("call")
    elif method is None and id == "call": reply(called.pop(), text("answered"))
    elif method is None and id.startswith("ping-"): told(id[5:])
    else: return method is None
    return True
"#;

/// Begins a session of a revision whose client can be asked, and that is not ready yet.
async fn hesitant(gateway: &Gateway, revision: &str) -> Client {
    let params = json!({
        "protocolVersion": revision, "capabilities": { "sampling": {} }, "clientInfo": { "name": "raw", "version": "1" }
    });
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string();
    let answer = post(gateway.address(), "/mcp", &[], &hello).await;
    let mut client = Client::modern(gateway.address(), "/mcp");
    client.era = Era::Legacy(answer.headers["mcp-session-id"].to_str().expect("ASCII").to_owned());
    client
}

/// What a stream has brought up to now.
async fn there(stream: &mut Incoming) -> String {
    let (mut text, moment) = (String::new(), std::time::Duration::from_millis(50));
    while let Ok(frame) = tokio::time::timeout(moment, stream.frame()).await {
        let data = frame.expect("the stream goes on").expect("a frame").into_data().expect("data");
        text += std::str::from_utf8(&data).expect("UTF-8");
    }
    text
}

#[tokio::test]
async fn client_is_asked_nothing_before_it_has_said_that_it_is_ready() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let hasty = HASTY.replace("DIRECTORY", directory.path().to_str().expect("UTF-8"));
    let (old, new) = (Script::new(&hasty), Script::new(&format!("{hasty}modern = True\n")));
    let own = "sharing = \"per-session\"\n";
    let gateway = Gateway::start(&(old.upstream("old") + own + &new.upstream("new"))).await;
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", LEGACY] {
        let client = hesitant(&gateway, revision).await;
        let mut streams = vec![client.stream().await.into_body()];
        let told = async |names: &[String]| {
            let all_told = async {
                while !names.iter().all(|name| directory.path().join(name).exists()) {
                    client.request("1", "ping", "", "{}").await.result();
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(60), all_told).await.expect("all have asked");
        };
        told(&[format!("hello{revision}")]).await;
        for tool in ["old_one", "new_one"] {
            streams.push(call_with(&gateway, &client, tool, &json!({})).await);
        }
        told(&[format!("call{revision}"), "callnew".to_owned()]).await;
        std::fs::remove_file(directory.path().join("callnew")).expect("it is there");
        client.request("2", "ping", "", "{}").await.result();
        let mut texts = Vec::new();
        for stream in &mut streams {
            texts.push(there(stream).await);
        }
        assert!(!texts.concat().contains("sampling/createMessage"), "{revision}: {texts:?}");
        assert!(texts[0].contains("before hello"), "{revision}: what a server logs passes: {texts:?}");
        client.post("", "", r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        for (stream, text) in streams.iter_mut().zip(&mut texts) {
            let is_question = |message: &Message<'_>| message.method == Some("sampling/createMessage");
            let asked = next(stream, text, is_question).await;
            let id = Message::read(&asked).id.expect("an id").get();
            client.post("", "", &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)).await;
            if !asked.contains("hello") {
                let result = next(stream, text, |message| message.result.is_some()).await;
                assert!(result.contains("answered"), "{revision}: {result}");
            }
        }
        client.end().await;
    }
    gateway.stop().await;
}

/// A server that has a person visit a page, and tells when that was done.
const VISITED: &str = r#"
called = []
def handle(message):
    if "method" in message: return False
    send({"method": "notifications/elicitation/complete", "params": {"elicitationId": called[0]["id"]}})
    reply(called.pop(), text("visited"))
    return True
def call(message, name):
    called.append(message)
    params = {"mode": "url", "message": "visit", "url": "https://example.org/", "elicitationId": message["id"]}
    send({"id": "q", "method": "elicitation/create", "params": params})
"#;

#[tokio::test]
async fn completion_of_what_a_client_was_asked_is_told_to_that_client_only() {
    let script = Script::new(VISITED);
    let gateway = Gateway::start(&(script.upstream("a") + &probe("b", &[]))).await;
    let able = r#"{"elicitation":{"url":{}}}"#;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let client = Client::legacy_with(gateway.address(), "/mcp", able).await;
        let stream = client.stream().await.into_body();
        clients.push((client, stream));
    }
    // Each once, so that what was told to the wrong one has come before its own.
    for (client, own) in &mut clients {
        let (mut stream, mut text) = (call_with(&gateway, client, "a_one", &json!({})).await, String::new());
        let asked =
            next(&mut stream, &mut text, |message| message.method == Some("elicitation/create")).await;
        let asked: Value = serde_json::from_str(&asked).expect("JSON");
        let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "action": "accept" } });
        client.post("", "", &answer.to_string()).await;
        next(&mut stream, &mut text, |message| message.result.is_some()).await;
        let mut text = String::new();
        let is_told = |message: &Message<'_>| message.method == Some("notifications/elicitation/complete");
        let told: Value = serde_json::from_str(&next(own, &mut text, is_told).await).expect("JSON");
        assert_eq!(told["params"]["elicitationId"], asked["params"]["elicitationId"]);
        assert_eq!(text.matches("elicitation/complete").count(), 1, "{text}");
    }
    assert_eq!(there(&mut clients[0].1).await, "", "the other's");
    gateway.stop().await;
}
