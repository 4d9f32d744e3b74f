//! HTTP upstreams that refuse some of what they are asked, lose sessions in ways of their own, or send requests elsewhere:
//! what works goes on, what is lost is begun anew once, and nothing is tried without end.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::client::{Client, post, send};
use crate::gateway::{Gateway, HttpUpstream};
use crate::scripted::http_script;
use crate::upstreams::http;

/// How long something may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A server with one endpoint for each path `/PLACE/STATUS`, which answers what PLACE names with STATUS and an empty body:
/// redirects lead to `/mcp/…` of the same server, where nothing is refused. `GET /counts` tells how often each was asked.
const REFUSING: &str = r#"
import collections
counts = collections.Counter()
class Refusing(Handler):
    def parts(self):
        return self.path.strip("/").split("/")
    def refuses(self, place):
        wanted, status = self.parts()[:2]
        counts[f"{self.path} {place}"] += 1
        if wanted != place: return False
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        to = [("Location", f"/none/{status}")] if status.startswith("3") else []
        self.answer(int(status), headers=to)
        return True
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        message = json.loads(body)
        method = message.get("method")
        place = "call" if method == "tools/call" else "initialize" if method == "initialize" else "other"
        if "id" not in message and method != "notifications/initialized": place = "notify"
        self.headers.replace_header("Content-Length", "0")
        if self.refuses(place): return
        self.headers.replace_header("Content-Length", str(length))
        import io
        whole, self.rfile = self.rfile, io.BytesIO(body)
        try: super().do_POST()
        finally: self.rfile = whole
    def do_GET(self):
        if self.path == "/counts": return self.answer(200, {"id": 0, "result": counts})
        if not self.refuses("get"): self.answer(405)
    def do_DELETE(self):
        if not self.refuses("delete"): super().do_DELETE()
Handler = Refusing
"#;

/// What may be refused.
const PLACES: [&str; 5] = ["initialize", "call", "notify", "get", "delete"];

/// The statuses.
const STATUSES: [u16; 18] =
    [300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 409, 410, 429, 500, 501, 502, 503];

/// Calls of each case.
const CALLS: usize = 10;

/// The names in the table of cases.
fn cases() -> impl Iterator<Item = (&'static str, u16)> {
    PLACES.into_iter().flat_map(|place| STATUSES.map(|status| (place, status)))
}

/// How often what was asked at the server.
async fn counts(server: &HttpUpstream) -> Value {
    let answer = send(&format!("127.0.0.1:{}", server.port), Method::GET, "/counts", &[], "").await;
    serde_json::from_str(&answer.result()).expect("JSON")
}

/// What the rest of a session's stream says of lists.
async fn list_changes(stream: Incoming) -> usize {
    let rest = tokio::time::timeout(SOON, stream.collect()).await.expect("the stream ends");
    let text = rest.map(|rest| String::from_utf8_lossy(&rest.to_bytes()).into_owned()).unwrap_or_default();
    text.matches("list_changed").count()
}

/// What became of one case: how many calls were answered, what the first of the others was told, how many changes of
/// lists.
async fn case(gateway: &Gateway, place: &str, status: u16) -> (usize, String, usize) {
    let client = Client::legacy(gateway.address(), &format!("/mcp/{place}-{status}")).await;
    let stream = client.stream().await.into_body();
    let (mut fine, mut told) = (0, String::new());
    for _ in 0..CALLS {
        let answer = client.call("x", "{}").await;
        // The server has none of them: it is carried on to it and refused by it, or not.
        client.post("", "", r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#).await;
        if answer.reply().contains("\"error\"") {
            if told.is_empty() {
                told = answer.error().1;
            }
        } else {
            fine += 1;
        }
    }
    client.end().await;
    (fine, told, list_changes(stream).await)
}

#[tokio::test]
async fn each_status_at_each_place_costs_what_it_refuses_and_no_sessions() {
    let server = http_script(REFUSING).await;
    let url = |place: &str, status: u16| format!("http://127.0.0.1:{}/{place}/{status}", server.port);
    let section =
        |(place, status)| format!("[upstreams.{place}-{status}]\nurl = \"{}\"\n", url(place, status));
    let upstreams = cases().map(section).collect::<Vec<_>>().concat();
    let gateway = Gateway::start(&upstreams).await;
    let all = futures_util::stream::iter(cases()).map(|(place, status)| {
        let gateway = &gateway;
        async move { (place, status, case(gateway, place, status).await) }
    });
    let all: Vec<_> = all.buffer_unordered(6).collect().await;
    let counts = counts(&server).await;
    let mut wrong = Vec::new();
    for (place, status, (fine, told, changes)) in all {
        let count = |what: &str| counts[format!("/{place}/{status} {what}")].as_u64().unwrap_or(0);
        let begun = count("initialize");
        let row = format!("{place} {status}: {fine} calls, {begun} sessions, {changes} changes, {told:?}");
        let followed = matches!(status, 307 | 308);
        let refused = matches!(place, "initialize" | "call") && !followed;
        let right = match (refused, place) {
            // It is noticed, and clients are told why.
            (true, "initialize") => fine == 0 && told.contains(&status.to_string()),
            (true, _) => fine == 0 && told.contains(&status.to_string()) && begun <= 2,
            (false, "initialize") => fine == CALLS,
            (false, _) => fine == CALLS && begun <= 2,
        };
        // One that the server refuses for good is not asked for again and again; a refused `initialize` may come from a server
        // of HTTP+SSE, which a GET tells.
        let gets = if place == "initialize" { begun.max(12) } else { 12 };
        if !right || changes > 0 || count("get") > gets {
            wrong.push(row);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let status = gateway.status().await;
    for upstream in status["upstreams"].as_array().expect("upstreams") {
        let name = upstream["name"].as_str().expect("a name");
        let refused = name.starts_with("initialize-") && !name.ends_with("307") && !name.ends_with("308");
        let state = upstream["state"].as_str().expect("a state");
        if refused {
            assert!(state != "ready", "{upstream}");
            let status = name.rsplit('-').next().expect("a status");
            assert!(upstream["last_error"].as_str().is_some_and(|it| it.contains(status)), "{upstream}");
        } else if name.contains('-') {
            assert!(matches!(state, "ready" | "degraded") && upstream["restarts"] == 0, "{upstream}");
        }
    }
    gateway.stop().await;
}

/// A server that tells of the loss of a session in a way of its own: `test/options` sets it, `test/forget` loses all, and
/// `test/counts` tells what was asked. Each call carries a number, and how often each was carried out is told too.
const LOSING: &str = r#"
import collections
counts = collections.Counter()
done = collections.Counter()
options = {"way": 404, "pings": True, "always": False}
def refuse(handler, message):
    way = options["way"]
    if way == "error": handler.answer(200, {"id": message["id"], "error": {"code": -32603, "message": "Internal error"}})
    elif way == "said": handler.answer(200, {"id": message["id"], "error": {"code": -32000, "message": "Session expired"}})
    elif way == "parameters": handler.answer(200, {"id": message["id"], "error": {"code": -32602, "message": "Invalid request parameters"}})
    elif way == "event":
        body = b"data: " + json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32603, "message": "x"}}).encode() + b"\n\n"
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
    elif way == "denied": handler.answer(400, {"id": message["id"], "error": {"code": -32000, "message": "Bad Request: no valid session"}})
    else: handler.answer(way)
    return True
def post(handler, message):
    method = message.get("method")
    counts[method] += 1
    if method == "test/options":
        options.update(message["params"])
        handler.answer(200, {"id": 0, "result": {}})
        return True
    if method == "test/forget":
        sessions.clear()
        handler.answer(200, {"id": 0, "result": {}})
        return True
    if method == "test/counts":
        twice = sum(1 for times in done.values() if times > 1)
        handler.answer(200, {"id": 0, "result": {**counts, "twice": twice}})
        return True
    if method in ("initialize", "server/discover") or "id" not in message: return False
    if handler.headers.get("Mcp-Session-Id") in sessions and not options["always"]: return False
    if method == "ping" and not options["pings"]:
        handler.answer(200, {"id": message["id"], "result": {}})
        return True
    return refuse(handler, message)
def call(handler, message, name):
    done[message["params"]["arguments"]["number"]] += 1
    return "fine"
"#;

/// Has a server do something.
async fn control(server: &HttpUpstream, what: &str, params: Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 0, "method": format!("test/{what}"), "params": params });
    let answer = post(&format!("127.0.0.1:{}", server.port), "/mcp", &[], &body.to_string()).await;
    serde_json::from_str(&answer.result()).expect("JSON")
}

/// The ways in which servers tell of the loss of a session, and whether pings are refused in the same way.
fn ways() -> Vec<(Value, bool)> {
    let statuses = [400, 401, 403, 404, 409, 410, 500, 503].map(|status| (json!(status), true));
    let words = ["error", "said", "parameters", "event", "denied"];
    let words = words.into_iter().flat_map(|way| [true, false].map(|pings| (json!(way), pings)));
    statuses.into_iter().chain(words).collect()
}

#[tokio::test]
async fn session_whose_loss_is_told_in_whatever_way_is_begun_anew_and_no_call_is_carried_out_twice() {
    let cases = ways().into_iter().flat_map(|way| ["auto", "shared"].map(|sharing| (way.clone(), sharing)));
    let cases = cases.map(|((way, pings), sharing)| async move {
        let server = http_script(LOSING).await;
        let lines = format!("{}sharing = \"{sharing}\"\n", http("losing", server.port));
        let gateway = Gateway::start(&lines).await;
        let client = Client::legacy(gateway.address(), "/mcp").await;
        let mut number = 0;
        let mut call = async || {
            number += 1;
            client.call("x", &format!(r#"{{"number":{number}}}"#)).await
        };
        assert_eq!(call().await.text(), "fine");
        control(&server, "options", json!({ "way": way, "pings": pings })).await;
        let before = control(&server, "counts", json!({})).await["initialize"].as_u64().expect("a number");
        control(&server, "forget", json!({})).await;
        let back = async {
            while call().await.reply().contains("\"error\"") {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(SOON, back).await.unwrap_or_else(|_| {
            panic!("{way} {pings} {sharing}: it is never noticed; {}", gateway.printed())
        });
        for _ in 0..5 {
            assert_eq!(call().await.text(), "fine", "{way} {pings} {sharing}");
        }
        let counts = control(&server, "counts", json!({})).await;
        let begun = counts["initialize"].as_u64().expect("a number") - before;
        assert!((1..=6).contains(&begun), "{way} {pings} {sharing}: {begun} sessions");
        assert_eq!(counts["twice"], 0, "{way} {pings} {sharing}");
        gateway.stop().await;
    });
    let cases: Vec<_> = cases.collect();
    futures_util::stream::iter(cases).for_each_concurrent(4, |case| case).await;
}

#[tokio::test]
async fn server_that_refuses_everything_in_new_sessions_too_is_not_given_many() {
    let ways = [json!(401), json!(503), json!("error"), json!("parameters")];
    let cases = ways.into_iter().map(|way| async move {
        let server = http_script(LOSING).await;
        let gateway = Gateway::start(&http("stubborn", server.port)).await;
        let client = Client::legacy(gateway.address(), "/mcp").await;
        assert_eq!(client.call("x", r#"{"number":0}"#).await.text(), "fine");
        let before = control(&server, "counts", json!({})).await;
        control(&server, "options", json!({ "way": way, "pings": true, "always": true })).await;
        for _ in 0..150 {
            assert!(client.call("x", r#"{"number":1}"#).await.reply().contains("\"error\""), "{way}");
        }
        let counts = control(&server, "counts", json!({})).await;
        let more = |what: &str| counts[what].as_u64().unwrap_or(0) - before[what].as_u64().unwrap_or(0);
        assert!(more("initialize") <= 12, "{way}: {} sessions", more("initialize"));
        assert!(more("ping") <= 50, "{way}: {} questions", more("ping"));
        // Once it has changed its mind it is used again.
        control(&server, "options", json!({ "always": false })).await;
        let back = async {
            while client.call("x", r#"{"number":2}"#).await.reply().contains("\"error\"") {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(SOON, back).await.expect("it is used again");
        gateway.stop().await;
    });
    futures_util::future::join_all(cases).await;
}

/// A server that sends all requests below `/from/STATUS` on to a place: `/mcp`, one at another server, or in a circle.
const REDIRECTING: &str = r#"
import collections
seen = collections.Counter()
other = ""
class Redirecting(Handler):
    def redirects(self):
        parts = self.path.strip("/").split("/")
        seen[f"{self.command} {'/'.join(parts[:1])} {self.headers.get('X-Key')}"] += 1
        if parts[0] != "from": return False
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        to = {"path": "/mcp/", "whole": f"http://{self.headers['Host']}/mcp/", "relative": "../../mcp/?x=1#y",
              "network": f"//{self.headers['Host']}/mcp/", "other": other, "circle": self.path,
              "user": f"http://a:b@{self.headers['Host']}/mcp/", "nowhere": None}[parts[2]]
        self.answer(int(parts[1]), headers=[("Location", to)] if to else [])
        return True
    def do_POST(self):
        if not self.redirects(): super().do_POST()
    def do_GET(self):
        if self.path == "/seen": return self.answer(200, {"id": 0, "result": seen})
        if self.redirects(): return
        if self.path.startswith("/mcp"): return self.answer(200, headers=[("Content-Type", "text/event-stream")])
        self.answer(405)
    def do_DELETE(self):
        if not self.redirects(): super().do_DELETE()
Handler = Redirecting
"#;

/// What was asked of the server: method, the first part of the path, and the configured header.
async fn seen(server: &HttpUpstream) -> Value {
    let answer = send(&format!("127.0.0.1:{}", server.port), Method::GET, "/seen", &[], "").await;
    serde_json::from_str(&answer.result()).expect("JSON")
}

#[tokio::test]
async fn redirects_within_a_server_are_followed_with_method_body_and_headers() {
    for modern in ["False", "True"] {
        for status in [307, 308] {
            for to in ["path", "whole", "relative", "network"] {
                let server = http_script(&format!("{REDIRECTING}\nmodern = {modern}\n")).await;
                let url = format!("http://127.0.0.1:{}/from/{status}/{to}", server.port);
                let lines = format!("[upstreams.moved]\nurl = \"{url}\"\nheaders = {{ X-Key = \"k\" }}\n");
                let gateway = Gateway::start(&lines).await;
                let client = Client::legacy(gateway.address(), "/mcp").await;
                for _ in 0..3 {
                    assert_eq!(client.call("x", "{}").await.text(), "fine", "{status} {to}");
                }
                client.end().await;
                gateway.stop().await;
                let seen = seen(&server).await;
                let methods: &[&str] = if modern == "True" { &["POST"] } else { &["POST", "GET", "DELETE"] };
                for method in methods {
                    assert!(
                        seen[format!("{method} mcp k")].as_u64() > Some(0),
                        "{method} {status} {to}: {seen}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn redirects_to_elsewhere_or_without_end_are_refused_with_a_reason() {
    let elsewhere = http_script(REDIRECTING).await;
    let cases = [
        ("307/other", "another server"),
        ("308/other", "another server"),
        ("308/user", "another server"),
        ("307/circle", "circle"),
        ("307/nowhere", "redirect"),
        ("301/path", "redirect"),
        ("302/path", "redirect"),
        ("303/path", "redirect"),
        ("301/other", "redirect"),
    ];
    let other = format!("other = \"http://127.0.0.1:{}/mcp\"\n", elsewhere.port);
    let server = http_script(&format!("{REDIRECTING}\n{other}")).await;
    let sections = cases.iter().enumerate().map(|(number, (path, _))| {
        let url = format!("http://127.0.0.1:{}/from/{path}", server.port);
        format!("[upstreams.u{number}]\nurl = \"{url}\"\nheaders = {{ X-Key = \"k\" }}\n")
    });
    let lines = sections.collect::<Vec<_>>().concat();
    let gateway = Gateway::start(&lines).await;
    for (number, (path, word)) in cases.iter().enumerate() {
        let client = Client::modern(gateway.address(), &format!("/mcp/u{number}"));
        let (_, message) = client.call("x", "{}").await.error();
        assert!(message.contains(word) && message.contains(&path[..3]), "{path}: {message}");
        assert!(!message.contains("127.0.0.1"), "{path}: {message}");
    }
    gateway.stop().await;
    let seen = seen(&elsewhere).await;
    assert_eq!(seen, json!({}), "nothing was sent to another server");
}

#[tokio::test]
async fn streams_that_end_at_once_are_opened_again_less_and_less_often() {
    let server = http_script(
        r#"
moments = []
def call(handler, message, name):
    return json.dumps(moments)
def get(handler):
    moments.append(time.monotonic())
    handler.answer(200, headers=[("Content-Type", "text/event-stream")])
    return True
"#,
    )
    .await;
    let gateway = Gateway::start(&(http("brief", server.port) + "sharing = \"shared\"\n")).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let opened = async {
        loop {
            let text = client.call("moments", "{}").await.text();
            let moments: Vec<f64> = serde_json::from_str(&text).expect("numbers");
            if moments.len() > 4 {
                return moments;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let moments = tokio::time::timeout(SOON, opened).await.expect("it is opened again");
    let waits: Vec<_> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits[3] > 2.0 * waits[0], "{waits:?}");
    gateway.stop().await;
}
