//! Clients with names: how they show who they are, what each may use, and that none meets what is another's.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::client::{LEGACY, MODERN_META};
use crate::daemon::Site;
use crate::gateway::{Gateway, write};
use crate::tools::transcript;
use crate::upstreams::probe;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a client of one endpoint does not find. Slashes around a path lead to the same.
const HIDDEN: [&str; 10] = [
    "/mcp/one",
    "/mcp/many",
    "/mcp/nothing",
    "/metrics",
    "/health",
    "/status",
    "/status/events",
    "/metrics/",
    "//health",
    "//status//",
];

/// A gateway with a state directory of its own, on TCP and on a Unix socket.
pub(crate) struct Guarded {
    /// The gateway.
    pub(crate) gateway: Gateway,
    /// Its state directory and socket.
    scratch: tempfile::TempDir,
    /// Its upstreams.
    upstreams: String,
}

/// What a gateway answers.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The head, in lower case.
    pub(crate) head: String,
    /// The body, without the form of chunks and events.
    pub(crate) body: String,
}

impl Answer {
    /// The JSON-RPC message in the body.
    pub(crate) fn message(&self) -> Value {
        let begin = self.body.find('{').unwrap_or_else(|| panic!("no message in {self:?}"));
        serde_json::Deserializer::from_str(&self.body[begin..])
            .into_iter()
            .next()
            .expect("a message")
            .expect("JSON")
    }

    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Sends a request with these lines of its head, and reads the answer to its end.
pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    first: &str,
    lines: &[String],
    body: &str,
) -> Answer {
    let mut request = format!(
        "{first} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n",
        body.len()
    );
    for line in lines.iter().map(String::as_str).chain([""]) {
        request.extend([line, "\r\n"]);
    }
    request.push_str(body);
    let exchange = async {
        stream.write_all(request.as_bytes()).await.expect("it works");
        let mut bytes = Vec::new();
        // A stream that is cut is an answer, too.
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let text = tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let status = head[9..12].parse().expect("it works");
    Answer { status, head: head.to_lowercase().replace('\r', ""), body: body.to_owned() }
}

/// `Authorization` with a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// A request of the modern era.
pub(crate) fn modern(method: &str, params: &str) -> (Vec<String>, String) {
    let more = if params.is_empty() { String::new() } else { format!(",{params}") };
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"_meta":{{{MODERN_META}}}{more}}}}}"#
    );
    let mut lines = vec!["MCP-Protocol-Version: 2026-07-28".to_owned(), format!("Mcp-Method: {method}")];
    let name =
        serde_json::from_str::<Value>(&body).expect("it works")["params"]["name"].as_str().map(str::to_owned);
    lines.extend(name.map(|name| format!("Mcp-Name: {name}")));
    (lines, body)
}

impl Guarded {
    /// Starts one with these tables beside the probe server as `one` and `two`.
    pub(crate) async fn start(tables: &str) -> Self {
        Self::with(probe("one", &[]) + &probe("two", &[]), tables).await
    }

    /// Starts one with these tables beside those of upstreams.
    pub(crate) async fn with(upstreams: String, tables: &str) -> Self {
        let scratch = tempfile::tempdir().expect("it works");
        let site = Site::with_config(&Self::configuration(&scratch, &(upstreams.clone() + tables)));
        let state = scratch.path().join("state").display().to_string();
        let gateway = Gateway::on(site.variable("STATE_DIRECTORY", &state)).await;
        Self { gateway, scratch, upstreams }
    }

    /// The file.
    fn configuration(scratch: &tempfile::TempDir, tables: &str) -> String {
        let socket = scratch.path().join("http.sock");
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\nlegacy_sse = true\n{tables}",
            socket.display()
        )
    }

    /// Reloads with other tables.
    pub(crate) async fn reload(&self, tables: &str) {
        let text = Self::configuration(&self.scratch, &(self.upstreams.clone() + tables));
        write(&self.gateway.file("mcpeg.toml"), &text);
        let output = self.gateway.control(&["--reload"]).await;
        assert!(output.status.success(), "{}", transcript(&output));
    }

    /// Runs `mcpeg token`; what it has printed on standard output.
    pub(crate) async fn token(&self, arguments: &[&str]) -> String {
        let output = self.gateway.control(&[&["token"], arguments].concat()).await;
        assert!(output.status.success(), "{}", transcript(&output));
        String::from_utf8(output.stdout).expect("it works").trim().to_owned()
    }

    /// Makes a token, and waits until it is believed.
    pub(crate) async fn believed(&self, client: &str) -> String {
        let token = self.token(&["create", client]).await;
        let answered = async {
            while self.list("/health", &token).await.status == 401 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("a new token is taken up");
        token
    }

    /// Waits until a list is answered with this status.
    async fn until(&self, token: &str, status: u16) {
        let answered = async {
            while self.ask("/mcp", token, modern("tools/list", "")).await.status != status {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("a change of tokens is taken up");
    }

    /// Makes the token of `expired` old, and that of `early` one of the future.
    fn age(&self) {
        let file = self.scratch.path().join("state/tokens.json");
        let mut tokens: Value =
            serde_json::from_slice(&std::fs::read(&file).expect("it works")).expect("it works");
        for token in tokens["tokens"].as_array_mut().expect("it works") {
            match token["client"].as_str() {
                Some("expired") => token["expires"] = json!(1),
                Some("early") => token["created"] = json!(1_u64 << 40),
                _ => {}
            }
        }
        write(&file, tokens.to_string());
    }

    /// Sends a request over TCP.
    pub(crate) async fn send(&self, first: &str, lines: &[String], body: &str) -> Answer {
        exchange(TcpStream::connect(self.gateway.address()).await.expect("it works"), first, lines, body)
            .await
    }

    /// A GET with a token.
    pub(crate) async fn list(&self, path: &str, token: &str) -> Answer {
        self.send(&format!("GET {path}"), &[bearer(token)], "").await
    }

    /// A modern request with a token.
    pub(crate) async fn ask(&self, path: &str, token: &str, (lines, body): (Vec<String>, String)) -> Answer {
        self.send(&format!("POST {path}"), &[vec![bearer(token)], lines].concat(), &body).await
    }

    /// A message within a session.
    pub(crate) async fn say(&self, method: &str, token: &str, session: &str, body: &str) -> Answer {
        let lines =
            [bearer(token), format!("Mcp-Session-Id: {session}"), format!("MCP-Protocol-Version: {LEGACY}")];
        self.send(&format!("{method} /mcp"), &lines, body).await
    }

    /// Begins a session; its identifier.
    pub(crate) async fn begin(&self, token: &str) -> String {
        self.begin_with(token, &json!({})).await
    }

    /// Begins a session of a client with these capabilities; its identifier.
    pub(crate) async fn begin_with(&self, token: &str, capabilities: &Value) -> String {
        let params = json!({ "protocolVersion": LEGACY, "capabilities": capabilities, "clientInfo": { "name": "a", "version": "1" } });
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string();
        let answer = self.send("POST /mcp", &[bearer(token)], &body).await;
        answer.header("mcp-session-id").unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        self.gateway.address()
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        self.gateway.stop().await;
    }

    /// The names of tools at an endpoint.
    pub(crate) async fn tools(&self, path: &str, token: &str) -> Vec<String> {
        let answer = self.ask(path, token, modern("tools/list", "")).await;
        let tools =
            answer.message()["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
        tools.iter().map(|tool| tool["name"].as_str().expect("it works").to_owned()).collect()
    }
}

/// Sends requests with these lines, and sees that each is refused by this status and challenge.
async fn refused(guarded: &Guarded, cases: &[(&str, Vec<String>, u16, &str)], body: &str) {
    for (path, lines, status, challenge) in cases {
        let answer = guarded.send(&format!("POST {path}"), lines, body).await;
        let told = (answer.status, answer.header("www-authenticate"));
        assert_eq!(told, (*status, Some(*challenge)), "{path} {lines:?}");
        assert_eq!(answer.message()["error"]["code"], json!(-32600), "{answer:?}");
        assert_eq!(answer.message()["id"], Value::Null, "{answer:?}");
    }
}

/// The kernel says who is at the other end of a Unix socket: neither a client's user nor of its unit, until it is.
async fn kernel_is_asked(guarded: &Guarded, others: &str, (lines, body): &(Vec<String>, String)) {
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid()).expect("it works").expect("it works").name;
    let unix = async || {
        let stream = UnixStream::connect(guarded.scratch.path().join("http.sock")).await.expect("it works");
        exchange(stream, "POST /mcp", lines, body).await
    };
    let refused = unix().await;
    let code = refused.message()["error"]["code"].clone();
    assert_eq!((refused.status, code), (403, json!(-32600)), "{refused:?}");
    guarded.reload(&format!("{others}[clients.d]\npeer = {{ user = \"{me}\" }}\n")).await;
    assert_eq!(unix().await.status, 200);
}

/// `tools/call` within a session.
pub(crate) fn call(tool: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": { "name": tool, "arguments": {} } })
        .to_string()
}

#[tokio::test]
async fn whoever_does_not_show_who_it_is_is_refused() {
    let others = "[clients.a]\n[clients.b]\npeer = { user = \"nobody\" }\n[clients.c]\npeer = { unit = \"foreign.service\" }\n";
    let guarded = Guarded::start(others).await;
    let list = modern("tools/list", "");
    let plain = |lines: &[&str]| -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).chain(list.0.clone()).collect()
    };
    let good = guarded.believed("a").await;
    let revoked = guarded.token(&["create", "revoked"]).await;
    guarded.token(&["revoke", "revoked"]).await;
    let stranger = guarded.token(&["create", "stranger"]).await;
    let (expired, early) =
        (guarded.token(&["create", "expired"]).await, guarded.token(&["create", "early"]).await);
    guarded.age();
    guarded.until(&stranger, 403).await;
    guarded.until(&expired, 401).await;
    let (invalid, request) = ("bearer error=\"invalid_token\"", "bearer error=\"invalid_request\"");
    let forged = format!("{}x", &good[..good.len() - 1]);
    let [good_line, forged] = [&good, &forged].map(|token| bearer(token));
    let basic = "Authorization: Basic YTpi";
    let cases: [(&str, Vec<String>, u16, &str); 12] = [
        ("/mcp", plain(&[]), 401, "bearer"),
        ("/mcp", plain(&[basic]), 401, "bearer"),
        ("/mcp", plain(&["Authorization: Bearer"]), 401, invalid),
        ("/mcp", plain(&[&bearer("x")]), 401, invalid),
        ("/mcp", plain(&[&forged]), 401, invalid),
        ("/mcp", plain(&[&bearer(&revoked)]), 401, invalid),
        ("/mcp", plain(&[&bearer(&expired)]), 401, invalid),
        ("/mcp", plain(&[&bearer(&early)]), 401, invalid),
        ("/mcp/one", plain(&[&bearer(&stranger)]), 403, "bearer error=\"insufficient_scope\""),
        ("/mcp?access_token=x", plain(&[&good_line]), 400, request),
        ("/mcp/one?x=mcpeg_1", plain(&[]), 400, request),
        ("/mcp", plain(&[&good_line, &good_line]), 400, request),
    ];
    refused(&guarded, &cases, &list.1).await;
    for (path, status) in [
        ("/health", 401),
        ("/metrics", 401),
        ("/status", 401),
        ("/status/events", 401),
        ("/sse", 401),
        ("/nowhere", 401),
        ("/health/live", 200),
        ("/", 200),
    ] {
        assert_eq!(guarded.send(&format!("GET {path}"), &[], "").await.status, status, "{path}");
    }
    assert_eq!(guarded.ask("/mcp", &good, list.clone()).await.status, 200);
    kernel_is_asked(&guarded, others, &list).await;
    guarded.gateway.prints("a request is refused").await;
    let printed = guarded.gateway.printed();
    for secret in [&good, &revoked, &expired, &early, &stranger] {
        assert!(!printed.contains(&secret[20..]), "a secret is in the log");
    }
    guarded.gateway.stop().await;
}

#[tokio::test]
async fn client_sees_and_calls_what_it_may_and_nothing_else_is_there_to_it() {
    let tables = "[clients.all]\n[clients.narrow]\ntools = { deny = [\"*echo\"] }\n[clients.build]\nendpoints = [\"build\"]\n\
                  [endpoints.build]\nupstreams = [\"one\"]\ntools = { allow = [\"echo\", \"pids\"] }\n\
                  [endpoints.many]\nprefix = \"always\"\ntools = { deny = [\"two_*\"] }\n";
    let guarded = Guarded::start(tables).await;
    let (all, narrow, build) =
        (guarded.believed("all").await, guarded.believed("narrow").await, guarded.believed("build").await);
    let everything = guarded.tools("/mcp", &all).await;
    assert!(everything.contains(&"one_echo".to_owned()) && everything.contains(&"two_sleep".to_owned()));
    let seen = guarded.tools("/mcp", &narrow).await;
    assert_eq!(seen.len(), everything.len() - 2, "{seen:?}");
    assert!(!guarded.tools("/mcp/one", &narrow).await.contains(&"echo".to_owned()));
    for path in ["/mcp", "/mcp/build"] {
        assert_eq!(guarded.tools(path, &build).await, ["echo", "pids"], "{path}");
    }
    assert!(guarded.tools("/mcp/many", &all).await.iter().all(|tool| tool.starts_with("one_")));
    for path in HIDDEN {
        let answer = guarded.ask(path, &build, modern("tools/list", "")).await;
        assert_eq!(answer.status, 404, "{path} {answer:?}");
    }
    // What it may not call answers as what is not there, in both eras.
    let unknown = |name: &str, answer: &Answer| answer.body.replace(name, "NAME");
    for (path, token, hidden, missing) in [
        ("/mcp", &narrow, "one_echo", "one_gone"),
        ("/mcp/one", &narrow, "echo", "gone"),
        ("/mcp/build", &build, "sleep", "gone1"),
    ] {
        let ask = async |name: &str| {
            guarded
                .ask(path, token, modern("tools/call", &format!(r#""name":"{name}","arguments":{{}}"#)))
                .await
        };
        let (one, other) = (ask(hidden).await, ask(missing).await);
        assert_eq!((one.status, unknown(hidden, &one)), (other.status, unknown(missing, &other)), "{path}");
        assert!(one.message()["error"]["code"] == json!(-32602), "{one:?}");
        assert_eq!(
            ask(if path == "/mcp" { "one_pids" } else { "pids" }).await.message()["result"]["isError"],
            Value::Null
        );
        let answer = guarded.ask(path, token, modern("vendor/anything", "")).await;
        assert_eq!(answer.message()["error"]["code"], json!(-32601), "{answer:?}");
    }
    let session = guarded.begin(&narrow).await;
    let (one, other) = (
        guarded.say("POST", &narrow, &session, &call("two_echo")).await,
        guarded.say("POST", &narrow, &session, &call("two_gone")).await,
    );
    assert_eq!(unknown("two_echo", &one), unknown("two_gone", &other));
    let shared = guarded.ask("/mcp/one", &all, modern("tools/list", "")).await;
    assert_eq!(shared.message()["result"]["cacheScope"], json!("private"), "{shared:?}");
    guarded.gateway.stop().await;
}

#[tokio::test]
async fn sessions_and_streams_are_their_clients_through_reload_and_upgrade_and_end_with_its_token() {
    let guarded = Guarded::start("[clients.a]\n[clients.b]\n").await;
    let (a, b) = (guarded.believed("a").await, guarded.believed("b").await);
    let sessions = [(a.clone(), guarded.begin(&a).await), (b.clone(), guarded.begin(&b).await)];
    let owners = async || {
        let mut seed = 7_u32;
        for round in 0..24 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (token, (owner, session)) =
                (if seed & 0x100 == 0 { &a } else { &b }, &sessions[(seed >> 9) as usize & 1]);
            let method = ["POST", "POST", "GET", "DELETE"][(seed >> 11) as usize & 3];
            let is_own = token == owner;
            if is_own && method != "POST" {
                continue;
            }
            let answer = guarded.say(method, token, session, &call("one_echo")).await;
            assert_eq!(answer.status, if is_own { 200 } else { 404 }, "round {round}: {method} {answer:?}");
        }
    };
    owners().await;
    guarded.reload("[clients.b]\n[clients.a]\ntools = { deny = [\"two_*\"] }\n").await;
    owners().await;
    guarded.gateway.restart().await;
    owners().await;
    // The stream that it has open ends with the token, and the session with it.
    let stream = guarded.say("GET", &a, &sessions[0].1, "");
    let revoke = async {
        guarded.until(&a, 200).await;
        guarded.token(&["revoke", "a"]).await;
    };
    let (stream, ()) = tokio::join!(stream, revoke);
    assert_eq!(stream.status, 200, "{stream:?}");
    guarded.until(&a, 401).await;
    let again = guarded.believed("a").await;
    assert_eq!(guarded.say("POST", &again, &sessions[0].1, &call("one_echo")).await.status, 404);
    let rotated = guarded.token(&["rotate", "b"]).await;
    guarded.until(&rotated, 200).await;
    assert_eq!(guarded.say("POST", &b, &sessions[1].1, &call("one_echo")).await.status, 401);
    assert_eq!(guarded.say("POST", &rotated, &sessions[1].1, &call("one_echo")).await.status, 200);
    guarded.gateway.stop_successor().await;
}

#[tokio::test]
async fn listener_asks_for_the_proofs_of_its_table_whatever_others_ask_for() {
    let sockets = tempfile::tempdir().expect("it works");
    let socket = sockets.path().join("peer.sock");
    let listeners = format!(
        "[listeners.token]\naddress = \"127.0.0.6:0\"\nauth = [\"token\"]\n\
         [listeners.peer]\naddress = \"unix:{}\"\nauth = [\"peer\"]\n",
        socket.display()
    );
    let guarded = Guarded::start(&listeners).await;
    let status = guarded.gateway.status().await;
    let all = status["listeners"].as_array().expect("listeners").clone();
    let closed = all.iter().filter_map(Value::as_str).find(|it| it.starts_with("127.0.0.6:")).expect("it");
    let (lines, body) = modern("tools/list", "");
    let with = |token: Option<&str>| [token.map(bearer).into_iter().collect(), lines.clone()].concat();
    let statuses = async |token: Option<&str>| {
        let lines = with(token);
        let tcp = async |address: &str| TcpStream::connect(address).await.expect("somebody listens");
        let open = exchange(tcp(guarded.gateway.address()).await, "POST /mcp", &lines, &body).await;
        let asks = exchange(tcp(closed).await, "POST /mcp", &lines, &body).await;
        let stream = UnixStream::connect(&socket).await.expect("somebody listens");
        let peer = exchange(stream, "POST /mcp", &lines, &body).await;
        [open.status, asks.status, peer.status]
    };
    // Nobody has a name: what asks for a proof lets in nobody without one.
    assert_eq!(statuses(None).await, [200, 401, 403]);
    let token = guarded.token(&["create", "a"]).await;
    let taken_up = async { while statuses(Some(&token)).await[1] == 401 {} };
    tokio::time::timeout(PATIENCE, taken_up).await.expect("a new token is taken up");
    assert_eq!(statuses(Some(&token)).await, [200, 200, 403]);
    // A client of the kernel is none over TCP, and one of a token none where only the kernel is asked.
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid()).expect("it works").expect("it works").name;
    guarded.reload(&format!("{listeners}[clients.a]\n[clients.me]\npeer = {{ user = \"{me}\" }}\n")).await;
    assert_eq!(statuses(None).await, [401, 401, 200]);
    assert_eq!(statuses(Some(&token)).await, [200, 200, 200]);
    guarded.reload(&format!("{listeners}[clients.a]\n[clients.b]\npeer = {{ user = \"nobody\" }}\n")).await;
    assert_eq!(statuses(Some(&token)).await, [200, 200, 403]);
    guarded.token(&["revoke", "a"]).await;
    let refused = async { while statuses(Some(&token)).await[1] != 401 {} };
    tokio::time::timeout(PATIENCE, refused).await.expect("a revoked token is refused");
    guarded.gateway.stop().await;
}

#[tokio::test]
async fn event_stream_takes_messages_of_its_own_client_only() {
    let guarded = Guarded::start("[clients.a]\n[clients.b]\n").await;
    let (a, b) = (guarded.believed("a").await, guarded.believed("b").await);
    let mut stream = TcpStream::connect(guarded.gateway.address()).await.expect("somebody listens");
    let head = format!(
        "GET /sse HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{}\r\n\r\n",
        bearer(&a)
    );
    stream.write_all(head.as_bytes()).await.expect("it works");
    let mut text = String::new();
    let mut told = async |wanted: &str| {
        while !text.contains(wanted) {
            let mut bytes = [0; 4096];
            let count =
                tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await.expect("in time").expect("it");
            assert!(count > 0, "{text}");
            text += &String::from_utf8_lossy(&bytes[..count]);
        }
        text.clone()
    };
    let first = told("sessionId=").await;
    let id: String = first
        .split_once("sessionId=")
        .expect("it")
        .1
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let say = async |token: &str, method: &str| {
        let params = json!({ "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": { "name": "a", "version": "1" } });
        let body = json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params }).to_string();
        guarded.send(&format!("POST /message?sessionId={id}"), &[bearer(token)], &body).await.status
    };
    // Before the session begins, at its beginning, and within it.
    for method in ["ping", "tools/list", "initialize"] {
        assert_eq!(say(&b, method).await, 404, "{method}");
    }
    for method in ["ping", "initialize", "tools/list"] {
        assert_eq!(say(&a, method).await, 202, "{method}");
        assert_eq!(say(&b, "tools/list").await, 404, "{method}");
        told(&format!("\"id\":\"{method}\"")).await;
    }
    guarded.gateway.stop().await;
}
