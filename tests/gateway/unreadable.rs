//! Answers of upstreams that nobody can read as they are, or only with good will: what is certain is taken, and a call whose
//! answer cannot be read fails at once and is told why.

use std::time::Duration;

use crate::client::{Client, Era};
use crate::gateway::Gateway;
use crate::scripted::{Script, http_script};
use crate::upstreams::{http, sse};

/// How long any answer may take; far less than `request_timeout`.
const SOON: Duration = Duration::from_secs(40);

/// What says that an upstream speaks HTTP+SSE.
const SSE: &str = "transport = \"sse\"\n";

/// What a server makes of our identifiers, and whether it is certain what it means.
const IDENTIFIERS: [(&str, &str); 5] = [
    ("text", "str(it)"),
    ("fraction", "float(it)"),
    ("exponent", "Raw(f'{it}e0')"),
    ("tenths", "Raw(f'{it}0e-1')"),
    ("as it is", "it"),
];

/// A stdio server whose answers are edited by `edit(text, message)`.
const EDITED: &str = r#"
import re
class Raw(str): pass
def spelled(it):
    return it if isinstance(it, Raw) else json.dumps(it)
def edit(text, message): return text
class Edited:
    def write(self, line):
        message = json.loads(line)
        text = edit(json.dumps(message), message)
        sys.stdout.buffer.write(text if isinstance(text, bytes) else text.encode() + b"\n")
    def flush(self): sys.stdout.buffer.flush()
out = Edited()
def call(message, name): return "fine"
"#;

/// The same over HTTP.
const EDITED_HTTP: &str = r#"
class Raw(str): pass
def spelled(it):
    return it if isinstance(it, Raw) else json.dumps(it)
def edit(text, message): return text
def answer(self, status, message=None, headers=()):
    body = b""
    if message:
        text = edit(json.dumps({"jsonrpc": "2.0", **message}), message)
        body = text if isinstance(text, bytes) else text.encode()
    self.send_response(status)
    for name, value in headers: self.send_header(name, value)
    if body:
        if events: body = b"data: " + body + b"\n\n"
        self.send_header("Content-Type", "text/event-stream" if events else "application/json")
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)
Handler.answer = answer
events = False
"#;

/// What makes an HTTP server one of HTTP+SSE: what it says goes to `streams[handler.path]`.
pub(crate) const EVENT_CHANNEL: &str = r#"
import queue
class Anything:
    def __contains__(self, it): return True
    def add(self, it): pass
sessions, streams = Anything(), {}
def edit(text, message): return text
def get(handler):
    place = f"/messages/{len(streams)}"
    streams[place] = said = queue.Queue()
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.end_headers()
    handler.wfile.write(f"event: endpoint\ndata: {place}\n\n".encode())
    try:
        while True: handler.wfile.write(b"data: " + said.get() + b"\n\n")
    except OSError: pass
    handler.close_connection = True
    return True
def say(self, message):
    text = edit(json.dumps({"jsonrpc": "2.0", **message}), message)
    streams[self.path].put(text if isinstance(text, bytes) else text.encode())
plain = Handler.answer
def answer(self, status, message=None, headers=()):
    if message: say(self, message)
    plain(self, 202)
Handler.answer = answer
"#;

#[tokio::test]
async fn identifiers_that_can_only_mean_ours_are_taken_and_that_is_told_once() {
    for (name, expression) in IDENTIFIERS {
        let lines = format!(
            r#"
def edit(text, message):
    if "result" not in message and "error" not in message: return text
    it = message["id"]
    return json.dumps(json.loads(text) | {{"id": 4711}}).replace("4711", spelled({expression}))
"#
        );
        let script = Script::new(&format!("{EDITED}{lines}"));
        let body = http_script(&format!("{EDITED_HTTP}{lines}")).await;
        let events = http_script(&format!("{EDITED_HTTP}{lines}events = True\n")).await;
        let channel = http_script(&format!("{EDITED_HTTP}{EVENT_CHANNEL}{lines}")).await;
        let (body, events) = (http("odd", body.port), http("odd", events.port));
        for configuration in [script.upstream("odd"), body, events, sse("odd", channel.port, SSE)] {
            let gateway = Gateway::start(&configuration).await;
            for client in
                [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
            {
                for _ in 0..3 {
                    let answer = tokio::time::timeout(SOON, client.call("one", "{}")).await;
                    assert_eq!(answer.unwrap_or_else(|_| panic!("{name}")).text(), "fine", "{name}");
                }
            }
            let told = gateway.printed().matches("spelled otherwise").count();
            assert_eq!(told, usize::from(name != "as it is"), "{name}: {}", gateway.printed());
            gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn progress_under_a_token_that_is_spelled_otherwise_reaches_its_call() {
    let lines = r#"
def progress(message):
    token = message["params"]["_meta"]["progressToken"]
    token = str(token) if isinstance(token, int) else int(token)
    return {"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
"#;
    let script = Script::new(&format!(
        "{lines}
def call(message, name):
    send(progress(message))
    return 'fine'
"
    ));
    let channel = http_script(&format!(
        "{EDITED_HTTP}{EVENT_CHANNEL}{lines}
def call(handler, message, name):
    say(handler, progress(message))
    return 'fine'
"
    ))
    .await;
    for configuration in [script.upstream("odd"), sse("odd", channel.port, SSE)] {
        let gateway = Gateway::start(&configuration).await;
        let client = Client::legacy(gateway.address(), "/mcp").await;
        for token in ["7", "\"8\""] {
            let params = format!(r#"{{"name":"x","arguments":{{}},"_meta":{{"progressToken":{token}}}}}"#);
            let answer = client.request("1", "tools/call", "x", &params).await;
            let messages = answer.messages();
            assert_eq!(answer.text(), "fine");
            assert!(messages.len() == 2, "{messages:?}");
            let told: serde_json::Value = serde_json::from_str(&messages[0]).expect("JSON");
            assert_eq!(told["params"]["progressToken"].to_string(), token);
        }
        gateway.stop().await;
    }
}

/// What is made of the answer to a call, as a Python expression of its `text` and `message`; each is no message any more. The
/// last member says whether that is clear while other calls are in flight.
const UNREADABLE: [(&str, &str, bool); 17] = [
    ("not a number", r#"text.replace('"fine"', 'NaN')"#, true),
    ("infinity", r#"text.replace('"fine"', '[Infinity, 1]')"#, true),
    ("negative infinity", r#"text.replace('"fine"', '-Infinity')"#, true),
    ("none", r#"text.replace('"fine"', 'None')"#, true),
    ("undefined", r#"text.replace('"fine"', 'undefined')"#, true),
    ("single quotes", r#"text.replace('"fine"', "'fi\\'ne'")"#, true),
    ("trailing comma", r#"text.replace('"fine"', '"fine",')"#, true),
    ("bare value", r#"text.replace('"fine"', '<object at 0x7f>')"#, true),
    ("Latin-1", r#"text.replace("fine", "f\u00e9ne").encode("latin-1")"#, true),
    ("UTF-16 half", r#"text.encode().replace(b"fine", b"\xed\xa0\x80")"#, true),
    ("tab in a text", r#"text.replace("fine", "fi\tne")"#, true),
    ("cut in the middle", r#"json.dumps({"id": message["id"], "jsonrpc": "2.0", "result": {}})[:-3]"#, true),
    ("cut before its identifier", r#"'{"jsonrpc": "2.0", "result": {"content": ["a'"#, false),
    ("another version", r#"text.replace('"2.0"', '"1.0"')"#, true),
    ("no version", r#"text.replace('"jsonrpc": "2.0", ', '')"#, true),
    ("result and error", r#"text[:-1] + ', "error": {"code": 1, "message": "x"}}'"#, true),
    ("neither", r#"text.replace('"result"', '"results"')"#, true),
];

/// The lines that edit the answers to calls of these names.
fn edits() -> String {
    use std::fmt::Write as _;
    let mut lines = "edits = {\n".to_owned();
    for (name, expression, _) in UNREADABLE {
        writeln!(lines, "  {name:?}: lambda text, message: {expression},").expect("strings take all");
    }
    lines
        + r#"}
names = {}
def edit(text, message):
    name = names.pop(message.get("id"), None)
    return edits[name](text, message) if name in edits else text
"#
}

#[tokio::test]
async fn call_whose_answer_cannot_be_read_fails_at_once_and_says_why_over_stdio() {
    let script = Script::new(&format!(
        r#"{EDITED}{}
def edit_line(text, message, before=edit):
    text = before(text, message)
    return text + b"\n" if isinstance(text, bytes) else text
edit = edit_line
waiting = []
def call(message, name):
    names[message["id"]] = name
    if name == "wait":
        waiting.append(message)
        return None
    if name == "go":
        for other in waiting: reply(other, {{"content": [{{"type": "text", "text": "waited"}}]}})
        waiting.clear()
    return "fine"
"#,
        edits()
    ));
    let gateway = Gateway::start(&script.upstream("odd")).await;
    for client in [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
    {
        for (name, ..) in UNREADABLE {
            let answer = tokio::time::timeout(SOON, client.call(name, "{}")).await;
            let (_, message) = answer.unwrap_or_else(|_| panic!("{name}: no answer")).error();
            assert!(message.contains("`odd`") && message.contains("cannot be read"), "{name}: {message}");
            assert_eq!(client.call("x", "{}").await.text(), "fine", "{name}");
        }
        // Another call in flight is not harmed.
        for (name, _, clear) in UNREADABLE {
            let other = client.clone();
            let waits = tokio::spawn(async move { send_wait(&other).await });
            let in_flight = async { while gateway.in_flight().await == 0 {} };
            tokio::time::timeout(SOON, in_flight).await.expect("it waits");
            if clear {
                let answer = tokio::time::timeout(SOON, client.call(name, "{}")).await;
                answer.unwrap_or_else(|_| panic!("{name}: no answer beside another")).error();
            }
            assert_eq!(client.call("go", "{}").await.text(), "fine", "{name}");
            assert!(waits.await.expect("no panic").contains("waited"), "{name}");
        }
    }
    gateway.stop().await;
}

/// Calls `wait` under an identifier of its own.
async fn send_wait(client: &Client) -> String {
    let meta = match client.era {
        Era::Legacy(_) => String::new(),
        Era::Modern => format!(",\"_meta\":{{{}}}", crate::client::MODERN_META),
    };
    let params = format!(r#"{{"name":"wait","arguments":{{}}{meta}}}"#);
    client.request("\"waits\"", "tools/call", "wait", &params).await.reply()
}

#[tokio::test]
async fn call_whose_answer_cannot_be_read_fails_at_once_and_says_why_over_http() {
    for modern in ["False", "True"] {
        for events in ["False", "True"] {
            let server = http_script(&format!(
                r#"{EDITED_HTTP}{}
events = {events}
modern = {modern}
def call(handler, message, name):
    names[message["id"]] = name
    return "fine"
plain = Handler.answer
def answer(self, status, message=None, headers=()):
    # The stream goes on after what cannot be read: nothing else ends the call.
    odd = message and names.get(message.get("id")) in edits
    if not (events and odd): return plain(self, status, message, headers)
    text = edit(json.dumps({{"jsonrpc": "2.0", **message}}), message)
    self.send_response(200)
    self.send_header("Content-Type", "text/event-stream")
    self.send_header("Connection", "close")
    self.end_headers()
    self.close_connection = True
    self.wfile.write(b"data: " + (text if isinstance(text, bytes) else text.encode()) + b"\n\n")
    try:
        while True:
            self.wfile.write(b": still here\n\n")
            time.sleep(0.05)
    except OSError: pass
Handler.answer = answer
"#,
                edits()
            ))
            .await;
            let gateway = Gateway::start(&http("odd", server.port)).await;
            for client in
                [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
            {
                for (name, ..) in UNREADABLE {
                    let answer = tokio::time::timeout(SOON, client.call(name, "{}")).await;
                    let (_, message) =
                        answer.unwrap_or_else(|_| panic!("{name} {events}: no answer")).error();
                    assert!(
                        message.contains("`odd`") && message.contains("cannot be read"),
                        "{name} {events}: {message}"
                    );
                    assert_eq!(client.call("x", "{}").await.text(), "fine", "{name} {events}");
                }
            }
            gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn call_whose_answer_cannot_be_read_fails_at_once_and_says_why_over_an_event_stream() {
    let call = "
def call(handler, message, name):
    names[message['id']] = name
    return 'fine'
";
    let server = http_script(&format!("{EDITED_HTTP}{EVENT_CHANNEL}{}{call}", edits())).await;
    let gateway = Gateway::start(&sse("odd", server.port, SSE)).await;
    for client in [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
    {
        // Another encoding ends the stream, and with it the session; the other texts do not.
        let others = UNREADABLE.iter().filter(|(name, ..)| !name.starts_with("UTF-16") && *name != "Latin-1");
        for name in others.map(|(name, ..)| *name).chain(["Latin-1"]) {
            let answer = tokio::time::timeout(SOON, client.call(name, "{}")).await;
            let (_, message) = answer.unwrap_or_else(|_| panic!("{name}: no answer")).error();
            assert!(message.contains("`odd`") && message.contains("cannot be read"), "{name}: {message}");
            if name != "Latin-1" {
                assert_eq!(client.call("x", "{}").await.text(), "fine", "{name}");
            }
        }
    }
    gateway.stop().await;
}
