//! Requests of modern clients that wait for answers to a server's questions in an upgrade: they go on where they are.

use serde_json::{Value, json};

use super::children::{runtime, site};
use super::upgrade;
use crate::client::{Answer, Client};
use crate::support::daemon::{Site, lives, until};

/// The `_meta` of a client that can be asked, with a progress token.
const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{},"url":{}},"roots":{}},"progressToken":"t"}"#;

/// Calls a tool; `more` are further members of the parameters, with their comma.
async fn call(client: &Client, tool: &str, more: &str) -> Answer {
    let params = format!(r#"{{"name":"{tool}","arguments":{{}},"_meta":{META}{more}}}"#);
    client.request("7", "tools/call", tool, &params).await
}

/// The questions' names and the state of a round.
fn round(answer: &Answer) -> (Vec<String>, String) {
    let result: Value = serde_json::from_str(&answer.result()).unwrap();
    assert_eq!(result["resultType"], "input_required", "{result}");
    let names = result["inputRequests"].as_object().unwrap().keys().cloned().collect();
    (names, result["requestState"].as_str().unwrap().to_owned())
}

/// The members of a repetition that answers these questions.
fn repetition(names: &[String], state: &str) -> String {
    let answers: Value = names.iter().map(|name| (name.clone(), json!({ "action": "decline" }))).collect();
    format!(r#","inputResponses":{answers},"requestState":"{state}""#)
}

/// A client of the site's gateway.
fn client(site: &Site) -> Client {
    Client::modern(&site.address().to_string(), "/mcp")
}

#[test]
fn request_that_was_put_aside_goes_on_after_an_upgrade() {
    let (site, runtime) = (site(", \"--era\", \"legacy\"", ""), runtime());
    let old = site.daemon();
    let client = client(&site);
    runtime.block_on(async {
        // Two that wait at once: each is answered in its own round.
        let (one, both) = (call(&client, "ask", "").await, call(&client, "ask_both", "").await);
        let (one, both) = (round(&one), round(&both));
        tokio::task::block_in_place(|| upgrade(&site));
        assert!(lives(old), "it waits for the clients");
        let last = call(&client, "ask", &repetition(&one.0, &one.1)).await;
        let messages = last.messages();
        assert!(messages[0].contains(r#""progressToken":"t","progress":2"#), "{messages:?}");
        let told: Value = serde_json::from_str(&last.text()).unwrap();
        assert_eq!(told["answers"][0], r#"{"action":"decline"}"#);
        assert!(lives(old), "one still waits");
        // The state was good for one repetition.
        let (code, message) = call(&client, "ask", &repetition(&one.0, &one.1)).await.error();
        assert!(code == -32602 && message.contains("does not wait any more"), "{message}");
        // A question that was not answered is asked again, by the old process too.
        let again = round(&call(&client, "ask_both", &repetition(&both.0[..1], &both.1)).await);
        let last = call(&client, "ask_both", &repetition(&again.0, &again.1)).await;
        let told: Value = serde_json::from_str(&last.text()).unwrap();
        assert_eq!(told["answers"].as_array().unwrap().len(), 2, "{told}");
    });
    until("the old process ends", || !lives(old));
}

#[test]
fn client_that_does_not_come_back_keeps_the_old_process_no_longer_than_its_drain() {
    let (site, runtime) = (site(", \"--era\", \"legacy\"", ""), runtime());
    let config = std::fs::read_to_string(site.path("mcpeg.toml")).unwrap();
    site.write("mcpeg.toml", config.replace("[log]", "drain_timeout = \"1s\"\n[log]"));
    let old = site.daemon();
    let client = client(&site);
    let (names, state) = round(&runtime.block_on(call(&client, "ask", "")));
    upgrade(&site);
    until("the old process ends", || !lives(old));
    let refused = runtime.block_on(call(&client, "ask", &repetition(&names, &state)));
    let (code, message) = refused.error();
    assert!(code == -32602 && message.contains("does not wait any more"), "{message}");
}
