//! What of an upstream is shown: `tools`, `prompts` and `resources` in its configuration.

use crate::client::Client;
use crate::following::{listen_to, wait};
use crate::gateway::Gateway;
use crate::scripted::Script;
use crate::upstreams::{odd, probe};

/// The client of either era at this endpoint.
async fn clients(gateway: &Gateway, path: &str) -> [Client; 2] {
    [Client::legacy(gateway.address(), path).await, Client::modern(gateway.address(), path)]
}

/// The selection of these tests.
const TOOLS: &str = r#"tools = { allow = ["e*", "p*"], deny = ["e?it"], rename = { echo = "say" } }"#;

/// The tools that an endpoint shows are these, and only these can be called.
async fn shows(gateway: &Gateway, path: &str, prefix: &str) {
    for client in clients(gateway, path).await {
        let tools = client.tools().await;
        let ours: Vec<_> = tools.iter().filter_map(|tool| tool.strip_prefix(prefix)).collect();
        assert_eq!(ours, ["say", "pids", "progress"], "{tools:?}");
        let said = client.call(&format!("{prefix}say"), r#"{"a":1.0}"#).await.text();
        assert!(said.contains(r#""name":"echo""#), "the upstream is asked by its own name: {said}");
        for hidden in ["echo", "exit", "crash", "sleep"] {
            let (code, message) = client.call(&format!("{prefix}{hidden}"), "{}").await.error();
            assert_eq!(code, -32602, "{hidden}: {message}");
            assert!(message.contains("unknown tool"), "{message}");
        }
    }
}

#[tokio::test]
async fn tools_of_a_lone_upstream_are_selected_and_renamed() {
    let gateway = Gateway::start(&(probe("probe", &[]) + TOOLS + "\n")).await;
    shows(&gateway, "/mcp", "").await;
    gateway.stop().await;
}

#[tokio::test]
async fn tools_of_one_of_several_upstreams_are_selected_and_renamed() {
    let gateway = Gateway::start(&(odd("odd", &[]) + &probe("probe", &[]) + TOOLS + "\n")).await;
    shows(&gateway, "/mcp", "probe_").await;
    shows(&gateway, "/mcp/probe", "").await;
    let odd = Client::modern(gateway.address(), "/mcp/odd");
    assert_eq!(odd.tools().await, ["echo", "exit", "subscribed", "roots"]);
    gateway.stop().await;
}

#[tokio::test]
async fn resources_that_are_not_shown_cannot_be_subscribed_to() {
    let selection = "resources = { deny = [\"odd://secret/*\"] }\n";
    let gateway = Gateway::start(&(odd("odd", &[]) + selection)).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let subject = |uri: &str| format!(r#"{{"uri":"{uri}"}}"#);
    client.request("1", "resources/subscribe", "", &subject("odd://open/x")).await.result();
    let refused = client.request("2", "resources/subscribe", "", &subject("odd://secret/x")).await.error();
    assert!(refused.1.contains("unknown resource"), "{refused:?}");
    assert_eq!(client.call("subscribed", "{}").await.text(), r#"["odd://open/x"]"#);
    // Nor is that remembered, to be made again after a restart.
    let remembered = std::fs::read_to_string(gateway.file("mcpeg.sessions")).expect("a file");
    let last = |uri: &str| remembered.lines().rfind(|line| line.contains(uri)).expect("a change").to_owned();
    assert!(last("odd://open/x").contains(r#"{"subscribed":"#), "{remembered}");
    assert!(last("odd://secret/x").contains(r#"{"unsubscribed":"#), "{remembered}");
    gateway.stop().await;
}

#[tokio::test]
async fn resource_is_not_reached_around_what_is_shown() {
    let selection = "resources = { allow = [\"odd://open/*\"] }\n";
    let gateway = Gateway::start(&(odd("odd", &[]) + selection)).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    for uri in [
        "odd://open/../secret",
        "odd://open/%2e%2e/secret",
        "odd://open/..;/secret",
        "odd://open/%2e%2e;x=1/secret",
        "odd://open/%00/../secret",
        "odd://secret",
    ] {
        let refused = client.request("1", "resources/subscribe", "", &format!(r#"{{"uri":"{uri}"}}"#)).await;
        assert!(refused.error().1.contains("unknown resource"), "{uri}");
    }
    assert_eq!(client.call("subscribed", "{}").await.text(), "[]");
    gateway.stop().await;
}

#[tokio::test]
async fn denied_resource_is_not_reached_by_another_spelling_of_its_address() {
    let selection = "resources = { deny = [\"odd://secret/*\"] }\n";
    let gateway = Gateway::start(&(odd("odd", &[]) + selection)).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    for uri in [
        "ODD://secret/x",
        "odd://SECRET/x",
        "odd://%73ecret/x",
        "odd://secret%2Fx",
        "odd:\\\\\\\\secret/x",
        "Odd://Secret/x",
        "odd://secret:/x",
        "odd://secret./x",
        "odd://me@secret/x",
        "odd://open/..;/../secret/x",
        "odd://secret;a=b/x",
        "odd://secret/..;/secret/x",
        "odd://secret/x%00",
        "odd://sec\\tret/x",
    ] {
        let refused = client.request("1", "resources/subscribe", "", &format!(r#"{{"uri":"{uri}"}}"#)).await;
        assert!(refused.error().1.contains("unknown resource"), "{uri}");
    }
    assert_eq!(client.call("subscribed", "{}").await.text(), "[]");
    gateway.stop().await;
}

#[tokio::test]
async fn stream_of_changes_follows_no_resource_that_is_denied() {
    let selection = "resources = { deny = [\"odd://secret/*\"] }\n";
    let gateway = Gateway::start(&(odd("odd", &[]) + selection)).await;
    let wanted = r#"{"resourceSubscriptions":["odd://secret/x","ODD://secret/y","odd://open/x"]}"#;
    let mut stream = listen_to(&gateway, wanted).await;
    wait(&mut stream, &["subscriptions/acknowledged"]).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let subscribed = loop {
        let subscribed = client.call("subscribed", "{}").await.text();
        if subscribed.contains("odd://open/x") {
            break subscribed;
        }
        assert!(std::time::Instant::now() < deadline, "{subscribed}");
    };
    assert_eq!(subscribed, r#"["odd://open/x"]"#);
    gateway.stop().await;
}

/// A server that tells whoever calls its tool of updates.
const UPDATES: &str = r#"
capabilities = {"tools": {}, "resources": {"subscribe": True}}
def call(message, name):
    for uri in ("x://secret/a", "x://open/a"):
        send({"method": "notifications/resources/updated", "params": {"uri": uri}})
    return "told"
def handle(message):
    if message["method"] in ("resources/subscribe", "resources/unsubscribe"):
        reply(message, {})
        return True
    return False
"#;

#[tokio::test]
async fn nobody_hears_of_a_denied_resource_by_following_what_it_is_part_of() {
    let script = Script::new(UPDATES);
    let selection = "resources = { deny = [\"x://secret/*\"] }\n";
    let gateway = Gateway::start(&(script.upstream("tells") + selection)).await;
    let session = Client::legacy(gateway.address(), "/mcp").await;
    let mut own = session.stream().await.into_body();
    session.request("1", "resources/subscribe", "", r#"{"uri":"x://"}"#).await.result();
    let mut stream = listen_to(&gateway, r#"{"resourceSubscriptions":["x://"]}"#).await;
    wait(&mut stream, &["subscriptions/acknowledged"]).await;
    session.call("one", "{}").await.text();
    for body in [&mut own, &mut stream] {
        let text = wait(body, &["x://open/a"]).await;
        assert!(!text.contains("x://secret"), "{text}");
    }
    session.end().await;
    gateway.stop().await;
}

#[tokio::test]
async fn cursor_of_a_merged_list_is_refused_instead_of_leading_to_the_beginning() {
    let gateway = Gateway::start(&(odd("odd", &[]) + &probe("probe", &[]))).await;
    for client in clients(&gateway, "/mcp").await {
        let meta = crate::client::MODERN_META;
        let params = format!(r#"{{"cursor":"2","_meta":{{{meta}}}}}"#);
        let legacy = matches!(client.era, crate::client::Era::Legacy(_));
        let params = if legacy { r#"{"cursor":"2"}"# } else { params.as_str() };
        let (code, message) = client.request("1", "tools/list", "", params).await.error();
        assert_eq!(code, -32602, "{message}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_changed_selection_is_in_force_after_a_reload() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    assert_eq!(client.tools().await.len(), 7);
    let reloaded = gateway.reload("", &(probe("probe", &[]) + "tools = { allow = [\"echo\"] }\n")).await;
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert_eq!(client.tools().await, ["echo"]);
    gateway.stop().await;
}
