//! `import`: what is written, what is refused, and that no secret goes anywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::command::{Finished, Scratch};

/// A client's file with every kind of secret.
const CLIENT: &str = r#"{ "mcpServers": {
    "My Server": { "command": "true", "args": ["--api-key", "hunter2"], "env": { "API_TOKEN": "hunter2", "TZ": "UTC" } },
    "docs": { "type": "http", "url": "https://example.org/mcp?key=hunter2", "headers": { "Authorization": "Bearer hunter2" } }
} }"#;

/// Runs `import servers.json --config mcpeg.toml` with more arguments.
fn import(scratch: &Scratch, arguments: &[&str]) -> Finished {
    scratch.run(&[&["import", "servers.json", "--config", "mcpeg.toml"], arguments].concat())
}

/// A valid, empty configuration beside this file.
fn with_servers(json: &str) -> Scratch {
    Scratch::with_config("").file("servers.json", json)
}

#[test]
fn servers_become_files_that_mcpeg_loads_and_secrets_stay_out() {
    let scratch = with_servers(CLIENT);
    import(&scratch, &[])
        .exits(0)
        .never_shows("hunter2")
        .prints(&["wrote conf.d/My-Server.toml", "wrote conf.d/docs.toml"])
        .says(&["server `My Server` is called `My-Server` here"])
        .says(&["set these in the environment of mcpeg: API_TOKEN, DOCS_KEY, DOCS_TOKEN, MY_SERVER_API_KEY"]);
    for name in ["conf.d/My-Server.toml", "conf.d/docs.toml"] {
        assert!(!scratch.read(name).contains("hunter2"), "{}", scratch.read(name));
        let mode = fs::metadata(scratch.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
    }
    assert_eq!(fs::read_dir(scratch.path("conf.d")).unwrap().count(), 2, "a draft is left behind");
    assert!(scratch.read("conf.d/docs.toml").contains("Authorization = \"Bearer ${env:DOCS_TOKEN}\""));
    scratch.check(&[]).exits(78).says(&["`${env:API_TOKEN}` is not set"]);
    let mut command = scratch.command(&["--check", "--config", "mcpeg.toml"]);
    command.envs(["API_TOKEN", "DOCS_KEY", "DOCS_TOKEN", "MY_SERVER_API_KEY"].map(|name| (name, "x")));
    Finished::of(command).exits(0).prints(&["2 upstreams"]);
}

#[test]
fn a_dry_run_shows_the_files_and_writes_nothing() {
    let scratch = with_servers(CLIENT);
    import(&scratch, &["--dry-run"]).exits(0).never_shows("hunter2").prints(&[
        "would write conf.d/docs.toml",
        "[upstreams.docs]",
        "DOCS_TOKEN",
    ]);
    assert!(!scratch.path("conf.d").exists());
}

#[test]
fn the_form_of_vs_code_is_understood() {
    let json = r#"{ "inputs": [], "servers": { "a": { "type": "stdio", "command": "x", "env": { "K": "${input:my-key}" } } } }"#;
    let scratch = with_servers(json);
    import(&scratch, &[]).exits(0).says(&["environment of mcpeg: MY_KEY"]);
    assert!(scratch.read("conf.d/a.toml").contains("K = \"${env:MY_KEY}\""));
}

#[test]
fn an_existing_file_is_replaced_only_by_force() {
    let scratch = with_servers(CLIENT).file("conf.d/docs.toml", "# mine\n");
    import(&scratch, &[]).exits(73).says(&["`conf.d/docs.toml` exists", "hint: use --force"]);
    assert_eq!(scratch.read("conf.d/docs.toml"), "# mine\n");
    assert!(!scratch.path("conf.d/My-Server.toml").exists());
    import(&scratch, &["--force"]).exits(0);
    assert!(scratch.read("conf.d/docs.toml").contains("[upstreams.docs]"));
}

#[test]
fn what_cannot_be_served_is_refused_alone() {
    let json = r#"{ "mcpServers": {
        "old": { "type": "sse", "url": "https://example.org/sse" },
        "off": { "command": "x", "disabled": true },
        "mcpeg": { "command": "x" },
        "good": { "command": "x", "autoApprove": [] }
    } }"#;
    let scratch = with_servers(json);
    import(&scratch, &[]).exits(78).prints(&["wrote conf.d/good.toml"]).says(&[
        "mcpeg: warning: server `old` was not imported: its transport is the old HTTP+SSE",
        "note: server `off` is disabled and was left out",
        "mcpeg: warning: server `mcpeg`: the name `mcpeg` is taken",
        "note: server `good`: ignored `autoApprove`",
    ]);
    assert_eq!(fs::read_dir(scratch.path("conf.d")).unwrap().count(), 1);
}

#[test]
fn names_that_could_be_confused_are_changed() {
    let scratch =
        with_servers(r#"{ "mcpServers": { "time": { "command": "x" }, "time_zone": { "command": "x" } } }"#);
    import(&scratch, &[]).exits(0).says(&["server `time_zone` is called `time-zone` here"]);
    scratch.check(&[]).exits(0);
}

#[test]
fn nothing_is_written_if_the_result_would_not_be_valid() {
    let scratch = Scratch::with_config("[upstreams.docs]\ncommand = \"x\"\n").file("servers.json", CLIENT);
    import(&scratch, &[]).exits(78).says(&[
        "the configuration would not be valid with the imported servers: ",
        "conf.d/docs.toml:2:12: upstream `docs` is already defined at mcpeg.toml:1:12",
    ]);
    assert!(!scratch.path("conf.d").exists());
}

#[test]
fn a_present_configuration_with_mistakes_is_not_touched() {
    let scratch = Scratch::with_config("[servr]\n").file("servers.json", CLIENT);
    import(&scratch, &[])
        .exits(78)
        .says(&["the present configuration is not valid: mcpeg.toml:1:2", "`server`"]);
    assert!(!scratch.path("conf.d").exists());
}

#[test]
fn secrets_that_are_not_set_here_do_not_stop_an_import() {
    let scratch = Scratch::with_config(
        "[upstreams.old]\nurl = \"${env:BASE}/mcp\"\nheaders = { A = \"${credential:a}\" }\n",
    );
    import(&scratch.file("servers.json", CLIENT), &[]).exits(0);
}

#[test]
fn a_file_that_is_not_a_clients_exits_78_with_the_reason() {
    import(&with_servers("{\n  // comment\n}"), &[]).exits(78).says(&[
        "not JSON: ",
        "line 2",
        "hint: remove comments",
    ]);
    import(&with_servers("{}"), &[])
        .exits(78)
        .says(&["`servers.json` has no `mcpServers` object", "hint: name"]);
    import(&Scratch::with_config(""), &[]).exits(78).says(&["cannot read `servers.json`: No such file"]);
}
