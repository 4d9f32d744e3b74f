//! Tasks behind an endpoint of several upstreams, and across the eras.

use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::client::{Client, MODERN_META, open};
use crate::following::wait;
use crate::gateway::Gateway;
use crate::scripted::{Script, http_script};
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

/// A server that begins the tasks that it is told to, tells of any task to all who listen for some, and says which these were.
/// Those that are called `declined` it does not acknowledge.
const TELLS: &str = r#"
modern = True
capabilities = {"tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
tools = ["job", "tell", "asked"]
streams, asked = [], []
def listen(message, send):
    wanted = message["params"]["notifications"].get("taskIds")
    if wanted is None: return
    asked.append(wanted)
    tag = {"_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]}}
    tell = lambda method, params: send({"method": method, "params": {**params, **tag}})
    tell("notifications/subscriptions/acknowledged", {"notifications": {"taskIds": [task for task in wanted if "declined" not in task]}})
    streams.append(tell)
def answer(message):
    name, arguments = message["params"]["name"], message["params"]["arguments"]
    if name == "job":
        return {"resultType": "task", "taskId": arguments["task"], "status": "working"}
    for tell in streams if name == "tell" else ():
        for task in arguments["tasks"]:
            tell("notifications/tasks", {"taskId": task, "status": "completed", "by": by, "result": {"z": 1, "a": 2}})
    return {"resultType": "complete", "content": [{"type": "text", "text": json.dumps(asked)}]}
"#;

/// The same over stdio.
const TELLS_STDIO: &str = r#"
def handle(message):
    if message["method"] == "subscriptions/listen": listen(message, send)
    elif message["method"] == "tools/call": reply(message, answer(message))
    else: return False
    return True
"#;

/// The same over HTTP.
const TELLS_HTTP: &str = r#"
def post(handler, message):
    def send(message):
        try: handler.wfile.write(b"data: " + json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n\n")
        except OSError: pass  # Nobody listens any more.
    if message["method"] == "tools/call":
        handler.result(message, answer(message))
    elif message["method"] == "subscriptions/listen":
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        listen(message, send)
        threading.Event().wait()
    else:
        return False
    return True
"#;

/// The `_meta` of a client of this name that speaks of tasks.
fn speaks(name: &str) -> Value {
    let meta = MODERN_META.replace("{}", r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
    let mut meta: Value = serde_json::from_str(&format!("{{{meta}}}")).expect("JSON");
    meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": name, "version": "1" });
    meta
}

/// Opens a stream of changes of these tasks, for a client of this name; returns it with the tasks that it is told it hears of.
async fn follow(gateway: &Gateway, path: &str, name: &str, tasks: &[&str]) -> (Incoming, Value) {
    let params = json!({ "notifications": { "taskIds": tasks }, "_meta": speaks(name) });
    let body = json!({ "jsonrpc": "2.0", "id": "l", "method": "subscriptions/listen", "params": params });
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let answer = open(gateway.address(), http::Method::POST, path, &headers, &body.to_string()).await;
    let mut stream = answer.into_body();
    let begun = wait(&mut stream, &["subscriptions/acknowledged", "\n\n"]).await;
    let data = begun.lines().find_map(|line| line.strip_prefix("data: ")).expect("a message");
    let begun: Value = serde_json::from_str(data).expect("JSON");
    (stream, begun["params"]["notifications"]["taskIds"].clone())
}

/// Who has not declared the extension is told what it lacks, whatever is behind the endpoint.
async fn refuses_who_does_not_speak_of_tasks(gateway: &Gateway, paths: &[&str]) {
    let params = format!(r#"{{"notifications":{{"taskIds":["x"]}},"_meta":{{{MODERN_META}}}}}"#);
    for path in paths {
        let client = Client::modern(gateway.address(), path);
        let answer = client.request("1", "subscriptions/listen", "", &params).await;
        assert_eq!(answer.status, 400, "{path}");
        let error: Value = serde_json::from_str(&answer.raw_error()).expect("JSON");
        let required = &error["data"]["requiredCapabilities"]["extensions"];
        assert_eq!(error["code"], -32021, "{path} {error}");
        assert!(required["io.modelcontextprotocol/tasks"].is_object(), "{path} {error}");
    }
}

#[tokio::test]
async fn stream_of_changes_tells_of_the_clients_own_tasks_and_their_server_only() {
    let one = Script::new(&format!("{TELLS}by = \"one\"\n{TELLS_STDIO}"));
    let two = http_script(&format!("{TELLS}by = \"two\"\n{TELLS_HTTP}")).await;
    let old = probe("old", &["--era", "legacy", "--tasks"]);
    let gateway = Gateway::start(&(one.upstream("one") + &http("two", two.port) + &old)).await;
    refuses_who_does_not_speak_of_tasks(&gateway, &["/mcp", "/mcp/one", "/mcp/two", "/mcp/old"]).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let call = async |name: &str, tool: &str, arguments: Value| {
        let params = json!({ "name": tool, "arguments": arguments, "_meta": speaks(name) });
        let answer = client.request("1", "tools/call", tool, &params.to_string()).await;
        serde_json::from_str::<Value>(&answer.result()).expect("JSON")
    };
    for (name, tool, task) in [
        ("me", "one_job", "one-own"),
        ("me", "one_job", "one-declined"),
        ("me", "two_job", "two-own"),
        ("me", "two_job", "two-declined"),
        ("other", "one_job", "foreign"),
    ] {
        assert_eq!(call(name, tool, json!({ "task": task })).await["taskId"], task);
    }
    let all =
        ["one-own", "one-declined", "two-own", "two-declined", "foreign", "nobodys-task-of-a-long-name"];
    let (mut merged, told) = follow(&gateway, "/mcp", "me", &all).await;
    assert_eq!(told, json!(["one-own", "two-own"]));
    for (path, own) in
        [("/mcp/one", json!(["one-own"])), ("/mcp/two", json!(["two-own"])), ("/mcp/old", Value::Null)]
    {
        assert_eq!(follow(&gateway, path, "me", &all).await.1, own, "{path}");
    }
    assert_eq!(follow(&gateway, "/mcp", "other", &all).await.1, json!(["foreign"]));
    let (mut single, _) = follow(&gateway, "/mcp/two", "me", &all).await;
    // What is not the server's comes first.
    for (server, own) in [("one", "one-own"), ("two", "two-own")] {
        let others =
            ["foreign", "one-own", "two-own", "one-declined"].into_iter().filter(|task| *task != own);
        let tasks: Vec<_> = others.chain([own]).collect();
        let asked = call("me", &format!("{server}_tell"), json!({ "tasks": tasks })).await;
        let asked = asked["content"][0]["text"].as_str().expect("text").to_owned();
        let elsewhere = if server == "one" { "two-" } else { "one-" };
        assert!(!asked.contains(elsewhere) && !asked.contains("nobodys"), "{server} {asked}");
    }
    for (stream, told) in [(&mut merged, vec!["one", "two"]), (&mut single, vec!["two"])] {
        let wanted: Vec<_> =
            told.iter().map(|by| format!(r#""by": "{by}", "result": {{"z": 1, "a": 2}}"#)).collect();
        let text = wait(stream, &wanted.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(text.matches("notifications/tasks").count(), told.len(), "{text}");
        assert_eq!(text.matches(r#"subscriptionId": "l""#).count(), told.len(), "{text}");
        for by in told {
            assert!(text.contains(&format!(r#""taskId": "{by}-own""#)), "{text}");
        }
    }
    gateway.stop().await;
}

/// A legacy server whose tasks are named by who begins them; `tell` tells of the progress of one, and `end` ends one.
const REPORTS: &str = r#"
capabilities = {"tools": {}, "tasks": {"list": {}, "requests": {"tools": {"call": {}}}}}
tokens, statuses = {}, {}
def answer(message, progress):
    """What the request is answered with, and what is told after that."""
    method, params = message.get("method"), message.get("params") or {}
    arguments = params.get("arguments") or {}
    task = arguments.get("task") or params.get("taskId")
    if method == "tools/call" and "task" in params:
        tokens[task], statuses[task] = params["_meta"]["progressToken"], "working"
        progress(message, tokens[task], 1)
        return {"task": {"taskId": task, "status": "working"}}, 2
    if method == "tools/call":
        statuses[task] = arguments["status"]
        return {"content": [{"type": "text", "text": json.dumps(tokens[task])}]}, arguments["progress"]
    if method == "tasks/get":
        return {"taskId": task, "status": statuses[task]}, None
    return None, None
"#;

/// The same over stdio.
const REPORTS_STDIO: &str = r#"
def progress(message, token, value):
    send({"method": "notifications/progress", "params": {"progressToken": token, "progress": value}})
def handle(message):
    result, value = answer(message, progress)
    if result is None: return False
    reply(message, result)
    if value: progress(message, tokens[(message["params"].get("arguments") or {})["task"]], value)
    return True
"#;

/// The same over HTTP: what is told goes to the stream of the session.
const REPORTS_HTTP: &str = r#"
import queue
told = {}
def get(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.end_headers()
    mine = told.setdefault(handler.headers["Mcp-Session-Id"], queue.Queue())
    while True:
        handler.wfile.write(b"data: " + json.dumps(mine.get()).encode() + b"\n\n")
        handler.wfile.flush()
def post(handler, message):
    def progress(message, token, value):
        params = {"progressToken": token, "progress": value}
        mine = told.setdefault(handler.headers["Mcp-Session-Id"], queue.Queue())
        mine.put({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    result, value = answer(message, progress)
    if result is None: return False
    handler.result(message, result)
    if value: progress(message, tokens[(message["params"].get("arguments") or {})["task"]], value)
    return True
"#;

/// Two clients that give their tasks the same token hear of the progress of their own one until it has ended.
async fn hear_of_their_own_task(gateway: &Gateway, server: &str) {
    let mut clients = Vec::new();
    for name in ["a", "b"] {
        let client = Client::legacy(gateway.address(), "/mcp").await;
        let mut stream = client.stream().await.into_body();
        let (tool, task) = (format!("{server}_one"), format!("{server}-{name}"));
        let params = json!({
            "name": tool, "arguments": { "task": task }, "task": {}, "_meta": { "progressToken": "t" }
        });
        let begun = client.request("1", "tools/call", "", &params.to_string()).await;
        let mut text = begun.messages().concat();
        assert!(text.contains(&format!(r#""taskId": "{task}""#)), "{text}");
        // Before the answer it comes beside that, where its server has no other way.
        if !text.contains(r#""progress": 1"#) {
            text = wait(&mut stream, &[r#""progress": 1"#]).await;
        }
        assert!(text.contains(r#""progressToken": "t""#), "{text}");
        if !text.contains(r#""progress": 2"#) {
            text = wait(&mut stream, &[r#""progress": 2"#]).await;
        }
        assert!(text.contains(r#""progressToken": "t""#), "{text}");
        clients.push((client, stream, tool, task));
    }
    // Each has a token of its own at the server, and after the end of a task nothing is told of it.
    let mut tokens = Vec::new();
    for (status, progress) in [("working", 3), ("completed", 4), ("completed", 5)] {
        for (client, stream, tool, task) in &mut clients {
            let tell = |task: &str, status: &str, progress: u64| {
                json!({ "task": task, "status": status, "progress": progress }).to_string()
            };
            tokens.push(client.call(tool, &tell(task, status, progress)).await.text());
            if progress < 5 {
                let text = wait(stream, &[&format!(r#""progress": {progress}"#)]).await;
                assert!(text.contains(r#""progressToken": "t""#), "{server} {progress}: {text}");
                client.request("2", "tasks/get", "", &json!({ "taskId": task }).to_string()).await.result();
                continue;
            }
            // It would have come before what is told of another one.
            let next = format!("{task}-next");
            let params = json!({
                "name": tool, "arguments": { "task": next }, "task": {}, "_meta": { "progressToken": "next" }
            });
            client.request("3", "tools/call", "", &params.to_string()).await.result();
            let text = wait(stream, &[r#""progress": 2"#]).await;
            assert!(!text.contains(r#""progress": 5"#), "{server}: {text}");
        }
    }
    assert_ne!(tokens[0], tokens[1], "{server}");
    for (client, ..) in clients {
        client.end().await;
    }
}

#[tokio::test]
async fn progress_of_a_task_has_the_token_of_its_request_until_its_end() {
    let pipes = Script::new(&format!("{REPORTS}{REPORTS_STDIO}"));
    let server = http_script(&format!("{REPORTS}{REPORTS_HTTP}")).await;
    let own = |sharing: &str| format!("sharing = \"{sharing}\"\n");
    let configuration = pipes.upstream("shared")
        + &own("shared")
        + &pipes.upstream("own")
        + &own("per-session")
        + &http("http", server.port);
    let gateway = Gateway::start(&configuration).await;
    for server in ["shared", "own", "http"] {
        hear_of_their_own_task(&gateway, server).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn progress_of_a_clients_task_reaches_the_server_that_has_begun_it_after_the_first_answer() {
    let lines = r#"
seen, called = [], []
class Reader:
    def __init__(self, lines): self.lines = lines
    def __iter__(self):
        for line in self.lines:
            if "notifications/progress" in line: seen.append(json.loads(line)["params"])
            yield line
sys.stdin = Reader(sys.stdin)
def handle(message):
    if "method" in message: return False
    reply(called.pop(), text(json.dumps(message["result"])))
    return True
def call(message, name):
    if "seen" in message["params"]["arguments"]: return json.dumps(seen)
    called.append(message)
    params = {"messages": [], "maxTokens": 1, "task": {}, "_meta": {"progressToken": "theirs"}}
    send({"id": "q", "method": "sampling/createMessage", "params": params})
"#;
    let script = Script::new(lines);
    let own = "sharing = \"per-session\"\n";
    let gateway = Gateway::start(&(script.upstream("a") + own + &probe("b", &[]))).await;
    let able = r#"{"sampling":{},"tasks":{"requests":{"sampling":{"createMessage":{}}}}}"#;
    let client = Client::legacy_with(gateway.address(), "/mcp", able).await;
    let [session, version] = client.session_headers();
    let headers = [
        session,
        version,
        ("accept", "text/event-stream, application/json"),
        ("content-type", "application/json"),
    ];
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a_one","arguments":{}}}"#;
    let mut stream = open(gateway.address(), http::Method::POST, "/mcp", &headers, call).await.into_body();
    let text = wait(&mut stream, &["sampling/createMessage", "\n\n"]).await;
    let asked =
        text.lines().find_map(|line| line.strip_prefix("data: ").filter(|data| data.contains("maxTokens")));
    let asked: Value = serde_json::from_str(asked.expect("a question")).expect("JSON");
    let begun = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "task": { "taskId": "x", "status": "working" } } });
    client.post("", "", &begun.to_string()).await;
    wait(&mut stream, &["taskId"]).await;
    let token = &asked["params"]["_meta"]["progressToken"];
    let progress = json!({
        "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": token, "progress": 7 }
    });
    assert_eq!(client.post("", "", &progress.to_string()).await.status, 202);
    let seen = client.call("a_one", r#"{"seen":1}"#).await.text();
    assert_eq!(seen, r#"[{"progress": 7, "progressToken": "theirs"}]"#);
    gateway.stop().await;
}

#[tokio::test]
async fn parameter_says_which_task_is_meant_whatever_the_metadata_says() {
    let upstream = |name: &str| probe(name, &["--era", "legacy", "--name", name, "--tasks"]);
    let gateway = Gateway::start(&(upstream("a") + &upstream("b"))).await;
    for path in ["/mcp", "/mcp/a"] {
        let client = Client::legacy(gateway.address(), path).await;
        let prefix = if path == "/mcp" { "a_" } else { "" };
        let meant = begin_legacy(&client, &format!("{prefix}job")).await;
        let other = if path == "/mcp" { begin_legacy(&client, "b_job").await } else { "none".to_owned() };
        let related = json!({ "io.modelcontextprotocol/related-task": { "taskId": other } });
        let params = json!({ "taskId": meant, "_meta": related }).to_string();
        for method in ["tasks/get", "tasks/cancel"] {
            let answer = client.request("1", method, "", &params).await.result();
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            assert_eq!(
                (&answer["server"], &answer["taskId"]),
                (&json!("a"), &json!(meant)),
                "{path} {method}"
            );
        }
    }
    gateway.stop().await;
}
