//! A real browser, with pages of other origins: what it lets a client on them do, and what it does not.

use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::Site;
use crate::gateway::Gateway;
use crate::port::Port;
use crate::tools::{Tools, bound, run_any};
use crate::upstreams::{PYTHON, stdio};

/// What a page of `clients` that is told a URL and a token reports on each of these hosts.
async fn browse(
    tools: &Tools,
    port: u16,
    (page, url, token): (&str, &str, &str),
    hosts: &[&str],
) -> Vec<Value> {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/clients");
    tools.script(scratch.path(), &clients.join(page));
    let script = tools.script(scratch.path(), &clients.join("browser.mjs"));
    let (browser, port) = (tools.path("chromium/chromium"), port.to_string());
    let arguments = [&[&script, &browser, &port, page, url], hosts].concat();
    let mut command = bound(&tools.node());
    let output = run_any(command.args(arguments).env("TOKEN", token)).await;
    serde_json::from_slice(&output.stdout).expect("what the pages report")
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn browser_lets_a_client_on_an_allowed_page_list_and_call_and_none_on_a_foreign_one() {
    let (tools, port) = (Tools::get().await, Port::free().address.port());
    let (allowed, foreign) = ("app.example.org", "evil.example.net");
    let server = format!("allowed_origins = [\"http://{allowed}:{port}\"]\n[clients.page]");
    let echo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py");
    let state = tempfile::tempdir().expect("a directory");
    let site = Site::serving(&server, &stdio("one", PYTHON, &[echo]));
    let site = site.variable("STATE_DIRECTORY", &state.path().display().to_string());
    let token = site.run(&["token", "create", "page"]);
    let gateway = Gateway::on(site).await;
    let page = ("page.mjs", &*gateway.url("/mcp/one"), token.stdout.trim());
    let reports = browse(&tools, port, page, &[allowed, foreign]).await;
    assert_eq!(reports[0], json!({ "revision": "2025-11-25", "tools": ["echo"], "text": "from a page" }));
    assert!(
        reports[1]["error"].as_str().is_some_and(|error| error.contains("Failed to fetch")),
        "{}",
        reports[1]
    );
    gateway.stop().await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn host_of_apps_shows_pages_of_a_merged_catalog_and_they_call_the_tools_of_their_own_server() {
    let (tools, port, origin) = (Tools::get().await, Port::free().address.port(), "host.example.org");
    let server = format!("allowed_origins = [\"http://{origin}:{port}\"]");
    let program = tools.path("node_modules/@modelcontextprotocol/server-basic-vanillajs/dist/index.js");
    let echo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py");
    let app = |name: &str| stdio(name, &tools.node(), &[&program, "--stdio"]);
    let beside = Gateway::start_with(&server, &(app("app") + &stdio("echo", PYTHON, &[echo])), &[]).await;
    let twins = Gateway::start_with(&server, &(app("one") + &app("two")), &[]).await;
    let urls = [beside.url("/mcp"), twins.url("/mcp"), twins.url("/mcp/two")].join(" ");
    let reports = browse(&tools, port, ("host.mjs", &urls, ""), &[origin]).await.remove(0);
    let page = |tool: &str, page: &str, refused: Option<i64>| {
        json!({
            "tool": tool, "page": page, "type": "text/html;profile=mcp-app", "asked": "get-time", "refused": refused
        })
    };
    let plain = "ui://get-time/mcp-app.html";
    let report =
        |tools: &[&str], pages: &[Value]| json!({ "revision": "2026-07-28", "tools": tools, "pages": pages });
    assert_eq!(reports[0], report(&["app_get-time", "echo_echo"], &[page("app_get-time", plain, None)]));
    // Whose tool a page means by a name that two servers have cannot be told; each server's own endpoint leaves no doubt.
    let [one, two] = ["one", "two"].map(|name| {
        page(&format!("{name}_get-time"), &format!("ui://mcpeg.{name}/get-time/mcp-app.html"), Some(-32602))
    });
    assert_eq!(reports[1], report(&["one_get-time", "two_get-time"], &[one, two]));
    assert_eq!(reports[2], report(&["get-time"], &[page("get-time", plain, None)]));
    for gateway in [beside, twins] {
        gateway.stop().await;
    }
}
