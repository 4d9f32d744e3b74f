//! Floods of messages: what one client sends costs no memory beyond its limits, and its sessions keep nobody out.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{Client, LEGACY, post};
use crate::gateway::Gateway;
use crate::upstreams::probe;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// `initialize` with this `clientInfo` and these capabilities.
fn initialize(info: &str, capabilities: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{capabilities},"clientInfo":{info}}}}}"#
    )
}

/// An object that is so many bytes long.
fn padded(bytes: usize) -> String {
    format!(r#"{{"name":"{}","version":"1"}}"#, "x".repeat(bytes - 25))
}

/// Resident memory of a process in bytes: `proc_pid_status(5)`.
fn resident(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of each process");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// The head of a POST with a body of this length.
fn head(length: usize) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Posts a body from another address of this machine, over a connection that is given back with the answer's beginning.
async fn post_from(own: &str, address: &str, session: &str, body: &str) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(own.parse().expect("an address"), 0)).expect("it is ours");
    let mut stream = socket.connect(address.parse().expect("an address")).await.expect("it listens");
    let head = head(body.len()).replace("\r\n\r\n", &format!("\r\n{session}\r\n"));
    stream.write_all((head + body).as_bytes()).await.expect("it reads");
    let mut answer = vec![0; 2000];
    let length = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.expect("an answer");
    let length = length.expect("an answer");
    (stream, String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// The header that names the session of an answer to `initialize`.
fn session_of(answer: &str) -> String {
    let line = answer.lines().find(|line| line.to_lowercase().starts_with("mcp-session-id:"));
    format!("{}\r\n", line.unwrap_or_else(|| panic!("no session: {answer}")))
}

#[tokio::test]
async fn what_a_client_says_about_itself_has_a_limit_and_is_not_kept_beyond() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let address = gateway.address();
    let small = "{}".to_owned();
    let (fits, larger, huge) = (padded(64 << 10), padded((64 << 10) + 1), padded(15 << 20));
    for (info, capabilities) in [(&fits, &small), (&small, &fits), (&fits, &fits)] {
        assert!(post(address, "/mcp", &[], &initialize(info, capabilities)).await.result().contains("mcpeg"));
    }
    let sessions = gateway.status().await["sessions"].clone();
    let before = resident(&gateway);
    for (name, info, capabilities) in
        [("clientInfo", &larger, &small), ("capabilities", &small, &larger), ("clientInfo", &huge, &small)]
    {
        for _ in 0..10 {
            let answer = post(address, "/mcp", &[], &initialize(info, capabilities)).await;
            let (code, message) = answer.error();
            assert!(code == -32602 && message.contains(name) && message.contains("65536"), "{message}");
            assert!(answer.headers.get("mcp-session-id").is_none());
        }
        let meta = format!(
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{info},"io.modelcontextprotocol/clientCapabilities":{capabilities}"#
        );
        let params = format!(r#"{{"_meta":{{{meta}}}}}"#);
        for method in ["tools/list", "server/discover", "subscriptions/listen"] {
            let answer = Client::modern(address, "/mcp").request("1", method, "", &params).await;
            let (code, message) = answer.error();
            assert!(code == -32602 && message.contains(name), "{method}: {message}");
        }
    }
    assert_eq!(gateway.status().await["sessions"], sessions);
    let grown = resident(&gateway).saturating_sub(before);
    assert!(grown < 128 << 20, "{} MiB more than before", grown >> 20);
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_kept_of_a_session_does_not_grow_by_what_its_requests_weigh() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let file = gateway.file("mcpeg.sessions");
    let before = resident(&gateway);
    for _ in 0..8 {
        let client = Client::legacy(gateway.address(), "/mcp").await;
        let pad = "x".repeat(8 << 20);
        let level = format!(r#"{{"level":"info","pad":"{pad}"}}"#);
        assert_eq!(client.request("1", "logging/setLevel", "", &level).await.result(), "{}");
        // Its answer may be asked for again, under its identifier.
        let answer = client.request(&format!("\"{pad}\""), "ping", "", "{}").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.error().1.contains("`id` is longer than 1024 bytes"), "{:?}", answer.error());
        let token = |length: usize| {
            format!(r#"{{"name":"steps","_meta":{{"progressToken":"{}"}}}}"#, "x".repeat(length))
        };
        let answer = client.request("1", "tools/call", "", &token(8 << 20)).await;
        assert!(
            answer.error().1.contains("`_meta.progressToken` is longer than 1024 bytes"),
            "{:?}",
            answer.error()
        );
        let answer = client.request("1", "tools/call", "", &token(1022)).await;
        assert!(!answer.reply().contains("is longer"), "{}", answer.reply());
        let long = format!("\"{}\"", "x".repeat(1022));
        assert_eq!(client.request(&long, "ping", "", "{}").await.result(), "{}");
    }
    let kept = std::fs::metadata(file).expect("it is there").len();
    assert!(kept < 64 << 10, "{kept} bytes for eight sessions");
    let grown = resident(&gateway).saturating_sub(before);
    assert!(grown < 96 << 20, "{} MiB more than before", grown >> 20);
    gateway.stop().await;
}

#[tokio::test]
async fn large_descriptions_of_many_clients_have_a_limit_together() {
    let gateway = Gateway::start_with("max_sessions = 100", &probe("probe", &[]), &[]).await;
    let full = padded(64 << 10);
    let modest = Client::legacy(gateway.address(), "/mcp").await;
    for _ in 0..50 {
        let answer = post(gateway.address(), "/mcp", &[], &initialize(&full, &full)).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let sessions = gateway.status().await["sessions"].as_u64().expect("a number");
    // 1 MiB is eight times what each of them says.
    assert!((2..=9).contains(&sessions), "{sessions}");
    assert_eq!(modest.call("sleep", r#"{"ms":0}"#).await.text(), "slept", "the light ones stay");
    gateway.stop().await;
}

#[tokio::test]
async fn body_that_came_fast_at_first_must_go_on() {
    let gateway = Gateway::start_with("client_timeout = \"2s\"", &probe("probe", &[]), &[]).await;
    let mut streams = Vec::new();
    for first in [0, 1, 1 << 10, 1 << 20, 4 << 20] {
        let mut stream = TcpStream::connect(gateway.address()).await.expect("it listens");
        stream.write_all(head(15 << 20).as_bytes()).await.expect("it reads");
        stream.write_all(&vec![b' '; first]).await.expect("it reads");
        streams.push((first, stream));
    }
    // At what was once earned by it, 1 MiB would have been good for 1024 s.
    for (first, mut stream) in streams {
        let mut answer = [0; 32];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await;
        let length = read.unwrap_or_else(|_| panic!("{first} bytes hold a connection")).expect("an answer");
        assert!(answer[..length].starts_with(b"HTTP/1.1 408"), "{first}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn calls_whose_clients_are_gone_keep_no_session_from_making_room() {
    let gateway =
        Gateway::start_with("max_sessions = 8\ndrain_timeout = \"1s\"", &probe("probe", &[]), &[]).await;
    let address = gateway.address();
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"sleep","arguments":{"ms":600000}}}"#;
    let mut attended = Vec::new();
    for number in 0..8 {
        let (_, begun) = post_from("127.0.0.1", address, "", &initialize("{}", "{}")).await;
        let session = session_of(&begun);
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = head(call.len()).replace("\r\n\r\n", &format!("\r\n{session}\r\n"));
        stream.write_all((head + call).as_bytes()).await.expect("it reads");
        // A client that goes before its call has begun has called nothing.
        let in_flight = async { while gateway.in_flight().await <= number {} };
        tokio::time::timeout(PATIENCE, in_flight).await.expect("it is in flight");
        if number < 2 {
            attended.push((stream, session));
        }
    }
    let mut last = String::new();
    for _ in 0..20 {
        let (_, begun) = post_from("127.0.0.1", address, "", &initialize("{}", "{}")).await;
        assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
        last = session_of(&begun);
    }
    // Those whose clients wait are there, and the newest.
    for session in attended.iter().map(|(_, session)| session).chain([&last]) {
        let ping = r#"{"jsonrpc":"2.0","id":8,"method":"ping"}"#;
        let (_, answer) = post_from("127.0.0.1", address, session, ping).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    gateway.stop().await;
}

/// Opens a session's stream; the connection, and the answer's beginning.
async fn stream_of(address: &str, session: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!("GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n{session}\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = vec![0; 2000];
    let length = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.expect("an answer");
    let length = length.expect("an answer");
    (stream, String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[tokio::test]
async fn client_that_is_in_half_of_all_sessions_gets_503_for_more_streams_and_others_go_on() {
    let server = "max_sessions = 16\ndrain_timeout = \"1s\"";
    let gateway = Gateway::start_with(server, &probe("probe", &[]), &[]).await;
    let address = gateway.address();
    let begin = async || {
        let (_, begun) = post_from("127.0.0.1", address, "", &initialize("{}", "{}")).await;
        assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
        session_of(&begun)
    };
    let (mut streams, mut kept) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let session = begin().await;
        let (stream, answer) = stream_of(address, &session).await;
        let (expected, told) = if number < 8 { ("200", "text/event-stream") } else { ("503", "retry-after") };
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{number}: {answer}");
        assert!(answer.to_lowercase().contains(told), "{number}: {answer}");
        if number < 8 {
            kept.push(session);
            streams.push(stream);
        }
    }
    // Calls that are waited for keep no more sessions either.
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"sleep","arguments":{"ms":600000}}}"#;
    for number in 0..16 {
        let session = begin().await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = head(call.len()).replace("\r\n\r\n", &format!("\r\n{session}\r\n"));
        stream.write_all((head + call).as_bytes()).await.expect("it reads");
        let in_flight = async { while gateway.in_flight().await <= number.min(7) {} };
        tokio::time::timeout(PATIENCE, in_flight).await.expect("it is in flight");
        streams.push(stream);
    }
    // Whoever else there is at this address, and those that were first, go on.
    kept.push(begin().await);
    let ping = r#"{"jsonrpc":"2.0","id":8,"method":"ping"}"#;
    for session in &kept {
        let (_, answer) = post_from("127.0.0.1", address, session, ping).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(gateway.status().await["sessions"], 16);
    drop(streams);
    gateway.stop().await;
}

#[tokio::test]
async fn all_addresses_of_this_machine_are_one_client() {
    let gateway = Gateway::start_with("max_sessions_per_client = 2", &probe("probe", &[]), &[]).await;
    for host in 1..=9 {
        let own = format!("127.0.0.{host}");
        let (_, begun) = post_from(&own, gateway.address(), "", &initialize("{}", "{}")).await;
        assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
    }
    assert_eq!(gateway.status().await["sessions"], 2);
    gateway.stop().await;
}
