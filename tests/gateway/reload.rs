//! Reloading while clients are at work: what is the same is not touched, and what changes loses no request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::children::{Processes, pids_of};
use crate::client::{Client, Era, LEGACY, MODERN_META, open};
use crate::gateway::Gateway;
use crate::tools::transcript;
use crate::upstreams::{Gate, probe};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reloads with these upstreams, and insists on success; what the command printed.
async fn reload(gateway: &Gateway, upstreams: &str) -> String {
    let output = gateway.reload("", upstreams).await;
    let printed = transcript(&output);
    assert!(output.status.success(), "{printed}\n{}", gateway.printed());
    printed
}

/// Calls a tool that waits for the gate in a task, and returns when the request is in flight.
async fn begin(
    gateway: &Gateway,
    client: &Client,
    tool: &str,
    gate: &Gate,
) -> tokio::task::JoinHandle<String> {
    let meta = if matches!(client.era, Era::Modern) { MODERN_META } else { "" };
    let params = format!(r#"{{"name":"{tool}","arguments":{},"_meta":{{{meta}}}}}"#, gate.arguments());
    let (client, tool) = (client.clone(), tool.to_owned());
    let before = gateway.in_flight().await;
    // An identifier that no other call of these tests has: a session's requests must have different ones.
    let call = tokio::spawn(async move { client.request("2", "tools/call", &tool, &params).await.text() });
    let wait = async {
        while gateway.in_flight().await == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the call gets to the gateway");
    call
}

#[tokio::test]
async fn unchanged_upstream_keeps_its_process_its_session_and_its_call() {
    let (keep, change) = (probe("keep", &[]), probe("change", &[]));
    let gateway = Gateway::start(&(keep.clone() + &change + &probe("gone", &[]))).await;
    let legacy = Client::legacy(gateway.address(), "/mcp").await;
    let modern = Client::modern(gateway.address(), "/mcp");
    // Clients of different eras have different connections to a server that speaks both.
    let kept = (pids_of(&legacy, "keep_pids").await, pids_of(&modern, "keep_pids").await);
    let changed = pids_of(&legacy, "change_pids").await;
    let gone = Processes::hold(&pids_of(&modern, "gone_pids").await);
    let gate = Gate::closed();
    let calls = [
        begin(&gateway, &legacy, "keep_sleep", &gate).await,
        begin(&gateway, &modern, "keep_sleep", &gate).await,
    ];

    let changed_again = probe("change", &["--name", "other"]);
    let printed = reload(&gateway, &(keep + &changed_again + &probe("added", &[]))).await;
    for line in ["added: added", "changed: change", "removed: gone", "kept: keep"] {
        assert!(printed.contains(&format!("upstreams {line}\n")), "{printed}");
    }
    let keeps = (pids_of(&legacy, "keep_pids").await, pids_of(&modern, "keep_pids").await);
    assert_eq!(keeps, kept);
    assert_ne!(pids_of(&legacy, "change_pids").await, changed);
    for client in [&legacy, &modern] {
        let tools = client.tools().await;
        assert!(tools.iter().any(|tool| tool == "added_echo"), "{tools:?}");
        assert!(!tools.iter().any(|tool| tool.starts_with("gone_")), "{tools:?}");
    }
    gate.open();
    for call in calls {
        assert_eq!(call.await.expect("no panic"), "slept");
    }
    gone.gone();
    gateway.stop().await;
}

#[tokio::test]
async fn removed_and_changed_upstreams_finish_their_calls_and_end() {
    let change = probe("change", &[]) + "sharing = \"per-session\"\n";
    let gateway = Gateway::start(&(change + &probe("gone", &[]))).await;
    let legacy = Client::legacy(gateway.address(), "/mcp").await;
    let modern = Client::modern(gateway.address(), "/mcp");
    let mut old = pids_of(&legacy, "change_pids").await;
    old.extend(pids_of(&modern, "change_pids").await);
    old.extend(pids_of(&modern, "gone_pids").await);
    assert_eq!(old.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "the session has its own");
    let processes = Processes::hold(&old);
    let (gate, mut calls) = (Gate::closed(), Vec::new());
    for (client, tool) in [(&legacy, "change_sleep"), (&modern, "change_sleep"), (&modern, "gone_sleep")] {
        calls.push(begin(&gateway, client, tool, &gate).await);
    }

    let changed = probe("change", &["--name", "other"]) + "sharing = \"per-session\"\n";
    reload(&gateway, &(changed + &probe("other", &[]))).await;
    assert!(calls.iter().all(|call| !call.is_finished()), "the reload waited for calls in flight");
    assert!(!old.contains(&pids_of(&legacy, "change_pids").await[0]));
    let (_, message) = legacy.call("gone_echo", "{}").await.error();
    assert!(message.contains("gone_echo"), "{message}");
    gate.open();
    for call in calls {
        assert_eq!(call.await.expect("no panic"), "slept");
    }
    processes.gone();
    gateway.stop().await;
}

#[tokio::test]
async fn sessions_hear_that_their_lists_have_changed() {
    let one = probe("one", &[]);
    let gateway = Gateway::start(&one).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let Era::Legacy(session) = &client.era else { unreachable!("a legacy client") };
    let headers = [
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", LEGACY),
        ("accept", "text/event-stream"),
    ];
    let mut stream = open(gateway.address(), Method::GET, "/mcp", &headers, "").await.into_body();
    reload(&gateway, &(one + &probe("two", &[]))).await;
    let heard = async {
        let mut text = String::new();
        while !text.contains("notifications/tools/list_changed") {
            let frame = stream.frame().await.expect("the stream goes on").expect("no error");
            text.push_str(std::str::from_utf8(frame.data_ref().map_or(&[], |data| data)).expect("UTF-8"));
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("a notification");
    let tools = client.tools().await;
    assert!(tools.iter().any(|tool| tool == "two_echo"), "{tools:?}");
    drop(stream);
    gateway.stop().await;
}

#[tokio::test]
async fn clash_of_names_is_refused_and_leaves_no_process() {
    let one = probe("one", &[]);
    let gateway = Gateway::start_with("prefix = \"never\"\n", &one, &[]).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let (before, processes) = (pids_of(&client, "pids").await, children(&gateway));
    let output = gateway.reload("prefix = \"never\"\n", &(one + &probe("two", &[]))).await;
    assert_eq!(output.status.code(), Some(78), "{}", transcript(&output));
    assert!(transcript(&output).contains("both offer the tool"), "{}", transcript(&output));
    assert_eq!(pids_of(&client, "pids").await, before);
    assert_eq!(gateway.status().await["upstreams"].as_array().map(Vec::len), Some(2));
    let left = async {
        while children(&gateway) > processes {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, left).await.expect("the refused upstream's process is gone");
    gateway.stop().await;
}

/// The number of processes that the gateway's threads have started and not reaped.
fn children(gateway: &Gateway) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("it runs");
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    children.map(|children| children.split_whitespace().count()).sum()
}

/// A connection for one client.
async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// One request over an open connection; anything but a result is an error.
async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    address: &str,
    tool: Option<&str>,
    close: bool,
) -> Result<(), String> {
    let request = Request::builder().header("host", address);
    let request = if close { request.header("connection", "close") } else { request };
    let request = match tool {
        None => request.uri("/health/live").body(Full::default()),
        Some(tool) => request
            .uri("/mcp")
            .method(Method::POST)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .body(Full::from(format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}},"_meta":{{{MODERN_META}}}}}}}"#
            ))),
    };
    let sent = async {
        let response =
            sender.send_request(request.expect("valid headers")).await.map_err(|e| e.to_string())?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        let fine = status == 200 && (tool.is_none() || text.contains(r#""result""#));
        if fine { Ok(()) } else { Err(format!("{status}: {text}")) }
    };
    tokio::time::timeout(PATIENCE, sent).await.unwrap_or_else(|_| Err("no answer".to_owned()))
}

/// A client that asks without a pause, over one connection or over one for each request, until it is told to stop;
/// what failed.
async fn press(address: String, close: bool, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) -> Vec<String> {
    let targets = [None, Some("keep_pids"), Some("change_pids")];
    let (mut failed, mut connection) = (Vec::new(), None);
    for tool in targets.into_iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut sender = match connection.take() {
            Some(sender) => sender,
            None => match connect(&address).await {
                Ok(sender) => sender,
                Err(error) => {
                    failed.push(error);
                    continue;
                }
            },
        };
        match ask(&mut sender, &address, tool, close).await {
            Ok(()) if !close => connection = Some(sender),
            Ok(()) => {}
            Err(error) => failed.push(format!("{tool:?}: {error}")),
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the counts are the evidence")]
async fn twenty_reloads_under_load_lose_no_request() {
    let keep = probe("keep", &[]);
    let gateway = Gateway::start(&(keep.clone() + &probe("change", &[]))).await;
    let kept = pids_of(&Client::modern(gateway.address(), "/mcp"), "keep_pids").await;
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let address = gateway.address().to_owned();
            tokio::spawn(press(address, number % 2 == 0, Arc::clone(&stop), Arc::clone(&done)))
        })
        .collect();
    for round in 0..20 {
        reload(&gateway, &(keep.clone() + &probe("change", &["--name", &format!("round-{round}")]))).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut failed = Vec::new();
    for client in clients {
        failed.extend(client.await.expect("no panic"));
    }
    let done = done.load(Ordering::Relaxed);
    println!("20 reloads, 8 clients: {} of {done} requests failed", failed.len());
    assert!(failed.is_empty(), "{} of {done} requests failed: {failed:#?}", failed.len());
    assert!(done > 100, "only {done} requests");
    assert_eq!(pids_of(&Client::modern(gateway.address(), "/mcp"), "keep_pids").await, kept);
    gateway.stop().await;
}

/// The state of an upstream in `--status`.
async fn state(gateway: &Gateway, name: &str) -> serde_json::Value {
    let status = gateway.status().await;
    let upstreams = status["upstreams"].as_array().expect("upstreams");
    upstreams.iter().find(|upstream| upstream["name"] == name).expect("it is told of")["state"].clone()
}

#[tokio::test]
async fn an_upstream_that_is_switched_off_is_shown_but_neither_started_nor_listed_until_a_reload() {
    // Its references need not be resolved.
    let off = |text: &str| format!("{text}enabled = false\nenv = {{ A = \"${{env:NOT_SET_ANYWHERE}}\" }}\n");
    let (on, other) = (probe("on", &[]), probe("other", &[]));
    let gateway = Gateway::start(&(on.clone() + &off(&other))).await;
    assert_eq!(state(&gateway, "other").await, "disabled");
    let client = Client::modern(gateway.address(), "/mcp");
    // A lone upstream has no prefix.
    let alone = client.tools().await;
    assert!(alone.contains(&"echo".to_owned()), "{alone:?}");
    let single = Client::modern(gateway.address(), "/mcp/other");
    let params = format!(r#"{{"_meta":{{{MODERN_META}}}}}"#);
    assert_eq!(single.request("1", "tools/list", "", &params).await.status, 404);

    let printed = reload(&gateway, &(on.clone() + &other)).await;
    assert_eq!(state(&gateway, "other").await, "ready", "{printed}");
    let both = client.tools().await;
    assert!(both.contains(&"other_echo".to_owned()), "{both:?}");

    reload(&gateway, &(off(&on) + &other)).await;
    assert_eq!(state(&gateway, "on").await, "disabled");
    assert_eq!(client.tools().await, alone);
}
