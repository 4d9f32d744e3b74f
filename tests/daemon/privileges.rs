//! `--user` and `--group`: root is given up for good, and everything that a gateway does later works without it.
//!
//! Each site has a copy of the program, since the user may not reach the directory in which it was built.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use crate::support::daemon::{Finished, Site, finish, lives, processes, until};
use crate::support::program::mcpeg;

/// A user of every Debian, and a group that is not that user's.
const USER: &str = "www-data";
/// The group.
const GROUP: &str = "mail";

/// The numbers of both.
fn numbers() -> (u32, u32) {
    let user = nix::unistd::User::from_name(USER).unwrap().unwrap();
    let group = nix::unistd::Group::from_name(GROUP).unwrap().unwrap();
    (user.uid.as_raw(), group.gid.as_raw())
}

/// A site in a directory that everybody may enter and the user owns, with a copy of the program.
fn site(config: &str) -> Site {
    let site = Site::with_config(config);
    let directory = site.path("");
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    chown(&directory, Some(numbers().0), None).unwrap();
    fs::copy(mcpeg(), site.path("mcpeg")).unwrap();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py"), site.path("echo.py"))
        .unwrap();
    site
}

/// A script in which `$MCPEG` is the copy, in a network of its own whose ports below 1024 are root's.
fn script(site: &Site, script: &str) -> Command {
    let network = "ip link set lo up && ";
    let mut shell = site.shell(&format!("exec unshare --net sh -c '{network}{script}'"));
    shell.env("MCPEG", site.path("mcpeg")).env("HOME", "/root").env("USER", "root");
    shell
}

/// Runs such a script to its end.
fn run(site: &Site, text: &str) -> Finished {
    finish(script(site, text).spawn().unwrap())
}

/// The fields of one line of `proc_pid_status(5)`.
fn status(pid: i32, name: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

/// Insists that a process is the user's, in the group, and can do nothing that is root's.
fn has_given_up(pid: i32) {
    let (uid, gid) = numbers();
    assert_eq!(status(pid, "Uid"), vec![uid.to_string(); 4]);
    assert_eq!(status(pid, "Gid"), vec![gid.to_string(); 4]);
    let groups: BTreeSet<String> = status(pid, "Groups").into_iter().collect();
    assert!(groups.contains(&gid.to_string()) && !groups.contains("0"), "{groups:?}");
    for set in ["CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(pid, set), ["0000000000000000"], "{set}");
    }
}

/// The upstream's process.
fn upstream(site: &Site) -> i32 {
    let script = site.path("echo.py").display().to_string();
    let has = |pid: &i32| {
        String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())
            .contains(&script)
    };
    processes().find(has).unwrap()
}

/// Owner and group of a file.
fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

/// A configuration with these listeners and an upstream.
fn config(site: &Site, listeners: &str) -> String {
    format!(
        "[server]\nlisten = [{listeners}]\n[upstreams.echo]\ncommand = \"/usr/bin/python3\"\nargs = [\"{}\"]\n",
        site.path("echo.py").display()
    )
}

#[test]
#[ignore = "needs root: a user and a network of its own"]
fn everything_works_after_root_was_given_up() {
    let site = site("");
    let unix = format!("\"unix:{}\"", site.path("mcp.sock").display());
    site.write("mcpeg.toml", config(&site, &format!("\"127.0.0.1:80\", {unix}")));
    let log = site.path("log/deep/mcpeg.log");
    let start = format!(
        "exec \"$MCPEG\" --daemon --wait-upstreams --user {USER} --group {GROUP} --log-file {}",
        log.display()
    );
    let started = run(&site, &start);
    assert_eq!(started.code, Some(0), "{started:?}");
    let first = site.pid();
    has_given_up(first);
    let child = upstream(&site);
    has_given_up(child);
    let environment = fs::read(format!("/proc/{child}/environ")).unwrap();
    let environment: Vec<_> = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    assert!(
        environment.contains(&"HOME=/var/www".into()) && environment.contains(&format!("USER={USER}").into())
    );
    for file in ["mcpeg.pid", "mcpeg.lock", "mcpeg.sock", "mcp.sock", "log/deep", "log/deep/mcpeg.log"] {
        assert_eq!(owner(&site.path(file)), numbers(), "{file}");
    }

    // The user's own commands find it.
    let ask = format!("exec setpriv --reuid {USER} --regid {USER} --init-groups \"$MCPEG\" --status --json");
    let asked = run(&site, &ask);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert!(
        asked.stdout.contains("\"state\": \"running\"") && !asked.stdout.contains("degraded"),
        "{asked:?}"
    );

    // A reload can do what needs no root, and says what does.
    site.write("mcpeg.toml", config(&site, &format!("\"127.0.0.1:80\", {unix}, \"127.0.0.1:8080\"")));
    let reloaded = site.run(&["--reload"]);
    assert!(reloaded.stdout.contains("listeners added: 127.0.0.1:8080"), "{reloaded:?}");
    site.write("mcpeg.toml", config(&site, &format!("\"127.0.0.1:80\", {unix}, \"127.0.0.1:81\"")));
    let refused = site.run(&["--reload"]);
    assert_eq!(refused.code, Some(77), "{refused:?}");
    assert!(refused.stderr.contains("cannot listen on `127.0.0.1:81`"), "{refused:?}");
    assert!(refused.stderr.contains("hint: ports below 1024 need root"), "{refused:?}");

    // An upgrade keeps the port that only root could bind.
    site.write("mcpeg.toml", config(&site, &format!("\"127.0.0.1:80\", {unix}")));
    let restarted = site.run(&["--restart"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    until("the old process ends", || !lives(first));
    has_given_up(site.pid());
    assert_eq!(site.status()["listeners"][0], "127.0.0.1:80");
    assert_eq!(site.run(&["--log-rotate"]).code, Some(0));

    assert_eq!(site.run(&["--stop"]).code, Some(0));
    for file in ["mcpeg.pid", "mcpeg.sock", "mcp.sock"] {
        assert!(!site.path(file).exists(), "{file} stays behind");
    }
    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.contains("cannot remove") && !text.contains("stays behind"), "{text}");
}

#[test]
#[ignore = "needs root: strace(1) of a process that gives it up"]
fn step_13_groups_group_and_user_are_set_in_this_order_and_root_is_refused_afterwards() {
    let site = site("[server]\nlisten = [\"127.0.0.1:0\"]\n");
    let trace = "strace --follow-forks --quiet=all --output=trace \
                 --trace=setgroups,setgid,setuid,setresuid,setresgid,setreuid,clone,clone3,fork,vfork";
    let child =
        script(&site, &format!("{trace} \"$MCPEG\" --daemon --user {USER} > out 2>&1")).spawn().unwrap();
    site.serves();
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    assert_eq!(finish(child).code, Some(0));
    let trace = fs::read_to_string(site.path("trace")).unwrap();
    let calls: Vec<&str> =
        trace.lines().filter_map(|line| line.split_once(' ')).map(|(_, call)| call.trim()).collect();
    let uid = numbers().0;
    let begin = calls.iter().position(|call| call.starts_with("setgroups(")).unwrap();
    let sequence = &calls[begin..begin + 6];
    assert!(sequence[1].starts_with("setgid(") && sequence[1].ends_with("= 0"), "{sequence:?}");
    assert!(
        sequence[2].starts_with(&format!("setuid({uid})")) && sequence[2].ends_with("= 0"),
        "{sequence:?}"
    );
    for call in &sequence[3..] {
        assert!(call.contains("EPERM"), "the way back is tried: {sequence:?}");
    }
    // Threads come later.
    assert!(!calls[..begin].iter().any(|call| call.contains("CLONE_THREAD")), "{calls:?}");
}

#[test]
#[ignore = "needs root: a user, and a run-time directory of its own"]
fn default_directory_and_what_an_earlier_gateway_left_there_become_the_users() {
    let site = site("[server]\nlisten = [\"127.0.0.1:0\"]\n");
    let text = format!(
        "exec unshare --mount sh -c \"mount -t tmpfs tmpfs /run; unset MCPEG_PID_FILE; \
         \\$MCPEG --daemon --log-file /run/log && kill -9 \\$(cat /run/mcpeg/mcpeg.pid) && \
         until \\$MCPEG --status | grep -q dead; do sleep 0.05; done; \
         chmod 777 /run; chmod +t /run; \
         \\$MCPEG --daemon --user {USER} --group {GROUP} --log-file /run/log && \
         stat --format=%U:%G:%n /run/mcpeg /run/mcpeg/* /run/log && \
         \\$MCPEG --restart && \\$MCPEG --stop && ls /run/mcpeg\""
    );
    let finished = run(&site, &text);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for file in
        ["/run/mcpeg", "/run/mcpeg/mcpeg.lock", "/run/mcpeg/mcpeg.pid", "/run/mcpeg/mcpeg.sock", "/run/log"]
    {
        assert!(finished.stdout.contains(&format!("\n{USER}:{GROUP}:{file}\n")), "{finished:?}");
    }
    assert!(finished.stdout.ends_with(" has stopped\nmcpeg.lock\n"), "{finished:?}");
}

#[test]
#[ignore = "needs root: a user"]
fn configuration_can_name_the_user_who_may_also_start_the_gateway_alone() {
    let text = format!("[server]\nlisten = [\"127.0.0.1:0\"]\nuser = \"{USER}\"\ngroup = \"{GROUP}\"\n");
    let site = site(&text);
    let started = run(&site, "exec \"$MCPEG\" --daemon");
    assert_eq!(started.code, Some(0), "{started:?}");
    has_given_up(site.pid());
    // Another user needs another start.
    site.write("mcpeg.toml", text.replace(USER, "daemon"));
    let reloaded = site.run(&["--reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    assert!(reloaded.stderr.contains("`user in [server]` has no effect before a restart"), "{reloaded:?}");
    let refused = site.run(&["--restart"]);
    assert_eq!(refused.code, Some(77), "{refused:?}");
    assert!(
        refused.stderr.contains("cannot run as user `daemon`") && refused.stderr.contains("hint: stop"),
        "{refused:?}"
    );
    assert_eq!(site.run(&["--stop"]).code, Some(0));

    site.write("mcpeg.toml", &text);
    let alone = format!("exec setpriv --reuid {USER} --regid {GROUP} --clear-groups \"$MCPEG\" --daemon");
    let started = run(&site, &alone);
    assert_eq!(started.code, Some(0), "{started:?}");
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    let other = alone.replace(USER, "daemon");
    let refused = run(&site, &other);
    assert_eq!(refused.code, Some(77), "{refused:?}");
}

#[test]
#[ignore = "needs root: a user"]
fn gateway_that_runs_as_root_gives_it_up_in_an_upgrade() {
    let site = site("[server]\nlisten = [\"127.0.0.1:80\"]\n");
    // A gateway of root does not run in a directory of somebody else.
    chown(site.path(""), Some(0), None).unwrap();
    assert_eq!(run(&site, "exec \"$MCPEG\" --daemon").code, Some(0));
    let first = site.pid();
    assert_eq!(status(first, "Uid"), ["0"; 4]);
    let text = format!("[server]\nlisten = [\"127.0.0.1:80\"]\nuser = \"{USER}\"\ngroup = \"{GROUP}\"\n");
    site.write("mcpeg.toml", text);
    for path in [site.path(""), site.logs(), site.logs().join("mcpeg.log")] {
        chown(path, Some(numbers().0), None).unwrap();
    }
    let restarted = site.run(&["--restart"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    until("the old process ends", || !lives(first));
    has_given_up(site.pid());
    assert_eq!(site.run(&["--reload"]).code, Some(0));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    assert!(!site.pid_file().exists());
}

#[test]
#[ignore = "needs root: a user"]
fn user_that_could_not_go_on_is_refused_at_the_start() {
    let site = site("[server]\nlisten = [\"127.0.0.1:0\"]\n");
    let start = |options: &str| run(&site, &format!("exec \"$MCPEG\" --daemon {options}"));
    for (options, code, said) in [
        ("--user nosuchuser", 78, "there is no user `nosuchuser`"),
        ("--user mail --group nosuchgroup", 78, "there is no group `nosuchgroup`"),
        ("--user root", 78, "user `root` is root"),
        ("--user daemon", 73, "belongs to the user with number"),
    ] {
        let finished = start(options);
        assert_eq!(finished.code, Some(code), "{options}: {finished:?}");
        assert!(
            finished.stderr.contains(said) && finished.stderr.contains("hint: "),
            "{options}: {finished:?}"
        );
    }
    chown(site.path(""), Some(0), None).unwrap();
    let finished = start("--user daemon");
    assert_eq!(finished.code, Some(77), "{finished:?}");
    assert!(finished.stderr.contains("user `daemon` may not make files in the directory"), "{finished:?}");
    chown(site.path(""), Some(numbers().0), None).unwrap();
    // They have become that user's.
    fs::remove_file(site.path("mcpeg.lock")).unwrap();
    fs::remove_dir_all(site.logs()).unwrap();
    fs::set_permissions(site.path("mcpeg.toml"), Permissions::from_mode(0o600)).unwrap();
    let finished = start(&format!("--user {USER}"));
    assert_eq!(finished.code, Some(77), "{finished:?}");
    assert!(
        finished.stderr.contains(&format!("user `{USER}` cannot read the configuration again")),
        "{finished:?}"
    );
    assert!(finished.stderr.contains(site.path("mcpeg.toml").to_str().unwrap()), "{finished:?}");
    assert!(!site.pid_file().exists() && site.gateways().is_empty());
}

#[test]
#[ignore = "needs root: a user"]
fn file_with_another_name_or_owner_is_not_given_away() {
    let site = site("[server]\nlisten = [\"127.0.0.1:0\"]\n");
    site.write("precious", "root's\n");
    fs::hard_link(site.path("precious"), site.path("run.log")).unwrap();
    site.write("theirs.log", "");
    chown(site.path("theirs.log"), Some(numbers().0), None).unwrap();
    let start = |log: &str| run(&site, &format!("exec \"$MCPEG\" --daemon --user {USER} --log-file {log}"));
    let refused = start("run.log");
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert_eq!(owner(&site.path("precious")).0, 0);
    let gid = owner(&site.path("theirs.log")).1;
    assert_eq!(start("theirs.log").code, Some(0));
    assert_eq!(owner(&site.path("theirs.log")), (numbers().0, gid));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}

/// What a gateway answers to a request for its health with this token.
fn health(site: &Site, token: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(site.path("mcp.sock")).unwrap();
    let head = format!(
        "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
#[ignore = "needs root: a user"]
fn tokens_that_root_makes_before_the_start_are_those_of_the_user() {
    let site = site("");
    let listen = format!("\"unix:{}\"", site.path("mcp.sock").display());
    let account = format!("user = \"{USER}\"\ngroup = \"{GROUP}\"\n[upstreams.echo]\npin = \"enforce\"\n");
    let text = config(&site, &listen).replace("[upstreams.echo]\n", &account);
    site.write("mcpeg.toml", text + "[clients.a]\n[clients.b]\n");
    // Root writes into no directory of somebody else's below one that all may write, as /tmp is.
    let place = tempfile::tempdir_in("/var/lib").unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let state = format!("export STATE_DIRECTORY={} && ", place.path().join("state").display());
    let made = run(
        &site,
        &format!("{state} \"$MCPEG\" token create a --config {}", site.path("mcpeg.toml").display()),
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    let started = run(&site, &format!("{state} exec \"$MCPEG\" --daemon --wait-upstreams"));
    assert_eq!(started.code, Some(0), "{started:?}");
    has_given_up(site.pid());
    until("the pins are kept", || place.path().join("state/pins.json").exists());
    for file in ["state", "state/tokens.json", "state/tokens.key", "state/pins.json"] {
        assert_eq!(owner(&place.path().join(file)), numbers(), "{file}");
    }
    let answer = health(&site, made.stdout.trim());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // And so are those that it makes while the gateway runs.
    let other = run(&site, "\"$MCPEG\" token create b");
    until("it is taken up", || health(&site, other.stdout.trim()).starts_with("HTTP/1.1 200"));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}
