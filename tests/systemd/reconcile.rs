//! `mcpeg install` where it was run before: a new program is taken up under load, drift is repaired, and what belongs to
//! the administrator stays.

use crate::install::{active, machine_with_binary, property};
use crate::machine::{Machine, text};

/// The unit file.
const UNIT: &str = "/usr/local/lib/systemd/system/mcpeg.service";
/// The configuration.
const CONFIGURATION: &str = "/etc/mcpeg/mcpeg.toml";

/// Asks for `/health/live` until told to stop: with a new connection each time, and over one connection that is kept.
/// Prints how many requests there were and how many failed.
const LOAD: &str = r"
import http.client, os, sys
total = failed = 0
kept = http.client.HTTPConnection('127.0.0.1', 8080, timeout=30)
while not os.path.exists('/root/enough'):
    for connection in (kept, http.client.HTTPConnection('127.0.0.1', 8080, timeout=30)):
        total += 1
        try:
            connection.request('GET', '/health/live')
            response = connection.getresponse()
            response.read()
            failed += response.status != 200
            if response.will_close:
                connection.close()
        except Exception as error:
            failed += 1
            print(repr(error), file=sys.stderr)
            connection.close()
        if connection is not kept:
            connection.close()
    if total == 20:
        open('/root/begun', 'w').close()
print(total, failed)
";

/// Runs the installer; returns its exit code and everything that it said.
fn install(machine: &Machine, program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = machine.run(&[&[program, "install", "--yes", "--details"], arguments].concat());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Another version of the program, as far as its content goes: a few bytes behind the end of an ELF file mean nothing.
fn make_new_program(machine: &Machine) {
    machine.ok(&["sh", "-c", "cp /root/mcpeg /root/new && echo another version >>/root/new"]);
}

/// A new program in the place of the old one, while clients are served.
#[expect(clippy::print_stdout, reason = "the counts are what the reader of a run wants to see")]
fn new_program_is_taken_up(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    make_new_program(&machine);
    machine.write("/root/load.py", LOAD);
    let since = property(&machine, "ActiveEnterTimestampMonotonic");
    let before = property(&machine, "MainPID");
    let load = std::thread::scope(|scope| {
        let load = scope.spawn(|| machine.run(&["python3", "/root/load.py"]));
        machine.wait_for("clients at work", std::time::Duration::from_secs(60), || {
            machine.run(&["test", "-e", "/root/begun"]).status.success().then_some(())
        });
        let (code, said) = install(&machine, "/root/new", &[]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("> /usr/local/bin/mcpeg --restart"), "{said}");
        assert!(!said.contains("systemctl restart"), "{said}");
        machine.write("/root/enough", "");
        load.join().expect("the load ends")
    });
    let counts = text(&load.stdout);
    println!("{suite}: upgrade in place; requests and failures: {}", counts.trim());
    let (total, failed) = counts.trim().split_once(' ').expect("two numbers");
    assert!(total.parse::<u32>().expect("a number") > 100, "{counts}");
    assert_eq!(failed, "0", "{}", text(&load.stderr));
    let after = property(&machine, "MainPID");
    assert_ne!(before, after);
    let running = machine.ok(&["readlink", &format!("/proc/{after}/exe")]);
    assert_eq!(running.trim(), "/usr/local/bin/mcpeg", "the old program still runs");
    machine.ok(&["cmp", "/root/new", "/usr/local/bin/mcpeg"]);
    assert_eq!(property(&machine, "NRestarts"), "0");
    assert_eq!(property(&machine, "ActiveEnterTimestampMonotonic"), since, "the unit was started again");
    // Once is enough.
    let (code, said) = install(&machine, "/root/new", &[]);
    assert!(code == Some(0) && said.contains("nothing had to be changed"), "{said}");
    assert_eq!(property(&machine, "MainPID"), after);
}

/// A configuration with which the new process cannot serve: all is as before, and the old process never stopped.
fn failed_upgrade_is_taken_back(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    make_new_program(&machine);
    let before =
        (property(&machine, "MainPID"), machine.ok(&["sha256sum", "/usr/local/bin/mcpeg", CONFIGURATION]));
    // Port 9999 is somebody else's.
    machine.ok(&["systemd-run", "--unit=other", "--quiet", "python3", "-m", "http.server", "9999"]);
    machine.wait_for("the other program", std::time::Duration::from_secs(60), || {
        machine.run(&["curl", "--silent", "http://127.0.0.1:9999/"]).status.success().then_some(())
    });
    machine.write("/root/mine.toml", "[server]\nlisten = [\"127.0.0.1:8080\", \"127.0.0.1:9999\"]\n");
    let (code, said) = install(&machine, "/root/new", &["--config", "/root/mine.toml"]);
    assert_eq!(code, Some(12), "{said}");
    assert!(said.contains("everything was rolled back") && said.contains("9999"), "{said}");
    assert_eq!(active(&machine), "active");
    let after = machine.ok(&["sha256sum", "/usr/local/bin/mcpeg", CONFIGURATION]);
    assert_eq!(after, before.1);
    machine.ok(&["curl", "--silent", "--fail", "http://127.0.0.1:8080/health/live"]);
    assert_eq!(property(&machine, "NRestarts"), "0");
    assert!(machine.ok(&["mcpeg", "install", "--yes"]).contains("nothing had to be changed"));
}

/// Drift is repaired; an edited configuration, a drop-in and a disabled service stay.
fn drift_goes_and_what_is_the_administrators_stays(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    let whole = machine.ok(&["sha256sum", UNIT]);
    let first = property(&machine, "MainPID");
    let drop_in = "/etc/systemd/system/mcpeg.service.d/local.conf";
    machine.ok(&["mkdir", "-p", "/etc/systemd/system/mcpeg.service.d"]);
    machine.write(drop_in, "[Service]\nNice=5\n");
    machine.ok(&[
        "sh",
        "-c",
        "echo '# mine' >>/etc/mcpeg/mcpeg.toml; echo '# drift' >>/usr/local/share/man/man8/mcpeg.8",
    ]);
    let edited = machine.ok(&["sha256sum", CONFIGURATION, drop_in]);
    assert_eq!(machine.run(&["mcpeg", "install", "--check"]).status.code(), Some(1));

    // What is no part of the service is repaired without touching the service.
    let (code, said) = install(&machine, "/root/mcpeg", &[]);
    assert!(code == Some(0) && said.contains("~ /usr/local/share/man/man8/mcpeg.8"), "{said}");
    assert_eq!(property(&machine, "MainPID"), first, "{said}");
    machine.ok(&["mcpeg", "install", "--check"]);

    // The unit is; that needs a restart. A service that was disabled stays disabled, and runs on while it does.
    machine.ok(&["systemctl", "disable", "--quiet", "mcpeg"]);
    machine.ok(&["sh", "-c", &format!("echo PrivateTmp=no >>{UNIT}")]);
    let (code, said) = install(&machine, "/root/mcpeg", &[]);
    assert!(code == Some(0) && said.contains("kept, the administrator disabled it"), "{said}");
    assert_eq!(machine.ok(&["sha256sum", UNIT]), whole);
    assert_ne!(property(&machine, "MainPID"), first);
    assert_eq!(property(&machine, "Nice"), "5", "the drop-in is in force");
    assert_eq!(machine.run(&["systemctl", "is-enabled", "mcpeg"]).status.code(), Some(1));
    assert_eq!(machine.ok(&["sha256sum", CONFIGURATION, drop_in]), edited);

    // A disabled service that was stopped is not started either.
    machine.ok(&["systemctl", "stop", "mcpeg"]);
    let (code, said) = install(&machine, "/root/mcpeg", &[]);
    assert!(code == Some(0) && active(&machine) == "inactive", "{said}");
    let said = machine.run(&["mcpeg", "uninstall", "--yes"]);
    let said = text(&said.stdout) + &text(&said.stderr);
    assert!(said.contains("kept /etc/mcpeg/mcpeg.toml: edited"), "{said}");
    assert_eq!(machine.ok(&["sha256sum", CONFIGURATION, drop_in]), edited);
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn new_program_is_taken_up_without_a_failed_request_on_bookworm() {
    new_program_is_taken_up("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn new_program_is_taken_up_without_a_failed_request_on_trixie() {
    new_program_is_taken_up("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn failed_upgrade_is_taken_back_while_the_old_process_serves_on_bookworm() {
    failed_upgrade_is_taken_back("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn failed_upgrade_is_taken_back_while_the_old_process_serves_on_trixie() {
    failed_upgrade_is_taken_back("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn drift_goes_and_what_is_the_administrators_stays_on_bookworm() {
    drift_goes_and_what_is_the_administrators_stays("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn drift_goes_and_what_is_the_administrators_stays_on_trixie() {
    drift_goes_and_what_is_the_administrators_stays("trixie");
}
