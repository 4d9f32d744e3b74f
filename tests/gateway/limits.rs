//! What one client may ask for: whoever asks for more is told when to come back, and nobody else feels it.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::access::{Answer, Guarded, bearer, call, exchange, modern};
use crate::client::{LEGACY, post, send};
use crate::gateway::Gateway;
use crate::upstreams::probe;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clients, each with one limit, and one without.
const TABLES: &str = "[clients.free]\n\
    [clients.rate]\nrate = \"4/h\"\n\
    [clients.burst]\nrate = \"3600/h\"\nburst = 2\n\
    [clients.tool]\ntool_rates = { one_echo = \"2/h\", \"two_*\" = \"1/h\" }\n\
    [clients.calls]\nmax_concurrency = 1\n\
    [clients.streams]\nmax_streams = 1\n\
    [clients.sessions]\nmax_sessions = 1\n";

/// That an answer tells when to come back; of a request with this id, in its error, too.
fn is_refused(answer: &Answer, id: &Value) {
    assert_eq!(answer.status, 429, "{answer:?}");
    let seconds: u64 = answer.header("retry-after").expect("when").parse().expect("seconds");
    let message = answer.message();
    let millis = message["error"]["data"]["retryAfterMs"].as_u64().unwrap_or_else(|| panic!("{answer:?}"));
    assert!(millis > 0 && millis.div_ceil(1000) == seconds, "{answer:?}");
    assert_eq!((&message["id"], &message["error"]["code"]), (id, &json!(-32005)), "{answer:?}");
}

/// `tools/call` of a tool.
fn calling(tool: &str) -> (Vec<String>, String) {
    modern("tools/call", &format!(r#""name":"{tool}","arguments":{{"ms":1}}"#))
}

/// A rate counts requests of both eras, notifications and streams, and goes on through a reload and a restart.
async fn rates(guarded: &Guarded, [free, rate, burst, tool]: [&str; 4]) {
    let list = || modern("tools/list", "");
    let session = guarded.begin(rate).await;
    assert_eq!(guarded.say("POST", rate, &session, &call("one_echo")).await.status, 200);
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(guarded.say("POST", rate, &session, note).await.status, 202);
    assert_eq!(guarded.ask("/mcp/two", rate, list()).await.status, 200);
    is_refused(&guarded.ask("/mcp", rate, list()).await, &json!(1));
    is_refused(&guarded.say("POST", rate, &session, &call("one_echo")).await, &json!(5));
    is_refused(&guarded.say("POST", rate, &session, note).await, &Value::Null);
    is_refused(&guarded.say("GET", rate, &session, "").await, &Value::Null);
    is_refused(&guarded.send("GET /sse", &[bearer(rate)], "").await, &Value::Null);
    // An answer to a server's question is never refused.
    let answer = r#"{"jsonrpc":"2.0","id":9,"result":{}}"#;
    assert_eq!(guarded.say("POST", rate, &session, answer).await.status, 202);
    let mut passed = 0;
    while guarded.ask("/mcp", burst, list()).await.status == 200 {
        passed += 1;
        assert!(passed < 100, "a burst has an end");
    }
    assert!(passed >= 2, "{passed}");
    for name in ["one_echo", "one_echo", "two_echo", "one_sleep", "one_sleep"] {
        assert_eq!(guarded.ask("/mcp", tool, calling(name)).await.status, 200, "{name}");
    }
    let used_up = async || {
        for name in ["one_echo", "two_echo", "two_sleep"] {
            is_refused(&guarded.ask("/mcp", tool, calling(name)).await, &json!(1));
        }
        is_refused(&guarded.ask("/mcp", rate, list()).await, &json!(1));
        assert_eq!(guarded.ask("/mcp", tool, calling("one_sleep")).await.status, 200);
        assert_eq!(guarded.ask("/mcp", free, list()).await.status, 200);
    };
    used_up().await;
    guarded.reload(&TABLES.replace("4/h\"", "4/h\"\nmax_streams = 7\ntools = { deny = [\"two_*\"] }")).await;
    used_up().await;
    guarded.gateway.restart().await;
    used_up().await;
    guarded.reload(&TABLES.replace("4/h", "5/h")).await;
    assert_eq!(guarded.ask("/mcp", rate, list()).await.status, 200, "another rate begins anew");
}

/// Opens a session's stream, and waits for the head of the answer.
async fn stream(guarded: &Guarded, token: &str, session: &str) -> TcpStream {
    let mut stream = TcpStream::connect(guarded.gateway.address()).await.expect("somebody listens");
    let head = format!(
        "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{}\r\nMcp-Session-Id: {session}\r\n\r\n",
        bearer(token)
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = [0; 15];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer))
        .await
        .expect("in time")
        .expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    stream
}

/// What is there at once has a limit, too, and room again when it ends.
async fn at_once(guarded: &Guarded, [free, calls, streams, sessions]: [&str; 4]) {
    let session = guarded.begin(calls).await;
    let sleep = call("one_sleep").replace("{}", r#"{"ms":600000}"#);
    // The call goes on without its client, and counts until it ends.
    let busy = async {
        while guarded.ask("/mcp", calls, calling("one_sleep")).await.status == 200 {
            drop(
                tokio::time::timeout(Duration::from_millis(50), guarded.say("POST", calls, &session, &sleep))
                    .await,
            );
        }
    };
    tokio::time::timeout(PATIENCE, busy).await.expect("the call is in flight");
    is_refused(&guarded.ask("/mcp", calls, calling("one_sleep")).await, &json!(1));
    assert_eq!(guarded.ask("/mcp", free, calling("one_sleep")).await.status, 200);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#;
    assert_eq!(guarded.say("POST", calls, &session, cancel).await.status, 202);
    let room = async { while guarded.ask("/mcp", calls, calling("one_sleep")).await.status != 200 {} };
    tokio::time::timeout(PATIENCE, room).await.expect("there is room again");

    let session = guarded.begin(streams).await;
    let held = stream(guarded, streams, &session).await;
    is_refused(&guarded.say("GET", streams, &session, "").await, &Value::Null);
    let listen = modern("subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#);
    is_refused(&guarded.ask("/mcp", streams, listen).await, &json!(1));
    assert_eq!(guarded.say("POST", streams, &session, &call("one_echo")).await.status, 200);
    drop(held);
    let room = async {
        let again =
            || tokio::time::timeout(Duration::from_millis(200), guarded.say("GET", streams, &session, ""));
        while again().await.is_ok() {}
    };
    tokio::time::timeout(PATIENCE, room).await.expect("there is room again");

    let session = guarded.begin(sessions).await;
    let _held = stream(guarded, sessions, &session).await;
    let params = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": "a", "version": "1" } });
    let begin = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string();
    is_refused(&guarded.send("POST /mcp", &[bearer(sessions)], &begin).await, &json!(0));
    guarded.begin(free).await;
}

#[tokio::test]
async fn client_that_asks_for_more_than_it_may_is_told_when_to_come_back_and_others_are_served() {
    let guarded = Guarded::start(TABLES).await;
    let mut tokens = Vec::new();
    for name in ["free", "rate", "burst", "tool", "calls", "streams", "sessions"] {
        tokens.push(guarded.believed(name).await);
    }
    let token = |place: usize| tokens[place].as_str();
    at_once(&guarded, [0, 4, 5, 6].map(token)).await;
    rates(&guarded, [0, 1, 2, 3].map(token)).await;
    guarded.gateway.stop_successor().await;
}

#[tokio::test]
async fn clients_without_a_name_have_limits_by_address_and_batches_entry_by_entry() {
    let scratch = tempfile::tempdir().expect("it works");
    let socket = scratch.path().join("http.sock");
    let server = format!(
        "rate_per_client = \"6/h\"\nmax_concurrency_per_client = 10\n[listeners.own]\naddress = \"unix:{}\"\n",
        socket.display()
    );
    let gateway = Gateway::start_with(&server, &probe("one", &[]), &[]).await;
    let address = gateway.address();
    let params = json!({ "protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": { "name": "a", "version": "1" } });
    let initialize =
        json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string();
    let begun = post(address, "/mcp", &[], &initialize).await;
    let session = begun.headers["mcp-session-id"].to_str().expect("ASCII");
    let headers = [("mcp-session-id", session), ("mcp-protocol-version", "2025-03-26")];
    let ping = |id: u32| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let batch = (1..=8).map(ping).collect::<Vec<_>>().join(",");
    let answer = post(address, "/mcp", &headers, &format!("[{batch}]")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let answers: Vec<Value> = serde_json::from_str(&answer.reply()).expect("a list");
    let refused = answers.iter().filter(|answer| answer["error"]["code"] == json!(-32005)).count();
    assert_eq!((answers.len(), refused), (8, 3), "{answers:?}");
    let (lines, body) = modern("tools/list", "");
    let list = async |own: &str| {
        let from = TcpSocket::new_v4().expect("a socket");
        from.bind(format!("{own}:0").parse().expect("an address")).expect("it is ours");
        let stream = from.connect(address.parse().expect("an address")).await.expect("somebody listens");
        exchange(stream, "POST /mcp", &lines, &body).await
    };
    for own in ["127.0.0.1", "127.0.0.9"] {
        is_refused(&list(own).await, &json!(1));
    }
    let unix = UnixStream::connect(&socket).await.expect("somebody listens");
    assert_eq!(exchange(unix, "POST /mcp", &lines, &body).await.status, 200, "nobody in particular");
    assert_eq!(send(address, Method::GET, "/health/live", &[], "").await.status, StatusCode::OK);
    gateway.restart().await;
    is_refused(&list("127.0.0.5").await, &json!(1));
    gateway.prints("a request is refused").await;
    gateway.stop_successor().await;
}
