//! Servers as clients write them, and what becomes of them.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::cli::import::document;

/// The tree of a server.
fn node(server: &serde_json::Value) -> Node {
    document::parse(Path::new("a.json"), &server.to_string()).unwrap()
}

/// The table, the names of variables to set, and the notes.
fn taken(server: &serde_json::Value) -> (Table, Vec<String>, Vec<String>) {
    let mut secrets = Secrets::default();
    match translate("docs", &node(server), false, &mut secrets) {
        Translated::Table(table, notes) => (table, secrets.names().map(str::to_owned).collect(), notes),
        Translated::Refused(fault) => panic!("refused: {} {}", fault.key, fault.why),
        Translated::Left(why) => panic!("left out: {why}"),
    }
}

#[test]
fn plain_values_are_kept_and_secrets_become_references() {
    let (table, names, _) = taken(&json!({
        "command": "npx",
        "args": ["-y", "server", "--api-key", "hunter2", "--token=hunter3", "-e", "DB_PASSWORD=hunter4", "a$b"],
        "env": { "TZ": "UTC", "GITHUB_TOKEN": "hunter5", "PORT": 80 },
        "cwd": "/srv"
    }));
    let expected = r#"
        command = "npx"
        args = ["-y", "server", "--api-key", "${env:DOCS_API_KEY}", "--token=${env:TOKEN}", "-e",
                "DB_PASSWORD=${env:DB_PASSWORD}", "a$$b"]
        working_dir = "/srv"
        [env]
        GITHUB_TOKEN = "${env:GITHUB_TOKEN}"
        PORT = "80"
        TZ = "UTC"
    "#;
    assert_eq!(table, expected.parse::<Table>().unwrap());
    assert_eq!(names, ["DB_PASSWORD", "DOCS_API_KEY", "GITHUB_TOKEN", "TOKEN"]);
}

#[test]
fn headers_keep_their_scheme_and_urls_lose_their_keys() {
    let (table, names, notes) = taken(&json!({
        "type": "http",
        "url": "https://x.example.org/mcp?api_key=hunter2&plain=1",
        "headers": { "Authorization": "Bearer hunter3", "X-Plain": "yes", "Accept": "*/*" }
    }));
    let expected = r#"
        url = "https://x.example.org/mcp?api_key=${env:DOCS_API_KEY}&plain=1"
        [headers]
        Authorization = "Bearer ${env:DOCS_TOKEN}"
        X-Plain = "yes"
    "#;
    assert_eq!(table, expected.parse::<Table>().unwrap());
    assert_eq!(names, ["DOCS_API_KEY", "DOCS_TOKEN"]);
    assert_eq!(notes, ["ignored header `Accept`, which mcpeg sets itself"]);
}

#[test]
fn every_spelling_of_a_transport_and_of_a_switch_is_understood() {
    for kind in
        ["http", "HTTP", "streamable-http", "streamable_http", "streamableHttp", "StreamableHTTP", "remote"]
    {
        for key in TRANSPORT {
            for url in URL {
                let (table, _, notes) = taken(&json!({ key: kind, url: "https://example.org/mcp" }));
                assert_eq!(table["url"].as_str(), Some("https://example.org/mcp"));
                assert_eq!(notes, Vec::<String>::new());
            }
        }
    }
    for (key, on) in SWITCHES {
        for value in [json!(on), json!(!on), json!((!on).to_string())] {
            let (table, ..) = taken(&json!({ "command": "a", key: value }));
            let off = value != json!(on);
            assert_eq!(table.get("enabled"), off.then_some(&toml::Value::Boolean(false)), "{key} {value}");
        }
    }
}

#[test]
fn times_have_the_unit_that_their_client_means() {
    for (key, value, ours, duration) in [
        ("timeout", json!(60), "request_timeout", "60s"),
        ("timeout", json!(30000), "request_timeout", "30s"),
        ("timeout", json!(1500), "request_timeout", "1500ms"),
        ("tool_timeout_sec", json!(45.5), "request_timeout", "45500ms"),
        ("startup_timeout_sec", json!(20), "start_timeout", "20s"),
        ("startup_timeout_ms", json!(20000), "start_timeout", "20s"),
    ] {
        let (table, ..) = taken(&json!({ "command": "a", key: value }));
        assert_eq!(table[ours].as_str(), Some(duration), "{key}");
    }
    for value in [json!(0), json!(-1), json!("soon"), json!([]), json!(1e300)] {
        let (table, _, notes) = taken(&json!({ "command": "a", "timeout": value }));
        assert!(
            !table.contains_key("request_timeout") && notes[0].contains("ignored `timeout`"),
            "{notes:?}"
        );
    }
}

#[test]
fn what_is_not_taken_is_named() {
    let (_, _, notes) = taken(&json!({ "command": "a", "autoApprove": [], "headers": { "a": "b" } }));
    assert_eq!(
        notes,
        [
            "ignored `headers`, which mean nothing to this transport",
            "ignored `autoApprove`, which mcpeg has no key for"
        ]
    );
    let (_, _, notes) = taken(
        &json!({ "url": "https://example.org", "env": { "A": "b" }, "httpUrl": "https://example.org/mcp" }),
    );
    assert_eq!(notes, ["ignored `env`, `url`, which mean nothing to this transport"]);
}

#[test]
fn a_refused_server_leaves_no_variable_behind() {
    let mut secrets = Secrets::default();
    let server = node(&json!({ "command": "a", "args": ["--token", "hunter2"], "cwd": "b" }));
    let Translated::Refused(fault) = translate("docs", &server, false, &mut secrets) else { panic!("taken") };
    assert_eq!((fault.key.as_str(), secrets.names().count()), ("cwd", 0));
}
