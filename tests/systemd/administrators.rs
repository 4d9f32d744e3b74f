//! What administrators do to a machine with an installed gateway: links, whole copies of the unit, masks, accounts of their own,
//! other modes, sockets in places that the unit hides, a disk that is full, a network that does not come.

use std::time::Duration;

use serde_json::Value;

use crate::install::{active, machine_with_binary, property};
use crate::machine::{Machine, text};
use crate::snapshot::Snapshot;

/// The longest that anything may take here.
const LIMIT: Duration = Duration::from_secs(60);
/// The unit as the installer writes it.
const UNIT: &str = "/usr/local/lib/systemd/system/mcpeg.service";
/// What `systemctl edit --full` makes.
const COPY: &str = "/etc/systemd/system/mcpeg.service";
/// An upstream that tells its home by writing there.
const UPSTREAM: &str =
    "[upstreams.home]\ncommand = \"sh\"\nargs = [\"-c\", \"echo $$HOME >$$HOME/proof; exec cat\"]\n";

/// Runs a command; returns its exit code and everything that it said.
fn run(machine: &Machine, command: &[&str]) -> (Option<i32>, String) {
    let output = machine.run(command);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Runs the installer of the machine's root without questions.
fn install(machine: &Machine, program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    run(machine, &[&[program, "install", "--yes", "--details"], arguments].concat())
}

/// The same, which must succeed.
fn installed(machine: &Machine, program: &str, arguments: &[&str]) -> String {
    let (code, said) = install(machine, program, arguments);
    assert_eq!(code, Some(0), "{said}");
    said
}

/// `/usr/local` as on systems that are images, and the logs on another disk.
fn links_of_the_administrator_are_followed(machine: &Machine) {
    machine.ok(&["sh", "-c", "mv /usr/local /var/usrlocal && ln -s ../var/usrlocal /usr/local"]);
    machine.ok(&[
        "sh",
        "-c",
        "mkdir /data && cp -a /var/log /data/log && rm -rf /var/log && ln -s /data/log /var/log",
    ]);
    installed(machine, "/root/mcpeg", &[]);
    assert_eq!(active(machine), "active");
    machine.ok(&["test", "-x", "/var/usrlocal/bin/mcpeg"]);
    machine.ok(&["test", "-f", "/data/log/mcpeg/mcpeg.log"]);
    machine.ok(&["mcpeg", "install", "--check"]);
}

/// A whole copy of the unit stays in force over an upgrade, whose differences are shown.
fn copy_of_the_unit_is_respected(machine: &Machine) {
    machine.ok(&["sh", "-c", &format!("sed 's/^RestartSec=.*/RestartSec=7s/' {UNIT} >{COPY}")]);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", "mcpeg"]);
    machine.ok(&["sh", "-c", "cp /root/mcpeg /root/new && echo another version >>/root/new"]);
    let since = property(machine, "ActiveEnterTimestampMonotonic");
    let said = installed(machine, "/root/new", &[]);
    assert!(said.contains(COPY) && said.contains("systemctl edit --full"), "{said}");
    assert!(said.contains("- RestartSec=7s") && said.contains("+ RestartSec=2s"), "{said}");
    assert!(
        said.contains("> /usr/local/bin/mcpeg --restart") && !said.contains("systemctl restart"),
        "{said}"
    );
    assert_eq!(property(machine, "RestartUSec"), "7s");
    assert_eq!(property(machine, "ActiveEnterTimestampMonotonic"), since);
    machine.ok(&["cmp", "/root/new", "/usr/local/bin/mcpeg"]);
    let (code, said) = run(machine, &["mcpeg", "install", "--check"]);
    assert!(code == Some(0) && said.contains("nothing has drifted"), "{said}");
    machine.ok(&["rm", COPY]);
    machine.ok(&["systemctl", "daemon-reload"]);
}

/// A masked unit is named with the command that unmasks it; the files of an installation are kept up to date all the same.
fn mask_is_named(machine: &Machine) {
    machine.ok(&["systemctl", "mask", "--quiet", "mcpeg"]);
    let main = property(machine, "MainPID");
    let said = installed(machine, "/root/mcpeg", &[]);
    assert!(said.contains("the unit is masked, and `systemctl unmask` lets it start"), "{said}");
    machine.ok(&["cmp", "/root/mcpeg", "/usr/local/bin/mcpeg"]);
    assert_eq!((property(machine, "MainPID"), active(machine).as_str()), (main, "active"), "{said}");
    machine.ok(&["systemctl", "unmask", "--quiet", "mcpeg"]);
    machine.ok(&["mcpeg", "uninstall", "--purge", "--yes"]);
    for (mask, hint) in [
        (&["systemctl", "mask", "--quiet", "mcpeg.service"][..], "`systemctl unmask mcpeg.service`"),
        (
            &["systemctl", "mask", "--quiet", "--runtime", "mcpeg.service"],
            "`systemctl unmask --runtime mcpeg.service`",
        ),
        // An empty file is a mask too (systemd.unit(5)).
        (&["touch", COPY], "`systemctl unmask mcpeg.service`"),
    ] {
        machine.ok(mask);
        let (code, said) = install(machine, "/root/mcpeg", &[]);
        assert!(code == Some(11) && said.contains(hint) && said.contains("is masked by"), "{mask:?}: {said}");
        machine.ok(&["rm", "-f", COPY, "/run/systemd/system/mcpeg.service"]);
        machine.ok(&["systemctl", "daemon-reload"]);
    }
}

/// Links, copies and masks on one machine, which is as before at the end.
fn administrators_places_are_respected(suite: &str) {
    let machine = machine_with_binary(suite);
    links_of_the_administrator_are_followed(&machine);
    copy_of_the_unit_is_respected(&machine);
    mask_is_named(&machine);
    for left in ["/etc/mcpeg", "/var/usrlocal/bin/mcpeg", "/data/log/mcpeg", "/var/lib/mcpeg"] {
        assert!(!machine.run(&["test", "-e", left]).status.success(), "{left} is left");
    }
    machine.ok(&["chown", "--no-dereference", "daemon", "/usr/local"]);
    let (code, said) = install(&machine, "/root/mcpeg", &[]);
    assert!(code == Some(11) && said.contains("belongs to somebody else"), "{said}");
}

/// Whoever runs the service, its upstreams have the home that is documented.
fn home_is_the_state_directorys(machine: &Machine, name: &str) {
    let directory = format!("/etc/{name}/conf.d");
    machine.write(&format!("{directory}/home.toml"), UPSTREAM);
    machine.ok(&["mcpeg", "install", "--yes", "--instance", name.trim_start_matches("mcpeg-")]);
    let proof = format!("/var/lib/{name}/home/proof");
    let home = machine.wait_for("an upstream that knows its home", LIMIT, || {
        let output = machine.run(&["cat", &proof]);
        output.status.success().then(|| text(&output.stdout))
    });
    assert_eq!(home, format!("/var/lib/{name}/home\n"));
}

/// Everything of ours that the plan knows: path, mode and owner.
fn own_paths(machine: &Machine) -> Vec<String> {
    let plan: Value =
        serde_json::from_str(&machine.ok(&["mcpeg", "install", "--plan", "json"])).expect("JSON");
    let steps = plan["steps"].as_array().expect("steps");
    let paths = steps.iter().filter_map(|step| step["path"].as_str());
    let mut paths: Vec<String> = paths.filter(|path| path.contains("mcpeg")).map(str::to_owned).collect();
    // Only root may write there, or nothing is done at all.
    paths.retain(|path| path != "/var/lib/mcpeg");
    paths.sort();
    paths.dedup();
    paths
}

/// Mode and owner of each.
fn modes(machine: &Machine, paths: &[String]) -> String {
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    machine.ok(&[&["stat", "--format=%a %U:%G %n"], &paths[..]].concat())
}

/// Whatever has drifted is found, each path by name, and mended.
fn drift_of_modes_is_found_and_mended(machine: &Machine) {
    installed(machine, "/root/mcpeg", &[]);
    let paths = own_paths(machine);
    assert!(paths.len() > 12, "{paths:?}");
    let before = modes(machine, &paths);
    for (edited, change) in [
        ("", "chmod 777"),
        ("", "chown daemon:daemon"),
        ("echo '# mine' >>/etc/mcpeg/mcpeg.toml", "chmod 666"),
    ] {
        machine.ok(&["sh", "-c", &format!("{edited}\n{change} {}", paths.join(" "))]);
        let (code, said) = run(machine, &["/root/mcpeg", "install", "--check"]);
        assert_eq!(code, Some(1), "{change}: {said}");
        for path in &paths {
            assert!(
                said.lines().any(|line| line.trim_start().starts_with('~') && line.contains(path.as_str())),
                "{change}: {path} in {said}"
            );
        }
        installed(machine, "/root/mcpeg", &[]);
        assert_eq!(modes(machine, &paths), before, "{change}");
        machine.ok(&["mcpeg", "install", "--check"]);
    }
    // Where others could have written, what it says is not believed.
    for (path, mode) in [("/var/lib/mcpeg/install.json", "644"), ("/var/lib/mcpeg", "755")] {
        machine.ok(&["chmod", "777", path]);
        let (code, said) = run(machine, &["mcpeg", "install", "--check"]);
        assert!(code == Some(11) && said.contains(path), "{said}");
        machine.ok(&["chmod", mode, path]);
    }
}

/// What a drop-in or dpkg-statoverride(1) says is no drift.
fn decisions_about_modes_are_no_drift(machine: &Machine) {
    machine.ok(&["mkdir", "-p", "/etc/systemd/system/mcpeg.service.d"]);
    machine.write("/etc/systemd/system/mcpeg.service.d/log.conf", "[Service]\nLogsDirectoryMode=0755\n");
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", "mcpeg"]);
    for (mode, path) in [("0644", "/etc/mcpeg/mcpeg.toml"), ("2750", "/etc/mcpeg")] {
        machine.ok(&["dpkg-statoverride", "--update", "--add", "root", "mcpeg", mode, path]);
    }
    let paths = ["/var/log/mcpeg", "/etc/mcpeg/mcpeg.toml", "/etc/mcpeg"].map(str::to_owned);
    let decided = modes(machine, &paths);
    assert!(decided.starts_with("755 "), "{decided}");
    let (code, said) = run(machine, &["mcpeg", "install", "--check"]);
    assert_eq!(code, Some(0), "{said}");
    machine.ok(&["chmod", "777", &paths[0], &paths[1], &paths[2]]);
    installed(machine, "/root/mcpeg", &[]);
    assert_eq!(modes(machine, &paths), decided);
}

/// Accounts and modes on one machine.
fn accounts_and_modes(suite: &str) {
    let machine = machine_with_binary(suite);
    drift_of_modes_is_found_and_mended(&machine);
    decisions_about_modes_are_no_drift(&machine);
    for (instance, user, port) in
        [("web", "www-data", "127.0.0.1:8081"), ("none", "nobody", "127.0.0.1:8082")]
    {
        let name = format!("mcpeg-{instance}");
        installed(&machine, "/root/mcpeg", &["--instance", instance, "--user", user, "--listen", port]);
        home_is_the_state_directorys(&machine, &name);
    }
}

/// Each address that the confined service cannot have, with what it says of that.
const REFUSED: [(&str, &str); 8] = [
    ("unix:/home/x.sock", "the unit hides /home (ProtectHome= or InaccessiblePaths="),
    ("unix:/root/a/x.sock", "the unit hides /root"),
    (
        "unix:/etc/x.sock",
        "`/etc` is on a file system that is mounted read-only; put the socket into /run/trial",
    ),
    ("unix:/run/trial/a/b/x.sock", "the directory `/run/trial/a` does not exist; make it first"),
    ("unix:/etc/passwd/x.sock", "`/etc/passwd` is not a directory"),
    ("unix:/var/lib/closed/x.sock", "the user of mcpeg may not look into `/var/lib/closed`"),
    ("127.0.0.1:80", "ports below 1024 need root or CAP_NET_BIND_SERVICE; the unit gives none"),
    ("203.0.113.1:8080", "the address is not one of this machine's; `ip address` lists them"),
];

/// A gateway under a unit that is confined as ours is, until it ends; what it says.
fn trial(machine: &Machine, listen: &str) -> (Option<i32>, String) {
    machine.write("/etc/trial.toml", &format!("[server]\nauth = \"none\"\nlisten = [\"{listen}\"]\n"));
    let confined = [
        "systemd-run",
        "--wait",
        "--pipe",
        "--quiet",
        "--property=User=daemon",
        "--property=RuntimeDirectory=trial",
        "--property=ProtectHome=yes",
        "--property=PrivateTmp=yes",
        "--property=ProtectSystem=strict",
        "--property=ReadWritePaths=/var/lib/closed",
        "--property=CapabilityBoundingSet=",
        "--property=RuntimeMaxSec=30s",
    ];
    let gateway = ["mcpeg", "--config", "/etc/trial.toml", "--pid-file", "/run/trial/mcpeg.pid"];
    run(machine, &[&confined[..], &gateway].concat())
}

/// Sockets where nobody could connect are refused before anything is touched; each address that cannot be bound is explained.
fn sockets_and_ports(suite: &str) {
    let machine = machine_with_binary(suite);
    let before = Snapshot::of(&machine);
    for (place, why) in [
        ("unix:/tmp/x.sock", "a /tmp of its own (PrivateTmp=)"),
        ("unix:/home/x.sock", "hides /home (ProtectHome=)"),
        ("unix:/srv/x.sock", "may not write in /srv (ProtectSystem=strict)"),
    ] {
        let (code, said) = install(&machine, "/root/mcpeg", &["--listen", place]);
        assert!(code == Some(78) && said.contains(why) && said.contains("/run/mcpeg"), "{place}: {said}");
    }
    machine.ok(&["rm", "-rf", "/var/tmp/systemd-private*"]);
    Snapshot::of(&machine).assert_same_as(&before);
    installed(&machine, "/root/mcpeg", &["--listen", "unix:/run/mcpeg/mcp.sock"]);
    machine.ok(&[
        "sh",
        "-c",
        "printf '[server]\\nlisten = [\"unix:/tmp/x.sock\"]\\n' >/etc/mcpeg/mcpeg.toml",
    ]);
    let (code, said) = run(&machine, &["mcpeg", "--check"]);
    assert!(
        code == Some(0)
            && said.contains("listener `unix:/tmp/x.sock`: the unit mcpeg.service has a /tmp of its own"),
        "{said}"
    );
    let (code, said) = run(&machine, &["mcpeg", "install", "--check"]);
    assert!(code == Some(78) && said.contains("PrivateTmp="), "{said}");

    machine.ok(&["install", "-d", "-m", "700", "/var/lib/closed"]);
    for (listen, why) in REFUSED {
        let (code, said) = trial(&machine, listen);
        assert!(code != Some(0) && said.contains(why), "{listen}: {code:?} {said}");
        assert!(listen.starts_with("127") || !said.contains("1024"), "{listen}: {said}");
    }
    machine.ok(&[
        "systemd-run",
        "--quiet",
        "--unit=other",
        "python3",
        "-m",
        "http.server",
        "9999",
        "--bind",
        "127.0.0.1",
    ]);
    machine.wait_for("the other program", LIMIT, || {
        machine.run(&["curl", "--silent", "http://127.0.0.1:9999/"]).status.success().then_some(())
    });
    let (_, said) = trial(&machine, "127.0.0.1:9999");
    assert!(said.contains("user `root` has it; `ss -ltnp 'sport = :9999'`"), "{said}");
    let (code, said) = install(&machine, "/root/mcpeg", &["--instance", "two", "--listen", "127.0.0.1:9999"]);
    assert!(code == Some(71) && said.contains("`127.0.0.1:9999`: `python3` with pid"), "{said}");
}

/// A state directory without any room left: the gateway runs on, the words are true, and everything can be removed.
fn full_disk(machine: &Machine) {
    machine.ok(&["mkdir", "-p", "/var/lib/mcpeg"]);
    machine.ok(&["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "none", "/var/lib/mcpeg"]);
    installed(machine, "/root/mcpeg", &[]);
    machine.ok(&["sh", "-c", "cp /root/mcpeg /root/new && echo another version >>/root/new"]);
    machine.ok(&["sh", "-c", "dd if=/dev/zero of=/var/lib/mcpeg/fill bs=1k 2>/dev/null || :"]);
    let main = property(machine, "MainPID");
    let (code, said) = install(machine, "/root/new", &[]);
    assert_eq!(code, Some(73), "{said}");
    assert!(
        said.contains("nothing was changed") && said.contains("make room on the file system of"),
        "{said}"
    );
    assert!(!said.contains("uninstall"), "{said}");
    assert_eq!((property(machine, "MainPID"), active(machine).as_str()), (main, "active"));
    machine.ok(&["cmp", "/root/mcpeg", "/usr/local/bin/mcpeg"]);
    let (code, said) = run(machine, &["mcpeg", "uninstall", "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(active(machine), "inactive");
    assert!(!machine.run(&["test", "-e", "/usr/local/bin/mcpeg"]).status.success());
    let (code, said) = run(machine, &["/root/mcpeg", "uninstall", "--yes"]);
    assert!(code == Some(0) && said.contains("was not installed"), "{said}");
}

/// A machine whose network does not come: the installer says so and does not wait for ever; all is as before.
fn network_that_does_not_come(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.write(
        "/etc/systemd/system/never.service",
        "[Unit]\nBefore=network-online.target\n[Service]\nType=oneshot\nExecStart=sleep infinity\nTimeoutStartSec=infinity\n\
         [Install]\nWantedBy=network-online.target\n",
    );
    machine.ok(&["systemctl", "enable", "--quiet", "never.service"]);
    let before = Snapshot::of(&machine);
    let (code, said) = install(&machine, "/root/mcpeg", &[]);
    assert_eq!(code, Some(12), "{said}");
    let waits = "mcpeg.service starts after network-online.target; running now: never.service";
    assert!(said.contains(&format!("systemd waits: {waits}")), "{said}");
    assert!(said.contains("everything was rolled back") && said.contains("systemctl list-jobs"), "{said}");
    Snapshot::of(&machine).assert_same_as(&before);
    let jobs = machine.ok(&["systemctl", "list-jobs", "--no-legend"]);
    assert!(!jobs.contains("mcpeg"), "{jobs}");
    machine.ok(&["systemctl", "stop", "never.service"]);
    machine.ok(&["systemctl", "disable", "--quiet", "never.service"]);
    full_disk(&machine);
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn links_copies_and_masks_are_respected_on_bookworm() {
    administrators_places_are_respected("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn links_copies_and_masks_are_respected_on_trixie() {
    administrators_places_are_respected("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn accounts_and_modes_are_respected_and_drift_is_mended_on_bookworm() {
    accounts_and_modes("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn accounts_and_modes_are_respected_and_drift_is_mended_on_trixie() {
    accounts_and_modes("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn sockets_and_ports_that_cannot_be_had_are_explained_on_bookworm() {
    sockets_and_ports("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn sockets_and_ports_that_cannot_be_had_are_explained_on_trixie() {
    sockets_and_ports("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn full_disk_and_missing_network_are_told_truly_on_bookworm() {
    network_that_does_not_come("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn full_disk_and_missing_network_are_told_truly_on_trixie() {
    network_that_does_not_come("trixie");
}
