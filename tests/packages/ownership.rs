//! Who owns it: installation, package and administrator on one machine. Nothing of another owner is stopped or deleted, what
//! happens is said, and a take-over loses no request.

use std::time::Duration;

use serde_json::{Value, json};

use crate::built::{NEXT, VERSION, deb, rpm};
use crate::machine::{Machine, text};

/// The clients.
const LOAD: &str = include_str!("load.py");
/// What an administrator adds to the configuration.
const EDIT: &str = "\n[server]\nsession_timeout = \"2h\"\n";
/// Files that stand for what a service and its administrator have.
const VALUABLES: [&str; 3] = [
    "/etc/mcpeg/conf.d/mine.toml",
    "/var/lib/mcpeg/home/state",
    "/var/log/mcpeg/mcpeg.log.20260101T000000Z.1",
];

/// A machine with both packages and the program of an installer.
fn machine(suite: &str) -> Machine {
    let machine = Machine::boot(suite);
    for (package, name) in [(deb(VERSION), "/root/first"), (deb(&NEXT), "/root/next")] {
        machine.copy_in(package, name);
    }
    machine.copy_in(env!("CARGO_BIN_EXE_mcpeg"), "/root/mcpeg");
    machine.write("/root/load.py", LOAD);
    machine
}

/// Runs a command line of a shell; its exit code, and everything that it printed.
fn sh(machine: &Machine, line: &str) -> (i32, String) {
    let output = machine.run(&["sh", "-c", line]);
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().unwrap_or(-1), said)
}

/// The same for one that must end with this code and say this.
#[track_caller]
fn ends(machine: &Machine, line: &str, code: i32, words: &[&str]) -> String {
    let (ended, said) = sh(machine, line);
    assert_eq!(ended, code, "{line}: {said}");
    for word in words {
        assert!(said.contains(word), "`{line}` does not say `{word}`: {said}");
    }
    said
}

/// One property of the service.
fn property(machine: &Machine, name: &str) -> String {
    machine.ok(&["systemctl", "show", "--value", "--property", name, "mcpeg"]).trim().to_owned()
}

/// Asserts that the service is up, starts at boot, and executes this program.
#[track_caller]
fn serves(machine: &Machine, program: &str) {
    let (_, state) = sh(machine, "systemctl is-active mcpeg; systemctl is-enabled mcpeg");
    assert_eq!(state, "active\nenabled\n");
    let pid = property(machine, "MainPID");
    assert_eq!(machine.ok(&["readlink", &format!("/proc/{pid}/exe")]).trim(), program);
    ends(machine, "curl --silent --fail http://127.0.0.1:8080/health/live", 0, &[]);
}

/// Puts the valuables into place.
fn put_valuables(machine: &Machine) {
    for path in VALUABLES {
        machine.ok(&["sh", "-c", "mkdir -p \"${1%/*}\" && echo '# mine' >\"$1\"", "sh", path]);
    }
    machine.ok(&["sh", "-c", "printf %s \"$1\" >>/etc/mcpeg/mcpeg.toml", "sh", EDIT]);
}

/// Asserts that they are there, with the edited configuration.
#[track_caller]
fn has_valuables(machine: &Machine) {
    for path in VALUABLES {
        assert_eq!(machine.ok(&["cat", path]), "# mine\n", "{path}");
    }
    assert!(machine.ok(&["cat", "/etc/mcpeg/mcpeg.toml"]).ends_with(EDIT), "the edit is lost");
}

/// Whether there is anything at a path.
fn there(machine: &Machine, path: &str) -> bool {
    machine.run(&["test", "-e", path]).status.success() || machine.run(&["test", "-h", path]).status.success()
}

/// Has clients at work while something is done; none of their requests may fail.
#[expect(clippy::print_stdout, reason = "the counts are what the reader of a run wants to see")]
fn under_load(machine: &Machine, what: &str, act: impl FnOnce()) {
    machine.ok(&["rm", "-f", "/root/started", "/root/enough"]);
    let load = std::thread::scope(|scope| {
        let load = scope
            .spawn(|| machine.run(&["python3", "/root/load.py", "8080", "/root/started", "/root/enough"]));
        machine.wait_for("clients at work", Duration::from_secs(60), || {
            machine.run(&["test", "-e", "/root/started"]).status.success().then_some(())
        });
        // Also after a panic, which would otherwise wait for the clients.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        machine.write("/root/enough", "");
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
        load.join().expect("the load ends")
    });
    let counts: Value =
        serde_json::from_slice(&load.stdout).unwrap_or_else(|_| panic!("{}", text(&load.stderr)));
    println!("{what}: {} requests answered, failed: {}", counts["answered"], counts["failed"]);
    assert_eq!(counts["failed"], json!([]), "{what}");
}

/// 80: a receipt of an uninstallation, or of an installation beside the package, does not make its purge the package's.
fn no_receipt_wins_over_a_package(suite: &str) {
    let machine = machine(suite);
    for line in ["/root/mcpeg install --yes", "/root/mcpeg uninstall --yes", "dpkg --install /root/first"] {
        ends(&machine, line, 0, &[]);
    }
    put_valuables(&machine);
    for line in ["/root/mcpeg uninstall --purge --yes", "/root/mcpeg uninstall --yes"] {
        ends(&machine, line, 10, &["belongs to the package `mcpeg`", "use apt"]);
        serves(&machine, "/usr/bin/mcpeg");
        has_valuables(&machine);
    }
    // Beside the package, an installation that has taken over may go, and gives the service back.
    ends(&machine, "/root/mcpeg install --adopt --yes", 0, &[]);
    ends(&machine, "/root/mcpeg uninstall --purge --yes", 10, &["use apt"]);
    serves(&machine, "/usr/local/bin/mcpeg");
    ends(&machine, "/root/mcpeg uninstall --yes", 0, &["the package has the service"]);
    serves(&machine, "/usr/bin/mcpeg");
    has_valuables(&machine);
    assert!(!there(&machine, "/usr/local/bin/mcpeg") && !there(&machine, "/var/lib/mcpeg/install.json"));
    ends(&machine, "dpkg --purge mcpeg", 0, &[]);
    assert!(!there(&machine, "/etc/mcpeg") && !there(&machine, "/var/lib/mcpeg"));
}

/// 81: purging what a package left does not touch an installation that came after it, and the mask that the removal left is
/// undone.
fn purge_of_a_removed_package_leaves_an_installation_alone(suite: &str) {
    let machine = machine(suite);
    ends(&machine, "dpkg --install /root/first && dpkg --remove mcpeg", 0, &[]);
    assert_eq!(machine.ok(&["readlink", "/etc/systemd/system/mcpeg.service"]), "/dev/null\n");
    let before = machine.ok(&["find", "/usr/local", "/etc/mcpeg"]);
    ends(&machine, "/root/mcpeg install --yes --config /nowhere", 78, &[]);
    assert_eq!(machine.ok(&["find", "/usr/local", "/etc/mcpeg"]), before);
    ends(&machine, "/root/mcpeg install --yes --details", 0, &["systemctl unmask mcpeg.service"]);
    put_valuables(&machine);
    serves(&machine, "/usr/local/bin/mcpeg");
    let pid = property(&machine, "MainPID");
    ends(&machine, "dpkg --purge mcpeg", 0, &["are left as they are"]);
    serves(&machine, "/usr/local/bin/mcpeg");
    assert_eq!(property(&machine, "MainPID"), pid);
    has_valuables(&machine);
    ends(&machine, "/root/mcpeg install --check", 0, &[]);
    ends(&machine, "/root/mcpeg uninstall --purge --yes", 0, &["mcpeg is uninstalled"]);
    for path in ["/var/lib/mcpeg/home", "/usr/local/bin/mcpeg", "/etc/systemd/system/mcpeg.service"] {
        assert!(!there(&machine, path), "{path}");
    }
}

/// 82: where systemd would end the new process, the old one serves on, and that is said.
fn unit_that_systemd_would_not_follow_keeps_its_process(suite: &str) {
    let machine = machine(suite);
    ends(&machine, "dpkg --install /root/first", 0, &[]);
    let pid = property(&machine, "MainPID");
    let same = |what: &str| {
        ends(&machine, "curl --silent --fail http://127.0.0.1:8080/health/live", 0, &[]);
        assert_eq!(
            (property(&machine, "ActiveState").as_str(), property(&machine, "MainPID")),
            ("active", pid.clone()),
            "{what}"
        );
    };
    machine.ok(&["systemctl", "mask", "mcpeg"]);
    ends(&machine, "mcpeg --restart", 15, &["mcpeg.service is masked", "systemctl unmask mcpeg.service"]);
    same("masked, --restart");
    ends(&machine, "dpkg --install /root/next", 0, &["masked"]);
    same("masked, upgrade of the package");
    machine.ok(&["systemctl", "unmask", "mcpeg"]);

    // As long as systemd needs the messages for something else, it hears them whatever NotifyAccess= says.
    let others = "Type=simple\nWatchdogSec=0\nFileDescriptorStoreMax=0\n";
    for setting in
        [format!("{others}NotifyAccess=none"), format!("{others}NotifyAccess=none\nRestart=always")]
    {
        machine.ok(&["mkdir", "-p", "/etc/systemd/system/mcpeg.service.d"]);
        machine.write("/etc/systemd/system/mcpeg.service.d/own.conf", &format!("[Service]\n{setting}\n"));
        machine.ok(&["systemctl", "daemon-reload"]);
        ends(&machine, "mcpeg --restart", 15, &["has NotifyAccess=none", "systemctl cat mcpeg.service"]);
        same(&setting);
        ends(&machine, "dpkg --install /root/first", 0, &["NotifyAccess=none"]);
        same(&setting);
    }
    machine.ok(&["rm", "-r", "/etc/systemd/system/mcpeg.service.d"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", "mcpeg"]);
    ends(&machine, "mcpeg --restart", 0, &["is serving with pid"]);
    assert_ne!(property(&machine, "MainPID"), pid);

    // The same for an installation.
    ends(&machine, "dpkg --purge mcpeg && /root/mcpeg install --yes", 0, &[]);
    let pid = property(&machine, "MainPID");
    machine.ok(&["sh", "-c", "systemctl mask mcpeg && printf x >>/root/mcpeg"]);
    let (_, said) = sh(&machine, "/root/mcpeg install --yes");
    assert!(said.contains("masked"), "{said}");
    assert_eq!((property(&machine, "ActiveState").as_str(), property(&machine, "MainPID")), ("active", pid));
}

/// 83: each takes over from the other under load, and leaves the other one alone.
fn each_takes_over_from_the_other_without_a_failed_request(suite: &str) {
    let machine = machine(suite);
    ends(&machine, "/root/mcpeg install --yes", 0, &[]);
    put_valuables(&machine);
    machine.ok(&["systemctl", "reload", "mcpeg"]);
    under_load(&machine, "from an installation to a package", || {
        let line = "DEBIAN_FRONTEND=noninteractive dpkg --install /root/first </dev/null";
        ends(&machine, line, 0, &["takes the service over from `mcpeg install`"]);
    });
    serves(&machine, "/usr/bin/mcpeg");
    has_valuables(&machine);
    for gone in
        ["/usr/local/bin/mcpeg", "/usr/local/lib/systemd/system/mcpeg.service", "/var/lib/mcpeg/install.json"]
    {
        assert!(!there(&machine, gone), "{gone}");
    }
    under_load(&machine, "upgrade of the package", || {
        ends(&machine, "dpkg --install /root/next", 0, &[]);
    });
    ends(&machine, "/root/mcpeg install --yes", 10, &["--adopt"]);
    under_load(&machine, "from the package to an installation, and what the package does then", || {
        ends(&machine, "/root/mcpeg install --adopt --yes", 0, &[]);
        serves(&machine, "/usr/local/bin/mcpeg");
        let pid = property(&machine, "MainPID");
        ends(&machine, "dpkg --install /root/first", 0, &["belongs to `mcpeg install`"]);
        ends(&machine, "dpkg --remove mcpeg", 0, &["left as they are"]);
        ends(&machine, "dpkg --purge mcpeg", 0, &["left as they are"]);
        assert_eq!(property(&machine, "MainPID"), pid);
    });
    serves(&machine, "/usr/local/bin/mcpeg");
    has_valuables(&machine);
    ends(&machine, "/root/mcpeg install --check", 0, &[]);
    // Nothing of the package is left that could start a second service.
    assert_eq!(
        sh(
            &machine,
            "ls /var/lib/systemd/deb-systemd-helper-*/*/mcpeg* /var/lib/systemd/deb-systemd-helper-*/mcpeg*"
        )
        .0,
        2
    );
    ends(&machine, "/root/mcpeg uninstall --purge --yes", 0, &["mcpeg is uninstalled"]);
    for path in ["/etc/mcpeg", "/var/lib/mcpeg", "/var/log/mcpeg", "/var/cache/mcpeg"] {
        assert!(!there(&machine, path), "{path}");
    }
}

/// 83: what the administrator had decided holds after a take-over.
fn disabled_service_stays_so_in_a_take_over(suite: &str) {
    let machine = machine(suite);
    ends(&machine, "/root/mcpeg install --yes && systemctl disable --now mcpeg", 0, &[]);
    ends(&machine, "dpkg --install /root/first", 0, &["takes the service over"]);
    let state = |machine: &Machine| sh(machine, "systemctl is-active mcpeg; systemctl is-enabled mcpeg").1;
    assert_eq!(state(&machine), "inactive\ndisabled\n");
    ends(&machine, "dpkg --install /root/next", 0, &[]);
    assert_eq!(state(&machine), "inactive\ndisabled\n");
    // A unit of the administrator's that starts the installation's program keeps it.
    ends(&machine, "dpkg --purge mcpeg && /root/mcpeg install --yes", 0, &[]);
    machine.ok(&["cp", "/usr/local/lib/systemd/system/mcpeg.service", "/etc/systemd/system/mcpeg.service"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    let pid = property(&machine, "MainPID");
    ends(&machine, "dpkg --install /root/first", 0, &["belongs to `mcpeg install`"]);
    assert_eq!(property(&machine, "MainPID"), pid);
    serves(&machine, "/usr/local/bin/mcpeg");
}

/// 84: variables of whoever calls the package manager name no other gateway.
fn variables_of_the_caller_exchange_no_other_gateway(suite: &str) {
    let machine = machine(suite);
    ends(&machine, "dpkg --install /root/first", 0, &[]);
    let other =
        "mcpeg --daemon --listen 127.0.0.1:9999 --pid-file /run/other/mcpeg.pid --log-file /run/other/log";
    ends(&machine, &format!("mkdir /run/other && {other}"), 0, &[]);
    let pid = machine.ok(&["cat", "/run/other/mcpeg.pid"]);
    let variables = "MCPEG_PID_FILE=/run/other/mcpeg.pid MCPEG_CONFIG=/nowhere MCPEG_LISTEN=127.0.0.1:9998 \
                     MCPEG_UPGRADE=2 MCPEG_DEV=1 NOTIFY_SOCKET=/run/other/socket";
    for variables in ["MCPEG_PID_FILE=/run/other/mcpeg.pid", variables] {
        let before = property(&machine, "MainPID");
        ends(&machine, &format!("env {variables} dpkg --install /root/next"), 0, &[]);
        assert_eq!(machine.ok(&["cat", "/run/other/mcpeg.pid"]), pid, "another gateway was exchanged");
        assert_ne!(property(&machine, "MainPID"), before, "the service runs the program of before");
        serves(&machine, "/usr/bin/mcpeg");
    }
    ends(&machine, &format!("env {variables} dpkg --remove mcpeg"), 0, &[]);
    assert_eq!(machine.ok(&["cat", "/run/other/mcpeg.pid"]), pid);
}

/// 85: where policy-rc.d forbids it, no process is exchanged or started.
fn policy_of_the_administrator_is_asked(suite: &str) {
    let machine = machine(suite);
    ends(&machine, "dpkg --install /root/first", 0, &[]);
    let pid = property(&machine, "MainPID");
    machine.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n");
    machine.ok(&["chmod", "755", "/usr/sbin/policy-rc.d"]);
    ends(&machine, "dpkg --install /root/next", 0, &["policy-rc.d answers 101"]);
    assert_eq!((property(&machine, "ActiveState").as_str(), property(&machine, "MainPID")), ("active", pid));
    machine.ok(&["rm", "/usr/sbin/policy-rc.d"]);
    ends(&machine, "dpkg --purge mcpeg && /root/mcpeg install --yes", 0, &[]);
    let pid = property(&machine, "MainPID");
    machine.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n");
    machine.ok(&["chmod", "755", "/usr/sbin/policy-rc.d"]);
    ends(&machine, "dpkg --install /root/first", 0, &["takes the service over", "policy-rc.d answers 101"]);
    assert_eq!((property(&machine, "ActiveState").as_str(), property(&machine, "MainPID")), ("active", pid));
}

/// Mounts on directories of mcpeg's own.
const MOUNTS: [&str; 2] = ["/var/log/mcpeg", "/var/lib/mcpeg/home"];

/// Makes the mounts, and runs a command that fills what lies beside them.
fn mounted(machine: &Machine, install: &str) {
    for place in MOUNTS {
        ends(machine, &format!("mkdir -p {place} && mount -t tmpfs none {place}"), 0, &[]);
    }
    ends(machine, install, 0, &[]);
    for place in MOUNTS {
        ends(machine, &format!("mkdir {place}/x && echo x >{place}/x/file"), 0, &[]);
    }
}

/// Asserts that nothing is in them, and takes them away.
fn emptied(machine: &Machine) {
    for place in MOUNTS {
        assert_eq!(machine.ok(&["find", place, "-mindepth", "1"]), "", "{place}");
        machine.ok(&["umount", place]);
    }
    machine.ok(&["rm", "-rf", "/var/log/mcpeg", "/var/lib/mcpeg"]);
}

/// 86: what cannot be removed is emptied and named, and everything else goes.
fn removal_ends_where_directories_are_mount_points(suite: &str) {
    let machine = machine(suite);
    mounted(&machine, "dpkg --install /root/first");
    ends(&machine, "dpkg --purge mcpeg", 0, &["/var/log/mcpeg stays", "/var/lib/mcpeg stays"]);
    assert_eq!(sh(&machine, "dpkg-query --show mcpeg 2>/dev/null").1, "");
    emptied(&machine);

    mounted(&machine, "/root/mcpeg install --yes");
    let words = ["kept /var/lib/mcpeg/home, /var/log/mcpeg: mounted", "mcpeg is uninstalled"];
    ends(&machine, "/root/mcpeg uninstall --purge --yes", 0, &words);
    assert!(!there(&machine, "/usr/local/bin/mcpeg") && !there(&machine, "/var/lib/mcpeg/install.json"));
    emptied(&machine);

    // The whole state directory.
    ends(&machine, "mkdir /var/lib/mcpeg && mount -t tmpfs -o mode=755 none /var/lib/mcpeg", 0, &[]);
    ends(&machine, "/root/mcpeg install --yes", 0, &[]);
    ends(&machine, "/root/mcpeg uninstall --purge --yes", 0, &["mcpeg is uninstalled"]);
    assert_eq!(machine.ok(&["find", "/var/lib/mcpeg", "-mindepth", "1"]), "");
    ends(&machine, "umount /var/lib/mcpeg; rm -rf /var/lib/mcpeg /var/log/mcpeg", 0, &[]);

    // A file that the kernel does not let go is named; the rest goes, and the command can be run again.
    ends(&machine, "/root/mcpeg install --yes", 0, &[]);
    let place = "/var/cache/mcpeg/ro";
    let mount = format!("mkdir {place} && mount -t tmpfs none {place} && touch {place}/file");
    ends(&machine, &format!("{mount} && mount -o remount,ro {place}"), 0, &[]);
    let words = ["kept /var/cache/mcpeg/ro/file: its file system is mounted read-only"];
    ends(&machine, "/root/mcpeg uninstall --purge --yes", 73, &words);
    assert!(!there(&machine, "/usr/local/bin/mcpeg") && !there(&machine, "/etc/mcpeg"));
    machine.ok(&["umount", place]);
    ends(&machine, "/root/mcpeg uninstall --purge --yes", 0, &["mcpeg is uninstalled"]);
    assert!(!there(&machine, "/var/cache/mcpeg") && !there(&machine, "/var/lib/mcpeg"));
}

/// 87: an installation whose receipt was lost is known by what it wrote, and none of it stays.
fn installation_without_its_receipt_is_known_and_goes(suite: &str) {
    let machine = machine(suite);
    for lost in ["rm -r /var/lib/mcpeg", "rm /var/lib/mcpeg/install.json"] {
        for again in ["/root/mcpeg install --yes", "true"] {
            ends(&machine, "/root/mcpeg install --yes", 0, &[]);
            put_valuables(&machine);
            ends(&machine, &format!("{lost} && {again}"), 0, &[]);
            let said = ends(&machine, "/root/mcpeg uninstall --purge --yes", 0, &["mcpeg is uninstalled"]);
            assert!(!said.contains("it was there before mcpeg"), "{said}");
            let left = sh(&machine, "systemctl is-enabled mcpeg; systemctl is-active mcpeg").1;
            assert!(left.contains("not-found") || left.contains("No such file"), "{left}");
            // Directories of the system that the first installation made are in no receipt any more.
            machine.ok(&[
                "sh",
                "-c",
                "find /usr/local /etc/fish -depth -type d -empty -newer /root/first -delete || :",
            ]);
        }
    }
    // A package that comes meanwhile does not take it for its own.
    ends(&machine, "/root/mcpeg install --yes && rm -r /var/lib/mcpeg", 0, &[]);
    put_valuables(&machine);
    ends(&machine, "dpkg --install /root/first", 0, &["takes the service over"]);
    serves(&machine, "/usr/bin/mcpeg");
    has_valuables(&machine);
    assert!(!there(&machine, "/usr/local/bin/mcpeg"));
}

/// 83 for rpm: it takes over, is taken over from, and leaves what is not its own.
fn rpm_and_an_installation_take_over_from_each_other(suite: &str) {
    let machine = machine(suite);
    machine.copy_in(rpm(VERSION), "/root/first.rpm");
    machine.copy_in(rpm(&NEXT), "/root/next.rpm");
    machine.ok(&["mkdir", "-p", "/etc/rpm"]);
    machine.write("/etc/rpm/macros", "%_dbpath /var/lib/rpm\n");
    let upgrade = |file: &str, words: &[&str]| {
        ends(&machine, &format!("rpm --upgrade --oldpackage --nodeps {file}"), 0, words);
    };
    ends(&machine, "/root/mcpeg install --yes", 0, &[]);
    put_valuables(&machine);
    under_load(&machine, "from an installation to an rpm", || {
        upgrade("/root/first.rpm", &["takes the service over from `mcpeg install`"]);
    });
    serves(&machine, "/usr/bin/mcpeg");
    has_valuables(&machine);
    ends(&machine, "/root/mcpeg uninstall --purge --yes", 10, &["use dnf"]);
    // The other format is refused before a file of it is there.
    ends(&machine, "dpkg --install /root/first", 1, &["an rpm package owns mcpeg here"]);
    serves(&machine, "/usr/bin/mcpeg");
    under_load(&machine, "from an rpm to an installation, and what the rpm does then", || {
        ends(&machine, "/root/mcpeg install --adopt --yes", 0, &[]);
        let pid = property(&machine, "MainPID");
        upgrade("/root/next.rpm", &["belongs to `mcpeg install`"]);
        ends(&machine, "rpm --erase mcpeg", 0, &["left as they are"]);
        assert_eq!(property(&machine, "MainPID"), pid);
    });
    serves(&machine, "/usr/local/bin/mcpeg");
    has_valuables(&machine);
    // Where a package of Debian is, the rpm does not come.
    ends(&machine, "dpkg --install /root/first", 0, &["takes the service over"]);
    ends(&machine, "rpm --upgrade --nodeps /root/first.rpm", 1, &["a Debian package owns mcpeg here"]);
    serves(&machine, "/usr/bin/mcpeg");
    has_valuables(&machine);
}

/// 81 for a machine whose package once had its configuration as a conffile: dpkg forgets that, and its purge deletes nothing
/// of an installation that came meanwhile.
fn what_was_a_conffile_survives_a_purge(suite: &str) {
    let machine = machine(suite);
    let with_conffile = "cd /root && dpkg-deb --raw-extract first old && mkdir -p old/etc/mcpeg && \
        install -m 640 old/usr/share/mcpeg/mcpeg.toml old/etc/mcpeg && echo /etc/mcpeg/mcpeg.toml >old/DEBIAN/conffiles && \
        dpkg-deb --build old old.deb";
    ends(&machine, with_conffile, 0, &[]);
    let conffiles = "dpkg-query --show --showformat='${Conffiles}' mcpeg";
    for way in ["dpkg --install /root/next", "dpkg --remove mcpeg && dpkg --install /root/next"] {
        ends(&machine, "dpkg --install /root/old.deb", 0, &[]);
        ends(&machine, conffiles, 0, &["/etc/mcpeg/mcpeg.toml"]);
        put_valuables(&machine);
        // What is cut off puts everything back.
        ends(&machine, "head --bytes=2000000 /root/next >/root/cut; dpkg --install /root/cut", 1, &[]);
        has_valuables(&machine);
        serves(&machine, "/usr/bin/mcpeg");
        ends(&machine, &format!("DEBIAN_FRONTEND=noninteractive; {way} </dev/null"), 0, &[]);
        serves(&machine, "/usr/bin/mcpeg");
        assert_eq!(sh(&machine, conffiles).1, "", "{way}");
        let mode = machine.ok(&["stat", "--format=%a %U:%G", "/etc/mcpeg/mcpeg.toml"]);
        assert_eq!(mode, "640 root:mcpeg\n", "{way}");
        ends(&machine, "dpkg --remove mcpeg && /root/mcpeg install --yes && dpkg --purge mcpeg", 0, &[]);
        has_valuables(&machine);
        serves(&machine, "/usr/local/bin/mcpeg");
        ends(&machine, "/root/mcpeg uninstall --purge --yes && rm -rf /etc/mcpeg /var/l*/mcpeg", 0, &[]);
    }
}

/// A package that comes again, or is configured after a boot, serves and says nothing of a mask; what was put into /etc/mcpeg
/// before it is kept and can be read.
fn package_comes_whatever_was_there_before(suite: &str) {
    let machine = machine(suite);
    // /run is empty after a boot.
    let boot_between = "dpkg --unpack /root/first && rm -f /run/mcpeg* && dpkg --configure mcpeg";
    ends(&machine, boot_between, 0, &[]);
    serves(&machine, "/usr/bin/mcpeg");
    let said = ends(&machine, "dpkg --remove mcpeg && dpkg --install /root/first", 0, &[]);
    assert!(!said.contains("masked"), "{said}");
    serves(&machine, "/usr/bin/mcpeg");
    // The administrator's mask is told once, and is no error.
    ends(&machine, "systemctl mask mcpeg", 0, &[]);
    let said = ends(&machine, "dpkg --install /root/next", 0, &["the unit is masked"]);
    assert!(!said.contains("error"), "{said}");

    let purge = "systemctl unmask mcpeg; dpkg --purge mcpeg";
    let put = "umask 077; mkdir -p /etc/mcpeg/conf.d; echo '# mine' >/etc/mcpeg/mcpeg.toml";
    ends(&machine, &format!("{purge} && ({put}) && dpkg --install /root/first"), 0, &[]);
    serves(&machine, "/usr/bin/mcpeg");
    assert_eq!(machine.ok(&["cat", "/etc/mcpeg/mcpeg.toml"]), "# mine\n");
    // A link that leads to what is mounted later.
    let link = "mkdir -p /etc/mcpeg; ln -s /nowhere/mcpeg.toml /etc/mcpeg/mcpeg.toml";
    ends(&machine, &format!("{purge} && {link} && dpkg --install /root/first"), 0, &[]);
    assert_eq!(machine.ok(&["readlink", "/etc/mcpeg/mcpeg.toml"]), "/nowhere/mcpeg.toml\n");

    // dpkg applies overrides only to what it unpacks itself.
    let paths = ["/etc/mcpeg", "/etc/mcpeg/conf.d", "/etc/mcpeg/mcpeg.toml"];
    ends(&machine, purge, 0, &[]);
    for path in paths {
        machine.ok(&["dpkg-statoverride", "--add", "mcpeg", "#4", "0770", path]);
    }
    ends(&machine, "dpkg --install /root/first", 0, &[]);
    for path in paths {
        assert_eq!(machine.ok(&["stat", "--format=%a %U:%g", path]), "770 mcpeg:4\n", "{path}");
    }
    serves(&machine, "/usr/bin/mcpeg");
}

/// A live receipt that comes out of a backup, without unit and program, is no installation: the package's service is upgraded,
/// started and stopped. A purge leaves what lies with it.
fn receipt_of_a_backup_is_no_installation(suite: &str) {
    let machine = machine(suite);
    let backup = "/root/mcpeg install --yes && cp /var/lib/mcpeg/install.json /root && \
        /root/mcpeg uninstall --purge --yes";
    let restore = "mkdir -p /var/lib/mcpeg && cp /root/install.json /var/lib/mcpeg";
    ends(&machine, &format!("{backup} && dpkg --install /root/first && {restore}"), 0, &[]);
    put_valuables(&machine);
    let before = property(&machine, "MainPID");
    ends(&machine, "dpkg --install /root/next", 0, &[]);
    serves(&machine, "/usr/bin/mcpeg");
    assert_ne!(property(&machine, "MainPID"), before, "the service runs the program of before");
    for line in ["/root/mcpeg uninstall --yes", "/root/mcpeg uninstall --purge --yes"] {
        ends(&machine, line, 10, &["use apt"]);
        serves(&machine, "/usr/bin/mcpeg");
    }
    ends(&machine, "dpkg --remove mcpeg", 0, &[]);
    assert_eq!(property(&machine, "ActiveState"), "inactive");
    ends(&machine, "dpkg --purge mcpeg", 0, &["are left as they are"]);
    has_valuables(&machine);
    // With the package it has no owner but that.
    ends(&machine, "dpkg --install /root/first", 0, &[]);
    serves(&machine, "/usr/bin/mcpeg");
    has_valuables(&machine);
    ends(&machine, "dpkg --purge mcpeg", 0, &[]);
    assert!(!there(&machine, "/etc/mcpeg") && !there(&machine, "/var/lib/mcpeg"));
}

/// An instance is nothing of a package's: it is installed, upgraded and removed beside one, and neither touches the other.
fn instance_is_nothing_of_a_package(suite: &str) {
    let machine = machine(suite);
    let install = "/root/mcpeg install --instance two --listen 127.0.0.1:8082 --yes";
    let serves_too =
        "systemctl is-active mcpeg-two && curl --silent --fail http://127.0.0.1:8082/health/live";
    ends(&machine, "dpkg --install /root/first", 0, &[]);
    let pid = property(&machine, "MainPID");
    ends(&machine, install, 0, &["mcpeg-two serves"]);
    assert_eq!(property(&machine, "MainPID"), pid);
    ends(&machine, "dpkg --install /root/next", 0, &[]);
    ends(&machine, serves_too, 0, &[]);
    ends(&machine, "/root/mcpeg uninstall --instance two --yes", 0, &["mcpeg is uninstalled"]);
    assert_ne!(sh(&machine, "systemctl is-active mcpeg-two").0, 0);
    ends(&machine, "/root/mcpeg uninstall --instance two --purge --yes", 0, &["mcpeg is uninstalled"]);
    for path in ["/etc/mcpeg-two", "/var/lib/mcpeg-two", "/usr/local/bin/mcpeg"] {
        assert!(!there(&machine, path), "{path}");
    }
    serves(&machine, "/usr/bin/mcpeg");
    ends(&machine, install, 0, &["mcpeg-two serves"]);
    ends(&machine, "dpkg --purge mcpeg", 0, &[]);
    ends(&machine, serves_too, 0, &[]);
    ends(&machine, "/root/mcpeg uninstall --instance two --purge --yes", 0, &["mcpeg is uninstalled"]);
    assert!(!there(&machine, "/etc/mcpeg-two") && !there(&machine, "/run/mcpeg-two"));
}

/// The test on each suite.
macro_rules! on_both {
    ($($test:ident: $bookworm:ident, $trixie:ident;)*) => {$(
        #[test]
        #[ignore = "needs root and a booted systemd"]
        fn $bookworm() {
            $test("bookworm");
        }

        #[test]
        #[ignore = "needs root and a booted systemd"]
        fn $trixie() {
            $test("trixie");
        }
    )*};
}

on_both! {
    no_receipt_wins_over_a_package:
        no_receipt_wins_over_a_package_on_bookworm, no_receipt_wins_over_a_package_on_trixie;
    purge_of_a_removed_package_leaves_an_installation_alone:
        purge_of_a_removed_package_leaves_an_installation_alone_on_bookworm,
        purge_of_a_removed_package_leaves_an_installation_alone_on_trixie;
    unit_that_systemd_would_not_follow_keeps_its_process:
        unit_that_systemd_would_not_follow_keeps_its_process_on_bookworm,
        unit_that_systemd_would_not_follow_keeps_its_process_on_trixie;
    each_takes_over_from_the_other_without_a_failed_request:
        each_takes_over_from_the_other_without_a_failed_request_on_bookworm,
        each_takes_over_from_the_other_without_a_failed_request_on_trixie;
    disabled_service_stays_so_in_a_take_over:
        disabled_service_stays_so_in_a_take_over_on_bookworm, disabled_service_stays_so_in_a_take_over_on_trixie;
    variables_of_the_caller_exchange_no_other_gateway:
        variables_of_the_caller_exchange_no_other_gateway_on_bookworm,
        variables_of_the_caller_exchange_no_other_gateway_on_trixie;
    policy_of_the_administrator_is_asked:
        policy_of_the_administrator_is_asked_on_bookworm, policy_of_the_administrator_is_asked_on_trixie;
    removal_ends_where_directories_are_mount_points:
        removal_ends_where_directories_are_mount_points_on_bookworm,
        removal_ends_where_directories_are_mount_points_on_trixie;
    installation_without_its_receipt_is_known_and_goes:
        installation_without_its_receipt_is_known_and_goes_on_bookworm,
        installation_without_its_receipt_is_known_and_goes_on_trixie;
    rpm_and_an_installation_take_over_from_each_other:
        rpm_and_an_installation_take_over_from_each_other_with_rpm_4_18,
        rpm_and_an_installation_take_over_from_each_other_with_rpm_4_20;
    what_was_a_conffile_survives_a_purge: what_was_a_conffile_survives_a_purge_on_bookworm, what_was_a_conffile_survives_a_purge_on_trixie;
    package_comes_whatever_was_there_before: package_comes_whatever_was_there_before_on_bookworm, package_comes_whatever_was_there_before_on_trixie;
    receipt_of_a_backup_is_no_installation: receipt_of_a_backup_is_no_installation_on_bookworm, receipt_of_a_backup_is_no_installation_on_trixie;
    instance_is_nothing_of_a_package: instance_is_nothing_of_a_package_on_bookworm, instance_is_nothing_of_a_package_on_trixie;
}
