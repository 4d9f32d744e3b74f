//! mcpeg's own actions on a gateway that systemd manages: systemd's view of the unit stays right.

use crate::install::{active, machine_with_binary};
use crate::machine::{Machine, text};

/// One property of a unit.
fn property(machine: &Machine, unit: &str, name: &str) -> String {
    machine.ok(&["systemctl", "show", "--value", "--property", name, unit]).trim().to_owned()
}

/// `--stop` is a stop of the unit, which `Restart=always` would undo otherwise.
fn stop_of_the_service(machine: &Machine) {
    machine.ok(&["mkdir", "-p", "/etc/systemd/system/mcpeg.service.d"]);
    machine.write(
        "/etc/systemd/system/mcpeg.service.d/always.conf",
        "[Service]\nRestart=always\nRestartSec=0\n",
    );
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "start", "mcpeg"]);
    let before = property(machine, "mcpeg", "MainPID");
    machine.ok(&["useradd", "--no-create-home", "--groups", "mcpeg", "member"]);
    let stop = ["mcpeg", "--stop", "--pid-file", "/run/mcpeg/mcpeg.pid"];
    let refused = machine.run(&[&["runuser", "-u", "member", "--"], &stop[..]].concat());
    let said = text(&refused.stderr);
    match refused.status.code() {
        Some(77) => assert!(said.contains("hint: run `systemctl stop mcpeg.service`"), "{said}"),
        // systemd-nspawn shows the service another boot id than the user, who may not look behind that.
        code => assert!(code == Some(75) && said.contains("nothing was signalled"), "{said}"),
    }
    assert_eq!(property(machine, "mcpeg", "MainPID"), before, "{said}");

    let stopped = machine.ok(&["mcpeg", "--stop"]);
    assert_eq!(stopped, format!("mcpeg with pid {before} has stopped\n"));
    assert_eq!(active(machine), "inactive");
    assert_eq!(property(machine, "mcpeg", "Result"), "success");
    assert_eq!(property(machine, "mcpeg", "NRestarts"), "0");
}

/// `--restart` of a stopped service is a start of the unit: a daemon beside it would hold its port and its lock.
fn restart_of_the_stopped_service(machine: &Machine) {
    let restart = ["mcpeg", "--restart", "--pid-file", "/run/mcpeg/mcpeg.pid"];
    let refused = machine.run(&[&["runuser", "-u", "member", "--"], &restart[..]].concat());
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(77), "{said}");
    assert!(said.contains("hint: run `systemctl start mcpeg.service`"), "{said}");
    assert_eq!(active(machine), "inactive");

    let started = machine.ok(&["mcpeg", "--restart"]);
    let pid = property(machine, "mcpeg", "MainPID");
    assert_eq!(started, format!("mcpeg is serving with pid {pid}, started by systemd as mcpeg.service\n"));
    assert_eq!(active(machine), "active");
    machine.ok(&["mcpeg", "--stop"]);

    // What keeps the unit from starting is for systemd to tell.
    machine.ok(&["mv", "/etc/mcpeg/mcpeg.toml", "/etc/mcpeg/away"]);
    let failed = machine.run(&["mcpeg", "--restart"]);
    let said = text(&failed.stderr);
    assert_eq!(failed.status.code(), Some(71), "{said}");
    assert!(said.contains("hint: `systemctl status mcpeg.service` tells why"), "{said}");
    machine.ok(&["mv", "/etc/mcpeg/away", "/etc/mcpeg/mcpeg.toml"]);
    machine.ok(&["systemctl", "reset-failed", "mcpeg"]);

    // Another pid file is another gateway's, which root does not let write into the service's log.
    let other = "/run/other.pid";
    let restart = ["mcpeg", "--restart", "--pid-file", other, "--listen", "127.0.0.1:9997"];
    let refused = machine.run(&restart);
    assert_eq!(refused.status.code(), Some(64));
    assert!(
        text(&refused.stderr).contains("--pid-file and --log-file of its own"),
        "{}",
        text(&refused.stderr)
    );
    machine.ok(&[&restart[..], &["--log-file", "/root/other.log"]].concat());
    assert_eq!(active(machine), "inactive");
    machine.ok(&["mcpeg", "--stop", "--pid-file", other]);
}

/// A gateway that something in a unit has started is not the unit.
fn stop_of_a_child(machine: &Machine) {
    let script = "mcpeg --daemon --listen 127.0.0.1:9999 --pid-file /run/child.pid --log-file /root/child.log && exec sleep 600";
    machine.ok(&["systemd-run", "--unit=other", "sh", "-c", script]);
    machine.wait_for("the gateway", std::time::Duration::from_secs(60), || {
        machine.run(&["test", "-e", "/run/child.pid"]).status.success().then_some(())
    });
    let record = machine.ok(&["cat", "/run/child.lock"]);
    assert!(record.contains("other.service"), "{record}");
    machine.ok(&["mcpeg", "--stop", "--pid-file", "/run/child.pid"]);
    assert_eq!(property(machine, "other", "ActiveState"), "active", "the unit was stopped with its child");
    assert!(!machine.run(&["test", "-e", "/run/child.pid"]).status.success());
    machine.ok(&["systemctl", "stop", "other"]);
}

/// A unit may call `--stop` as its own `ExecStop=`.
fn stop_by_the_unit_itself(machine: &Machine) {
    let unit = "[Service]\nType=notify\nRuntimeDirectory=own\nExecStart=/usr/local/bin/mcpeg --listen 127.0.0.1:9998 --log-file /root/own.log\n\
                ExecStop=/usr/local/bin/mcpeg --stop\nTimeoutStopSec=20\n";
    machine.write("/etc/systemd/system/own.service", unit);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "start", "own"]);
    machine.ok(&["systemctl", "stop", "own"]);
    assert_eq!(property(machine, "own", "Result"), "success", "it waited for itself");
}

/// All of it on one machine.
fn stops(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    stop_of_the_service(&machine);
    restart_of_the_stopped_service(&machine);
    stop_of_a_child(&machine);
    stop_by_the_unit_itself(&machine);
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn stop_keeps_the_view_of_systemd_right_on_bookworm() {
    stops("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn stop_keeps_the_view_of_systemd_right_on_trixie() {
    stops("trixie");
}
