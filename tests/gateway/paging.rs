//! Pages of a merged list.

use serde_json::{Value, json};

use crate::client::{Client, Era, MODERN_META};
use crate::gateway::Gateway;
use crate::scripted::Script;
use crate::upstreams::odd;

/// A server of 2500 tools; a call of `t2499` removes ten at the beginning and the one that ends a page.
const MANY: &str = r#"
capabilities = {"tools": {"listChanged": True}}
tools = ["t%04d" % number for number in range(2500)]

def call(message, name):
    if name == "t2499":
        tools.remove("t0999")
        del tools[:10]
        send({"method": "notifications/tools/list_changed"})
    return "done"
"#;

/// The page that a cursor leads to: its names, and the next cursor.
async fn page(client: &Client, cursor: Option<&str>) -> (Vec<String>, Option<String>) {
    let mut params = match client.era {
        Era::Legacy(_) => json!({}),
        Era::Modern => serde_json::from_str(&format!(r#"{{"_meta":{{{MODERN_META}}}}}"#)).expect("JSON"),
    };
    if let Some(cursor) = cursor {
        params["cursor"] = cursor.into();
    }
    let answer = client.request("1", "tools/list", "", &params.to_string()).await;
    let result: Value = serde_json::from_str(&answer.result()).expect("JSON");
    (answer.tools(), result["nextCursor"].as_str().map(str::to_owned))
}

/// The names of these tools of the server, as the endpoint shows them.
fn names(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("many_t{number:04}")).collect()
}

/// A gateway before the server and another one.
async fn start(script: &Script) -> Gateway {
    Gateway::start(&(script.upstream("many") + "sharing = \"shared\"\n" + &odd("odd", &[]))).await
}

#[tokio::test]
async fn pages_of_a_merged_list_are_the_whole_list_in_order() {
    let script = Script::new(MANY);
    let gateway = start(&script).await;
    for client in [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
    {
        let (first, cursor) = page(&client, None).await;
        assert_eq!(first, names(0..1000));
        let (second, cursor) = page(&client, Some(&cursor.expect("a second page"))).await;
        assert_eq!(second, names(1000..2000));
        let (third, cursor) = page(&client, Some(&cursor.expect("a third page"))).await;
        assert_eq!(third[..500], names(2000..2500));
        assert!(third[500..].iter().any(|name| name == "odd_echo"), "{:?}", &third[500..]);
        assert_eq!(cursor, None);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn cursor_leads_to_the_same_place_after_the_list_has_changed_and_at_another_gateway() {
    let script = Script::new(MANY);
    let gateway = start(&script).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let (_, cursor) = page(&client, None).await;
    let end_of_first = cursor.expect("a second page");
    let (_, cursor) = page(&client, Some(&end_of_first)).await;
    let end_of_second = cursor.expect("a third page");
    let other = start(&script).await;
    let elsewhere = Client::modern(other.address(), "/mcp");
    assert_eq!(page(&elsewhere, Some(&end_of_first)).await.0, names(1000..2000));
    other.stop().await;
    client.call("many_t2499", "{}").await.text();
    // The item that ended the second page has moved; nothing of the third is lost or told again.
    assert_eq!(page(&client, Some(&end_of_second)).await.0[..500], names(2000..2500));
    // The one that ended the first is gone, and ten before it: the place that it had is what is left to go by.
    assert_eq!(page(&client, Some(&end_of_first)).await.0[0], "many_t1010");
    gateway.stop().await;
}

#[tokio::test]
async fn cursor_leads_on_when_its_upstream_cannot_be_asked() {
    let script = Script::new(MANY);
    let gateway = start(&script).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let (_, cursor) = page(&client, None).await;
    let cursor = cursor.expect("a second page");
    gateway.stop().await;
    let broken = "[upstreams.many]\ncommand = \"/nonexistent\"\n".to_owned();
    let gateway = Gateway::start(&(broken + &odd("odd", &[]))).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let (rest, cursor) = page(&client, Some(&cursor)).await;
    assert!(rest.iter().any(|name| name == "odd_echo"), "{rest:?}");
    assert_eq!(cursor, None);
    gateway.stop().await;
}

#[tokio::test]
async fn list_whose_cursors_never_end_is_read_for_so_many_pages_and_no_more() {
    let script = Script::new(
        "
count = 0
def handle(message):
    global count
    if message['method'] != 'tools/list': return False
    count += 1
    tool = {'name': f't{count}', 'inputSchema': {'type': 'object'}}
    reply(message, {'tools': [tool], 'nextCursor': str(count)})
    return True
def call(message, name): return str(count)
",
    );
    let other = Script::new("");
    let gateway = Gateway::start(&(script.upstream("endless") + &other.upstream("other"))).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        // One page of the merged list has 1000 items.
        let (names, cursor) = page(&client, None).await;
        if names.iter().any(|name| name.starts_with("endless_")) {
            assert_eq!((names.len(), cursor.is_some()), (1000, true));
            break;
        }
        assert!(std::time::Instant::now() < deadline, "it is not listed: {names:?}");
    }
    assert_eq!(client.call("endless_t1", "{}").await.text(), "1000");
    gateway.stop().await;
}
