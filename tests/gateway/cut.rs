//! Requests that a drain has no more time for, and streams that it ends: every request is answered, and every client learns
//! that it has to come back.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::{Signal, kill};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Answer, Client, Era, LEGACY, MODERN_META, open, post, send};
use crate::following::wait;
use crate::gateway::Gateway;
use crate::scripted::{Script, http_script};
use crate::upstreams::{Gate, http, http_probe};

/// How long something may take to happen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a client accepts that would rather have a stream.
const STREAM: &str = "text/event-stream, application/json";

/// A server over stdio that answers its handshakes only.
const SILENT: &str = "
modern = True
def handle(message):
    return message.get('method') in ('tools/call', 'tools/list')
";
/// The same over HTTP.
const SILENT_HTTP: &str = "
def post(handler, message):
    if message.get('method') in ('tools/call', 'tools/list'):
        time.sleep(1000)
        return True
    return False
";

/// Sends a request of a client, whose answer is to be of the form that `accept` names first.
async fn ask(at: (&str, &str), client: &Client, (id, accept): (usize, &str), call: bool) -> Answer {
    let (method, name) = if call { ("tools/call", "one") } else { ("tools/list", "") };
    let mut params = Vec::new();
    if call {
        params.push(r#""name":"one","arguments":{}"#.to_owned());
    }
    let mut headers = vec![("accept", accept)];
    match &client.era {
        Era::Legacy(session) => {
            headers.extend([("mcp-session-id", session.as_str()), ("mcp-protocol-version", LEGACY)]);
        }
        Era::Modern => {
            params.push(format!(r#""_meta":{{{MODERN_META}}}"#));
            headers.extend([("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)]);
            if call {
                headers.push(("mcp-name", name));
            }
        }
    }
    let params = params.join(",");
    let body = format!(r#"{{"jsonrpc":"2.0","id":"r{id}","method":"{method}","params":{{{params}}}}}"#);
    post(at.0, at.1, &headers, &body).await
}

/// Waits until so many requests are in flight.
async fn in_flight(gateway: &Gateway, count: usize) {
    let flying = async { while gateway.in_flight().await < count as u64 {} };
    tokio::time::timeout(PATIENCE, flying).await.expect("they are in flight");
}

#[tokio::test]
async fn every_request_that_the_drain_has_no_time_for_is_answered() {
    let (silent, hung) = (Script::new(SILENT), http_script(SILENT_HTTP).await);
    let configuration = silent.upstream("pipes") + &http("net", hung.port);
    let gateway = Gateway::start_with("drain_timeout = \"1s\"", &configuration, &[]).await;
    let mut asked = Vec::new();
    for path in ["/mcp/pipes", "/mcp/net", "/mcp"] {
        let address = gateway.address();
        for client in [Client::legacy(address, path).await, Client::modern(address, path)] {
            for accept in ["application/json, text/event-stream", STREAM] {
                for call in [true, false].into_iter().filter(|call| path != "/mcp" || !call) {
                    let (id, client, address) = (asked.len(), client.clone(), address.to_owned());
                    asked.push(tokio::spawn(async move {
                        let answer = ask((&address, path), &client, (id, accept), call).await;
                        (format!("{path} {:?} {accept} {call}", client.era), id, answer)
                    }));
                }
            }
        }
    }
    in_flight(&gateway, asked.len()).await;
    kill(gateway.pid(), Signal::SIGTERM).expect("it runs");
    for asked in join_all(asked).await {
        let (what, id, answer) = asked.expect("an answer that is complete");
        let (status, reply) = (answer.status, answer.reply());
        assert_eq!(status, StatusCode::OK, "{what}: {reply}");
        assert!(reply.contains(&format!(r#""id":"r{id}""#)), "{what}: {reply}");
        let (code, message) = answer.error();
        assert!(code == -32603 && message.contains("`drain_timeout` was over"), "{what}: {reply}");
    }
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn handshake_and_message_that_the_drain_has_no_time_for_are_answered() {
    // A modern server, whose legacy handshake, which is for all sessions, never ends.
    let lines = "
modern = True
def post(handler, message):
    if message.get('method') == 'initialize': time.sleep(1000)
    return False
";
    let upstream = http_script(lines).await;
    let hung = http("hung", upstream.port) + "sharing = \"shared\"\n";
    let gateway = Gateway::start_with("drain_timeout = \"1s\"", &hung, &[]).await;
    let hello = format!(
        r#"{{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{{"name":"raw","version":"1"}}}}}}"#
    );
    let address = gateway.address().to_owned();
    let greeted = tokio::spawn(async move { post(&address, "/mcp", &[], &hello).await });
    // What comes behind it on the same connection stays unread: the connection is closed in order all the same.
    let mut half = TcpStream::connect(gateway.address()).await.expect("somebody listens");
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n",
        gateway.address()
    );
    half.write_all(head.as_bytes()).await.expect("it reads");
    let mut went = [0; 25];
    half.read_exact(&mut went).await.expect("it wants the body");
    half.write_all(b"{\"jsonrpc\":").await.expect("it reads");
    in_flight(&gateway, 1).await;
    kill(gateway.pid(), Signal::SIGTERM).expect("it runs");
    gateway.prints("draining").await;
    let greeted = greeted.await.expect("an answer that is complete");
    let (code, message) = greeted.error();
    assert!(code == -32603 && message.contains("`drain_timeout`"), "{greeted:?}");
    let mut rest = String::new();
    half.read_to_string(&mut rest).await.expect("an orderly end");
    assert!(rest.starts_with("HTTP/1.1 503 ") && rest.contains("`drain_timeout`"), "{rest}");
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn request_of_a_session_that_its_client_ends_is_answered() {
    let silent = Script::new(SILENT);
    let gateway = Gateway::start(&silent.upstream("pipes")).await;
    for accept in ["application/json, text/event-stream", STREAM] {
        let client = Client::legacy(gateway.address(), "/mcp").await;
        let asking = client.clone();
        let address = gateway.address().to_owned();
        let asked = tokio::spawn(async move { ask((&address, "/mcp"), &asking, (1, accept), true).await });
        in_flight(&gateway, 1).await;
        client.end().await;
        let answer = asked.await.expect("an answer");
        let (_, message) = answer.error();
        assert!(message.contains("the session ended"), "{answer:?}");
    }
    gateway.stop().await;
}

/// The place that the first event of a stream names.
fn place(text: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix("id:")).expect("an event with an id").trim().to_owned()
}

/// A call of the probe server whose client has gone after its stream has begun: who it is, and where it was.
async fn left_call(gateway: &Gateway, gate: &Gate) -> (Client, String) {
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":"slow","method":"tools/call","params":{{"name":"sleep","arguments":{}}}}}"#,
        gate.arguments()
    );
    let session = client.session_headers();
    let headers = [session[0], session[1], ("accept", STREAM), ("content-type", "application/json")];
    let mut stream = open(gateway.address(), Method::POST, "/mcp", &headers, &call).await.into_body();
    let first = wait(&mut stream, &["id:"]).await;
    drop(stream);
    (client, place(&first))
}

/// Comes back for a stream, and reads it to its end.
async fn comes_back(gateway: &Gateway, client: &Client, place: &str) -> Answer {
    let session = client.session_headers();
    let headers = [session[0], session[1], ("accept", "text/event-stream"), ("last-event-id", place)];
    send(gateway.address(), Method::GET, "/mcp", &headers, "").await
}

#[tokio::test]
async fn answer_of_the_process_before_reaches_whoever_comes_back_for_it_to_the_next_one() {
    let (upstream, gate) = (http_probe(&[]).await, Gate::closed());
    let gateway = Gateway::start(&http("probe", upstream.port)).await;
    let (client, place) = left_call(&gateway, &gate).await;
    gateway.restart().await;
    let back = tokio::spawn({
        let (address, session) = (gateway.address().to_owned(), client.clone());
        async move {
            let session = session.session_headers();
            let headers =
                [session[0], session[1], ("accept", "text/event-stream"), ("last-event-id", &place)];
            send(&address, Method::GET, "/mcp", &headers, "").await
        }
    });
    in_flight(&gateway, 0).await;
    gate.open();
    let answer = back.await.expect("an answer");
    let reply = answer.reply();
    assert!(reply.contains(r#""id":"slow""#) && reply.contains("result"), "{reply}");
    gateway.stop_successor().await;
}

#[tokio::test]
async fn request_that_the_process_before_had_no_time_for_is_answered_by_the_next_one() {
    for at_once in [true, false] {
        let (upstream, gate) = (http_probe(&[]).await, Gate::closed());
        let gateway = Gateway::start_with("drain_timeout = \"1s\"", &http("probe", upstream.port), &[]).await;
        let old = gateway.pid();
        let (client, place) = left_call(&gateway, &gate).await;
        gateway.restart().await;
        // A child of ours that has ended is a zombie.
        let ends = async {
            let stat = format!("/proc/{old}/stat");
            while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if !at_once {
            tokio::time::timeout(PATIENCE, ends).await.expect("the process before ends");
        }
        let answer = comes_back(&gateway, &client, &place).await;
        assert_eq!(answer.status, StatusCode::OK, "{at_once} {answer:?}");
        let reply = answer.reply();
        assert!(reply.contains(r#""id":"slow""#) && reply.contains("`drain_timeout`"), "{at_once} {reply}");
        gateway.stop_successor().await;
    }
}

/// Begins a session of a revision, and returns what names it.
async fn session_of(gateway: &Gateway, version: &str) -> String {
    let hello = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"raw","version":"1"}}}}}}"#
    );
    let begun = post(gateway.address(), "/mcp", &[], &hello).await;
    assert!(begun.result().contains(version), "{begun:?}");
    begun.headers["mcp-session-id"].to_str().expect("ASCII").to_owned()
}

#[tokio::test]
async fn stream_of_a_session_ends_at_a_drain_so_that_its_client_comes_back() {
    for (version, orderly) in
        [("2024-11-05", false), ("2025-03-26", false), ("2025-06-18", false), ("2025-11-25", true)]
    {
        let gateway = Gateway::start("").await;
        let session = session_of(&gateway, version).await;
        let mut stream = TcpStream::connect(gateway.address()).await.expect("somebody listens");
        let head = format!(
            "GET /mcp HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\nMcp-Session-Id: {session}\r\n\r\n",
            gateway.address()
        );
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("\r\n\r\n") {
            let count = stream.read(&mut buffer).await.expect("a head");
            text += std::str::from_utf8(&buffer[..count]).expect("UTF-8");
        }
        kill(gateway.pid(), Signal::SIGTERM).expect("it runs");
        stream.read_to_string(&mut text).await.expect("an end");
        assert_eq!(text.ends_with("\r\n0\r\n\r\n"), orderly, "{version} {text}");
        let last = text.rsplit("\n\n").nth(1).expect("an event");
        assert!(last.contains("id: 0.1-"), "{version} {text}");
        assert!(last.contains("retry:"), "{version} {text}");
        // Whoever parses all data does not parse this one.
        assert_eq!(last.contains("event: reconnect") || last.contains("event:reconnect"), !orderly, "{text}");
        assert_eq!(gateway.ended().await, Some(0));
    }
}

#[tokio::test]
async fn stream_of_a_session_over_http2_ends_at_a_drain_in_the_same_way() {
    for (version, orderly) in [("2025-06-18", false), ("2025-11-25", true)] {
        let gateway = Gateway::start("").await;
        let session = session_of(&gateway, version).await;
        let stream = TcpStream::connect(gateway.address()).await.expect("somebody listens");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);
        let request = Request::get(gateway.url("/mcp"))
            .header("accept", "text/event-stream")
            .header("mcp-session-id", session)
            .body(Empty::<bytes::Bytes>::new())
            .expect("valid");
        let mut body = sender.send_request(request).await.expect("a stream").into_body();
        kill(gateway.pid(), Signal::SIGTERM).expect("it runs");
        let (mut text, mut broken) = (String::new(), false);
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                broken = true;
                break;
            };
            text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
        }
        assert_eq!(broken, !orderly, "{version} {text}");
        assert!(text.contains("retry:") && text.contains("id: 0.1-"), "{version} {text}");
        assert_eq!(gateway.ended().await, Some(0));
    }
}
