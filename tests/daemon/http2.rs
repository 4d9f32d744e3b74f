//! HTTP/2 with prior knowledge: a client is told by GOAWAY to go elsewhere, and what is in flight is answered.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Channel, Full};
use hyper::Request;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcpeg::sys::process::command;
use nix::sys::signal::Signal;

use crate::support::daemon::{DEADLINE, Site, lives, send, until};

/// The client's preface and an empty SETTINGS frame: RFC 9113 §3.4.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Frame types: RFC 9113 §6.
const SETTINGS: u8 = 4;
/// The one that tells a client to go.
const GOAWAY: u8 = 7;

/// The next frame: its type and payload; `None` at the end of the connection.
fn frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).unwrap();
    Some((head[3], payload))
}

#[test]
fn idle_client_is_told_to_go_and_then_the_connection_ends() {
    let site = Site::new();
    let pid = site.daemon();
    let mut stream = TcpStream::connect(site.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(BEGINNING).unwrap();
    assert_eq!(frame(&mut stream).unwrap().0, SETTINGS);
    send(pid, Signal::SIGTERM);
    let frames: Vec<_> = std::iter::from_fn(|| {
        let frame = frame(&mut stream)?;
        // The server waits for the answer to its ping, by which it knows that the client has read what came before.
        if frame.0 == 6 {
            let answer = [&[0, 0, 8, 6, 1, 0, 0, 0, 0][..], &frame.1].concat();
            let _ = stream.write_all(&answer);
        }
        Some(frame)
    })
    .collect();
    let goaway: Vec<_> = frames.iter().filter(|(kind, _)| *kind == GOAWAY).collect();
    assert!(!goaway.is_empty(), "{frames:?}");
    // Last stream and error code; NO_ERROR.
    assert!(goaway.iter().all(|(_, payload)| payload[4..8] == [0; 4]), "{frames:?}");
    until("the gateway ends", || !lives(pid));
}

/// A client's connection.
async fn connect<B>(address: SocketAddr) -> (SendRequest<B>, tokio::task::JoinHandle<hyper::Result<()>>)
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

/// A call whose body is sent as the caller wants.
fn call<B>(address: SocketAddr, body: B) -> Request<B> {
    Request::post(format!("http://{address}/mcp"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(body)
        .unwrap()
}

/// A legacy `initialize`.
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;

#[test]
fn request_in_flight_is_answered_while_the_gateway_drains() {
    let site = Site::new();
    let pid = site.daemon();
    let address = site.address();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (mut client, connection) = connect(address).await;
        let (mut body, incoming) = Channel::<Bytes>::new(1);
        let answer = tokio::spawn(client.send_request(call(address, incoming)));
        let (first, rest) = INITIALIZE.split_at(10);
        body.send_data(Bytes::from_static(first.as_bytes())).await.unwrap();
        let get = || {
            let request = Request::get(format!("http://{address}/health/live"));
            request.body(Channel::<Bytes>::new(1).1).unwrap()
        };
        // Both are on one connection, so that the server has the first one when it answers the second.
        assert_eq!(client.send_request(get()).await.unwrap().status(), 200);
        assert!(!answer.is_finished());
        send(pid, Signal::SIGTERM);
        // After GOAWAY nothing new is taken.
        let begun = std::time::Instant::now();
        while client.send_request(get()).await.is_ok() {
            assert!(begun.elapsed() < DEADLINE, "the client is never told to go");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        body.send_data(Bytes::from_static(rest.as_bytes())).await.unwrap();
        drop(body);
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&text).contains("\"result\""), "{text:?}");
        connection.await.unwrap().unwrap();
    });
    until("the gateway ends", || !lives(pid));
}

#[test]
fn many_requests_on_one_connection_survive_upgrades() {
    let site = Site::new();
    site.daemon();
    let address = site.address();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (over, ended) = tokio::sync::watch::channel(false);
    // Requests that were answered, and over how many connections.
    let (progress, told) = tokio::sync::watch::channel((0_u32, 0_u32));
    let work = async move {
        let (mut asked, mut connections) = (0, 0);
        while !*ended.borrow() {
            let (mut client, connection) = connect::<Full<Bytes>>(address).await;
            connections += 1;
            while !*ended.borrow() && client.ready().await.is_ok() {
                let requests: Vec<_> = (0..8)
                    .map(|_| {
                        let request = Request::get(format!("http://{address}/health/live"));
                        tokio::spawn(client.send_request(request.body(Full::default()).unwrap()))
                    })
                    .collect();
                for request in requests {
                    match request.await.unwrap() {
                        Ok(answer) => {
                            assert_eq!(answer.status(), 200);
                            asked += 1;
                            progress.send_replace((asked, connections));
                        }
                        // Never sent: the client knew before that it had to go elsewhere.
                        Err(error) => assert!(error.is_canceled() || is_refused(&error), "{error:?}"),
                    }
                }
            }
            drop(client);
            connection.await.unwrap().unwrap();
        }
        (asked, connections)
    };
    let (asked, connections) = runtime.block_on(async {
        let site = &site;
        let acts = async {
            tokio::task::block_in_place(|| {
                for upgrades in 0..3 {
                    // Each process has answered before it is replaced.
                    until("a connection to the new process", || told.borrow().1 > upgrades);
                    assert_eq!(site.run(&["--restart"]).code, Some(0));
                }
                until("a connection to the last process", || told.borrow().1 > 3);
            });
            over.send(true).unwrap();
        };
        let working = tokio::spawn(work);
        acts.await;
        working.await.unwrap()
    });
    assert!(asked >= connections && connections >= 4, "{asked} requests over {connections} connections");
}

/// Whether the server has said that it did nothing with the request: RFC 9113 §8.7.
fn is_refused(error: &hyper::Error) -> bool {
    let text = format!("{error:?}");
    text.contains("REFUSED_STREAM") || (text.contains("GoAway") && text.contains("NO_ERROR"))
}

#[test]
fn curl_speaks_it_over_both_kinds_of_listeners() {
    let site = Site::new();
    let socket = site.path("mcp.sock");
    let listen = format!("[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n", socket.display());
    site.write("mcpeg.toml", listen);
    site.daemon();
    let url = format!("http://{}/mcp", site.address());
    for over in [&[][..], &["--unix-socket", socket.to_str().unwrap()]] {
        let mut curl = command("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--http2-prior-knowledge",
            "--max-time",
            "30",
        ]);
        curl.args(["--header", "content-type: application/json"]);
        curl.args(["--header", "accept: application/json, text/event-stream"]);
        curl.args(["--write-out", "\n%{http_version} %{http_code}", "--data", INITIALIZE])
            .args(over)
            .arg(&url);
        let output = curl.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("\"result\"") && text.ends_with("\n2 200"), "{output:?}");
    }
    // A foreign name is refused as ever: here it is a pseudo-header.
    let mut curl = command("curl");
    curl.args(["--silent", "--noproxy", "*", "--http2-prior-knowledge", "--header", "host: evil.example"]);
    let output = curl.args(["--write-out", "%{http_code}", "--output", "/dev/null", &url]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "403");
}
