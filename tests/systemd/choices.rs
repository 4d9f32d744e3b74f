//! Installations that are not the plain one: a service that a drop-in moves, one that is not started, one whose
//! configuration is wrong.

use crate::install::{active, machine_with_binary};
use crate::machine::{Machine, text};

/// Has the service listen elsewhere, and know a secret that nobody else knows.
const DROP_IN: &str = "[Service]\nEnvironment=MCPEG_LISTEN=127.0.0.1:9191 DOCS_TOKEN=secret\n";

/// Uses that secret.
const CONFIGURATION: &str = r#"
[upstreams.docs]
url = "http://127.0.0.1:9/mcp"
headers = { Authorization = "Bearer ${env:DOCS_TOKEN}" }
"#;

/// Runs the installer; returns its exit code and everything that it said.
fn install(machine: &Machine, arguments: &[&str]) -> (Option<i32>, String) {
    let output = machine.run(&[&["/root/mcpeg", "install"], arguments].concat());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// The proof asks where the service is, not where its configuration says.
fn moved_service_is_asked_where_it_is(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.ok(&["mkdir", "-p", "/etc/systemd/system/mcpeg.service.d"]);
    machine.write("/etc/systemd/system/mcpeg.service.d/local.conf", DROP_IN);
    machine.write("/root/mine.toml", CONFIGURATION);
    let (code, said) = install(&machine, &["--config", "/root/mine.toml"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("serves on 127.0.0.1:9191 and has answered an MCP request"), "{said}");
    assert!(said.contains("\"url\": \"http://127.0.0.1:9191/mcp\""), "{said}");
    // The only upstream is one that nobody serves.
    assert!(said.contains("warning: no upstream can be used now"), "{said}");
    // Root's view from outside the service's sandbox.
    let status = machine.ok(&["mcpeg", "--status"]);
    assert!(status.contains("state       running") && status.contains("127.0.0.1:9191"), "{status}");
    let others = machine.run(&["setpriv", "--reuid=65534", "--clear-groups", "mcpeg", "--status"]);
    let said = text(&others.stdout) + &text(&others.stderr);
    assert!(others.status.code() == Some(3) && said.contains("sudo mcpeg --status"), "{said}");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn moved_service_is_asked_where_it_is_on_bookworm() {
    moved_service_is_asked_where_it_is("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn moved_service_is_asked_where_it_is_on_trixie() {
    moved_service_is_asked_where_it_is("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn no_start_enables_and_does_not_start_and_wrong_configuration_is_refused_before_the_start() {
    let machine = machine_with_binary("bookworm");
    let (code, said) = install(&machine, &["--no-start"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("To start it now: systemctl start mcpeg"), "{said}");
    assert_eq!(active(&machine), "inactive");
    assert_eq!(machine.ok(&["systemctl", "is-enabled", "mcpeg"]).trim(), "enabled");

    machine.ok(&["sh", "-c", "echo 'levl = 1' >>/etc/mcpeg/mcpeg.toml"]);
    let (code, said) = install(&machine, &[]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("/etc/mcpeg/mcpeg.toml:13:1: unknown key `levl`"), "{said}");
    assert!(!said.contains("rolled back"), "{said}");
    assert_eq!(active(&machine), "inactive");

    machine.ok(&["sed", "-i", "$d", "/etc/mcpeg/mcpeg.toml"]);
    let (code, said) = install(&machine, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(active(&machine), "active");
}
