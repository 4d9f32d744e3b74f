//! Lists that take longer than clients wait: they are told when such a list is there, and the operator sees that it is slow.

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use crate::client::{Client, MODERN_META};
use crate::following::{listen_to, wait};
use crate::gateway::Gateway;
use crate::scripted::Script;
use crate::upstreams::Gate;

/// A server whose lists come when a file is there, page by page.
const SLOW: &str = r#"
capabilities = {"tools": {}, "prompts": {}, "resources": {}}
lists = {"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources",
         "resources/templates/list": "resourceTemplates"}
def later(message, key):
    while not os.path.exists("GATE/open"):
        time.sleep(0.01)
    page = (message.get("params") or {}).get("cursor", "0")
    item = {"name": f"slow{page}", "inputSchema": {"type": "object"}, "uri": f"x://slow/{page}", "uriTemplate": f"y://slow/{page}"}
    more = {"nextCursor": "1"} if page == "0" else {}
    reply(message, {key: [item]} | more)
def handle(message):
    key = lists.get(message["method"])
    if key:
        threading.Thread(target=later, args=(message, key)).start()
    return bool(key)
"#;

/// The lists and their members.
const LISTS: [(&str, &str); 4] = [
    ("tools/list", "tools"),
    ("prompts/list", "prompts"),
    ("resources/list", "resources"),
    ("resources/templates/list", "resourceTemplates"),
];

/// What clients are told, as the last lines of it are read.
const CHANGES: [&str; 3] = [
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
];

/// How many items each list has.
async fn lengths(client: &Client) -> Vec<usize> {
    let params = match client.era {
        crate::client::Era::Legacy(_) => "{}".to_owned(),
        crate::client::Era::Modern => format!(r#"{{"_meta":{{{MODERN_META}}}}}"#),
    };
    let asked = LISTS.iter().enumerate().map(|(number, (method, member))| {
        let params = &params;
        async move {
            let answer = client.request(&number.to_string(), method, "", params).await;
            let result: Value = serde_json::from_str(&answer.result()).expect("JSON");
            result[member].as_array().expect("a list").len()
        }
    });
    join_all(asked).await
}

/// Records at WARN about a list.
fn warnings(gateway: &Gateway, method: &str) -> usize {
    let about = format!("method=\"{method}\"");
    gateway.printed().lines().filter(|line| line.contains("WARN") && line.contains(&about)).count()
}

#[tokio::test]
async fn clients_are_told_when_a_list_is_there_that_took_too_long_and_so_is_the_operator() {
    let gate = Gate::closed();
    let slow = Script::new(&SLOW.replace("GATE", gate.directory()));
    let fast = Script::new(r#"tools = ["fast"]"#);
    let gateway = Gateway::start(&(fast.upstream("fast") + &slow.upstream("slow"))).await;
    let (legacy, modern) =
        (Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp"));
    let wanted = r#"{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}"#;
    let mut streams = [legacy.stream().await.into_body(), listen_to(&gateway, wanted).await];
    for client in [&legacy, &modern] {
        assert_eq!(lengths(client).await, [1, 0, 0, 0]);
    }
    for (method, _) in LISTS {
        assert_eq!(warnings(&gateway, method), 1, "{}", gateway.printed());
    }
    let status = gateway.status().await;
    let slow = status["upstreams"][1]["warnings"].as_array().expect("warnings");
    assert!(slow.len() == 4 && slow[0].to_string().contains("takes longer than 5 s"), "{status}");
    let health = crate::client::send(gateway.address(), http::Method::GET, "/health", &[], "").await;
    assert_eq!(health.status, StatusCode::OK);
    let health: Value = serde_json::from_slice(&health.body).expect("JSON");
    assert_eq!(health["upstreams"][1]["warnings"], json!(slow));
    gate.open();
    for stream in &mut streams {
        wait(stream, &CHANGES).await;
    }
    for client in [&legacy, &modern] {
        assert_eq!(lengths(client).await, [3, 2, 2, 2]);
    }
    for (method, _) in LISTS {
        assert_eq!(warnings(&gateway, method), 1, "{}", gateway.printed());
    }
    let status = gateway.status().await;
    assert!(status["upstreams"][1]["warnings"].to_string().contains("took"), "{status}");
    gateway.stop().await;
}

/// A server that tells of another list and then takes its time.
const TURNS: &str = r#"
capabilities = {"tools": {"listChanged": True}}
turned = threading.Event()
def call(message, name):
    tools[:] = ["two", "three"]
    turned.set()
    send({"method": "notifications/tools/list_changed"})
    return "fine"
def later(message):
    while turned.is_set() and not os.path.exists("GATE/open"):
        time.sleep(0.01)
    reply(message, {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in tools]})
def handle(message):
    if message["method"] == "tools/list":
        threading.Thread(target=later, args=(message,)).start()
        return True
"#;

#[tokio::test]
async fn list_that_takes_too_long_is_what_it_was_until_it_is_there() {
    let gate = Gate::closed();
    let turns = Script::new(&TURNS.replace("GATE", gate.directory()));
    let fast = Script::new(r#"tools = ["fast"]"#);
    let gateway = Gateway::start(&(fast.upstream("fast") + &turns.upstream("turns"))).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let mut stream = client.stream().await.into_body();
    assert_eq!(client.tools().await, ["fast_fast", "turns_one"]);
    client.call("turns_one", "{}").await.text();
    wait(&mut stream, &CHANGES[..1]).await;
    assert_eq!(client.tools().await, ["fast_fast", "turns_one"], "what it was is better than nothing");
    gate.open();
    wait(&mut stream, &CHANGES[..1]).await;
    assert_eq!(client.tools().await, ["fast_fast", "turns_two", "turns_three"]);
    gateway.stop().await;
}
