//! Every third-party client against every third-party server: each lists, calls, reads and prompts what the server has, and
//! answers what it is asked where both can do that.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::clients::{CLIENTS, connect, text};
use crate::gateway::Gateway;
use crate::tools::{Tools, run_any, transcript};
use crate::upstreams::stdio;

/// One server, and what is done with it.
struct Server {
    /// Its name in the configuration.
    name: &'static str,
    /// Its part of the configuration.
    configuration: String,
    /// A tool, its arguments, and a part of the result's text.
    call: (&'static str, Value, &'static str),
    /// A resource and a part of what it reads as, if it has any.
    read: Option<(&'static str, &'static str)>,
    /// A prompt and its arguments, if it has any.
    prompt: Option<(&'static str, Value)>,
    /// Tools that ask the client something, and what.
    asks: &'static [(&'static str, &'static str, &'static str)],
}

/// What the servers work on.
struct Ground {
    /// The directory, removed at last.
    directory: tempfile::TempDir,
}

impl Ground {
    /// A directory with a file and a repository.
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        std::fs::create_dir(directory.path().join("files")).expect("a directory");
        crate::gateway::write(&directory.path().join("files/note.txt"), "a note");
        let made =
            run_any(Command::new("git").args(["init", "--quiet"]).arg(directory.path().join("repository")))
                .await;
        assert!(made.status.success(), "{}", transcript(&made));
        Self { directory }
    }

    /// A path in it.
    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Server {
    /// A server with tools only.
    fn new(name: &'static str, configuration: String, call: (&'static str, Value, &'static str)) -> Self {
        Self { name, configuration, call, read: None, prompt: None, asks: &[] }
    }
}

/// Servers on Node, over what is prepared for them.
fn node_servers(tools: &Tools, ground: &Ground) -> Vec<Server> {
    let server = |name: &'static str, more: &[&str]| {
        let script = tools.path(&format!("node_modules/@modelcontextprotocol/server-{name}/dist/index.js"));
        stdio(name, &tools.node(), &[&[script.as_str()], more].concat())
    };
    let files = ground.path("files");
    let memory = format!("env = {{ MEMORY_FILE_PATH = \"{}\" }}\n", ground.path("memory.json"));
    let note = json!({ "path": format!("{files}/note.txt") });
    vec![
        Server {
            read: Some(("demo://resource/static/document/features.md", "#")),
            prompt: Some(("simple-prompt", json!({}))),
            asks: &[
                ("trigger-sampling-request", r#"{"prompt":"hi"}"#, "sampling/createMessage"),
                ("trigger-elicitation-request", "{}", "elicitation/create"),
            ],
            ..Server::new(
                "everything",
                server("everything", &["stdio"]),
                ("echo", json!({ "message": "hello" }), "Echo: hello"),
            )
        },
        Server::new("filesystem", server("filesystem", &[&files]), ("read_text_file", note, "a note")),
        Server {
            read: Some(("memory://knowledge-graph", "entities")),
            ..Server::new("memory", server("memory", &[]) + &memory, ("read_graph", json!({}), "entities"))
        },
    ]
}

/// The servers, over what is prepared for them.
fn servers(tools: &Tools, ground: &Ground) -> Vec<Server> {
    let repository = ground.path("repository");
    let git = ["--repository", &repository];
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/conformance-upstream");
    tools.script(ground.directory.path(), &fixture.join("tasks.mjs"));
    let fixture = tools.script(ground.directory.path(), &fixture.join("upstream.mjs"));
    let mut servers = node_servers(tools, ground);
    servers.extend([
        Server::new(
            "time",
            stdio("time", &tools.path("venv/bin/mcp-server-time"), &["--local-timezone", "UTC"]),
            ("get_current_time", json!({ "timezone": "UTC" }), "\"timezone\": \"UTC\""),
        ),
        Server::new(
            "git",
            stdio("git", &tools.path("venv/bin/mcp-server-git"), &git),
            ("git_status", json!({ "repo_path": repository }), "No commits yet"),
        ),
        Server {
            read: Some(("test://static-text", "static text resource")),
            prompt: Some(("test_simple_prompt", json!({}))),
            asks: &[
                ("test_sampling", r#"{"prompt":"hi"}"#, "sampling/createMessage"),
                ("test_elicitation", r#"{"message":"who?"}"#, "elicitation/create"),
            ],
            ..Server::new(
                "fixture",
                stdio("fixture", &tools.node(), &[&fixture]),
                ("test_simple_text", json!({}), "simple text response"),
            )
        },
    ]);
    servers
}

/// Everything that is wrong with one pair.
async fn pair(
    tools: &Tools,
    gateway: &Gateway,
    server: &Server,
    client: (&str, &[&str], &str),
) -> Vec<String> {
    let (script, mode, protocol) = client;
    let asking = server
        .asks
        .iter()
        .map(|(tool, arguments, _)| json!([tool, serde_json::from_str::<Value>(arguments).expect("JSON")]));
    let calls: Vec<_> = std::iter::once(json!([server.call.0, server.call.1])).chain(asking).collect();
    let plan = json!({
        "answers": !server.asks.is_empty(),
        "calls": calls,
        "reads": server.read.iter().map(|(uri, _)| uri).collect::<Vec<_>>(),
        "prompts": server.prompt.iter().map(|(name, arguments)| json!([name, arguments])).collect::<Vec<_>>(),
    });
    let url = gateway.url(&format!("/mcp/{}", server.name));
    let report = connect(tools, script, mode, &url, &plan).await;
    let mut wrong = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{script} {mode:?} and {}: {what}: {report:?}", server.name));
        }
    };
    check(report.protocol == protocol, "the revision");
    check(report.tools.iter().any(|tool| tool == server.call.0), "the tool is listed");
    check(text(&report.results[0]).contains(server.call.2), "the call");
    check((report.resources > 0) == server.read.is_some(), "resources are listed");
    check((report.prompts > 0) == server.prompt.is_some(), "prompts are listed");
    if let Some((_, part)) = server.read {
        let read = report.read[0]["contents"][0]["text"].as_str().unwrap_or_default();
        check(read.contains(part), "the resource");
    }
    if server.prompt.is_some() {
        check(report.prompted[0]["messages"].as_array().is_some_and(|all| !all.is_empty()), "the prompt");
    }
    let asked: Vec<_> = server.asks.iter().map(|(_, _, method)| *method).collect();
    check(report.asked == asked, "what was asked");
    for ((tool, ..), result) in server.asks.iter().zip(report.results.iter().skip(1)) {
        check(report.tools.iter().any(|listed| listed == tool), "the tool that asks is listed");
        let told = result.to_string();
        check(told.contains("a sample") || told.contains("Alice"), "the answer has reached the server");
    }
    wrong
}

/// What is wrong with the inspector, which does one thing at a time, and a server.
async fn inspect(tools: &Tools, gateway: &Gateway, server: &Server) -> Vec<String> {
    let inspector = tools.path("node_modules/.bin/mcp-inspector");
    let url = gateway.url(&format!("/mcp/{}", server.name));
    let mut wrong = Vec::new();
    let arguments = server.call.1.as_object().expect("an object").iter();
    let arguments: Vec<_> =
        arguments.map(|(name, value)| format!("{name}={}", value.as_str().expect("text"))).collect();
    let mut call = vec!["tools/call", "--tool-name", server.call.0];
    for argument in &arguments {
        call.extend(["--tool-arg", argument]);
    }
    let mut steps = vec![(vec!["tools/list"], server.call.0), (call, server.call.2)];
    if let Some((uri, part)) = server.read {
        steps.push((vec!["resources/list"], uri));
        steps.push((vec!["resources/read", "--uri", uri], part));
    }
    if let Some((name, _)) = &server.prompt {
        steps.push((vec!["prompts/list"], name));
        steps.push((vec!["prompts/get", "--prompt-name", name], "messages"));
    }
    for (step, part) in steps {
        for era in [&[][..], &["--protocol-era", "modern"]] {
            let command =
                [&[inspector.as_str(), "--cli", &url, "--transport", "http", "--method"], &step[..], era];
            let output = tools.run(&tools.node(), &command.concat()).await;
            // The quotes inside of texts are escaped.
            let said = transcript(&output).replace('\\', "");
            if !said.contains(part) {
                wrong.push(format!("inspector {step:?} {era:?} and {}: {said}", server.name));
            }
        }
    }
    wrong
}

/// The matrix of one client kind against all servers.
async fn every_server(scripts: &[&str]) {
    let tools = Tools::get().await;
    let ground = Ground::new().await;
    let servers = servers(&tools, &ground);
    let configuration: String = servers.iter().map(|server| server.configuration.as_str()).collect();
    let gateway = Gateway::start(&configuration).await;
    let mut wrong = Vec::new();
    for server in &servers {
        for client in CLIENTS.into_iter().filter(|(script, ..)| scripts.contains(script)) {
            wrong.extend(pair(&tools, &gateway, server, client).await);
        }
        if scripts.contains(&"inspector") {
            wrong.extend(inspect(&tools, &gateway, server).await);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    gateway.stop().await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn python_client_works_with_every_server() {
    every_server(&["client.py"]).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn fastmcp_client_works_with_every_server() {
    every_server(&["fast.py"]).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn typescript_clients_work_with_every_server() {
    every_server(&["client.mjs", "client2.mjs"]).await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn inspector_works_with_every_server() {
    every_server(&["inspector"]).await;
}
