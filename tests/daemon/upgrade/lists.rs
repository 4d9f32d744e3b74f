//! What clients are told of lists in an upgrade: nothing where nothing has changed, and one word where something has.

use std::fmt::Write as _;
use std::fs;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::task::JoinHandle;

use super::children::runtime;
use super::upgrade;
use crate::client::{Client, MODERN_META, open};
use crate::support::daemon::{Site, lives, until};
use crate::support::gateway::HttpUpstream;
use crate::support::upstreams::http_probe;

/// The server of the tests' upstreams.
const PROBE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/probe_server.py");

/// The filter of a client that wants to hear of all lists.
const ALL: &str =
    r#""notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}"#;

/// The stdio upstreams, each with a script of its own.
const NAMES: [&str; 4] = ["kept", "legacy", "touched", "changed"];

/// A site with these upstreams and one over HTTP.
fn site(server: &HttpUpstream) -> Site {
    let site = Site::new();
    let mut config = "[server]\nlisten = [\"127.0.0.1:0\"]\n".to_owned();
    for name in NAMES {
        let script = site.path(&format!("{name}.py"));
        fs::copy(PROBE, &script).unwrap();
        let era = if name == "legacy" { "legacy" } else { "both" };
        let args = format!("[\"{}\", \"--era\", \"{era}\", \"--resources\"]", script.display());
        write!(config, "[upstreams.{name}]\ncommand = \"/usr/bin/python3\"\nargs = {args}\n").unwrap();
    }
    write!(config, "[upstreams.remote]\nurl = \"http://127.0.0.1:{}/mcp\"\n", server.port).unwrap();
    site.write("mcpeg.toml", config);
    site
}

/// One client, of the merged endpoint or of that of one upstream.
struct Listener {
    /// The client.
    client: Client,
    /// What it lists.
    tools: Vec<String>,
}

impl Listener {
    /// One that has read the list.
    async fn new(client: Client) -> Self {
        let tools = client.tools().await;
        Self { client, tools }
    }

    /// Everything that its stream says until that ends.
    async fn hears(&self, address: &str, path: &str) -> JoinHandle<String> {
        let stream = if matches!(self.client.era, crate::client::Era::Legacy(_)) {
            self.client.stream().await
        } else {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":"s","method":"subscriptions/listen","params":{{{ALL},"_meta":{{{MODERN_META}}}}}}}"#
            );
            let headers = [
                ("content-type", "application/json"),
                ("accept", "application/json, text/event-stream"),
                ("mcp-protocol-version", "2026-07-28"),
                ("mcp-method", "subscriptions/listen"),
            ];
            open(address, http::Method::POST, path, &headers, &body).await
        };
        tokio::spawn(whole(stream.into_body()))
    }
}

/// The rest of a stream.
async fn whole(mut stream: Incoming) -> String {
    let mut text = String::new();
    while let Some(Ok(frame)) = stream.frame().await {
        if let Some(data) = frame.data_ref() {
            text += &String::from_utf8_lossy(data);
        }
    }
    text
}

/// What each of the clients is told of tools and of other lists through an upgrade before which `change` was done, after
/// they have listed before it and called something after it.
fn told(change: impl FnOnce(&Site)) -> Vec<(String, usize, usize)> {
    let runtime = runtime();
    let server = runtime.block_on(http_probe(&["--era", "legacy"]));
    let site = site(&server);
    let old = site.daemon();
    let address = site.address().to_string();
    let asked = r#"{"roots":{"listChanged":true},"sampling":{}}"#;
    let (listeners, streams) = runtime.block_on(async {
        let mut listeners = Vec::new();
        for path in ["/mcp", "/mcp/kept", "/mcp/remote", "/mcp/touched"] {
            let plain = Client::legacy(&address, path).await;
            let interactive = Client::legacy_with(&address, path, asked).await;
            let modern = Client::modern(&address, path);
            for (kind, client) in [("plain", plain), ("interactive", interactive), ("modern", modern)] {
                listeners.push((format!("{path} {kind}"), path, Listener::new(client).await));
            }
        }
        let mut streams = Vec::new();
        for (_, path, listener) in &listeners {
            streams.push(listener.hears(&address, path).await);
        }
        (listeners, streams)
    });
    change(&site);
    upgrade(&site);
    until("the old process ends", || !lives(old));
    let heard = runtime.block_on(async {
        let mut heard = Vec::new();
        for ((name, path, listener), before) in listeners.iter().zip(streams) {
            // A client that has not even begun to listen yet: it comes too late for nothing.
            let after = listener.hears(&address, path).await;
            for tool in listener.tools.iter().filter(|tool| tool.ends_with("pids")) {
                listener.client.call(tool, "{}").await.text();
            }
            listener.client.tools().await;
            heard.push((name.clone(), before, after));
        }
        heard
    });
    let (fresh,) = runtime.block_on(async {
        let client = Client::legacy_with(&address, "/mcp", asked).await;
        let stream = tokio::spawn(whole(client.stream().await.into_body()));
        client.tools().await;
        (stream,)
    });
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    runtime.block_on(async {
        let mut counts = Vec::new();
        for (name, before, after) in heard {
            let text = before.await.unwrap() + &after.await.unwrap();
            let tools = text.matches("notifications/tools/list_changed").count();
            counts.push((name, tools, text.matches("/list_changed").count() - tools));
        }
        let text = fresh.await.unwrap();
        counts.push(("fresh".to_owned(), text.matches("/list_changed").count(), 0));
        counts
    })
}

#[test]
fn upgrade_that_changes_nothing_tells_no_client_of_changed_lists() {
    // Its child is started anew, and has what it had.
    let told = told(|site| {
        let script = site.path("touched.py");
        let text = fs::read_to_string(&script).unwrap();
        site.write("touched.py", text + "\n");
    });
    assert!(told.iter().all(|(_, tools, others)| (*tools, *others) == (0, 0)), "{told:#?}");
}

#[test]
fn upgrade_after_which_one_list_is_another_is_told_once_to_whom_it_concerns() {
    let told = told(|site| {
        let script = site.path("changed.py");
        let text = fs::read_to_string(&script).unwrap();
        let text = text.replacen("TOOLS = [\"echo\", ", "TOOLS = [\"echo\", \"more\", ", 1);
        site.write("changed.py", text);
    });
    for (name, tools, others) in &told {
        let concerned = name.starts_with("/mcp ");
        assert_eq!((*tools, *others), (usize::from(concerned), 0), "{name}: {told:#?}");
    }
}
