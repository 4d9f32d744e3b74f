//! What the merged endpoint says of upstreams that are not as the specification has them: it fits all the same, and one
//! upstream never takes from clients what another one offers.
//!
//! The tables are generated: each member of what a server can do, and of each kind of item, is `null`, missing, and of
//! every wrong type.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::client::{Client, MODERN_META, post};
use crate::gateway::{Gateway, write};
use crate::schema::Schema;
use crate::scripted::{Script, http_script};
use crate::upstreams::http;

/// A server whose lists are in a file.
const LISTS: &str = r#"
data = json.load(open("FILE"))
capabilities = data["capabilities"]
def handle(message):
    key = {"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources",
           "resources/templates/list": "resourceTemplates"}.get(message["method"])
    if key:
        reply(message, {key: data[key], "resultType": "complete"})
    return bool(key)
"#;

/// A server that says what it can do as the name of its client wants it.
const SAYS: &str = r#"
def post(handler, message):
    if message.get("method") != "initialize":
        return False
    said = message["params"]["clientInfo"].get("title")
    hello = {"protocolVersion": "2025-11-25", "serverInfo": {"name": "says", "version": "1"}, "capabilities": {"tools": {}}}
    handler.result(message, hello | (json.loads(said) if said else {}))
    return True
"#;

/// Kinds of items: the list's method, its member, the result's definition, and the member that names an item.
const KINDS: [(&str, &str, &str, &str, &str); 4] = [
    ("tools/list", "tools", "ListToolsResult", "Tool", "name"),
    ("prompts/list", "prompts", "ListPromptsResult", "Prompt", "name"),
    ("resources/list", "resources", "ListResourcesResult", "Resource", "uri"),
    (
        "resources/templates/list",
        "resourceTemplates",
        "ListResourceTemplatesResult",
        "ResourceTemplate",
        "uriTemplate",
    ),
];

/// A complete item of each kind, which tells its number.
fn item(kind: &str, number: usize) -> Value {
    let icons = json!([{ "src": "https://e.example/i", "mimeType": "image/png", "sizes": ["48x48"], "theme": "dark" }]);
    let annotations =
        json!({ "audience": ["user"], "priority": 0.5, "lastModified": "2025-01-12T15:00:58Z" });
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"],
        "$schema": "https://json-schema.org/draft/2020-12/schema" });
    let mut item = match kind {
        "tools" => json!({ "name": format!("t{number}"), "inputSchema": schema, "outputSchema": schema,
            "annotations": { "title": "T", "readOnlyHint": true, "destructiveHint": true, "idempotentHint": true,
            "openWorldHint": false }, "execution": { "taskSupport": "forbidden" } }),
        "prompts" => json!({ "name": format!("p{number}"), "arguments": [{ "name": "a", "title": "A",
            "description": "D", "required": true }] }),
        "resources" => {
            json!({ "uri": format!("x://r/{number}"), "name": "r", "mimeType": "text/plain", "size": 7,
            "annotations": annotations })
        }
        _ => json!({ "uriTemplate": format!("x://t/{number}/{{a}}"), "name": "t", "mimeType": "text/plain",
            "annotations": annotations }),
    };
    item["title"] = json!("T");
    item["description"] = json!("D");
    item["icons"] = icons;
    item["_meta"] = json!({ "com.example/a": 1, "com.example/b": null });
    item["com.example/case"] = json!(number);
    item
}

/// The places of all members of a value, as pointers; the members of maps are of any name and are left out.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(object) if !at.ends_with("_meta") => {
            object.iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(place, item)| (place.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    for (name, value) in inner.into_iter().filter(|(name, _)| name != "com.example/case") {
        let place = format!("{at}/{}", name.replace('/', "~1"));
        places(value, &place, found);
        found.push(place);
    }
}

/// What else stands in a place; nothing at all at first.
fn others() -> Vec<Option<Value>> {
    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(5),
        json!(0.5),
        json!("x"),
        json!([]),
        json!({}),
        json!([null]),
        json!([5]),
        json!({ "x": 5 }),
        json!(["x"]),
        json!([{}]),
    ];
    std::iter::once(None).chain(values.into_iter().map(Some)).collect()
}

/// A value with something else, or nothing, in a place.
fn with(value: &Value, place: &str, other: Option<&Value>) -> Value {
    let mut value = value.clone();
    let (parent, name) = place.rsplit_once('/').expect("a place");
    let name = &name.replace("~1", "/");
    let parent = value.pointer_mut(parent).expect("a place");
    match (parent, other) {
        (Value::Object(object), Some(other)) => drop(object.insert(name.clone(), other.clone())),
        (Value::Object(object), None) => drop(object.remove(name)),
        (Value::Array(items), Some(other)) => items[name.parse::<usize>().expect("a number")] = other.clone(),
        (Value::Array(items), None) => drop(items.remove(name.parse().expect("a number"))),
        _ => unreachable!("a place is in an object or a list"),
    }
    value
}

/// One item of a generated table.
struct Case {
    /// What the server lists.
    item: Value,
    /// What clients are to see; nothing where it may be mended or left out.
    shown: Option<Value>,
}

/// The table of one kind. What fits all revisions is shown as it is, and `null` for what may be left out counts as that.
fn cases(kind: &str, definition: &str, key: &str) -> Vec<Case> {
    let schemas = Schema::all();
    let fits = |item: &Value| schemas.iter().all(|schema| schema.misfit(definition, item).is_none());
    let mut members = Vec::new();
    places(&item(kind, 0), "", &mut members);
    let mut cases = vec![Case { item: item(kind, 0), shown: Some(item(kind, 0)) }];
    for place in members {
        for other in others() {
            let item = with(&item(kind, cases.len()), &place, other.as_ref());
            let is_address = key == "uri" && place == "/uri";
            let shown = if fits(&item) && !is_address {
                Some(item.clone())
            } else {
                let without = with(&item, &place, None);
                // The modern era has no rules for what is in it.
                let known = !place.starts_with("/outputSchema/");
                (known && other == Some(Value::Null) && fits(&without)).then_some(without)
            };
            cases.push(Case { item, shown });
        }
    }
    // What is no item at all.
    cases.extend(others().into_iter().flatten().map(|item| Case { item, shown: None }));
    cases
}

/// A client of a revision, with this `clientInfo.title`.
async fn client(gateway: &Gateway, revision: &str, title: Option<&str>) -> (Vec<(String, String)>, Value) {
    if revision == "2026-07-28" {
        let headers = [("mcp-protocol-version", revision), ("mcp-method", "server/discover")];
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{{"_meta":{{{MODERN_META}}}}}}}"#
        );
        let answer = post(gateway.address(), "/mcp", &headers, &body).await;
        let headers = vec![("mcp-protocol-version".to_owned(), revision.to_owned())];
        return (headers, serde_json::from_str(&answer.result()).expect("JSON"));
    }
    let mut info = json!({ "name": "raw", "version": "1" });
    if let Some(title) = title {
        info["title"] = json!(title);
    }
    let params = json!({ "protocolVersion": revision, "capabilities": {}, "clientInfo": info });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let answer = post(gateway.address(), "/mcp", &[], &body.to_string()).await;
    let session = answer.headers["mcp-session-id"].to_str().expect("ASCII").to_owned();
    let headers =
        [("mcp-session-id".to_owned(), session), ("mcp-protocol-version".to_owned(), revision.to_owned())];
    (headers.into(), serde_json::from_str(&answer.result()).expect("JSON"))
}

/// All pages of a list.
async fn list(
    gateway: &Gateway,
    path: &str,
    headers: &[(String, String)],
    method: &str,
    member: &str,
) -> Vec<Value> {
    let (mut pages, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let modern = headers.iter().any(|(_, value)| value == "2026-07-28");
        let meta = if modern { format!(r#"{{"_meta":{{{MODERN_META}}}}}"#) } else { "{}".to_owned() };
        let mut params: Value = serde_json::from_str(&meta).expect("JSON");
        if cursor.is_string() {
            params["cursor"] = cursor.clone();
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let own: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let all = [&own[..], &[("mcp-method", method)]].concat();
        let page: Value =
            serde_json::from_str(&post(gateway.address(), path, &all, &body).await.result()).expect("JSON");
        cursor = page["nextCursor"].clone();
        assert!(page[member].is_array(), "{page}");
        pages.push(page);
        if cursor.is_null() {
            return pages;
        }
    }
}

/// A gateway before a server with these lists and one with nothing wrong.
async fn gateway_with(lists: &Value) -> (Gateway, Script, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    write(file.path(), lists.to_string());
    let script = Script::new(&LISTS.replace("FILE", file.path().to_str().expect("UTF-8")));
    let good = Script::new(r#"tools = ["fine"]"#);
    let gateway = Gateway::start(&(script.upstream("bad") + &good.upstream("good"))).await;
    (gateway, good, file)
}

#[tokio::test]
async fn merged_lists_fit_every_revision_whatever_member_of_an_item_is_wrong() {
    let tables: Vec<_> = KINDS.map(|(_, member, _, definition, key)| cases(member, definition, key)).into();
    let items = |cases: &Vec<Case>| cases.iter().map(|case| case.item.clone()).collect::<Value>();
    let mut lists: Map<_, _> = KINDS
        .iter()
        .zip(&tables)
        .map(|((_, member, ..), cases)| ((*member).to_owned(), items(cases)))
        .collect();
    lists.insert("capabilities".to_owned(), json!({ "tools": {}, "prompts": {}, "resources": {} }));
    let (gateway, ..) = gateway_with(&Value::Object(lists)).await;
    for schema in Schema::all() {
        let (headers, _) = client(&gateway, schema.revision, None).await;
        for ((method, member, result, _, key), cases) in KINDS.iter().zip(&tables) {
            let pages = list(&gateway, "/mcp", &headers, method, member).await;
            for page in &pages {
                assert_eq!(schema.misfit(result, page), None);
            }
            let shown: Vec<_> =
                pages.iter().flat_map(|page| page[*member].as_array().expect("items")).collect();
            for (number, wanted) in
                cases.iter().enumerate().filter_map(|(n, case)| Some((n, case.shown.clone()?)))
            {
                let mut wanted = wanted;
                if *key == "name" {
                    wanted["name"] = json!(format!("bad_{}", wanted["name"].as_str().expect("a name")));
                }
                let found = shown.iter().find(|item| item["com.example/case"] == json!(number));
                assert_eq!(found.copied(), Some(&wanted), "{} {member} {number}", schema.revision);
            }
            assert!(*member != "tools" || shown.iter().any(|tool| tool["name"] == "good_fine"));
        }
    }
    // The endpoint of the upstream itself shows what that says.
    let (headers, _) = client(&gateway, "2026-07-28", None).await;
    for ((method, member, ..), cases) in KINDS.iter().zip(&tables) {
        let pages = list(&gateway, "/mcp/bad", &headers, method, member).await;
        assert_eq!(pages[0][*member], items(cases), "{member}");
    }
    gateway.stop().await;
}

/// Tools that are not as they should be.
fn odd_tools() -> Value {
    let object = json!({ "type": "object" });
    json!([
        { "name": "none" }, { "name": "empty", "inputSchema": {} }, { "name": "null", "inputSchema": null },
        { "name": "nulls", "inputSchema": { "type": "object", "properties": null, "required": null } },
        { "name": "php", "inputSchema": { "type": "object", "properties": [] }, "annotations": [] },
        { "name": "flags", "inputSchema": { "type": "object", "properties": { "a": true, "b": false } } },
        { "name": "types", "inputSchema": { "type": ["object", "null"] } },
        { "name": "string", "inputSchema": { "type": "string" } }, { "name": "text", "inputSchema": "x" },
        { "name": "number", "inputSchema": object, "title": 5 }, { "inputSchema": object }, null, 7,
    ])
}

/// What clients see of them, with that of the other server.
fn mended_tools() -> Value {
    let object = json!({ "type": "object" });
    let schema = |name: &str, schema: Value| json!({ "name": format!("bad_{name}"), "inputSchema": schema });
    let mut php = schema("php", json!({ "type": "object", "properties": {} }));
    php["annotations"] = json!({});
    let mut expected = json!([
        schema("none", object.clone()),
        schema("empty", object.clone()),
        schema("null", object.clone()),
        schema("nulls", object.clone()),
        php,
        schema("flags", json!({ "type": "object", "properties": { "a": {}, "b": { "not": {} } } })),
        schema("types", object.clone()),
        schema("good", object.clone()),
    ]);
    expected[7]["name"] = json!("good_fine");
    expected
}

#[tokio::test]
async fn item_that_can_mean_one_thing_only_is_mended_and_told_of_once() {
    let lists = json!({ "capabilities": { "tools": {}, "resources": {} }, "tools": odd_tools(), "resources": [
        { "uri": "x://named" }, { "uri": "x://titled", "title": "T" }, { "uri": "relative" }, { "name": "nowhere" },
    ], "resourceTemplates": null, "prompts": {} });
    let (gateway, ..) = gateway_with(&lists).await;
    for revision in ["2025-11-25", "2026-07-28", "2025-11-25"] {
        let (headers, _) = client(&gateway, revision, None).await;
        let pages = list(&gateway, "/mcp", &headers, "tools/list", "tools").await;
        assert_eq!(pages[0]["tools"], mended_tools(), "{revision}");
        let pages = list(&gateway, "/mcp", &headers, "resources/list", "resources").await;
        let expected = json!([{ "uri": "x://named", "name": "x://named" }, { "uri": "x://titled", "title": "T", "name": "T" }]);
        assert_eq!(pages[0]["resources"], expected);
        for (method, member) in
            [("resources/templates/list", "resourceTemplates"), ("prompts/list", "prompts")]
        {
            assert_eq!(list(&gateway, "/mcp", &headers, method, member).await[0][member], json!([]));
        }
    }
    let printed = gateway.printed();
    for item in [
        "none",
        "empty",
        "nulls",
        "php",
        "flags",
        "types",
        "string",
        "text",
        "number",
        "x://named",
        "relative",
    ] {
        let told =
            printed.lines().filter(|line| line.contains("WARN") && line.contains(&format!("item={item:?}")));
        let told: Vec<_> = told.collect();
        assert!(told.len() == 1 && told[0].contains("upstream=bad"), "{item}: {told:?} in {printed}");
    }
    let status = gateway.status().await;
    let warnings = status["upstreams"][0]["warnings"].to_string();
    assert!(warnings.contains("6 left out") && warnings.contains("mended"), "{warnings}");
    assert_eq!(status["upstreams"][1]["warnings"], json!([]));
    gateway.stop().await;
}

/// Everything that a server can say that it can do.
fn abilities() -> Value {
    json!({
        "tools": { "listChanged": false }, "prompts": { "listChanged": false },
        "resources": { "listChanged": false, "subscribe": true }, "logging": {}, "completions": {},
        "tasks": { "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } },
        "experimental": { "com.example/a": { "a": 1 } }, "extensions": { "io.modelcontextprotocol/ui": {} },
    })
}

#[tokio::test]
async fn merged_capabilities_fit_every_revision_whatever_a_server_says() {
    let server = http_script(SAYS).await;
    let good = Script::new(
        r#"capabilities = {"tools": {"listChanged": True}, "prompts": {}, "resources": {"subscribe": True}, "logging": {}}"#,
    );
    let gateway = Gateway::start(&(good.upstream("good") + &http("says", server.port))).await;
    let (whole, mut members) = (json!({ "capabilities": abilities(), "instructions": "i" }), Vec::new());
    places(&whole, "", &mut members);
    let (schemas, mut seen) = (Schema::all(), BTreeSet::new());
    for place in members {
        for (number, other) in others().into_iter().enumerate() {
            let said = with(&whole, &place, other.as_ref());
            let schema = &schemas[number % 4];
            let (_, hello) = client(&gateway, schema.revision, Some(&said.to_string())).await;
            assert_eq!(schema.misfit("InitializeResult", &hello), None, "{place} {other:?}");
            // What the other server offers is there, and what this one says rightly.
            let capabilities = &hello["capabilities"];
            for name in ["tools", "prompts", "resources", "logging"] {
                assert!(capabilities[name].is_object(), "{place} {other:?}: {hello}");
            }
            assert_eq!(capabilities["resources"]["subscribe"], true, "{place} {other:?}");
            if !place.starts_with("/capabilities/tasks") && place != "/capabilities" {
                assert_eq!(&capabilities["tasks"], &whole["capabilities"]["tasks"], "{place} {other:?}");
            }
            // Nobody could route what is experimental.
            assert!(capabilities["experimental"].is_null(), "{place} {other:?}: {hello}");
            seen.insert(schema.revision);
        }
    }
    assert_eq!(seen.len(), 4);
    let (_, discovered) = client(&gateway, "2026-07-28", None).await;
    assert_eq!(schemas[4].misfit("DiscoverResult", &discovered), None);
    gateway.stop().await;
}

#[tokio::test]
async fn server_with_wrong_capabilities_alone_is_answered_for_and_shown_as_it_is_at_its_own_endpoint() {
    let script =
        Script::new(r#"capabilities = {"tools": True, "resources": None, "prompts": {"listChanged": None}}"#);
    let gateway = Gateway::start(&script.upstream("bad")).await;
    let (_, hello) = client(&gateway, "2025-11-25", None).await;
    assert_eq!(hello["capabilities"], json!({ "tools": {}, "prompts": {} }));
    let own = Client::legacy(gateway.address(), "/mcp/bad").await;
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "raw", "version": "1" } } });
    let hello: Value =
        serde_json::from_str(&post(gateway.address(), "/mcp/bad", &[], &body.to_string()).await.result())
            .expect("JSON");
    assert_eq!(
        hello["capabilities"],
        json!({ "tools": true, "resources": null, "prompts": { "listChanged": null } })
    );
    assert_eq!(own.tools().await, ["one"]);
    gateway.stop().await;
}

#[tokio::test]
async fn names_that_models_refuse_are_told_of_with_what_shortens_them() {
    let long = "n".repeat(60);
    let tools = Script::new(&format!(r#"tools = ["{long}", "{}"]"#, "n".repeat(51)));
    let other = Script::new("");
    let gateway = Gateway::start(&(tools.upstream("files_of_mine") + &other.upstream("other"))).await;
    for _ in 0..2 {
        Client::legacy(gateway.address(), "/mcp").await.tools().await;
    }
    let printed = gateway.printed();
    let told: Vec<_> = printed.lines().filter(|line| line.contains("WARN")).collect();
    let [one, two] = told[..] else { panic!("{printed}") };
    assert!(one.contains(&format!("files_of_mine_{long}")) && one.contains("length=74"), "{one}");
    assert!(
        two.contains("length=65") && two.contains("rename") && two.contains("[upstreams.files_of_mine]"),
        "{two}"
    );
    let status = gateway.status().await;
    let warnings = status["upstreams"][0]["warnings"].to_string();
    assert!(warnings.contains("2 names of tools") && warnings.contains("rename"), "{warnings}");
    let rename =
        format!("tools = {{ rename = {{ {long} = \"short\" }}, deny = [\"{}\"] }}\n", "n".repeat(51));
    let upstreams = tools.upstream("files_of_mine") + &rename + &other.upstream("other");
    assert!(gateway.reload("", &upstreams).await.status.success());
    let client = Client::legacy(gateway.address(), "/mcp").await;
    assert_eq!(client.tools().await, ["files_of_mine_short", "other_one"]);
    assert_eq!(gateway.status().await["upstreams"][0]["warnings"], json!([]));
    gateway.stop().await;
}

#[tokio::test]
async fn extensions_are_advertised_only_where_their_methods_are_routed() {
    let said = r#"capabilities = {"resources": {}, "extensions": {"io.modelcontextprotocol/skills": {}, "com.example/x": {"a": 1}, "io.modelcontextprotocol/ui": {}}}"#;
    let (one, two) = (Script::new(said), Script::new(said));
    let gateway = Gateway::start(&(one.upstream("one") + &two.upstream("two"))).await;
    for revision in ["2025-11-25", "2026-07-28"] {
        let (_, hello) = client(&gateway, revision, None).await;
        assert_eq!(
            hello["capabilities"]["extensions"],
            json!({ "io.modelcontextprotocol/ui": {}, "io.modelcontextprotocol/skills": {} }),
            "{revision}"
        );
    }
    gateway.stop().await;
}
