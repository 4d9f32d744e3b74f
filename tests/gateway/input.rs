//! Questions of servers to clients across the eras.

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::client::{Client, Message, open};
use crate::gateway::Gateway;
use crate::upstreams::probe;

/// Reads a stream until a message passes the test; returns its text.
async fn next(stream: &mut Incoming, text: &mut String, wanted: impl Fn(&Message<'_>) -> bool) -> String {
    let found = async {
        loop {
            let frame = stream.frame().await.expect("the stream goes on").expect("a frame");
            *text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
            let data =
                text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| !data.is_empty());
            if let Some(found) =
                data.filter(|data| data.ends_with('}')).find(|data| wanted(&Message::read(data)))
            {
                return found.to_owned();
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), found).await.expect("it comes")
}

/// Calls the tool that asks, as a legacy client that can be asked; returns its stream.
async fn call(gateway: &Gateway, client: &Client) -> Incoming {
    let [id, version] = client.session_headers();
    let accept = ("accept", "application/json, text/event-stream");
    let headers = [id, version, accept, ("content-type", "application/json")];
    let call = r#"{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"ask","arguments":{}}}"#;
    open(gateway.address(), Method::POST, "/mcp", &headers, call).await.into_body()
}

#[tokio::test]
async fn question_of_a_modern_server_reaches_a_legacy_client_and_its_answer_the_server() {
    let gateway = Gateway::start(&probe("probe", &["--era", "modern"])).await;
    let client = Client::legacy_with(gateway.address(), "/mcp", r#"{"elicitation":{}}"#).await;
    client.request("1", "logging/setLevel", "", r#"{"level":"debug"}"#).await.result();
    let (mut stream, mut text) = (call(&gateway, &client).await, String::new());
    let asked = next(&mut stream, &mut text, |message| message.method == Some("elicitation/create")).await;
    let asked = Message::read(&asked);
    assert!(asked.params.expect("parameters").get().contains("Who?"));
    let id = asked.id.expect("an id").get();
    let answer =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept","content":{{"z":1.0}}}}}}"#);
    assert_eq!(client.post("", "", &answer).await.status, StatusCode::ACCEPTED);
    let result = next(&mut stream, &mut text, |message| message.result.is_some()).await;
    let told = result.replace('\\', "");
    assert!(told.contains(r#"{"who":{"action":"accept","content":{"z":1.0}}}"#), "{told}");
    assert!(told.contains(r#""state": ""s1"""#), "the state comes back as it was: {told}");
    assert!(told.contains("logLevel") && told.contains("debug"), "{told}");
    assert!(told.contains("clientCapabilities") && told.contains("elicitation"), "{told}");
    assert!(!told.contains("resultType"), "{told}");
    gateway.stop().await;
}

#[tokio::test]
async fn refusal_of_a_legacy_client_ends_its_request_with_the_reason() {
    let gateway = Gateway::start(&probe("probe", &["--era", "modern"])).await;
    let client = Client::legacy_with(gateway.address(), "/mcp", r#"{"elicitation":{}}"#).await;
    let (mut stream, mut text) = (call(&gateway, &client).await, String::new());
    let asked = next(&mut stream, &mut text, |message| message.method.is_some()).await;
    let id = Message::read(&asked).id.expect("an id").get().to_owned();
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"not now"}}}}"#);
    assert_eq!(client.post("", "", &answer).await.status, StatusCode::ACCEPTED);
    let error = next(&mut stream, &mut text, |message| message.error.is_some()).await;
    assert!(error.contains("not now") && error.contains("elicitation/create"), "{error}");
    gateway.stop().await;
}

#[tokio::test]
async fn request_of_a_session_leaves_its_turn_to_others_while_its_client_is_asked() {
    for sharing in ["auto", "per-session"] {
        // One at a time, and nobody may wait: whoever is not let through is refused.
        let limits = format!("max_concurrency = 1\nmax_queue = 0\nsharing = \"{sharing}\"\n");
        let gateway = Gateway::start(&(probe("probe", &["--era", "legacy"]) + &limits)).await;
        let client = Client::legacy_with(gateway.address(), "/mcp", r#"{"elicitation":{}}"#).await;
        let (mut stream, mut text) = (call(&gateway, &client).await, String::new());
        let asked = next(&mut stream, &mut text, |message| message.method.is_some()).await;
        Client::modern(gateway.address(), "/mcp").call("echo", "{}").await.result();
        let id = Message::read(&asked).id.expect("an id").get().to_owned();
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"decline"}}}}"#);
        assert_eq!(client.post("", "", &answer).await.status, StatusCode::ACCEPTED);
        let result = next(&mut stream, &mut text, |message| message.result.is_some()).await;
        assert!(result.contains("decline"), "{result}");
        Client::modern(gateway.address(), "/mcp").call("echo", "{}").await.result();
        gateway.stop().await;
    }
}
