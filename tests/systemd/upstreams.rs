//! Real MCP servers as children of the confined service: the sandbox must not break the runtimes that they need.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::install::machine_with_binary;
use crate::machine::{Machine, script, text};
use crate::mcp::{ENDPOINT, legacy_call, modern_call};

/// Longer than the slowest runtime's start on a busy machine of two cores.
const START: Duration = Duration::from_secs(60);

/// A server in Python's standard library.
const PYTHON: &str = r#"
[upstreams.echo]
command = "python3"
args = ["/opt/echo_server.py"]
"#;

/// Configures one upstream named `echo`, has the installer widen the unit for it, and lets both kinds of clients call its
/// echo tool.
fn answers_through_the_service(machine: &Machine, upstream: &str, argument: &str) {
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    machine.write("/etc/mcpeg/conf.d/echo.toml", upstream);
    // Under the unit of a gateway without children nothing would start, and the check says so.
    let check = machine.run(&["mcpeg", "--check"]);
    let said = text(&check.stderr);
    assert!(check.status.success() && said.contains("lets no program run; `sudo mcpeg install`"), "{said}");
    reload_tells_the_way_out(machine);
    let said = machine.ok(&["mcpeg", "install", "--yes", "--details"]);
    assert!(said.contains("~ /usr/local/lib/systemd/system/mcpeg.service"), "{said}");
    assert!(said.contains("> systemctl restart mcpeg.service"), "{said}");
    let said = text(&machine.run(&["mcpeg", "--check"]).stderr);
    assert!(!said.contains("in force"), "{said}");
    let url = format!("{ENDPOINT}/echo");
    let arguments = json!({ argument: "through the sandbox" });
    let mut last = String::new();
    let answer = machine.wait_for("an answer of the upstream", START, || {
        legacy_call(machine, &url, "echo", &arguments).map_err(|error| last = error).ok()
    });
    assert!(first_text(&answer).contains("through the sandbox"), "{answer} (before: {last})");
    let answer = modern_call(machine, &url, "echo", &arguments).expect("a modern client is bridged");
    assert!(first_text(&answer).contains("through the sandbox"), "{answer}");
}

/// Who reloads instead is told the same, and so is who looks at the status or the log.
fn reload_tells_the_way_out(machine: &Machine) {
    let reload = machine.run(&["mcpeg", "--reload"]);
    let said = text(&reload.stderr);
    assert!(reload.status.success(), "{said}");
    assert!(said.contains("upstream `echo` cannot work: the unit mcpeg.service in force lets no"), "{said}");
    assert!(said.contains("`sudo mcpeg install` makes one under which it can"), "{said}");
    let status = machine.run(&["mcpeg", "--status", "--upstream", "echo"]);
    let said = text(&status.stdout);
    assert!(status.status.code() == Some(3) && said.contains("`sudo mcpeg install`"), "{said}");
    machine.wait_for("the way out in the log", START, || {
        let log = machine.ok(&["cat", "/var/log/mcpeg/mcpeg.log"]);
        log.contains("lets no program run, and `sudo mcpeg install` makes one that does").then_some(())
    });
}

/// The text of a tool result's first block.
fn first_text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// A Python child.
fn python(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.copy_in(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py"),
        "/opt/echo_server.py",
    );
    answers_through_the_service(&machine, PYTHON, "text");
    guardian_works_in_the_sandbox(&machine);
}

/// The sandbox must let the guardian run, and systemd must find nothing left of the service when it has stopped.
fn guardian_works_in_the_sandbox(machine: &Machine) {
    machine.ok(&["sh", "-c", "cat /proc/[0-9]*/comm | grep --line-regexp mcp-guardian"]);
    machine.ok(&["systemctl", "stop", "mcpeg"]);
    let journal = machine.ok(&["journalctl", "--unit=mcpeg", "--no-pager"]);
    assert!(!journal.contains("guardian"), "{journal}");
    assert!(!journal.contains("remains running after unit stopped"), "{journal}");
}

/// The directory of the pinned third-party packages: that of `MCPEG_TEST_TOOLS`, or else the script makes it.
fn test_tools() -> PathBuf {
    if let Some(directory) = std::env::var_os("MCPEG_TEST_TOOLS") {
        return PathBuf::from(directory);
    }
    let made = script("test-tools").output().expect("scripts/test-tools can be run");
    assert!(made.status.success(), "no test tools: {}", text(&made.stderr));
    PathBuf::from(text(&made.stdout).trim_end())
}

/// A static child: a C program that needs nothing of the system.
fn fixed(suite: &str) {
    let directory = tempfile::tempdir().expect("a scratch directory can be made");
    let binary = directory.path().join("echo_server");
    #[expect(clippy::disallowed_methods, reason = "a child of the test, not of the daemon")]
    let built = std::process::Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(&binary)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.c"))
        .output()
        .expect("cc can be run");
    assert!(built.status.success(), "{}", text(&built.stderr));
    let machine = machine_with_binary(suite);
    machine.copy_in(&binary, "/opt/echo_server");
    answers_through_the_service(&machine, "[upstreams.echo]\ncommand = \"/opt/echo_server\"\n", "text");
}

/// A Node child: V8 makes executable memory, which a too narrow sandbox forbids.
fn node(suite: &str) {
    const INSIDE: &str = "/opt/tools";
    let tools = test_tools();
    let real = tools.join("bin/node").canonicalize().expect("the test tools have a Node");
    let node = Path::new(INSIDE).join(real.strip_prefix(&tools).expect("Node lies in the test tools"));
    let machine = Machine::boot_with(suite, &[(&tools, INSIDE)]);
    machine.copy_in(env!("CARGO_BIN_EXE_mcpeg"), "/root/mcpeg");
    let script = format!("{INSIDE}/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let upstream =
        format!("[upstreams.echo]\ncommand = \"{}\"\nargs = [\"{script}\", \"stdio\"]\n", node.display());
    answers_through_the_service(&machine, &upstream, "message");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn python_upstream_answers_through_the_service_on_bookworm() {
    python("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn python_upstream_answers_through_the_service_on_trixie() {
    python("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn static_upstream_answers_through_the_service_on_bookworm() {
    fixed("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn static_upstream_answers_through_the_service_on_trixie() {
    fixed("trixie");
}

#[test]
#[ignore = "needs root, a booted systemd and the test tools"]
fn node_upstream_answers_through_the_service_on_bookworm() {
    node("bookworm");
}

#[test]
#[ignore = "needs root, a booted systemd and the test tools"]
fn node_upstream_answers_through_the_service_on_trixie() {
    node("trixie");
}
