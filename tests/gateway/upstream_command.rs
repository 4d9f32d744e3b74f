//! `mcpeg upstream list`, `add`, `remove` and `test`, as people and scripts use them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::commands::{Case, check};
use crate::daemon::Site;
use crate::gateway::{Gateway, write};
use crate::tools::{run_any, transcript};
use crate::upstreams::{PROBE, PYTHON, probe};

/// A file that people keep, with two upstreams.
const SHARED: &str = "# Of the team.\n\n# The first.\n[upstreams.first]\ncommand = \"true\" # as ever\n\n\
    # The second.\n[upstreams.second]\nurl   =  \"http://127.0.0.1:1/mcp\"\nenabled = false\n";

/// What makes it the probe server.
const COMMAND: [&str; 3] = ["--command", PYTHON, PROBE];

/// The names in `conf.d`.
fn fragments(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The beginning of a command that adds one of this name.
fn add(name: &str) -> [&str; 3] {
    ["upstream", "add", name]
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let endpoint = "[endpoints.both]\nupstreams = [\"one\"]\n";
    let gateway = Gateway::start(&(probe("one", &[]) + endpoint)).await;
    // Nothing is written by what is refused.
    let refused: &[Case<'_>] = &[
        (
            &[&add("one")[..], &COMMAND].concat(),
            64,
            &[],
            &["upstream `one` exists", "mcpeg.toml", "remove one"],
        ),
        (&[&add("../one")[..], &COMMAND].concat(), 64, &[], &["not allowed"]),
        (&[&add("two")[..], &["--set", "strat=lazy"], &COMMAND].concat(), 78, &[], &["`strat`", "`start`"]),
        (&[&add("two")[..], &["--set", "lazy"], &COMMAND].concat(), 64, &[], &["no setting", "KEY=VALUE"]),
        (
            &[&add("two")[..], &["--url", "ftp://x"]].concat(),
            78,
            &[],
            &["nothing was changed", "two.toml:2:"],
        ),
        // The gateway's environment decides.
        (&[&add("two")[..], &["--env", "A=${env:NOT_HERE}"], &COMMAND].concat(), 78, &[], &["NOT_HERE"]),
        (&add("two"), 64, &[], &["--command"]),
        (&["upstream", "remove", "none", "--yes"], 64, &[], &["no upstream `none`", "it has one"]),
        (&["upstream", "remove", "one"], 78, &[], &["no upstream `one`"]),
        (&["upstream", "test", "none"], 64, &[], &["no upstream `none`"]),
        (&["upstream", "test"], 64, &[], &[]),
    ];
    check(refused, async |words| gateway.control(words).await).await;
    assert_eq!(fragments(&gateway.file("conf.d")), [""; 0]);
    gateway.stop().await;
}

#[tokio::test]
async fn upstreams_come_and_go_with_their_files() {
    let gateway = Gateway::start(&probe("one", &[])).await;
    let conf_d = gateway.file("conf.d");
    let done: &[Case<'_>] = &[
        (&[&add("two")[..], &["--dry-run"], &COMMAND].concat(), 0, &["would write", "[upstreams.two]"], &[]),
        (
            &[&add("two")[..], &COMMAND].concat(),
            0,
            &["wrote ", "two.toml", "`two` answers (stdio", "echo"],
            &[],
        ),
        (&["tools", "--upstream", "two"], 0, &["echo"], &[]),
        (
            &[&add("bad")[..], &["--command", "no-such-program"]].concat(),
            69,
            &["wrote "],
            &["upstream `bad` cannot be used: cannot start `no-such-program`", "hint: write the whole path"],
        ),
        (
            &[&add("off")[..], &["--set", "enabled=false", "--json"], &COMMAND].concat(),
            0,
            &["\"reloaded\": true", "\"state\": \"disabled\"", "off.toml"],
            &[],
        ),
        (
            &["upstream", "list"],
            0,
            &["one ", "ready", "bad ", "backing-off", "off ", "disabled", "two.toml"],
            &[],
        ),
        (&["upstream", "list", "--json"], 0, &["\"target\": \"no-such-program\""], &[]),
        (&["upstream", "test", "one"], 0, &["`one` answers", "echo"], &[]),
        (&["upstream", "test", "bad", "--json"], 69, &["\"usable\": false", "whole path"], &[]),
        // One that the gateway does not run is started by the command.
        (&["upstream", "test", "off"], 0, &["`off` answers", "echo"], &[]),
        (
            &["upstream", "test", "--url", "http://127.0.0.1:1/mcp"],
            69,
            &[],
            &["Connection refused", "nothing listens"],
        ),
        (&[&["upstream", "test"][..], &COMMAND].concat(), 0, &["the server answers", "echo"], &[]),
        (&["complete", "--", "upstream", "remove", "tw"], 0, &["\ntwo\n"], &[]),
        (&["complete", "--", "upstream", "test", "o"], 0, &["\none\n"], &[]),
        (&["upstream", "remove", "two"], 64, &["-[upstreams.two]"], &["no terminal", "--yes"]),
        (
            &["upstream", "remove", "two", "--yes"],
            0,
            &["-[upstreams.two]", "removed ", "has it no more"],
            &[],
        ),
        (&["upstream", "remove", "off", "--yes", "--json"], 0, &["\"file_removed\": true"], &[]),
        (&["tools", "--upstream", "two"], 64, &[], &["no upstream `two`"]),
    ];
    check(done, async |words| gateway.control(words).await).await;
    assert_eq!(fragments(&conf_d), ["bad.toml"]);
    let mode = std::fs::metadata(conf_d.join("bad.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    gateway.stop().await;
}

#[tokio::test]
async fn rest_of_a_file_stays_as_it_was_and_what_the_gateway_refuses_is_taken_back() {
    let gateway = Gateway::start(&probe("one", &[])).await;
    let conf_d = gateway.file("conf.d");
    let run = async |words: &[&str]| gateway.control(words).await;
    let before = std::fs::read_to_string(gateway.file("mcpeg.toml")).unwrap();
    std::fs::create_dir(&conf_d).unwrap();
    write(&conf_d.join("bad.toml"), "[upstreams.bad]\ncommand = \"true\"\n");
    // What is beside it in a file stays as it was, and so does the file's mode.
    let shared = conf_d.join("shared.toml");
    write(&shared, SHARED);
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o600)).unwrap();
    let removed = run(&["upstream", "remove", "first", "--yes"]).await;
    assert_eq!(removed.status.code(), Some(0), "{}", transcript(&removed));
    let left = SHARED.split("# The second.").nth(1).unwrap();
    assert_eq!(std::fs::read_to_string(&shared).unwrap(), format!("# Of the team.\n\n# The second.{left}"));
    assert_eq!(std::fs::metadata(&shared).unwrap().permissions().mode() & 0o7777, 0o600);
    // What the gateway itself refuses is taken back.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = format!("[listeners.more]\naddress = \"{}\"\n", taken.local_addr().unwrap());
    write(&gateway.file("mcpeg.toml"), format!("{before}{listener}"));
    let back: &[Case<'_>] = &[
        (&[&add("two")[..], &COMMAND].concat(), 71, &[], &["nothing was changed: the gateway refuses it"]),
        (&["upstream", "remove", "bad", "--yes"], 71, &[], &["nothing was changed"]),
        (&["upstream", "remove", "second", "--yes"], 71, &[], &["nothing was changed"]),
    ];
    check(back, run).await;
    assert_eq!(fragments(&conf_d), ["bad.toml", "shared.toml"]);
    assert!(std::fs::read_to_string(&shared).unwrap().contains("[upstreams.second]"));
    write(&gateway.file("mcpeg.toml"), before);
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_gateway_the_files_change_and_nothing_else() {
    let site = Site::new();
    let run = async |words: &[&str]| run_any(&mut site.mcpeg(words).into()).await;
    let url = "http://127.0.0.1:1/mcp";
    let header = "Authorization: Bearer ${env:NOT_HERE}";
    let cases: &[Case<'_>] = &[
        (&["upstream", "list"], 0, &["no upstream is configured"], &["upstream add"]),
        (
            &["upstream", "add", "docs", "--url", url, "--header", header, "--set", "start=lazy"],
            0,
            &["wrote "],
            &["no gateway runs"],
        ),
        (
            &[
                "upstream",
                "add",
                "x",
                "--url",
                url,
                "--header",
                "A: ghp_abcdefghijklmnopqrstuvwxyz0123456789",
            ],
            0,
            &[],
            &["looks like a secret", "${env:"],
        ),
        (&["upstream", "list"], 0, &["docs", "-", "http", "http://127.0.0.1:1", "docs.toml"], &[]),
        (&["upstream", "remove", "docs", "--yes"], 0, &["-[upstreams.docs]", "no gateway runs"], &[]),
    ];
    check(cases, run).await;
    assert_eq!(fragments(&site.path("conf.d")), ["x.toml"]);
}
