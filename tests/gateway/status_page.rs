//! `GET /status`: what it tells people, that it stays true while it is looked at, and that nobody else has a say on it.

use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::client::{Client, open, post, send};
use crate::gateway::Gateway;
use crate::tools::{Tools, bound, run_any};
use crate::upstreams::{probe, stdio};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What hostile upstreams and clients say.
const HOSTILE: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>\u{202e}gnp.exe\u{7}";

/// A legacy `initialize` of a client of this name.
fn initialize(name: &str) -> String {
    let client = json!({ "name": name, "version": "1\u{1b}[31m" });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }).to_string()
}

/// Upstreams of which one works and the others do not, or say what they should not.
fn upstreams() -> String {
    // The shell writes what a configuration cannot have as it is.
    let hostile = HOSTILE.replace('\u{202e}', r"\\342\\200\\256").replace('\u{7}', r"\\007");
    let says = format!(r"printf '{hostile}{}\\n' >&2; exit 3", "x".repeat(3000));
    probe("time", &[])
        + &stdio("hostile", "sh", &["-c", &says])
        + "[upstreams.gone]\ncommand = \"no-such-program\"\n[upstreams.port]\nurl = \"http://127.0.0.1:1/mcp\"\n"
}

/// A gateway on which something has happened, and the identifier of a request that has failed.
async fn used() -> (Gateway, String) {
    let gateway = Gateway::start(&upstreams()).await;
    let address = gateway.address();
    for name in ["claude-code", HOSTILE, &"n".repeat(10_000)] {
        assert_eq!(post(address, "/mcp", &[], &initialize(name)).await.status, StatusCode::OK);
    }
    let client = Client::legacy(address, "/mcp").await;
    for _ in 0..5 {
        client.call("time_echo", "{}").await.result();
    }
    let failed = client.call("<b>nothing</b>", "{}").await;
    let request = failed.headers["x-request-id"].to_str().expect("ASCII").to_owned();
    let told = async {
        // The shell's message has come when its upstream has a cause.
        while !page(address).await.contains("mcpeg explain hostile") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it fails");
    (gateway, request)
}

/// The page.
async fn page(address: &str) -> String {
    let answer = send(address, Method::GET, "/status", &[], "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    let policy = answer.headers["content-security-policy"].to_str().expect("ASCII");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    String::from_utf8(answer.body.to_vec()).expect("text")
}

/// What a page is told next, up to what has this in it.
async fn told(stream: &mut hyper::body::Incoming, part: &str) -> String {
    let read = async {
        let mut text = String::new();
        while !text.contains(part) {
            let frame = stream.frame().await.expect("it goes on").expect("it is whole");
            text += std::str::from_utf8(frame.data_ref().expect("data")).expect("text");
        }
        text
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("nobody tells of {part}"))
}

#[tokio::test]
async fn page_tells_what_there_is_and_is_told_of_changes_until_the_gateway_ends() {
    let (gateway, request) = used().await;
    let address = gateway.address();
    let shown = page(address).await;
    for part in [
        "3 of 4 upstreams cannot be used",
        "data-label=\"Calls\">5<",
        "write the whole path",
        "nothing listens",
        "claude-code 1\\u{1b}[31m",
        &*request,
        "&#60;script&#62;",
        "\\u{202e}gnp.exe",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    for foreign in ["<img", "alert(2)</", "\u{202e}", &"x".repeat(1000), &"n".repeat(100)] {
        assert!(!shown.contains(foreign), "{foreign}: {shown}");
    }
    // Others than this machine are told less.
    let forwarded = send(address, Method::GET, "/status/", &[("x-forwarded-for", "192.0.2.1")], "").await;
    let forwarded = String::from_utf8_lossy(&forwarded.body).into_owned();
    assert!(forwarded.contains("time") && !forwarded.contains("claude-code"), "{forwarded}");
    let mut streams = Vec::new();
    for _ in 0..16 {
        let opened = open(address, Method::GET, "/status/events", &[], "").await;
        assert_eq!(opened.status(), StatusCode::OK);
        assert_eq!(opened.headers()["content-type"], "text/event-stream");
        streams.push(opened.into_body());
    }
    let more = send(address, Method::GET, "/status/events", &[], "").await;
    assert_eq!((more.status.as_u16(), &more.headers["retry-after"]), (503, &"10".parse().expect("a header")));
    told(&mut streams[0], "event: page").await;
    Client::legacy(address, "/mcp").await.call("time_echo", "{}").await.result();
    told(&mut streams[0], "data-label=\"Calls\">6<").await;
    drop(streams.split_off(1));
    gateway.stop().await;
    while let Some(frame) = streams[0].frame().await {
        frame.expect("it ends in order");
    }
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn page_is_readable_in_a_browser_of_any_size_with_and_without_scripts() {
    let tools = Tools::get().await;
    let (gateway, _) = used().await;
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/clients/status.mjs");
    let script = tools.script(scratch.path(), &script);
    let mut command = bound(&tools.node());
    command.args([&script, &tools.path("chromium/chromium"), &gateway.url("/status")]);
    let output = run_any(&mut command).await;
    let said = String::from_utf8_lossy(&output.stderr);
    let reports: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(reports.len(), 9);
    for report in &reports {
        let clean = json!([]);
        assert_eq!(
            (&report["said"], &report["faults"], &report["wide"]),
            (&clean, &clean, &json!(0)),
            "{report}"
        );
        assert_eq!((&report["title"], &report["foreign"]), (&json!("mcpeg status"), &json!(0)), "{report}");
        let is_live = report["script"] == json!(true);
        assert_eq!(report["live"] == "Live", is_live, "{report}");
        let summary = report["summary"].as_str().expect("text");
        assert!(summary.starts_with("3 of 4 upstreams cannot be used: hostile, gone, port"), "{report}");
    }
    let grounds = |scheme: &str| -> Vec<&Value> {
        reports.iter().filter(|report| report["scheme"] == scheme).map(|report| &report["ground"]).collect()
    };
    assert!(grounds("dark").iter().all(|ground| !grounds("light").contains(ground)), "{reports:?}");
    gateway.stop().await;
}
