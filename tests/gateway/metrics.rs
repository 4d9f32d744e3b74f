//! `GET /metrics`: who may read it, and that it tells the truth.

use std::collections::HashMap;

use http::{Method, StatusCode};

use crate::client::{Client, send};
use crate::gateway::Gateway;
use crate::upstreams::{Gate, probe};

/// Each series and its value; every line must be one, or a comment about the ones that follow.
fn series(text: &str) -> HashMap<String, f64> {
    let mut names: Vec<&str> = Vec::new();
    let mut found = HashMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            assert!(
                matches!(words[..], ["HELP" | "TYPE", name, _]
                if ["mcpeg_", "mcp_", "process_"].iter().any(|start| name.starts_with(start))),
                "{line}"
            );
            names.push(words[1]);
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let bare = name.split('{').next().expect("split has one");
        let of = ["_bucket", "_sum", "_count"].iter().find_map(|end| bare.strip_suffix(end));
        let is_its_own = |name: &&str| *name == bare || of == Some(*name);
        assert!(names.last().is_some_and(is_its_own), "a series has its help before it: {line}");
        let earlier = found.insert(name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")));
        assert_eq!(earlier, None, "twice: {line}");
    }
    assert!(text.ends_with('\n'), "{text}");
    found
}

/// The metrics of a gateway.
async fn scrape(address: &str) -> HashMap<String, f64> {
    let answer = send(address, Method::GET, "/metrics", &[], "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    series(std::str::from_utf8(&answer.body).expect("text"))
}

/// The statuses of the pages that a listener shows only if it may: the numbers, and what people read.
async fn statuses(address: &str) -> (u16, u16) {
    let status = async |path: &str| send(address, Method::GET, path, &[], "").await.status.as_u16();
    let shown = (status("/metrics").await, status("/status").await);
    if shown.1 == 404 {
        assert_eq!(status("/status/events").await, 404);
    }
    shown
}

#[tokio::test]
async fn numbers_are_those_of_the_status() {
    let broken = "[upstreams.broken]\ncommand = \"/bin/false\"\n";
    let gateway = Gateway::start(&(probe("time", &[]) + broken)).await;
    let address = gateway.address();
    let client = Client::legacy(address, "/mcp").await;
    let before = scrape(address).await;
    for _ in 0..5 {
        client.call("time_echo", "{}").await.result();
    }
    let (after, status) = (scrape(address).await, gateway.status().await);
    let sum = |found: &HashMap<String, f64>| found["mcpeg_requests_total"];
    assert!((sum(&after) - sum(&before) - 5.0).abs() < 0.1, "{before:?} {after:?}");
    assert_eq!(Some(after["mcpeg_sessions"]), status["sessions"].as_f64());
    let version = status["version"].as_str().expect("text");
    assert_eq!(after[&format!("mcpeg_build_info{{version=\"{version}\"}}")].to_bits(), 1_f64.to_bits());
    let state = |upstream: &str, state: &str| {
        after[&format!("mcpeg_upstream_state{{upstream=\"{upstream}\",state=\"{state}\"}}")]
    };
    assert_eq!(state("time", "ready").to_bits(), 1_f64.to_bits());
    assert_eq!(state("time", "stopped").to_bits(), 0_f64.to_bits());
    assert_eq!(state("broken", "ready").to_bits(), 0_f64.to_bits());
    assert!(!after.keys().any(|name| name.starts_with("mcpeg_log")), "there is no log file: {after:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn who_waits_for_an_upstream_and_how_long_a_session_was_there_is_told_across_an_upgrade() {
    let gateway = Gateway::start(&(probe("one", &[]) + "max_concurrency = 1\n")).await;
    let address = gateway.address().to_owned();
    let (session, begun) = (Client::legacy(&address, "/mcp").await, std::time::Instant::now());
    let gate = Gate::closed();
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let (address, arguments) = (address.clone(), gate.arguments());
            tokio::spawn(
                async move { Client::modern(&address, "/mcp").call("sleep", &arguments).await.result() },
            )
        })
        .collect();
    let waiting = async |expected: f64| {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        let name = "mcpeg_upstream_queue_depth{upstream=\"one\"}";
        while scrape(&address).await[name].to_bits() != expected.to_bits() {
            assert!(tokio::time::Instant::now() < deadline, "not {expected} wait");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    waiting(2.0).await;
    gate.open();
    for call in calls {
        call.await.expect("a result");
    }
    waiting(0.0).await;
    let before = begun.elapsed();
    gateway.restart().await;
    session.end().await;
    let found = scrape(&address).await;
    let [count, sum] =
        ["count", "sum"].map(|end| found[&format!("mcp_server_session_duration_seconds_{end}")]);
    assert!(
        count.to_bits() == 1_f64.to_bits() && sum >= before.as_secs_f64(),
        "{count} of {sum} s, {before:?}"
    );
    gateway.stop_successor().await;
}

#[tokio::test]
async fn only_the_listeners_that_the_configuration_names_answer() {
    let gateway = Gateway::start("").await;
    assert_eq!(statuses(gateway.address()).await, (200, 200));
    for (metrics, status, expected) in
        [("off", "all", (404, 200)), ("all", "off", (200, 404)), ("local", "local", (200, 200))]
    {
        let reloaded = gateway.reload(&format!("metrics = \"{metrics}\"\nstatus = \"{status}\""), "").await;
        assert!(reloaded.status.success(), "{reloaded:?}");
        assert_eq!(statuses(gateway.address()).await, expected, "{metrics} {status}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_listener_that_others_reach_does_not_answer_unless_told_to() {
    for (key, expected) in [("", (404, 404)), ("metrics = \"all\"\nstatus = \"all\"", (200, 200))] {
        let environment = [("MCPEG_LISTEN", "0.0.0.0:0")];
        let gateway = Gateway::start_with(&format!("auth = \"none\"\n{key}"), "", &environment).await;
        assert_eq!(statuses(gateway.address()).await, expected, "{key}");
        for path in ["/metrics", "/status"] {
            let foreign = send(gateway.address(), Method::GET, path, &[("host", "evil.example")], "").await;
            assert_eq!(foreign.status, StatusCode::FORBIDDEN, "{key} {path}");
        }
        gateway.stop().await;
    }
}
