//! What clients get, where no other suite looks at it: results, streams, cancellations, mirrored headers.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::client::{Answer, Client, LEGACY, MODERN_META, open, post, send};
use crate::following::{listen_to, wait};
use crate::gateway::Gateway;
use crate::scripted::{Script, http_script};
use crate::upstreams::{http, probe};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that has everything; of its lists it says neither their type nor how long they hold.
const EVERYTHING: &str = r#"
capabilities = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}
def answer(message):
    method, params = message["method"], message.get("params") or {}
    schema = {"type": "object"}
    return {
        "tools/list": {"tools": [{"name": "Echo", "inputSchema": schema}, {"name": "echo", "inputSchema": schema}]},
        "prompts/list": {"prompts": [{"name": "p"}]}, "prompts/get": {"messages": []},
        "resources/list": {"resources": [{"uri": "x://a", "name": "a"}]},
        "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "x://t/{a}", "name": "t"}]},
        "resources/read": {"contents": []},
        "completion/complete": {"completion": {"values": []}},
        "tools/call": {"content": [{"type": "text", "text": params.get("name", "")}]},
    }.get(method)
def handle(message):
    if message["method"] == "resources/read" and message["params"]["uri"].endswith("none"):
        refuse(message, -32002)
        return True
    result = answer(message)
    # Only of its lists a modern one says no type.
    if result and modern and not message["method"].endswith("list"): result["resultType"] = "complete"
    if result is not None: reply(message, result)
    return result is not None
"#;

/// Parameters of a modern request.
fn modern(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{{members}{comma}"_meta":{{{MODERN_META}}}}}"#)
}

/// The result of an answer.
fn result(answer: &Answer) -> Value {
    serde_json::from_str(&answer.result()).expect("JSON")
}

#[tokio::test]
async fn results_of_the_modern_era_say_their_type_their_server_and_how_long_they_hold() {
    let old = Script::new(EVERYTHING);
    let new = Script::new(&format!("{EVERYTHING}modern = True\n"));
    let gateway = Gateway::start(&(old.upstream("old") + &new.upstream("new"))).await;
    for path in ["/mcp", "/mcp/old", "/mcp/new"] {
        let client = Client::modern(gateway.address(), path);
        let prefix = if path == "/mcp" { "new_" } else { "" };
        let (tool, prompt) = (format!("{prefix}echo"), format!("{prefix}p"));
        let about = format!(
            r#""ref":{{"type":"ref/prompt","name":"{prompt}"}},"argument":{{"name":"a","value":""}}"#
        );
        for (method, name, members, cacheable) in [
            ("server/discover", "", String::new(), true),
            ("tools/list", "", String::new(), true),
            ("prompts/list", "", String::new(), true),
            ("resources/list", "", String::new(), true),
            ("resources/templates/list", "", String::new(), true),
            ("resources/read", "x://a", r#""uri":"x://a""#.to_owned(), true),
            ("tools/call", &tool, format!(r#""name":"{tool}","arguments":{{}}"#), false),
            ("prompts/get", &prompt, format!(r#""name":"{prompt}""#), false),
            ("completion/complete", "", about, false),
        ] {
            let answer = client.request("1", method, name, &modern(&members)).await;
            let result = result(&answer);
            // Its own endpoint shows a list as the server has written it.
            if path != "/mcp/new" || !method.ends_with("list") {
                assert_eq!(result["resultType"], "complete", "{path} {method}: {result}");
            }
            // Where one server answers, its name is its own to say; what the gateway makes names the gateway.
            if path == "/mcp" && (cacheable && method != "resources/read") {
                let server = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
                assert!(server["name"].is_string() && server["version"].is_string(), "{method}: {result}");
            }
            if cacheable && path != "/mcp/new" {
                assert!(result["ttlMs"].as_u64().is_some(), "{path} {method}: {result}");
                assert!(
                    ["public", "private"].map(Value::from).contains(&result["cacheScope"]),
                    "{path} {method}: {result}"
                );
            }
        }
        let discovered = result(&client.request("1", "server/discover", "", &modern("")).await);
        for capability in ["tools", "prompts", "resources", "completions"] {
            assert!(discovered["capabilities"][capability].is_object(), "{path}: {discovered}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn pages_of_a_list_have_one_scope() {
    let many = Script::new(r#"tools = ["t%d" % number for number in range(1500)]"#);
    let other = Script::new("");
    let gateway = Gateway::start(&(many.upstream("many") + &other.upstream("other"))).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let first = result(&client.request("1", "tools/list", "", &modern("")).await);
    let cursor = format!(r#""cursor":{}"#, first["nextCursor"]);
    let second = result(&client.request("1", "tools/list", "", &modern(&cursor)).await);
    assert_eq!(first["cacheScope"], second["cacheScope"]);
    gateway.stop().await;
}

#[tokio::test]
async fn what_nobody_has_is_refused_with_the_code_of_the_clients_era() {
    let old = Script::new(EVERYTHING);
    let other = Script::new("");
    let gateway = Gateway::start(&(old.upstream("old") + &other.upstream("other"))).await;
    let about = r#""ref":{"type":"ref/prompt","name":"none"},"argument":{"name":"a","value":""}"#;
    for (path, merged) in [("/mcp", true), ("/mcp/old", false)] {
        for client in [Client::legacy(gateway.address(), path).await, Client::modern(gateway.address(), path)]
        {
            let is_modern = matches!(client.era, crate::client::Era::Modern);
            let error = async |method: &str, name: &str, members: &str| {
                let params = if is_modern { modern(members) } else { format!("{{{members}}}") };
                client.request("1", method, name, &params).await.error().0
            };
            if merged {
                assert_eq!(error("prompts/get", "none", r#""name":"none""#).await, -32602);
                assert_eq!(
                    error("tools/call", "OLD_echo", r#""name":"OLD_echo""#).await,
                    -32602,
                    "names have case"
                );
                assert_eq!(error("completion/complete", "", about).await, -32602);
            }
            // The server says -32002 in either case.
            let code = if is_modern { -32602 } else { -32002 };
            assert_eq!(error("resources/read", "x://t/none", r#""uri":"x://t/none""#).await, code, "{path}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn refusals_of_the_modern_era_carry_what_a_client_needs_to_go_on() {
    let gateway = Gateway::start(&probe("probe", &["--era", "modern", "--tasks"])).await;
    let future = MODERN_META.replace("2026-07-28", "2099-01-01");
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{{future}}}}}}}"#);
    let headers = [("mcp-protocol-version", "2099-01-01"), ("mcp-method", "tools/list")];
    let answer = post(gateway.address(), "/mcp", &headers, &body).await;
    let error: Value = serde_json::from_str(&answer.raw_error()).expect("JSON");
    assert_eq!((answer.status, &error["code"]), (StatusCode::BAD_REQUEST, &json!(-32022)));
    assert_eq!(error["data"], json!({ "supported": ["2026-07-28"], "requested": "2099-01-01" }));
    let client = Client::modern(gateway.address(), "/mcp");
    let answer = client.request("1", "tasks/get", "none", &modern(r#""taskId":"none""#)).await;
    let error: Value = serde_json::from_str(&answer.raw_error()).expect("JSON");
    assert_eq!((answer.status, &error["code"]), (StatusCode::BAD_REQUEST, &json!(-32021)));
    let lacking = &error["data"]["requiredCapabilities"]["extensions"];
    assert!(lacking["io.modelcontextprotocol/tasks"].is_object(), "{error}");
    gateway.stop().await;
}

#[tokio::test]
async fn notifications_and_responses_are_accepted_without_a_body() {
    let gateway = Gateway::start(&probe("probe", &["--era", "legacy"])).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/vendor/own","params":{"a":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4711}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"no such","reason":"r"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
        r#"{"jsonrpc":"2.0","id":4711,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"no such","error":{"code":1,"message":"x"}}"#,
    ] {
        let answer = client.post("", "", body).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::ACCEPTED, 0), "{body}");
    }
    client.call("echo", "{}").await.result();
    gateway.stop().await;
}

/// A stdio server whose tool `wait` is never answered in time; `told` tells which of its requests were cancelled, after which
/// each was answered all the same.
const WAITS: &str = r#"
waiting, cancelled = [], []
class Reader:
    def __init__(self, lines): self.lines = lines
    def __iter__(self):
        for line in self.lines:
            message = json.loads(line)
            if message.get("method") == "notifications/cancelled":
                cancelled.append(message["params"]["requestId"])
                for late in [it for it in waiting if it["id"] == cancelled[-1]]: reply(late, text("late"))
            yield line
sys.stdin = Reader(sys.stdin)
def call(message, name):
    if name == "told": return json.dumps([it["id"] in cancelled for it in waiting])
    waiting.append(message)
    return None
"#;

/// Waits until the server of [`WAITS`] says this.
async fn tells(client: &Client, wanted: &str) {
    let told = async {
        while client.request("\"t\"", "tools/call", "told", &told_params(client)).await.text() != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("not {wanted}"));
}

/// The parameters of a call of `told`.
fn told_params(client: &Client) -> String {
    let members = r#""name":"told","arguments":{}"#;
    if matches!(client.era, crate::client::Era::Modern) { modern(members) } else { format!("{{{members}}}") }
}

/// The same over HTTP.
const WAITS_HTTP: &str = r#"
waiting, cancelled, ended = [], [], threading.Event()
def post(handler, message):
    if message.get("method") == "notifications/cancelled":
        cancelled.append(message["params"]["requestId"])
        ended.set()
    return False
def call(handler, message, name):
    if name == "told": return json.dumps([it["id"] in cancelled for it in waiting])
    waiting.append(message)
    ended.wait()
    return "late"
"#;

/// Calls `wait`, cancels that, and waits until the server has been told.
async fn cancels(client: &Client) {
    let is_modern = matches!(client.era, crate::client::Era::Modern);
    let waits = client.clone();
    let params = if is_modern { modern(r#""name":"wait""#) } else { r#"{"name":"wait"}"#.to_owned() };
    let waiting = tokio::spawn(async move { waits.request("7", "tools/call", "wait", &params).await });
    tells(client, if waiting.is_finished() { "" } else { "[false]" }).await;
    if is_modern {
        // The connection is closed.
        waiting.abort();
    } else {
        let cancel =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"r"}}"#;
        assert_eq!(client.post("", "", cancel).await.status, StatusCode::ACCEPTED);
        let answer = waiting.await.expect("no panic");
        assert!(answer.messages().is_empty(), "{answer:?}");
    }
    tells(client, "[true]").await;
}

#[tokio::test]
async fn cancellation_of_either_era_reaches_the_server_by_its_own_id_and_a_late_answer_nobody() {
    for era in ["", "modern = True\n"] {
        let script = Script::new(&format!("{WAITS}{era}"));
        let gateway = Gateway::start(&(script.upstream("waits") + "sharing = \"shared\"\n")).await;
        cancels(&Client::legacy(gateway.address(), "/mcp").await).await;
        // Each era has a process of its own where the server speaks both.
        if !era.is_empty() {
            cancels(&Client::modern(gateway.address(), "/mcp")).await;
        }
        gateway.stop().await;
    }
    let server = http_script(WAITS_HTTP).await;
    let gateway = Gateway::start(&http("waits", server.port)).await;
    cancels(&Client::legacy(gateway.address(), "/mcp").await).await;
    gateway.stop().await;
}

#[tokio::test]
async fn progress_does_not_make_a_call_longer_than_its_limit_and_its_server_is_told_of_the_end() {
    let script = Script::new(&format!(
        r#"{WAITS}
held = call
def call(message, name):
    def work():
        token = message["params"]["_meta"]["progressToken"]
        while message["id"] not in cancelled:
            send({{"method": "notifications/progress", "params": {{"progressToken": token, "progress": time.time()}}}})
            time.sleep(0.05)
    if name == "wait": threading.Thread(target=work, daemon=True).start()
    return held(message, name)
"#
    ));
    let lines = "request_timeout = \"1s\"\nsharing = \"shared\"\n";
    let gateway = Gateway::start(&(script.upstream("slow") + lines)).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let params = r#"{"name":"wait","_meta":{"progressToken":1}}"#;
    let answer = client.request("1", "tools/call", "wait", params).await;
    assert!(answer.messages().len() > 1, "there was progress: {answer:?}");
    assert!(answer.error().1.contains("`slow`"), "{answer:?}");
    tells(&client, "[true]").await;
    gateway.stop().await;
}

#[tokio::test]
async fn stream_of_changes_begins_with_its_acknowledgement_and_ends_with_a_result() {
    let script = Script::new(
        r#"
capabilities = {"tools": {"listChanged": True}, "prompts": {"listChanged": True}}
def handle(message):
    if message["method"] != "prompts/list": return False
    reply(message, {"prompts": [{"name": name} for name in tools]})
    return True
def call(message, name):
    tools.append("more")
    for kind in ("prompts", "tools"): send({"method": "notifications/%s/list_changed" % kind})
    return "told"
"#,
    );
    let gateway = Gateway::start(&(script.upstream("tells") + "sharing = \"shared\"\n")).await;
    let mut stream = listen_to(&gateway, r#"{"toolsListChanged":true}"#).await;
    let first = wait(&mut stream, &["\n\n"]).await;
    Client::legacy(gateway.address(), "/mcp").await.call("one", "{}").await.text();
    let then = wait(&mut stream, &["tools/list_changed", "\n\n"]).await;
    nix::sys::signal::kill(gateway.pid(), nix::sys::signal::Signal::SIGTERM).expect("it runs");
    let rest = tokio::time::timeout(PATIENCE, stream.collect()).await.expect("it ends").expect("in order");
    let text = first + &then + std::str::from_utf8(&rest.to_bytes()).expect("UTF-8");
    let messages = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    let messages: Vec<Value> = messages
        .filter(|data| !data.is_empty())
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    assert_eq!(messages[0]["method"], "notifications/subscriptions/acknowledged", "{text}");
    assert_eq!(messages[0]["params"]["notifications"], json!({ "toolsListChanged": true }));
    let (last, told) = messages.split_last().expect("some");
    for message in told {
        assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "l", "{message}");
        assert_ne!(message["method"], "notifications/prompts/list_changed", "nobody has asked for it");
    }
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!("l"), &json!("complete")), "{text}");
    assert_eq!(last["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "l", "{text}");
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn message_is_told_on_one_stream_and_answers_on_that_of_their_request() {
    let gateway = Gateway::start(&probe("probe", &["--era", "legacy", "--resources"])).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let mut own = client.stream().await.into_body();
    client.request("1", "resources/subscribe", "", r#"{"uri":"probe://watched"}"#).await.result();
    let params = r#"{"name":"progress","arguments":{"count":3,"call":1},"_meta":{"progressToken":1}}"#;
    let answer = client.request("2", "tools/call", "progress", params).await;
    assert_eq!(answer.messages().len(), 4, "{answer:?}");
    assert_eq!(answer.headers["x-accel-buffering"], "no");
    let touched = client.call("touch", "{}").await;
    assert_eq!(touched.messages().len(), 1, "the update is not on this stream: {touched:?}");
    let text = wait(&mut own, &["notifications/resources/updated", "\n\n"]).await;
    assert!(!text.contains("notifications/progress") && !text.contains("\"result\""), "{text}");
    let first = text.lines().find_map(|line| line.strip_prefix("id:")).expect("an id").trim();
    drop(own);
    // Nor is anything of a request replayed on the session's own stream.
    let [session, version] = client.session_headers();
    let headers = [session, version, ("accept", "text/event-stream"), ("last-event-id", first)];
    let mut again = open(gateway.address(), Method::GET, "/mcp", &headers, "").await.into_body();
    let text = wait(&mut again, &["notifications/resources/updated", "\n\n"]).await;
    assert!(!text.contains("notifications/progress") && !text.contains("\"result\""), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn sessions_have_ids_that_nobody_can_guess_and_need_no_version_header() {
    let gateway = Gateway::start("").await;
    let mut ids = Vec::new();
    for _ in 0..16 {
        let client = Client::legacy(gateway.address(), "/mcp").await;
        let id = client.session_headers()[0].1.to_owned();
        assert!(id.len() >= 32 && id.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{id}");
        ids.push(id);
    }
    let prefixes: std::collections::BTreeSet<_> = ids.iter().map(|id| &id[..12]).collect();
    assert_eq!(prefixes.len(), ids.len(), "{ids:?}");
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let bare = post(gateway.address(), "/mcp", &[("mcp-session-id", &ids[0])], ping).await;
    assert_eq!(bare.result(), "{}");
    let ended = send(gateway.address(), Method::DELETE, "/mcp", &[("mcp-session-id", &ids[0])], "").await;
    assert!(ended.status.is_success(), "{LEGACY}: {ended:?}");
    gateway.stop().await;
}

/// A call's arguments, the headers beside them, and whether that is accepted.
type Mirrors = (&'static str, &'static [(&'static str, &'static str)], bool);

/// What headers may say of arguments, and what not.
const MIRRORED: [Mirrors; 14] = [
    (r#"{"region":"eu","level":42}"#, &[("mcp-param-region", "eu"), ("mcp-param-level", "42")], true),
    (r#"{"region":"eu","level":42}"#, &[("MCP-PARAM-Region", "eu"), ("Mcp-Param-LEVEL", "42.0")], true),
    (r#"{"region":"\u00e9"}"#, &[("mcp-param-region", "=?base64?w6k=?=")], true),
    (r#"{"region":"eu"}"#, &[("mcp-param-region", "=?base64?ZXU=?=")], true),
    (r#"{"region":null}"#, &[], true),
    ("{}", &[], true),
    (r#"{"region":"eu"}"#, &[], false),
    (r#"{"region":"eu"}"#, &[("mcp-param-region", "EU")], false),
    (r#"{"region":"eu"}"#, &[("mcp-param-region", "us")], false),
    (r#"{"region":"eu"}"#, &[("mcp-param-region", "=?base64?%%?=")], false),
    (r#"{"region":"eu"}"#, &[("mcp-param-region", "\u{e9}u")], false),
    (r#"{"region":null}"#, &[("mcp-param-region", "eu")], false),
    ("{}", &[("mcp-param-region", "eu")], false),
    (r#"{"level":42}"#, &[("mcp-param-level", "43")], false),
];

#[tokio::test]
async fn headers_that_mirror_arguments_and_names_match_the_body_after_decoding() {
    let server = http_script(
        r#"
modern = True
def post(handler, message):
    if message.get("method") != "tools/list": return False
    region, level = {"type": "string", "x-mcp-header": "Region"}, {"type": "integer", "x-mcp-header": "Level"}
    schema = {"type": "object", "properties": {"region": region, "level": level}}
    handler.result(message, {"tools": [{"name": "b\u00e9", "inputSchema": schema}]})
    return True
"#,
    )
    .await;
    let gateway = Gateway::start(&http("mirrors", server.port)).await;
    let name = "=?base64?YsOp?=";
    let call = async |name: &str, arguments: &str, more: &[(&str, &str)]| {
        let params = modern(&format!("\"name\":\"b\u{e9}\",\"arguments\":{arguments}"));
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let own = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", name)];
        post(gateway.address(), "/mcp", &[&own[..], more].concat(), &body).await
    };
    for (arguments, headers, accepted) in MIRRORED {
        let answer = call(name, arguments, headers).await;
        if accepted {
            assert_eq!(answer.text(), "fine", "{arguments} {headers:?}");
        } else {
            assert_eq!((answer.status.as_u16(), answer.error().0), (400, -32020), "{arguments} {headers:?}");
        }
    }
    for name in ["be", "=?base64?YsOq?=", "=?BASE64?YsOp?=", "=?base64?%%?="] {
        let answer = call(name, "{}", &[]).await;
        assert_eq!((answer.status.as_u16(), answer.error().0), (400, -32020), "{name}");
    }
    gateway.stop().await;
}
