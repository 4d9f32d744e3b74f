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
        "old": { "type": "websocket", "url": "https://example.org/sse" },
        "off": { "command": "x", "disabled": true },
        "mcpeg": { "command": "x" },
        "good": { "command": "x", "autoApprove": [] }
    } }"#;
    let scratch = with_servers(json);
    import(&scratch, &[]).exits(78).prints(&["wrote conf.d/good.toml", "wrote conf.d/off.toml"]).says(&[
        "mcpeg: warning: server `old` was not imported: its transport is neither stdio nor http",
        "(mcpServers.old.type at servers.json:2)",
        "note: server `off` is disabled; it is configured with enabled = false",
        "mcpeg: warning: server `mcpeg`: the name `mcpeg` is taken",
        "note: server `good`: ignored `autoApprove`",
    ]);
    assert_eq!(fs::read_dir(scratch.path("conf.d")).unwrap().count(), 2);
}

#[test]
fn server_of_http_with_sse_is_taken_with_its_transport() {
    let json = r#"{ "mcpServers": { "old": { "type": "sse", "url": "https://example.org/sse" } } }"#;
    let scratch = with_servers(json);
    import(&scratch, &[]).exits(0).prints(&["wrote conf.d/old.toml"]);
    assert!(scratch.read("conf.d/old.toml").contains("transport = \"sse\""));
    scratch.check(&[]).exits(0);
}

#[test]
fn names_that_could_be_confused_are_changed() {
    let scratch =
        with_servers(r#"{ "mcpServers": { "time": { "command": "x" }, "time_zone": { "command": "x" } } }"#);
    import(&scratch, &[]).exits(0).says(&["server `time_zone` is called `time-zone` here"]);
    scratch.check(&[]).exits(0);
}

#[test]
fn a_name_that_the_configuration_has_stops_no_other_server() {
    let scratch = Scratch::with_config("[upstreams.docs]\ncommand = \"x\"\n").file("servers.json", CLIENT);
    import(&scratch, &[])
        .exits(78)
        .prints(&["wrote conf.d/My-Server.toml"])
        .says(&["server `docs`: the name `docs` is taken; rename it (mcpServers.docs at servers.json:3)"]);
    assert!(!scratch.path("conf.d/docs.toml").exists());
}

#[test]
fn the_same_import_again_changes_nothing() {
    let scratch = with_servers(CLIENT);
    import(&scratch, &[]).exits(0);
    import(&scratch, &[]).exits(0).prints(&["kept conf.d/docs.toml, which is the same"]);
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
    import(&with_servers("{\n  // comment\n"), &[])
        .exits(78)
        .says(&["`servers.json` is not JSON: ", "at line "]);
    import(&with_servers("{ \"mcpServers\": 1 }"), &[])
        .exits(78)
        .says(&["`mcpServers` is neither an object nor a list (servers.json:1)"]);
    import(&with_servers("{ \"mcpServers\": {} }"), &[])
        .exits(0)
        .says(&["servers.json has no servers: `mcpServers` is empty"]);
    import(&with_servers("{}"), &[])
        .exits(78)
        .says(&["`servers.json` has no `mcpServers` object", "hint: name"]);
    import(&Scratch::with_config(""), &[]).exits(78).says(&["cannot read `servers.json`: No such file"]);
}

/// A file of the corpus.
fn fixture(name: &str) -> Vec<u8> {
    fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import").join(name))
        .unwrap()
}

/// Files of clients, the exit code, what is said, and parts of the files that are written.
type Case = (&'static str, &'static [&'static str], &'static [(&'static str, &'static [&'static str])]);

/// The corpus.
const CASES: [Case; 12] = [
    (
        "claude_desktop_config.json",
        &[],
        &[
            (
                "filesystem",
                &[
                    "\"@modelcontextprotocol/server-filesystem@2025.8.21\", \"/srv/files\", \"/home/user/my-notes\"",
                ],
            ),
            (
                "github",
                &[
                    "\"-p\", \"8082:8080\"",
                    "GITHUB_PERSONAL_ACCESS_TOKEN = \"${env:GITHUB_PERSONAL_ACCESS_TOKEN}\"",
                ],
            ),
            (
                "postgres",
                &["postgresql://app:${env:POSTGRES_POSTGRESQL_PASSWORD}@localhost:5432/shop?sslmode=require"],
            ),
            ("remote", &["\"Authorization: Bearer ${env:AUTH}\", \"--allow-http\""]),
        ],
    ),
    (
        "claude_code.json",
        &["server `docs` is called `docs-shop` here", "server `docs`: ignored header `Accept`"],
        &[
            ("docs", &["url = \"${env:DOCS_BASE:-https://docs.example.org:8443}/mcp\""]),
            ("docs-shop", &["command = \"docs-server\""]),
            ("search", &["enabled = false", "ROOT = \"${env:ROOT:-/srv/${env:TENANT:-main}}\""]),
        ],
    ),
    (
        "vscode_mcp.json",
        &["server `perplexity`: ignored `envFile`", "environment of mcpeg: PERPLEXITY_KEY"],
        &[
            (
                "perplexity",
                &["PERPLEXITY_API_KEY = \"${env:PERPLEXITY_KEY}\"", "REGION = \"${env:REGION:-eu}\""],
            ),
            ("remote", &["url = \"https://api.example.org/mcp/\""]),
        ],
    ),
    ("vscode_settings.json", &[], &[("time", &["command = \"uvx\""])]),
    (
        "gemini_settings.json",
        &["ignored `trust`", "`timeout` is taken as request_timeout = \"30s\""],
        &[
            ("api", &["url = \"https://api.example.org/mcp\"", "X-Api-Key = \"${env:API_KEY}\""]),
            ("local", &["working_dir = \"/srv/server\"", "allow = [\"read\"]", "deny = [\"write\"]"]),
            ("off", &["enabled = false"]),
        ],
    ),
    (
        "windsurf_mcp_config.json",
        &[],
        &[
            ("figma", &["url = \"https://mcp.example.org/mcp\"", "Bearer ${env:FIGMA_TOKEN}"]),
            ("idle", &["enabled = false", "deny = [\"drop\"]"]),
        ],
    ),
    (
        "cline_mcp_settings.json",
        &["ignored `autoApprove`"],
        &[
            ("a", &["url = \"https://a.example.org/mcp\"", "request_timeout = \"60s\""]),
            ("b", &["url = \"https://b.example.org/mcp\""]),
            ("c", &["url = \"https://c.example.org/mcp\"", "enabled = false"]),
            ("d", &["url = \"https://d.example.org/mcp\""]),
            ("e", &["command = \"e-server\""]),
        ],
    ),
    (
        "zed_settings.json",
        &["server `of-an-extension` was left out: it comes with an extension of its editor"],
        &[
            ("old-form", &["command = \"/opt/tools/server\"", "args = [\"--stdio\"]", "LEVEL = \"1\""]),
            ("new-form", &["enabled = false", "args = [\"a b\"]"]),
            ("by-url", &["Bearer ${env:BY_URL_TOKEN}"]),
        ],
    ),
    (
        "codex_config.toml",
        &["ignored `required`"],
        &[
            (
                "context",
                &[
                    "working_dir = \"/srv/context\"",
                    "start_timeout = \"20s\"",
                    "request_timeout = \"45500ms\"",
                    "LOCAL_TOKEN = \"${env:LOCAL_TOKEN}\"",
                    "allow = [\"search\", \"fetch\"]",
                ],
            ),
            (
                "figma",
                &[
                    "enabled = false",
                    "Bearer ${env:FIGMA_TOKEN}",
                    "X-Account = \"${env:ACCOUNT}\"",
                    "X-Region = \"us-east-1\"",
                ],
            ),
        ],
    ),
    (
        "goose_config.yaml",
        &["server `developer` was left out: it is a part of its client"],
        &[
            (
                "wiki",
                &[
                    "\"--token=${env:TOKEN}\"",
                    "request_timeout = \"300s\"",
                    "WIKI_EXTRA = \"${env:WIKI_EXTRA}\"",
                ],
            ),
            ("remote", &["url = \"https://goose.example.org/mcp\"", "enabled = false"]),
        ],
    ),
    (
        "opencode.jsonc",
        &["ignored `oauth`", "`timeout` is taken as start_timeout = \"5s\""],
        &[
            (
                "local",
                &[
                    "command = \"bun\"",
                    "\"--api-key\", \"${env:LOCAL_API_KEY}\"",
                    "MODE = \"${env:SERVER_MODE}\"",
                ],
            ),
            ("remote", &["Bearer ${env:OPEN_KEY}"]),
        ],
    ),
    (
        "continue.yaml",
        &["server `Secret Service` is called `Secret-Service` here", "ignored `env`"],
        &[
            ("SQLite", &["command = \"npx\""]),
            ("Secret-Service", &["url = \"https://continue.example.org/mcp\""]),
        ],
    ),
];

#[test]
fn the_files_of_every_client_are_understood() {
    for (name, said, files) in CASES {
        let scratch = Scratch::with_config("").file(name, fixture(name));
        let run = || scratch.run(&["import", name, "--config", "mcpeg.toml"]);
        run().exits(0).never_shows("planted").says(said);
        assert_eq!(fs::read_dir(scratch.path("conf.d")).unwrap().count(), files.len(), "{name}");
        for (file, parts) in files {
            let text = scratch.read(&format!("conf.d/{file}.toml"));
            for part in *parts {
                assert!(text.contains(part), "{name}: `{part}` is missing in\n{text}");
            }
            assert!(!text.contains("planted"), "{text}");
        }
        // With all variables set it can be served.
        let names = [
            "AUTH",
            "GITHUB_PERSONAL_ACCESS_TOKEN",
            "POSTGRES_POSTGRESQL_PASSWORD",
            "DOCS_TOKEN",
            "PERPLEXITY_KEY",
            "API_KEY",
            "FIGMA_TOKEN",
            "BY_URL_TOKEN",
            "LOCAL_TOKEN",
            "ACCOUNT",
            "TOKEN",
            "WIKI_PASSWORD",
            "WIKI_EXTRA",
            "REMOTE_TOKEN",
            "LOCAL_API_KEY",
            "OPEN_KEY",
            "SERVER_MODE",
        ];
        let mut check = scratch.command(&["--check", "--config", "mcpeg.toml"]);
        check.envs(names.map(|name| (name, "x")));
        Finished::of(check).exits(0);
    }
}

#[test]
fn one_server_that_cannot_be_taken_stops_no_other_and_is_named_with_its_place() {
    let scratch = Scratch::with_config("").file("faults.json", fixture("faults.json"));
    let finished = scratch.run(&["import", "faults.json", "--config", "mcpeg.toml"]);
    let warnings =
        finished.stderr.lines().filter(|line| line.starts_with("mcpeg: warning: server `")).count();
    let finished = finished.exits(78).never_shows("planted").never_shows("conf.d/home");
    finished.prints(&["wrote conf.d/good.toml\nwrote conf.d/good-too.toml"]).says(&[
        "server `home` was not imported: its `command` begins with `~`, which only a shell knows; write the absolute path (mcpServers.home.command at faults.json:3)",
        "its `command` is a whole command line; write the program in `command` and each of the other words in `args` (mcpServers.line.command at faults.json:7)",
        "(mcpServers.empty.command at faults.json:9)",
        "(mcpServers.placeholder.url at faults.json:15)",
        "has a line break or control character; write it on one line (mcpServers.break.headers.Authorization at faults.json:21)",
        "server `header` was not imported: `a b` cannot be the name of a header; use letters, digits and `-` (mcpServers.header at faults.json:22)",
        "server `***`: nothing of its name can be kept; rename it (mcpServers.\"***\" at faults.json:32)",
    ]);
    assert_eq!(warnings, 30);
    assert_eq!(fs::read_dir(scratch.path("conf.d")).unwrap().count(), 2);
}
