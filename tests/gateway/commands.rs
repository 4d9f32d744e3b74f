//! `mcpeg tools`, `call`, `read`, `prompt` and `ping`, as people and scripts use them.

use std::process::Output;

use tokio::process::Command;

use crate::daemon::Site;
use crate::gateway::Gateway;
use crate::tools::{Tools, run_any, transcript};
use crate::upstreams::{PROBE, PYTHON, http_probe, probe, stdio};

/// One command: its words, its exit code, and what it prints and says.
pub(crate) type Case<'a> = (&'a [&'a str], i32, &'a [&'a str], &'a [&'a str]);

/// Holds each command to what is expected of it.
pub(crate) async fn check(cases: &[Case<'_>], mut run: impl AsyncFnMut(&[&str]) -> Output) {
    for (words, code, printed, said) in cases {
        let output = run(words).await;
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let has = |text: &str, parts: &[&str]| parts.iter().all(|part| text.contains(part));
        assert!(
            output.status.code() == Some(*code) && has(&stdout, printed) && has(&stderr, said),
            "{words:?}: {}",
            transcript(&output)
        );
        assert!(!stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'), "{words:?} is coloured in a pipe");
    }
}

#[tokio::test]
async fn running_gateway_is_asked_over_its_control_socket_whoever_clients_are() {
    let upstreams = probe("one", &["--resources"]) + &stdio("bad", "no-such-program", &[]);
    // Without a token, the listener refuses everybody.
    let gateway = Gateway::start(&format!("{upstreams}[clients.someone]\n")).await;
    let refused = crate::client::post(gateway.address(), "/mcp", &[], "{}").await;
    assert_eq!(refused.status, 401, "{refused:?}");
    let cases: &[Case<'_>] = &[
        (&["ping"], 0, &["the gateway answers in "], &[]),
        (&["ping", "--upstream", "one", "--json"], 0, &["\"milliseconds\""], &[]),
        (&["ping", "--upstream", "bad"], 69, &[], &["cannot start `no-such-program`"]),
        (&["ping", "--upstream", "none"], 64, &[], &["no upstream `none`"]),
        (&["tools"], 0, &["one_echo", "one_fail"], &[]),
        (&["tools", "--upstream", "one"], 0, &["echo", "fail"], &[]),
        (&["tools", "--json"], 0, &["\"one_echo\""], &[]),
        (&["tools", "one_ecko"], 64, &[], &["no tool `one_ecko`", "there is `one_echo`"]),
        (&["call", "one_echo", "a=1", "--json"], 0, &["\"content\":[", "\"a\":1"], &[]),
        (&["call", "one_echo", "--json", "{\"b\":[true]}"], 0, &["\"content\":[", "\"b\":[true]"], &[]),
        (&["call", "--json", "one_echo", "c=x"], 0, &["\"content\":[", "\"c\":\"x\""], &[]),
        (&["call", "echo", "a=x", "--upstream", "one"], 0, &["\"a\":\"x\""], &[]),
        (&["call", "one_fail"], 1, &[], &["error: failed as asked"]),
        (&["call", "one_sleep", "ms=60000", "--timeout", "100ms"], 69, &[], &["no answer within 100ms"]),
        (&["call", "bad_tool"], 64, &[], &["no tool `bad_tool`"]),
        (&["call"], 64, &[], &["TOOL"]),
        (&["call", "a=1"], 64, &[], &["no tool is named"]),
        (&["prompt", "none"], 64, &[], &["no prompt `none`"]),
    ];
    check(cases, async |words| gateway.control(words).await).await;
    let completed = gateway.control(&["complete", "--", "call", "one_e"]).await;
    assert!(
        String::from_utf8_lossy(&completed.stdout).contains("\none_echo\n"),
        "{}",
        transcript(&completed)
    );
    gateway.stop().await;
}

#[tokio::test]
async fn other_servers_are_asked_by_address_and_by_program() {
    let site = Site::new();
    let server = http_probe(&[]).await;
    let url = format!("http://127.0.0.1:{}/mcp", server.port);
    let cases: &[Case<'_>] = &[
        (&["call", "echo", "a=1", "--url", &url], 0, &["\"a\":1"], &[]),
        (
            &["call", "echo", "a=$HOME", "--command", PYTHON, PROBE, "--era", "legacy"],
            0,
            &["\"a\":\"$HOME\""],
            &[],
        ),
        (&["tools", "--json", "--command", PYTHON, PROBE], 0, &["\"echo\""], &[]),
        (&["ping", "--url", "http://127.0.0.1:1/mcp"], 69, &[], &["error: "]),
        (&["ping", "--url", "ftp://x"], 78, &[], &["url"]),
        (&["ping", "--command", "no-such-program"], 69, &[], &["cannot start `no-such-program`"]),
        (
            &["ping", "--command", "sh", "-c", "code=3; echo why >&2; exit $code"],
            69,
            &[],
            &["exit code 3", "why"],
        ),
        (&["ping"], 69, &[], &["no gateway runs", "--url"]),
    ];
    let run =
        async |words: &[&str]| run_any(Command::from(site.mcpeg(words)).env("TMPDIR", site.path(""))).await;
    check(cases, run).await;
    // What was started for the command has gone with it.
    let left: Vec<_> =
        std::fs::read_dir(site.path("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("mcpeg-")), "{left:?}");
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn server_everything_is_used_with_images_progress_and_questions() {
    let tools = Tools::get().await;
    let site = Site::new();
    let script = tools.path("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let node = tools.node();
    let upstreams = stdio("all", &node, &[&script]);
    let gateway = Gateway::start(&upstreams).await;
    let cases: &[Case<'_>] = &[
        (&["call", "get-sum", "a=1.5", "b=2"], 0, &["3.5"], &[]),
        (&["call", "get-sum", "a=1", "b=two"], 64, &[], &["`b=two`", "a number"]),
        (&["call", "get-sum", "a=1"], 64, &[], &["`b` must be given"]),
        (&["call", "get-structured-content", "location=Chicago"], 0, &["\"temperature\": "], &[]),
        (&["call", "get-resource-links", "count=1"], 0, &["demo://resource/dynamic/"], &[]),
        (&["read", "demo://resource/dynamic/text/1"], 0, &["Resource 1: This is a plaintext resource"], &[]),
        (&["prompt", "args-prompt", "city=Paris"], 0, &["user:", "Paris"], &[]),
        (&["prompt", "args-prompt"], 64, &[], &["`city` must be given"]),
        (&["call", "trigger-long-running-operation", "duration=1", "steps=2"], 0, &["completed"], &[]),
    ];
    check(cases, async |words| gateway.control(words).await).await;
    // An image becomes a file, and the next one another.
    let images = site.path("images");
    std::fs::create_dir(&images).unwrap();
    for number in 1..=2 {
        let command = site.mcpeg(&["call", "get-tiny-image", "--command", &node, &script]);
        let output = run_any(Command::from(command).current_dir(&images)).await;
        assert!(
            String::from_utf8_lossy(&output.stdout)
                .contains(&format!("get-tiny-image-{number}.png image/png"))
        );
        let bytes = std::fs::read(images.join(format!("get-tiny-image-{number}.png"))).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"), "it is an image");
    }
    gateway.stop().await;
    // A person at a terminal is asked, and the answer goes back.
    let ask = format!("$MCPEG call trigger-elicitation-request --command {node} {script}");
    for (typed, expected) in [(r"yes\nAnn\n\n\n\n\n\n\n\n\n\n\n\n\n\n", "Name: Ann"), (r"no\n", "declined")] {
        let line = format!("printf '{typed}' | script --quiet --return --command '{ask}' /dev/null");
        let asked = run_any(&mut site.shell(&line).into()).await;
        let said = String::from_utf8_lossy(&asked.stdout).into_owned();
        assert!(said.contains("The server asks: ") && said.contains(expected), "{said}");
    }
}
