//! The life of each package on a real machine: it serves, it is upgraded without a lost request, it keeps what the
//! administrator has decided, and it leaves nothing.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::built::{NEXT, VERSION, deb, rpm};
use crate::machine::{Machine, text};
use crate::mcp::{ENDPOINT, legacy_call, modern_call};
use crate::snapshot::Snapshot;

/// The clients.
const LOAD: &str = include_str!("load.py");

/// What an administrator adds to the configuration.
const EDIT: &str = "\n[server]\nsession_timeout = \"2h\"\n";

/// How a package is handled: the commands for a package file.
#[derive(Clone, Copy)]
struct Manager {
    /// Installs or upgrades; the file's path comes after it.
    install: &'static [&'static str],
    /// Removes, and keeps what the administrator has edited.
    remove: &'static [&'static str],
    /// Prints the version that is installed.
    version: &'static [&'static str],
    /// How `mcpeg install` points at it.
    named: &'static str,
}

/// The tool of Debian.
const DPKG: Manager = Manager {
    install: &["dpkg", "--install"],
    remove: &["dpkg", "--remove", "mcpeg"],
    version: &["dpkg-query", "--show", "--showformat=${Version}", "mcpeg"],
    named: "use apt for `mcpeg`",
};

/// rpm; the C library and systemd of the machine are Debian's, so they are not among its packages.
const RPM: Manager = Manager {
    install: &["rpm", "--upgrade", "--oldpackage", "--nodeps"],
    remove: &["rpm", "--erase", "mcpeg"],
    version: &["rpm", "--query", "--queryformat=%{VERSION}-%{RELEASE}", "mcpeg"],
    named: "use dnf for `mcpeg-",
};

/// Where distributions with rpm have its database; Debian's rpm would keep it in the user's home.
const RPM_MACROS: &str = "%_dbpath /var/lib/rpm\n";

/// One property of the service.
fn property(machine: &Machine, name: &str) -> String {
    machine.ok(&["systemctl", "show", "--value", "--property", name, "mcpeg"]).trim().to_owned()
}

/// What systemd says of the service: whether it runs, and whether it is enabled.
fn state(machine: &Machine) -> (String, String) {
    let ask = |verb| text(&machine.run(&["systemctl", verb, "mcpeg"]).stdout).trim().to_owned();
    (ask("is-active"), ask("is-enabled"))
}

/// The same as two words.
fn is(machine: &Machine, active: &str, enabled: &str) {
    let journal = || text(&machine.run(&["journalctl", "--no-pager", "--lines=30", "--unit=mcpeg"]).stdout);
    assert_eq!(state(machine), (active.to_owned(), enabled.to_owned()), "{}", journal());
}

/// The version that the running gateway says it is.
fn serving_version(machine: &Machine) -> String {
    let status: Value = serde_json::from_str(&machine.ok(&["mcpeg", "--status", "--json"])).expect("JSON");
    status["version"].as_str().expect("the gateway tells its version").to_owned()
}

/// The packages of both versions in the machine's /root.
fn copy_in(machine: &Machine, packages: [&Path; 2]) {
    for (package, name) in packages.into_iter().zip(["/root/first", "/root/next"]) {
        machine.copy_in(package, name);
    }
    machine.write("/root/load.py", LOAD);
}

impl Manager {
    /// Installs a package file of the machine; whatever is printed must hold no complaint of ours.
    fn install(self, machine: &Machine, package: &str) {
        machine.ok(&[self.install, &[package]].concat());
    }

    /// Installs on an untouched machine.
    fn fresh(self, machine: &Machine) {
        self.install(machine, "/root/first");
        is(machine, "active", "enabled");
        assert_eq!(machine.ok(self.version), format!("{VERSION}-1"));
        legacy_call(machine, ENDPOINT, "status", &json!({})).expect("a legacy client is served");
        modern_call(machine, ENDPOINT, "status", &json!({})).expect("a modern client is served");
        let modes = machine.ok(&[
            "stat",
            "--format=%a %U:%G %n",
            "/etc/mcpeg",
            "/etc/mcpeg/conf.d",
            "/etc/mcpeg/mcpeg.toml",
        ]);
        assert_eq!(
            modes,
            "750 root:mcpeg /etc/mcpeg\n750 root:mcpeg /etc/mcpeg/conf.d\n640 root:mcpeg /etc/mcpeg/mcpeg.toml\n"
        );
        let page = machine.ok(&["man", "-P", "cat", "mcpeg"]);
        assert!(page.contains("MCPEG(8)"), "{page}");
    }

    /// The installer leaves a package's machine alone, and says what to use instead.
    fn refuses_the_installer(self, machine: &Machine) {
        let before = property(machine, "MainPID");
        for command in [
            &["mcpeg", "install", "--yes"][..],
            &["mcpeg", "install", "--dry-run"],
            &["mcpeg", "uninstall", "--yes"],
        ] {
            let output = machine.run(command);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(10), "{command:?}: {said}");
            assert!(said.contains("belongs to the package `mcpeg") && said.contains(self.named), "{said}");
        }
        for absent in ["/usr/local/bin/mcpeg", "/usr/local/lib/systemd", "/var/lib/mcpeg/install.json"] {
            assert!(!machine.run(&["test", "-e", absent]).status.success(), "{absent} was made");
        }
        is(machine, "active", "enabled");
        assert_eq!(property(machine, "MainPID"), before, "the service was touched");
    }

    /// An operator adds a stdio upstream, and it works under the package's unit as it is.
    fn runs_an_upstream(machine: &Machine) {
        // The service does not see root's home.
        machine.ok(&["install", "-Dm644", "/root/echo_server.py", "/var/lib/mcpeg/home/echo_server.py"]);
        machine.write(
            "/etc/mcpeg/conf.d/echo.toml",
            "[upstreams.echo]\ncommand = \"python3\"\nargs = [\"/var/lib/mcpeg/home/echo_server.py\"]\n",
        );
        machine.ok(&["systemctl", "reload", "mcpeg"]);
        let answer = machine.wait_for("an answer of the upstream", Duration::from_secs(60), || {
            legacy_call(machine, &format!("{ENDPOINT}/echo"), "echo", &json!({ "text": "packaged" })).ok()
        });
        assert!(answer.to_string().contains("packaged"), "{answer}");
        machine.ok(&["rm", "/etc/mcpeg/conf.d/echo.toml", "/var/lib/mcpeg/home/echo_server.py"]);
        machine.ok(&["systemctl", "reload", "mcpeg"]);
    }

    /// Upgrades while clients are at work: one upgrade, no failed request, and the edited configuration is kept.
    #[expect(clippy::print_stdout, reason = "the counts are what the reader of a run wants to see")]
    fn upgrade_under_load(self, machine: &Machine) {
        machine.ok(&["sh", "-c", "printf %s \"$1\" >>/etc/mcpeg/mcpeg.toml", "sh", EDIT]);
        assert_eq!(serving_version(machine), VERSION);
        let (since, before) =
            (property(machine, "ActiveEnterTimestampMonotonic"), property(machine, "MainPID"));
        let load = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                machine.run(&["python3", "/root/load.py", "8080", "/root/started", "/root/enough"])
            });
            machine.wait_for("clients at work", Duration::from_secs(60), || {
                machine.run(&["test", "-e", "/root/started"]).status.success().then_some(())
            });
            self.install(machine, "/root/next");
            machine.write("/root/enough", "");
            load.join().expect("the load ends")
        });
        let counts: Value =
            serde_json::from_slice(&load.stdout).unwrap_or_else(|_| panic!("{}", text(&load.stderr)));
        println!(
            "upgrade of a package: {} requests answered, failed: {}",
            counts["answered"], counts["failed"]
        );
        assert_eq!(counts["failed"], json!([]));
        assert!(counts["answered"].as_u64() > Some(20), "{counts}");

        assert_eq!(machine.ok(self.version), format!("{}-1", *NEXT));
        assert_eq!(serving_version(machine), *NEXT);
        is(machine, "active", "enabled");
        assert_ne!(property(machine, "MainPID"), before, "the old program still serves");
        assert_eq!(property(machine, "NRestarts"), "0");
        assert_eq!(property(machine, "ActiveEnterTimestampMonotonic"), since, "the unit was started again");
        let upgraded = "a new process has taken over";
        let log = machine.wait_for("the upgrade in the journal", Duration::from_secs(60), || {
            let log = machine.ok(&["journalctl", "--no-pager", "--unit=mcpeg"]);
            log.contains(upgraded).then_some(log)
        });
        assert_eq!(log.matches(upgraded).count(), 1, "not one upgrade: {log}");
        assert!(machine.ok(&["cat", "/etc/mcpeg/mcpeg.toml"]).ends_with(EDIT), "the edit is lost");
    }

    /// A configuration that is wrong does not end a service that serves; a service that was disabled stays so.
    fn decisions_are_respected(self, machine: &Machine) {
        let before = property(machine, "MainPID");
        machine.ok(&["sh", "-c", "echo 'levl = 1' >/etc/mcpeg/conf.d/wrong.toml"]);
        self.install(machine, "/root/first");
        assert_eq!(property(machine, "MainPID"), before, "the service was ended by a wrong configuration");
        is(machine, "active", "enabled");
        machine.ok(&["rm", "/etc/mcpeg/conf.d/wrong.toml"]);

        machine.ok(&["systemctl", "disable", "--now", "mcpeg"]);
        self.install(machine, "/root/next");
        is(machine, "inactive", "disabled");
        machine.ok(&["systemctl", "enable", "--now", "mcpeg"]);
    }

    /// Removes; the service is gone, the edited configuration is not.
    fn remove(self, machine: &Machine) {
        machine.ok(self.remove);
        assert_eq!(property(machine, "ActiveState"), "inactive");
        for gone in ["/usr/bin/mcpeg", "/usr/lib/systemd/system/mcpeg.service", "/run/mcpeg"] {
            assert!(!machine.run(&["test", "-e", gone]).status.success(), "{gone} is still there");
        }
        let processes = machine.run(&["pgrep", "--list-full", "--uid", "mcpeg"]);
        assert!(!processes.status.success(), "left behind: {}", text(&processes.stdout));
    }
}

/// A machine with both packages, and how it was before.
fn machine_with(suite: &str, packages: [&Path; 2]) -> (Machine, Snapshot) {
    let machine = Machine::boot(suite);
    copy_in(&machine, packages);
    for made in ["/root/started", "/root/enough"] {
        machine.write(made, "");
    }
    // Belongs to the base package of each distribution with rpm.
    machine.ok(&["mkdir", "-p", "/usr/share/licenses", "/etc/rpm"]);
    machine.write("/etc/rpm/macros", RPM_MACROS);
    machine.write("/root/echo_server.py", include_str!("../fixtures/echo_server.py"));
    let before = Snapshot::of(&machine);
    machine.ok(&["rm", "/root/started", "/root/enough"]);
    (machine, before)
}

/// From an untouched machine to a purged one.
fn life_of_deb(suite: &str) {
    let (machine, before) = machine_with(suite, [&deb(VERSION), &deb(&NEXT)]);
    DPKG.fresh(&machine);
    DPKG.refuses_the_installer(&machine);
    Manager::runs_an_upstream(&machine);
    DPKG.upgrade_under_load(&machine);
    DPKG.decisions_are_respected(&machine);
    DPKG.remove(&machine);
    assert!(machine.ok(&["cat", "/etc/mcpeg/mcpeg.toml"]).ends_with(EDIT));
    machine.ok(&["dpkg", "--purge", "mcpeg"]);
    Snapshot::of(&machine).assert_same_as(&before);
    machine.ok(&["getent", "passwd", "mcpeg"]);
}

/// The same for rpm, which knows no purge: the service's own directories are cleaned by systemd before, as the package's
/// description says, and the administrator's configuration by hand.
fn life_of_rpm(suite: &str) {
    let (machine, before) = machine_with(suite, [&rpm(VERSION), &rpm(&NEXT)]);
    RPM.fresh(&machine);
    assert_eq!(text(&machine.run(&["rpm", "--verify", "--nodeps", "mcpeg"]).stdout), "");
    RPM.refuses_the_installer(&machine);
    Manager::runs_an_upstream(&machine);
    RPM.upgrade_under_load(&machine);
    RPM.decisions_are_respected(&machine);
    machine.ok(&["systemctl", "disable", "--now", "mcpeg"]);
    machine.ok(&["systemctl", "clean", "--what=all", "mcpeg"]);
    RPM.remove(&machine);
    assert!(machine.ok(&["cat", "/etc/mcpeg/mcpeg.toml.rpmsave"]).ends_with(EDIT));
    machine.ok(&["rm", "-r", "/etc/mcpeg"]);
    Snapshot::of(&machine).assert_same_as(&before);
    machine.ok(&["getent", "passwd", "mcpeg"]);
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn deb_lives_and_leaves_nothing_on_bookworm() {
    life_of_deb("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn deb_lives_and_leaves_nothing_on_trixie() {
    life_of_deb("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn rpm_lives_and_leaves_nothing_with_rpm_4_18() {
    life_of_rpm("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn rpm_lives_and_leaves_nothing_with_rpm_4_20() {
    life_of_rpm("trixie");
}
