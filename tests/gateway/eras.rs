//! The two eras side by side: negotiation, streams of each, and clients that meet upstreams of the other era.

use http::StatusCode;
use serde_json::Value;

use crate::client::{Answer, Client, LEGACY, post};
use crate::gateway::{Gateway, HttpUpstream};
use crate::scripted::{Script, http_script};
use crate::tools::bound;
use crate::upstreams::{PYTHON, http, http_probe, probe};

/// Opens a session that asks for a revision; returns the answer.
async fn initialize(address: &str, revision: &str) -> Answer {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{{}},"clientInfo":{{"name":"raw","version":"1"}}}}}}"#
    );
    let answer = post(address, "/mcp", &[], &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer
}

/// The server-sent events of a call in a session of this revision.
async fn events(address: &str, revision: &str) -> Vec<String> {
    let opened = initialize(address, revision).await;
    let session = opened.headers["mcp-session-id"].to_str().expect("ASCII");
    // A client that lists the stream first would rather have one, even where one JSON body would do.
    let accept = ("accept", "text/event-stream, application/json");
    let headers = [("mcp-session-id", session), ("mcp-protocol-version", revision), accept];
    let call = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"progress","#,
        r#""arguments":{"count":1,"call":1},"_meta":{"progressToken":1}}}"#
    );
    let answer = post(address, "/mcp", &headers, call).await;
    // A notification and a result do not fit into JSON, so this is a stream.
    assert_eq!(answer.messages().len(), 2, "{answer:?}");
    let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    text.split_terminator("\n\n").map(str::to_owned).collect()
}

/// Whether an event is one that has an id and no data.
fn is_priming(event: &str) -> bool {
    event.lines().any(|line| line.starts_with("id:")) && event.lines().any(|line| line.trim_end() == "data:")
}

#[tokio::test]
async fn session_has_the_asked_revision_if_there_is_one_and_else_the_newest_legacy_one() {
    let gateway = Gateway::start("").await;
    for (asked, expected) in
        [(LEGACY, LEGACY), ("2025-06-18", "2025-06-18"), ("2025-03-26", "2025-03-26"), ("1999-01-01", LEGACY)]
    {
        let answer = initialize(gateway.address(), asked).await;
        let result: Value = serde_json::from_str(&answer.result()).expect("JSON");
        assert_eq!(result["protocolVersion"], expected);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn stream_of_a_2025_11_25_session_begins_with_a_priming_event_and_a_retry_time() {
    // MCP 2025-11-25 §Sending Messages to the Server: an event with an id and empty data, for later resumption.
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let events = events(gateway.address(), LEGACY).await;
    assert!(is_priming(&events[0]), "{events:?}");
    assert!(
        events.iter().flat_map(|event| event.lines()).any(|line| line.starts_with("retry:")),
        "{events:?}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn stream_of_an_older_session_has_no_event_without_data() {
    // Clients of those revisions parse the data of every event as JSON.
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let events = events(gateway.address(), "2025-06-18").await;
    assert!(!events.iter().any(|event| is_priming(event)), "{events:?}");
    gateway.stop().await;
}

/// A call by each kind of client to an upstream of one era; the result must be of the client's era.
async fn both_clients_work(configuration: &str) {
    let gateway = Gateway::start(configuration).await;
    let address = gateway.address();
    for (client, modern) in
        [(Client::legacy(address, "/mcp").await, false), (Client::modern(address, "/mcp"), true)]
    {
        assert!(client.tools().await.contains(&"pids".to_owned()), "modern client: {modern}");
        let answer = client.call("pids", "{}").await;
        answer.text();
        let result: Value = serde_json::from_str(&answer.result()).expect("JSON");
        let expected = modern.then_some("complete");
        assert_eq!(result["resultType"].as_str(), expected, "modern client: {modern}");
        let (code, _) = client.call("no_such_tool", "{}").await.error();
        assert_eq!(code, -32602, "modern client: {modern}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn clients_of_both_eras_reach_a_legacy_upstream_over_stdio() {
    both_clients_work(&probe("probe", &["--era", "legacy"])).await;
}

#[tokio::test]
async fn clients_of_both_eras_reach_a_modern_upstream_over_stdio() {
    both_clients_work(&probe("probe", &["--era", "modern"])).await;
}

#[tokio::test]
async fn clients_of_both_eras_reach_a_legacy_upstream_over_http() {
    let upstream = http_probe(&["--era", "legacy"]).await;
    both_clients_work(&http("probe", upstream.port)).await;
}

#[tokio::test]
async fn clients_of_both_eras_reach_a_modern_upstream_over_http() {
    let upstream = http_probe(&["--era", "modern"]).await;
    both_clients_work(&http("probe", upstream.port)).await;
}

/// A modern server whose tool `where` mirrors its arguments in headers, and says what it finds there.
const MIRRORING: &str = r#"
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        result = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        if message["method"] == "server/discover":
            result |= {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
        if message["method"] == "tools/list":
            place = {"type": "object", "properties": {"zone": {"type": "integer", "x-mcp-header": "Zone"}}}
            properties = {"region": {"type": "string", "x-mcp-header": "Region"}, "place": place}
            result |= {"tools": [{"name": "where", "inputSchema": {"type": "object", "properties": properties}}]}
        if message["method"] == "tools/call":
            found = [self.headers.get("Mcp-Param-" + name) for name in ("Region", "Zone")]
            result |= {"content": [{"type": "text", "text": json.dumps(found)}]}
        answer = {"jsonrpc": "2.0", "id": message.get("id"), "result": result}
        if message["method"] == "initialize":
            del answer["result"]
            answer["error"] = {"code": -32601, "message": "method not found"}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("listening on", server.server_address[1], flush=True)
server.serve_forever()
"#;

#[tokio::test]
async fn arguments_of_a_legacy_client_are_mirrored_in_headers_for_a_modern_http_server() {
    let upstream = HttpUpstream::start(bound(PYTHON).args(["-c", MIRRORING])).await;
    for configuration in [http("probe", upstream.port), http("probe", upstream.port) + &probe("other", &[])] {
        let gateway = Gateway::start(&configuration).await;
        let client = Client::legacy(gateway.address(), "/mcp").await;
        let tools = client.tools().await;
        let tool = tools.iter().find(|tool| tool.ends_with("where")).expect("the tool");
        let told = client.call(tool, r#"{"region":"\u00e9 west","place":{"zone":7}}"#).await.text();
        assert_eq!(told, r#"["=?base64?w6kgd2VzdA==?=", "7"]"#);
        assert_eq!(client.call(tool, r#"{"region":null}"#).await.text(), "[null, null]");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn code_of_a_legacy_error_is_that_of_the_modern_era_only_where_it_means_the_same() {
    let gateway = Gateway::start(&probe("probe", &["--era", "legacy"])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let (code, message) = client.call("fail", r#"{"code":-32002}"#).await.error();
    assert!(
        code == -32603 && message.contains("-32002"),
        "the server's own number for what a tool met: {message}"
    );
    gateway.stop().await;
}

/// What a server answers to `initialize`, if it knows that.
const CHOOSES: &str = "
def chosen(message):
    if message.get('method') != 'initialize': return None
    return {'protocolVersion': 'VERSION', 'capabilities': {}, 'serverInfo': {'name': 'x', 'version': '1'}}
";
/// A stdio server that refuses `server/discover`.
const OVER_PIPES: &str = "
def handle(message):
    if message['method'] == 'server/discover': refuse(message, NUMBER)
    elif chosen(message): reply(message, chosen(message))
    else: return False
    return True
";
/// The same over HTTP.
const OVER_HTTP: &str = "
def post(handler, message):
    error = {'code': NUMBER, 'message': 'no'}
    if message.get('method') == 'server/discover': handler.answer(400, {'id': message['id'], 'error': error})
    elif chosen(message): handler.result(message, chosen(message))
    else: return False
    return True
class Anything:
    def __contains__(self, it): return True
sessions = Anything()
";

/// What a server chooses, how it refuses `server/discover`, and what operators read of it if it is not used.
const SAID: [(&str, i64, Option<&str>); 12] = [
    ("2099-12-31", -32601, Some("does not know: `")),
    ("2026-07-28", -32601, Some("does not know: `")),
    ("1.0", -32601, Some("does not know: `")),
    ("", -32601, Some("does not know: `")),
    ("2025-11-25", -32601, None),
    ("2025-06-18", -32601, None),
    ("2025-03-26", -32601, None),
    ("2024-11-05", -32601, None),
    (LEGACY, -32020, Some("refuses `server/discover`")),
    (LEGACY, -32021, Some("refuses `server/discover`")),
    (LEGACY, -32019, None),
    (LEGACY, -32600, None),
];

#[tokio::test]
async fn revision_and_era_of_a_server_are_what_it_says_and_nothing_unknown_is_spoken() {
    let (mut scripts, mut servers, mut configuration) = (Vec::new(), Vec::new(), String::new());
    for (place, (version, number, _)) in SAID.iter().enumerate() {
        let lines = |rest: &str| {
            (CHOOSES.to_owned() + rest).replace("VERSION", version).replace("NUMBER", &number.to_string())
        };
        scripts.push(Script::new(&lines(OVER_PIPES)));
        servers.push(http_script(&lines(OVER_HTTP)).await);
        configuration += &scripts[place].upstream(&format!("p{place}"));
        configuration += &http(&format!("h{place}"), servers[place].port);
    }
    let gateway = Gateway::start(&configuration).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let is_found = |upstream: &Value, refused: Option<&str>| match refused {
        None => upstream["state"] == "ready",
        Some(why) => upstream["last_error"].as_str().is_some_and(|error| error.contains(why)),
    };
    loop {
        let status = gateway.status().await;
        let all = status["upstreams"].as_array().expect("upstreams");
        let wanted =
            SAID.iter().enumerate().flat_map(|(place, said)| [('p', place, said), ('h', place, said)]);
        let mut differing = wanted.filter(|(kind, place, (.., refused))| {
            let name = format!("{kind}{place}");
            !all.iter().any(|upstream| upstream["name"] == *name && is_found(upstream, *refused))
        });
        let Some(case) = differing.next() else { break };
        assert!(std::time::Instant::now() < deadline, "{case:?}: {status}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn trace_that_headers_state_reaches_servers_of_both_eras_unless_the_message_states_one() {
    let servers = probe("old", &["--era", "legacy"]) + &probe("new", &["--era", "modern"]);
    let gateway = Gateway::start(&servers).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
    let own = "00-11111111111111111111111111111111-2222222222222222-00";
    let legacy = Client::legacy(gateway.address(), "/mcp").await;
    for tool in ["old_echo", "new_echo"] {
        for (header, stated, wanted) in [
            (parent, String::new(), [parent, "a=1,b=2", "k=v"]),
            (parent, format!(r#""traceparent":"{own}""#), [own, "", ""]),
            ("00-0af7", String::new(), ["", "", ""]),
        ] {
            let trace =
                [("traceparent", header), ("tracestate", "a=1"), ("tracestate", "b=2"), ("baggage", "k=v")];
            let comma = if stated.is_empty() { "" } else { "," };
            let modern_meta = format!("{}{comma}{stated}", crate::client::MODERN_META);
            let modern =
                [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", tool)];
            for (headers, meta) in [(&legacy.session_headers()[..], &stated), (&modern[..], &modern_meta)] {
                let meta = if meta.is_empty() { String::new() } else { format!(r#","_meta":{{{meta}}}"#) };
                let body = format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}{meta}}}}}"#
                );
                let headers = [headers, &trace[..]].concat();
                let answer = post(gateway.address(), "/mcp", &headers, &body).await;
                let params: Value = serde_json::from_str(&answer.text()).expect("JSON");
                let found = ["traceparent", "tracestate", "baggage"]
                    .map(|key| params["_meta"][key].as_str().unwrap_or_default());
                assert_eq!(found, wanted, "{tool} {params}");
            }
        }
    }
    gateway.stop().await;
}
