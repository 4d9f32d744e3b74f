//! Questions of legacy servers to modern clients: rounds of `input_required` that go on with the same call.

use serde_json::{Value, json};

use crate::chaos::children;
use crate::client::{Answer, Client, Message};
use crate::gateway::Gateway;
use crate::upstreams::{http, http_probe, probe};

/// The `_meta` of a modern client with these capabilities.
fn meta(capabilities: &str, more: &str) -> String {
    format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities}{more}}}"#
    )
}

/// A client that answers everything.
const ABLE: &str = r#"{"elicitation":{"form":{},"url":{}},"roots":{}}"#;

/// Calls a tool as a modern client; `more` are further members of the parameters, with their comma.
async fn call(client: &Client, tool: &str, meta: &str, more: &str) -> Answer {
    let params = format!(r#"{{"name":"{tool}","arguments":{{}},"_meta":{meta}{more}}}"#);
    client.request("7", "tools/call", tool, &params).await
}

/// The questions and the state of a round.
fn round(answer: &Answer) -> (Value, String) {
    let result: Value = serde_json::from_str(&answer.result()).expect("JSON");
    assert_eq!(result["resultType"], "input_required", "{result}");
    let state = result["requestState"].as_str().expect("a state").to_owned();
    (result["inputRequests"].clone(), state)
}

/// The members that make a repetition.
fn repetition(answers: &Value, state: &str) -> String {
    format!(r#","inputResponses":{answers},"requestState":"{state}""#)
}

/// The only question's name.
fn only(questions: &Value) -> String {
    let names: Vec<_> = questions.as_object().expect("questions").keys().collect();
    assert_eq!(names.len(), 1, "{questions}");
    names[0].clone()
}

/// A question is asked and answered in two rounds, over the same call of the upstream.
async fn asks(configuration: &str) {
    let gateway = Gateway::start(configuration).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let first = call(&client, "ask", &meta(ABLE, r#","progressToken":"one""#), "").await;
    assert!(first.messages()[0].contains(r#""progressToken":"one""#), "{:?}", first.messages());
    let (questions, state) = round(&first);
    let name = only(&questions);
    assert_eq!(questions[&name]["method"], "elicitation/create");
    assert_eq!(questions[&name]["params"]["message"], "Who?");
    let answers = json!({ name: { "action": "accept", "content": { "z": 1 } } });
    let meta = meta(ABLE, r#","progressToken":2"#);
    let last = call(&client, "ask", &meta, &repetition(&answers, &state)).await;
    let messages = last.messages();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(
        messages[0].contains(r#""progressToken":2"#) && messages[0].contains(r#""progress":2"#),
        "{messages:?}"
    );
    assert_eq!(Message::read(&messages[1]).id.expect("an id").get(), "7");
    let told: Value = serde_json::from_str(&last.text()).expect("JSON");
    assert_eq!(told["answers"][0], r#"{"action":"accept","content":{"z":1}}"#);
    assert!(last.result().contains(r#""resultType":"complete""#));
    // The state was good for one repetition.
    let (code, message) = call(&client, "ask", &meta, &repetition(&answers, &state)).await.error();
    assert_eq!(code, -32602);
    assert!(message.contains("does not wait any more"), "{message}");
    gateway.stop().await;
}

#[tokio::test]
async fn question_of_a_legacy_stdio_server_is_a_round_of_the_same_call() {
    asks(&probe("probe", &["--era", "legacy"])).await;
}

#[tokio::test]
async fn question_of_a_legacy_http_server_is_a_round_of_the_same_call() {
    let upstream = http_probe(&["--era", "legacy"]).await;
    asks(&http("probe", upstream.port)).await;
}

#[tokio::test]
async fn questions_asked_at_once_are_one_round_and_unanswered_ones_are_asked_again() {
    let gateway = Gateway::start(&probe("probe", &["--era", "legacy"])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let (questions, state) = round(&call(&client, "ask_both", &meta(ABLE, ""), "").await);
    let named = |questions: &Value, method: &str| {
        let questions = questions.as_object().expect("questions");
        let found = questions.iter().find(|(_, question)| question["method"] == method);
        found.unwrap_or_else(|| panic!("{method} in {questions:?}")).0.clone()
    };
    assert_eq!(questions.as_object().expect("questions").len(), 2, "{questions}");
    let who = named(&questions, "elicitation/create");
    let answers = json!({ who: { "action": "decline" } });
    let second = call(&client, "ask_both", &meta(ABLE, ""), &repetition(&answers, &state)).await;
    let (questions, state) = round(&second);
    assert_eq!(only(&questions), named(&questions, "roots/list"));
    let answers = json!({ only(&questions): { "roots": [] } });
    let last = call(&client, "ask_both", &meta(ABLE, ""), &repetition(&answers, &state)).await;
    let told: Value = serde_json::from_str(&last.text()).expect("JSON");
    assert_eq!(told["answers"], json!([r#"{"action":"decline"}"#, r#"{"roots":[]}"#]));
    gateway.stop().await;
}

#[tokio::test]
async fn clients_that_wait_do_not_hold_up_others_and_get_their_own_questions() {
    let gateway = Gateway::start(&probe("probe", &["--era", "legacy"])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let (meta, mut waiting) = (meta(ABLE, ""), Vec::new());
    for _ in 0..3 {
        waiting.push(round(&call(&client, "ask", &meta, "").await));
    }
    client.call("pids", "{}").await.text();
    let mut pids = Vec::new();
    for (place, (questions, state)) in waiting.iter().enumerate().rev() {
        let answers = json!({ only(questions): { "action": "accept", "content": { "n": place } } });
        let answer = call(&client, "ask", &meta, &repetition(&answers, state)).await;
        let told: Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert_eq!(told["answers"][0], format!(r#"{{"action":"accept","content":{{"n":{place}}}}}"#));
        pids.push(told["pid"].clone());
    }
    // Three calls at once have had a process each, and so has the next one: what was told to a process is for nobody else.
    assert!(pids[0] != pids[1] && pids[1] != pids[2] && pids[0] != pids[2], "{pids:?}");
    let (questions, state) = round(&call(&client, "ask", &meta, "").await);
    let answers = json!({ only(&questions): { "action": "cancel" } });
    let answer = call(&client, "ask", &meta, &repetition(&answers, &state)).await;
    let told: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert!(!pids.contains(&told["pid"]), "{told} {pids:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn client_that_cannot_answer_is_not_asked_and_a_strange_state_is_refused() {
    let gateway = Gateway::start(&probe("probe", &["--era", "legacy"])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let answer = call(&client, "ask", &meta("{}", ""), "").await;
    assert!(answer.text().contains("not available here"), "{}", answer.text());
    // One that can answer something else is not asked either.
    let answer = call(&client, "ask", &meta(r#"{"sampling":{}}"#, ""), "").await;
    assert!(answer.text().contains("not available here"), "{}", answer.text());
    let (questions, state) = round(&call(&client, "ask", &meta(ABLE, ""), "").await);
    let answers = json!({ only(&questions): { "action": "accept" } });
    let repeated = repetition(&answers, &state);
    let (code, message) = call(&client, "echo", &meta(ABLE, ""), &repeated).await.error();
    assert!(code == -32602 && message.contains("another request"), "{message}");
    let forged = repetition(&answers, "mcpeg-held-00000000000000000000000000000000");
    let (code, _) = call(&client, "ask", &meta(ABLE, ""), &forged).await.error();
    assert_eq!(code, -32602);
    call(&client, "ask", &meta(ABLE, ""), &repeated).await.text();
    gateway.stop().await;
}

#[tokio::test]
async fn call_whose_client_does_not_come_back_is_given_up_and_its_process_ended() {
    let configuration = probe("probe", &["--era", "legacy"]) + "request_timeout = \"5s\"\n";
    let gateway = Gateway::start(&configuration).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let before = children(gateway.pid());
    let (questions, state) = round(&call(&client, "ask", &meta(ABLE, ""), "").await);
    let mut its = children(gateway.pid());
    its.retain(|pid| !before.contains(pid));
    assert!(!its.is_empty(), "the call has no process of its own");
    let answers = json!({ only(&questions): { "action": "accept" } });
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while children(gateway.pid()).iter().any(|pid| its.contains(pid)) {
        assert!(std::time::Instant::now() < deadline, "{its:?} are still there");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (code, _) = call(&client, "ask", &meta(ABLE, ""), &repetition(&answers, &state)).await.error();
    assert_eq!(code, -32602);
    gateway.stop().await;
}

#[tokio::test]
async fn clients_without_number_have_so_many_processes_at_most() {
    let gateway = Gateway::start(&probe("probe", &["--era", "legacy"])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let before = children(gateway.pid()).len();
    for number in 0..20 {
        // Each says that it is another client, which must not be given a connection of one before.
        let info = format!(r#","io.modelcontextprotocol/clientInfo":{{"name":"{number}","version":"1"}}"#);
        call(&client, "pids", &meta(ABLE, &info), "").await.text();
    }
    let most = before + 16;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while children(gateway.pid()).len() > most {
        assert!(std::time::Instant::now() < deadline, "{} children", children(gateway.pid()).len());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn page_that_a_legacy_server_wants_to_be_visited_is_a_round_before_the_call_is_sent_again() {
    let configuration = probe("probe", &["--era", "legacy"]) + "sharing = \"shared\"\n";
    let gateway = Gateway::start(&configuration).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let (questions, state) = round(&call(&client, "visit", &meta(ABLE, ""), "").await);
    assert_eq!(questions["e1"]["method"], "elicitation/create");
    assert_eq!(questions["e1"]["params"]["url"], "https://example.org/");
    let answers = json!({ "e1": { "action": "accept" } });
    let answer = call(&client, "visit", &meta(ABLE, ""), &repetition(&answers, &state)).await;
    assert_eq!(answer.text(), "welcome");
    gateway.stop().await;
}

#[tokio::test]
async fn log_level_of_a_modern_request_is_set_at_a_legacy_server_and_kept_from_others() {
    let gateway = Gateway::start(&probe("probe", &["--era", "legacy", "--resources"])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let level = |level: &str| meta("{}", &format!(r#","io.modelcontextprotocol/logLevel":"{level}""#));
    let levels = |answer: &Answer| {
        let messages = answer.messages();
        let params = messages
            .iter()
            .filter_map(|message| Message::read(message).params.map(|params| params.get().to_owned()));
        params
            .map(|params| serde_json::from_str::<Value>(&params).expect("JSON")["level"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(levels(&call(&client, "log", &level("warning"), "").await), ["warning", "error"]);
    assert_eq!(levels(&call(&client, "log", &level("info"), "").await), ["info", "warning", "error"]);
    assert_eq!(levels(&call(&client, "log", &level("error"), "").await), ["error"]);
    assert!(levels(&call(&client, "log", &meta("{}", ""), "").await).is_empty());
    assert_eq!(call(&client, "levels", &meta("{}", ""), "").await.text(), r#"["warning", "info"]"#);
    gateway.stop().await;
}

#[tokio::test]
async fn twenty_clients_that_do_not_answer_leave_connections_of_an_http_server_to_others() {
    let upstream = http_probe(&["--era", "legacy"]).await;
    let gateway = Gateway::start(&http("probe", upstream.port)).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(round(&call(&client, "ask", &meta(ABLE, ""), "").await));
    }
    for (questions, state) in waiting {
        let answers = json!({ only(&questions): { "action": "decline" } });
        let answer = call(&client, "ask", &meta(ABLE, ""), &repetition(&answers, &state)).await;
        let told: Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert_eq!(told["answers"], json!([r#"{"action":"decline"}"#]));
    }
    gateway.stop().await;
}
