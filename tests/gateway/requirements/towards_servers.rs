//! What is sent to servers: a server that keeps every byte of it, in each era and over each transport.

use std::collections::BTreeMap;

use base64::Engine as _;
use http::Method;
use mcpeg_test::kept::SECRET;
use serde_json::{Value, json};

use crate::client::{Client, LEGACY, MODERN_META, open, post, send};
use crate::following::wait;
use crate::gateway::{Gateway, HttpUpstream};
use crate::scripted::{Script, http_script};
use crate::upstreams::http;

/// The prefix of the protocol's own members of `_meta`.
const META: &str = "io.modelcontextprotocol/";

/// What both kinds of servers answer.
const ANSWERS: &str = r#"
capabilities = {"tools": {"listChanged": True}, "prompts": {}, "resources": {"subscribe": True}, "completions": {}, "logging": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
schema = {"type": "object", "properties": {}}
who = {"who": {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": schema}}}
def known(message):
    method, params = message.get("method"), message.get("params") or {}
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": schema} for name in ("one", "ask", "b\u00e9")]}
    if method == "prompts/list": return {"prompts": [{"name": "p"}]}
    if method == "prompts/get": return {"messages": []}
    if method == "resources/list": return {"resources": [{"uri": "x://\u00fc", "name": "u"}]}
    if method == "resources/templates/list": return {"resourceTemplates": []}
    if method == "resources/read": return {"contents": [{"uri": params["uri"], "text": "read"}]}
    if method == "completion/complete": return {"completion": {"values": []}}
    if method in ("logging/setLevel", "resources/subscribe", "resources/unsubscribe"): return {}
"#;

/// An HTTP server that keeps what it gets, and shows it at `/seen`.
const RECORDING: &str = r#"
import io
seen = []
class Recording(Handler):
    def note(self, body=b""):
        headers = [[name.lower(), value] for name, value in self.headers.items()]
        seen.append({"method": self.command, "headers": headers, "body": body.decode()})
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.note(body)
        whole, self.rfile = self.rfile, io.BytesIO(body)
        try: super().do_POST()
        finally: self.rfile = whole
    def do_GET(self):
        if self.path == "/seen": return self.answer(200, {"id": 0, "result": seen})
        self.note()
        super().do_GET()
    def do_DELETE(self):
        self.note()
        super().do_DELETE()
Handler = Recording
def post(handler, message):
    if modern and message.get("method") == "tools/call" and message["params"]["name"] == "job":
        handler.result(message, {"resultType": "task", "taskId": "t\u00e9", "status": "working"})
        return True
    if modern and message.get("method") == "tasks/get":
        handler.result(message, {"taskId": "t\u00e9", "status": "working"})
        return True
    if modern and message.get("method") == "tools/call" and message["params"]["name"] == "ask":
        if "inputResponses" not in message["params"]:
            handler.result(message, {"resultType": "input_required", "inputRequests": who, "requestState": "s\u00e9 1"})
            return True
        return False
    if not modern and handler.headers.get("Mcp-Session-Id") not in sessions: return False
    result = known(message)
    if result is not None: handler.result(message, result)
    return result is not None
def get(handler):
    if modern: return False
    handler.answer(200, headers=[("Content-Type", "text/event-stream")])
    return True
"#;

/// One request that the server got.
struct Seen {
    /// The HTTP method.
    method: String,
    /// The headers, by their names in lower case; one name twice fails the test.
    headers: BTreeMap<String, String>,
    /// The message of a POST.
    message: Value,
}

impl Seen {
    /// A header; empty where it is not there.
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The method of the message.
    fn rpc(&self) -> &str {
        self.message["method"].as_str().unwrap_or_default()
    }

    /// A member of the protocol's own in `_meta`.
    fn meta(&self, name: &str) -> &Value {
        &self.message["params"]["_meta"][format!("{META}{name}")]
    }
}

/// What the server got up to now.
async fn seen(server: &HttpUpstream) -> Vec<Seen> {
    let answer = send(&format!("127.0.0.1:{}", server.port), Method::GET, "/seen", &[], "").await;
    let all: Vec<Value> = serde_json::from_str(&answer.result()).expect("JSON");
    let read = |one: &Value| {
        let mut headers = BTreeMap::new();
        for header in one["headers"].as_array().expect("headers") {
            let text = |place: usize| header[place].as_str().expect("text").to_owned();
            assert_eq!(headers.insert(text(0), text(1)), None, "twice: {header}");
        }
        let body = one["body"].as_str().expect("UTF-8");
        let message = if body.is_empty() { Value::Null } else { serde_json::from_str(body).expect("JSON") };
        Seen { method: one["method"].as_str().expect("text").to_owned(), headers, message }
    };
    all.iter().map(read).collect()
}

/// Uses everything that a server of an era has, as a client of either.
async fn use_all(client: &Client, modern: bool) {
    let legacy = matches!(client.era, crate::client::Era::Legacy(_));
    let trace = r#""traceparent":"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01""#;
    let info = r#""io.modelcontextprotocol/clientInfo":{"name":"raw","version":"1"}"#;
    let own = if legacy { String::new() } else { format!(",{MODERN_META},{info}") };
    let meta = format!(r#""_meta":{{"progressToken":"t"{own},{trace}}}"#);
    for list in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
        client.request("1", list, "", &format!("{{{meta}}}")).await.result();
    }
    for id in ["1", "2", "\"one\""] {
        client
            .request(id, "tools/call", "one", &format!(r#"{{"name":"one","arguments":{{}},{meta}}}"#))
            .await
            .text();
    }
    client.request("3", "prompts/get", "p", &format!(r#"{{"name":"p",{meta}}}"#)).await.result();
    let about = r#""ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"x"}"#;
    client.request("4", "completion/complete", "", &format!("{{{about},{meta}}}")).await.result();
    if legacy {
        let read = |method| client.request("5", method, "", "{\"uri\":\"x://\u{fc}\"}");
        read("resources/read").await.result();
        if !modern {
            read("resources/subscribe").await.result();
            read("resources/unsubscribe").await.result();
        }
        client.request("6", "tools/call", "", "{\"name\":\"b\u{e9}\"}").await.text();
        client.request("7", "logging/setLevel", "", r#"{"level":"debug"}"#).await.result();
        client.post("", "", r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#).await;
    }
}

/// What each request has, whatever its era.
fn holds_for_all(all: &[Seen]) {
    let mut ids: Vec<(String, String)> = Vec::new();
    for one in all {
        assert_eq!(one.header("authorization"), "Bearer own", "{:?}", one.headers);
        for (name, value) in &one.headers {
            let own = name == "x-planted-token" || !value.contains(SECRET);
            assert!(name != "cookie" && own, "{name} is a client's own");
        }
        if one.method != "POST" {
            continue;
        }
        let accept = one.header("accept");
        assert!(accept.contains("application/json") && accept.contains("text/event-stream"), "{accept}");
        assert!(one.header("content-type").starts_with("application/json"));
        let message = &one.message;
        assert!(message.is_object() && message["jsonrpc"] == "2.0", "{message}");
        let is_request = message.get("id").is_some() && !one.rpc().is_empty();
        if one.rpc().starts_with("notifications/") {
            assert!(message.get("id").is_none(), "{message}");
        } else if is_request {
            assert!(message["id"].is_string() || message["id"].is_i64(), "{message}");
            let id = (one.header("mcp-session-id").to_owned(), message["id"].to_string());
            assert!(!ids.contains(&id) || one.rpc() == "initialize", "{id:?} is used twice: {message}");
            ids.push(id);
        }
    }
}

/// What the requests of the legacy era have: each session begins with two messages, names itself from then on, and is ended.
fn holds_for_legacy(all: &[Seen]) {
    let hello: Vec<_> = all.iter().filter(|one| one.rpc() == "initialize").collect();
    assert!(!hello.is_empty());
    for one in hello {
        assert_eq!(one.message["params"]["protocolVersion"], LEGACY);
        assert!(one.message["params"]["capabilities"].is_object() && one.header("mcp-session-id").is_empty());
        assert!(one.message["params"]["clientInfo"]["name"].is_string(), "{}", one.message);
    }
    let mut sessions: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for one in all
        .iter()
        .filter(|one| one.rpc() != "initialize" && one.header("mcp-protocol-version") != "2026-07-28")
    {
        sessions.entry(one.header("mcp-session-id")).or_default().push(one);
    }
    assert!(!sessions.is_empty() && !sessions.contains_key(""), "{:?}", sessions.keys());
    for (session, requests) in sessions {
        assert_eq!(requests[0].rpc(), "notifications/initialized", "{session}");
        for one in &requests {
            assert_eq!(one.header("mcp-protocol-version"), LEGACY, "{} {}", one.method, one.message);
        }
        for one in requests.iter().filter(|one| one.method == "GET") {
            assert!(one.header("accept").contains("text/event-stream"));
        }
        // A stream that is being opened at that moment may come after it.
        let methods: Vec<_> = requests.iter().map(|one| one.method.as_str()).collect();
        assert!(methods.contains(&"DELETE"), "{session} is not ended: {methods:?}");
    }
}

/// The text of a header in the base64 form.
fn decoded(header: &str) -> String {
    match header.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(inner) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(inner).expect("base64");
            String::from_utf8(bytes).expect("UTF-8")
        }
        None => header.to_owned(),
    }
}

/// What the requests of the modern era have: all that they need, in the body and mirrored in the head, and no sessions.
fn holds_for_modern(all: &[Seen]) {
    // Whether the server speaks the era of its legacy clients too is asked for the first of them.
    let (hello, all): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.rpc() == "initialize");
    assert_eq!(hello.len(), 1, "five legacy sessions");
    for one in &all {
        assert_eq!((one.method.as_str(), one.header("mcp-session-id")), ("POST", ""), "{}", one.message);
        assert!(!one.rpc().is_empty(), "a response: {}", one.message);
        assert_eq!(one.header("mcp-protocol-version"), "2026-07-28");
        assert_eq!(one.header("mcp-method"), one.rpc());
        assert_eq!(one.meta("protocolVersion"), "2026-07-28", "{}", one.message);
        assert!(one.meta("clientCapabilities").is_object(), "{}", one.message);
        assert!(
            one.meta("clientInfo")["name"].is_string() || one.rpc() == "notifications/cancelled",
            "{}",
            one.message
        );
        let source = match one.rpc() {
            "tools/call" | "prompts/get" => "name",
            "resources/read" => "uri",
            "tasks/get" => "taskId",
            _ => continue,
        };
        assert_eq!(decoded(one.header("mcp-name")), one.message["params"][source].as_str().expect("text"));
        assert!(one.header("mcp-name").is_ascii(), "{:?}", one.headers);
    }
    let encoded = all.iter().filter(|one| one.header("mcp-name").starts_with("=?base64?")).count();
    assert_eq!(encoded, 3, "a tool, a resource and a task");
    let job = all.iter().find(|one| one.message["params"]["name"] == "job").expect("it is there");
    assert_eq!(job.header("mcp-param-unknown"), "x y", "{:?}", job.headers);
}

/// Begins a task with a header that nobody knows, and asks for it.
async fn begin_task(gateway: &Gateway) {
    let able = MODERN_META.replace("{}", r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
    let own = r#""io.modelcontextprotocol/clientInfo":{"name":"raw","version":"1"}"#;
    let version = ("mcp-protocol-version", "2026-07-28");
    for (method, name, members) in [
        ("tools/call", "job", "\"name\":\"job\""),
        ("tasks/get", "=?base64?dMOp?=", "\"taskId\":\"t\u{e9}\""),
    ] {
        let params = format!("{{{members},\"_meta\":{{{able},{own}}}}}");
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let headers = [version, ("mcp-method", method), ("mcp-name", name), ("mcp-param-unknown", "x y")];
        post(gateway.address(), "/mcp", &headers, &body).await.result();
    }
}

#[tokio::test]
async fn http_requests_of_each_era_have_what_the_specification_asks() {
    for modern in [false, true] {
        let modern_line = if modern { "modern = True" } else { "" };
        let server = http_script(&format!("{ANSWERS}{RECORDING}{modern_line}\n")).await;
        let own = "headers = { Authorization = \"Bearer own\" }\n";
        let gateway = Gateway::start(&(http("seen", server.port) + own)).await;
        let able = r#"{"roots":{"listChanged":true},"sampling":{},"elicitation":{}}"#;
        let legacy = Client::legacy_with(gateway.address(), "/mcp", able).await;
        use_all(&legacy, modern).await;
        let others = [(); 4].map(|()| async {
            let other = Client::legacy(gateway.address(), "/mcp").await;
            other.call("one", "{}").await.text();
            other.end().await;
        });
        futures_util::future::join_all(others).await;
        use_all(&Client::modern(gateway.address(), "/mcp"), modern).await;
        legacy.end().await;
        if modern {
            begin_task(&gateway).await;
        }
        gateway.stop().await;
        let all = seen(&server).await;
        holds_for_all(&all);
        let traced =
            all.iter().filter(|one| one.message["params"]["_meta"]["traceparent"].is_string()).count();
        assert!(traced >= 10, "{traced} requests have their trace context");
        if modern {
            holds_for_modern(&all);
        } else {
            holds_for_legacy(&all);
        }
    }
}

#[tokio::test]
async fn round_towards_a_modern_server_has_another_id_and_goes_with_its_own_request_only() {
    let server = http_script(&format!("{ANSWERS}{RECORDING}modern = True\n")).await;
    let gateway = Gateway::start(&http("seen", server.port)).await;
    let able = r#"{"elicitation":{},"sampling":{},"roots":{}}"#;
    let client = Client::legacy_with(gateway.address(), "/mcp", able).await;
    let [session, version] = client.session_headers();
    let headers = [
        session,
        version,
        ("accept", "text/event-stream, application/json"),
        ("content-type", "application/json"),
    ];
    let call = r#"{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"ask","arguments":{}}}"#;
    let mut stream = open(gateway.address(), Method::POST, "/mcp", &headers, call).await.into_body();
    let text = wait(&mut stream, &["elicitation/create", "\n\n"]).await;
    let question =
        text.lines().find_map(|line| line.strip_prefix("data:").filter(|data| data.contains("Who?")));
    let question: Value = serde_json::from_str(question.expect("a question")).expect("JSON");
    // In parallel, and of no concern to it.
    client.call("one", "{}").await.text();
    let answer =
        json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept", "content": {} } });
    assert_eq!(client.post("", "", &answer.to_string()).await.status, 202);
    wait(&mut stream, &["\"c\"", "fine"]).await;
    gateway.stop().await;
    let all = seen(&server).await;
    let calls: Vec<_> = all.iter().filter(|one| one.rpc() == "tools/call").collect();
    let (own, others): (Vec<_>, Vec<_>) =
        calls.into_iter().partition(|one| one.message["params"]["name"] == "ask");
    let [first, retry] = own[..] else { panic!("{} requests", own.len()) };
    assert_ne!(first.message["id"], retry.message["id"]);
    let params = [&first.message["params"], &retry.message["params"]];
    assert_eq!(params[1]["requestState"], "s\u{e9} 1");
    assert_eq!(params[1]["inputResponses"], json!({ "who": { "action": "accept", "content": {} } }));
    for one in others.iter().map(|one| &one.message["params"]).chain([params[0]]) {
        assert!(one.get("requestState").is_none() && one.get("inputResponses").is_none(), "{one}");
    }
    for one in [first, retry] {
        for capability in ["elicitation", "sampling", "roots"] {
            assert!(one.meta("clientCapabilities")[capability].is_object(), "{}", one.message);
        }
    }
}

/// A stdio server that writes what it gets to a file, asks after itself once, and notes how it is ended.
const RECORDING_STDIO: &str = r#"
import signal
def note(line):
    with open("FILE", "a") as file: file.write(line.rstrip("\n") + "\n")
signal.signal(signal.SIGTERM, lambda *_: (note('"terminated"'), os._exit(0)))
class Reader:
    def __init__(self, lines): self.lines = lines
    def __iter__(self):
        for line in self.lines:
            note(line)
            yield line
        note('"end of input"')
sys.stdin = Reader(sys.stdin)
def handle(message):
    if "method" not in message: return True
    result = known(message)
    if result is not None: reply(message, {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **result})
    return result is not None
def call(message, name):
    if not modern: send({"id": "asked", "method": "ping"})
    return "fine"
"#;

/// The messages that such servers got: one process after the other, each from its first to its last.
fn lines(file: &tempfile::NamedTempFile) -> Vec<Value> {
    let text = std::fs::read_to_string(file.path()).expect("lines");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON, one message a line")).collect()
}

/// Has the only process of a server of an era used by a client, and returns what it got.
async fn used_over_stdio(modern: bool) -> Vec<Value> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    let era = if modern { "modern = True" } else { "" };
    let script = Script::new(&format!("{ANSWERS}{}{era}\n", RECORDING_STDIO.replace("FILE", path)));
    let gateway = Gateway::start(&(script.upstream("seen") + "sharing = \"shared\"\n")).await;
    let client = if modern {
        Client::modern(gateway.address(), "/mcp")
    } else {
        Client::legacy(gateway.address(), "/mcp").await
    };
    use_all(&client, modern).await;
    gateway.stop().await;
    lines(&file)
}

#[tokio::test]
async fn lines_to_stdio_servers_of_each_era_are_messages_in_their_order() {
    for modern in [false, true] {
        let got = used_over_stdio(modern).await;
        assert_eq!(got[0]["method"], "server/discover", "the era is asked for first");
        // Its input ends first; no signal precedes it.
        assert_eq!(got.last(), Some(&json!("end of input")), "{modern}");
        let messages = &got[..got.len() - 1];
        let mut ids = Vec::new();
        for message in messages {
            assert!(message.is_object() && message["jsonrpc"] == "2.0", "{message}");
            let (id, method) = (message.get("id"), message["method"].as_str());
            match (id, method) {
                (Some(id), Some(_)) => {
                    assert!((id.is_i64() || id.is_string()) && !ids.contains(id), "{message}");
                    ids.push(id.clone());
                }
                (None, Some(method)) => assert!(method.starts_with("notifications/"), "{message}"),
                (Some(id), None) => {
                    assert!(!modern && id == "asked" && message["result"] == json!({}), "{message}");
                }
                (None, None) => panic!("{message}"),
            }
            let meta = &message["params"]["_meta"];
            if modern && id.is_some() {
                assert_eq!(meta[format!("{META}protocolVersion")], "2026-07-28", "{message}");
                assert!(meta[format!("{META}clientCapabilities")].is_object(), "{message}");
                assert!(meta[format!("{META}clientInfo")]["name"].is_string(), "{message}");
            }
        }
        if !modern {
            let methods: Vec<_> = messages.iter().filter_map(|message| message["method"].as_str()).collect();
            assert_eq!(methods[1..3], ["initialize", "notifications/initialized"], "{methods:?}");
            assert!(messages.iter().any(|message| message["id"] == "asked"), "its ping is answered");
        }
    }
}

#[tokio::test]
async fn capabilities_and_roots_of_a_client_reach_its_own_process() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    let script = Script::new(&format!("{ANSWERS}{}", RECORDING_STDIO.replace("FILE", path)));
    let gateway = Gateway::start(&(script.upstream("seen") + "sharing = \"per-session\"\n")).await;
    let able = json!({ "roots": { "listChanged": true }, "sampling": {}, "elicitation": {} });
    let client = Client::legacy_with(gateway.address(), "/mcp", &able.to_string()).await;
    client.call("one", "{}").await.text();
    let told = client.post("", "", r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#).await;
    assert_eq!(told.status, 202);
    client.call("one", "{}").await.text();
    client.end().await;
    gateway.stop().await;
    let got = lines(&file);
    let of = |method: &str| got.iter().filter(|message| message["method"] == method).collect::<Vec<_>>();
    assert!(of("initialize").iter().any(|hello| hello["params"]["capabilities"] == able), "{got:?}");
    assert_eq!(of("notifications/roots/list_changed").len(), 1, "{got:?}");
}

#[tokio::test]
async fn legacy_server_is_known_by_any_error_and_its_era_is_remembered() {
    let codes = [-32601, -32602, -32600, -32000, -32700, 1, 404];
    let scripts = codes.map(|code| {
        let lines = format!(
            r#"
asked = []
def handle(message):
    if message["method"] != "server/discover": return False
    asked.append(1)
    refuse(message, {code})
    return True
def call(message, name): return str(len(asked))
"#
        );
        Script::new(&lines)
    });
    let upstreams = scripts.iter().enumerate().map(|(place, script)| script.upstream(&format!("u{place}")));
    let gateway = Gateway::start(&upstreams.collect::<Vec<_>>().concat()).await;
    for (place, code) in codes.into_iter().enumerate() {
        let client = Client::legacy(gateway.address(), &format!("/mcp/u{place}")).await;
        for _ in 0..2 {
            assert_eq!(client.call("one", "{}").await.text(), "1", "{code}: asked once");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn pages_of_a_server_are_read_to_the_end_by_the_cursors_that_it_gives() {
    // The cursors that lead on, and the sizes of pages; an empty cursor is one.
    let lines = r#"
pages = {None: (["a"], "x \u00fc/?"), "x \u00fc/?": ([], ""), "": (["b", "c", "d"], "0"), "0": (["e"], None)}
def handle(message):
    if message["method"] != "tools/list": return False
    names, following = pages[(message.get("params") or {}).get("cursor")]
    listed = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    reply(message, {"tools": listed, "resultType": "complete", **({"nextCursor": following} if following is not None else {})})
    return True
"#;
    let (paged, other) = (Script::new(lines), Script::new(""));
    let gateway = Gateway::start(&(paged.upstream("p") + &other.upstream("q"))).await;
    for client in [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
    {
        assert_eq!(client.tools().await, ["p_a", "p_b", "p_c", "p_d", "p_e", "q_one"]);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn list_whose_cursor_becomes_invalid_is_read_from_the_beginning() {
    let lines = r#"
asked = []
def handle(message):
    if message["method"] != "tools/list": return False
    cursor = (message.get("params") or {}).get("cursor")
    asked.append(cursor)
    if cursor == "old":
        refuse(message, -32602)
        return True
    names = ["b"] if cursor == "new" else ["a"]
    listed = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    following = {} if cursor else {"nextCursor": "old" if len(asked) == 1 else "new"}
    reply(message, {"tools": listed, "resultType": "complete", **following})
    return True
"#;
    let (paged, other) = (Script::new(lines), Script::new(""));
    let gateway = Gateway::start(&(paged.upstream("p") + &other.upstream("q"))).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let whole = async { while client.tools().await != ["p_a", "p_b", "q_one"] {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), whole).await.expect("the whole list");
    gateway.stop().await;
}

#[tokio::test]
async fn stream_that_a_server_closes_before_its_answer_is_resumed_after_the_last_event() {
    let server = http_script(
        r#"
left = []
def stream(handler, text):
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(text.encode())
    handler.close_connection = True
def call(handler, message, name):
    left.append(message["id"])
    stream(handler, "id: e-1\nretry: 10\ndata:\n\n")
def get(handler):
    if handler.headers.get("Last-Event-ID") != "e-1": return False
    answer = {"jsonrpc": "2.0", "id": left.pop(), "result": {"content": [{"type": "text", "text": "resumed"}]}}
    stream(handler, "id: e-2\ndata: %s\n\n" % json.dumps(answer))
    return True
"#,
    )
    .await;
    let gateway = Gateway::start(&http("closes", server.port)).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    assert_eq!(client.call("one", "{}").await.text(), "resumed");
    gateway.stop().await;
}

/// A server that speaks no legacy revision, or none but 2025-06-18 once it has been deployed anew, and says by which revisions
/// it was asked to begin a session.
const REDEPLOYED: &str = r#"
asked = []
def unsupported(message, handler):
    error = {"code": -32022, "message": "no", "data": {"supported": ["2025-06-18", "1999"], "requested": "?"}}
    handler.answer(400, {"id": message["id"], "error": error})
    return True
def post(handler, message):
    method, params = message.get("method"), message.get("params") or {}
    if method == "initialize": asked.append(params["protocolVersion"])
    if modern: return False
    if handler.headers.get("MCP-Protocol-Version") == "2026-07-28": return unsupported(message, handler)
    if method != "initialize": return False
    if asked[-1] != "2025-06-18": return unsupported(message, handler)
    sessions.add(session := uuid.uuid4().hex)
    hello = {"protocolVersion": asked[-1], "capabilities": capabilities, "serverInfo": {"name": "s", "version": "1"}}
    handler.result(message, hello, [("Mcp-Session-Id", session)])
    return True
def call(handler, message, name):
    global modern
    if "deploy" in message["params"]["arguments"]: modern = not modern
    return json.dumps(asked)
"#;

/// The same over stdio: each process writes down by which revision it was asked.
const MODERN_ONLY: &str = r#"
modern = True
def handle(message):
    if message["method"] != "initialize": return False
    with open("FILE", "a") as file: file.write("asked\n")
    refuse(message)
    return True
"#;

/// The revisions by which such a server was asked to begin a session.
async fn asked_by(client: &Client, tool: &str, arguments: &str) -> Vec<String> {
    serde_json::from_str(&client.call(tool, arguments).await.text()).expect("JSON")
}

#[tokio::test]
async fn modern_server_is_not_asked_for_the_other_era_by_each_session_and_one_that_was_replaced_is_asked_anew()
 {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let pipes = Script::new(&MODERN_ONLY.replace("FILE", file.path().to_str().expect("UTF-8")));
    let server = http_script(&format!("{REDEPLOYED}modern = True\n")).await;
    let own = "sharing = \"per-session\"\n";
    let gateway = Gateway::start(&(http("h", server.port) + &pipes.upstream("p") + own)).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let session = Client::legacy(gateway.address(), "/mcp").await;
        session.call("p_one", "{}").await.text();
        assert_eq!(asked_by(&session, "h_one", "{}").await, [LEGACY]);
        sessions.push(session);
    }
    assert_eq!(std::fs::read_to_string(file.path()).expect("lines"), "asked\n");
    let modern = Client::modern(gateway.address(), "/mcp");
    asked_by(&modern, "h_one", r#"{"deploy":1}"#).await;
    // Both know another server. What they ask meets the new one, which speaks one of the revisions that it has named.
    let asked = asked_by(&modern, "h_one", "{}").await;
    assert_eq!(asked[1], "2025-06-18", "{asked:?}");
    for session in &sessions {
        asked_by(session, "h_one", "{}").await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn revision_that_a_server_names_instead_of_ours_is_taken() {
    let server = http_script(REDEPLOYED).await;
    let lines = r#"
asked = []
def handle(message):
    if message["method"] == "initialize": asked.append(message["params"]["protocolVersion"])
    if message["method"] != "server/discover": return False
    data = {"supported": ["1999", "2025-03-26", "2025-06-18"], "requested": "2026-07-28"}
    send({"id": message["id"], "error": {"code": -32022, "message": "no", "data": data}})
    return True
def call(message, name): return json.dumps(asked)
"#;
    let script = Script::new(lines);
    let gateway = Gateway::start(&(http("h", server.port) + &script.upstream("p"))).await;
    for client in [Client::modern(gateway.address(), "/mcp"), Client::legacy(gateway.address(), "/mcp").await]
    {
        for tool in ["h_one", "p_one"] {
            let asked = asked_by(&client, tool, "{}").await;
            assert_eq!(asked[0], "2025-06-18", "{tool}: {asked:?}");
            assert!(tool == "p_one" || asked.last().is_some_and(|last| last == "2025-06-18"), "{asked:?}");
        }
    }
    gateway.stop().await;
}
