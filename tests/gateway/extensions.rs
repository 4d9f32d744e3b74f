//! Extensions behind an endpoint of several upstreams, and what routes them: skills (SEP-2640), apps (SEP-1865), links to
//! resources that nobody lists, subscriptions, and what servers are told of their clients.

use serde_json::{Value, json};

use crate::client::{Answer, Client, MODERN_META};
use crate::following::{listen_to, wait};
use crate::gateway::Gateway;
use crate::scripted::{Script, http_script};
use crate::upstreams::http;

/// A server of files, some of which are of skills. The test sets `name`, `files` by address, `skills`, those that are listed, and
/// `listed`, the files that `resources/list` has.
const FILES: &str = r#"
import hashlib
modern = True
asked = []
links = []
skills, listed, files, templates, pages = [], [], {}, [], {}
directories = True
age, scope = 60000, "public"
def reply(message, result):
    send({"id": message["id"], "result": {"resultType": "complete", "ttlMs": age, "cacheScope": scope, **result}})
def entry(root):
    inside = sorted(uri for uri in files if uri.startswith(root + "/"))
    digest = lambda uri: "sha256:" + hashlib.sha256(files[uri].encode()).hexdigest()
    told = [{"uri": uri, "digest": digest(uri), "size": len(files[uri])} for uri in inside]
    return {"uri": root + "/SKILL.md", "vendor": {"z": 1, "a": 2}, "frontmatter": {"name": root.rsplit("/")[-1], "description": name}, "resources": told}
def handle(message):
    method, params = message["method"], message.get("params", {})
    uri = params.get("uri", "")
    if method in ("initialize", "server/discover"):
        return False
    asked.append([method, uri])
    if method == "skills/list":
        # One a page.
        at = int(params.get("cursor", "0"))
        more = {"nextCursor": str(at + 1)} if at + 1 < len(skills) else {}
        reply(message, {"skills": [entry(root) for root in skills[at : at + 1]], **more})
    elif method == "skills/get" and uri in files and uri.endswith("/SKILL.md"):
        reply(message, {"skill": entry(uri[: -len("/SKILL.md")])})
    elif method == "resources/directory/read" and directories and any(file.startswith(uri + "/") for file in files):
        inside = [file for file in files if file.startswith(uri + "/") and "/" not in file[len(uri) + 1 :]]
        reply(message, {"resources": [{"uri": file, "name": file} for file in inside]})
    elif method == "resources/read" and uri in files:
        reply(message, {"contents": [{"uri": uri, "text": files[uri], "mimeType": "text/plain"}]})
    elif method == "resources/list":
        reply(message, {"resources": [{"uri": uri, "name": uri} for uri in listed]})
    elif method == "resources/templates/list":
        reply(message, {"resourceTemplates": [{"uriTemplate": template, "name": template} for template in templates]})
    elif method == "tools/list" and pages:
        meta = lambda page: {"ui": {"visibility": ["app"], "resourceUri": page}, "ui/resourceUri": page, "vendor": 1}
        reply(message, {"tools": [{"name": tool, "inputSchema": {"type": "object"}, "_meta": meta(page)} for tool, page in pages.items()]})
    elif method == "tools/call" and params["name"] == "link":
        content = [{"type": "resource_link", "uri": uri, "name": uri} for uri in links]
        reply(message, {"content": content + [{"type": "text", "text": name}]})
    elif method == "tools/call" and params["name"] == "asked":
        reply(message, {"content": [{"type": "text", "text": json.dumps(asked)}]})
    elif method == "tools/call":
        reply(message, {"content": [{"type": "text", "text": name}]})
    elif method.startswith(("skills/", "resources/")):
        refuse(message, -32602)
    else:
        return False
    return True
"#;

/// Such a server.
fn files(lines: &str) -> Script {
    Script::new(&format!("{FILES}{lines}"))
}

/// A client of each era.
async fn clients(gateway: &Gateway, path: &str) -> [Client; 2] {
    [Client::modern(gateway.address(), path), Client::legacy(gateway.address(), path).await]
}

/// Asks with these parameters, which may name an address or a tool.
async fn ask(client: &Client, method: &str, params: &Value) -> Answer {
    let mut params = params.clone();
    if matches!(client.era, crate::client::Era::Modern) {
        params["_meta"] = serde_json::from_str(&format!("{{{MODERN_META}}}")).expect("JSON");
    }
    let named = matches!(method, "resources/read" | "tools/call");
    let name =
        params["uri"].as_str().or_else(|| params["name"].as_str()).filter(|_| named).unwrap_or_default();
    client.request("1", method, name, &params.to_string()).await
}

/// The same, and there is a result.
async fn result(client: &Client, method: &str, params: &Value) -> Value {
    serde_json::from_str(&ask(client, method, params).await.result()).expect("JSON")
}

/// The text of a resource, whose address is the one that was asked for.
async fn read(client: &Client, uri: &str) -> String {
    let read = result(client, "resources/read", &json!({ "uri": uri })).await;
    assert_eq!(read["contents"][0]["uri"], uri, "{read}");
    read["contents"][0]["text"].as_str().expect("text").to_owned()
}

/// What a server was asked, as `METHOD ADDRESS`.
async fn asked(client: &Client, tool: &str) -> Vec<String> {
    let asked: Vec<[String; 2]> = serde_json::from_str(&client.call(tool, "{}").await.text()).expect("JSON");
    asked.iter().map(|asked| asked.join(" ")).collect()
}

/// The code of an error.
async fn code(client: &Client, method: &str, params: &Value) -> i64 {
    ask(client, method, params).await.error().0
}

/// Three servers of skills: two have one of the same address, the third reads no directories.
fn skill_servers() -> [Script; 3] {
    let says = r#"capabilities = {"tools": {}, "resources": {}, "extensions": {"io.modelcontextprotocol/skills": {"directoryRead": True}, "com.example/events": {}}}"#;
    let plain = r#"capabilities = {"tools": {}, "resources": {}, "extensions": {"io.modelcontextprotocol/skills": {}}}
directories = False"#;
    [
        files(&format!(
            r#"{says}
name, skills = "one", ["skill://refunds", "skill://refunds/inner", "skill://alone"]
files = {{uri: "one " + uri for uri in ("skill://refunds/SKILL.md", "skill://refunds/a.md", "skill://refunds/inner/SKILL.md", "skill://alone/SKILL.md", "skill://refunds-2/SKILL.md")}}
listed = ["skill://refunds/SKILL.md", "skill://alone/SKILL.md"]"#
        )),
        files(&format!(
            r#"{says}
name, skills, age, scope = "two", ["skill://refunds", "git://x/team/two"], 1000, "private"
files = {{uri: "two " + uri for uri in ("skill://refunds/SKILL.md", "skill://refunds/b.md", "git://x/team/two/SKILL.md", "skill://hidden/SKILL.md", "skill://hidden/sub/c.md")}}"#
        )),
        files(&format!(
            r#"{plain}
name, skills = "three", ["skill://three"]
files = {{"skill://three/SKILL.md": "three"}}"#
        )),
    ]
}

/// The skills that they list, as they are told apart.
const LISTED: [&str; 6] = [
    "skill://mcpeg.one/refunds/SKILL.md",
    "skill://mcpeg.one/refunds/inner/SKILL.md",
    "skill://alone/SKILL.md",
    "skill://mcpeg.two/refunds/SKILL.md",
    "git://x/team/two/SKILL.md",
    "skill://three/SKILL.md",
];

#[tokio::test]
async fn skills_of_all_servers_are_in_one_list_and_each_is_found_by_its_address() {
    let [one, two, three] = skill_servers();
    let gateway =
        Gateway::start(&(one.upstream("one") + &two.upstream("two") + &three.upstream("three"))).await;
    for client in clients(&gateway, "/mcp").await {
        let list = result(&client, "skills/list", &json!({})).await;
        let skills = list["skills"].as_array().expect("skills").clone();
        let uris: Vec<_> = skills.iter().map(|skill| skill["uri"].as_str().expect("an address")).collect();
        assert_eq!(uris, LISTED);
        assert_eq!((&list["resultType"], &list["cacheScope"]), (&json!("complete"), &json!("private")));
        assert!(list["ttlMs"].as_u64().is_some_and(|ttl| ttl <= 1000), "{list}");
        for skill in &skills {
            let got = result(&client, "skills/get", &json!({ "uri": skill["uri"] })).await;
            assert_eq!(got["skill"], *skill, "the same entry");
            assert!(got["ttlMs"].is_u64() && skill["vendor"] == json!({ "z": 1, "a": 2 }), "{got}");
            for file in skill["resources"].as_array().expect("files") {
                let text = read(&client, file["uri"].as_str().expect("an address")).await;
                assert!(
                    skill["frontmatter"]["description"] == text[..text.find(' ').unwrap_or(text.len())]
                        && file["size"] == text.len(),
                    "{file} {text}"
                );
            }
        }
        // One that is not listed is found, too, and so is what is in it.
        let hidden = result(&client, "skills/get", &json!({ "uri": "skill://hidden/SKILL.md" })).await;
        assert_eq!(hidden["skill"]["frontmatter"]["description"], "two");
        assert_eq!(read(&client, "skill://hidden/sub/c.md").await, "two skill://hidden/sub/c.md");
        assert_eq!(read(&client, "skill://refunds-2/SKILL.md").await, "one skill://refunds-2/SKILL.md");
        for (directory, file) in [
            ("skill://mcpeg.two/refunds", "skill://mcpeg.two/refunds/SKILL.md"),
            ("skill://alone", "skill://alone/SKILL.md"),
            ("skill://hidden/sub", "skill://hidden/sub/c.md"),
        ] {
            let found = result(&client, "resources/directory/read", &json!({ "uri": directory })).await;
            assert_eq!(found["resources"][0]["uri"], file, "{found}");
        }
        for uri in ["skill://none/SKILL.md", "skill://refunds/SKILL.md", "skill://mcpeg.two/none/SKILL.md"] {
            assert_eq!(code(&client, "skills/get", &json!({ "uri": uri })).await, -32602, "{uri}");
        }
        let (_, message) =
            ask(&client, "resources/read", &json!({ "uri": "skill://refunds/SKILL.md" })).await.error();
        assert!(
            message.contains("`skill://mcpeg.one/refunds/SKILL.md` or `skill://mcpeg.two/refunds/SKILL.md`"),
            "{message}"
        );
        let listed = result(&client, "resources/list", &json!({})).await;
        assert_eq!(listed["resources"][0]["uri"], "skill://mcpeg.one/refunds/SKILL.md", "{listed}");
        let asked = asked(&client, "three_asked").await;
        assert!(!asked.iter().any(|asked| asked.starts_with("resources/directory")), "{asked:?}");
    }
    // What a server says at its own endpoint is as it says it.
    let own = Client::modern(gateway.address(), "/mcp/two");
    assert_eq!(result(&own, "skills/list", &json!({})).await["skills"][0]["uri"], "skill://refunds/SKILL.md");
    gateway.stop().await;
}

#[tokio::test]
async fn skill_names_no_file_that_its_client_cannot_read() {
    let [one, two, _] = skill_servers();
    let configuration = one.upstream("one")
        + "resources = { deny = [\"*/a.md\"] }\n"
        + &two.upstream("two")
        + "[endpoints.own]\nupstreams = [\"two\"]\nresources = { deny = [\"*/b.md\"] }\n\
           [endpoints.all]\nresources = { deny = [\"*/b.md\"] }\n";
    let gateway = Gateway::start(&configuration).await;
    // By the upstream's own selection, by that of an endpoint, and where addresses are told apart.
    for (path, denied, skill) in [
        ("/mcp/one", "/a.md", "skill://refunds/SKILL.md"),
        ("/mcp", "/a.md", "skill://mcpeg.one/refunds/SKILL.md"),
        ("/mcp/own", "/b.md", "skill://refunds/SKILL.md"),
        ("/mcp/all", "/b.md", "skill://mcpeg.two/refunds/SKILL.md"),
        ("/mcp/all", "/a.md", "skill://mcpeg.one/refunds/SKILL.md"),
    ] {
        for client in clients(&gateway, path).await {
            let list = result(&client, "skills/list", &json!({})).await;
            let listed = list["skills"].as_array().expect("skills").iter().find(|it| it["uri"] == skill);
            let got = result(&client, "skills/get", &json!({ "uri": skill })).await;
            assert_eq!(listed, Some(&got["skill"]), "{path} {list}");
            let files: Vec<_> = got["skill"]["resources"].as_array().expect("files").iter().collect();
            assert!(files.iter().any(|file| file["uri"] == skill), "{path} {files:?}");
            assert!(!got.to_string().contains(denied), "{path} {got}");
            let file = skill.replace("/SKILL.md", denied);
            let code = code(&client, "resources/read", &json!({ "uri": file })).await;
            assert!(matches!(code, -32602 | -32002), "{path} {file} {code}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn extensions_are_offered_as_far_as_they_are_routed() {
    let [one, two, three] = skill_servers();
    let other = Script::new(r#"capabilities = {"tools": {}, "experimental": {"com.example/x": {}}}"#);
    for (configuration, extensions, codes) in [
        (
            one.upstream("one") + &two.upstream("two"),
            json!({ "io.modelcontextprotocol/skills": { "directoryRead": true } }),
            [-32602, -32602],
        ),
        (
            three.upstream("three") + &other.upstream("other"),
            json!({ "io.modelcontextprotocol/skills": {} }),
            [-32602, -32601],
        ),
        (other.upstream("other") + &other.upstream("another"), Value::Null, [-32601, -32601]),
    ] {
        let gateway = Gateway::start(&configuration).await;
        for client in clients(&gateway, "/mcp").await {
            for (method, expected) in ["skills/get", "resources/directory/read"].into_iter().zip(codes) {
                assert_eq!(
                    code(&client, method, &json!({ "uri": "skill://none/SKILL.md" })).await,
                    expected,
                    "{method}"
                );
            }
            assert_eq!(code(&client, "events/list", &json!({})).await, -32601);
        }
        let modern = Client::modern(gateway.address(), "/mcp");
        let said = result(&modern, "server/discover", &json!({})).await;
        assert_eq!(said["capabilities"]["extensions"], extensions, "{said}");
        assert_eq!(said["capabilities"]["experimental"], Value::Null, "{said}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn resource_that_nobody_lists_is_read_where_it_was_named_or_is_known() {
    let one = files(
        r#"
name, capabilities, templates = "one", {"tools": {}, "resources": {}}, ["t://{x}"]
files = {"x://job/7": "one", "x://one": "one", "t://1": "one"}"#,
    );
    let two = files(
        r#"
name, capabilities, templates = "two", {"tools": {}, "resources": {}}, ["t://{x}"]
files = {"x://job/7": "two", "x://two": "two", "t://1": "two", "t://2": "two"}
links = ["x://job/7"]"#,
    );
    let none = Script::new("");
    let gateway =
        Gateway::start(&(one.upstream("one") + &none.upstream("none") + &two.upstream("two"))).await;
    for client in clients(&gateway, "/mcp").await {
        client.call("two_link", "{}").await.result();
        // Both would read it; it is that server's which has named it.
        for (uri, server) in [
            ("x://job/7", "two"),
            ("x://one", "one"),
            ("x://two", "two"),
            ("x://two", "two"),
            ("t://1", "one"),
            ("t://2", "two"),
        ] {
            assert_eq!(read(&client, uri).await, server, "{uri}");
        }
        let expected = if matches!(client.era, crate::client::Era::Modern) { -32602 } else { -32002 };
        for uri in ["x://none", "t://none"] {
            assert_eq!(code(&client, "resources/read", &json!({ "uri": uri })).await, expected, "{uri}");
        }
        let asked = asked(&client, "one_asked").await;
        assert!(!asked.iter().any(|asked| asked == "resources/read x://job/7"), "{asked:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn pages_of_one_address_are_told_apart_in_lists_and_when_they_are_read() {
    let says =
        r#"capabilities = {"tools": {}, "resources": {}, "extensions": {"io.modelcontextprotocol/ui": {}}}"#;
    let one = files(&format!(
        r#"{says}
name, pages, listed = "one", {{"show": "ui://app/page"}}, ["ui://app/page"]
files = {{"ui://app/page": "<one>"}}"#
    ));
    let two = files(&format!(
        r#"{says}
name, pages = "two", {{"show": "ui://app/page", "own": "ui://two/own"}}
files = {{"ui://app/page": "<two>", "ui://two/own": "<own>"}}"#
    ));
    let gateway = Gateway::start(&(one.upstream("one") + &two.upstream("two"))).await;
    for client in clients(&gateway, "/mcp").await {
        let tools = result(&client, "tools/list", &json!({})).await;
        let expected = [
            ("one_show", "ui://mcpeg.one/app/page", "<one>"),
            ("two_show", "ui://mcpeg.two/app/page", "<two>"),
            ("two_own", "ui://two/own", "<own>"),
        ];
        assert_eq!(tools["tools"].as_array().map(Vec::len), Some(3), "{tools}");
        for (tool, (name, uri, html)) in tools["tools"].as_array().expect("tools").iter().zip(expected) {
            let meta = json!({ "ui": { "visibility": ["app"], "resourceUri": uri }, "ui/resourceUri": uri, "vendor": 1 });
            assert_eq!((&tool["name"], &tool["_meta"]), (&json!(name), &meta), "{tool}");
            assert_eq!(read(&client, uri).await, html);
        }
        let resources = result(&client, "resources/list", &json!({})).await;
        assert_eq!(resources["resources"][0]["uri"], "ui://mcpeg.one/app/page", "{resources}");
        let (_, message) = ask(&client, "resources/read", &json!({ "uri": "ui://app/page" })).await.error();
        assert!(message.contains("`ui://mcpeg.two/app/page`"), "{message}");
        // A page calls the tools of its server by the names that this has for them, where nobody else has such a one.
        assert_eq!(client.call("own", "{}").await.text(), "two");
        assert_eq!(client.call("show", "{}").await.error().0, -32602);
    }
    let own = Client::modern(gateway.address(), "/mcp/two");
    assert_eq!(read(&own, "ui://app/page").await, "<two>");
    gateway.stop().await;
}

#[tokio::test]
async fn server_is_not_asked_for_what_it_has_not_declared() {
    // It answers all of it, and tells what it was asked.
    let lines = r#"
asked = []
def call(message, name):
    return json.dumps(asked)
def handle(message):
    if message["method"] in ("resources/subscribe", "resources/unsubscribe", "completion/complete", "logging/setLevel"):
        asked.append([message["method"], ""])
        reply(message, {"completion": {"values": []}})
        return True
    return False
"#;
    let silent = Script::new(&format!(
        "capabilities = {{\"tools\": {{}}, \"resources\": {{}}, \"prompts\": {{}}}}{lines}"
    ));
    let able = Script::new(&format!(
        "capabilities = {{\"tools\": {{}}, \"resources\": {{\"subscribe\": True}}, \"completions\": {{}}, \"logging\": {{}}}}{lines}"
    ));
    let gateway = Gateway::start(&(silent.upstream("silent") + &able.upstream("able"))).await;
    let requests = [
        ("logging/setLevel", json!({ "level": "info" })),
        ("resources/subscribe", json!({ "uri": "x://1" })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "p" }, "argument": { "name": "a", "value": "" } }),
        ),
        ("resources/unsubscribe", json!({ "uri": "x://1" })),
    ];
    for (name, expected) in [("silent", 0), ("able", 4)] {
        let path = format!("/mcp/{name}");
        // One that can be asked has a connection of its own, opened before the level is set and after it.
        for (number, capabilities) in ["{}", r#"{"roots":{}}"#].into_iter().enumerate() {
            let client = Client::legacy_with(gateway.address(), &path, capabilities).await;
            client.call("one", "{}").await.result();
            for (method, params) in &requests {
                let reply = ask(&client, method, params).await.reply();
                let refused = reply.contains("-32601") && reply.contains("has not declared");
                assert_eq!(
                    refused,
                    expected == 0 && *method != "logging/setLevel",
                    "{name} {method}: {reply}"
                );
            }
            let asked = asked(&client, "one").await;
            // The level is for connections of the session's own.
            assert_eq!(asked.len(), expected - usize::from(expected > 0 && number == 0), "{name}: {asked:?}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn resource_is_followed_at_its_own_upstream_and_told_of_by_no_other() {
    // It tells of updates of everybody's resources, and of which it was asked.
    let server = |name: &str, own: &str| {
        Script::new(&format!(
            r#"
capabilities = {{"tools": {{}}, "resources": {{"subscribe": True}}}}
asked = []
def call(message, name):
    for number in (1, 2) if name == "tell" else ():
        send({{"method": "notifications/resources/updated", "params": {{"uri": "x://%s" % number, "by": "{name}"}}}})
    return json.dumps(asked)
tools = ["tell", "asked"]
def handle(message):
    if message["method"] == "resources/list":
        reply(message, {{"resources": [{{"uri": "{own}", "name": "own"}}]}})
    elif message["method"] == "resources/templates/list":
        reply(message, {{"resourceTemplates": []}})
    elif message["method"] == "resources/subscribe":
        asked.append([message["method"], message["params"]["uri"]])
        reply(message, {{}})
    else:
        return False
    return True
"#
        ))
    };
    let (one, two) = (server("one", "x://1"), server("two", "x://2"));
    let gateway = Gateway::start(&(one.upstream("one") + &two.upstream("two"))).await;
    let mut stream = listen_to(&gateway, r#"{"resourceSubscriptions":["x://1","x://2","x://nobody"]}"#).await;
    let begun = wait(&mut stream, &["subscriptions/acknowledged", "\n\n"]).await;
    assert!(begun.contains("x://1") && begun.contains("x://2") && !begun.contains("nobody"), "{begun}");
    let client = Client::modern(gateway.address(), "/mcp");
    for (name, own) in [("one", "x://1"), ("two", "x://2")] {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let asked = loop {
            let asked = asked(&client, &format!("{name}_asked")).await;
            if !asked.is_empty() {
                break asked;
            }
            assert!(std::time::Instant::now() < deadline, "nobody subscribes at {name}");
        };
        assert_eq!(asked, [format!("resources/subscribe {own}")], "{name}");
    }
    let session = Client::legacy(gateway.address(), "/mcp").await;
    let mut own = session.stream().await.into_body();
    ask(&session, "resources/subscribe", &json!({ "uri": "x://1" })).await.result();
    // The other server's come first.
    for tool in ["two_tell", "one_tell"] {
        client.call(tool, "{}").await.result();
    }
    let told = wait(&mut stream, &[r#""x://1", "by": "one""#]).await;
    assert!(!told.contains(r#""x://1", "by": "two""#), "{told}");
    let told = wait(&mut own, &[r#""by": "one""#]).await;
    assert!(!told.contains(r#""by": "two""#), "{told}");
    gateway.stop().await;
}

#[tokio::test]
async fn servers_are_told_of_extensions_and_what_they_list_for_them_is_for_such_clients_only() {
    // What it lists is what its client has.
    let lines = r#"
known = {}
def handle(message):
    if message["method"] == "initialize":
        known.update(message["params"]["capabilities"].get("extensions", {}))
    meta = message.get("params", {}).get("_meta", {})
    said = meta.get("io.modelcontextprotocol/clientCapabilities", {}).get("extensions", known)
    if message["method"] not in ("tools/list", "tools/call"):
        return False
    names = ["ui"] if "io.modelcontextprotocol/ui" in said else ["none"]
    if message["method"] == "tools/call":
        reply(message, text(names[0]))
    else:
        reply(message, {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names], "resultType": "complete", "ttlMs": 60000, "cacheScope": "public"})
    return True
"#;
    let (old, new) = (Script::new(lines), Script::new(&format!("modern = True{lines}")));
    let over_http = http_script(
        r#"
modern = True
def post(handler, message):
    if message.get("method") != "tools/list":
        return False
    said = message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"].get("extensions", {})
    name = "ui" if "io.modelcontextprotocol/ui" in said else "none"
    handler.result(message, {"tools": [{"name": name, "inputSchema": {"type": "object"}}], "ttlMs": 60000})
    return True
"#,
    )
    .await;
    let configuration = old.upstream("old") + &new.upstream("new") + &http("http", over_http.port);
    let gateway = Gateway::start(&configuration).await;
    let said = r#"{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}}}"#;
    for (capabilities, name) in [("{}", "none"), (said, "ui"), ("{}", "none"), (said, "ui")] {
        let session = Client::legacy_with(gateway.address(), "/mcp", capabilities).await;
        let modern = Client::modern(gateway.address(), "/mcp");
        let meta = MODERN_META.replace("{}", capabilities);
        let listed =
            modern.request("1", "tools/list", "", &format!(r#"{{"_meta":{{{meta}}}}}"#)).await.tools();
        let expected = ["old", "new", "http"].map(|upstream| format!("{upstream}_{name}"));
        assert_eq!(listed, expected, "{capabilities}");
        assert_eq!(session.tools().await, expected, "{capabilities}");
        for upstream in ["old", "new"] {
            let params = format!(r#"{{"name":"{upstream}_x","_meta":{{{meta}}}}}"#);
            let called = modern.request("1", "tools/call", &format!("{upstream}_x"), &params).await.text();
            assert_eq!(
                (called.as_str(), session.call(&format!("{upstream}_x"), "{}").await.text().as_str()),
                (name, name)
            );
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn tool_that_a_client_must_leave_out_is_left_out_of_merged_lists() {
    let property = |schema: &str| format!(r#"{{"type": "object", "properties": {{"a": {schema}}}}}"#);
    let wrong = [
        property(r#"{"type": "string", "x-mcp-header": ""}"#),
        property(r#"{"type": "string", "x-mcp-header": "a b"}"#),
        property(r#"{"type": "number", "x-mcp-header": "A"}"#),
        property(r#"{"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}"#),
        r#"{"properties": {"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}}}"#.to_owned(),
    ];
    let long = "n".repeat(125);
    let lines = format!(
        r#"
modern = True
schemas = [{}, {{"type": "object", "properties": {{"a": {{"type": "string", "x-mcp-header": "Fine"}}}}}}]
def post(handler, message):
    if message.get("method") != "tools/list":
        return False
    listed = [{{"name": "t%s" % number, "inputSchema": schema}} for number, schema in enumerate(schemas)]
    handler.result(message, {{"tools": listed + [{{"name": "{long}", "inputSchema": {{"type": "object"}}}}]}})
    return True
"#,
        wrong.join(", ")
    );
    let (server, other) = (http_script(&lines).await, Script::new(""));
    let gateway = Gateway::start(&(http("bad", server.port) + &other.upstream("good"))).await;
    for client in clients(&gateway, "/mcp").await {
        assert_eq!(client.tools().await, ["bad_t5", "good_one"]);
    }
    let own = Client::modern(gateway.address(), "/mcp/bad");
    assert_eq!(own.tools().await.len(), 7, "its own endpoint shows what it says");
    let printed = gateway.printed();
    for item in ["t0", "t1", "t2", "t3", "t4", long.as_str()] {
        let told =
            printed.lines().filter(|line| line.contains("WARN") && line.contains(&format!("item={item:?}")));
        assert!(told.count() >= 1, "{item}: {printed}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn cursor_of_another_list_is_refused() {
    let many = Script::new(
        r#"
capabilities = {"tools": {}, "resources": {}}
tools = ["t%s" % number for number in range(1001)]
def handle(message):
    if message["method"] != "resources/list":
        return False
    reply(message, {"resources": [{"uri": "x://%s" % number, "name": "x"} for number in range(1001)]})
    return True
"#,
    );
    let gateway = Gateway::start(&(many.upstream("one") + &Script::new("").upstream("two"))).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let page = async |method: &str| result(&client, method, &json!({})).await["nextCursor"].clone();
    let (tools, resources) = (page("tools/list").await, page("resources/list").await);
    for (method, cursor, fine) in [
        ("tools/list", &tools, true),
        ("tools/list", &resources, false),
        ("resources/list", &resources, true),
        ("resources/list", &tools, false),
        ("prompts/list", &tools, false),
    ] {
        let reply = ask(&client, method, &json!({ "cursor": cursor })).await.reply();
        assert_eq!(reply.contains("-32602"), !fine, "{method} {cursor}: {reply}");
    }
    gateway.stop().await;
}
