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

/// A gateway that something in a unit has started is not the unit.
fn stop_of_a_child(machine: &Machine) {
    let script = "mcpeg --daemon --listen 127.0.0.1:9999 --pid-file /run/child.pid && exec sleep 600";
    machine.ok(&["systemd-run", "--unit=other", "sh", "-c", script]);
    machine.wait_for("the gateway", std::time::Duration::from_secs(20), || {
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
    let unit = "[Service]\nType=notify\nRuntimeDirectory=own\nExecStart=/usr/local/bin/mcpeg --listen 127.0.0.1:9998\n\
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
