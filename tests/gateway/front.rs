//! The HTTP front to the letter of the specification, at `/mcp` and at `/mcp/NAME`, in both eras.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Answer, Client, LEGACY, MODERN_META, open, post, send};
use crate::following::wait;
use crate::gateway::{Gateway, HttpUpstream, write};
use crate::scripted::{Script, http_script};
use crate::upstreams::{Gate, http, probe};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The endpoints of a gateway with nothing but its built-in upstream.
const ENDPOINTS: [&str; 2] = ["/mcp", "/mcp/mcpeg"];

/// The status and the code of an error; of a result, 0.
fn verdict(answer: &Answer) -> (u16, i64) {
    let reply: Value = serde_json::from_str(&answer.reply()).expect("JSON");
    (answer.status.as_u16(), reply["error"]["code"].as_i64().unwrap_or_default())
}

/// A modern request with these parameters beside `_meta`, and these members in that.
async fn modern(
    (address, path): (&str, &str),
    (id, method): (&str, &str),
    (params, meta): (&str, &str),
    name: Option<&str>,
) -> Answer {
    let params = format!(r#"{{{params}"_meta":{{{meta}{MODERN_META}}}}}"#);
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
    let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    headers.extend(name.map(|name| ("mcp-name", name)));
    post(address, path, &headers, &body).await
}

#[tokio::test]
async fn header_of_a_name_that_the_body_has_not_is_refused() {
    let gateway = Gateway::start("").await;
    for path in ENDPOINTS {
        for (method, params) in [
            ("tools/call", r#""arguments":{},"#),
            ("tools/call", r#""name":7,"arguments":{},"#),
            ("tools/call", r#""uri":"ghost","#),
            ("prompts/get", ""),
            ("resources/read", r#""name":"ghost","#),
            ("tasks/get", ""),
            ("tools/list", ""),
            ("resources/templates/list", ""),
            ("completion/complete", r#""ref":{"type":"ref/prompt","name":"ghost"},"#),
            ("server/discover", ""),
            ("subscriptions/listen", r#""notifications":{},"#),
        ] {
            let answer = modern((gateway.address(), path), ("1", method), (params, ""), Some("ghost")).await;
            assert_eq!(verdict(&answer), (400, -32020), "{path} {method} {params}");
        }
        // What an extension mirrors is its own matter.
        let answer = modern((gateway.address(), path), ("1", "vendor/do"), ("", ""), Some("ghost")).await;
        assert_eq!(verdict(&answer), (404, -32601), "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn members_of_the_metadata_that_are_not_what_they_must_be_are_refused() {
    let gateway = Gateway::start("").await;
    for path in ENDPOINTS {
        for (method, params) in [
            ("tools/list", ""),
            ("tools/call", r#""name":"status","arguments":{},"#),
            ("server/discover", ""),
        ] {
            let name = (method == "tools/call").then_some("status");
            let place = (gateway.address(), path);
            for (member, wrong, right) in [
                ("io.modelcontextprotocol/logLevel", &[r#""loud""#, "7", "null", "{}"][..], r#""notice""#),
                (
                    "io.modelcontextprotocol/clientInfo",
                    &[r#""x""#, "[]", "null"],
                    r#"{"name":"a","version":"1"}"#,
                ),
                ("progressToken", &["true", "null", "{}", "[]", "1.5"], "7"),
            ] {
                for wrong in wrong {
                    let meta = format!(r#""{member}":{wrong},"#);
                    let answer = modern(place, ("1", method), (params, &meta), name).await;
                    assert_eq!(verdict(&answer), (400, -32602), "{path} {method} {meta}");
                }
                let meta = format!(r#""{member}":{right},"#);
                let answer = modern(place, ("1", method), (params, &meta), name).await;
                let code = if method == "tools/call" { verdict(&answer).1 } else { 0 };
                assert_eq!(verdict(&answer), (200, code), "{path} {method} {meta}");
            }
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn identifiers_with_a_fraction_are_refused_in_both_eras() {
    let gateway = Gateway::start("").await;
    for path in ENDPOINTS {
        let client = Client::legacy(gateway.address(), path).await;
        for (id, valid) in [
            ("1.5", false),
            ("-0.5", false),
            ("1e-1", false),
            ("1e999", false),
            ("7", true),
            ("-7", true),
            ("1.0", true),
            (r#""1.5""#, true),
        ] {
            let expected = if valid { (200, 0) } else { (400, -32600) };
            let answer = modern((gateway.address(), path), (id, "tools/list"), ("", ""), None).await;
            assert_eq!(verdict(&answer), expected, "{path} {id}");
            assert_eq!(verdict(&client.request(id, "ping", "", "{}").await), expected, "{path} {id}");
        }
    }
    gateway.stop().await;
}

/// A legacy handshake that asks for this revision.
fn initialize(version: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"raw","version":"1"}}}}}}"#
    )
}

#[tokio::test]
async fn revisions_that_nobody_knows_are_never_used() {
    let gateway = Gateway::start_with("legacy_sse = true", "", &[]).await;
    let (address, accept) = (gateway.address(), ("accept", "text/event-stream"));
    for path in ENDPOINTS {
        let answer = post(address, path, &[], &initialize("2099-12-31")).await;
        let result: Value = serde_json::from_str(&answer.result()).expect("JSON");
        assert_eq!(result["protocolVersion"], LEGACY, "the newest that is known");
        let session = answer.headers["mcp-session-id"].to_str().expect("ASCII");
        for version in ["1999-01-01", "2099-12-31", "2025-11-25x", "2025", ""] {
            let version = ("mcp-protocol-version", version);
            let body = initialize(LEGACY);
            assert_eq!(post(address, path, &[version], &body).await.status, 400, "{path} {version:?}");
            let ping = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
            let headers = [version, ("mcp-session-id", session)];
            assert_eq!(post(address, path, &headers, ping).await.status, 400, "{path} {version:?}");
            let headers = [version, ("mcp-session-id", session), accept];
            for method in [Method::GET, Method::DELETE] {
                assert_eq!(send(address, method, path, &headers, "").await.status, 400, "{path} {version:?}");
            }
            let beside = post(address, "/message?sessionId=x", &[version], &body).await;
            assert_eq!(beside.status, 400, "{version:?}");
        }
        for version in ["2024-11-05", "2025-03-26", "2025-06-18", LEGACY] {
            let header = ("mcp-protocol-version", version);
            assert_eq!(post(address, path, &[header], &initialize(version)).await.status, 200, "{version}");
        }
        // What a request of the modern era says of itself.
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{{}}}}}}}"#,
            MODERN_META.replace("2026-07-28", "2099-12-31")
        );
        let headers = [("mcp-protocol-version", "2099-12-31"), ("mcp-method", "tools/list")];
        let answer = post(address, path, &headers, &body).await;
        assert_eq!(verdict(&answer), (400, -32022), "{path}");
        assert!(answer.raw_error().contains(r#""supported":["2026-07-28"]"#), "{answer:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn session_is_known_at_its_own_endpoint_only() {
    let gateway = Gateway::start(&probe("other", &[])).await;
    let address = gateway.address();
    let endpoints = ["/mcp", "/mcp/mcpeg", "/mcp/other"];
    for own in endpoints {
        let client = Client::legacy(address, own).await;
        let headers = client.session_headers();
        let ping = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
        for other in endpoints.into_iter().filter(|other| *other != own) {
            assert_eq!(post(address, other, &headers, ping).await.status, 404, "{own} {other}");
            let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
            assert_eq!(post(address, other, &headers, note).await.status, 404, "{own} {other}");
            let stream = [headers[0], headers[1], ("accept", "text/event-stream")];
            assert_eq!(send(address, Method::GET, other, &stream, "").await.status, 404, "{own} {other}");
            assert_eq!(send(address, Method::DELETE, other, &headers, "").await.status, 404, "{own} {other}");
        }
        assert_eq!(post(address, own, &headers, ping).await.status, 200, "{own}");
        assert_eq!(post(address, &format!("{own}/"), &headers, ping).await.status, 200, "{own}");
        client.end().await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn stream_is_opened_for_clients_that_accept_one() {
    let gateway = Gateway::start_with("legacy_sse = true", "", &[]).await;
    let address = gateway.address();
    let client = Client::legacy(address, "/mcp").await;
    for path in ["/mcp", "/sse", "/sse/mcpeg"] {
        for (accept, status) in [
            ("application/json", 406),
            ("text/html, application/json", 406),
            ("text/event-stream", 200),
            ("application/json, text/event-stream", 200),
            ("*/*", 200),
            ("text/*;q=0.5", 200),
        ] {
            let [id, version] = client.session_headers();
            let answer = open(address, Method::GET, path, &[id, version, ("accept", accept)], "").await;
            assert_eq!(answer.status(), status, "{path} {accept}");
        }
        let answer = open(address, Method::GET, path, &client.session_headers(), "").await;
        assert_eq!(answer.status(), 200, "{path}: a client that says nothing accepts everything");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn places_that_are_named_are_those_that_there_are() {
    for (server, there) in [("legacy_sse = true", true), ("legacy_sse = false", false)] {
        let gateway = Gateway::start_with(server, "", &[]).await;
        let (address, json) = (gateway.address(), [("content-type", "application/json")]);
        for (method, path) in
            [(Method::GET, "/"), (Method::GET, "/nothing"), (Method::POST, "/nothing"), (Method::POST, "/")]
        {
            let answer = send(address, method.clone(), path, &json, "{}").await;
            let text = String::from_utf8_lossy(&answer.body);
            let named = ["/mcp", "/mcp/NAME", "/health"].iter().all(|place| text.contains(place));
            assert!(named, "{method} {path}: {text}");
            assert_eq!(text.contains("/sse and /sse/NAME"), there, "{method} {path}: {text}");
        }
        gateway.stop().await;
    }
}

/// The places of messages in their session, in the identifiers of events: whatever stream brings them, these are theirs.
fn places(text: &str) -> Vec<&str> {
    ids(text).into_iter().filter_map(|id| Some(id.rsplit_once('-')?.1)).collect()
}

/// The identifiers of the events in the text of a stream.
fn ids(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("id:")).map(str::trim).collect()
}

#[tokio::test]
async fn streams_of_a_session_have_identifiers_of_their_own_and_share_no_message() {
    let upstreams = probe("probe", &["--era", "legacy", "--resources"]) + &probe("other", &[]);
    let gateway = Gateway::start(&upstreams).await;
    for path in ["/mcp", "/mcp/probe"] {
        let client = Client::legacy(gateway.address(), path).await;
        let touch = if path == "/mcp" { "probe_touch" } else { "touch" };
        let (updated, uri) = ("notifications/resources/updated", r#"{"uri":"probe://watched"}"#);
        client.request("1", "resources/subscribe", "", uri).await.result();
        let [session, version] = client.session_headers();
        let resume = async |last: &str| {
            let headers = [session, version, ("accept", "text/event-stream"), ("last-event-id", last)];
            open(gateway.address(), Method::GET, path, &headers, "").await.into_body()
        };
        let mut first = client.stream().await.into_body();
        let began = wait(&mut first, &["id:", "\n\n"]).await;
        let mut second = client.stream().await.into_body();
        let later = wait(&mut second, &["id:", "\n\n"]).await;
        assert_ne!(ids(&began), ids(&later), "{path}");
        client.call(touch, "{}").await.text();
        let told = wait(&mut second, &[updated, "\n\n"]).await;
        // The first one goes on, and has what comes when the second one has gone: what this is was not told before.
        drop(second);
        let rest = async {
            let wanted = [updated, "\n\n"];
            let mut told = std::pin::pin!(wait(&mut first, &wanted));
            loop {
                tokio::select! {
                    told = &mut told => return told,
                    // The end of the other one is noticed a moment later.
                    _ = client.call(touch, "{}") => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let rest = tokio::time::timeout(PATIENCE, rest).await.expect("the first one goes on");
        assert!(places(&rest).iter().all(|place| !places(&told).contains(place)), "{path}: {told} {rest}");
        // Each comes back for what it has had, and has nothing of the other one's.
        let mut second = resume(ids(&later)[0]).await;
        let again = wait(&mut second, &[ids(&told)[0]]).await;
        assert!(places(&rest).iter().all(|place| !places(&again).contains(place)), "{path}: {again} {rest}");
        let mut first = resume(ids(&began)[0]).await;
        let again = wait(&mut first, &[ids(&rest)[0]]).await;
        assert!(places(&told).iter().all(|place| !places(&again).contains(place)), "{path}: {again} {told}");
    }
    gateway.stop().await;
}

/// A client that has called its request off while the server works on it; what its POST is answered with.
async fn called_off((gateway, gate): (&Gateway, &Gate), path: &str, accept: &str) -> Answer {
    let client = Client::legacy(gateway.address(), path).await;
    let tool = if path == "/mcp" { "probe_sleep" } else { "sleep" };
    let [id, version] = client.session_headers();
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"it","method":"tools/call","params":{{"name":"{tool}","arguments":{}}}}}"#,
        gate.arguments()
    );
    let headers = [id, version, ("accept", accept)];
    let waiting = post(gateway.address(), path, &headers, &body);
    let cancel = async {
        while gateway.in_flight().await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let note = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"it"}}"#;
        assert_eq!(client.post("", "", note).await.status, StatusCode::ACCEPTED);
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(waiting, cancel).0 }).await.expect("it is answered")
}

#[tokio::test]
async fn post_of_a_request_that_is_called_off_is_answered_as_one_of_a_request() {
    let (gateway, gate) =
        (Gateway::start(&(probe("probe", &[]) + &probe("other", &[]))).await, Gate::closed());
    for path in ["/mcp", "/mcp/probe"] {
        for accept in ["application/json, text/event-stream", "text/event-stream, application/json"] {
            let answer = called_off((&gateway, &gate), path, accept).await;
            assert_eq!(answer.status, 200, "{path} {accept}");
            assert_eq!(answer.headers["content-type"], "text/event-stream", "{path} {accept}");
            assert_eq!(answer.messages(), Vec::<String>::new(), "{path} {accept}");
        }
        let answer = called_off((&gateway, &gate), path, "application/json").await;
        assert_eq!(verdict(&answer), (200, -32603), "{path}");
        assert_eq!(answer.headers["content-type"], "application/json", "{path}");
    }
    gate.open();
    gateway.stop().await;
}

/// A legacy server whose tool, prompt, resource and completion fail with the code that they are asked for.
const FAILS: &str = r#"
capabilities = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}
def handle(message):
    method, params = message["method"], message.get("params", {})
    if method == "prompts/list":
        reply(message, {"prompts": [{"name": "one"}]})
    elif method == "resources/list":
        reply(message, {"resources": [{"uri": "test://" + str(n), "name": "r"} for n in range(-32099, -32000)]})
    elif method == "resources/templates/list":
        reply(message, {"resourceTemplates": []})
    elif method in ("tools/call", "prompts/get"):
        error(message, int(params["arguments"]["code"]), params["arguments"].get("data"))
    elif method == "resources/read":
        error(message, int(params["uri"][7:]))
    elif method == "completion/complete":
        error(message, int(params["argument"]["value"]))
    else:
        return False
    return True
def error(message, code, data=None):
    send({"id": message["id"], "error": {"code": code, "message": "its words", **({"data": data} if data else {})}})
"#;

/// A request that the server above fails with a code; `data` is that of the error.
async fn failing(
    client: &Client,
    path: &str,
    method: &str,
    code: i64,
    (caps, data): (&str, Value),
) -> (u16, Value) {
    let name = if path == "/mcp" { "fails_one" } else { "one" };
    let (named, params) = match method {
        "tools/call" | "prompts/get" => (
            name.to_owned(),
            json!({ "name": name, "arguments": { "code": code.to_string(), "data": data } }),
        ),
        "resources/read" => (format!("test://{code}"), json!({ "uri": format!("test://{code}") })),
        _ => {
            let reference = json!({ "type": "ref/prompt", "name": name });
            let argument = json!({ "name": "a", "value": code.to_string() });
            (String::new(), json!({ "ref": reference, "argument": argument }))
        }
    };
    let meta = MODERN_META.replace("{}", caps);
    let text = params.to_string();
    let params = format!(r#"{},"_meta":{{{meta}}}}}"#, &text[..text.len() - 1]);
    let answer = client.request("1", method, &named, &params).await;
    (answer.status.as_u16(), serde_json::from_str(&answer.reply()).expect("JSON"))
}

#[tokio::test]
async fn codes_of_a_legacy_server_are_none_that_the_modern_era_reserves_or_has_given_up() {
    let fails = Script::new(FAILS);
    let gateway = Gateway::start(&(fails.upstream("fails") + &probe("other", &[]))).await;
    for path in ["/mcp", "/mcp/fails"] {
        let client = Client::modern(gateway.address(), path);
        for method in ["tools/call", "prompts/get", "resources/read", "completion/complete"] {
            for code in [-32099, -32050, -32042, -32023, -32022, -32021, -32020, -32019, -32002, -32001] {
                let (status, reply) = failing(&client, path, method, code, ("{}", Value::Null)).await;
                let error = &reply["error"];
                let expected = match (code, method) {
                    (-32019 | -32001, _) => (200, code),
                    (-32042, "completion/complete") => (200, -32603),
                    (-32042, _) => (400, -32021),
                    (-32002, "resources/read") => (200, -32602),
                    _ => (200, -32603),
                };
                assert_eq!(
                    (status, error["code"].as_i64().expect("a code")),
                    expected,
                    "{path} {method} {code}"
                );
                let words = error["message"].as_str().expect("words");
                assert!(words.starts_with("its words"), "{words}");
                assert_eq!(words.contains(&code.to_string()), expected.1 == -32603, "{words}");
                if expected.1 == -32021 {
                    let required = json!({ "requiredCapabilities": { "elicitation": { "url": {} } } });
                    assert_eq!(error["data"], required, "{path} {method}");
                }
            }
        }
        // One that can visit pages does, where it is told which.
        let able = r#"{"elicitation":{"url":{}}}"#;
        let page = json!({ "elicitations": [{ "mode": "url", "elicitationId": "E", "url": "https://x", "message": "m" }] });
        for method in ["tools/call", "prompts/get"] {
            let (_, reply) = failing(&client, path, method, -32042, (able, page.clone())).await;
            assert_eq!(reply["result"]["resultType"], "input_required", "{path} {method} {reply}");
            let (status, reply) = failing(&client, path, method, -32042, (able, Value::Null)).await;
            assert_eq!((status, &reply["error"]["code"]), (200, &json!(-32603)), "{path} {method}");
        }
    }
    // A client of the server's own era has its numbers as they are.
    let client = Client::legacy(gateway.address(), "/mcp").await;
    for code in [-32042, -32020, -32002] {
        assert_eq!(client.call("fails_one", &format!(r#"{{"code":"{code}"}}"#)).await.error().0, code);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn repetition_with_other_arguments_does_not_get_the_answer_to_the_first_ones() {
    let gateway = Gateway::start(&(probe("probe", &["--era", "legacy"]) + &probe("other", &[]))).await;
    for path in ["/mcp", "/mcp/probe"] {
        let client = Client::modern(gateway.address(), path);
        let tool = if path == "/mcp" { "probe_ask" } else { "ask" };
        let call = async |arguments: &str, more: &str| {
            let meta = MODERN_META.replace("{}", r#"{"elicitation":{}}"#);
            let params = format!(r#"{{"name":"{tool}","arguments":{arguments},"_meta":{{{meta}}}{more}}}"#);
            client.request("1", "tools/call", tool, &params).await
        };
        let first = r#"{"delete":"A","also":{"x":1,"y":[2]}}"#;
        let round: Value = serde_json::from_str(&call(first, "").await.result()).expect("JSON");
        let questions = round["inputRequests"].as_object().expect("questions").keys();
        let answers: serde_json::Map<_, _> =
            questions.map(|name| (name.clone(), json!({ "action": "accept", "content": {} }))).collect();
        let more = format!(
            r#","requestState":{},"inputResponses":{}"#,
            round["requestState"],
            Value::Object(answers)
        );
        for other in [
            r#"{"delete":"B","also":{"x":1,"y":[2]}}"#,
            r#"{"delete":"A","also":{"x":1,"y":[3]}}"#,
            r#"{"delete":"A"}"#,
            r#"{"delete":"A","also":{"x":1,"y":[2]},"more":null}"#,
            "null",
        ] {
            let refused = call(other, &more).await;
            assert_eq!(verdict(&refused), (200, -32602), "{path} {other}");
        }
        // What is refused does not use the state up, and how it is written does not count.
        let same = r#"{ "also": { "y": [2], "x": 1 }, "delete": "\u0041" }"#;
        assert!(call(same, &more).await.text().contains("accept"), "{path}");
    }
    gateway.stop().await;
}

/// A modern server whose tool mirrors its argument in a header that the test names, or in none, and that tells nobody when that
/// changes.
const MIRRORS: &str = r#"
modern = True
header, lists = ["Region"], [0]
def post(handler, message):
    method, params = message.get("method"), message.get("params", {})
    if method == "test/set":
        header[0] = params["header"]
        handler.answer(200, {"id": 0, "result": {"lists": lists[0]}})
        return True
    if method == "tools/list":
        lists[0] += 1
        region = {"type": "string", **({"x-mcp-header": header[0]} if header[0] else {})}
        schema = {"type": "object", "properties": {"region": region}}
        handler.result(message, {"tools": [{"name": "where", "inputSchema": schema}], "ttlMs": 3600000})
        return True
    if method == "tools/call":
        found = {name.lower(): value for name, value in handler.headers.items() if name.lower().startswith("mcp-param-")}
        wanted = {"mcp-param-" + header[0].lower(): params["arguments"]["region"]} if header[0] else {}
        if found != wanted:
            handler.answer(400, {"id": message["id"], "error": {"code": -32020, "message": "Header mismatch"}})
            return True
    return False
"#;

/// Such a server, which has the tool with this header from now on; how often it was asked for its tools until now.
async fn mirror(server: &HttpUpstream, header: Value) -> u64 {
    let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "test/set", "params": { "header": header } });
    let answer = post(&format!("127.0.0.1:{}", server.port), "/mcp", &[], &body.to_string()).await;
    let result: Value = serde_json::from_str(&answer.result()).expect("JSON");
    result["lists"].as_u64().expect("a number")
}

/// A call of the tool with its argument in these headers.
async fn located((address, path): (&str, &str), headers: &[(&str, &str)]) -> Answer {
    let tool = if path == "/mcp" { "mirrors_where" } else { "where" };
    let params = format!(r#"{{"name":"{tool}","arguments":{{"region":"eu"}},"_meta":{{{MODERN_META}}}}}"#);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let own = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", tool)];
    post(address, path, &[&own[..], headers].concat(), &body).await
}

#[tokio::test]
async fn headers_that_mirror_arguments_are_those_of_the_list_that_the_server_has_now() {
    let server = http_script(MIRRORS).await;
    let gateway = Gateway::start(&(http("mirrors", server.port) + &probe("other", &[]))).await;
    let address = gateway.address();
    for path in ["/mcp", "/mcp/mirrors"] {
        let legacy = Client::legacy(address, path).await;
        let tool = if path == "/mcp" { "mirrors_where" } else { "where" };
        let mut former = "mcp-param-region";
        for header in [json!("Zone"), json!("Region"), Value::Null, json!("Area")] {
            let before = mirror(&server, header.clone()).await;
            let name = header.as_str().map(|name| format!("mcp-param-{}", name.to_lowercase()));
            let right: Vec<_> = name.iter().map(|name| (name.as_str(), "eu")).collect();
            let said = located((address, path), &right).await;
            assert_eq!(verdict(&said), (200, 0), "{path} {header}: right by the new list");
            // What is wrong is refused all the same, and the list that is asked for next is the new one.
            let wrong = located((address, path), &[(former, "eu")]).await;
            assert_eq!(verdict(&wrong), (400, -32020), "{path} {header}");
            let listed = Client::modern(address, path);
            let params = format!(r#"{{"_meta":{{{MODERN_META}}}}}"#);
            let listed = listed.request("1", "tools/list", "", &params).await.result();
            assert_eq!(listed.contains("x-mcp-header"), !header.is_null(), "{path} {listed}");
            assert!(header.as_str().is_none_or(|name| listed.contains(name)), "{path} {listed}");
            former = match header.as_str() {
                Some("Zone") => "mcp-param-zone",
                Some("Region") => "mcp-param-region",
                _ => "mcp-param-nothing",
            };
            let asked = mirror(&server, header).await - before;
            assert!((1..=4).contains(&asked), "{path}: asked {asked} times");
        }
        // A legacy client knows of no headers: the gateway makes them.
        for header in [json!("Zone"), Value::Null, json!("Region"), json!("Area")] {
            let before = mirror(&server, header.clone()).await;
            for _ in 0..2 {
                legacy.call(tool, r#"{"region":"eu"}"#).await.text();
            }
            assert_eq!(mirror(&server, header.clone()).await - before, 1, "{path} {header}");
        }
    }
    gateway.stop().await;
}

/// A server that tells all kinds of things during a call, two of which belong to it.
const TELLS: &str = r#"
def sayings(params):
    own = params.get("_meta", {}).get("progressToken")
    foreign = {"progressToken": "somebody's", "progress": 1}
    yield {"method": "notifications/progress", "params": {"progressToken": own, "progress": 1}}
    yield {"method": "notifications/progress", "params": foreign}
    yield {"method": "notifications/tools/list_changed"}
    yield {"method": "notifications/resources/updated", "params": {"uri": "test://a"}}
    yield {"method": "notifications/subscriptions/acknowledged", "params": {"notifications": {}}}
    yield {"method": "notifications/tasks", "params": {"taskId": "t", "status": "working"}}
    yield {"method": "notifications/elicitation/complete", "params": {"elicitationId": "e"}}
    yield {"method": "notifications/cancelled", "params": {"requestId": "nobody's"}}
    yield {"method": "notifications/vendor/word", "params": {"x": 1}}
"#;

/// What a modern client that has asked for progress is told before the answer to its call.
async fn beside(address: &str, path: &str, tool: &str) -> Vec<String> {
    let name = if path == "/mcp" { format!("tells_{tool}") } else { tool.to_owned() };
    let params = format!(r#""name":"{name}","arguments":{{}},"#);
    let meta = r#""progressToken":"mine","#;
    let answer = modern((address, path), ("1", "tools/call"), (&params, meta), Some(&name)).await;
    let mut messages = answer.messages();
    assert!(messages.pop().is_some_and(|last| last.contains("result")), "{answer:?}");
    // As its server has written it.
    messages.into_iter().map(|message| message.replace(' ', "")).collect()
}

#[tokio::test]
async fn modern_client_is_told_beside_an_answer_what_belongs_to_its_request() {
    let over_http = format!(
        "{TELLS}
def post(handler, message):
    if message.get('method') != 'tools/call':
        return False
    handler.send_response(200)
    handler.send_header('Content-Type', 'text/event-stream')
    handler.send_header('Connection', 'close')
    handler.end_headers()
    handler.close_connection = True
    result = {{'resultType': 'complete', 'content': []}}
    for said in [*sayings(message['params']), {{'id': message['id'], 'result': result}}]:
        handler.wfile.write(b'data: ' + json.dumps({{'jsonrpc': '2.0', **said}}).encode() + b'\\n\\n')
    return True
"
    );
    let over_stdio = format!(
        "{TELLS}
def call(message, name):
    for said in sayings(message['params']):
        send(said)
    return 'told'
"
    );
    for modern in ["True", "False"] {
        let server = http_script(&format!("{over_http}\nmodern = {modern}\n")).await;
        let script = Script::new(&format!("{over_stdio}\nmodern = {modern}\n"));
        for upstream in [http("tells", server.port), script.upstream("tells")] {
            let gateway = Gateway::start(&(upstream + "sharing = \"shared\"\n" + &probe("other", &[]))).await;
            for path in ["/mcp", "/mcp/tells"] {
                let told = beside(gateway.address(), path, "one").await;
                let is_own = |said: &&String| {
                    said.contains(r#""progressToken":"mine""#) || said.contains("notifications/vendor/word")
                };
                assert!(told.iter().all(|said| is_own(&said)), "modern server: {modern}, {path}: {told:?}");
                assert!(
                    told[0].contains("notifications/progress"),
                    "modern server: {modern}, {path}: {told:?}"
                );
            }
            gateway.stop().await;
        }
    }
}

/// An HTTP server whose calls report progress once all of three are there, and that tells which tokens they have had.
const TOGETHER: &str = r#"
arrived, tokens = threading.Barrier(3), []
def post(handler, message):
    if message.get("method") != "tools/call":
        return False
    token = message["params"]["_meta"]["progressToken"]
    tokens.append(json.dumps(token))
    arrived.wait(60)
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    content = [{"type": "text", "text": json.dumps(sorted(set(tokens)))}]
    note = {"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
    for said in [note, {"id": message["id"], "result": {"resultType": "complete", "content": content}}]:
        handler.wfile.write(b"data: " + json.dumps({"jsonrpc": "2.0", **said}).encode() + b"\n\n")
    return True
"#;

#[tokio::test]
async fn progress_tokens_of_requests_in_flight_at_one_server_are_different_ones() {
    for era in ["True", "False"] {
        let server = http_script(&format!("{TOGETHER}\nmodern = {era}\n")).await;
        let upstream = http("tells", server.port) + "sharing = \"shared\"\n";
        let gateway = Gateway::start(&(upstream + &probe("other", &[]))).await;
        let place = (gateway.address(), "/mcp");
        let call = async |token: &str| {
            let (params, meta) =
                (r#""name":"tells_one","arguments":{},"#, format!(r#""progressToken":{token},"#));
            let answer = modern(place, ("1", "tools/call"), (params, &meta), Some("tells_one")).await;
            let told = answer.messages().swap_remove(0).replace(' ', "");
            assert!(told.contains(&format!(r#""progressToken":{token}"#)), "{told}");
            answer.text()
        };
        let (first, second, third) = tokio::join!(call(r#""same""#), call(r#""same""#), call("7"));
        for tokens in [first, second, third] {
            let tokens: Vec<String> = serde_json::from_str(&tokens).expect("JSON");
            assert_eq!(tokens.len(), 3, "modern server: {era}: {tokens:?}");
            assert!(
                tokens.contains(&r#""same""#.to_owned()) && tokens.contains(&"7".to_owned()),
                "{tokens:?}"
            );
        }
        gateway.stop().await;
    }
}

/// A legacy server with tasks, whose `tasks/result` answers when a file is there.
const TASKS: &str = r#"
capabilities = {"tools": {}, "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}}
def handle(message):
    method, params = message["method"], message.get("params", {})
    if method == "tools/call" and "task" in params:
        reply(message, {"task": {"taskId": "a-task-of-a-server", "status": "working", "ttl": None, "createdAt": "2025-11-25T10:30:00Z", "lastUpdatedAt": "2025-11-25T10:30:00Z"}})
    elif method == "tasks/result":
        def later():
            while not os.path.exists(GATE):
                time.sleep(0.01)
            reply(message, {"content": [{"type": "text", "text": "at last"}]})
        threading.Thread(target=later, daemon=True).start()
    else:
        return False
    return True
"#;

#[tokio::test]
async fn result_of_a_task_is_waited_for_beyond_the_time_of_a_request_and_keeps_no_permit() {
    let gate = tempfile::tempdir().expect("a scratch directory");
    let open = gate.path().join("open");
    let script = Script::new(&format!("GATE = {:?}\n{TASKS}", open.to_str().expect("UTF-8")));
    let limits = "request_timeout = \"1s\"\nmax_concurrency = 1\n";
    let gateway = Gateway::start(&(script.upstream("jobs") + limits + &probe("other", &[]))).await;
    for path in ["/mcp", "/mcp/jobs"] {
        let _ = std::fs::remove_file(&open);
        let client = Client::legacy(gateway.address(), path).await;
        let tool = if path == "/mcp" { "jobs_one" } else { "one" };
        let begin = format!(r#"{{"name":"{tool}","arguments":{{}},"task":{{"ttl":60000}}}}"#);
        client.request("1", "tools/call", "", &begin).await.result();
        let result = client.request("2", "tasks/result", "", r#"{"taskId":"a-task-of-a-server"}"#);
        let others = async {
            // Each takes the only permit; together they take longer than one request may.
            let until = std::time::Instant::now() + Duration::from_millis(1300);
            while std::time::Instant::now() < until {
                client.call(tool, "{}").await.text();
            }
            write(&open, "");
        };
        let (result, ()) = tokio::join!(result, others);
        assert_eq!(result.text(), "at last", "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn tasks_are_no_methods_where_no_server_has_any() {
    for (upstreams, path) in [
        (probe("probe", &[]), "/mcp"),
        (probe("probe", &[]) + &probe("other", &[]), "/mcp"),
        (probe("probe", &[]) + &probe("other", &[]), "/mcp/probe"),
    ] {
        let gateway = Gateway::start(&upstreams).await;
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            for id in ["a-task-of-nobody-here", "7"] {
                let (place, params) = ((gateway.address(), path), format!(r#""taskId":"{id}","#));
                let answer = modern(place, ("1", method), (&params, ""), Some(id)).await;
                assert_eq!(verdict(&answer), (404, -32601), "{path} {method} {id}");
            }
        }
        let client = Client::legacy(gateway.address(), path).await;
        for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
            let answer = client.request("1", method, "", r#"{"taskId":"a-task-of-nobody-here"}"#).await;
            assert_eq!(verdict(&answer), (200, -32601), "{path} {method}");
        }
        gateway.stop().await;
    }
}
