//! More than one gateway, a user's own gateway, and machines on which an installation is refused.

use std::time::Duration;

use serde_json::json;

use crate::install::{machine_with_binary, property};
use crate::machine::{Machine, text};
use crate::mcp::legacy_call;
use crate::snapshot::Snapshot;

/// The developer's account.
const USER: &str = "dev";
/// The longest that a change of the configuration may take to be followed.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a command; returns its exit code and everything that it said.
fn run(machine: &Machine, command: &[&str]) -> (Option<i32>, String) {
    let output = machine.run(command);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Two gateways, of which one goes.
fn two_gateways_serve_side_by_side(suite: &str) {
    let machine = machine_with_binary(suite);
    let before = Snapshot::of(&machine);
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    let main = property(&machine, "MainPID");
    // The port of the first is taken, which is found before anything is touched.
    let (code, said) = run(&machine, &["mcpeg", "install", "--yes", "--instance", "two"]);
    assert!(code == Some(71) && said.contains("another program listens on `127.0.0.1:8080`"), "{said}");
    assert!(!machine.run(&["test", "-e", "/etc/mcpeg-two"]).status.success());

    let two = ["mcpeg", "install", "--yes", "--instance", "two", "--listen", "127.0.0.1:8081"];
    let (code, said) = run(&machine, &two);
    assert!(code == Some(0) && said.contains("mcpeg-two serves on 127.0.0.1:8081"), "{said}");
    assert!(said.contains("sudo mcpeg --status --instance two"), "{said}");
    for port in [8080, 8081] {
        legacy_call(&machine, &format!("http://127.0.0.1:{port}/mcp"), "status", &json!({}))
            .expect("both serve");
    }
    let users = machine.ok(&["ps", "--no-headers", "-o", "user:32", "-C", "mcpeg"]);
    let mut users: Vec<_> = users.split_whitespace().collect();
    users.sort_unstable();
    users.dedup();
    assert_eq!(users, ["mcpeg", "mcpeg-two"]);

    machine.ok(&["mcpeg", "uninstall", "--purge", "--yes", "--instance", "two"]);
    assert_eq!(property(&machine, "MainPID"), main, "the first was touched");
    assert!(machine.ok(&["mcpeg", "install", "--yes"]).contains("nothing had to be changed"));
    machine.ok(&["mcpeg", "uninstall", "--purge", "--yes"]);
    Snapshot::of(&machine).assert_same_as(&before);
}

/// The service ends with the session, which is said with the plan and after the installation, unless the user lingers.
fn lingering_is_named(machine: &Machine, installed: &str, as_user: &dyn Fn(&str) -> (Option<i32>, String)) {
    let plan = || as_user("/opt/mcpeg install --dry-run --profile development").1;
    for said in [installed, &plan()] {
        assert!(
            said.contains("ends when you log out") && said.contains("`loginctl enable-linger`"),
            "{said}"
        );
    }
    machine.ok(&["install", "-D", "/dev/null", "/var/lib/systemd/linger/dev"]);
    assert!(!plan().contains("ends when you log out"), "{}", plan());
    machine.ok(&["rm", "/var/lib/systemd/linger/dev"]);
}

/// A developer's gateway, without root.
fn developers_gateway_follows_its_configuration(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.ok(&["useradd", "--create-home", "--shell", "/bin/sh", USER]);
    machine.ok(&["cp", "/root/mcpeg", "/opt/mcpeg"]);
    let as_user = |command: &str| {
        let line = format!(
            "XDG_RUNTIME_DIR=/run/user/$(id -u) PATH=$HOME/.local/bin:$PATH; export XDG_RUNTIME_DIR; {command}"
        );
        run(&machine, &["runuser", "--login", USER, "--command", &line])
    };
    // Without a systemd of the user's own it is refused, clearly.
    let bare = ["setpriv", "--reuid=dev", "--regid=dev", "--init-groups", "env", "HOME=/home/dev"];
    let (code, said) =
        run(&machine, &[&bare[..], &["/opt/mcpeg", "install", "--yes", "--profile", "development"]].concat());
    assert!(code == Some(14) && said.contains("loginctl enable-linger"), "{said}");
    // What lingering does; the logind of a machine in a container may not offer that.
    machine.ok(&["sh", "-c", "systemctl start user@$(id -u dev).service"]);
    machine.wait_for("the user's systemd", LIMIT, || {
        as_user("systemctl --user is-system-running | grep -qE 'running|degraded'")
            .0
            .filter(|code| *code == 0)
    });
    let before = Snapshot::of(&machine);

    let (code, said) = as_user("/opt/mcpeg install --yes --details --profile development");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("> systemctl --user start mcpeg.service"), "{said}");
    lingering_is_named(&machine, &said, &as_user);
    let url = "http://127.0.0.1:8080/mcp";
    legacy_call(&machine, url, "status", &json!({})).expect("it serves");
    let user = machine.ok(&["ps", "--no-headers", "-o", "user:32", "-C", "mcpeg"]);
    assert_eq!(user.trim(), USER);
    let journal = machine.wait_for("the journal tells that it serves", LIMIT, || {
        let (_, journal) = as_user("journalctl --user --unit mcpeg --no-pager --output=cat");
        journal.contains("serving on").then_some(journal)
    });
    assert!(!journal.contains("{\""), "not readable: {journal}");

    // A new upstream is there without a command.
    machine.copy_in(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py"),
        "/opt/echo_server.py",
    );
    let upstream = "[upstreams.echo]\\ncommand = \\\"python3\\\"\\nargs = [\\\"/opt/echo_server.py\\\"]\\n";
    let (code, said) = as_user(&format!("printf \"{upstream}\" >~/.config/mcpeg/conf.d/echo.toml"));
    assert_eq!(code, Some(0), "{said}");
    machine.wait_for("the new upstream", LIMIT, || {
        legacy_call(&machine, &format!("{url}/echo"), "echo", &json!({ "text": "x" })).ok()
    });

    let (code, said) = as_user("mcpeg install --yes --profile development");
    assert!(code == Some(0) && said.contains("nothing had to be changed"), "{said}");
    let (code, said) = as_user("mcpeg uninstall --purge --yes --profile development");
    assert_eq!(code, Some(0), "{said}");
    machine.ok(&["rm", "/opt/echo_server.py"]);
    Snapshot::of(&machine).assert_same_as(&before);
}

/// A file system that is mounted read-only, and a machine without systemd, as far as the installer can see.
fn refusals_come_before_any_change(suite: &str) {
    let machine = machine_with_binary(suite);
    let before = Snapshot::of(&machine);
    let confined = ["systemd-run", "--wait", "--pipe", "--quiet", "--property=ProtectSystem=yes"];
    let (code, said) = run(&machine, &[&confined[..], &["/root/mcpeg", "install", "--yes"]].concat());
    assert!(code == Some(13) && said.contains("mounted read-only"), "{said}");
    let hidden =
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run && exec /root/mcpeg install --yes"];
    let (code, said) = run(&machine, &hidden);
    assert!(code == Some(14) && said.contains("--no-start"), "{said}");
    Snapshot::of(&machine).assert_same_as(&before);
    // An image is built without touching the machine.
    machine.ok(&["mkdir", "-p", "/tmp/image"]);
    let (code, said) = run(&machine, &["/root/mcpeg", "install", "--yes", "--root", "/tmp/image"]);
    assert_eq!(code, Some(0), "{said}");
    machine.ok(&["test", "-L", "/tmp/image/etc/systemd/system/multi-user.target.wants/mcpeg.service"]);
    assert_eq!(property(&machine, "LoadState"), "not-found");
    Snapshot::of(&machine).assert_same_as(&before);
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn two_gateways_serve_side_by_side_on_bookworm() {
    two_gateways_serve_side_by_side("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn two_gateways_serve_side_by_side_on_trixie() {
    two_gateways_serve_side_by_side("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn developers_gateway_follows_its_configuration_on_bookworm() {
    developers_gateway_follows_its_configuration("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn developers_gateway_follows_its_configuration_on_trixie() {
    developers_gateway_follows_its_configuration("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn refusals_come_before_any_change_on_bookworm() {
    refusals_come_before_any_change("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn refusals_come_before_any_change_on_trixie() {
    refusals_come_before_any_change("trixie");
}
