//! An upgrade of the service: systemd follows the main process, the unit is never restarted, and no request fails.

use crate::install::machine_with_binary;
use crate::machine::{Machine, text};

/// Upgrades in one test.
const UPGRADES: usize = 3;

/// Asks for `/health/live` with new connections until told to stop; prints how many requests there were and failed.
const LOAD: &str = "all=0 bad=0; while [ ! -e /root/enough ]; do \
    curl --silent --fail --max-time 30 --output /dev/null http://127.0.0.1:8080/health/live || bad=$((bad + 1)); \
    all=$((all + 1)); done; echo $all $bad";

/// One property of the service.
fn property(machine: &Machine, name: &str) -> String {
    machine.ok(&["systemctl", "show", "--value", "--property", name, "mcpeg"]).trim().to_owned()
}

/// Upgrades and a reload under load.
#[expect(clippy::print_stdout, reason = "the counts are what the reader of a run wants to see")]
fn main_process_moves(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    let since = property(&machine, "ActiveEnterTimestampMonotonic");
    let load = std::thread::scope(|scope| {
        let load = scope.spawn(|| machine.run(&["sh", "-c", LOAD]));
        for _ in 0..UPGRADES {
            let before = property(&machine, "MainPID");
            machine.ok(&["mcpeg", "--restart"]);
            let after = property(&machine, "MainPID");
            assert_ne!(before, after, "systemd does not follow the new process");
            assert!(
                machine.ok(&["mcpeg", "--status"]).contains(&after),
                "the pid file names another process"
            );
        }
        machine.ok(&["systemctl", "reload", "mcpeg"]);
        machine.write("/root/enough", "");
        load.join().expect("the load ends")
    });
    let counts = text(&load.stdout);
    println!("{suite}: {UPGRADES} upgrades and a reload; requests and failures: {}", counts.trim());
    let (all, bad) = counts.trim().split_once(' ').expect("two numbers");
    assert!(all.parse::<u32>().expect("a number") > 0);
    assert_eq!(bad, "0", "requests failed during upgrades");
    assert_eq!(property(&machine, "NRestarts"), "0");
    assert_eq!(property(&machine, "ActiveEnterTimestampMonotonic"), since, "the unit was started again");
    machine.ok(&["systemctl", "stop", "mcpeg"]);
    assert_eq!(property(&machine, "Result"), "success");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn main_process_moves_without_a_failed_request_on_bookworm() {
    main_process_moves("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn main_process_moves_without_a_failed_request_on_trixie() {
    main_process_moves("trixie");
}
