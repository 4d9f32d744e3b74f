//! Servers that take long to start: what they say late is taken, and clients are shown what is known meanwhile.

use std::time::Duration;

use serde_json::Value;

use crate::client::{Client, LEGACY, post};
use crate::gateway::Gateway;
use crate::scripted::Script;
use crate::upstreams::Gate;

/// How long something may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A server that begins to read after the silence after which it is taken for a legacy one: `start_timeout` is six seconds,
/// so that it is three. `started` counts how often it was started.
const LATE: &str = r#"
modern = True
with open(f"{directory}/started", "a") as file: file.write("x")
time.sleep(3.5)
def unsupported(message, *versions):
    send({"id": message["id"], "error": {"code": -32022, "message": "Unsupported protocol version", "data": {"supported": list(versions), "requested": "?"}}})
    return True
asked = []
def handle(message):
    asked.append(message["method"])
    return late(message)
"#;

/// What such servers do, as the body of `late(message)`, and the era that is agreed.
const KINDS: [(&str, &str, &str); 5] = [
    (
        "answers late, and knows no handshake",
        r#"return message["method"] == "initialize" and unsupported(message, "2026-07-28")"#,
        "modern",
    ),
    (
        "answers late, and knows no such method",
        r#"if message["method"] != "initialize": return False
    refuse(message)
    return True"#,
        "modern",
    ),
    (
        "has lost the first question, and names the modern revision",
        r#"if message["method"] == "initialize": return unsupported(message, "2026-07-28")
    return message["method"] == "server/discover" and asked.count("server/discover") == 1"#,
        "modern",
    ),
    (
        "names an older revision",
        r#"if message["method"] == "server/discover":
        refuse(message)
        return True
    return message["method"] == "initialize" and message["params"]["protocolVersion"] != "2025-06-18" and unsupported(message, "2025-06-18", "2024-11-05")"#,
        "legacy",
    ),
    (
        "knows the handshake only",
        r#"if message["method"] != "server/discover": return False
    refuse(message)
    return True"#,
        "legacy",
    ),
];

#[tokio::test]
async fn server_that_starts_slower_than_the_silence_is_used_by_what_it_says_late() {
    let cases = KINDS.map(|(name, body, era)| async move {
        let gate = Gate::closed();
        let directory = format!("directory = {:?}\n", gate.directory());
        let script = Script::new(&format!("{directory}{LATE}def late(message):\n    {body}\n"));
        let gateway = Gateway::start(&(script.upstream("late") + "start_timeout = \"6s\"\n")).await;
        let client = Client::modern(gateway.address(), "/mcp");
        let answered = async {
            loop {
                let answer = client.call("x", "{}").await;
                if !answer.reply().contains("\"error\"") {
                    return answer;
                }
            }
        };
        let answer = tokio::time::timeout(SOON, answered).await;
        let answer = answer.unwrap_or_else(|_| panic!("{name}: never; {}", gateway.printed()));
        assert_eq!(answer.text(), "fine", "{name}");
        let status = gateway.status().await["upstreams"][0].clone();
        assert_eq!(status["era"], era, "{name}: {status}");
        let started = std::fs::read_to_string(format!("{}/started", gate.directory())).expect("a file");
        assert_eq!((started.len(), status["restarts"].as_u64()), (1, Some(0)), "{name}");
        gateway.stop().await;
    });
    futures_util::future::join_all(cases).await;
}

/// A server of which only the first copy starts at once; others wait until a gate is open, and then have a tool more.
const COPIES: &str = r#"
capabilities = {"tools": {"listChanged": True}, "prompts": {}}
try:
    os.close(os.open(f"{directory}/first", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    while not os.path.exists(f"{directory}/open"): time.sleep(0.01)
    tools = ["one", "own"]
"#;

/// `initialize` of a client that can be asked.
const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"VERSION","capabilities":{"roots":{"listChanged":true},"sampling":{}},"clientInfo":{"name":"raw","version":"1"}}}"#;

#[tokio::test]
async fn client_that_can_be_asked_sees_whole_lists_while_its_own_copies_start() {
    let gate = Gate::closed();
    let directory = format!("directory = {:?}\n", gate.directory());
    let (slow, quick) = (Script::new(&format!("{directory}{COPIES}")), Script::new(""));
    let gateway = Gateway::start(&(slow.upstream("slow") + &quick.upstream("quick"))).await;
    let hello = post(gateway.address(), "/mcp", &[], &HELLO.replace("VERSION", LEGACY)).await;
    let hello: Value = serde_json::from_str(&hello.result()).expect("JSON");
    assert!(hello["capabilities"]["prompts"].is_object(), "what the slow one can do: {hello}");
    let capabilities = r#"{"roots":{"listChanged":true},"sampling":{}}"#;
    let client = Client::legacy_with(gateway.address(), "/mcp", capabilities).await;
    assert_eq!(client.tools().await, ["slow_one", "quick_one"]);
    let mut stream = client.stream().await.into_body();
    gate.open();
    // Its own copy has more, which it is told.
    let mut text = String::new();
    let told = async {
        while !text.contains("tools/list_changed") {
            let frame =
                http_body_util::BodyExt::frame(&mut stream).await.expect("it goes on").expect("a frame");
            text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
        }
    };
    tokio::time::timeout(SOON, told).await.expect("it is told that its own copy has other tools");
    assert_eq!(client.tools().await, ["slow_one", "slow_own", "quick_one"]);
    gateway.stop().await;
}
