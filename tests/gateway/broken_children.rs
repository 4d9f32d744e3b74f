//! Children that break in ways that a call, a log or an operator notices: over-long answers, chatter, half-dead processes.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http_body_util::BodyExt as _;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::scripted::Script;
use crate::upstreams::probe;

/// How long something may take on a busy machine: far less than a request may.
const SOON: Duration = Duration::from_secs(40);

/// What comes of something that must come of it soon.
async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, happens).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Calls a tool until it is answered; the text of the answer.
async fn answered(client: &Client, tool: &str) -> String {
    let answered = async {
        loop {
            let answer = client.call(tool, "{}").await;
            if answer.reply().contains(r#""result""#) {
                return answer.text();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("an answer", answered).await
}

/// The state of an upstream.
async fn state(gateway: &Gateway, name: &str) -> serde_json::Value {
    let status = gateway.status().await;
    let upstreams = status["upstreams"].as_array().expect("upstreams");
    upstreams.iter().find(|upstream| upstream["name"] == name).expect("one of that name").clone()
}

#[tokio::test]
async fn answer_beyond_the_limit_is_refused_at_once_wherever_its_id_stands() {
    let script = Script::new(
        r#"
long = "x" * (2 << 20)
def call(message, name):
    members = ['"id":%d' % message["id"], '"result":{"content":[{"type":"text","text":"%s"}],"z":{"id":7}}' % long, '"jsonrpc":"2.0"']
    order = {"first": [0, 1, 2], "last": [2, 1, 0], "middle": [1, 0, 2]}.get(name)
    if order is None: return "fine"
    out.write(("{" + ", ".join(members[at] for at in order) + "}\n").encode())
    out.flush()
"#,
    );
    let gateway = Gateway::start_with("max_message_size = \"1MiB\"", &script.upstream("long"), &[]).await;
    let client = Client::modern(gateway.address(), "/mcp");
    for place in ["first", "last", "middle"] {
        let (_, message) = soon(place, client.call(place, "{}")).await.error();
        assert!(message.contains("`long`") && message.contains("max_message_size"), "{place}: {message}");
        assert_eq!(client.call("short", "{}").await.text(), "fine");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn chatter_on_standard_output_does_not_fill_the_log() {
    let script = Script::new(
        r#"
def call(message, name):
    if name == "chat": out.write(b"Listening, and happy to tell you so!\n" * 5000)
    return "fine"
"#,
    );
    let gateway = Gateway::start(&script.upstream("chatty")).await;
    let client = Client::modern(gateway.address(), "/mcp");
    assert_eq!(client.call("chat", "{}").await.text(), "fine");
    // By the time that this is there, so is everything before it.
    gateway.prints("more than is logged").await;
    let told = gateway.printed().matches("not MCP").count();
    assert!((1..200).contains(&told), "{told} lines");
    gateway.stop().await;
}

#[tokio::test]
async fn lines_that_were_dropped_are_counted_also_when_the_child_falls_silent() {
    let script = Script::new(
        r#"
def call(message, name):
    sys.stderr.write("complaint\n" * 5000)
    sys.stderr.flush()
    return "fine"
"#,
    );
    let gateway = Gateway::start(&script.upstream("loud")).await;
    let client = Client::modern(gateway.address(), "/mcp");
    assert_eq!(client.call("x", "{}").await.text(), "fine");
    gateway.prints("more than is logged").await;
    gateway.stop().await;
}

#[tokio::test]
async fn list_that_changes_while_it_is_fetched_is_fetched_again_for_those_who_ask_after() {
    // The first list is answered when the second is asked for: then it is old.
    let script = Script::new(
        r#"
capabilities = {"tools": {"listChanged": True}}
tools = ["new"]
first = []
def handle(message):
    if message["method"] != "tools/list" or len(first) == 2: return False
    first.append(message)
    if len(first) == 1:
        send({"method": "notifications/tools/list_changed"})
        return True
    reply(first[0], {"tools": [{"name": "old", "inputSchema": {"type": "object"}}]})
"#,
    );
    let gateway = Gateway::start(&(script.upstream("fickle") + &probe("probe", &[]))).await;
    let session = Client::legacy(gateway.address(), "/mcp").await;
    let mut stream = session.stream().await.into_body();
    let early = Client::modern(gateway.address(), "/mcp");
    let early = tokio::spawn(async move { early.tools().await });
    let mut told = String::new();
    let changed = async {
        while !told.contains("tools/list_changed") {
            let frame = stream.frame().await.expect("the stream goes on").expect("a frame");
            told += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
        }
    };
    soon("the change", changed).await;
    let tools = session.tools().await;
    assert!(tools.contains(&"fickle_new".to_owned()), "{tools:?}");
    assert!(early.await.expect("no panic").contains(&"fickle_old".to_owned()));
    gateway.stop().await;
}

#[tokio::test]
async fn server_with_resources_but_no_templates_has_an_empty_list_of_them_and_may_sleep() {
    let script = Script::new(
        r#"
capabilities = {"tools": {}, "resources": {}}
def handle(message):
    if message["method"] != "resources/list": return False
    reply(message, {"resources": [{"uri": "x://1", "name": "one"}]})
    return True
"#,
    );
    let upstreams = script.upstream("plain") + "idle_timeout = \"300ms\"\n" + &probe("probe", &[]);
    let gateway = Gateway::start(&upstreams).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let templates = client.request("1", "resources/templates/list", "", "{}").await.result();
    assert_eq!(templates, r#"{"resourceTemplates":[]}"#);
    soon("sleep", async { while state(&gateway, "plain").await["state"] != "idle" {} }).await;
    assert!(!gateway.printed().contains("cannot list"), "{}", gateway.printed());
    gateway.stop().await;
}

#[tokio::test]
async fn connection_of_sessions_that_hangs_is_ended_and_opened_anew() {
    const HANGS: &str = r#"
stuck = False
def call(message, name):
    global stuck
    stuck = stuck or name == "hang"
    return str(os.getpid())
def handle(message):
    return stuck or message.get("params", {}).get("name") == "hang" and call(message, "hang") and True
"#;
    let both = Script::new(&format!("modern = True\n{HANGS}"));
    let legacy = Script::new(HANGS);
    let health = "health_interval = \"100ms\"\nrequest_timeout = \"1s\"\n";
    // The shared legacy connection to a server that is modern by nature, and a session's own to a legacy one.
    for upstream in [both.upstream("odd"), legacy.upstream("odd") + "sharing = \"per-session\"\n"] {
        let gateway = Gateway::start(&(upstream + health)).await;
        let client = Client::legacy(gateway.address(), "/mcp").await;
        let before = client.call("pid", "{}").await.text();
        let ids = ["2", "3", "4"].into_iter();
        let hung: FuturesUnordered<_> =
            ids.map(|id| client.request(id, "tools/call", "hang", r#"{"name":"hang"}"#)).collect();
        hung.for_each(|answer| async move {
            let (_, message) = answer.error();
            assert!(message.contains("did not answer"), "{message}");
        })
        .await;
        assert_ne!(answered(&client, "pid").await, before);
        gateway.prints("does not answer").await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn child_whose_pipes_outlive_it_is_missed() {
    // What it leaves behind is in a session of its own, as browsers are that servers start.
    let script = Script::new(
        r#"
def call(message, name):
    if name != "leave": return str(os.getpid())
    subprocess.Popen(["sleep", "100"], start_new_session=True, stdin=0, stdout=1)
    os._exit(0)
"#,
    );
    let gateway = Gateway::start(&script.upstream("gone")).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let before = client.call("pid", "{}").await.text();
    let (_, message) = soon("the end", client.call("leave", "{}")).await.error();
    assert!(message.contains("ended before it answered"), "{message}");
    assert_ne!(answered(&client, "pid").await, before);
    gateway.stop().await;
}

#[tokio::test]
async fn child_that_reads_no_more_is_started_anew() {
    let script = Script::new(
        r#"
def call(message, name):
    if name != "deaf": return str(os.getpid())
    reply(message, text("deaf"))
    os.close(0)
    time.sleep(1000)
"#,
    );
    let gateway = Gateway::start(&(script.upstream("deaf") + "health_interval = \"0s\"\n")).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let before = client.call("pid", "{}").await.text();
    assert_eq!(client.call("deaf", "{}").await.text(), "deaf");
    assert_ne!(answered(&client, "pid").await, before);
    gateway.stop().await;
}

#[tokio::test]
async fn missing_working_directory_is_named_as_what_is_missing() {
    let gateway = Gateway::start(&(probe("probe", &[]) + "working_dir = \"/nowhere/at/all\"\n")).await;
    let told = state(&gateway, "probe").await["last_error"].to_string();
    assert!(told.contains("working_dir") && told.contains("/nowhere/at/all"), "{told}");
    gateway.stop().await;
}

#[tokio::test]
async fn upstream_whose_resources_somebody_follows_does_not_sleep() {
    // The first upstream shows when the other one could have slept for long.
    let idle = |seconds: &str| format!("idle_timeout = \"{seconds}\"\n");
    let followed = probe("followed", &["--era", "legacy", "--resources"]) + &idle("300ms");
    let upstreams = probe("clock", &[]) + &idle("3s") + &followed;
    let gateway = Gateway::start(&upstreams).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    client.request("1", "resources/subscribe", "", r#"{"uri":"probe://watched"}"#).await.result();
    let before = client.call("followed_pids", "{}").await.text();
    soon("sleep", async { while state(&gateway, "clock").await["state"] != "idle" {} }).await;
    assert_eq!(state(&gateway, "followed").await["state"], "ready");
    assert_eq!(client.call("followed_pids", "{}").await.text(), before);
    // Once nobody does any more, it may.
    client.request("2", "resources/unsubscribe", "", r#"{"uri":"probe://watched"}"#).await.result();
    soon("sleep", async { while state(&gateway, "followed").await["state"] != "idle" {} }).await;
    gateway.stop().await;
}
