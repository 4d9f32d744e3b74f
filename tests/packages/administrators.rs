//! What administrators do on machines where a package or the tarball is installed: accounts and modes of their own, logrotate,
//! a strict umask, a distribution without shadow's package.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::built::{NEXT, VERSION, deb, package, repository, rpm};
use crate::machine::{Machine, text};

/// The longest that anything may take here.
const LIMIT: Duration = Duration::from_secs(60);
/// An upstream that tells its home by writing there.
const UPSTREAM: &str =
    "[upstreams.home]\ncommand = \"sh\"\nargs = [\"-c\", \"echo $$HOME >$$HOME/proof; exec cat\"]\n";
/// Where the home of every service is, whatever the account database says.
const PROOF: &str = "/var/lib/mcpeg/home/proof";

/// Runs a command; returns its exit code and everything that it said.
fn run(machine: &Machine, command: &[&str]) -> (Option<i32>, String) {
    let output = machine.run(command);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Mode and owner of each path.
fn modes(machine: &Machine, paths: &[&str]) -> String {
    machine.ok(&[&["stat", "--format=%a %U:%G %n"], paths].concat())
}

/// Upstreams have the home that is documented, though the account was there before and has another.
fn home_is_the_state_directorys(machine: &Machine) {
    machine.write("/etc/mcpeg/conf.d/home.toml", UPSTREAM);
    machine.ok(&["systemctl", "restart", "mcpeg"]);
    let home = machine.wait_for("an upstream that knows its home", LIMIT, || {
        let output = machine.run(&["cat", PROOF]);
        output.status.success().then(|| text(&output.stdout))
    });
    assert_eq!(home, "/var/lib/mcpeg/home\n");
    machine.ok(&["rm", "/etc/mcpeg/conf.d/home.toml", PROOF]);
    machine.ok(&["systemctl", "restart", "mcpeg"]);
}

/// What dpkg-statoverride(1) or chmod(1) says holds after an upgrade, and after the next boot.
fn overridden_modes_stay(machine: &Machine) {
    let paths = ["/etc/mcpeg", "/etc/mcpeg/conf.d", "/etc/mcpeg/mcpeg.toml"];
    let first =
        "750 root:mcpeg /etc/mcpeg\n750 root:mcpeg /etc/mcpeg/conf.d\n640 root:mcpeg /etc/mcpeg/mcpeg.toml\n";
    assert_eq!(modes(machine, &paths), first);
    machine.ok(&["groupadd", "operators"]);
    machine.ok(&["usermod", "--append", "--groups", "operators", "mcpeg"]);
    for (mode, path) in [("2775", paths[0]), ("640", paths[2])] {
        machine.ok(&["dpkg-statoverride", "--update", "--add", "root", "operators", mode, path]);
    }
    machine.ok(&["chmod", "755", paths[1]]);
    let decided = modes(machine, &paths);
    machine.ok(&["dpkg", "--install", "/root/next"]);
    assert_eq!(modes(machine, &paths), decided, "the upgrade has undone it");
    machine.ok(&["systemd-tmpfiles", "--create"]);
    assert_eq!(modes(machine, &paths), decided, "the next boot would undo it");
    machine.ok(&["systemctl", "restart", "mcpeg"]);
}

/// Rotates with the example as it is shipped; the machine has a record in its log.
fn logrotate(machine: &Machine) -> (Option<i32>, String) {
    machine.ok(&["sh", "-c", "[ ! -d /var/log/mcpeg ] || echo '{}' >>/var/log/mcpeg/mcpeg.log"]);
    run(machine, &["logrotate", "--force", "/etc/logrotate.d/mcpeg"])
}

/// The example for logrotate(8) in every state of the service; it is left behind when the package goes, as that of an
/// administrator is.
fn logrotate_succeeds_unless_something_is_wrong(machine: &Machine) {
    machine.ok(&["systemctl", "restart", "mcpeg"]);
    // As README.Debian says, word by word.
    let lines = include_str!("../../packaging/deb/README.Debian").lines();
    let lines = lines.skip_while(|line| !line.contains("If logrotate shall do that"));
    let lines: Vec<&str> = lines.filter_map(|line| line.strip_prefix("    ")).take(3).collect();
    machine.ok(&["sh", "-e", "-c", &lines.join("\n")]);
    assert!(machine.ok(&["cat", "/etc/mcpeg/mcpeg.toml"]).contains("\n[log]\nrotate = \"external\"\n"));
    let quiet = (Some(0), String::new());
    assert_eq!(logrotate(machine), quiet, "while it runs");
    let open = "ls -l /proc/$(systemctl show --value --property MainPID mcpeg)/fd | grep -o '/var/log/mcpeg/mcpeg.log.*'";
    let open = machine.ok(&["sh", "-c", open]);
    assert!(open.lines().any(|line| line == "/var/log/mcpeg/mcpeg.log"), "it writes to {open}");

    machine.ok(&["systemctl", "kill", "--signal=STOP", "mcpeg"]);
    let (code, said) = logrotate(machine);
    assert!(code != Some(0) && said.contains("suspended"), "a failure is hidden: {code:?} {said}");
    machine.ok(&["systemctl", "kill", "--signal=CONT", "mcpeg"]);

    machine.ok(&["systemctl", "stop", "mcpeg"]);
    assert_eq!(logrotate(machine), quiet, "while it is stopped");
    machine.ok(&["dpkg", "--remove", "mcpeg"]);
    assert_eq!(logrotate(machine), quiet, "after it was removed");
    machine.ok(&["dpkg", "--purge", "mcpeg"]);
    assert_eq!(logrotate(machine), quiet, "after it was purged");
}

/// One machine for all that concerns the package of Debian.
fn deb_respects_the_machine(suite: &str) {
    let machine = Machine::boot(suite);
    machine.copy_in(deb(VERSION), "/root/first");
    machine.copy_in(deb(&NEXT), "/root/next");
    // Debian 12's runs on both; the roots have the libraries that it needs, and not it.
    machine.copy_in("/usr/sbin/logrotate", "/usr/sbin/logrotate");
    machine.ok(&["mkdir", "-p", "/etc/logrotate.d", "/var/lib/logrotate"]);
    machine.ok(&["useradd", "--system", "--user-group", "--home-dir", "/home/other", "mcpeg"]);
    machine.ok(&["dpkg", "--install", "/root/first"]);
    home_is_the_state_directorys(&machine);
    overridden_modes_stay(&machine);
    logrotate_succeeds_unless_something_is_wrong(&machine);
}

/// The package of RPM makes its account with what the distribution has, and its files belong to that.
fn rpm_makes_the_account_with_either_tool(suite: &str) {
    let machine = Machine::boot(suite);
    machine.copy_in(rpm(VERSION), "/root/first");
    machine.ok(&["mkdir", "-p", "/usr/share/licenses", "/etc/rpm"]);
    machine.write("/etc/rpm/macros", "%_dbpath /var/lib/rpm\n");
    for missing in ["/usr/sbin/useradd", "/usr/bin/systemd-sysusers"] {
        let hidden = format!("{missing}.hidden");
        machine.ok(&["mv", missing, &hidden]);
        let (code, said) = run(&machine, &["rpm", "--install", "--nodeps", "/root/first"]);
        assert_eq!(code, Some(0), "without {missing}: {said}");
        let owned = modes(&machine, &["/etc/mcpeg", "/var/lib/mcpeg/home"]);
        assert_eq!(
            owned, "750 root:mcpeg /etc/mcpeg\n750 mcpeg:mcpeg /var/lib/mcpeg/home\n",
            "without {missing}: {said}"
        );
        let account = machine.ok(&["getent", "passwd", "mcpeg"]);
        assert!(account.contains(":/var/lib/mcpeg/home:/usr/sbin/nologin"), "{account}");
        machine.ok(&["rpm", "--erase", "mcpeg"]);
        machine.ok(&["mv", &hidden, missing]);
        machine.ok(&["userdel", "mcpeg"]);
        machine.ok(&["rm", "-rf", "/var/lib/mcpeg", "/var/log/mcpeg", "/var/cache/mcpeg"]);
    }
}

/// The commands of the tarball's instructions, as they are written there.
fn instructions() -> String {
    let file = std::fs::read_to_string(repository().join("packaging/INSTALL")).unwrap();
    let (_, by_hand) = file.split_once("\nBy hand\n").expect("the section");
    let (by_hand, _) = by_hand.split_once("\nWithout systemd").expect("its end");
    let commands: Vec<_> = by_hand.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(commands.iter().any(|line| line.contains("systemctl enable --now mcpeg")), "{commands:?}");
    commands.join("\n")
}

/// The tarball.
fn tarball() -> PathBuf {
    package(VERSION, "tar", &format!("mcpeg-{VERSION}-"), ".tar.gz")
}

/// An administrator with this umask unpacks the tarball as an ordinary user and follows its instructions to the letter,
/// twice: the second time is what an upgrade by hand looks like.
fn tarball_by_hand(suite: &str, tarball: &Path, umask: &str) {
    let machine = Machine::boot(suite);
    machine.copy_in(tarball, "/tmp/mcpeg.tar.gz");
    // The machines have no sudo; root does what it would do.
    machine.write("/usr/bin/sudo", "#!/bin/sh\nexec \"$@\"\n");
    machine.ok(&["chmod", "755", "/usr/bin/sudo"]);
    machine.ok(&["useradd", "--create-home", "dev"]);
    let unpack =
        format!("umask {umask}; mkdir -p ~/x; tar -C ~/x --strip-components=1 -xzf /tmp/mcpeg.tar.gz");
    let steps = format!("set -e\numask {umask}\ncd /home/dev/x\n{}\n", instructions());
    machine.write("/root/steps", &steps);
    for time in ["first", "second"] {
        machine.ok(&["runuser", "--login", "dev", "--command", &unpack]);
        let (code, said) = run(&machine, &["sh", "/root/steps"]);
        let journal =
            || text(&machine.run(&["journalctl", "--no-pager", "--lines=20", "--unit=mcpeg"]).stdout);
        assert_eq!(code, Some(0), "umask {umask}, {time}: {said}\n{}", journal());
        machine.ok(&["curl", "--silent", "--fail", "http://127.0.0.1:8080/health/live"]);
        // Everybody may run it and read its manual.
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        machine.ok(&[&nobody[..], &["mcpeg", "--version"]].concat());
        machine.ok(&[&nobody[..], &["cat", "/usr/local/share/man/man8/mcpeg.8"]].concat());
        let edit = machine.ok(&[
            "sh",
            "-c",
            "echo '# mine' >>/etc/mcpeg/mcpeg.toml; sha256sum /etc/mcpeg/mcpeg.toml",
        ]);
        if time == "second" {
            let lines = machine.ok(&["grep", "--count", "^# mine", "/etc/mcpeg/mcpeg.toml"]);
            assert_eq!(lines.trim(), "2", "the second time has replaced the configuration: {edit}");
        }
    }
}

/// Every umask that administrators have.
fn tarball_by_hand_under_every_umask(suite: &str) {
    let tarball = tarball();
    for umask in ["022", "027", "077"] {
        tarball_by_hand(suite, &tarball, umask);
    }
}

#[test]
#[ignore = "needs rpmbuild"]
fn rpm_requires_no_package_by_a_name_that_distributions_disagree_about() {
    #[expect(clippy::disallowed_methods, reason = "rpm is a child of the test")]
    let output = std::process::Command::new("rpm")
        .args(["--query", "--requires", "--package"])
        .arg(rpm(VERSION))
        .output();
    let requires = text(&output.unwrap().stdout);
    let words = requires.lines().flat_map(|line| line.trim_matches(['(', ')']).split(" or ")).map(str::trim);
    // Capabilities have brackets, files a slash; systemd is called so everywhere.
    let names: Vec<_> =
        words.filter(|word| !word.contains(['(', '/'])).filter(|word| *word != "systemd").collect();
    assert!(names.is_empty(), "{names:?} of {requires}");
    assert!(requires.contains("/usr/bin/systemd-sysusers"), "{requires}");
}

#[test]
fn logrotate_snippet_of_the_manual_is_the_shipped_one() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).unwrap();
    let manual = read("packaging/man/mcpeg.toml.5").replace("\\-", "-");
    let shipped = read("packaging/systemd/mcpeg.logrotate").replace("/usr/bin/mcpeg", "mcpeg");
    // The manual's does not know where the program is.
    let shipped = shipped.replace("[ -x mcpeg ]", "command -v mcpeg >/dev/null");
    let mut lines = 0;
    for line in shipped.lines().filter(|line| !line.trim_start().starts_with('#')) {
        assert!(manual.contains(line), "{line}");
        lines += 1;
    }
    assert!(lines > 10, "{shipped}");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn deb_respects_accounts_modes_and_logrotate_of_bookworm() {
    deb_respects_the_machine("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn deb_respects_accounts_modes_and_logrotate_of_trixie() {
    deb_respects_the_machine("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn rpm_makes_the_account_with_either_tool_under_rpm_4_18() {
    rpm_makes_the_account_with_either_tool("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn rpm_makes_the_account_with_either_tool_under_rpm_4_20() {
    rpm_makes_the_account_with_either_tool("trixie");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn tarball_by_hand_serves_under_every_umask_on_bookworm() {
    tarball_by_hand_under_every_umask("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn tarball_by_hand_serves_under_every_umask_on_trixie() {
    tarball_by_hand_under_every_umask("trixie");
}
