//! A real browser, with pages of other origins: what it lets a client on them do, and what it does not.

use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::Site;
use crate::gateway::Gateway;
use crate::port::Port;
use crate::tools::{Tools, bound, run_any};
use crate::upstreams::{PYTHON, stdio};

#[tokio::test]
#[ignore = "needs the test tools"]
async fn browser_lets_a_client_on_an_allowed_page_list_and_call_and_none_on_a_foreign_one() {
    let (tools, port) = (Tools::get().await, Port::free().address.port());
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (allowed, foreign) = ("app.example.org", "evil.example.net");
    let server = format!("allowed_origins = [\"http://{allowed}:{port}\"]\n[clients.page]");
    let echo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py");
    let state = scratch.path().join("state").display().to_string();
    let site = Site::serving(&server, &stdio("one", PYTHON, &[echo])).variable("STATE_DIRECTORY", &state);
    let token = site.run(&["token", "create", "page"]);
    let gateway = Gateway::on(site).await;
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/clients");
    tools.script(scratch.path(), &clients.join("page.mjs"));
    let script = tools.script(scratch.path(), &clients.join("browser.mjs"));
    let (browser, url, port) = (tools.path("chromium/chromium"), gateway.url("/mcp/one"), port.to_string());
    let mut command = bound(&tools.node());
    command.args([&script, &browser, &port, &url, allowed, foreign]).env("TOKEN", token.stdout.trim());
    let output = run_any(&mut command).await;
    let reports: [Value; 2] = serde_json::from_slice(&output.stdout).expect("what the pages report");
    assert_eq!(reports[0], json!({ "revision": "2025-11-25", "tools": ["echo"], "text": "from a page" }));
    assert!(
        reports[1]["error"].as_str().is_some_and(|error| error.contains("Failed to fetch")),
        "{}",
        reports[1]
    );
    gateway.stop().await;
}
