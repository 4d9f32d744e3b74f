//! Servers as clients write them, and what becomes of them.

use serde_json::json;

use super::*;

/// The table, and the names of variables to set.
fn table(server: &Value) -> (Table, Vec<String>) {
    let mut secrets = Secrets::default();
    match translate("docs", server, &mut secrets) {
        Translated::Table(table, _) => (table, secrets.names().map(str::to_owned).collect()),
        Translated::Refused(why) => panic!("refused: {why}"),
        Translated::Disabled => panic!("disabled"),
    }
}

/// Why a server is refused.
fn refused(server: &Value) -> String {
    match translate("docs", server, &mut Secrets::default()) {
        Translated::Refused(why) => why,
        _ => panic!("taken: {server}"),
    }
}

#[test]
fn plain_values_are_kept_and_secrets_become_references() {
    let (table, names) = table(&json!({
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
    let (table, names) = table(&json!({
        "type": "http",
        "url": "https://x.example.org/mcp?api_key=hunter2&plain=1",
        "headers": { "Authorization": "Bearer hunter3", "X-Plain": "yes" }
    }));
    let expected = r#"
        url = "https://x.example.org/mcp?api_key=${env:DOCS_API_KEY}&plain=1"
        [headers]
        Authorization = "Bearer ${env:DOCS_TOKEN}"
        X-Plain = "yes"
    "#;
    assert_eq!(table, expected.parse::<Table>().unwrap());
    assert_eq!(names, ["DOCS_API_KEY", "DOCS_TOKEN"]);
}

#[test]
fn a_header_in_an_argument_is_a_secret_too() {
    let server = json!({ "command": "mcp-remote", "args": ["--header", "Authorization: Bearer hunter2", "https://x/"] });
    let (table, names) = table(&server);
    assert_eq!(table["args"][1].as_str(), Some("Authorization:Bearer ${env:AUTHORIZATION}"));
    assert_eq!(table["args"][2].as_str(), Some("https://x/"));
    assert_eq!(names, ["AUTHORIZATION"]);
}

#[test]
fn what_mcpeg_cannot_serve_is_refused_with_the_reason() {
    assert!(refused(&json!({ "type": "sse", "url": "https://x/sse" })).contains("HTTP+SSE"));
    assert!(refused(&json!({ "type": "ws", "url": "wss://x/" })).contains("neither stdio nor http"));
    assert!(refused(&json!({})).contains("neither `command` nor `url`"));
    assert!(refused(&json!({ "command": "a", "url": "b" })).contains("both"));
    assert!(refused(&json!({ "command": "a", "args": [1] })).contains("array of strings"));
    assert!(refused(&json!({ "command": "a", "cwd": "b" })).contains("absolute"));
    assert!(refused(&json!({ "command": "a", "env": [] })).contains("not an object"));
    assert!(refused(&json!({ "command": "${workspaceFolder}/a" })).contains("only an editor"));
    assert!(!refused(&json!({ "url": "https://u:hunter2@x/" })).contains("hunter2"));
    assert!(refused(&json!("npx")).contains("not an object"));
}

#[test]
fn a_server_that_is_switched_off_is_left_out() {
    for server in [json!({ "command": "a", "disabled": true }), json!({ "command": "a", "enabled": false })] {
        assert!(matches!(translate("a", &server, &mut Secrets::default()), Translated::Disabled));
    }
}

#[test]
fn unknown_keys_are_named() {
    let server = json!({ "command": "a", "autoApprove": [] });
    let Translated::Table(_, notes) = translate("a", &server, &mut Secrets::default()) else {
        panic!("refused")
    };
    assert_eq!(notes, ["ignored `autoApprove`, which mcpeg has no key for"]);
}
