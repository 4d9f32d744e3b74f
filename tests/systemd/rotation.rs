//! `mcpeg install --log-rotation logrotate` with the real logrotate(8), under load: no record is lost, and the choice can be
//! taken back.

use std::time::Duration;

use crate::install::machine_with_binary;
use crate::machine::{Machine, text};
use crate::snapshot::Snapshot;

/// How often the log is rotated under load.
const ROTATIONS: usize = 6;
/// The longest that a few records may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Upstreams that count on standard error, each line of which is a record.
const COUNTING: [&str; 3] = ["a", "b", "c"];

/// One of them.
fn counting(name: &str) -> String {
    let count = "i=0; while :; do echo counted $$i >&2; i=$$((i + 1)); sleep 0.01; done";
    let script = format!("({count}) & exec python3 /opt/echo_server.py");
    format!("[upstreams.{name}]\ncommand = \"sh\"\nargs = [\"-c\", \"{script}\"]\n")
}

/// Runs a command; returns its exit code and everything that it said.
fn run(machine: &Machine, command: &[&str]) -> (Option<i32>, String) {
    let output = machine.run(command);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// How many records there are in the file that is written now.
fn written(machine: &Machine) -> usize {
    let count = machine.run(&["grep", "-c", "counted", "/var/log/mcpeg/mcpeg.log"]);
    text(&count.stdout).trim().parse().unwrap_or(0)
}

/// The numbers that one upstream has counted, from all files, the oldest first.
fn numbers(machine: &Machine, name: &str) -> Vec<u64> {
    let all = format!(
        "cd /var/log/mcpeg && for file in $(ls -v -r mcpeg.log*); do zcat -f $file; done | \
         grep '\"upstream\":\"{name}\"' | grep -o 'counted [0-9]*' | cut -d ' ' -f 2"
    );
    machine.ok(&["sh", "-c", &all]).lines().map(|line| line.parse().expect("a number")).collect()
}

/// Rotations by force while records come.
fn nothing_is_lost(machine: &Machine) {
    for rotation in 0..ROTATIONS {
        machine.wait_for("records in the new file", LIMIT, || (written(machine) > 100).then_some(()));
        let (code, said) = run(machine, &["logrotate", "--force", "/etc/logrotate.d/mcpeg"]);
        assert_eq!((code, said.as_str()), (Some(0), ""), "rotation {rotation}");
    }
    machine.wait_for("records in the last file", LIMIT, || (written(machine) > 100).then_some(()));
    machine.ok(&["systemctl", "stop", "mcpeg"]);
    for name in COUNTING {
        let numbers = numbers(machine, name);
        let whole: Vec<u64> = (0..).take(numbers.len()).collect();
        assert!(
            numbers.len() > 100 && numbers == whole,
            "records of `{name}` are lost, doubled or out of order"
        );
    }
    let files = machine.ok(&["sh", "-c", "ls /var/log/mcpeg | wc -l"]);
    assert_eq!(files.trim(), (ROTATIONS + 1).to_string(), "logrotate has kept them all");
}

/// The whole way on one machine.
fn logrotate_rotates(suite: &str) {
    let machine = machine_with_binary(suite);
    let asked = ["/root/mcpeg", "install", "--yes", "--log-rotation", "logrotate"];
    let (code, said) = run(&machine, &asked);
    assert!(code == Some(71) && said.contains("logrotate is not installed"), "{code:?} {said}");
    machine.copy_in("/usr/sbin/logrotate", "/usr/sbin/logrotate");
    machine.copy_in(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py"),
        "/opt/echo_server.py",
    );
    machine.ok(&["mkdir", "-p", "/etc/logrotate.d", "/var/lib/logrotate"]);
    let before = Snapshot::of(&machine);
    machine.ok(&["mkdir", "-p", "/etc/mcpeg/conf.d"]);
    for name in COUNTING {
        machine.write(&format!("/etc/mcpeg/conf.d/{name}.toml"), &counting(name));
    }
    machine.ok(&asked);
    nothing_is_lost(&machine);

    // The choice holds in an installation after it, and `--check` sees what is missing.
    machine.ok(&["rm", "/etc/logrotate.d/mcpeg"]);
    let (code, said) = run(&machine, &["mcpeg", "install", "--check"]);
    assert!(code == Some(1) && said.contains("+ /etc/logrotate.d/mcpeg"), "{code:?} {said}");
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    machine.ok(&["test", "-e", "/etc/logrotate.d/mcpeg"]);
    machine.ok(&["/root/mcpeg", "install", "--yes", "--log-rotation", "own"]);
    let (code, _) = run(&machine, &["test", "-e", "/etc/logrotate.d/mcpeg"]);
    assert_eq!(code, Some(1), "mcpeg rotates, and logrotate would, too");
    let said = machine.ok(&["mcpeg", "--log-rotate"]);
    assert!(said.contains("mcpeg.log.20"), "mcpeg does not rotate itself: {said}");
    machine.ok(&["/root/mcpeg", "install", "--yes", "--log-rotation", "logrotate"]);
    machine.ok(&["mcpeg", "uninstall", "--purge", "--yes"]);
    // This test had made the directory before, so that it stays.
    machine.ok(&["rm", "-rf", "/etc/mcpeg", "/var/lib/logrotate/status"]);
    Snapshot::of(&machine).assert_same_as(&before);
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn logrotate_loses_no_record_on_bookworm() {
    logrotate_rotates("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn logrotate_loses_no_record_on_trixie() {
    logrotate_rotates("trixie");
}
