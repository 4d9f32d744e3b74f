//! Messages that two readers read differently: two members of one name, or names that can be taken for one another. What the
//! gateway checks must be what the other side reads, so they are refused.

use http::StatusCode;

use crate::client::{Client, MODERN_META};
use crate::gateway::Gateway;
use crate::scripted::{Script, http_script};
use crate::upstreams::http;

/// What every method of a client may be sent with.
const METHODS: [&str; 24] = [
    "tools/call",
    "tools/list",
    "prompts/get",
    "prompts/list",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/cancel",
    "tasks/update",
    "server/discover",
    "subscriptions/listen",
    "ping",
    "initialize",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "vendor/own",
];

/// The members that the gateway reads, with the objects that they are in.
const MEMBERS: [&[&str]; 26] = [
    &["name"],
    &["uri"],
    &["cursor"],
    &["taskId"],
    &["level"],
    &["requestId"],
    &["progressToken"],
    &["protocolVersion"],
    &["clientInfo"],
    &["capabilities"],
    &["capabilities", "elicitation"],
    &["capabilities", "sampling"],
    &["capabilities", "roots"],
    &["requestState"],
    &["inputResponses"],
    &["arguments"],
    &["ref"],
    &["ref", "name"],
    &["ref", "uri"],
    &["notifications"],
    &["notifications", "resourceSubscriptions"],
    &["_meta"],
    &["_meta", "progressToken"],
    &["_meta", "io.modelcontextprotocol/protocolVersion"],
    &["_meta", "io.modelcontextprotocol/clientCapabilities"],
    &["_meta", "io.modelcontextprotocol/clientInfo"],
];

/// The name written in other ways that somebody reads as the same.
fn spellings(name: &str) -> Vec<String> {
    let escaped = format!("\\u{:04x}{}", u32::from(name.as_bytes()[0]), &name[1..]);
    let folded = name.replace('k', "\u{212a}").replace('s', "\\u017f");
    let mut all = vec![name.to_owned(), escaped, name.to_uppercase(), format!("{name}\\u0000"), folded];
    all.dedup();
    all
}

/// Parameters with the two members, the first of which is one that may pass.
fn params(path: &[&str], first: &str, second: &str, modern: bool) -> String {
    let (last, around) = path.split_last().expect("a name");
    let value = |place: usize| match *last {
        "name" => format!(r#""{}""#, ["fine", "exit"][place]),
        "capabilities" | "inputResponses" | "arguments" | "ref" | "notifications" | "_meta" => {
            "{}".to_owned()
        }
        _ => format!(r#""{place}""#),
    };
    let pair = format!(r#""{first}":{},"{second}":{}"#, value(0), value(1));
    let meta = if modern { format!(r#""_meta":{{{MODERN_META}}}"#) } else { r#""z":1"#.to_owned() };
    match around {
        [] => format!("{{{meta},{pair}}}"),
        ["_meta"] => format!(r#"{{"_meta":{{"z":1,{pair}}}}}"#),
        [outer] => format!(r#"{{{meta},"{outer}":{{{pair}}}}}"#),
        _ => unreachable!("no path is longer"),
    }
}

/// A server of both eras that tells which requests have come to it, but for those of the gateway's own.
const TELLS: &str = r#"
modern = True
capabilities = {"tools": {}, "prompts": {}, "resources": {"subscribe": True}, "completions": {}, "logging": {}}
tools = ["fine", "exit", "seen"]
seen = []
def call(message, name):
    if name == "seen": return json.dumps(seen)
    seen.append(name)
    return "fine"
def handle(message):
    if message["method"] not in ("initialize", "server/discover", "ping", "subscriptions/listen", "tools/list", "tools/call", "prompts/list", "resources/list", "resources/templates/list"):
        seen.append(message["method"])
    return False
"#;

/// What shows everything but one tool.
const DENY: &str = "tools = { deny = [\"exit\"] }\n";

#[tokio::test]
async fn request_with_a_member_that_two_readers_read_differently_reaches_no_server() {
    let script = Script::new(TELLS);
    let gateway = Gateway::start(&(script.upstream("tells") + DENY)).await;
    let mut refused = 0;
    for client in [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
    {
        let modern = matches!(client.era, crate::client::Era::Modern);
        for method in METHODS {
            for path in MEMBERS {
                let name = *path.last().expect("a name");
                for other in spellings(name) {
                    for (first, second) in [(name, other.as_str()), (&other, name)] {
                        let params = params(path, first, second, modern);
                        let answer = client.request("1", method, "fine", &params).await;
                        let (code, message) = answer.error();
                        assert_eq!(code, -32602, "{method} {params}: {message}");
                        assert!(message.contains(&format!("`{name}`")), "{method} {params}: {message}");
                        refused += 1;
                    }
                }
            }
        }
        assert_eq!(client.call("seen", "{}").await.text(), "[]");
    }
    assert!(refused > METHODS.len() * MEMBERS.len() * 2 * 2 * 3, "{refused}");
    gateway.stop().await;
}

#[tokio::test]
async fn denied_tool_is_not_reached_by_what_another_reader_takes_for_its_name() {
    let script = Script::new(TELLS);
    let gateway = Gateway::start(&(script.upstream("tells") + DENY)).await;
    for client in [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
    {
        let modern = matches!(client.era, crate::client::Era::Modern);
        let meta = if modern { format!(r#""_meta":{{{MODERN_META}}}"#) } else { r#""_meta":{}"#.to_owned() };
        for name in [
            r#""Name":"exit""#,
            r#""NAME":"exit""#,
            r#""name":["exit"]"#,
            r#""name":"exit\u0000""#,
            r#""name":"exit\ud800""#,
            r#""name":"exit","\ud800":1"#,
            r#""name\u0000":"exit""#,
            r#""n_ame":"exit""#,
        ] {
            let answer = client.request("1", "tools/call", "exit", &format!("{{{name},{meta}}}")).await;
            // The header of the modern era names a tool, and no member does.
            let none = modern && name.contains('[');
            assert_eq!(answer.error().0, if none { -32020 } else { -32602 }, "{name}: {answer:?}");
        }
        assert_eq!(client.call("seen", "{}").await.text(), "[]");
        // One name in another spelling of JSON's own is the same name to everybody.
        let escaped = client
            .request("1", "tools/call", "fine", &format!(r#"{{"n\u0061me":"f\u0069ne",{meta}}}"#))
            .await;
        assert_eq!(escaped.text(), "fine");
        assert_eq!(
            client
                .request("1", "tools/call", "exit", &format!(r#"{{"n\u0061me":"\u0065xit",{meta}}}"#))
                .await
                .error()
                .0,
            -32602
        );
    }
    gateway.stop().await;
}

/// Methods that somebody may take for `tools/call`, with the code that each is refused with.
const LOOK_ALIKES: [(&str, i64); 26] = [
    ("Tools/Call", -32600),
    ("tools/CALL", -32600),
    ("tools_call", -32600),
    ("tools-call", -32600),
    ("tools.call", -32600),
    ("toolsCall", -32600),
    ("tools/c_all", -32600),
    ("$tools/call", -32600),
    ("/tools/call", -32601),
    ("tools/call/", -32601),
    ("tools//call", -32601),
    ("./tools/call", -32601),
    ("vendor/../tools/call", -32601),
    ("tools\\\\call", -32601),
    ("tools:call", -32601),
    (" tools/call", -32601),
    ("tools/call\\n", -32601),
    ("tools/call\\u0000", -32601),
    ("tools/call\\u0000x", -32601),
    ("tools%2Fcall", -32601),
    ("tools/%63all", -32601),
    ("tools\\u200b/call", -32601),
    ("\\ufefftools/call", -32601),
    ("tools/ca\\u00adll", -32601),
    ("t\\u043eols/call", -32601),
    ("tool\\u017f/call", -32601),
];

/// What makes that server a careless one: of a method it looks at nothing but letters.
const CARELESS: &str = r#"
import unicodedata, urllib.parse
strict = handle
def handle(message):
    method = unicodedata.normalize("NFKC", urllib.parse.unquote(message["method"]))
    letters = "".join(letter for letter in method.replace("\u043e", "o").casefold() if letter.isascii() and letter.isalpha())
    if message["method"] == "vendor/call":
        reply(message, {"own": 1})
        return True
    if letters.endswith("toolscall") and message["method"] != "tools/call":
        seen.append(message["method"])
        reply(message, text("fine"))
        return True
    return strict(message)
"#;

#[tokio::test]
async fn denied_tool_is_not_reached_by_a_method_that_another_reader_takes_for_that_of_calls() {
    let script = Script::new(&[TELLS, CARELESS].concat());
    let gateway = Gateway::start(&(script.upstream("tells") + DENY)).await;
    for client in [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
    {
        let modern = matches!(client.era, crate::client::Era::Modern);
        let meta = if modern { format!(r#","_meta":{{{MODERN_META}}}"#) } else { String::new() };
        for (method, code) in LOOK_ALIKES {
            let denied = format!(r#"{{"name":"exit"{meta}}}"#);
            // What cannot stand in a header is refused before the header is looked at.
            let (header, body) = (
                "tools/call",
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{denied}}}"#),
            );
            let answer = client.post(header, "exit", &body).await;
            assert_eq!(answer.error().0, code, "{method}: {answer:?}");
            // Nor as a notification, which must not say either that the session has ended.
            let body = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{denied}}}"#);
            let answer = client.post(header, "exit", &body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method}: {answer:?}");
        }
        // A method of a vendor's own passes, with whatever names its parameters have.
        let own = format!(r#"{{"name":"exit"{meta}}}"#);
        let answer = client.request("1", "vendor/call", "", &own).await;
        assert!(answer.result().contains("\"own\""), "{answer:?}");
        assert_eq!(client.call("seen", "{}").await.text(), "[]");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn request_without_an_identifier_reaches_no_server() {
    let script = Script::new(TELLS);
    let gateway = Gateway::start(&(script.upstream("tells") + DENY)).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    // The session's own connection, which notifications take.
    client.request("1", "resources/subscribe", "", r#"{"uri":"x://a"}"#).await;
    let before = client.call("seen", "{}").await.text();
    for method in METHODS.into_iter().filter(|method| method.contains('/') || *method == "ping") {
        if method.starts_with("notifications/") || method.starts_with("vendor/") {
            continue;
        }
        for name in ["exit", "fine"] {
            let body = format!(
                r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"name":"{name}","uri":"x://a"}}}}"#
            );
            let answer = client.post(method, name, &body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
            let (code, message) = answer.error();
            assert!(code == -32600 && message.contains("`id`"), "{body}: {code} {message}");
        }
    }
    assert_eq!(client.call("seen", "{}").await.text(), before);
    gateway.stop().await;
}

#[tokio::test]
async fn reference_is_refused_by_whichever_of_its_members_is_denied() {
    let script = Script::new(TELLS);
    let denied = "prompts = { deny = [\"secret\"] }\nresources = { deny = [\"x://secret\"] }\n";
    let gateway = Gateway::start(&(script.upstream("tells") + denied)).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    for reference in [
        r#"{"type":"ref/prompt","name":"secret","uri":"x://open"}"#,
        r#"{"type":"ref/resource","name":"open","uri":"x://secret"}"#,
        r#"{"type":"ref/prompt","name":["secret"]}"#,
        r#"{"type":"ref/prompt","Name":"secret"}"#,
        r#"{"type":"ref/resource","uri":["x://secret"]}"#,
        r#""secret""#,
    ] {
        let params = format!(r#"{{"ref":{reference},"argument":{{"name":"a","value":""}}}}"#);
        let answer = client.request("1", "completion/complete", "", &params).await;
        assert_eq!(answer.error().0, -32602, "{reference}");
    }
    assert_eq!(client.call("seen", "{}").await.text(), "[]");
    gateway.stop().await;
}

#[tokio::test]
async fn envelope_that_two_readers_read_differently_is_refused_by_name() {
    let script = Script::new(TELLS);
    let gateway = Gateway::start(&script.upstream("tells")).await;
    for client in [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
    {
        let members = [
            ("jsonrpc", r#""2.0""#),
            ("id", "2"),
            ("method", r#""tools/call""#),
            ("params", r#"{"name":"exit"}"#),
            ("result", "{}"),
            ("error", "{}"),
        ];
        let sound = format!(
            r#""jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"fine","_meta":{{{MODERN_META}}}}}"#
        );
        for (name, value) in members {
            for other in spellings(name) {
                // Without a member that is read as this one, the envelope is refused for another reason.
                if ["result", "error"].contains(&name)
                    && !other.contains(|letter: char| letter.is_uppercase())
                {
                    continue;
                }
                for body in
                    [format!(r#"{{{sound},"{other}":{value}}}"#), format!(r#"{{"{other}":{value},{sound}}}"#)]
                {
                    let answer = client.post("tools/call", "fine", &body).await;
                    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
                    let (code, message) = answer.error();
                    assert!(
                        code == -32600 && message.contains(&format!("`{name}`")),
                        "{body}: {code} {message}"
                    );
                }
            }
        }
        assert_eq!(client.call("seen", "{}").await.text(), "[]");
    }
    gateway.stop().await;
}

/// Functions of servers that write messages which no JSON library would.
const RAW: &str = r#"
def pair(text):
    """The text with its `@@` member in several ways: twice, beside itself in other case, and escaped."""
    name = text.split('"@@')[1].split('"')[0]
    other = {"twice": name, "case": name.upper(), "escaped": "\\u%04x" % ord(name[0]) + name[1:]}
    return {way: text.replace('"@@' + name + '"', '"' + name + '"', 1).replace('"%%"', '"' + it + '"') for way, it in other.items()}
"#;

/// A stdio server that answers a list in each of these ways, by the name of the tool that is called before.
const LISTS: &str = r#"
modern = MODERN
way = ["", ""]
items = pair('{"@@name":"fine","%%":"exit","inputSchema":{"type":"object"}}')
pages = pair('{"@@tools":[{"name":"fine","inputSchema":{}}],"%%":[{"name":"exit","inputSchema":{}}],"resultType":"complete"}')
def handle(message):
    if message["method"] == "tools/list":
        item = items.get(way[1], '{"name":"next","inputSchema":{"type":"object"}}')
        page = '{"tools":[%s,{"name":"other","inputSchema":{"type":"object"}}],"resultType":"complete"}' % item
        if way[0] == "page": page = pages[way[1]]
        out.write(b'{"jsonrpc":"2.0","id":%d,"result":%s}\n' % (message["id"], page.encode()))
        out.flush()
        return True
def call(message, name):
    way[:] = message["params"]["arguments"]["way"]
    send({"method": "notifications/tools/list_changed"})
    return "fine"
"#;

#[tokio::test]
async fn item_of_a_list_that_two_readers_read_differently_is_not_shown() {
    for era in ["True", "False"] {
        let script = Script::new(&[RAW, &LISTS.replace("MODERN", era)].concat());
        let configuration = script.upstream("lists") + "tools = { deny = [\"exit\"] }\n";
        let gateway = Gateway::start(&(configuration + &crate::upstreams::probe("probe", &[]))).await;
        for client in
            [Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp")]
        {
            for way in ["twice", "case", "escaped"] {
                for place in ["item", "page"] {
                    // One process for each era: all have to be told.
                    for teller in [
                        Client::legacy(gateway.address(), "/mcp").await,
                        Client::modern(gateway.address(), "/mcp"),
                    ] {
                        teller.call("lists_one", &format!(r#"{{"way":["{place}","{way}"]}}"#)).await.text();
                    }
                    let shown = async || {
                        let tools = client.tools().await;
                        let ours = tools.into_iter().filter(|tool| tool.starts_with("lists_"));
                        ours.collect::<Vec<_>>()
                    };
                    let expected: &[&str] = if place == "item" { &["lists_other"] } else { &[] };
                    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(40);
                    loop {
                        let shown = shown().await;
                        assert!(
                            !shown.iter().any(|tool| tool == "lists_exit"),
                            "{era} {place} {way}: {shown:?}"
                        );
                        if shown == expected {
                            break;
                        }
                        assert!(std::time::Instant::now() < deadline, "{era} {place} {way}: {shown:?}");
                    }
                }
            }
        }
        gateway.prints("can be read in two ways").await;
        assert!(gateway.printed().contains("lists"), "{}", gateway.printed());
        gateway.stop().await;
    }
}

/// What a server says beside its answers, in two ways at once, and its answers themselves.
const SAYS: &str = r#"
said = {
  **{"note " + way: text for way, text in pair('{"jsonrpc":"2.0","method":"notifications/progress","params":{"@@progressToken":"mine","progress":1,"%%":"other"}}').items()},
  **{"meta " + way: text for way, text in pair('{"jsonrpc":"2.0","id":"q","method":"roots/list","params":{"_meta":{"@@progressToken":1,"%%":2}}}').items()},
  **{"method " + way: text for way, text in pair('{"jsonrpc":"2.0","@@method":"notifications/message","%%":"notifications/progress","params":{"progressToken":"mine","progress":2}}').items()},
  **{"result " + way: text for way, text in pair('{"jsonrpc":"2.0","id":ID,"@@result":{"content":[]},"%%":{}}').items()},
}
"#;

/// A stdio server that says such things.
const SAYS_STDIO: &str = r#"
def call(message, name):
    text = said[message["params"]["arguments"]["say"]].replace("ID", str(message["id"]))
    out.write(text.encode() + b"\n")
    out.flush()
    return None if "result" in message["params"]["arguments"]["say"] else "fine"
"#;

/// The same over HTTP.
const SAYS_HTTP: &str = r#"
def call(handler, message, name):
    text = said[message["params"]["arguments"]["say"]].replace("ID", str(message["id"]))
    own = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": "fine"}]}})
    result = "result" in message["params"]["arguments"]["say"]
    body = text.encode() if result else ("data: %s\n\ndata: %s\n\n" % (text, own)).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json" if result else "text/event-stream")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
"#;

#[tokio::test]
async fn message_of_a_server_that_two_readers_read_differently_reaches_no_client() {
    let script = Script::new(&[RAW, SAYS, SAYS_STDIO].concat());
    let server = http_script(&[RAW, SAYS, SAYS_HTTP].concat()).await;
    for configuration in [script.upstream("says"), http("says", server.port)] {
        let gateway = Gateway::start(&configuration).await;
        for client in [
            Client::legacy_with(gateway.address(), "/mcp", r#"{"roots":{}}"#).await,
            Client::modern(gateway.address(), "/mcp"),
        ] {
            let modern = matches!(client.era, crate::client::Era::Modern);
            let more = if modern { format!(",{MODERN_META}") } else { String::new() };
            let meta = format!(r#""progressToken":"mine"{more}"#);
            for what in ["note", "meta", "method", "result"] {
                for way in ["twice", "case", "escaped"] {
                    let params = format!(
                        r#"{{"name":"one","arguments":{{"say":"{what} {way}"}},"_meta":{{{meta}}}}}"#
                    );
                    let answer = client.request("1", "tools/call", "one", &params).await;
                    let messages = answer.messages();
                    assert_eq!(messages.len(), 1, "{what} {way}: {messages:?}");
                    if what == "result" {
                        let (code, message) = answer.error();
                        assert_eq!(code, -32603, "{what} {way}");
                        assert!(
                            message.contains("`says`") && message.contains("`result`"),
                            "{way}: {message}"
                        );
                    } else {
                        assert_eq!(answer.text(), "fine", "{what} {way}");
                    }
                }
            }
        }
        let warned = |line: &&str| line.contains("says") && line.contains("more than once");
        gateway.prints("more than once").await;
        assert!(gateway.printed().lines().any(|line| warned(&line)), "{}", gateway.printed());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn argument_that_a_header_mirrors_may_not_stand_twice() {
    let server = http_script(
        r#"
modern = True
def post(handler, message):
    if message.get("method") != "tools/list": return False
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    handler.result(message, {"tools": [{"name": "one", "inputSchema": schema}]})
    return True
"#,
    )
    .await;
    let gateway = Gateway::start(&http("mirrors", server.port)).await;
    let call = async |arguments: &str| {
        let params = format!(r#"{{"name":"one","arguments":{arguments},"_meta":{{{MODERN_META}}}}}"#);
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let headers = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "one"),
            ("mcp-param-region", "eu"),
        ];
        crate::client::post(gateway.address(), "/mcp", &headers, &body).await
    };
    assert_eq!(call(r#"{"region":"eu","x":1,"x":2}"#).await.text(), "fine");
    for arguments in [
        r#"{"region":"us","region":"eu"}"#,
        r#"{"region":"eu","Region":"us"}"#,
        r#"{"r\u0065gion":"us","region":"eu"}"#,
    ] {
        let (code, message) = call(arguments).await.error();
        assert!(code == -32602 && message.contains("`region`"), "{arguments}: {code} {message}");
    }
    gateway.stop().await;
}
