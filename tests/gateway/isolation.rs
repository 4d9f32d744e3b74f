//! What one client has said, was asked or has begun is nobody else's, and nobody takes more than a share of what all use.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::gateway::Gateway;
use crate::scripted::{Script, http_script};
use crate::upstreams::{http, http_probe, probe};

/// The `_meta` of a modern client of this name that can be asked.
fn meta(name: &str) -> String {
    format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{"elicitation":{{"form":{{}}}},"extensions":{{"io.modelcontextprotocol/tasks":{{}}}}}},"io.modelcontextprotocol/clientInfo":{{"name":"{name}","version":"1"}}}}"#
    )
}

/// Calls a tool as a modern client of this name; `more` are further members of the parameters, with their comma.
pub(crate) async fn call(client: &Client, name: &str, tool: &str, more: &str) -> Answer {
    let params = format!(r#"{{"name":"{tool}","arguments":{{}},"_meta":{}{more}}}"#, meta(name));
    client.request("7", "tools/call", tool, &params).await
}

/// The name of the only question and the state of a round; `None` if it is none.
fn round(answer: &Answer) -> Option<(String, String)> {
    let reply: Value = serde_json::from_str(&answer.reply()).expect("JSON");
    let result = &reply["result"];
    let state = result["requestState"].as_str()?.to_owned();
    let names: Vec<_> = result["inputRequests"].as_object()?.keys().cloned().collect();
    assert_eq!(names.len(), 1, "{result}");
    Some((names[0].clone(), state))
}

/// Answers a round.
async fn answer(client: &Client, name: &str, tool: &str, (question, state): &(String, String)) -> Answer {
    let answers = json!({ question: { "action": "accept", "content": { "key": name } } });
    call(client, name, tool, &format!(r#","inputResponses":{answers},"requestState":"{state}""#)).await
}

/// A legacy stdio server that keeps what it is told, and asks once more after it has answered.
const KEEPS: &str = r#"
tools = ["ask", "read", "pid"]
kept, asking = [], []
def elicit(id): send({"id": id, "method": "elicitation/create", "params": {"message": "key?", "requestedSchema": {"type": "object", "properties": {}}}})
def call(message, name):
    if name == "read": return json.dumps(kept)
    if name == "pid": return str(os.getpid())
    asking.append(message)
    elicit("asked")
class Reader:
    def __init__(self, lines): self.lines = lines
    def __iter__(self):
        for line in self.lines:
            message = json.loads(line)
            if "method" not in message and message.get("id") in ("asked", "late"):
                kept.append([message["id"], message.get("result", "refused")])
                if message["id"] == "asked":
                    reply(asking.pop(), text("told"))
                    elicit("late")
            else:
                yield line
sys.stdin = Reader(sys.stdin)
"#;

#[tokio::test]
async fn next_client_of_the_same_name_meets_a_server_that_knows_nothing_of_the_one_before() {
    let script = Script::new(KEEPS);
    let gateway = Gateway::start(&script.upstream("keeps")).await;
    let client = Client::modern(gateway.address(), "/mcp");
    for _ in 0..4 {
        let first = round(&call(&client, "same", "ask", "").await).expect("a question");
        assert_eq!(answer(&client, "same", "ask", &first).await.text(), "told");
        // Another one that says the same of itself: it reads no key, and is not asked what the other one was.
        let read = call(&client, "same", "read", "").await;
        assert_eq!(read.text(), "[]", "{read:?}");
    }
    // Nor does a call that had no question leave anything behind.
    let mut pids: Vec<_> = Vec::new();
    for _ in 0..4 {
        pids.push(call(&client, "same", "pid", "").await.text());
    }
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 4, "{pids:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn session_of_a_server_over_http_is_not_lent_to_the_next_client_either() {
    let server = http_script(
        r#"
seen = {}
def call(handler, message, name):
    calls = seen.setdefault(handler.headers["Mcp-Session-Id"], [])
    calls.append(name)
    return str(len(calls))
"#,
    )
    .await;
    let gateway = Gateway::start(&http("keeps", server.port)).await;
    let client = Client::modern(gateway.address(), "/mcp");
    for _ in 0..4 {
        assert_eq!(call(&client, "same", "one", "").await.text(), "1");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn connection_over_which_only_a_list_was_asked_for_is_used_by_the_next_call() {
    let script = Script::new(
        r#"
lists = []
def handle(message):
    if message["method"] == "tools/list": lists.append(1)
    return False
def call(message, name): return str(len(lists))
"#,
    );
    let gateway = Gateway::start(&script.upstream("lists")).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let list = format!(r#"{{"_meta":{}}}"#, meta("same"));
    for _ in 0..3 {
        client.request("1", "tools/list", "", &list).await.result();
    }
    // A process for each list would cost more than the list.
    assert_eq!(call(&client, "same", "one", "").await.text(), "3");
    // The call was of one client; nobody meets it again.
    assert_eq!(call(&client, "same", "one", "").await.text(), "0");
    gateway.stop().await;
}

#[tokio::test]
async fn unanswered_questions_of_one_client_leave_a_share_to_others_and_its_own_oldest_give_way() {
    let gateway = Gateway::start(&probe("probe", &["--era", "legacy"])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let mut greedy = Vec::new();
    for _ in 0..10 {
        // The client is not shut out by what it has left alone.
        greedy.push(round(&call(&client, "greedy", "ask", "").await).expect("a question"));
    }
    // Others do not notice.
    let began = Instant::now();
    let other = round(&call(&client, "other", "ask", "").await).expect("a question");
    assert!(answer(&client, "other", "ask", &other).await.text().contains("other"));
    assert!(began.elapsed() < Duration::from_secs(30));
    // Where all are taken, the oldest round of whoever has most gives way, and no other one.
    let mut more = Vec::new();
    for _ in 0..8 {
        more.push(round(&call(&client, "more", "ask", "").await).expect("a question"));
    }
    let third = round(&call(&client, "third", "ask", "").await).expect("a question");
    assert!(answer(&client, "third", "ask", &third).await.text().contains("third"));
    let mut gave_way = Vec::new();
    for (name, rounds) in [("greedy", &greedy), ("more", &more)] {
        for (place, round) in rounds.iter().enumerate() {
            let told = answer(&client, name, "ask", round).await;
            if told.reply().contains("\"error\"") {
                let (code, message) = told.error();
                assert!(code == -32602 && message.contains("gave way to others"), "{message}");
                gave_way.push((name, place));
            } else {
                assert!(told.text().contains(name), "{told:?}");
            }
        }
    }
    assert_eq!(gave_way, [("greedy", 0), ("greedy", 1), ("greedy", 2)]);
    gateway.stop().await;
}

#[tokio::test]
async fn client_whose_calls_are_all_under_way_is_told_the_limit() {
    let gateway = Gateway::start(&probe("probe", &["--era", "legacy"])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let params = format!(r#"{{"name":"sleep","arguments":{{"ms":300000}},"_meta":{}}}"#, meta("busy"));
    let calls = (0..9).map(|_| client.request("7", "tools/call", "sleep", &params));
    let mut calls: futures_util::stream::FuturesUnordered<_> = calls.collect();
    let (code, message) = futures_util::StreamExt::next(&mut calls).await.expect("an answer").error();
    assert!(code == -32603 && message.contains("`probe`") && message.contains("8 is the limit"), "{message}");
    // Another client is served.
    assert!(call(&client, "other", "echo", "").await.text().contains("echo"));
    drop(calls);
    gateway.stop().await;
}

/// Parameters about a task.
fn about(modern: bool, name: &str, task: &str) -> String {
    if modern {
        format!(r#"{{"taskId":"{task}","_meta":{}}}"#, meta(name))
    } else {
        format!(r#"{{"taskId":"{task}"}}"#)
    }
}

/// The error of a request about a task.
async fn error(client: &Client, method: &str, (modern, name, task): (bool, &str, &str)) -> (i64, String) {
    client.request("1", method, task, &about(modern, name, task)).await.error()
}

/// The tasks that a session sees.
async fn tasks(client: &Client) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let params = if cursor.is_empty() { "{}".to_owned() } else { format!(r#"{{"cursor":"{cursor}"}}"#) };
        let page = client.request("1", "tasks/list", "", &params).await.result();
        let page: Value = serde_json::from_str(&page).expect("JSON");
        let items = page["tasks"].as_array().expect("tasks").iter();
        all.extend(items.map(|task| task["taskId"].as_str().expect("a name").to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return all,
        }
    }
}

/// Begins a task in a session.
async fn begin(client: &Client, tool: &str) -> String {
    let result: Value = serde_json::from_str(&client.call(tool, "{}").await.result()).expect("JSON");
    result["task"]["taskId"].as_str().expect("a name").to_owned()
}

/// A server over HTTP with tasks of short names, which outlive its sessions; without a list of its own in the modern era.
const JOBS: &str = r#"
modern = MODERN
capabilities = {"tools": {}, "tasks": {"list": {}, "cancel": {}}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
jobs = []
def post(handler, message):
    method, params = message.get("method"), message.get("params") or {}
    if method == "tools/call":
        jobs.append(str(len(jobs)))
        task = {"taskId": jobs[-1], "status": "working"}
        handler.result(message, {"resultType": "task", **task} if modern else {"task": task})
    elif method in ("tasks/get", "tasks/cancel", "tasks/result", "tasks/update") and params["taskId"] in jobs:
        handler.result(message, {"taskId": params["taskId"], "status": "working"})
    elif method == "tasks/list":
        handler.result(message, {"tasks": [{"taskId": job, "status": "working"} for job in jobs]})
    else: return False
    return True
"#;

#[tokio::test]
async fn session_sees_its_own_tasks_and_nobody_elses_also_after_a_crash() {
    let server = http_script(&JOBS.replace("MODERN", "False")).await;
    let jobs = http("jobs", server.port);
    for (configuration, prefix) in [
        (jobs.clone(), ""),
        (jobs.clone() + "sharing = \"shared\"\n", ""),
        (jobs.clone() + &probe("other", &["--era", "legacy", "--tasks"]), "jobs_"),
    ] {
        let gateway = Gateway::start(&configuration).await;
        let (mut own, mut other) = (
            Client::legacy(gateway.address(), "/mcp").await,
            Client::legacy(gateway.address(), "/mcp").await,
        );
        let tool = format!("{prefix}job");
        let first = begin(&own, &tool).await;
        let theirs = begin(&other, &tool).await;
        let second = begin(&own, &tool).await;
        let mut gateway = Some(gateway);
        for crashed in [false, true] {
            if crashed {
                let again = gateway.take().expect("it runs").crash().await;
                (own, other) = (own.at(again.address()), other.at(again.address()));
                gateway = Some(again);
            }
            assert_eq!(tasks(&own).await, [first.clone(), second.clone()], "{configuration}");
            assert_eq!(tasks(&other).await, std::slice::from_ref(&theirs));
            for method in ["tasks/get", "tasks/cancel", "tasks/result", "tasks/update"] {
                own.request("1", method, "", &about(false, "", &second)).await.result();
                let foreign = error(&other, method, (false, "", &second)).await;
                let unknown = error(&other, method, (false, "", "4711")).await;
                assert_eq!(foreign, (-32602, format!("unknown task: {second}")), "{method}");
                assert_eq!(unknown, (-32602, "unknown task: 4711".to_owned()), "{method}");
            }
        }
        gateway.expect("it runs").stop().await;
    }
}

#[tokio::test]
async fn modern_client_reaches_its_own_tasks_and_nobody_elses() {
    let server = http_script(&JOBS.replace("MODERN", "True")).await;
    let jobs = http("jobs", server.port);
    for (configuration, prefix) in
        [(jobs.clone(), ""), (jobs.clone() + &probe("other", &["--era", "modern", "--tasks"]), "jobs_")]
    {
        let gateway = Gateway::start(&configuration).await;
        let client = Client::modern(gateway.address(), "/mcp");
        let begun = call(&client, "own", &format!("{prefix}job"), "").await.result();
        let begun: Value = serde_json::from_str(&begun).expect("JSON");
        let task = begun["taskId"].as_str().expect("a name");
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            client.request("1", method, task, &about(true, "own", task)).await.result();
            assert_eq!(
                error(&client, method, (true, "other", task)).await,
                (-32602, format!("unknown task: {task}"))
            );
            assert_eq!(error(&client, method, (true, "other", "4711")).await.1, "unknown task: 4711");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn task_of_a_modern_client_is_found_after_a_crash_by_a_name_that_nobody_can_guess() {
    let server = http_probe(&["--era", "modern", "--tasks"]).await;
    let gateway = Gateway::start(&http("probe", server.port)).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let begun: Value = serde_json::from_str(&call(&client, "own", "job", "").await.result()).expect("JSON");
    let task = begun["taskId"].as_str().expect("a name");
    let gateway = gateway.crash().await;
    let client = client.at(gateway.address());
    client.request("1", "tasks/get", task, &about(true, "own", task)).await.result();
    let (code, message) = error(&client, "tasks/get", (true, "own", "7")).await;
    assert_eq!((code, message.as_str()), (-32602, "unknown task: 7"));
    gateway.stop().await;
}
