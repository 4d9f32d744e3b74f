//! Malformed output of upstreams, over stdio and HTTP: each class harms its own calls at most.

use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;

use crate::client::Client;
use crate::gateway::{Gateway, HttpUpstream};
use crate::scripted::{Script, http_script};
use crate::tools::bound;
use crate::upstreams::{PYTHON, http, probe, stdio};

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// What the script of the bad upstream begins with: `part` writes in two pieces, `own` makes an answer to the current request.
const HELPERS: &str = r#"import os, sys, json, time
out = sys.stdout.buffer
current = None
def part(first, second):
    out.write(first)
    out.flush()
    time.sleep(0.1)
    return second
def own(members):
    return b'{"jsonrpc":"2.0","id":%d,%s}\n' % (current, members)
bad = {
"#;

/// What an upstream writes before, or instead of, its answer to a call; and what the call gets: a word of its result, or of
/// the error's message.
const LINES: [(&str, &str, &str); 24] = [
    ("garbage", r#"b"this is no JSON\n""#, "fine"),
    ("empty lines", r#"b"\n\r\n \n""#, "fine"),
    ("bad UTF-8", r#"b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}\n""#, "fine"),
    ("binary", r"bytes(range(256)) + b'\n'", "fine"),
    ("line beyond the limit", r"b'x' * (100 << 20) + b'\n'", "fine"),
    ("answer to nobody", r#"b'{"jsonrpc":"2.0","id":999,"result":{}}\n'"#, "fine"),
    ("answer with a text for an id", r#"b'{"jsonrpc":"2.0","id":"x","result":{}}\n'"#, "fine"),
    (
        "answer without an id",
        r#"b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}\n'"#,
        "fine",
    ),
    (
        "progress for nobody",
        r#"b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7}}\n'"#,
        "fine",
    ),
    ("batch", r#"b'[{"jsonrpc":"2.0","id":1,"result":{}}]\n'"#, "fine"),
    (
        "deep nesting",
        r#"b'{"jsonrpc":"2.0","method":"x","params":' + b"[" * 100000 + b"]" * 100000 + b"}\n""#,
        "fine",
    ),
    (
        "half a line, later the rest",
        r#"part(b'{"jsonrpc":"2.0","method":"notificat', b'ions/x"}\n')"#,
        "fine",
    ),
    ("no message", r#"b'{"hello":1}\n'"#, "fine"),
    ("another version", r#"b'{"jsonrpc":"1.0","id":1,"result":{}}\n'"#, "fine"),
    ("result and error at once", r#"own(b'"result":{},"error":{"code":1,"message":"x"}')"#, "cannot be read"),
    ("neither result nor error", r#"own(b'"x":1')"#, "cannot be read"),
    ("the id twice", r#"own(b'"id":7,"result":{}')"#, "fine"),
    ("carriage returns", r#"b'{"jsonrpc":"2.0","method":"notifications/x"}\r\n'"#, "fine"),
    ("zero bytes", r"bytes(5000) + b'\n'", "fine"),
    ("ten thousand notifications", r#"b'{"jsonrpc":"2.0","method":"notifications/x"}\n' * 10000"#, "fine"),
    ("a question that nobody knows", r#"b'{"jsonrpc":"2.0","id":"q","method":"what/ever"}\n'"#, "fine"),
    ("a flood on standard error", r"(sys.stderr.write('x' * (1 << 20)), b'')[1]", "fine"),
    ("early exit", r"b'') and None or os._exit(3", "ended before it answered"),
    ("half a line and the end", r#"b'{"jsonrpc":"2.0","id":') and sys.exit(0"#, "ended before it answered"),
];

#[tokio::test]
async fn every_class_of_bad_upstream_output_harms_its_own_calls_at_most() {
    let mut script = HELPERS.to_owned();
    for (name, bytes, _) in LINES {
        writeln!(script, "  {name:?}: lambda: out.write({bytes}),").expect("strings take all");
    }
    script += r#"}
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message: continue
    current = message["id"]
    name = message.get("params", {}).get("name")
    if name in bad: bad[name]()
    result = {"content": [{"type": "text", "text": "fine"}]}
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "bad", "version": "1"}}
    if message["method"] == "server/discover":
        out.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}).encode() + b"\n")
    else:
        if message["method"] == "tools/list": result = {"tools": []}
        out.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode() + b"\n")
    out.flush()
"#;
    let file = tempfile::Builder::new().suffix(".py").tempfile().expect("a file");
    std::io::Write::write_all(&mut file.as_file(), script.as_bytes()).expect("a file");
    let bad = stdio("bad", PYTHON, &[file.path().to_str().expect("UTF-8")]);
    let gateway = Gateway::start_with("max_message_size = \"1MiB\"", &(bad + &probe("good", &[])), &[]).await;
    let client = Client::modern(gateway.address(), "/mcp/bad");
    let good = Client::modern(gateway.address(), "/mcp/good");
    for (name, _, wanted) in LINES {
        let answer = client.call(name, "{}").await;
        assert_eq!(answer.status, StatusCode::OK, "{name}");
        assert!(answer.reply().contains(wanted), "{name}: {}", answer.reply());
        assert_eq!(good.call("sleep", r#"{"ms":0}"#).await.text(), "slept", "{name}");
    }
    assert!(!gateway.printed().contains("panicked"), "{}", gateway.printed());
    let legacy = Client::legacy(gateway.address(), "/mcp/bad").await;
    let back = async { while !legacy.call("x", "{}").await.reply().contains("fine") {} };
    tokio::time::timeout(PATIENCE, back).await.expect("it is started again");
    gateway.stop().await;
}

/// What an HTTP upstream answers a call with, as the bytes of its response, and a word of what the call gets.
const RESPONSES: [(&str, &str, &str); 12] = [
    ("a page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p/>", "not MCP"),
    ("no JSON", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{", "not MCP"),
    (
        "no message",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        "not MCP",
    ),
    (
        "a request",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 37\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"}",
        "not MCP",
    ),
    ("its own failure", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "upstream `bad`"),
    ("another place", "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "upstream `bad`"),
    ("nothing to say", "HTTP/1.1 204 No Content\r\n\r\n", "upstream `bad`"),
    (
        "less than announced",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{",
        "upstream `bad`",
    ),
    ("no HTTP", "what?\r\n\r\n", "upstream `bad`"),
    ("silence", "", "upstream `bad`"),
    (
        "a stream that ends early",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"m\"}\n\n",
        "closed the stream",
    ),
    (
        "a stream of garbage",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: what?\n\nid\n:\n\ndata\n\n",
        "closed the stream",
    ),
];

#[tokio::test]
async fn every_class_of_bad_upstream_responses_harms_its_own_calls_at_most() {
    let script = r#"
import json, socket, sys, threading
bad = json.loads(sys.argv[1])
server = socket.create_server(("127.0.0.1", 0))
print("listening on", server.getsockname()[1], flush=True)
def serve(connection):
    with connection, connection.makefile("rb") as lines:
        length = 0
        while (line := lines.readline()).strip():
            if line.lower().startswith(b"content-length:"): length = int(line.split(b":")[1])
        message = json.loads(lines.read(length) or b"{}")
        name = message.get("params", {}).get("name")
        if name in bad: return connection.sendall(bad[name].encode())
        result = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        if message.get("method") == "server/discover": result |= {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
        if message.get("method") == "tools/list": result |= {"tools": []}
        body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": result}).encode()
        head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head.encode() + body)
while True: threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"#;
    let bad: std::collections::BTreeMap<_, _> =
        RESPONSES.iter().map(|(name, bytes, _)| (name, bytes)).collect();
    let bad = serde_json::to_string(&bad).expect("JSON");
    let upstream = HttpUpstream::start(bound(PYTHON).args(["-c", script, &bad])).await;
    let gateway = Gateway::start(&(http("bad", upstream.port) + &probe("good", &[]))).await;
    let client = Client::modern(gateway.address(), "/mcp/bad");
    let good = Client::modern(gateway.address(), "/mcp/good");
    for (name, _, wanted) in RESPONSES {
        // Who has closed connections without an answer may be given a moment's rest.
        let answered = async {
            loop {
                let answer = client.call(name, "{}").await;
                if !answer.reply().contains("is tried again soon") {
                    return answer;
                }
            }
        };
        let answer = tokio::time::timeout(PATIENCE, answered).await.expect("it is used again");
        assert!(answer.raw_error().contains(wanted), "{name}: {}", answer.reply());
        assert_eq!(good.call("sleep", r#"{"ms":0}"#).await.text(), "slept", "{name}");
    }
    assert!(!gateway.printed().contains("panicked"), "{}", gateway.printed());
    let back = async { while client.call("x", "{}").await.reply().contains("error") {} };
    tokio::time::timeout(PATIENCE, back).await.expect("it is used again");
    gateway.stop().await;
}

/// A stdio server whose answers have both members, as those of JSON-RPC 1.0 had.
const LOOSE: &str = r#"
class Loose:
    def write(self, line):
        message = json.loads(line)
        if "result" in message: message["error"] = None
        elif "error" in message: message["result"] = None
        sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    def flush(self): sys.stdout.buffer.flush()
out = Loose()
def call(message, name): return "fine"
"#;

/// The same over HTTP.
const LOOSE_HTTP: &str = r#"
def answer(self, status, message=None, headers=()):
    if message and "result" in message: message["error"] = None
    elif message and "error" in message: message["result"] = None
    strict(self, status, message, headers)
strict, Handler.answer = Handler.answer, answer
"#;

#[tokio::test]
async fn null_beside_a_result_or_an_error_counts_as_left_out_and_is_told_once() {
    let script = Script::new(LOOSE);
    let server = http_script(LOOSE_HTTP).await;
    for configuration in [script.upstream("loose"), http("loose", server.port)] {
        let gateway = Gateway::start(&configuration).await;
        for client in
            [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
        {
            for _ in 0..3 {
                let answer = client.call("one", "{}").await;
                assert_eq!(answer.text(), "fine");
                assert!(!answer.reply().contains("error"), "{answer:?}");
            }
            let modern = matches!(client.era, crate::client::Era::Modern);
            let meta = if modern { crate::client::MODERN_META } else { "" };
            let refused = client.request("2", "vendor/none", "", &format!(r#"{{"_meta":{{{meta}}}}}"#)).await;
            assert_eq!(refused.error().0, -32601);
            assert!(!refused.reply().contains("result"), "{refused:?}");
        }
        gateway.prints("one of which is null").await;
        assert_eq!(gateway.printed().matches("one of which is null").count(), 1, "{}", gateway.printed());
        gateway.stop().await;
    }
}
