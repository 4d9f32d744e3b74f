//! `systemctl reload`: systemd waits for the result, keeps the process, and learns of a refusal.

use std::time::Duration;

use serde_json::json;

use crate::install::machine_with_binary;
use crate::machine::text;
use crate::mcp::{ENDPOINT, modern_call};

/// An upstream that every machine can run.
const UPSTREAM: &str = "[upstreams.echo]\ncommand = \"python3\"\nargs = [\"/opt/echo_server.py\"]\n";

/// Reloads a good configuration, then a wrong one.
fn reloads(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.copy_in(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py"),
        "/opt/echo_server.py",
    );
    // One stdio upstream from the beginning: the unit is one under which programs can be run.
    machine.write("/root/mine.toml", &UPSTREAM.replace("echo]", "first]"));
    machine.ok(&["/root/mcpeg", "install", "--yes", "--config", "/root/mine.toml"]);
    let property =
        |name| machine.ok(&["systemctl", "show", "--value", "--property", name, "mcpeg"]).trim().to_owned();
    let pid = property("MainPID");
    machine.write("/etc/mcpeg/conf.d/echo.toml", UPSTREAM);
    machine.ok(&["systemctl", "reload", "mcpeg"]);
    // The command has returned: the upstream is there at once.
    let url = format!("{ENDPOINT}/echo");
    modern_call(&machine, &url, "echo", &json!({ "text": "reloaded" })).expect("the new upstream answers");
    assert_eq!((property("ActiveState"), property("MainPID")), ("active".to_owned(), pid.clone()));
    // The audit has both, in fields by which the journal finds them.
    for (field, told) in [
        ("MCPEG_TOOL=echo", ["MCPEG_UPSTREAM=echo", "MCPEG_OUTCOME=ok", "MCPEG_EVENT=call"]),
        ("MCPEG_EVENT=configuration", ["MCPEG_REASON=upstreams.echo", "MCPEG_OUTCOME=ok", "PRIORITY=6"]),
    ] {
        machine.wait_for(field, Duration::from_secs(60), || {
            let found = machine.ok(&["journalctl", "-u", "mcpeg", field, "--no-pager", "--output=export"]);
            let id = "MESSAGE_ID=0c350607edf14faba5aac98997b36daf";
            let has = |line: &str| found.lines().any(|other| other == line);
            (has(id) && told.into_iter().all(has)).then_some(())
        });
    }

    machine.write("/etc/mcpeg/conf.d/echo.toml", "nonsense = 1\n");
    let refused = machine.run(&["systemctl", "reload", "mcpeg"]);
    assert!(!refused.status.success(), "systemd does not hear of the refusal");
    machine.wait_for("the refusal in the journal", Duration::from_secs(60), || {
        let journal = machine.ok(&["journalctl", "-u", "mcpeg", "--no-pager", "--output=cat"]);
        journal.contains("echo.toml:1:1").then_some(())
    });
    modern_call(&machine, &url, "echo", &json!({ "text": "still" })).expect("the former upstream answers");
    let by_hand = machine.run(&["mcpeg", "--reload"]);
    assert_eq!(by_hand.status.code(), Some(78), "{}", text(&by_hand.stderr));
    assert_eq!((property("ActiveState"), property("MainPID")), ("active".to_owned(), pid));
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn service_reloads_on_bookworm() {
    reloads("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn service_reloads_on_trixie() {
    reloads("trixie");
}
