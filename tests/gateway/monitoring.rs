//! `docs/monitoring.md`, the rules of Prometheus and the dashboard of Grafana: that they name what there is, and that a real
//! Prometheus gets data for all of it. Debian's `prometheus` and `promtool` are where `scripts/setup` puts them, in `PATH`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::process::Command;

use crate::client::{Client, send};
use crate::daemon::Site;
use crate::gateway::{Gateway, write};
use crate::listeners::Authority;
use crate::port::Port;
use crate::tools::{bound, run_any, transcript};
use crate::upstreams::probe;

/// The page.
const PAGE: &str = include_str!("../../docs/monitoring.md");
/// The rules, their cases, and the dashboard.
const RULES: &str = include_str!("../../packaging/prometheus/mcpeg.rules.yml");
const CASES: &str = include_str!("../../packaging/prometheus/mcpeg.rules.test.yml");
const DASHBOARD: &str = include_str!("../../packaging/grafana/mcpeg.json");
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A metric: its kind and its labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

/// What follows each of these words at the beginning of a line, up to the line's end.
fn after<'a>(text: &'a str, words: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(words)).collect()
}

/// The rows of the page's table under a heading, in cells.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE.split_once(&format!("\n## {heading}\n")).expect("a heading");
    let section = section.split("\n## ").next().expect("split has one");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect()
}

/// The names in the code of a cell.
fn names(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The metrics of the page.
fn documented() -> Metrics {
    let (_, section) = PAGE.split_once("\n## Metrics\n").expect("a heading");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| {
            let [_, name, kind, unit, labels, tells, _] = cells[..] else { panic!("{cells:?}") };
            assert!(!unit.is_empty() && !tells.is_empty(), "{name}");
            (names(name).next().expect("a name"), (kind.to_owned(), names(labels).collect()))
        })
        .collect()
}

/// The metrics of what a gateway tells.
fn told(text: &str) -> Metrics {
    let mut found = Metrics::new();
    let mut last = String::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            name.clone_into(&mut last);
        }
        if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let (labels, _) = labels.rsplit_once('}').expect("the end of labels");
            let labels = labels.split("\",").filter_map(|label| label.split('=').next());
            let known = &mut found.get_mut(&last).expect("a type before it").1;
            known.extend(labels.filter(|label| *label != "le").map(str::to_owned));
        }
    }
    found
}

#[test]
fn each_alert_is_on_the_page_and_has_a_case_in_which_it_fires() {
    let alerts = after(RULES, "- alert: ");
    let on_page: Vec<_> = rows("Alerts").iter().flat_map(|row| names(row[0])).collect();
    assert_eq!(alerts, on_page);
    for alert in &alerts {
        let rule = RULES.split(&format!("- alert: {alert}\n")).nth(1).expect("a rule");
        let rule = rule.split("- alert: ").next().expect("split has one");
        let severity = after(rule, "severity: ")[0];
        let row = rows("Alerts").into_iter().find(|row| row[0] == format!("`{alert}`")).expect("a row");
        assert_eq!(row[1], severity, "{alert}");
        assert!(!after(rule, "summary: ").is_empty() && !after(rule, "description: ").is_empty(), "{alert}");
        let case =
            CASES.split(&format!("- alertname: {alert}\n")).nth(1).unwrap_or_else(|| panic!("{alert}"));
        assert!(
            case.split("- alertname:").next().expect("split has one").contains("exp_annotations"),
            "{alert}"
        );
    }
}

/// The queries of the dashboard, with what Grafana would put in the place of its variables.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let (mut queries, mut ids) = (Vec::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_u64()), "one identifier for each: {panel}");
        if panel["type"] == "row" {
            continue;
        }
        let text = |name: &str| panel[name].as_str().is_some_and(|text| !text.is_empty());
        assert!(text("title") && text("description"), "{panel}");
        let targets = panel["targets"].as_array().expect("queries");
        assert!(!targets.is_empty() && panel["datasource"]["uid"] == "${datasource}", "{panel}");
        queries.extend(targets.iter().map(|target| target["expr"].as_str().expect("a query").to_owned()));
    }
    let noted = dashboard["annotations"]["list"].as_array().expect("annotations");
    queries.extend(noted.iter().map(|it| it["expr"].as_str().expect("a query").to_owned()));
    let variables = [("$__rate_interval", "3s"), ("$instance", ".*"), ("$upstream", ".*")];
    let filled = queries
        .into_iter()
        .map(|query| variables.iter().fold(query, |query, (variable, value)| query.replace(variable, value)));
    filled.inspect(|query| assert!(!query.contains("$__") && !query.contains("$i"), "{query}")).collect()
}

/// What a Prometheus says.
async fn api(address: &str, path: &str, query: &str) -> Value {
    let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
    let answer = send(address, Method::GET, &format!("/api/v1/{path}?{query}"), &[], "").await;
    let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    answer["data"].clone()
}

/// Whether a query has an answer that is a number.
async fn has_data(address: &str, query: &str) -> bool {
    let data = api(address, "query", query).await;
    let found = data["result"].as_array().expect("a vector");
    found.iter().any(|series| series["value"][1] != "NaN")
}

/// A gateway of which everything can be told.
async fn eloquent(authority: &Authority) -> Gateway {
    authority.sign("server", 10);
    let site = Site::with_config("");
    let path = |name: &str| site.path(name).display().to_string();
    let file = |name: &str| authority.file(name).display().to_string();
    let configuration = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nfile = \"{}\"\naudit = \"{}\"\n\
         [listeners.public]\naddress = \"127.0.0.2:0\"\ntls = {{ cert = \"{}\", key = \"{}\" }}\n\
         {}max_concurrency = 2\n[upstreams.broken]\ncommand = \"/bin/false\"\n",
        path("mcpeg.log"),
        path("audit.log"),
        file("server.pem"),
        file("server.key"),
        probe("one", &[]),
    );
    write(&site.path("mcpeg.toml"), configuration);
    Gateway::on(site).await
}

/// A little of everything that clients do; how many calls of tools that were.
async fn load(gateway: &Gateway) -> u64 {
    let address = gateway.address();
    let session = Client::legacy(address, "/mcp").await;
    for tool in ["one_echo", "one_fail", "one_echo"] {
        session.call(tool, "{}").await;
    }
    session.end().await;
    send(address, Method::GET, "/mcp", &[("host", "evil.example")], "").await;
    3
}

/// The block of the page in this language that has this text.
fn block(language: &str, text: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let mut blocks = PAGE.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.find(|block| block.contains(text)).unwrap_or_else(|| panic!("no block with {text}"))
}

/// Runs a command of the page, with other words in the place of some of its own.
async fn shell(text: &str, words: &[(&str, &str)]) -> String {
    let line = PAGE.lines().find(|line| line.starts_with(text)).unwrap_or_else(|| panic!("no {text}"));
    let line = words.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
    let output = run_any(Command::new("sh").args(["-c", &line])).await;
    assert!(output.status.success(), "{line}: {}", transcript(&output));
    transcript(&output)
}

/// A Prometheus as the page sets it up, beside the gateway; where it answers.
async fn prometheus(gateway: &Gateway, scratch: &Path) -> (tokio::process::Child, String) {
    let (shipped, rules) = (
        Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging"),
        scratch.join("rules").display().to_string(),
    );
    let words =
        [("/usr/share/mcpeg", &*shipped.display().to_string()), ("/etc/prometheus/rules", rules.as_str())];
    shell("install -Dm644 -t /etc/prometheus", &words).await;
    assert!(shell("promtool check rules", &words).await.contains("SUCCESS"));
    let often = "global: { scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }\n";
    let page = block("yaml", "rule_files").replace("127.0.0.1:8080", gateway.address());
    write(&scratch.join("prometheus.yml"), often.to_owned() + &page.replace(words[1].0, words[1].1));
    let port = Port::free();
    let address = port.address.to_string();
    let mut command = bound("prometheus");
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]);
    command.arg(format!("--web.listen-address={address}")).current_dir(scratch);
    let child = command.kill_on_drop(true).spawn().expect("scripts/setup has put Prometheus into PATH");
    (child, address)
}

#[tokio::test]
#[ignore = "needs Prometheus"]
async fn prometheus_gets_what_page_rules_and_dashboard_name() {
    let (authority, scratch) = (Authority::new(), tempfile::tempdir().expect("a directory"));
    let gateway = eloquent(&authority).await;
    let (_child, prometheus) = prometheus(&gateway, scratch.path()).await;
    let ready = async || tokio::net::TcpStream::connect(&prometheus).await.is_ok();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut calls = load(&gateway).await;
    while !ready().await {
        assert!(tokio::time::Instant::now() < deadline, "Prometheus does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut missing = queries();
    missing.extend(after(RULES, "- record: ").into_iter().map(str::to_owned));
    assert!(missing.len() > 40, "{missing:#?}");
    while !missing.is_empty() {
        calls += load(&gateway).await;
        let mut still = Vec::new();
        for query in missing {
            if !has_data(&prometheus, &query).await {
                still.push(query);
            }
        }
        missing = still;
        assert!(tokio::time::Instant::now() < deadline, "no data for {missing:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rules = api(&prometheus, "rules", "").await;
    let rules: Vec<_> = rules["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .filter_map(|group| group["rules"].as_array())
        .flatten()
        .collect();
    assert!(rules.len() > 20 && rules.iter().all(|rule| rule["health"] == "ok"), "{rules:#?}");
    let firing: Vec<_> =
        rules.iter().filter(|rule| rule["state"] == "firing").map(|rule| &rule["name"]).collect();
    assert_eq!(firing, ["McpegCertificateEnds"]);
    // What it counts is what was called.
    let sum = async || {
        api(&prometheus, "query", "sum(mcpeg_tool_calls_total)").await["result"][0]["value"][1].clone()
    };
    let expected = Value::from(calls.to_string());
    while sum().await != expected {
        assert!(tokio::time::Instant::now() < deadline, "{} of {calls} calls", sum().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let page = shell("curl --silent", &[("127.0.0.1:8080", gateway.address())]).await;
    assert_eq!(told(&page), documented());
    let file = scratch.path().join("page");
    write(&file, page);
    let checked = run_any(Command::new("sh").args(["-c", "promtool check metrics <\"$0\""]).arg(&file)).await;
    assert!(checked.status.success() && transcript(&checked).is_empty(), "{}", transcript(&checked));
    gateway.stop().await;
}

#[tokio::test]
#[ignore = "needs Prometheus"]
async fn each_alert_fires_in_its_case_and_none_where_all_is_well() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus");
    let mut command = Command::new("promtool");
    command.args(["test", "rules", "mcpeg.rules.test.yml"]).current_dir(directory);
    let output = run_any(&mut command).await;
    assert!(output.status.success(), "{}", transcript(&output));
}
