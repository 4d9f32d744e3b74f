//! Two clients with names at once, in both eras and at servers of both over pipes and over HTTP: nothing of the one ever reaches the
//! other, whatever they do and in whichever order.
//!
//! Each plants a marker of its own in all that it sends: identifiers, progress tokens, arguments, addresses, answers. The servers
//! tell as much of it as they can: each connection that is one client's own remembers what it was told, and has it in every
//! list, result, message and question. No byte of a marker may arrive at the other client.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::access::{Guarded, PATIENCE, bearer};
use crate::client::LEGACY;
use crate::gateway::HttpUpstream;
use crate::scripted::{Script, http_script};
use crate::upstreams::http;

/// What the servers have in common: `does` answers a request from what its connection remembers.
const COMMON: &str = r#"
import re, uuid
MARKER = "marker-[ab]-[0-9]+"
names = ["say", "ask", "job", "touch"]
capabilities = {"tools": {}, "prompts": {}, "resources": {"subscribe": True}, "completions": {}, "logging": {},
    "tasks": {"list": {}, "cancel": {}}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
jobs, lists = {}, {"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources", "resources/templates/list": "resourceTemplates"}
def does(message, memory):
    params = message.get("params") or {}
    memory.update(re.findall(MARKER, json.dumps(message)))
    told, method = " ".join(sorted(memory)), message["method"]
    if method == "tools/list":
        return {"tools": [{"name": name, "description": told, "inputSchema": {"type": "object"}} for name in names]}
    if method == "prompts/list":
        return {"prompts": [{"name": "prompt", "description": told}]}
    if method == "resources/list":
        return {"resources": [{"uri": "mem://" + one, "name": one} for one in sorted(memory)]}
    if method == "resources/templates/list":
        return {"resourceTemplates": [{"uriTemplate": "mem://{any}", "name": "any", "description": told}]}
    if method == "resources/read":
        return {"contents": [{"uri": params["uri"], "text": told}]}
    if method == "prompts/get":
        return {"messages": [{"role": "user", "content": {"type": "text", "text": told}}]}
    if method == "completion/complete":
        return {"completion": {"values": sorted(memory)}}
    if method == "tasks/get" and params["taskId"] in jobs:
        return {"taskId": params["taskId"], "status": "working", "statusMessage": jobs[params["taskId"]]}
    if method == "tasks/list":
        return {"tasks": [{"taskId": id, "status": "working", "statusMessage": of} for id, of in jobs.items()]}
    if method == "tools/call" and params["name"] == "job":
        jobs[id := uuid.uuid4().hex] = told
        task = {"taskId": id, "status": "working", "statusMessage": told}
        return {"resultType": "task", **task} if modern else {"task": task}
    if method == "tools/call" and params["name"] == "ask" and modern and "inputResponses" not in params:
        question = {"method": "elicitation/create", "params": {"message": told, "requestedSchema": {"type": "object", "properties": {}}}}
        return {"resultType": "input_required", "inputRequests": {"who": question}, "requestState": told}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": told}]}
def notes(message, told):
    token = ((message.get("params") or {}).get("_meta") or {}).get("progressToken")
    progress = [("progress", {"progressToken": token, "progress": n, "message": told}) for n in (1, 2)] if token is not None else []
    return progress + [("message", {"level": "error", "data": told})]
"#;

/// A server over stdio; of its connection it remembers what it was told in the legacy era, where it need not be anybody else's.
const STDIO: &str = r#"
followed, waiting, own = set(), {}, set()
def tell(method, params): send({"method": "notifications/" + method, "params": params})
def handle(message):
    method, memory = message.get("method"), set() if modern else own
    if method is None:
        own.update(re.findall(MARKER, json.dumps(message)))
        reply(waiting.pop(message["id"]), {"content": [{"type": "text", "text": " ".join(sorted(own))}]})
        return True
    if method in ("initialize", "server/discover", "ping"):
        return False
    if method in ("resources/subscribe", "resources/unsubscribe"):
        (followed.add if method == "resources/subscribe" else followed.discard)(message["params"]["uri"])
        reply(message, {})
        return True
    result = does(message, memory)
    if result is None:
        return False
    for note in notes(message, " ".join(sorted(memory))): tell(*note)
    name = message["params"]["name"] if method == "tools/call" else ""
    if name == "touch":
        for uri in sorted(followed): tell("resources/updated", {"uri": uri})
    if name == "ask" and not modern:
        waiting[id := str(uuid.uuid4())] = message
        question = {"message": " ".join(sorted(own)), "requestedSchema": {"type": "object", "properties": {}}}
        send({"id": id, "method": "elicitation/create", "params": question})
        return True
    reply(message, {"resultType": "complete", "ttlMs": 60000, "cacheScope": "private", **result} if modern else result)
    return True
"#;

/// The same over HTTP; it remembers what it was told in each session.
const HTTP: &str = r#"
sessions_told = {}
def post(handler, message):
    if message.get("method") in (None, "initialize", "server/discover", "ping"):
        return False
    memory = set() if modern else sessions_told.setdefault(handler.headers["Mcp-Session-Id"], set())
    result = does(message, memory)
    if result is None:
        return False
    notes_ = [{"jsonrpc": "2.0", "method": "notifications/" + method, "params": params} for method, params in notes(message, " ".join(sorted(memory)))]
    done = {"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete", "ttlMs": 60000, "cacheScope": "private", **result}}
    body = "".join("data: " + json.dumps(one) + "\n\n" for one in notes_ + [done]).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    return True
"#;

/// The upstreams: one of each era over each transport.
const UPSTREAMS: [&str; 4] = ["pipe", "web", "newpipe", "newweb"];

/// Random numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    /// One below this.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }
}

/// One client, in both eras.
struct Party {
    /// Where the gateway listens.
    address: String,
    /// Its token.
    token: String,
    /// Its legacy session.
    session: String,
    /// What it has in all that it sends, beside a number.
    marker: &'static str,
    /// How the other one's markers begin.
    foreign: &'static str,
    /// What both do now.
    step: Mutex<String>,
    /// What has arrived over its streams.
    heard: Arc<Mutex<String>>,
    /// Its tasks, each with the path and whether it is modern.
    tasks: Mutex<Vec<(String, String, bool)>>,
    /// The states of its rounds, each with the path.
    rounds: Mutex<Vec<(Value, String)>>,
}

/// What is done to a client in one step.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// A tool is called.
    Say,
    /// A tool that asks.
    Ask,
    /// A tool that becomes a task, which is asked for then.
    Job,
    /// Whatever can be listed.
    Lists,
    /// A resource is followed, read, and changed.
    Follow,
    /// A prompt and a completion.
    Prompt,
    /// What is the other one's: its session, task and round.
    Foreign,
}

/// All of them.
const ACTS: [Act; 7] = [Act::Say, Act::Ask, Act::Job, Act::Lists, Act::Follow, Act::Prompt, Act::Foreign];

impl Party {
    /// Sees that nothing of the other one is in what has arrived.
    fn check(&self, what: &str, arrived: &str) {
        let (step, foreign) = (self.step.lock(), self.foreign);
        assert!(
            !arrived.contains(foreign),
            "{step}: {} is told of {foreign} by {what}: {arrived}",
            self.marker
        );
    }

    /// Sends a request and reads the answer to its end; a question is answered in the session that it is of.
    async fn exchange(&self, head: &str, lines: &[String], body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.expect("somebody listens");
        let mut request = format!(
            "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n{}\r\n",
            body.len(),
            bearer(&self.token)
        );
        for line in lines.iter().map(String::as_str).chain([""]) {
            request.extend([line, "\r\n"]);
        }
        request.push_str(body);
        let mut text = String::new();
        let exchange = async {
            stream.write_all(request.as_bytes()).await.expect("it works");
            let mut bytes = vec![0; 16 << 10];
            let mut answered = false;
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                text += &String::from_utf8_lossy(&bytes[..count]);
                if !answered && !lines.iter().any(|line| line.contains("2026")) {
                    answered = self.answer_question(&text).await;
                }
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, exchange).await;
        assert!(in_time.is_ok(), "no end of the answer to {head} {body}: {text}");
        self.check(&format!("{head} {body}"), &text);
        text
    }

    /// Answers the question in what has arrived, if there is one that is whole; whether there was.
    async fn answer_question(&self, text: &str) -> bool {
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let messages = events.filter_map(|event| serde_json::from_str::<Value>(event).ok());
        let Some(question) = messages.into_iter().find(|message| message["method"] == "elicitation/create")
        else {
            return false;
        };
        self.check("a question", text);
        let result = json!({ "action": "accept", "content": { "key": self.marker_of(0) } });
        let body = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result }).to_string();
        let answer = Box::pin(self.exchange("POST /mcp", &self.lines(None, ""), &body)).await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        true
    }

    /// Its marker with a number.
    fn marker_of(&self, number: usize) -> String {
        format!("{}{number}", self.marker)
    }

    /// The lines of the head: those of a session, or of a modern request of this method and name.
    fn lines(&self, modern: Option<&str>, name: &str) -> Vec<String> {
        match modern {
            None => {
                vec![format!("Mcp-Session-Id: {}", self.session), format!("MCP-Protocol-Version: {LEGACY}")]
            }
            Some(method) => {
                let mut lines =
                    vec!["MCP-Protocol-Version: 2026-07-28".to_owned(), format!("Mcp-Method: {method}")];
                lines.extend((!name.is_empty()).then(|| format!("Mcp-Name: {name}")));
                lines
            }
        }
    }

    /// Sends a request in one era; the answer.
    async fn ask(&self, modern: bool, path: &str, method: &str, mut params: Value, number: usize) -> String {
        let marker = self.marker_of(number);
        params["_meta"] = json!({ "progressToken": marker, "vendor": marker });
        if modern {
            let capabilities = json!({ "elicitation": { "form": {} }, "extensions": { "io.modelcontextprotocol/tasks": {} } });
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
            params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({ "name": "same", "version": "1" });
            params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("debug");
        }
        let name = ["name", "uri", "taskId"]
            .iter()
            .find_map(|key| params[key].as_str())
            .unwrap_or_default()
            .to_owned();
        let body = json!({ "jsonrpc": "2.0", "id": marker, "method": method, "params": params }).to_string();
        let lines = self.lines(modern.then_some(method), &name);
        self.exchange(&format!("POST {path}"), &lines, &body).await
    }

    /// Calls a tool of an upstream.
    async fn call(&self, modern: bool, (path, tool): (&str, &str), more: Value, number: usize) -> String {
        let mut params = json!({ "name": tool, "arguments": { "key": self.marker_of(number) } });
        if let (Value::Object(params), Value::Object(more)) = (&mut params, more) {
            params.extend(more);
        }
        self.ask(modern, path, "tools/call", params, number).await
    }

    /// One step at an upstream.
    async fn act(&self, act: Act, (modern, upstream): (bool, &'static str), other: &Self, number: usize) {
        let (single, own) = (format!("/mcp/{upstream}"), self.marker_of(number));
        // Legacy sessions are at the endpoint of all.
        let path = if modern { single.as_str() } else { "/mcp" };
        let tool = |name: &str| if modern { name.to_owned() } else { format!("{upstream}_{name}") };
        match act {
            Act::Say => {
                let answer = self.call(modern, (path, &tool("say")), json!({}), number).await;
                assert!(answer.matches(&own).count() > 1, "{answer}");
            }
            Act::Ask if !modern || upstream.starts_with("new") => {
                let answer = self.call(modern, (path, &tool("ask")), json!({}), number).await;
                assert!(answer.contains(&own), "{answer}");
            }
            Act::Ask => self.round(path, number).await,
            Act::Job => {
                let answer = self.call(modern, (path, &tool("job")), json!({}), number).await;
                if let Some(task) =
                    last(&answer).pointer(if modern { "/result/taskId" } else { "/result/task/taskId" })
                {
                    let (id, uri) = (task.as_str().expect("a text").to_owned(), task.clone());
                    let told = self.ask(modern, path, "tasks/get", json!({ "taskId": uri }), number).await;
                    assert!(told.contains(&own), "{told}");
                    self.tasks.lock().push((id, path.to_owned(), modern));
                }
                if !modern {
                    self.ask(false, "/mcp", "tasks/list", json!({}), number).await;
                }
            }
            Act::Lists => {
                for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
                    let answer = self.ask(modern, path, method, json!({}), number).await;
                    assert!(answer.contains("\"result\""), "{answer}");
                }
            }
            Act::Follow => {
                let uri = json!({ "uri": format!("mem://{own}") });
                if !modern {
                    self.ask(false, path, "resources/subscribe", uri.clone(), number).await;
                }
                self.ask(modern, path, "resources/read", uri, number).await;
                self.call(modern, (path, &tool("touch")), json!({}), number).await;
            }
            Act::Prompt => {
                let prompt = json!({ "name": tool("prompt"), "arguments": { "key": own } });
                let answer = self.ask(modern, path, "prompts/get", prompt, number).await;
                assert!(answer.contains(&own), "{answer}");
                let argument = json!({ "name": "key", "value": own });
                let of =
                    json!({ "ref": { "type": "ref/prompt", "name": tool("prompt") }, "argument": argument });
                let answer = self.ask(modern, path, "completion/complete", of, number).await;
                assert!(answer.contains(&own), "{answer}");
            }
            Act::Foreign => self.intrude(other, number).await,
        }
    }

    /// A round: the question of a legacy server to a modern client; it is left open, or answered.
    async fn round(&self, path: &str, number: usize) {
        let first = last(&self.call(true, (path, "ask"), json!({}), number).await);
        let Some(state) = first["result"]["requestState"].as_str() else { return };
        let question = first["result"]["inputRequests"]
            .as_object()
            .and_then(|all| all.keys().next())
            .expect("a question");
        let answers =
            json!({ question: { "action": "accept", "content": { "key": self.marker_of(number) } } });
        let more = json!({ "requestState": state, "inputResponses": answers, "arguments": { "key": self.marker_of(number) } });
        if number.is_multiple_of(2) {
            self.rounds.lock().push((more, path.to_owned()));
            return;
        }
        let answer = self.call(true, (path, "ask"), more, number).await;
        assert!(answer.contains(&self.marker_of(number)) && answer.contains("\"content\""), "{answer}");
    }

    /// Tries what is the other one's; none of it is there, and none of it is harmed.
    async fn intrude(&self, other: &Self, number: usize) {
        let lines =
            vec![format!("Mcp-Session-Id: {}", other.session), format!("MCP-Protocol-Version: {LEGACY}")];
        let list =
            json!({ "jsonrpc": "2.0", "id": self.marker_of(number), "method": "tools/list" }).to_string();
        for (method, body) in [("POST", list.as_str()), ("GET", ""), ("DELETE", "")] {
            let answer = self.exchange(&format!("{method} /mcp"), &lines, body).await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{method}: {answer}");
        }
        let tasks = other.tasks.lock().clone();
        for (task, path, modern) in tasks.iter().rev().take(3) {
            for method in ["tasks/get", "tasks/cancel"] {
                let answer = self.ask(*modern, path, method, json!({ "taskId": task }), number).await;
                assert!(answer.contains("unknown task"), "{answer}");
            }
        }
        let round = other.rounds.lock().pop();
        if let Some((more, path)) = round {
            // It sends what it cannot have: what the other one's marker is replaced by its own in it, apart from the state.
            let text = more.to_string().replace(other.marker, self.marker);
            let own = serde_json::from_str(&text).expect("JSON");
            let answer = self.call(true, (&path, "ask"), own, number).await;
            assert!(answer.contains("\"error\"") || answer.contains("input_required"), "{answer}");
            let answer = other.call(true, (&path, "ask"), more, number).await;
            assert!(answer.contains("\"content\""), "the round is its client's still: {answer}");
        }
    }

    /// Listens to its session, or to changes in the modern era, for as long as the connection is.
    async fn listen(&self, modern: bool) {
        let mut stream = TcpStream::connect(&self.address).await.expect("somebody listens");
        let (first, body, lines) = if modern {
            let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
            let uris: Vec<_> = (0..200).map(|number| format!("mem://{}", self.marker_of(number))).collect();
            let wanted = json!({ "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": uris });
            let params = json!({ "notifications": wanted, "_meta": meta });
            let body = json!({ "jsonrpc": "2.0", "id": self.marker_of(0), "method": "subscriptions/listen", "params": params });
            ("POST /mcp", body.to_string(), self.lines(Some("subscriptions/listen"), ""))
        } else {
            ("GET /mcp", String::new(), self.lines(None, ""))
        };
        let request = format!(
            "{first} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             Content-Length: {}\r\n{}\r\n{}\r\n\r\n{body}",
            body.len(),
            bearer(&self.token),
            lines.join("\r\n")
        );
        stream.write_all(request.as_bytes()).await.expect("it works");
        let heard = Arc::clone(&self.heard);
        tokio::spawn(async move {
            let mut bytes = vec![0; 16 << 10];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                heard.lock().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
    }
}

/// The last message of an answer.
fn last(answer: &str) -> Value {
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let lines = body.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let messages: Vec<Value> =
        lines.filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect();
    messages.into_iter().next_back().unwrap_or_else(|| panic!("no message in {answer}"))
}

/// A gateway with the upstreams, and its two clients with their streams.
async fn start() -> (Guarded, [Party; 2], Vec<HttpUpstream>, [Script; 2]) {
    let text = |lines: &str, modern: &str| format!("modern = {modern}\n{COMMON}{lines}");
    let scripts = [Script::new(&text(STDIO, "False")), Script::new(&text(STDIO, "True"))];
    let servers = vec![http_script(&text(HTTP, "False")).await, http_script(&text(HTTP, "True")).await];
    let upstreams = [
        scripts[0].upstream(UPSTREAMS[0]),
        http(UPSTREAMS[1], servers[0].port),
        scripts[1].upstream(UPSTREAMS[2]),
        http(UPSTREAMS[3], servers[1].port),
    ];
    let guarded = Guarded::with(upstreams.concat(), "[clients.a]\n[clients.b]\n").await;
    let party = async |name: &str, marker: &'static str, foreign: &'static str| {
        let token = guarded.believed(name).await;
        let capabilities = json!({ "elicitation": {} });
        let session = guarded.begin_with(&token, &capabilities).await;
        let (step, heard, tasks, rounds) = Default::default();
        let address = guarded.address().to_owned();
        let party = Party { address, token, session, marker, foreign, step, heard, tasks, rounds };
        party.listen(false).await;
        party.listen(true).await;
        party
    };
    let parties = [party("a", "marker-a-", "marker-b-").await, party("b", "marker-b-", "marker-a-").await];
    (guarded, parties, servers, scripts)
}

/// So many steps of both at once, by this seed.
async fn live(steps: usize, seed: u64) {
    let (guarded, parties, _servers, _scripts) = start().await;
    let [a, b] = &parties;
    // A question that waits is rare, and somebody else has to try it before its client answers.
    for (asked, other) in [(a, b), (b, a)] {
        asked.act(Act::Ask, (true, "pipe"), other, 2).await;
        assert_eq!(asked.rounds.lock().len(), 1, "it waits");
        other.intrude(asked, 2).await;
    }
    let mut random = Random(seed);
    for number in 1..=steps {
        let mut next =
            || (ACTS[random.below(ACTS.len())], (random.below(2) == 0, UPSTREAMS[random.below(4)]));
        let ((one, at), (other, there)) = (next(), next());
        let step = format!("seed {seed}, step {number}: a {one:?} {at:?}, b {other:?} {there:?}");
        for party in &parties {
            party.step.lock().clone_from(&step);
        }
        tokio::join!(a.act(one, at, b, number), b.act(other, there, a, number));
    }
    for party in &parties {
        let heard = party.heard.lock().clone();
        party.check("its streams", &heard);
        assert!(heard.contains("200 OK"), "{heard}");
    }
    guarded.stop().await;
}

#[tokio::test]
async fn neither_of_two_clients_is_ever_told_anything_of_the_other() {
    live(40, 20_261_130).await;
}

#[tokio::test]
async fn neither_of_two_clients_of_a_release_only_is_ever_told_anything_of_the_other() {
    for seed in 0..20 {
        live(200, seed).await;
    }
}
