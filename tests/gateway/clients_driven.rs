//! Clients that live through what happens to a gateway: lists, calls, progress, restarts, a server that is killed and calls
//! that are cut. What each of them does is in `docs/clients.md`, which this compares with what it has seen.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Locked};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::{Mutex, oneshot};

use crate::daemon::Site;
use crate::gateway::{Gateway, HttpUpstream, write};
use crate::listeners::Authority;
use crate::tools::{Tools, bound};
use crate::upstreams::{probe, sse, stdio};

/// The table.
const TABLE: &str = include_str!("../../docs/clients.md");
/// How long a client may take for anything; longer is a hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a client that hangs has said.
const HANGS: &str = "hangs";

/// What the table has after the path of a client that shows a token over TLS.
const SECURELY: &str = ", token over TLS";

/// A program: what it is run in, and its clients as what the table calls them, what the script calls them, and their path.
type Program = (Host, &'static [(&'static str, &'static str, &'static str)]);

/// What a program is run in.
#[derive(Clone, Copy)]
enum Host {
    /// Python with a layer of other versions, or none.
    Python(&'static str),
    /// Python with the packages of the large clients.
    Large,
    /// Node.
    Node,
}

/// The clients that every run of the gate drives.
const CLIENTS: [Program; 5] = [
    (
        Host::Python("mcp-1.9"),
        &[("Python mcp 1.9.4", "Official", "/mcp"), ("Python mcp 1.9.4", "Official", "/sse")],
    ),
    (
        Host::Python("mcp-1.12"),
        &[("Python mcp 1.12.4", "Official", "/mcp"), ("Python mcp 1.12.4", "Official", "/sse")],
    ),
    (
        Host::Python("mcp-1.30"),
        &[
            ("Python mcp 1.30.0", "Official", "/mcp"),
            ("Python mcp 1.30.0", "Official", "/sse"),
            ("langchain-mcp-adapters 0.3.2", "LangChain", "/mcp"),
            ("Python mcp 1.30.0", "Official", "/mcp, token over TLS"),
            ("langchain-mcp-adapters 0.3.2", "LangChain", "/mcp, token over TLS"),
        ],
    ),
    (
        Host::Python(""),
        &[
            ("Python mcp 2.3.0", "Second", "/mcp"),
            ("Python mcp 2.3.0, legacy", "SecondLegacy", "/mcp"),
            ("Python mcp 2.3.0", "Second", "/sse"),
            ("pydantic-ai 2.68.0", "PydanticAI", "/mcp"),
        ],
    ),
    (
        Host::Node,
        &[
            ("TypeScript sdk 1.10.2", "sdk-1.10", "/mcp"),
            ("TypeScript sdk 1.10.2", "sdk-1.10", "/sse"),
            ("TypeScript sdk 1.20.2", "sdk-1.20", "/mcp"),
            ("TypeScript sdk 1.20.2", "sdk-1.20", "/sse"),
            ("TypeScript sdk 1.32.2", "@modelcontextprotocol/sdk", "/mcp"),
            ("TypeScript sdk 1.32.2", "@modelcontextprotocol/sdk", "/sse"),
            ("TypeScript client 2.4.0", "@modelcontextprotocol/client", "/mcp"),
            ("TypeScript client 2.4.0", "@modelcontextprotocol/client", "/sse"),
            ("mcp-remote 0.15.1", "mcp-remote", "/mcp"),
            ("TypeScript sdk 1.32.2", "@modelcontextprotocol/sdk", "/mcp, token over TLS"),
            ("mcp-remote 0.15.1", "mcp-remote", "/mcp, token over TLS"),
        ],
    ),
];
/// Those that only a release drives.
const LARGE: [Program; 1] = [(
    Host::Large,
    &[
        ("openai-agents 0.24.0", "OpenAIAgents", "/mcp"),
        ("openai-agents 0.24.0", "OpenAIAgents", "/sse"),
        ("semantic-kernel 1.45.0", "SemanticKernel", "/mcp"),
        ("semantic-kernel 1.45.0", "SemanticKernel", "/sse"),
        ("codex 0.171.0", "Codex", "/mcp"),
    ],
)];

/// A running program.
struct Driven {
    /// Where it is told what to do.
    input: Mutex<ChildStdin>,
    /// Who waits for which answer.
    waiting: Arc<Locked<HashMap<u64, oneshot::Sender<Value>>>>,
    /// The number of the last line.
    last: AtomicU64,
    /// The process, which ends with this.
    _child: Child,
}

impl Driven {
    /// Starts a program for the clients of a gateway.
    fn start(tools: &Tools, scratch: &Path, (host, clients): Program, to: &Addresses) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/clients");
        let (program, script) = match host {
            Host::Python(_) => (tools.python(), scripts.join("driven.py").display().to_string()),
            Host::Large => {
                (tools.path("large/venv/bin/python"), scripts.join("driven.py").display().to_string())
            }
            Host::Node => (tools.node(), tools.script(scratch, &scripts.join("driven.mjs"))),
        };
        let mut command = bound(&program);
        let urls = clients.iter().map(|(_, kind, path)| match path.strip_suffix(SECURELY) {
            Some(path) => format!("{kind}={}{path}", to.secure),
            None => format!("{kind}={}{path}", to.plain),
        });
        command.arg(script).args(urls);
        let authority = &to.authority;
        command.env("AUTHORIZATION", &to.authorization);
        command.env("SSL_CERT_FILE", authority).env("NODE_EXTRA_CA_CERTS", authority);
        if let Host::Python(layer) = host {
            command.env("PYTHONPATH", if layer.is_empty() { String::new() } else { layer_of(tools, layer) });
        }
        // What mcp-remote and codex keep is there.
        command
            .env("MCP_REMOTE_CONFIG_DIR", scratch)
            .env("TMPDIR", scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let waiting = Arc::new(Locked::new(HashMap::<u64, oneshot::Sender<Value>>::new()));
        let waits = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let answer: Value =
                    serde_json::from_str(&line).unwrap_or_else(|_| panic!("no answer: {line}"));
                let id = answer["id"].as_u64().expect("a number");
                let sender = waits.lock().expect("no panic while locked").remove(&id);
                // Nobody waits any more for a client that was taken for one that hangs.
                let _ = sender.expect("one answer for each line").send(answer);
            }
            waits.lock().expect("no panic while locked").clear();
        });
        let input = Mutex::new(child.stdin.take().expect("piped"));
        Self { input, waiting, last: AtomicU64::new(0), _child: child }
    }

    /// Has a client do something; what came of it.
    async fn ask(&self, at: usize, mut command: Value) -> Result<Value, String> {
        let (sender, receiver) = oneshot::channel();
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().expect("no panic while locked").insert(id, sender);
        command["id"] = id.into();
        command["at"] = at.into();
        self.input.lock().await.write_all(format!("{command}\n").as_bytes()).await.expect("it reads");
        let answer = tokio::time::timeout(PATIENCE, receiver).await.map_err(|_| HANGS.to_owned())?;
        let mut answer = answer.map_err(|_| "the program has ended".to_owned())?;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }
}

/// Where a gateway is.
struct Addresses {
    /// Without TLS, for everybody.
    plain: String,
    /// With TLS, for those with a token.
    secure: String,
    /// Whose certificates are to be trusted.
    authority: PathBuf,
    /// What proves who a client is.
    authorization: String,
}

/// A client of a running program.
struct Client {
    /// What the table calls it.
    name: &'static str,
    /// Its path.
    path: &'static str,
    /// The program.
    program: Arc<Driven>,
    /// Which client of it.
    at: usize,
}

/// A gateway, its servers and its clients.
struct Stage {
    /// The gateway.
    gateway: Gateway,
    /// The server over HTTP+SSE.
    two: HttpUpstream,
    /// The listener with TLS, and `[upstreams.one]`, the server over stdio.
    one: String,
    /// Whose certificate it has.
    _authority: Authority,
    /// The clients.
    clients: Vec<Client>,
    /// What has been seen of each of them: the cells of its row.
    cells: Vec<Vec<String>>,
    /// Where scripts and gates are.
    scratch: tempfile::TempDir,
}

/// A call of a tool.
fn call(name: &str, arguments: &Value) -> Value {
    json!({ "do": "call", "name": name, "arguments": arguments })
}

/// The word of the table for what a client was able to do, or not.
fn word(able: bool) -> String {
    if able { "yes" } else { "no" }.to_owned()
}

/// The directory of a layer of Python packages.
fn layer_of(tools: &Tools, layer: &str) -> String {
    tools.path(&format!("layers/{layer}"))
}

/// What is read below `[server]`.
fn server(drain: &str) -> String {
    format!("legacy_sse = true\ndrain_timeout = \"{drain}\"")
}

impl Stage {
    /// Starts everything.
    async fn start(tools: &Tools, programs: &[Program]) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/clients/server.py");
        let layer = layer_of(tools, "mcp-1.30");
        let two =
            HttpUpstream::start(bound(&tools.python()).args([script, "sse"]).env("PYTHONPATH", &layer)).await;
        let authority = Authority::new();
        authority.sign("server", 90);
        let one = format!(
            "[listeners.secure]\naddress = \"127.0.0.2:0\"\nauth = [\"token\"]\n{}",
            authority.tls("server", "")
        ) + &stdio("one", &tools.python(), &[script, "stdio"])
            + &format!("env = {{ PYTHONPATH = \"{layer}\" }}\n");
        let site = Site::serving(&server("60s"), &(one.clone() + &sse("two", two.port, "")));
        let site = site.variable("STATE_DIRECTORY", &scratch.path().join("state").display().to_string());
        let token = site.run(&["token", "create", "driven"]);
        let gateway = Gateway::on(site).await;
        let to = Addresses {
            plain: gateway.url(""),
            secure: format!(
                "https://{}",
                gateway.status().await["listeners"][1].as_str().expect("a listener")
            ),
            authority: authority.file("ca.pem"),
            authorization: format!("Bearer {}", token.stdout.trim()),
        };
        let mut clients = Vec::new();
        for program in programs {
            let driven = Arc::new(Driven::start(tools, scratch.path(), *program, &to));
            for (at, &(name, _, path)) in program.1.iter().enumerate() {
                clients.push(Client { name, path, program: Arc::clone(&driven), at });
            }
        }
        let cells = vec![Vec::new(); clients.len()];
        Self { gateway, two, one, _authority: authority, clients, cells, scratch }
    }

    /// Has each client do the same.
    async fn each(&self, command: Value) -> Vec<Result<Value, String>> {
        join_all(self.clients.iter().map(|client| client.program.ask(client.at, command.clone()))).await
    }

    /// Puts a cell into each row.
    fn note(&mut self, words: impl IntoIterator<Item = String>) {
        for (cells, word) in self.cells.iter_mut().zip(words) {
            cells.push(word);
        }
    }

    /// Has each client wait for the server over stdio while something happens; `name` is that of the gate, which the other
    /// opens by making the file.
    async fn during(&self, name: &str, happens: impl Future<Output = ()>) -> Vec<Result<Value, String>> {
        let gate = self.scratch.path().join(name);
        let begun = |index: usize| self.scratch.path().join(format!("{name}-{index}"));
        let answered: Vec<_> = self.clients.iter().map(|_| Cell::new(false)).collect();
        let waits = self.clients.iter().enumerate().map(async |(index, client)| {
            let arguments = json!({ "begun": begun(index), "until": gate });
            let answer = client.program.ask(client.at, call("one_wait", &arguments)).await;
            answered[index].set(true);
            answer
        });
        let happens = async {
            let under_way = |index: usize| answered[index].get() || begun(index).exists();
            while !(0..self.clients.len()).all(under_way) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            happens.await;
        };
        join(join_all(waits), happens).await.0
    }

    /// Connects the clients anew that cannot go on.
    async fn reopen(&self, can: &[bool]) {
        let clients = self.clients.iter().zip(can).filter(|(_, can)| !**can);
        let opened =
            join_all(clients.map(|(client, _)| client.program.ask(client.at, json!({ "do": "open" })))).await;
        assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    }

    /// How often each client was told that the list of tools has changed; none of one that hangs since.
    async fn changes(&self) -> Vec<Option<u64>> {
        let told = self.each(json!({ "do": "changes" })).await.into_iter();
        told.map(|told| told.expect("it counts").as_u64()).collect()
    }

    /// Gives the gateway another upstream, or takes it away, and says who is told of it: all who have been able to. None of a
    /// client that hangs since.
    async fn told(&self, drain: &str, more: bool, able: &[bool]) -> Vec<Option<bool>> {
        let before = self.changes().await;
        let mut upstreams = self.one.clone() + &sse("two", self.two.port, "");
        if more {
            upstreams += &probe("three", &[]);
        }
        let reloaded = self.gateway.reload(&server(drain), &upstreams).await;
        assert!(reloaded.status.success(), "{reloaded:?}");
        let begun = Instant::now();
        loop {
            let now = self.changes().await;
            let told: Vec<_> =
                now.iter().zip(&before).map(|(now, before)| now.map(|it| Some(it) > *before)).collect();
            if told.iter().zip(able).all(|(told, able)| told.unwrap_or(true) || !able)
                || begun.elapsed() > PATIENCE
            {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Who lists all tools of both servers.
    async fn list(&self) -> Vec<bool> {
        let all =
            ["one_echo", "one_pid", "one_count", "one_wait", "two_echo", "two_pid", "two_count", "two_wait"];
        let listed = self.each(json!({ "do": "list" })).await.into_iter();
        let has = |names: &Value, name| names.as_array().is_some_and(|names| names.contains(&json!(name)));
        listed.map(|listed| listed.is_ok_and(|names| all.iter().all(|name| has(&names, name)))).collect()
    }

    /// Connects, lists, calls, and is told of progress and changes.
    async fn begin(&mut self) {
        let opened = self.each(json!({ "do": "open" })).await;
        self.note(opened.iter().map(|opened| match opened {
            Ok(revision) => revision.as_str().unwrap_or("-").to_owned(),
            Err(error) => error.clone(),
        }));
        let listed = self.list().await;
        let echoed = [
            self.each(call("one_echo", &json!({ "text": "one" }))).await,
            self.each(call("two_echo", &json!({ "text": "two" }))).await,
        ];
        self.note(listed.iter().enumerate().map(|(index, lists)| {
            let mut echoed = echoed.iter().zip(["one", "two"]);
            word(*lists && echoed.all(|(echoed, text)| echoed[index] == Ok(json!([text, 0]))))
        }));
        let counted = [
            self.each(call("one_count", &json!({ "to": 3 }))).await,
            self.each(call("two_count", &json!({ "to": 3 }))).await,
        ];
        self.note(
            (0..listed.len())
                .map(|index| word(counted.iter().all(|it| it[index] == Ok(json!(["counted", 3]))))),
        );
    }

    /// Lives through a restart, and is told of changes before and after it.
    async fn restart(&mut self) {
        let told = |client: &Client| cell(client, "list_changed");
        let expected: Vec<_> = self.clients.iter().map(|it| told(it).is_some_and(|it| it != "no")).collect();
        let before = self.told("60s", true, &expected).await;
        let gate = self.scratch.path().join("restart");
        let happens = async {
            self.gateway.restart().await;
            write(&gate, "");
        };
        let waited = self.during("restart", happens).await;
        let echo = call("one_echo", &json!({ "text": "one" }));
        let (first, second) = (self.each(echo.clone()).await, self.each(echo).await);
        let goes_on: Vec<_> = second.iter().map(Result::is_ok).collect();
        let listed = self.list().await;
        let answers = waited.iter().zip(first.iter().zip(&second));
        self.note(answers.zip(listed).map(|(answers, lists)| match answers {
            (Ok(_), (_, Ok(_))) if !lists => "lists no more".to_owned(),
            (Ok(_), (Ok(_), Ok(_))) => word(true),
            (Ok(_), (Err(error), Ok(_))) if error != HANGS => "one call fails".to_owned(),
            (Ok(_), (Err(one), Err(two))) if one != HANGS && two != HANGS => "a new session".to_owned(),
            (Err(error), _) | (_, (Err(error), _) | (_, Err(error))) => error.clone(),
        }));
        let expected: Vec<_> = self.clients.iter().map(|it| told(it).is_some_and(|it| it == "yes")).collect();
        let after = self.told("1s", false, &expected).await;
        self.note(before.iter().zip(after.iter().zip(&goes_on)).map(|told| match told {
            (None, _) | (_, (None, _)) => HANGS.to_owned(),
            (Some(true), (Some(true), true)) => word(true),
            (Some(true), _) => "until a restart".to_owned(),
            (Some(false), _) => word(false),
        }));
        self.reopen(&goes_on).await;
    }

    /// Lives through the death of the server over stdio.
    async fn killed(&mut self) {
        let pids = self.each(call("one_pid", &json!({}))).await.into_iter().map(|told| {
            let told = told.expect("an answer");
            told[0].as_str().expect("text").parse().expect("a number")
        });
        let pids: HashSet<i32> = pids.collect();
        let happens = async {
            for pid in &pids {
                kill(Pid::from_raw(*pid), Signal::SIGKILL).expect("it runs");
            }
        };
        let failed = self.during("killed", happens).await;
        let after = self.each(call("one_echo", &json!({ "text": "one" }))).await;
        self.note(failed.iter().zip(&after).map(|answers| match answers {
            (Err(error), Ok(_)) if error.contains("`one` ended before it answered") => word(true),
            (Err(error), Ok(_)) | (_, Err(error)) => error.clone(),
            (Ok(answer), _) => answer.to_string(),
        }));
    }

    /// Lives through calls that a restart and a stop have no time for; the rows.
    async fn cut(mut self) -> Vec<String> {
        let restarted = self.during("cut", self.gateway.restart()).await;
        let after = self.each(call("one_echo", &json!({ "text": "one" }))).await;
        let can: Vec<_> = after.iter().map(Result::is_ok).collect();
        self.reopen(&can).await;
        let gateway = std::mem::replace(&mut self.gateway, Gateway::start("").await);
        let stopped = self.during("stopped", gateway.stop_successor()).await;
        let words = restarted.iter().zip(&stopped).map(|answers| match answers {
            (Err(hangs), _) | (_, Err(hangs)) if hangs == HANGS => HANGS.to_owned(),
            (Err(one), Err(two))
                if one.contains("`drain_timeout` was over") && two.contains("`drain_timeout` was over") =>
            {
                word(true)
            }
            (Err(one), Err(_)) if one.contains("`drain_timeout` was over") => "at a restart".to_owned(),
            (one, two) => format!("{one:?}, {two:?}"),
        });
        let words: Vec<_> = words.collect();
        self.note(words);
        let rows = self.clients.iter().zip(&self.cells);
        rows.map(|(client, cells)| format!("| {} | {} | {} |", client.name, client.path, cells.join(" | ")))
            .collect()
    }
}

/// What the table has of a client in a column.
fn cell(client: &Client, column: &str) -> Option<String> {
    let cells =
        |line: &str| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let head = TABLE.lines().find(|line| line.starts_with("| client |")).map(cells)?;
    let column = head.iter().position(|name| name == column)?;
    let row = TABLE
        .lines()
        .map(cells)
        .find(|row| row.get(1..3).is_some_and(|it| it == [client.name, client.path]))?;
    row.get(column).cloned()
}

/// Drives the clients of some programs through everything, and compares with the table.
async fn live_through(programs: &[Program]) {
    let tools = Tools::get().await;
    let mut stage = Stage::start(&tools, programs).await;
    stage.begin().await;
    stage.restart().await;
    stage.killed().await;
    let rows = stage.cut().await;
    let missing: Vec<_> = rows.iter().filter(|row| !TABLE.lines().any(|line| line == **row)).collect();
    assert!(missing.is_empty(), "docs/clients.md does not have these rows:\n{}", rows.join("\n"));
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn every_client_lives_through_restarts_deaths_and_cuts_as_the_table_says() {
    live_through(&CLIENTS).await;
}

#[tokio::test]
#[ignore = "needs the large test tools"]
async fn large_clients_of_a_release_only() {
    live_through(&LARGE).await;
}

#[test]
fn table_has_a_row_for_each_client_in_the_versions_that_are_installed() {
    let clients: Vec<_> = CLIENTS.iter().chain(&LARGE).flat_map(|program| program.1).collect();
    let rows = TABLE.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| client ")).count();
    assert_eq!(rows, clients.len());
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tools");
    let manifests = [
        "package.json",
        "requirements.txt",
        "layers/mcp-1.9.txt",
        "layers/mcp-1.12.txt",
        "layers/mcp-1.30.txt",
        "large/package.json",
        "large/requirements.txt",
    ];
    let manifests =
        manifests.map(|name| std::fs::read_to_string(tools.join(name)).expect("a manifest")).concat();
    for (name, _, path) in clients {
        assert!(TABLE.contains(&format!("| {name} | {path} |")), "{name} {path}");
        let version = name
            .split([' ', ','])
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            .expect("a version");
        assert!(manifests.contains(version), "{name}");
    }
}
