//! Broken upstreams and configurations that cannot be served.

use std::net::TcpListener;

use http::{Method, StatusCode};
use serde_json::Value;

use crate::client::{Client, send};
use crate::gateway::Gateway;
use crate::port::Port;
use crate::tools::transcript;
use crate::upstreams::{http, probe, stdio};

/// The answer of `/health`.
async fn health(address: &str) -> Value {
    let answer = send(address, Method::GET, "/health", &[], "").await;
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// One upstream's entry in the answer of `/health`.
fn upstream<'a>(health: &'a Value, name: &str) -> &'a Value {
    let all = health["upstreams"].as_array().expect("upstreams");
    all.iter().find(|upstream| upstream["name"] == name).expect("the upstream is listed")
}

/// A gateway of which the upstream `broken` cannot work goes on with the upstream `probe`.
async fn others_work_beside(broken: &str, hint: &str) {
    let gateway = Gateway::start(&(probe("probe", &[]) + broken)).await;
    let address = gateway.address();
    let health = health(address).await;
    let (good, bad) = (upstream(&health, "probe"), upstream(&health, "broken"));
    assert_ne!(good["state"], bad["state"], "{health}");
    assert!(good["last_error"].is_null(), "{health}");
    let error = bad["last_error"].as_str().expect("a last error");
    assert!(error.contains("broken"), "the error names the upstream: {error}");
    // Clients may read the health, so operands that only the operator should see are in the log.
    gateway.prints(hint).await;
    let live = send(address, Method::GET, "/health/live", &[], "").await;
    assert_eq!(live.status, StatusCode::OK);

    for client in [Client::legacy(address, "/mcp").await, Client::modern(address, "/mcp")] {
        let tools = client.tools().await;
        assert!(tools.contains(&"probe_echo".to_owned()), "{tools:?}");
        assert!(!tools.iter().any(|tool| tool.starts_with("broken")), "{tools:?}");
        let (_, message) = client.call("broken_echo", "{}").await.error();
        assert!(message.contains("broken"), "the error names the upstream: {message}");
        client.call("probe_pids", "{}").await.text();
    }
    gateway.stop().await;
}

#[tokio::test]
async fn missing_command_leaves_the_other_upstream_alone() {
    others_work_beside(&stdio("broken", "no-such-mcp-server", &[]), "no-such-mcp-server").await;
}

#[tokio::test]
async fn unreachable_url_leaves_the_other_upstream_alone() {
    let free = Port::free();
    others_work_beside(&http("broken", free.address.port()), "Connection refused").await;
}

#[tokio::test]
async fn command_that_speaks_no_mcp_leaves_the_other_upstream_alone() {
    others_work_beside(&stdio("broken", "true", &[]), "").await;
}

#[tokio::test]
async fn port_in_use_exits_71_and_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = Gateway::run(&format!("[server]\nlisten = [\"{address}\"]\n")).await;
    assert_eq!(output.status.code(), Some(71), "{}", transcript(&output));
    assert!(transcript(&output).contains(&address), "{}", transcript(&output));
}

#[tokio::test]
async fn listening_beyond_loopback_without_auth_exits_78() {
    let output = Gateway::run("[server]\nlisten = [\"0.0.0.0:0\"]\n").await;
    assert_eq!(output.status.code(), Some(78), "{}", transcript(&output));
    assert!(transcript(&output).contains("auth"), "the way out is named: {}", transcript(&output));
}

#[tokio::test]
async fn equal_names_without_prefix_are_a_start_up_error_that_names_both() {
    let upstreams = probe("first", &[]) + &probe("second", &[]);
    let text = format!("[server]\nlisten = [\"127.0.0.1:0\"]\nprefix = \"never\"\n{upstreams}");
    let output = Gateway::run(&text).await;
    assert_eq!(output.status.code(), Some(78), "{}", transcript(&output));
    for name in ["first", "second", "echo"] {
        assert!(transcript(&output).contains(name), "it names `{name}`: {}", transcript(&output));
    }
}
