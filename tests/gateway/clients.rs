//! Real third-party clients and servers, each driven as its users would.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::tools::Tools;
use crate::upstreams::stdio;

/// What a client script prints.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    /// The negotiated revision.
    pub(crate) protocol: String,
    /// The names of the listed tools.
    pub(crate) tools: Vec<String>,
    /// The number of listed resources.
    pub(crate) resources: usize,
    /// The number of listed prompts.
    pub(crate) prompts: usize,
    /// The result of each call.
    pub(crate) results: Vec<Value>,
    /// The result of each reading.
    pub(crate) read: Vec<Value>,
    /// The result of each prompt.
    pub(crate) prompted: Vec<Value>,
    /// The methods that the client was asked.
    pub(crate) asked: Vec<String>,
}

/// Each client that connects, with the revision that it must end up with.
pub(crate) const CLIENTS: [(&str, &[&str], &str); 7] = [
    ("client.py", &["auto"], "2026-07-28"),
    ("client.py", &["legacy"], "2025-11-25"),
    ("client.py", &["2026-07-28"], "2026-07-28"),
    ("fast.py", &["auto"], "2026-07-28"),
    ("fast.py", &["legacy"], "2025-11-25"),
    ("client.mjs", &[], "2025-11-25"),
    ("client2.mjs", &[], "2026-07-28"),
];

/// Runs one client script to its end.
pub(crate) async fn connect(tools: &Tools, script: &str, mode: &[&str], url: &str, plan: &Value) -> Report {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/clients");
    let source = directory.join(script);
    tools.script(scratch.path(), &directory.join("plan.mjs"));
    let python = source.extension().is_some_and(|extension| extension == "py");
    let program = if python { tools.python() } else { tools.node() };
    let script = tools.script(scratch.path(), &source);
    let plan = plan.to_string();
    let output = tools.run(&program, &[&[script.as_str(), url], mode, &[plan.as_str()]].concat()).await;
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// The text of the first content of a call's result.
pub(crate) fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {result}"))
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn every_client_lists_and_calls_the_built_in_tools() {
    let tools = Tools::get().await;
    let gateway = Gateway::start("").await;
    let calls = json!({ "calls": [["status", {}], ["upstreams", {}], ["config_check", {}]] });
    for (script, mode, protocol) in CLIENTS {
        let mut report = connect(&tools, script, mode, &gateway.url("/mcp"), &calls).await;
        report.tools.sort();
        assert_eq!(report.tools, ["config_check", "status", "upstreams"], "{script} {mode:?}");
        assert_eq!(report.protocol, protocol, "{script} {mode:?}");
        for result in &report.results {
            assert!(!text(result).is_empty() && result["isError"] != true, "{script} {mode:?}: {result}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn every_client_calls_a_tool_of_each_of_two_real_upstreams() {
    let tools = Tools::get().await;
    let everything = tools.path("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let configuration = stdio("everything", &tools.node(), &[&everything, "stdio"])
        + &stdio("time", &tools.path("venv/bin/mcp-server-time"), &["--local-timezone", "UTC"]);
    let gateway = Gateway::start(&configuration).await;
    let calls = json!({ "calls": [
        ["everything_echo", { "message": "through the gateway" }],
        ["time_get_current_time", { "timezone": "UTC" }]
    ] });
    for (script, mode, protocol) in CLIENTS {
        let report = connect(&tools, script, mode, &gateway.url("/mcp"), &calls).await;
        assert_eq!(report.protocol, protocol, "{script} {mode:?}");
        for name in ["everything_echo", "everything_get-sum", "time_get_current_time", "time_convert_time"] {
            assert!(report.tools.iter().any(|tool| tool == name), "{script} {mode:?}: {:?}", report.tools);
        }
        assert_eq!(text(&report.results[0]), "Echo: through the gateway", "{script} {mode:?}");
        assert!(text(&report.results[1]).contains("\"timezone\": \"UTC\""), "{script} {mode:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn inspector_lists_the_built_in_tools_in_both_eras() {
    let tools = Tools::get().await;
    let gateway = Gateway::start("").await;
    let inspector = tools.path("node_modules/.bin/mcp-inspector");
    let url = gateway.url("/mcp");
    let list = ["--cli", &url, "--transport", "http", "--method", "tools/list"];
    for era in [&[][..], &["--protocol-era", "modern"]] {
        let output = tools.run(&tools.node(), &[&[inspector.as_str()], &list[..], era].concat()).await;
        let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let names = list["tools"].as_array().expect("tools").iter().map(|tool| tool["name"].clone());
        let mut names: Vec<_> = names.collect();
        names.sort_by_key(ToString::to_string);
        assert_eq!(Value::from(names), json!(["config_check", "status", "upstreams"]), "{era:?}");
    }
    gateway.stop().await;
}
