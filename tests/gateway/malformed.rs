//! Malformed input of clients: each class with the status and code that it must get, and a gateway that goes on. Upstreams are
//! in `malformed_upstreams`.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::upstreams::{Gate, probe};

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// One class of bad requests: its name, the raw request with `\n` for line ends in its head, and the status and the
/// JSON-RPC code that it gets; 0 where the answer is not JSON-RPC.
struct Class {
    /// What is wrong.
    name: &'static str,
    /// Lines of the head after the host.
    head: String,
    /// The body.
    body: Vec<u8>,
    /// The status.
    status: u16,
    /// The code.
    code: i64,
}

/// The headers of an ordinary POST, without its length.
const PLAIN: &str = "Content-Type: application/json\nAccept: application/json, text/event-stream";

/// A class with the ordinary head and this body.
fn body(name: &'static str, body: impl Into<Vec<u8>>, status: u16, code: i64) -> Class {
    let body = body.into();
    let head = format!("POST /mcp HTTP/1.1\n{PLAIN}\nContent-Length: {}", body.len());
    Class { name, head, body, status, code }
}

/// A class with this head and an ordinary body.
fn head(name: &'static str, first: &str, lines: &str, status: u16, code: i64) -> Class {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_vec();
    Class { name, head: format!("{first}\n{lines}\nContent-Length: {}", body.len()), body, status, code }
}

/// Bodies that are not a message of this protocol.
fn bodies() -> Vec<Class> {
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#,
        "[".repeat(30_000),
        "]".repeat(30_000)
    );
    vec![
        body("not JSON", "{", 400, -32700),
        body("nothing", "", 400, -32700),
        body("white space", " \r\n\t ", 400, -32700),
        body("two messages in a row", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{}"#, 400, -32700),
        body("bad UTF-8", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xff\"}".to_vec(), 400, -32700),
        body("byte order mark", "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}", 400, -32700),
        body(
            "control character in a string",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\u{1}ng\"}",
            400,
            -32700,
        ),
        // It is JSON, and passes any depth; what is missing is a session.
        body("deep nesting", deep, 400, -32600),
        body("batch", r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, 400, -32600),
        body("empty batch", "[]", 400, -32600),
        body("a bare string", "\"ping\"", 400, -32600),
        body("null", "null", 400, -32600),
        body("no version", r#"{"id":1,"method":"ping"}"#, 400, -32600),
        body("another version", r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, 400, -32600),
        body("id is null", r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, 400, -32600),
        body("id is an object", r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, 400, -32600),
        body("method is a number", r#"{"jsonrpc":"2.0","id":1,"method":7}"#, 400, -32600),
        body("method twice", r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"x"}"#, 400, -32600),
        body(
            "request and response at once",
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            400,
            -32600,
        ),
        body("neither request nor response", r#"{"jsonrpc":"2.0","id":1}"#, 400, -32600),
        body("larger than allowed", vec![b' '; 70_000], 413, -32600),
    ]
}

/// Heads that are not those of a request of this protocol.
fn heads() -> Vec<Class> {
    let post = "POST /mcp HTTP/1.1";
    let with = |line: &str| format!("{PLAIN}\n{line}");
    vec![
        head("no content type", post, "Accept: */*", 415, -32600),
        head("wrong content type", post, "Content-Type: text/plain\nAccept: */*", 415, -32600),
        head("JSON is not accepted", post, "Content-Type: application/json\nAccept: text/html", 406, -32600),
        head("no session", post, PLAIN, 400, -32600),
        head("unknown session", post, &with("Mcp-Session-Id: 0123"), 404, -32600),
        head("session that is no text", post, &with("Mcp-Session-Id: \u{7f}"), 400, 0),
        head("unknown revision", post, &with("Mcp-Protocol-Version: 1999-01-01"), 400, -32600),
        head("modern without metadata", post, &with("Mcp-Protocol-Version: 2026-07-28"), 400, -32602),
        head("foreign page", post, &with("Origin: https://evil.example"), 403, 0),
        head("two hosts", post, &with("Host: evil.example"), 400, 0),
        head("line break in a header", post, &with("X: a\r b\rSet: c"), 400, 0),
        head("two lengths", post, &with("Content-Length: 1"), 400, 0),
        head("unknown endpoint", "POST /mcp/nowhere HTTP/1.1", PLAIN, 404, 0),
        head("unknown path", "POST /other HTTP/1.1", PLAIN, 404, 0),
        head("unknown HTTP method", "BREW /mcp HTTP/1.1", PLAIN, 405, 0),
        head("no HTTP at all", "nonsense", PLAIN, 400, 0),
    ]
}

/// Sends a raw request and returns the answer's head and body; the connection is closed afterwards.
async fn raw(address: &str, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let host = if head.contains("\nHost:") { "" } else { "Host: 127.0.0.1\r\n" };
    let (first, rest) = head.split_once('\n').expect("a first line");
    let rest = rest.replace('\n', "\r\n");
    let text = format!("{first}\r\n{host}Connection: close\r\n{rest}\r\n\r\n");
    let two =
        if head.contains("Host: evil") { text.replacen("\r\n", "\r\nHost: 127.0.0.1\r\n", 1) } else { text };
    // The gateway may answer and close before it has read all.
    let _ = stream.write_all(two.as_bytes()).await;
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn every_class_of_bad_requests_gets_its_status_and_code() {
    let gateway = Gateway::start_with("max_message_size = \"64KiB\"", &probe("probe", &[]), &[]).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let mut wrong = Vec::new();
    for class in bodies().into_iter().chain(heads()) {
        let answer = raw(gateway.address(), &class.head, &class.body).await;
        let status = format!("HTTP/1.1 {} ", class.status);
        let code = format!("\"code\":{}", class.code);
        let fits = answer.starts_with(&status) && (class.code == 0 || answer.contains(&code));
        if !fits || answer.contains("panicked") {
            wrong.push(format!("{}: wanted {} {}, got {answer}", class.name, class.status, class.code));
        }
        assert_eq!(client.call("sleep", r#"{"ms":0}"#).await.text(), "slept", "after {}", class.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!gateway.printed().contains("panicked"), "{}", gateway.printed());
    gateway.stop().await;
}

#[tokio::test]
async fn id_in_use_is_refused_and_the_first_request_is_answered() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let gate = Gate::closed();
    let arguments = gate.arguments();
    let slow = client.call("sleep", &arguments);
    let again = async {
        tokio::time::timeout(PATIENCE, async { while gateway.in_flight().await == 0 {} })
            .await
            .expect("in flight");
        let refused = client.call("sleep", r#"{"ms":0}"#).await.error();
        gate.open();
        refused
    };
    let (slow, (code, message)) = tokio::join!(slow, again);
    assert_eq!(slow.text(), "slept");
    assert_eq!(code, -32600);
    assert!(message.contains("already in flight"), "{message}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn id_of_a_cancelled_request_that_is_used_again_at_once_is_answered_or_refused() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let cancel =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"test"}}"#;
    for round in 0..100 {
        let gate = Gate::closed();
        let (first, held) = (client.clone(), gate.arguments());
        let first = tokio::spawn(async move { first.call("sleep", &held).await });
        let again = async {
            loop {
                client.post("", "", cancel).await;
                let answer = client.call("sleep", r#"{"ms":20}"#).await;
                let reply = answer.messages().pop();
                match reply {
                    Some(reply) if reply.contains("already in flight") => {}
                    Some(reply) => return assert!(reply.contains("slept"), "round {round}: {reply}"),
                    None => {
                        panic!("round {round}: no answer to a request that nobody has cancelled: {answer:?}")
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, again).await.expect("the identifier is free");
        gate.open();
        let _ = first.await;
    }
    assert!(!gateway.printed().contains("panicked"), "{}", gateway.printed());
    gateway.stop().await;
}

#[tokio::test]
async fn client_that_stops_in_the_middle_of_its_message_harms_nobody() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    for part in [
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Ty",
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"jsonrpc\"",
    ] {
        let mut stream = TcpStream::connect(gateway.address()).await.expect("it listens");
        stream.write_all(part.as_bytes()).await.expect("it reads");
        drop(stream);
    }
    let client = Client::modern(gateway.address(), "/mcp");
    assert_eq!(client.call("sleep", r#"{"ms":0}"#).await.text(), "slept");
    let idle = async { while gateway.in_flight().await > 0 {} };
    tokio::time::timeout(PATIENCE, idle).await.expect("nothing is left in flight");
    gateway.stop().await;
}

/// Sends the beginning of a request and then a byte from time to time, until it is cut; returns what was answered.
async fn trickle(address: &str, beginning: &str) -> String {
    let stream = TcpStream::connect(address).await.expect("it listens");
    let (mut reading, mut writing) = stream.into_split();
    writing.write_all(beginning.as_bytes()).await.expect("it reads");
    let slowly = async {
        while writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let cut = async {
        tokio::select! {
            _ = reading.read_to_end(&mut answer) => {}
            () = slowly => {}
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.expect("whoever is too slow is cut");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn client_that_sends_a_byte_now_and_then_is_cut_and_harms_nobody() {
    let gateway = Gateway::start_with("client_timeout = \"3s\"", &probe("probe", &[]), &[]).await;
    let address = gateway.address();
    let body = format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\nContent-Length: 9000\r\n\r\n{{",
        PLAIN.replace('\n', "\r\n")
    );
    let client = Client::modern(address, "/mcp");
    let (slow_head, slow_body, slept) = tokio::join!(
        trickle(address, "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow:"),
        trickle(address, &body),
        client.call("sleep", r#"{"ms":0}"#)
    );
    assert!(slow_head.is_empty() || slow_head.starts_with("HTTP/1.1 408"), "{slow_head}");
    assert!(slow_body.starts_with("HTTP/1.1 408") && slow_body.contains("client_timeout"), "{slow_body}");
    assert_eq!(slept.text(), "slept");
    gateway.stop().await;
}

#[test]
fn there_are_24_classes_of_bad_requests_at_least() {
    let mut names: Vec<_> = bodies().into_iter().chain(heads()).map(|class| class.name).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() >= 24, "{}", names.len());
}
