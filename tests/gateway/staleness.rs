//! Lists that change while nobody tells, or while what is told is lost: what clients see ends up as after a fresh start.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::client::{Client, MODERN_META, open, post};
use crate::gateway::{Gateway, HttpUpstream};
use crate::scripted::{Script, http_script};
use crate::upstreams::http;

/// More than the longest time that a list is trusted without a stream.
const PATIENCE: Duration = Duration::from_secs(90);

/// More than the longest time that a list is trusted where a stream is open.
const SILENT: Duration = Duration::from_secs(400);

/// An HTTP server of all lists, which does as the test says: `test/set` changes lists without a word, `test/tell` tells of
/// changes, `test/cut` ends all streams, `test/forget` ends all sessions, `test/options` sets what it is like.
const LISTER: &str = r#"
import queue
names = {"tools": ["one"], "prompts": ["one"], "resources": ["test://one"], "resourceTemplates": ["test://one/{x}"]}
lists = {"tools/list": ("tools", "name"), "prompts/list": ("prompts", "name"), "resources/list": ("resources", "uri"),
         "resources/templates/list": ("resourceTemplates", "uriTemplate")}
capabilities = {"tools": {"listChanged": True}, "prompts": {"listChanged": True},
                "resources": {"listChanged": True, "subscribe": True}}
options = {"streams": True, "hints": {}, "unknown": 400, "version": "1", "logs": 0}
open_streams = set()
counts = {}
guard = threading.Lock()

def everywhere(message):
    with guard:
        for stream in list(open_streams):
            stream[0].put(message)

def note(method, params=None):
    return {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}

def stream(handler, first=None, about=None):
    mine = (queue.Queue(), about)
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    def write(message):
        if about is not None:
            message = {**message, "params": {**message.get("params", {}), "_meta": {"io.modelcontextprotocol/subscriptionId": about}}}
        handler.wfile.write(b"data: " + json.dumps(message).encode() + b"\n\n")
        handler.wfile.flush()
    with guard:
        open_streams.add(mine)
    try:
        if first:
            write(first)
        handler.wfile.write(b": here\n\n")
        handler.wfile.flush()
        while (message := mine[0].get()) is not None:
            write(message)
    except OSError:
        pass
    finally:
        with guard:
            open_streams.discard(mine)

def post(handler, message):
    method, params = message.get("method"), message.get("params", {})
    counts[method] = counts.get(method, 0) + 1
    def done(result={}):
        handler.answer(200, {"id": 0, "result": result})
        return True
    if method == "test/set":
        names.update(params)
        return done()
    if method == "test/options":
        options.update(params)
        return done()
    if method == "test/tell":
        for _ in range(options["logs"]):
            everywhere(note("notifications/message", {"level": "info", "data": "x"}))
        for kind in params["kinds"]:
            everywhere(note(f"notifications/{kind}/list_changed"))
        for _ in range(options["logs"]):
            everywhere(note("notifications/message", {"level": "info", "data": "x"}))
        for uri in params.get("uris", []):
            everywhere(note("notifications/resources/updated", {"uri": uri}))
        return done()
    if method == "test/forget":
        sessions.clear()
    if method in ("test/cut", "test/forget"):
        everywhere(None)
        return done()
    if method == "test/counts":
        return done({**counts, "streams": len(open_streams)})
    if not modern and method != "initialize" and handler.headers.get("Mcp-Session-Id") not in sessions:
        if "id" not in message:
            handler.answer(400)
            return True
        error = {"code": -32000, "message": "Bad Request: No valid session ID provided"}
        handler.answer(options["unknown"], {"id": message["id"], "error": error})
        return True
    if method == "server/discover" and modern:
        handler.result(message, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities,
                                 "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "lister", "version": options["version"]}}})
        return True
    if method in lists:
        member, key = lists[method]
        items = [{key: name, "name": name, "inputSchema": {"type": "object"}} for name in names[member]]
        handler.answer(200, {"id": message["id"], "result": {"resultType": "complete", member: items, **options["hints"]}})
        return True
    if method in ("resources/subscribe", "resources/unsubscribe", "logging/setLevel"):
        handler.result(message, {})
        return True
    if method == "subscriptions/listen" and modern and options["streams"]:
        told = {f"{kind}ListChanged": True for kind in ("tools", "prompts", "resources")}
        stream(handler, note("notifications/subscriptions/acknowledged", {"notifications": told}), message["id"])
        return True
    return False

def get(handler):
    if not options["streams"] or modern:
        return False
    if handler.headers.get("Mcp-Session-Id") not in sessions:
        handler.answer(options["unknown"])
        return True
    stream(handler)
    return True
"#;

/// The four lists: the method, the member of the result, the member that names an item, and the notification.
const LISTS: [[&str; 4]; 4] = [
    ["tools/list", "tools", "name", "notifications/tools/list_changed"],
    ["prompts/list", "prompts", "name", "notifications/prompts/list_changed"],
    ["resources/list", "resources", "uri", "notifications/resources/list_changed"],
    ["resources/templates/list", "resourceTemplates", "uriTemplate", "notifications/resources/list_changed"],
];

/// The server of all lists.
struct Lister {
    /// Where it is.
    port: u16,
    /// Its process.
    _process: HttpUpstream,
}

impl Lister {
    /// Starts one that is like this.
    async fn start(modern: bool, options: Value) -> Self {
        Self::start_at(0, modern, options).await
    }

    /// The same on a port.
    async fn start_at(port: u16, modern: bool, options: Value) -> Self {
        let modern = if modern { "True" } else { "False" };
        let process = http_script(&format!("{LISTER}\nmodern = {modern}\nport = {port}\n")).await;
        let lister = Self { port: process.port, _process: process };
        lister.control("options", options).await;
        lister
    }

    /// Has it do something.
    async fn control(&self, what: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": format!("test/{what}"), "params": params });
        let answer = post(&format!("127.0.0.1:{}", self.port), "/mcp", &[], &body.to_string()).await;
        serde_json::from_str(&answer.result()).expect("JSON")
    }

    /// Makes each list have one item of this name, without a word.
    async fn set(&self, name: &str) {
        let uri = format!("test://{name}");
        let names = json!({
            "tools": [name], "prompts": [name], "resources": [uri], "resourceTemplates": [format!("{uri}/{{x}}")]
        });
        self.control("set", names).await;
    }

    /// Its section of the configuration, beside another server's so that lists are merged.
    fn configuration(&self, rest: &str) -> String {
        let other = Script::new("");
        let text = format!("{}{rest}\n{}", http("lister", self.port), other.upstream("other"));
        // It is needed as long as the test runs.
        std::mem::forget(other);
        text
    }

    /// Waits until so many streams are open.
    async fn streams(&self, count: u64) {
        let opened = async {
            while self.control("counts", json!({})).await["streams"].as_u64() < Some(count) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, opened).await.expect("a stream is opened");
    }
}

/// What one client sees of the lister's list, by the names that the server knows.
async fn seen(client: &Client, [method, member, key, _]: [&str; 4]) -> Vec<String> {
    let (names, _) = seen_with(client, [method, member, key, ""]).await;
    names
}

/// The same, with the whole result.
async fn seen_with(client: &Client, [method, member, key, _]: [&str; 4]) -> (Vec<String>, Value) {
    let params = match client.era {
        crate::client::Era::Legacy(_) => "{}".to_owned(),
        crate::client::Era::Modern => format!(r#"{{"_meta":{{{MODERN_META}}}}}"#),
    };
    let answer = client.request("1", method, "", &params).await;
    let result: Value = serde_json::from_str(&answer.result()).expect("JSON");
    let items = result[member].as_array().expect("a list");
    let names = items.iter().map(|item| item[key].as_str().expect("a name"));
    let own = names.filter(|name| !name.starts_with("other_"));
    (own.map(|name| name.trim_start_matches("lister_").to_owned()).collect(), result)
}

/// What a list is when each has one item of this name.
fn one(name: &str, [_, member, ..]: [&str; 4]) -> Vec<String> {
    vec![match member {
        "resources" => format!("test://{name}"),
        "resourceTemplates" => format!("test://{name}/{{x}}"),
        _ => name.to_owned(),
    }]
}

/// Waits until the client sees this name in all lists.
async fn sees(client: &Client, name: &str) {
    let seeing = async {
        for list in LISTS {
            while seen(client, list).await != one(name, list) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let waited = tokio::time::timeout(PATIENCE, seeing).await;
    assert!(waited.is_ok(), "not `{name}` but {:?}", seen(client, LISTS[0]).await);
}

/// The notifications of all lists.
fn all_changes() -> Vec<&'static str> {
    LISTS.iter().map(|[.., change]| *change).collect()
}

/// A gateway before a lister, with a client of each era and the stream of the legacy one; all lists have been seen.
async fn before(lister: &Lister, rest: &str) -> (Gateway, Client, Client, Incoming) {
    let gateway = Gateway::start(&lister.configuration(rest)).await;
    let (legacy, modern) =
        (Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp"));
    let stream = legacy.stream().await.into_body();
    sees(&legacy, "one").await;
    sees(&modern, "one").await;
    (gateway, legacy, modern, stream)
}

/// The table of what servers are like: the era, whether they have streams, and the sharing.
const KINDS: [(bool, bool, &str); 6] = [
    (false, true, ""),
    (false, true, "sharing = \"shared\""),
    (false, false, ""),
    (false, false, "sharing = \"shared\""),
    (true, true, ""),
    (true, false, ""),
];

#[tokio::test]
async fn changes_without_a_word_are_seen_after_a_while_where_no_stream_would_tell() {
    let cases =
        KINDS.into_iter().filter(|(_, streams, _)| !streams).map(|(modern, streams, rest)| async move {
            let lister = Lister::start(modern, json!({ "streams": streams })).await;
            let (gateway, legacy, other, mut stream) = before(&lister, rest).await;
            lister.set("two").await;
            // The gateway finds it by itself, and tells.
            wait_for(&mut stream, &all_changes()).await;
            sees(&legacy, "two").await;
            sees(&other, "two").await;
            gateway.stop().await;
        });
    futures_util::future::join_all(cases).await;
}

/// Reads a stream until its text has all of these, for as long as a list may be trusted.
async fn wait_for(stream: &mut Incoming, wanted: &[&str]) -> String {
    let mut text = String::new();
    let read = async {
        while !wanted.iter().all(|wanted| text.contains(wanted)) {
            let frame = stream.frame().await.expect("the stream goes on").expect("a frame");
            text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
        }
    };
    let read = tokio::time::timeout(PATIENCE, read).await;
    assert!(read.is_ok(), "{wanted:?} in {text}");
    text
}

#[tokio::test]
async fn changes_that_are_lost_while_a_stream_is_broken_are_told_when_it_is_open_again() {
    let cases =
        KINDS.into_iter().filter(|(_, streams, _)| *streams).map(|(modern, streams, rest)| async move {
            let lister = Lister::start(modern, json!({ "streams": streams })).await;
            let (gateway, legacy, other, mut stream) = before(&lister, rest).await;
            lister.streams(1).await;
            lister.set("two").await;
            lister.control("cut", json!({})).await;
            wait_for(&mut stream, &all_changes()).await;
            sees(&legacy, "two").await;
            sees(&other, "two").await;
            gateway.stop().await;
        });
    futures_util::future::join_all(cases).await;
}

#[tokio::test]
async fn reopened_stream_of_a_server_that_has_not_changed_tells_nothing() {
    for (modern, _, rest) in KINDS.into_iter().filter(|(_, streams, _)| *streams) {
        let lister = Lister::start(modern, json!({})).await;
        let (gateway, legacy, _, mut stream) = before(&lister, rest).await;
        let lists = |counts: &Value| {
            LISTS.iter().map(|[method, ..]| counts[method].as_u64().unwrap_or(0)).sum::<u64>()
        };
        for _ in 0..3 {
            let before = lists(&lister.control("counts", json!({})).await);
            lister.control("cut", json!({})).await;
            // The gateway has looked.
            let looked = async {
                while lists(&lister.control("counts", json!({})).await) < before + 4 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(PATIENCE, looked).await.expect("it reads the lists again");
            lister.streams(1).await;
        }
        // Whatever is told comes before the answer to this.
        lister.control("tell", json!({ "kinds": ["prompts"] })).await;
        let text = wait_for(&mut stream, &["notifications/prompts/list_changed"]).await;
        assert!(
            !text.contains("tools/list_changed") && !text.contains("resources/list_changed"),
            "{rest}: {text}"
        );
        drop(legacy);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn server_that_is_replaced_behind_its_address_is_seen_without_a_client_doing_anything() {
    let cases = [400, 404].into_iter().flat_map(|unknown| KINDS.map(|kind| (unknown, kind)));
    let cases = cases.map(|(unknown, (modern, streams, rest))| async move {
        let options = json!({ "streams": streams, "unknown": unknown });
        let lister = Lister::start(modern, options.clone()).await;
        let rest = format!("{rest}\nhealth_interval = \"1s\"");
        let (gateway, legacy, other, mut stream) = before(&lister, &rest).await;
        let port = lister.port;
        drop(lister);
        let lister = Lister::start_at(port, modern, options).await;
        lister.control("options", json!({ "version": "2" })).await;
        lister.set("two").await;
        wait_for(&mut stream, &all_changes()).await;
        sees(&legacy, "two").await;
        sees(&other, "two").await;
        gateway.stop().await;
    });
    // A few at once: each has three processes.
    let cases: Vec<_> = cases.collect();
    futures_util::StreamExt::for_each_concurrent(futures_util::stream::iter(cases), 4, |case| case).await;
}

#[tokio::test]
async fn list_holds_as_long_as_its_server_says_and_what_is_left_of_that_is_passed_on() {
    for streams in [true, false] {
        let hints = json!({ "ttlMs": 1500, "cacheScope": "public" });
        let lister = Lister::start(true, json!({ "streams": streams, "hints": hints })).await;
        let (gateway, legacy, modern, _stream) = before(&lister, "").await;
        lister.set("two").await;
        sees(&modern, "two").await;
        sees(&legacy, "two").await;
        let hints = json!({ "ttlMs": 3_600_000, "cacheScope": "public" });
        lister.control("options", json!({ "hints": hints })).await;
        lister.set("three").await;
        sees(&modern, "three").await;
        let ttl = async || seen_with(&modern, LISTS[1]).await.1["ttlMs"].as_u64().expect("a number");
        let first = ttl().await;
        let less = async {
            while ttl().await >= first {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, less).await.expect("it becomes less");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn merged_list_is_complete_and_holds_as_short_and_is_as_private_as_its_strictest_part() {
    let fair = json!({ "ttlMs": 600_000, "cacheScope": "public" });
    let first = Lister::start(true, json!({ "hints": fair })).await;
    let second = Lister::start(true, json!({ "hints": fair })).await;
    let upstreams = http("first", first.port) + &http("second", second.port);
    let gateway = Gateway::start(&upstreams).await;
    let merged = Client::modern(gateway.address(), "/mcp");
    for (number, (hints, ttl, scope)) in [
        (json!({ "ttlMs": 600_000, "cacheScope": "public" }), 1..=600_000, "public"),
        (json!({ "ttlMs": 300_000, "cacheScope": "public" }), 1..=300_000, "public"),
        (json!({ "ttlMs": 600_000, "cacheScope": "private" }), 1..=600_000, "private"),
        (json!({ "ttlMs": 600_000, "cacheScope": "strange" }), 1..=600_000, "private"),
        (json!({ "ttlMs": 600_000 }), 1..=600_000, "private"),
        (json!({ "cacheScope": "public" }), 0..=0, "public"),
        (json!({ "ttlMs": -1, "cacheScope": "public" }), 0..=0, "public"),
        (json!({ "ttlMs": "soon", "cacheScope": "public", "resultType": null }), 0..=0, "public"),
        (json!({}), 0..=0, "private"),
    ]
    .into_iter()
    .enumerate()
    {
        second.control("options", json!({ "hints": hints })).await;
        let name = format!("name{number}");
        second.set(&name).await;
        second.control("tell", json!({ "kinds": ["prompts"] })).await;
        let seen = async {
            loop {
                let (names, result) = seen_with(&merged, LISTS[1]).await;
                if names.iter().any(|shown| shown.ends_with(&name)) {
                    return result;
                }
                second.control("tell", json!({ "kinds": ["prompts"] })).await;
            }
        };
        let result = tokio::time::timeout(PATIENCE, seen).await.expect("it is seen");
        assert!(ttl.contains(&result["ttlMs"].as_u64().expect("a number")), "{hints}: {result}");
        assert_eq!(
            (&result["cacheScope"], &result["resultType"]),
            (&json!(scope), &json!("complete")),
            "{hints}"
        );
    }
    // The endpoint of one server says what that says.
    let single = Client::modern(gateway.address(), "/mcp/second");
    let result = seen_with(&single, LISTS[1]).await.1;
    assert!(result.get("ttlMs").is_none() && result.get("cacheScope").is_none(), "{result}");
    gateway.stop().await;
}

#[tokio::test]
async fn changes_are_told_whatever_else_a_server_says() {
    for (modern, _, rest) in KINDS.into_iter().filter(|(_, streams, _)| *streams) {
        let lister = Lister::start(modern, json!({ "logs": 1500 })).await;
        let (gateway, legacy, _, mut stream) = before(&lister, rest).await;
        let mut quiet = Vec::new();
        for _ in 0..10 {
            let client = Client::legacy(gateway.address(), "/mcp").await;
            seen(&client, LISTS[0]).await;
            quiet.push((client.stream().await.into_body(), client));
        }
        for name in ["two", "three", "four"] {
            lister.set(name).await;
            lister.control("tell", json!({ "kinds": ["tools"] })).await;
            wait_for(&mut stream, &["notifications/tools/list_changed"]).await;
            assert_eq!(seen(&legacy, LISTS[0]).await, [name], "{rest}");
        }
        // Nobody is told of a change that was none.
        lister.control("options", json!({ "logs": 0 })).await;
        lister.control("tell", json!({ "kinds": ["prompts"] })).await;
        for (stream, _) in &mut quiet {
            let text = wait_for(stream, &["notifications/prompts/list_changed"]).await;
            assert!(!text.contains("resources/list_changed"), "{rest}: {text}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn updates_of_many_resources_reach_their_subscriber() {
    for rest in ["", "sharing = \"shared\""] {
        let lister = Lister::start(false, json!({})).await;
        let (gateway, legacy, _, mut stream) = before(&lister, rest).await;
        let uris: Vec<_> = (0..200).map(|number| format!("test://one/{number}")).collect();
        for uri in &uris {
            let params = json!({ "uri": uri }).to_string();
            legacy.request("1", "resources/subscribe", "", &params).await.result();
        }
        lister.streams(if rest.is_empty() { 2 } else { 1 }).await;
        // Many more than anybody wants to hear of.
        let all: Vec<_> =
            (0..3000).map(|number| format!("test://other/{number}")).chain(uris.clone()).collect();
        lister.control("tell", json!({ "kinds": [], "uris": all })).await;
        let mut told = String::new();
        let hearing = async {
            while !uris.iter().all(|uri| told.contains(&format!("\"{uri}\""))) {
                let frame = stream.frame().await.expect("the stream goes on").expect("a frame");
                told += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
            }
        };
        let heard = tokio::time::timeout(PATIENCE, hearing).await;
        assert!(heard.is_ok(), "{rest}: {} of {}", told.matches("test://one/").count(), uris.len());
        gateway.stop().await;
    }
}

/// Something that happens to a server, or a client's doing.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A list changes without a word.
    Set(usize),
    /// It changes, and that is told.
    Tell(usize),
    /// It changes and that is told amid thousands of log lines.
    Loud(usize),
    /// It changes and that is told between streams, when nobody hears it.
    Between(usize),
    /// All streams end.
    Cut,
    /// All sessions end.
    Forget,
    /// A client looks.
    Look(usize),
}

/// A client whose requests have one identifier and therefore take turns.
type Turns = Arc<tokio::sync::Mutex<Client>>;

/// What a client that reads a list again only when it is told sees.
type Cache = Arc<Mutex<[Vec<String>; 4]>>;

/// Keeps what a client has read up to date, by what it is told.
async fn keep(client: Turns, mut stream: Incoming, cache: Cache) {
    let (mut text, mut handled) = (String::new(), [0; 4]);
    while let Some(Ok(frame)) = stream.frame().await {
        text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
        for (place, list) in LISTS.into_iter().enumerate() {
            let told = text.matches(list[3]).count();
            if told > handled[place] {
                handled[place] = told;
                let names = seen(&*client.lock().await, list).await;
                cache.lock().expect("no panic")[place] = names;
            }
        }
    }
}

/// Whatever happens in this order, what clients see in the end is what they see after a fresh start.
/// `end` is what ends the time in which something may be lost, where that is not the age of what was read.
async fn converges((modern, streams, rest): (bool, bool, &str), steps: &[Step], end: Option<Step>) {
    let lister = Lister::start(modern, json!({ "streams": streams })).await;
    let (gateway, legacy, other, stream) = before(&lister, rest).await;
    if streams {
        lister.streams(1).await;
    }
    let (cache, legacy) = (Cache::default(), Turns::new(legacy.into()));
    for (place, list) in LISTS.into_iter().enumerate() {
        let names = seen(&*legacy.lock().await, list).await;
        cache.lock().expect("no panic")[place] = names;
    }
    let keeping = tokio::spawn(keep(Arc::clone(&legacy), stream, Arc::clone(&cache)));
    for (number, step) in steps.iter().chain(&end).enumerate() {
        let set = async |place: usize| {
            let names = one(&format!("n{number}"), LISTS[place]);
            lister.control("set", json!({ LISTS[place][1]: names })).await;
        };
        match *step {
            Step::Set(place) => set(place).await,
            Step::Tell(place) | Step::Loud(place) | Step::Between(place) => {
                if matches!(step, Step::Between(_)) {
                    lister.control("cut", json!({})).await;
                }
                let logs = if matches!(step, Step::Loud(_)) { 1500 } else { 0 };
                lister.control("options", json!({ "logs": logs })).await;
                set(place).await;
                let kind = LISTS[place][3].split('/').nth(1).expect("a kind");
                lister.control("tell", json!({ "kinds": [kind] })).await;
            }
            Step::Cut => drop(lister.control("cut", json!({})).await),
            Step::Forget => drop(lister.control("forget", json!({})).await),
            Step::Look(place) => drop(seen(&other, LISTS[place]).await),
        }
    }
    let fresh = Gateway::start(&lister.configuration(rest)).await;
    let clients = [Client::legacy(fresh.address(), "/mcp").await, Client::modern(fresh.address(), "/mcp")];
    for (place, list) in LISTS.into_iter().enumerate() {
        let truth = seen(&clients[0], list).await;
        assert_eq!(truth, seen(&clients[1], list).await);
        let same = async {
            while seen(&other, list).await != truth
                || seen(&*legacy.lock().await, list).await != truth
                || cache.lock().expect("no panic")[place] != truth
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let patience = if end.is_none() && streams { SILENT } else { PATIENCE };
        let same = tokio::time::timeout(patience, same).await;
        let found = (
            seen(&other, list).await,
            seen(&*legacy.lock().await, list).await,
            cache.lock().expect("no panic")[place].clone(),
        );
        assert!(same.is_ok(), "{modern} {streams} {rest} {steps:?}: {truth:?} but {found:?}");
    }
    keeping.abort();
    fresh.stop().await;
    gateway.stop().await;
}

#[tokio::test]
async fn whatever_is_lost_in_any_order_lists_end_up_as_after_a_fresh_start() {
    use std::io::Write as _;

    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    let step = prop_oneof![
        3 => (0..4_usize).prop_map(Step::Set),
        3 => (0..4_usize).prop_map(Step::Tell),
        2 => (0..4_usize).prop_map(Step::Loud),
        2 => (0..4_usize).prop_map(Step::Between),
        1 => Just(Step::Cut),
        1 => Just(Step::Forget),
        2 => (0..4_usize).prop_map(Step::Look),
    ];
    let steps = proptest::collection::vec(step, 1..16);
    let mut cases = Vec::new();
    for number in 0_u8..18 {
        let seed = [number; 32];
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let steps = steps.new_tree(&mut runner).expect("steps").current();
        let kind = KINDS[usize::from(number) % KINDS.len()];
        let _ = writeln!(std::io::stdout(), "seed {number}: {kind:?} {steps:?}");
        // Where there are streams, they are opened anew at the end; where there are none, lists become old.
        let end = kind.1.then_some(Step::Cut);
        cases.push(async move { converges(kind, &steps, end).await });
    }
    futures_util::StreamExt::for_each_concurrent(futures_util::stream::iter(cases), 6, |case| case).await;
}

#[tokio::test]
#[ignore = "needs six minutes"]
async fn lists_of_a_server_that_tells_nothing_of_a_change_over_an_open_stream_hold_for_a_while_only() {
    let cases = KINDS.into_iter().filter(|(_, streams, _)| *streams).map(|kind| async move {
        let steps = [0, 1, 2, 3].map(Step::Set);
        converges(kind, &steps, None).await;
    });
    futures_util::future::join_all(cases).await;
}

/// A legacy HTTP server without sessions and without streams, which `test/become` makes another one.
const SESSIONLESS: &str = r#"
now = {"capabilities": {"tools": {}}, "session": None, "instructions": "old"}
initialized = []
def post(handler, message):
    method = message.get("method")
    if method == "test/become":
        now.update(message["params"])
        handler.answer(200, {"id": 0, "result": {"initialized": len(initialized)}})
    elif method == "initialize":
        initialized.append(message["params"]["clientInfo"])
        info = {"name": "sessionless", "version": "1"}
        hello = {"protocolVersion": "2025-11-25", "capabilities": now["capabilities"], "serverInfo": info, "instructions": now["instructions"]}
        handler.answer(200, {"id": message["id"], "result": hello}, [("Mcp-Session-Id", now["session"])] if now["session"] else ())
    elif method == "server/discover":
        handler.answer(200, {"id": message["id"], "error": {"code": -32601, "message": "no"}})
    elif method == "prompts/list":
        handler.answer(200, {"id": message["id"], "result": {"prompts": [{"name": "new"}]}})
    elif now["session"] and handler.headers.get("Mcp-Session-Id") != now["session"]:
        handler.answer(404)
    elif method == "tools/list":
        handler.answer(200, {"id": message["id"], "result": {"tools": [{"name": "one", "inputSchema": {"type": "object"}}]}})
    elif "id" in message:
        handler.answer(200, {"id": message["id"], "result": {"content": [{"type": "text", "text": "fine"}]}})
    else:
        handler.answer(202)
    return True
"#;

#[tokio::test]
async fn server_without_sessions_that_can_do_more_is_asked_anew_what_it_is() {
    for (change, sharing) in [
        (json!({ "capabilities": { "tools": {}, "prompts": {} } }), ""),
        (json!({ "capabilities": { "tools": {}, "prompts": {} } }), "sharing = \"shared\"\n"),
        (json!({ "capabilities": { "tools": {}, "prompts": {} }, "session": "s" }), ""),
    ] {
        let server = http_script(SESSIONLESS).await;
        let upstream = format!("{}health_interval = \"1s\"\n{sharing}", http("lister", server.port));
        let other = Script::new("");
        let gateway = Gateway::start(&(upstream + &other.upstream("other"))).await;
        let legacy = Client::legacy(gateway.address(), "/mcp").await;
        let modern = Client::modern(gateway.address(), "/mcp");
        for client in [&legacy, &modern] {
            assert_eq!(seen(client, LISTS[0]).await, ["one"]);
            assert_eq!(seen(client, LISTS[1]).await, [""; 0]);
        }
        let mut stream = legacy.stream().await.into_body();
        let control = json!({ "jsonrpc": "2.0", "id": 0, "method": "test/become", "params": change });
        post(&format!("127.0.0.1:{}", server.port), "/mcp", &[], &control.to_string()).await.result();
        wait_for(&mut stream, &["notifications/prompts/list_changed"]).await;
        for client in [&legacy, &modern] {
            let seeing = async {
                while seen(client, LISTS[1]).await != ["new"] {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(PATIENCE, seeing).await.expect("it is seen");
            assert_eq!(client.call("lister_one", "{}").await.text(), "fine");
        }
        // One that stays what it is stays connected.
        gateway.prints("asking it anew").await;
        let starts = gateway.printed().matches("asking it anew").count();
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(gateway.printed().matches("asking it anew").count(), starts, "{}", gateway.printed());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn stream_of_changes_of_a_modern_client_is_told_of_what_was_lost() {
    let lister = Lister::start(false, json!({})).await;
    let (gateway, _legacy, _, _stream) = before(&lister, "sharing = \"shared\"").await;
    let wanted = r#"{"toolsListChanged":true}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{{"notifications":{wanted},"_meta":{{{MODERN_META}}}}}}}"#
    );
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let mut stream = open(gateway.address(), Method::POST, "/mcp", &headers, &body).await.into_body();
    wait_for(&mut stream, &["subscriptions/acknowledged"]).await;
    lister.set("two").await;
    lister.control("cut", json!({})).await;
    wait_for(&mut stream, &["notifications/tools/list_changed"]).await;
    gateway.stop().await;
}

#[tokio::test]
async fn time_that_a_list_holds_is_no_interval_at_which_it_is_read() {
    let lines = r#"
modern, asked = True, []
def post(handler, message):
    if message.get("method") != "tools/list": return False
    asked.append(message)
    handler.result(message, {"tools": [{"name": "one", "inputSchema": {"type": "object"}}], "ttlMs": 1})
    return True
def call(handler, message, name): return str(len(asked))
"#;
    let server = http_script(lines).await;
    let gateway = Gateway::start(&http("h", server.port)).await;
    // Somebody would be told of a change.
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let _stream = client.stream().await;
    client.tools().await;
    let asked = client.call("one", "{}").await.text();
    for _ in 0..100 {
        assert_eq!(client.call("one", "{}").await.text(), asked, "nobody has asked for the list");
    }
    client.tools().await;
    let again = client.call("one", "{}").await.text();
    assert!(again.parse::<u64>().expect("a number") > asked.parse().expect("a number"), "{again}");
    gateway.stop().await;
}
