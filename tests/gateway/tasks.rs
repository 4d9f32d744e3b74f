//! Tasks behind an endpoint of several upstreams, and across the eras.

use serde_json::Value;

use crate::client::{Client, MODERN_META};
use crate::gateway::Gateway;
use crate::scripted::Script;
use crate::upstreams::{http, http_probe, probe};

/// Begins a task and returns its name.
async fn begin(client: &Client, tool: &str) -> String {
    let result: Value = serde_json::from_str(&client.call(tool, "{}").await.result()).expect("JSON");
    assert_eq!(result["resultType"], "task", "{result}");
    result["taskId"].as_str().expect("a name").to_owned()
}

/// Begins a task in a legacy session and returns its name.
async fn begin_legacy(client: &Client, tool: &str) -> String {
    let result: Value = serde_json::from_str(&client.call(tool, "{}").await.result()).expect("JSON");
    result["task"]["taskId"].as_str().expect("a name").to_owned()
}

/// The server that a legacy client's task is of.
async fn server_of(client: &Client, task: &str) -> Value {
    let answer = client.request("1", "tasks/get", "", &format!(r#"{{"taskId":"{task}"}}"#)).await;
    serde_json::from_str::<Value>(&answer.result()).expect("JSON")["server"].clone()
}

/// The parameters of a request about a task.
fn about(task: &str) -> String {
    format!(r#"{{"taskId":"{task}","_meta":{{{MODERN_META}}}}}"#)
}

#[tokio::test]
async fn request_about_a_task_finds_its_server() {
    let upstream =
        |name: &str, more: &[&str]| probe(name, &[&["--era", "modern", "--name", name], more].concat());
    let configuration = upstream("a", &["--tasks"]) + &upstream("b", &["--tasks"]) + &upstream("c", &[]);
    let gateway = Gateway::start(&configuration).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let tasks = [("b", begin(&client, "b_job").await), ("a", begin(&client, "a_job").await)];
    for method in ["tasks/get", "tasks/get", "tasks/cancel"] {
        for (server, task) in &tasks {
            let answer = client.request("1", method, task, &about(task)).await.result();
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            assert_eq!(answer["server"], *server, "{method}");
            assert_eq!(answer["taskId"], **task, "a task's name is its server's own");
        }
    }
    // What is no task of the client is unknown to one that speaks of tasks; another is told what it lacks first.
    let (code, message) = client.request("1", "tasks/get", "none", &about("none")).await.error();
    assert!(code == -32021 && message.contains("io.modelcontextprotocol/tasks"), "{code} {message}");
    let capabilities = r#""io.modelcontextprotocol/clientCapabilities":{"#;
    let declared = format!(r#"{capabilities}"extensions":{{"io.modelcontextprotocol/tasks":{{}}}}"#);
    let declared = about("none").replace(capabilities, &declared);
    let (code, message) = client.request("1", "tasks/get", "none", &declared).await.error();
    assert!(code == -32602 && message.contains("unknown task"), "{code} {message}");
    gateway.stop().await;
}

#[tokio::test]
async fn tasks_of_the_other_era_are_said_not_to_be_bridged_and_are_not_offered() {
    let configuration =
        probe("new", &["--era", "modern", "--tasks"]) + &probe("old", &["--era", "legacy", "--tasks"]);
    let gateway = Gateway::start(&configuration).await;
    let old = Client::modern(gateway.address(), "/mcp/old");
    let (code, message) = old.request("1", "tasks/get", "x", &about("x")).await.error();
    assert!(code == -32601 && message.contains("cannot be bridged"), "{code} {message}");
    let new = Client::legacy(gateway.address(), "/mcp/new").await;
    let (code, message) = new.request("1", "tasks/get", "x", r#"{"taskId":"x"}"#).await.error();
    assert!(code == -32601 && message.contains("cannot be bridged"), "{code} {message}");
    let discover =
        old.request("1", "server/discover", "", &format!(r#"{{"_meta":{{{MODERN_META}}}}}"#)).await;
    let discovered: Value = serde_json::from_str(&discover.result()).expect("JSON");
    assert!(discovered["capabilities"]["tasks"].is_null(), "{discovered}");
    gateway.stop().await;
}

#[tokio::test]
async fn list_of_a_legacy_client_has_the_tasks_of_all_servers_that_can_be_asked() {
    let upstream =
        |name: &str, more: &[&str]| probe(name, &[&["--era", "legacy", "--name", name], more].concat());
    let configuration = upstream("none", &[])
        + &upstream("many", &["--tasks"])
        + "[upstreams.broken]\ncommand = \"/bin/false\"\n"
        + &upstream("refuses", &["--tasks", "--refuse", "tasks/list"])
        + &probe("new", &["--era", "modern", "--tasks"])
        + &upstream("few", &["--tasks"]);
    let gateway = Gateway::start(&configuration).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let list = async || client.request("1", "tasks/list", "", "{}").await.result();
    assert_eq!(list().await, r#"{"tasks":[]}"#);
    let mut tasks = vec![(begin_legacy(&client, "few_job").await, "few")];
    for place in 0..5 {
        // In the order of the configuration, whatever the pages.
        tasks.insert(place, (begin_legacy(&client, "many_job").await, "many"));
    }
    let item = |(task, _): &(String, &str)| {
        format!(r#"{{"taskId": "{task}", "status": "working", "vendor": {{"z": 1, "a": 2}}}}"#)
    };
    let expected = format!(r#"{{"tasks":[{}]}}"#, tasks.iter().map(item).collect::<Vec<_>>().join(","));
    for _ in 0..2 {
        assert_eq!(list().await, expected);
    }
    for (task, server) in &tasks {
        assert_eq!(server_of(&client, task).await, *server);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn list_of_tasks_is_refused_where_no_server_has_any() {
    let gateway = Gateway::start(&(probe("a", &["--era", "legacy"]) + &probe("b", &[]))).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let (code, message) = client.request("1", "tasks/list", "", "{}").await.error();
    assert!(code == -32601 && message.contains("tasks/list"), "{code} {message}");
    gateway.stop().await;
}

#[tokio::test]
async fn server_that_sleeps_is_woken_for_a_task_that_nobody_has_named_yet() {
    let server = http_probe(&["--era", "legacy", "--tasks", "--name", "sleepy"]).await;
    let configuration = http("sleepy", server.port) + "idle_timeout = \"1s\"\n" + &probe("other", &[]);
    let gateway = Gateway::start(&configuration).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let tasks = [begin_legacy(&client, "sleepy_job").await, begin_legacy(&client, "sleepy_job").await];
    let asleep = async || {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let status = gateway.status().await;
            let upstreams = status["upstreams"].as_array().expect("upstreams");
            if upstreams.iter().any(|upstream| upstream["name"] == "sleepy" && upstream["state"] == "idle") {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{status}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    asleep().await;
    assert_eq!(server_of(&client, &tasks[0]).await, "sleepy");
    asleep().await;
    let listed = client.request("1", "tasks/list", "", "{}").await.result();
    assert!(tasks.iter().all(|task| listed.contains(task)), "{listed}");
    gateway.stop().await;
}

#[tokio::test]
async fn no_server_is_told_of_tasks_that_its_client_has_in_the_other_era_only() {
    let lines = r#"
capabilities = {"tools": {}, "tasks": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
hello = {}
def handle(message):
    global hello
    method, params = message["method"], message.get("params", {})
    if method == "initialize" and modern: refuse(message)
    elif method == "initialize":
        hello = params["capabilities"]
        return False
    elif method == "tools/call" and params["name"] == "job" and modern:
        reply(message, {"resultType": "task", "taskId": "0123456789abcdef", "status": "working"})
    elif method == "tools/call":
        told = params.get("_meta", {}).get("io.modelcontextprotocol/clientCapabilities", hello)
        reply(message, text(json.dumps(told)))
    else: return False
    return True
"#;
    let (old, new) = (Script::new(lines), Script::new(&format!("{lines}modern = True\n")));
    let gateway = Gateway::start(&(old.upstream("old") + &new.upstream("new"))).await;
    let extensions = r#"{"com.v/x":{"z":1},"io.modelcontextprotocol/tasks":{}}"#;
    let declared = format!(r#"{{"elicitation":{{}},"tasks":{{"list":{{}}}},"extensions":{extensions}}}"#);
    let legacy = Client::legacy_with(gateway.address(), "/mcp", &declared).await;
    let modern = Client::modern(gateway.address(), "/mcp");
    for (server, client, same) in
        [("old", &legacy, true), ("new", &legacy, false), ("old", &modern, false), ("new", &modern, true)]
    {
        let meta = if matches!(client.era, crate::client::Era::Modern) {
            format!(r#","_meta":{{{}}}"#, MODERN_META.replace("{}", &declared))
        } else {
            String::new()
        };
        let params = format!(r#"{{"name":"{server}_one","arguments":{{}}{meta}}}"#);
        let answer = client.request("1", "tools/call", &format!("{server}_one"), &params).await;
        let told: Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert_eq!(told["extensions"]["com.v/x"]["z"], 1, "{server} {told}");
        assert!(told["elicitation"].is_object(), "{server} {told}");
        let has =
            [&told["tasks"], &told["extensions"]["io.modelcontextprotocol/tasks"]].map(Value::is_object);
        assert_eq!(has, [same; 2], "{server} {told}");
    }
    // One that begins a task all the same has given no answer.
    let (code, message) = legacy.call("new_job", "{}").await.error();
    assert!(code == -32603 && message.contains("has begun a task"), "{code} {message}");
    gateway.stop().await;
}
