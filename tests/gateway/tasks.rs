//! Tasks behind an endpoint of several upstreams, and across the eras.

use serde_json::Value;

use crate::client::{Client, MODERN_META};
use crate::gateway::Gateway;
use crate::upstreams::probe;

/// Begins a task and returns its name.
async fn begin(client: &Client, tool: &str) -> String {
    let result: Value = serde_json::from_str(&client.call(tool, "{}").await.result()).expect("JSON");
    assert_eq!(result["resultType"], "task", "{result}");
    result["taskId"].as_str().expect("a name").to_owned()
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
    let (code, message) = client.request("1", "tasks/get", "none", &about("none")).await.error();
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
