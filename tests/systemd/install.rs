//! `mcpeg install` on a real machine: it serves, it is documented, it is confined, and it leaves nothing.

use std::time::Duration;

use serde_json::json;

use crate::machine::{Machine, text};
use crate::mcp::{ENDPOINT, legacy_call, modern_call};
use crate::snapshot::Snapshot;

/// The worst exposure that `systemd-analyze security` may find; the best packaged daemon of Debian 12 has 1.2.
const EXPOSURE: f64 = 1.1;
/// The same where every listener and upstream is on loopback.
const LOOPBACK_EXPOSURE: f64 = 0.9;

/// Where the unit file is: never below /etc, which is the administrator's.
const UNIT: &str = "/usr/local/lib/systemd/system/mcpeg.service";

/// A machine with the binary under test in root's home, as somebody who has built or downloaded it would have it.
pub(crate) fn machine_with_binary(suite: &str) -> Machine {
    let machine = Machine::boot(suite);
    machine.copy_in(env!("CARGO_BIN_EXE_mcpeg"), "/root/mcpeg");
    machine
}

/// Whether the service runs, in systemd's own word.
pub(crate) fn active(machine: &Machine) -> String {
    text(&machine.run(&["systemctl", "is-active", "mcpeg"]).stdout).trim().to_owned()
}

/// One property of the service.
pub(crate) fn property(machine: &Machine, name: &str) -> String {
    machine.ok(&["systemctl", "show", "--value", "--property", name, "mcpeg"]).trim().to_owned()
}

/// From an untouched machine to a tool call and back again.
fn whole_way(suite: &str) {
    let machine = machine_with_binary(suite);
    let before = Snapshot::of(&machine);

    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    assert_eq!(active(&machine), "active");
    assert_eq!(machine.ok(&["systemctl", "is-enabled", "mcpeg"]).trim(), "enabled");
    legacy_call(&machine, ENDPOINT, "status", &json!({}))
        .expect("a legacy client can call the built-in tool");
    modern_call(&machine, ENDPOINT, "status", &json!({}))
        .expect("a modern client can call the built-in tool");

    machine.ok(&["systemctl", "stop", "mcpeg"]);
    assert_eq!(active(&machine), "inactive");
    assert_eq!(property(&machine, "Result"), "success");

    machine.ok(&["mcpeg", "uninstall", "--purge", "--yes"]);
    assert_eq!(property(&machine, "LoadState"), "not-found");
    Snapshot::of(&machine).assert_same_as(&before);
}

/// The exposure of the unit in force, whose file systemd finds nothing to say about.
fn exposure(machine: &Machine) -> f64 {
    let verify = machine.run(&["systemd-analyze", "verify", UNIT]);
    let said = text(&verify.stdout) + &text(&verify.stderr);
    assert!(verify.status.success() && said.is_empty(), "systemd-analyze verify: {said}");
    let security = machine.ok(&["systemd-analyze", "security", "--no-pager", "mcpeg"]);
    let (_, score) =
        security.rsplit_once("mcpeg.service: ").expect("the last line names the unit and its exposure");
    score.split(' ').next().and_then(|number| number.parse().ok()).expect("the exposure is a number")
}

/// Installs; what somebody without any rights was shown before is, line by line, what root does then.
fn dry_run_is_what_is_done(machine: &Machine) {
    machine.ok(&["install", "-Dm755", "/root/mcpeg", "/opt/mcpeg"]);
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let planned = machine.ok(&[&nobody[..], &["/opt/mcpeg", "install", "--dry-run", "--details"]].concat());
    let done = machine.ok(&["/opt/mcpeg", "install", "--yes", "--details"]);
    let acts = |said: &str| {
        let acts = said.lines().map(str::trim_start).filter(|line| line.starts_with(['+', '~', '>', '-']));
        acts.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(acts(&planned), acts(&done));
    assert!(acts(&done).contains(&"> systemctl start mcpeg.service".to_owned()), "{done}");
}

/// The manual, the unit's form, and its sandbox.
#[expect(clippy::print_stdout, reason = "the exposures are results")]
fn documented_and_confined(suite: &str) {
    let machine = machine_with_binary(suite);
    dry_run_is_what_is_done(&machine);

    let page = machine.ok(&["man", "-P", "cat", "mcpeg"]);
    assert!(page.contains("MCPEG(8)") && page.contains("--daemon"), "{page}");

    let loopback = exposure(&machine);
    // The configuration decides: one child, then both as in the unit of a package, then one peer elsewhere.
    let mut scores = Vec::new();
    let (child, peer) = ("command = \"/bin/cat\"", "url = \"https://192.0.2.1/mcp\"");
    for upstream in [child, &format!("{child}\n[upstreams.two]\n{peer}"), peer] {
        machine.write("/etc/mcpeg/conf.d/one.toml", &format!("[upstreams.one]\n{upstream}\n"));
        machine.ok(&["/root/mcpeg", "install", "--yes"]);
        scores.push(exposure(&machine));
    }
    // Back on loopback, the peer elsewhere is out of reach, and who reloads is told so.
    machine.ok(&["mv", "/etc/mcpeg/conf.d/one.toml", "/root/one.toml"]);
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    machine.ok(&["mv", "/root/one.toml", "/etc/mcpeg/conf.d/one.toml"]);
    let said = text(&machine.run(&["mcpeg", "--reload"]).stderr);
    assert!(said.contains("reaches this machine only, not `192.0.2.1`; `sudo mcpeg install`"), "{said}");
    println!(
        "{suite}: exposure on loopback {loopback}, with a child {}, as packaged {}, with a peer {}",
        scores[0], scores[1], scores[2]
    );
    assert!(loopback <= LOOPBACK_EXPOSURE, "{loopback}");
    assert!(scores.iter().all(|score| *score <= EXPOSURE), "{scores:?}");

    let main = property(&machine, "MainPID");
    let user = machine.ok(&["ps", "--no-headers", "-o", "user:32", "-p", &main]);
    assert_ne!(user.trim(), "root");
}

/// A second installation has nothing to do, and does nothing.
fn second_install_touches_nothing(suite: &str) {
    let machine = machine_with_binary(suite);
    let before = Snapshot::of(&machine);
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    let installed = Snapshot::of(&machine);
    // The gateway writes its log while it runs; everything else that came must stay as it is.
    let mut paths = installed.added_since(&before);
    paths.retain(|path| !path.starts_with("/var/log/mcpeg/"));
    assert!(paths.contains(&UNIT), "{paths:?}");

    let identities = |machine: &Machine| {
        let stat = ["stat", "--format=%n inode %i modified %y"];
        machine.ok(&[&stat[..], &paths[..]].concat())
    };
    let first = (identities(&machine), property(&machine, "MainPID"));
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    assert_eq!((identities(&machine), property(&machine, "MainPID")), first);
    assert_eq!(active(&machine), "active");
}

/// The service is back after a reboot would have started it, and after a crash.
fn comes_back_after_a_crash(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    let first = property(&machine, "MainPID");
    machine.ok(&["kill", "-KILL", &first]);
    machine.wait_for("a new main process that serves", Duration::from_secs(60), || {
        let served = legacy_call(&machine, ENDPOINT, "status", &json!({})).is_ok();
        (served && property(&machine, "MainPID") != first).then_some(())
    });
    let wanted = machine.ok(&["systemctl", "list-dependencies", "--plain", "multi-user.target"]);
    assert!(wanted.contains("mcpeg.service"), "{wanted}");
    proved_wherever_it_listens(&machine);
}

/// An installation proves that the service serves, also where it asks who comes, or speaks TLS only.
fn proved_wherever_it_listens(machine: &Machine) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    machine.write("/etc/mcpeg/cert.pem", &made.cert.pem());
    machine.write("/etc/mcpeg/key.pem", &made.signing_key.serialize_pem());
    machine.ok(&["chown", "root:mcpeg", "/etc/mcpeg/cert.pem", "/etc/mcpeg/key.pem"]);
    machine.ok(&["chmod", "0640", "/etc/mcpeg/cert.pem", "/etc/mcpeg/key.pem"]);
    let tls = "tls = { cert = \"/etc/mcpeg/cert.pem\", key = \"/etc/mcpeg/key.pem\" }\n";
    for (tls, proved) in [
        ("", "serves on 127.0.0.1:8443 and has answered an MCP request"),
        (tls, "serves on 127.0.0.1:8443 with TLS"),
    ] {
        let listener =
            "[server]\nlisten = []\n[listeners.only]\naddress = \"127.0.0.1:8443\"\nauth = [\"token\"]\n";
        machine.write("/etc/mcpeg/mcpeg.toml", &format!("{listener}{tls}"));
        machine.ok(&["systemctl", "restart", "mcpeg"]);
        let said = machine.ok(&["/root/mcpeg", "install", "--yes"]);
        assert!(said.contains(proved), "{said}");
        assert_eq!(active(machine), "active");
    }
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn install_serve_uninstall_leaves_nothing_on_bookworm() {
    whole_way("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn install_serve_uninstall_leaves_nothing_on_trixie() {
    whole_way("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn service_is_documented_and_confined_on_bookworm() {
    documented_and_confined("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn service_is_documented_and_confined_on_trixie() {
    documented_and_confined("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn second_install_keeps_process_and_files_on_bookworm() {
    second_install_touches_nothing("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn second_install_keeps_process_and_files_on_trixie() {
    second_install_touches_nothing("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn killed_service_comes_back_on_bookworm() {
    comes_back_after_a_crash("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn killed_service_comes_back_on_trixie() {
    comes_back_after_a_crash("trixie");
}
