//! The HTTP front to the letter of the specification, at `/mcp` and at `/mcp/NAME`, in both eras.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Answer, Client, LEGACY, MODERN_META, open, post, send};
use crate::following::wait;
use crate::gateway::Gateway;
use crate::scripted::Script;
use crate::upstreams::{Gate, probe};

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
        assert!(ids(&rest).iter().all(|id| !ids(&told).contains(id)), "{path}: {told} {rest}");
        // Each comes back for what it has had, and has nothing of the other one's.
        let mut second = resume(ids(&later)[0]).await;
        let again = wait(&mut second, &[ids(&told)[0]]).await;
        assert!(ids(&rest).iter().all(|id| !ids(&again).contains(id)), "{path}: {again} {rest}");
        let mut first = resume(ids(&began)[0]).await;
        let again = wait(&mut first, &[ids(&rest)[0]]).await;
        assert!(ids(&told).iter().all(|id| !ids(&again).contains(id)), "{path}: {again} {told}");
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
