//! The official conformance suite over the fixture upstream, in both revisions and over both upstream transports, where the
//! upstream speaks both eras of the protocol and where it speaks one of them only.
//!
//! The floors are what is reached. The fixture by itself fails the Host check, and gives no event identifiers and no streams
//! for lists, which are the gateway's to add.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::process::Command;

use crate::client::Client;
use crate::gateway::{Gateway, HttpUpstream};
use crate::scripted::Script;
use crate::tools::{Tools, bound, run_any, transcript};
use crate::upstreams::{http, stdio};

/// The revision of the modern era.
const MODERN: &str = "2026-07-28";

/// The era that is left of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upstream {
    /// It speaks both.
    Both,
    /// Revisions up to 2025-11-25.
    Legacy,
    /// Revision 2026-07-28.
    Modern,
}

impl Upstream {
    /// The value of the fixture's variable `ERA`.
    const fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }

    /// The checks that may fail where clients speak this revision, each with its reason; none where there is no file.
    fn expected(self, revision: &str) -> Option<PathBuf> {
        let name = format!("tests/gateway/conformance/{revision}-over-{}.yaml", self.name());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        path.exists().then_some(path)
    }
}

/// The upstream with the names that the suite asks for.
const UPSTREAM: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/conformance-upstream/upstream.mjs");

/// One entry of a `checks.json`.
#[derive(Debug, Deserialize)]
struct Check {
    /// The check's name, unique in its scenario except for repetitions.
    id: String,
    /// SUCCESS, FAILURE, WARNING, SKIPPED or INFO.
    status: String,
    /// What went wrong.
    #[serde(rename = "errorMessage")]
    error: Option<String>,
}

/// What a run of the suite found.
#[derive(Debug, Default)]
struct Findings {
    /// The number of passed checks.
    passed: usize,
    /// The passed checks as `SCENARIO:CHECK`, each once.
    names: BTreeSet<String>,
    /// The failed checks as `SCENARIO:CHECK`.
    failed: Vec<String>,
    /// What the failed checks said.
    errors: String,
}

/// Adds up the `checks.json` of every scenario.
fn findings(directory: &Path) -> Findings {
    let mut findings = Findings::default();
    for entry in directory.read_dir().expect("results") {
        let path = entry.expect("results").path();
        let text = std::fs::read_to_string(path.join("checks.json")).expect("a scenario's checks");
        let checks: Vec<Check> = serde_json::from_str(&text).expect("checks");
        let scenario = scenario(path.file_name().expect("a name").to_str().expect("ASCII"));
        for check in checks {
            match check.status.as_str() {
                "SUCCESS" => {
                    findings.passed += 1;
                    findings.names.insert(format!("{scenario}:{}", check.id));
                }
                "FAILURE" => {
                    let name = format!("{scenario}:{}", check.id);
                    let error = check.error.unwrap_or_default();
                    writeln!(findings.errors, "{name}: {error}").expect("strings take all");
                    findings.failed.push(name);
                }
                _ => {}
            }
        }
    }
    findings
}

/// `tools-list` of `server-tools-list-2026-11-22T22-55-14-973Z`.
fn scenario(directory: &str) -> &str {
    /// The length of the time stamp and the hyphen before it.
    const STAMP: usize = "-2026-11-22T22-55-14-973Z".len();
    let name = directory.strip_prefix("server-").expect("a server scenario");
    &name[..name.len() - STAMP]
}

/// The entries of a list of expected failures; each has a reason.
fn entries(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).expect("the list");
    let entries = text.lines().filter_map(|line| line.trim_start().strip_prefix("- "));
    let entry = |line: &str| {
        let (entry, reason) = line.split_once(" # ").unwrap_or_else(|| panic!("no reason: {line}"));
        assert!(reason.len() > 10, "{line}");
        entry.trim().to_owned()
    };
    entries.map(entry).collect()
}

/// Runs the suite in one revision against an endpoint.
async fn suite(tools: &Tools, revision: &str, expected: Option<&Path>, url: &str) -> Findings {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut command = Command::new(tools.node());
    command.arg(tools.path("node_modules/.bin/conformance"));
    command.args(["server", "--url", url, "--requirements", revision, "-o"]).arg(scratch.path());
    if let Some(expected) = expected {
        command.arg("--expected-failures").arg(expected);
    }
    let output = run_any(&mut command).await;
    let findings = findings(scratch.path());
    let errors = &findings.errors;
    let said = transcript(&output);
    let summary = said.split_once("=== SUMMARY ===").map_or(said.as_str(), |(_, summary)| summary);
    assert!(output.status.success(), "{errors}{summary}");
    findings
}

/// Runs the suite over the fixture upstream and holds it to the floor.
async fn holds(revision: &str, upstream: Upstream, over_http: bool, floor: usize) {
    let tools = Tools::get().await;
    let scratch = tempfile::tempdir().expect("a scratch directory");
    tools.script(scratch.path(), &Path::new(UPSTREAM).with_file_name("tasks.mjs"));
    let script = tools.script(scratch.path(), Path::new(UPSTREAM));
    let mut server = None;
    let configuration = if over_http {
        let mut command = bound(&tools.node());
        command.args([&script, "http", "0"]).env("ERA", upstream.name());
        http("fixture", server.insert(HttpUpstream::start(&mut command).await).port)
    } else {
        stdio("fixture", &tools.node(), &[&script]) + &format!("env = {{ ERA = \"{}\" }}\n", upstream.name())
    };
    let gateway = Gateway::start(&configuration).await;
    if upstream == Upstream::Legacy && revision == MODERN {
        precede(gateway.address()).await;
    }
    let expected = upstream.expected(revision);
    let findings = suite(&tools, revision, expected.as_deref(), &gateway.url("/mcp")).await;
    report(&format!("{revision} over {upstream:?}, http: {over_http}"), &findings);
    let expected = expected.map(|path| entries(&path)).unwrap_or_default();
    let unexpected: Vec<_> = findings.failed.iter().filter(|name| !expected.contains(*name)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}\n{}", findings.errors);
    assert!(findings.passed >= floor, "{} of at least {floor} checks passed", findings.passed);
    if upstream == Upstream::Both {
        // What the table of requirements names as a proof is one.
        let named = crate::requirements::checks(revision);
        let absent: Vec<_> = named.difference(&findings.names).collect();
        assert!(!named.is_empty() && absent.is_empty(), "checks that requirements name: {absent:?}");
    }
    gateway.stop().await;
}

/// A server beside the fixture that has something of everything, and is never silent.
const NOISE: &str = r#"
capabilities = {"tools": {"listChanged": True}, "prompts": {"listChanged": True}, "resources": {"listChanged": True, "subscribe": True}, "logging": {}, "completions": {}}
def hum():
    while True:
        time.sleep(0.2)
        send({"method": "notifications/message", "params": {"level": "info", "data": "hum"}})
        send({"method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}})
        send({"method": "notifications/resources/updated", "params": {"uri": "noise://a"}})
        for kind in ("tools", "prompts", "resources"): send({"method": "notifications/%s/list_changed" % kind})
def handle(message):
    about = {"description": "beside", "inputSchema": {"type": "object"}}
    lists = {"tools/list": {"tools": [{"name": name, **about} for name in ("test_simple_text", "hum")]},
             "prompts/list": {"prompts": [{"name": "test_simple_prompt", "description": "beside"}]}, "resources/templates/list": {"resourceTemplates": []},
             "resources/list": {"resources": [{"uri": "noise://a", "name": "a"}]}, "logging/setLevel": {}, "resources/subscribe": {}}
    if message["method"] == "initialize": threading.Thread(target=hum, daemon=True).start()
    if message["method"] in lists: reply(message, lists[message["method"]])
    return message["method"] in lists
"#;

/// Runs the suite over the fixture beside a noisy server, whose names a client maps, and holds it to the floor.
async fn holds_merged(revision: &str, floor: usize) {
    let tools = Tools::get().await;
    let scratch = tempfile::tempdir().expect("a scratch directory");
    tools.script(scratch.path(), &Path::new(UPSTREAM).with_file_name("tasks.mjs"));
    let script = tools.script(scratch.path(), Path::new(UPSTREAM));
    let fixture = HttpUpstream::start(bound(&tools.node()).args([&script, "http", "0"])).await;
    let noise = Script::new(NOISE);
    let gateway = Gateway::start(&(http("fixture", fixture.port) + &noise.upstream("noise"))).await;
    let names = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/conformance/names.mjs");
    let map = HttpUpstream::start(bound(&tools.node()).args([names, gateway.address(), "fixture_"])).await;
    let findings = suite(&tools, revision, None, &format!("http://127.0.0.1:{}/mcp", map.port)).await;
    report(&format!("{revision} merged"), &findings);
    assert!(findings.failed.is_empty(), "{:?}\n{}", findings.failed, findings.errors);
    assert!(findings.passed >= floor, "{} of at least {floor} checks passed", findings.passed);
    gateway.stop().await;
}

/// Makes the call that the suite gives 600 ms, as the same client. A legacy server's answer to a client that can be asked
/// comes over a connection of the client's own, which is kept for its next call: where that is a process, its start alone
/// takes longer on a busy machine, and the suite would see nothing of the answer.
async fn precede(address: &str) {
    let tool = "test_streaming_elicitation";
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"conformance-client","version":"1.0.0"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}"#;
    let params = format!(r#"{{"name":"{tool}","arguments":{{}},"_meta":{meta}}}"#);
    let answer = Client::modern(address, "/mcp").request("1", "tools/call", tool, &params).await;
    assert_eq!(answer.text(), "ok");
}

/// Leaves the counts in the test's output, where a regression above the floor can be looked up.
#[expect(clippy::print_stdout, reason = "the counts are this test's result for its reader")]
fn report(run: &str, findings: &Findings) {
    println!("conformance {run}: {} passed, {} failed", findings.passed, findings.failed.len());
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn revision_2025_11_25_passes_over_stdio() {
    holds("2025-11-25", Upstream::Both, false, 83).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn revision_2025_11_25_passes_over_http() {
    holds("2025-11-25", Upstream::Both, true, 83).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn revision_2026_07_28_passes_over_stdio() {
    holds(MODERN, Upstream::Both, false, 197).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn revision_2026_07_28_passes_over_http() {
    holds(MODERN, Upstream::Both, true, 197).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn revision_2025_11_25_passes_over_a_legacy_upstream() {
    holds("2025-11-25", Upstream::Legacy, false, 83).await;
    holds("2025-11-25", Upstream::Legacy, true, 83).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn revision_2025_11_25_is_bridged_to_a_modern_upstream() {
    holds("2025-11-25", Upstream::Modern, false, 83).await;
    holds("2025-11-25", Upstream::Modern, true, 83).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn revision_2026_07_28_passes_over_a_modern_upstream() {
    holds(MODERN, Upstream::Modern, false, 197).await;
    holds(MODERN, Upstream::Modern, true, 197).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn revision_2026_07_28_is_bridged_to_a_legacy_upstream() {
    holds(MODERN, Upstream::Legacy, false, 166).await;
    holds(MODERN, Upstream::Legacy, true, 166).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn revision_2025_11_25_passes_beside_a_noisy_server() {
    holds_merged("2025-11-25", 83).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn revision_2026_07_28_passes_beside_a_noisy_server() {
    holds_merged(MODERN, 197).await;
}
