//! Request identifiers, the audit, the access log, and the numbers of calls and refusals: what each says of the same requests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::client::{Answer, Client, MODERN_META, send};
use crate::daemon::Site;
use crate::gateway::{Gateway, write};
use crate::tools::transcript;
use crate::upstreams::{Gate, probe};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The revision that has batches.
const BATCHING: &str = "2025-03-26";
/// Who calls.
const CLIENTS: &str = "[clients.alice]\ntools = { deny = [\"*_pids\"] }\n";

/// Headers of a request.
type Headers = Vec<(&'static str, String)>;

/// A gateway with an audit, a log and a state directory of its own.
struct Audited {
    /// The gateway.
    gateway: Gateway,
    /// The token of its client.
    token: String,
    /// Records of the audit that were looked at.
    seen: usize,
}

/// The configuration of one in this directory.
fn configuration(site: &Site, tables: &str) -> String {
    let path = |name: &str| site.path(name).display().to_string();
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nfile = \"{}\"\naudit = \"{}\"\naudit_arguments = \"digest\"\n\
         access = \"all\"\n{}{}{tables}",
        path("mcpeg.log"),
        path("audit.log"),
        probe("one", &[]),
        probe("two", &[]).trim_end().to_owned() + "\nrequest_timeout = \"1s\"\n",
    )
}

/// The lines of a file of JSON.
fn lines(gateway: &Gateway, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(gateway.file(file)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The table by which a gateway writes its audit into this file.
pub(crate) fn table(file: &Path) -> String {
    format!("[log]\naudit = \"{}\"\n", file.display())
}

/// The records of an event in a file, as soon as there are so many.
pub(crate) async fn records(file: &Path, event: &str, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    until("records of the audit", async || {
        let written = std::fs::read_to_string(file).unwrap_or_default();
        // A line that is not whole is none yet.
        found = written.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect();
        found.retain(|record| record["event"] == event);
        found.len() >= count
    })
    .await;
    found
}

/// A member of a record, or nothing.
pub(crate) fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or_default()
}

/// The series of a metric, each with its labels and value.
pub(crate) async fn series(gateway: &Gateway, name: &str, headers: &[(&str, &str)]) -> BTreeMap<String, u64> {
    let answer = send(gateway.address(), Method::GET, "/metrics", headers, "").await;
    let told = String::from_utf8(answer.body.to_vec()).expect("text");
    let of_it = told.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let one = |line: &str| {
        let (labels, value) = line.rsplit_once(' ')?;
        Some((labels[name.len()..].to_owned(), value.parse().ok()?))
    };
    of_it.filter_map(one).collect()
}

/// A call of the modern era.
fn call(tool: &str, arguments: &str) -> (Headers, String) {
    let params = format!(r#"{{"_meta":{{{MODERN_META}}},"name":"{tool}","arguments":{arguments}}}"#);
    let headers = vec![
        ("mcp-protocol-version", "2026-07-28".to_owned()),
        ("mcp-method", "tools/call".to_owned()),
        ("mcp-name", tool.to_owned()),
    ];
    (headers, format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#))
}

/// Waits until something is so.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Audited {
    /// Starts one, and waits until the token of its client is believed.
    async fn start() -> Self {
        let site = Site::with_config("");
        let state = site.path("state").display().to_string();
        write(&site.path("mcpeg.toml"), configuration(&site, CLIENTS));
        let gateway = Gateway::on(site.variable("STATE_DIRECTORY", &state)).await;
        let made = gateway.control(&["token", "create", "alice"]).await;
        assert!(made.status.success(), "{}", transcript(&made));
        let token = String::from_utf8(made.stdout).expect("text").trim().to_owned();
        let mut audited = Self { gateway, token, seen: 0 };
        until("a token that is believed", async || {
            audited.post("/mcp", call("one_echo", "{}"), &[]).await.status == 200
        })
        .await;
        let before = audited.records(2).await;
        let made = before.iter().find(|record| record["event"] == "token").expect("a record of the token");
        let uid = nix::unistd::geteuid().as_raw();
        assert_eq!((text(made, "client"), text(made, "reason")), ("alice", "create"));
        assert_eq!((&made["uid"], &made["outcome"]), (&json!(uid), &json!("ok")));
        audited.settle().await;
        audited
    }

    /// Posts a message with the token of the client.
    async fn post(&self, path: &str, (headers, body): (Headers, String), more: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
        all.extend(more);
        crate::client::post(self.gateway.address(), path, &all, &body).await
    }

    /// The records that have come since they were looked at, as soon as there are so many; no more may come.
    async fn records(&mut self, count: usize) -> Vec<Value> {
        let (gateway, seen) = (&self.gateway, self.seen);
        until("records of the audit", async || lines(gateway, "audit.log").len() >= seen + count).await;
        let found = lines(gateway, "audit.log").split_off(seen);
        self.seen += found.len();
        found
    }

    /// Looks at everything that has come.
    async fn settle(&mut self) {
        // What was answered is in the queue, which is empty soon.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.seen = lines(&self.gateway, "audit.log").len();
    }

    /// The one record that has come.
    async fn record(&mut self) -> Value {
        let found = self.records(1).await;
        let [record] = found.as_slice() else { panic!("more than one record: {found:#?}") };
        record.clone()
    }

    /// A session of a revision.
    async fn session(&self, version: &'static str) -> Headers {
        let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "a", "version": "1" } });
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string();
        let answer = self.post("/mcp", (Vec::new(), body), &[]).await;
        let id = answer.headers["mcp-session-id"].to_str().expect("text").to_owned();
        vec![("mcp-session-id", id), ("mcp-protocol-version", version.to_owned())]
    }

    /// Calls that come to all that a call can come to: each with its record.
    async fn calls(&mut self) {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let own = [("x-request-id", "client-7"), ("traceparent", trace)];
        let answer = self.post("/mcp", call("one_echo", r#"{"word":"planted"}"#), &own).await;
        assert_eq!(answer.headers["x-request-id"], "client-7");
        let record = self.record().await;
        let expected = json!({
            "event": "call", "client": "alice", "proof": "token", "address": "127.0.0.1", "upstream": "one",
            "tool": "one_echo", "upstream_tool": "echo", "outcome": "ok", "request_id": "client-7",
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "level": "INFO", "target": "mcpeg::audit",
        });
        for (name, value) in expected.as_object().expect("an object") {
            assert_eq!(&record[name], value, "{name} of {record}");
        }
        assert_eq!(text(&record, "arguments_sha256").len(), 64, "{record}");
        assert!(record["duration_ms"].is_number() && !record.to_string().contains("planted"), "{record}");
        let gate = Gate::closed();
        for (path, tool, arguments, told) in [
            ("/mcp/one", "echo", "{}", ["ok", "", "one"]),
            ("/mcp", "one_fail", "{}", ["error", "-32099", "one"]),
            ("/mcp", "two_sleep", &*gate.arguments(), ["timeout", "", "two"]),
            ("/mcp", "nobodys", "{}", ["refused", "name", ""]),
            ("/mcp", "one_nobodys", "{}", ["refused", "name", ""]),
            ("/mcp", "one_pids", "{}", ["refused", "rights", ""]),
        ] {
            let answer = self.post(path, call(tool, arguments), &[("x-request-id", "a b")]).await;
            let record = self.record().await;
            assert_eq!(["outcome", "reason", "upstream"].map(|name| text(&record, name)), told, "{record}");
            assert_eq!(text(&record, "tool"), tool);
            assert_eq!(text(&record, "endpoint"), path.trim_start_matches("/mcp").trim_start_matches('/'));
            let id = answer.headers["x-request-id"].to_str().expect("text");
            assert!(id.len() == 32 && record["request_id"] == id, "{id} {record}");
        }
        gate.open();
    }

    /// Calls within a session: one alone, two in a batch, and one whose client goes.
    async fn calls_of_sessions(&mut self) {
        let session = self.session(BATCHING).await;
        let message = |id: u32| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "one_echo" } });
        self.settle().await;
        self.post("/mcp", (session.clone(), message(1).to_string()), &[]).await;
        assert_eq!(text(&self.record().await, "outcome"), "ok");
        self.post("/mcp", (session, json!([message(2), message(3)]).to_string()), &[]).await;
        let both = self.records(2).await;
        assert!(both.len() == 2 && both.iter().all(|record| record["outcome"] == "ok"), "{both:#?}");
        assert_eq!(both[0]["request_id"], both[1]["request_id"]);
        let gate = Gate::closed();
        let (headers, body) = call("one_sleep", &gate.arguments());
        let mut stream = TcpStream::connect(self.gateway.address()).await.expect("it works");
        let mut request =
            format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n", self.token);
        for (name, value) in headers {
            request.extend([name, ": ", &value, "\r\n"]);
        }
        let length = body.len().to_string();
        request.extend(["Content-Type: application/json\r\nContent-Length: ", &length, "\r\n\r\n", &body]);
        stream.write_all(request.as_bytes()).await.expect("it works");
        let gateway = &self.gateway;
        until("the call is under way", async || gateway.in_flight().await > 0).await;
        drop(stream);
        assert_eq!(text(&self.record().await, "outcome"), "cancelled");
        gate.open();
    }

    /// Requests that are refused before anybody knows what they ask for, and a change of the configuration.
    async fn others(&mut self) {
        let (headers, body) = call("one_echo", "{}");
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (more, path, told) in [
            ([("accept-language", "x"), ("x-request-id", "r-1")], "/mcp?access_token=x", "credential"),
            ([("host", "evil.example"), ("x-request-id", "r-1")], "/mcp", "host"),
            ([("origin", "https://evil.example"), ("x-request-id", "r-1")], "/mcp", "origin"),
        ] {
            let all = [more.to_vec(), headers.clone()].concat();
            let answer = crate::client::post(self.gateway.address(), path, &all, &body).await;
            assert_eq!(answer.headers["x-request-id"], "r-1", "{told}");
            let record = self.record().await;
            let members = ["event", "outcome", "reason", "request_id"].map(|name| text(&record, name));
            assert_eq!(members, ["refusal", "refused", told, "r-1"], "{record}");
        }
        let warned = lines(&self.gateway, "mcpeg.log");
        let warned: Vec<_> = warned.iter().filter(|line| line["message"] == "a request is refused").collect();
        let with_it = warned.iter().filter(|line| line["request_id"] == "r-1").count();
        assert_eq!(with_it, 3, "{warned:#?}");
        let answer = self.post("/mcp/nowhere", call("one_echo", "{}"), &[]).await;
        assert_eq!(answer.status, 404);
        assert_eq!(text(&self.record().await, "reason"), "endpoint");
        let file = self.gateway.file("mcpeg.toml");
        let before = std::fs::read_to_string(&file).expect("text");
        write(&file, before.replace("\"*_pids\"", "\"*_exit\""));
        assert!(self.gateway.control(&["--reload"]).await.status.success());
        let record = self.record().await;
        let members = ["event", "outcome", "reason", "proof"].map(|name| text(&record, name));
        assert_eq!(members, ["configuration", "ok", "clients.alice", "control socket"], "{record}");
        assert_eq!(record["uid"], nix::unistd::geteuid().as_raw());
        write(&file, before + "nonsense = 1\n");
        assert!(!self.gateway.control(&["--reload"]).await.status.success());
        assert_eq!(text(&self.record().await, "outcome"), "refused");
    }
}

#[tokio::test]
async fn each_call_refusal_token_and_change_has_one_record_with_who_what_and_what_came_of_it() {
    let mut audited = Audited::start().await;
    audited.calls().await;
    audited.calls_of_sessions().await;
    audited.others().await;
    let all = lines(&audited.gateway, "audit.log");
    let bearer = format!("Bearer {}", audited.token);
    let calls = series(&audited.gateway, "mcpeg_tool_calls_total", &[("authorization", &bearer)]).await;
    let refused = series(&audited.gateway, "mcpeg_refused_total", &[("authorization", &bearer)]).await;
    // A client that is restricted may not read the metrics, which is a refusal, too.
    assert!(calls.is_empty() && refused.is_empty(), "{calls:?} {refused:?}");
    let log = lines(&audited.gateway, "mcpeg.log");
    let of_log = |line: &&Value| line["target"] == "mcpeg::access" && line["mcp.method.name"] == "tools/call";
    let of_audit = |record: &&Value| record["event"] == "call";
    // A batch is one request.
    assert_eq!(log.iter().filter(of_log).count() + 1, all.iter().filter(of_audit).count());
    let spans = |line: &Value| line["target"] == "mcpeg::audit";
    assert!(!log.iter().any(spans), "the audit has a file of its own");
    audited.gateway.stop().await;
}

/// What calls have come to, by outcome.
type Came = BTreeMap<&'static str, u64>;

/// Calls a tool; whether there is a result.
async fn called(client: &Client, tool: &str, came: &mut Came) -> Option<Answer> {
    let answer = client.call(tool, "{}").await;
    let is_result = answer.reply().contains("\"result\"");
    *came.entry(if is_result { "ok" } else { "error" }).or_default() += 1;
    is_result.then_some(answer)
}

/// What so many calls have come to, one after the other; `done` counts them.
async fn load(address: String, calls: usize, done: Arc<AtomicUsize>) -> Came {
    let client = Client::modern(&address, "/mcp");
    let mut came = Came::new();
    for number in 0..calls {
        called(&client, if number % 10 == 9 { "one_fail" } else { "one_echo" }, &mut came).await;
        done.fetch_add(1, Ordering::Relaxed);
    }
    came
}

/// Four clients at once; meanwhile, so many times, the upstream is killed, and the configuration read again.
async fn storm(gateway: &Gateway, (calls, kills): (usize, usize), came: &mut Came) {
    let done = Arc::<AtomicUsize>::default();
    let address = || gateway.address().to_owned();
    let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(load(address(), calls / 4, Arc::clone(&done)))).collect();
    for kill in 0..kills {
        until("calls", async || done.load(Ordering::Relaxed) >= calls * kill / kills).await;
        let pids = called(&Client::modern(gateway.address(), "/mcp"), "one_pids", came).await;
        let pids: Vec<i32> =
            pids.map(|pids| serde_json::from_str(&pids.text()).expect("numbers")).unwrap_or_default();
        for pid in pids.iter().take(1) {
            // One that has ended by itself meanwhile is as dead.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::SIGKILL);
        }
        assert!(gateway.control(&["--reload"]).await.status.success());
    }
    for task in tasks {
        for (outcome, count) in task.await.expect("no panic") {
            *came.entry(outcome).or_default() += count;
        }
    }
}

/// What was counted, by outcome.
async fn counted(gateway: &Gateway, sum: &mut BTreeMap<String, u64>) {
    for (labels, count) in series(gateway, "mcpeg_tool_calls_total", &[]).await {
        let outcome = labels.split("outcome=\"").nth(1).and_then(|rest| rest.split('"').next());
        *sum.entry(outcome.expect("an outcome").to_owned()).or_default() += count;
    }
}

/// Has so many calls made in each of so many processes, of which one takes the other's place, with so many kills in each; clients,
/// metrics, access log and audit must have counted the same.
async fn figures_agree(processes: usize, calls: usize, kills: usize) {
    let site = Site::with_config("");
    write(&site.path("mcpeg.toml"), configuration(&site, ""));
    let gateway = Gateway::on(site).await;
    let (mut came, mut sum) = (Came::new(), BTreeMap::new());
    for process in 0..processes {
        if process > 0 {
            gateway.restart().await;
        }
        storm(&gateway, (calls, kills), &mut came).await;
        // The numbers of a process end with it.
        counted(&gateway, &mut sum).await;
    }
    let came: BTreeMap<String, u64> =
        came.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    assert!(came.values().sum::<u64>() >= (processes * calls) as u64, "{came:?}");
    assert_eq!(sum, came, "the metrics, and what clients have seen");
    let by_outcome = |file: &str, target: &str| {
        let mut found = BTreeMap::<String, u64>::new();
        for line in lines(&gateway, file) {
            let is_call = line["event"] == "call" || line["mcp.method.name"] == "tools/call";
            if is_call && line["target"] == target {
                *found.entry(text(&line, "outcome").to_owned()).or_default() += 1;
            }
        }
        found
    };
    until("all is written", async || by_outcome("audit.log", "mcpeg::audit") == came).await;
    until("all is written", async || by_outcome("mcpeg.log", "mcpeg::access") == came).await;
    gateway.stop_successor().await;
}

#[tokio::test]
async fn clients_metrics_access_log_and_audit_count_the_same_calls() {
    figures_agree(2, 800, 1).await;
}

#[tokio::test]
async fn figures_of_a_release_only_are_the_same_for_a_hundred_thousand_calls() {
    figures_agree(5, 20_000, 5).await;
}
