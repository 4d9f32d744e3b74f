//! `mcpeg --check` says what the service would do: each row of a table is checked, and then the service is started with it. What
//! is valid starts, what is not does not, and what is warned of cannot be used.

use crate::install::{active, machine_with_binary};
use crate::machine::{Machine, text};

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It is valid, and nothing is warned of.
    Valid,
    /// It is valid, with these words in a warning.
    Warns(&'static str),
    /// It is not valid, with these words.
    Refuses(&'static str),
}
use Says::{Refuses, Valid, Warns};

/// One row.
struct Row {
    /// What it is about.
    what: &'static str,
    /// Shell commands before.
    before: &'static str,
    /// The drop-in's `[Service]` section.
    drop_in: &'static str,
    /// The configuration.
    configuration: &'static str,
    /// What the check says.
    says: Says,
}

/// A row.
const fn row(
    what: &'static str,
    before: &'static str,
    drop_in: &'static str,
    configuration: &'static str,
    says: Says,
) -> Row {
    Row { what, before, drop_in, configuration, says }
}

/// An upstream with a header that holds a reference.
macro_rules! docs {
    ($reference:literal) => {
        concat!(
            "[upstreams.docs]\nurl = \"http://127.0.0.1:9/mcp\"\nheaders = { A = \"",
            $reference,
            "\" }\n"
        )
    };
}

/// An upstream with this command.
macro_rules! command {
    ($command:literal) => {
        concat!("[upstreams.tool]\ncommand = \"", $command, "\"\n")
    };
}

/// Lets programs run and read what they need.
const OPEN: &str = "NoExecPaths=\nExecPaths=\n";

/// Everything that a unit decides about, in both directions.
const ROWS: [Row; 21] = [
    row("plain", "", "", "", Valid),
    row("variable", "", "Environment=TOKEN=x\n", docs!("${env:TOKEN}"), Valid),
    row(
        "file of variables",
        "echo TOKEN=x >/root/env",
        "EnvironmentFile=/root/env\n",
        docs!("${env:TOKEN}"),
        Valid,
    ),
    row(
        "no such file of variables",
        "",
        "EnvironmentFile=/root/none\n",
        "",
        Refuses("systemd cannot start mcpeg.service"),
    ),
    row("caller's variable", "", "", docs!("${env:CALLERS}"), Refuses("`${env:CALLERS}` is not set")),
    row(
        "credential",
        "echo x >/root/key",
        "LoadCredential=key:/root/key\n",
        docs!("${credential:key}"),
        Valid,
    ),
    row(
        "no such credential",
        "",
        "LoadCredential=key:/root/none\n",
        docs!("${credential:key}"),
        Refuses("mcpeg.service"),
    ),
    row("root's file", "echo x >/root/key", "", docs!("${file:/root/key}"), Refuses("cannot be read")),
    row(
        "root's fragment",
        "install -m 600 /dev/null /etc/mcpeg/conf.d/x.toml",
        "",
        "",
        Refuses("cannot read configuration"),
    ),
    row(
        "log elsewhere",
        "mkdir -p /srv/log",
        "",
        "[log]\nfile = \"/srv/log/x.log\"\n",
        Refuses("the log file cannot be written"),
    ),
    row(
        "log where the unit may write",
        "install -d -o mcpeg /srv/open",
        "ReadWritePaths=/srv/open\n",
        "[log]\nfile = \"/srv/open/x.log\"\n",
        Valid,
    ),
    row(
        "port 80",
        "",
        "",
        "[server]\nlisten = [\"127.0.0.1:80\"]\n",
        Refuses("cannot listen on `127.0.0.1:80`"),
    ),
    row(
        "port 80 with the capability",
        "",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\nPrivateUsers=no\n",
        "[server]\nlisten = [\"127.0.0.1:80\"]\n",
        Valid,
    ),
    row(
        "control socket",
        "",
        "",
        "[server]\nlisten = [\"unix:/run/mcpeg/mcpeg.sock\"]\n",
        Refuses("a run-time file of the gateway"),
    ),
    row(
        "user that is not there",
        "",
        "",
        "[server]\nuser = \"nobody-here\"\n",
        Refuses("there is no user `nobody-here`"),
    ),
    row("another user", "", "", "[server]\nuser = \"daemon\"\n", Refuses("cannot run as user `daemon`")),
    row(
        "unit's user that is not there",
        "",
        "User=nobody-here\n",
        "",
        Refuses("systemd cannot start mcpeg.service"),
    ),
    row(
        "program in the caller's PATH",
        "install -D /bin/cat /opt/callers/tool",
        OPEN,
        command!("tool"),
        Warns("not in PATH"),
    ),
    row(
        "program in the unit's PATH",
        "install -D /bin/cat /opt/units/tool",
        "NoExecPaths=\nExecPaths=\nEnvironment=PATH=/opt/units:/usr/bin:/bin\n",
        command!("tool"),
        Valid,
    ),
    row(
        "program of root's",
        "install -m 700 /bin/cat /opt/closed",
        OPEN,
        command!("/opt/closed"),
        Warns("not an executable file"),
    ),
    row("program below /root", "install /bin/cat /root/tool", OPEN, command!("/root/tool"), Warns("/root")),
];

/// Makes the machine as the row wants it.
fn prepare(machine: &Machine, row: &Row) {
    machine.ok(&[
        "sh",
        "-c",
        "rm -rf /etc/mcpeg/conf.d/* /etc/systemd/system/mcpeg.service.d /var/log/mcpeg/*",
    ]);
    machine.ok(&["sh", "-e", "-c", row.before]);
    if !row.drop_in.is_empty() {
        machine.ok(&["mkdir", "-p", "/etc/systemd/system/mcpeg.service.d"]);
        let drop_in = format!("[Service]\n{}", row.drop_in);
        machine.write("/etc/systemd/system/mcpeg.service.d/row.conf", &drop_in);
    }
    machine.write("/etc/mcpeg/mcpeg.toml", row.configuration);
    machine.ok(&["sh", "-c", "chgrp mcpeg /etc/mcpeg/mcpeg.toml; chmod 640 /etc/mcpeg/mcpeg.toml"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.run(&["systemctl", "stop", "mcpeg"]);
    machine.run(&["systemctl", "reset-failed", "mcpeg"]);
}

/// The check of one row by root, and a start.
fn check_row(machine: &Machine, row: &Row) {
    prepare(machine, row);
    let callers = ["env", "CALLERS=x", "PATH=/opt/callers:/usr/local/bin:/usr/bin:/bin"];
    let output = machine.run(&[&callers[..], &["mcpeg", "--check"]].concat());
    let said = text(&output.stdout) + &text(&output.stderr);
    let (code, words) = match row.says {
        Valid => (0, "as mcpeg.service would run it, user mcpeg"),
        Warns(words) => (0, words),
        Refuses(words) => (78, words),
    };
    assert_eq!(output.status.code(), Some(code), "{}: {said}", row.what);
    assert!(said.contains(words), "{}: `{words}` is not in: {said}", row.what);
    assert_eq!(said.contains("warning:"), matches!(row.says, Warns(_)), "{}: {said}", row.what);
    let left = machine.ok(&[
        "sh",
        "-c",
        "ls -d /run/mcpeg.trial* /run/systemd/system/mcpeg.trial* 2>/dev/null || :",
    ]);
    assert_eq!(left, "", "{}", row.what);
    // The truth.
    let started =
        machine.run(&["systemctl", "start", "mcpeg"]).status.success() && active(machine) == "active";
    assert_eq!(started, code == 0, "{}: the check said: {said}", row.what);
}

/// All rows on one machine, and what root does by hand.
fn check_is_true(suite: &str) {
    let machine = machine_with_binary(suite);
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    for row in &ROWS {
        check_row(&machine, row);
    }
    prepare(&machine, &ROWS[4]);
    let output = machine.run(&["mcpeg", "install", "--check"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.code() == Some(78) && said.contains("`${env:CALLERS}` is not set"), "{said}");
    prepare(&machine, &ROWS[0]);
    by_hand(&machine);
}

/// Root does not start what the unit starts; where it did so all the same, an installation mends what is left.
fn by_hand(machine: &Machine) {
    machine.write("/etc/mcpeg/mcpeg.toml", "[log]\nfile = \"/var/log/mcpeg/mcpeg.log\"\n");
    for arguments in [&["--daemon"][..], &[]] {
        let output = machine.run(&[&["mcpeg"], arguments].concat());
        let said = text(&output.stderr);
        assert!(
            output.status.code() == Some(64) && said.contains("`systemctl start mcpeg.service`"),
            "{said}"
        );
    }
    machine.ok(&["sh", "-c", "rm -f /var/log/mcpeg/mcpeg.log /var/log/mcpeg/.mcpeg.log.lock"]);
    machine.ok(&["mcpeg", "--daemon", "--outside-systemd"]);
    machine.ok(&["mcpeg", "--stop"]);
    let owners = "stat -c '%U %n' /var/log/mcpeg/mcpeg.log /run/mcpeg/mcpeg.lock";
    assert!(machine.ok(&["sh", "-c", owners]).starts_with("root /var/log"), "the test shows nothing");
    assert!(!machine.run(&["systemctl", "start", "mcpeg"]).status.success(), "the test shows nothing");
    let said = machine.ok(&["mcpeg", "install", "--yes", "--details"]);
    assert!(said.contains("~ /var/log/mcpeg/mcpeg.log ("), "{said}");
    assert_eq!(active(machine), "active");
    // A gateway that shares nothing with the service needs no leave.
    let apart =
        ["--listen", "127.0.0.1:9998", "--pid-file", "/run/apart.pid", "--log-file", "/root/apart.log"];
    machine.ok(&[&["mcpeg", "--daemon"], &apart[..]].concat());
    machine.ok(&["mcpeg", "--stop", "--pid-file", "/run/apart.pid"]);
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn check_is_true_for_the_service_on_bookworm() {
    check_is_true("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn check_is_true_for_the_service_on_trixie() {
    check_is_true("trixie");
}
