//! Upstreams that are shown something of the client of each call: no two clients share a connection, a session or a list of one.

use serde_json::{Value, json};

use crate::access::{Answer, Guarded, bearer, call, modern};
use crate::client::{LEGACY, send};
use crate::gateway::HttpUpstream;
use crate::scripted::http_script;
use crate::upstreams::http;

/// A server that tells what it is shown, and notes what was shown over each connection and in each session.
const SERVER: &str = r#"
first, faults = {}, []
def owned(what, shown):
    if first.setdefault(what, shown) != shown:
        faults.append([str(what), first[what], shown])

def post(handler, message):
    shown = [handler.headers.get_all(name) for name in ("X-User", "Authorization", "X-Same")]
    owned(handler.client_address, shown)
    if "Mcp-Session-Id" in handler.headers:
        owned(handler.headers["Mcp-Session-Id"], shown)
    if message.get("method") == "tools/list":
        tools = [{"name": "one", "description": json.dumps(shown), "inputSchema": {"type": "object"}}]
        handler.result(message, {"tools": tools, "ttlMs": 60000})
    elif message.get("method") == "tools/call":
        handler.result(message, {"content": [{"type": "text", "text": json.dumps(shown)}]})
    else:
        return False
    return True

def get(handler):
    if handler.path != "/faults":
        return False
    handler.answer(200, {"faults": faults, "connections": len(first)})
    return True
"#;

/// What the upstreams are to be shown.
const HEADERS: &str = r#"headers = { X-User = "u/${client:name}", Authorization = "Bearer ${client:header:X-Upstream-Token}", X-Same = "same" }"#;

/// A client.
struct Party<'a> {
    /// The gateway.
    guarded: &'a Guarded,
    /// Its name.
    name: &'static str,
    /// What proves it to the gateway.
    token: String,
}

impl Party<'_> {
    /// Its head with this token for the upstream.
    fn lines(&self, upstream: Option<&str>) -> Vec<String> {
        let more = upstream.map(|token| format!("X-Upstream-Token: {token}"));
        [bearer(&self.token)].into_iter().chain(more).collect()
    }

    /// What the upstream is shown of it, as it tells that in text.
    fn shown(&self, upstream: Option<&str>) -> Value {
        json!([[format!("u/{}", self.name)], upstream.map(|token| [format!("Bearer {token}")]), ["same"]])
    }

    /// A request of the modern era.
    async fn ask(&self, path: &str, upstream: Option<&str>, method: &str, params: &str) -> Answer {
        let (lines, body) = modern(method, params);
        self.guarded.send(&format!("POST {path}"), &[self.lines(upstream), lines].concat(), &body).await
    }

    /// Begins a session.
    async fn begin(&self, upstream: &str) -> String {
        let params = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": "a", "version": "1" } });
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string();
        let answer = self.guarded.send("POST /mcp", &self.lines(Some(upstream)), &body).await;
        answer.header("mcp-session-id").unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// A message within a session.
    async fn say(&self, session: &str, upstream: Option<&str>, body: &str) -> Answer {
        let of_session =
            [format!("Mcp-Session-Id: {session}"), format!("MCP-Protocol-Version: {LEGACY}")].to_vec();
        self.guarded.send("POST /mcp", &[self.lines(upstream), of_session].concat(), body).await
    }

    /// Sees what both servers are shown, in both eras, in lists and calls.
    async fn check(&self, session: &str, upstream: &str) {
        for server in ["old", "new"] {
            let path = format!("/mcp/{server}");
            let listed = self.ask(&path, Some(upstream), "tools/list", "").await.message();
            let told =
                listed["result"]["tools"][0]["description"].as_str().unwrap_or_else(|| panic!("{listed}"));
            assert_eq!(parsed(told), self.shown(Some(upstream)), "{server}");
            assert_eq!(listed["result"]["cacheScope"], json!("private"), "{listed}");
            let called = self.ask(&path, Some(upstream), "tools/call", r#""name":"one""#).await;
            assert_eq!(text(&called), self.shown(Some(upstream)), "{server}");
            let called = self.say(session, Some(upstream), &call(&format!("{server}_one"))).await;
            assert_eq!(text(&called), self.shown(Some(upstream)), "{server}");
        }
        let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
        let listed = self.say(session, Some(upstream), &list).await.message();
        let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}")).clone();
        for tool in &tools {
            let told = tool["description"].as_str().expect("a text");
            assert_eq!(parsed(told), self.shown(Some(upstream)), "{listed}");
        }
        assert_eq!(tools.len(), 2);
    }
}

/// What a server has told by a call.
fn text(answer: &Answer) -> Value {
    let message = answer.message();
    let text = message["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer:?}"));
    parsed(text)
}

/// JSON that is told in a text.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Sees that a server was shown one client only over each of its connections; how many those and the sessions were.
async fn apart(server: &HttpUpstream) -> u64 {
    let answer = send(&format!("127.0.0.1:{}", server.port), http::Method::GET, "/faults", &[], "").await;
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(told["faults"], json!([]), "two clients share what must be one's");
    told["connections"].as_u64().expect("a number")
}

#[tokio::test]
async fn what_an_upstream_is_shown_of_a_client_is_shared_with_no_other() {
    let servers = [http_script(SERVER).await, http_script(&format!("modern = True\n{SERVER}")).await];
    let [old, new] = ["old", "new"].map(|name| http(name, servers[usize::from(name == "new")].port));
    let upstreams = format!("{old}{HEADERS}\n{new}{HEADERS}\n");
    let guarded = Guarded::with(upstreams, "[clients.a]\n[clients.b]\n").await;
    let party =
        async |name: &'static str| Party { guarded: &guarded, name, token: guarded.believed(name).await };
    let (a, b) = (party("a").await, party("b").await);
    for server in &servers {
        assert_eq!(apart(server).await, 0, "nobody has called");
    }
    let (of_a, of_b) = (a.begin("ta").await, b.begin("tb").await);
    for _ in 0..3 {
        tokio::join!(a.check(&of_a, "ta"), b.check(&of_b, "tb"));
    }
    // One client with two tokens is two for the upstream; a session is with the one that it began with.
    a.check(&a.begin("ta2").await, "ta2").await;
    for (upstream, status) in [(Some("ta"), 200), (Some("ta2"), 404), (None, 404)] {
        let answer = a.say(&of_a, upstream, &call("old_one")).await;
        assert_eq!(answer.status, status, "{upstream:?}: {answer:?}");
    }
    assert_eq!(b.say(&of_a, Some("ta"), &call("old_one")).await.status, 404);
    // What a client has not sent is left out; what is ambiguous is refused.
    for server in ["/mcp/old", "/mcp/new"] {
        assert_eq!(text(&a.ask(server, None, "tools/call", r#""name":"one""#).await), a.shown(None));
        let twice = a.ask(server, Some("ta\r\nX-Upstream-Token: tb"), "tools/call", r#""name":"one""#).await;
        assert!(twice.status == 400 && twice.body.contains("must be there once"), "{twice:?}");
    }
    let status = guarded.gateway.status().await;
    assert!(status["upstreams"].as_array().unwrap().iter().all(|one| one["state"] == "ready"), "{status}");
    // A session goes on in the next process with what its client sends, and with nothing else.
    guarded.gateway.restart().await;
    a.check(&of_a, "ta").await;
    assert_eq!(a.say(&of_a, Some("ta2"), &call("old_one")).await.status, 404);
    b.check(&of_b, "tb").await;
    for server in &servers {
        assert!(apart(server).await > 4);
    }
    let printed = guarded.gateway.printed();
    assert!(
        ["ta", "tb", "ta2"].iter().all(|token| !printed.contains(&format!("Bearer {token}"))),
        "{printed}"
    );
    guarded.gateway.stop_successor().await;
}
