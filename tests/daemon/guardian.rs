//! Gateways that are killed at any moment: nothing of them is left, and the next start works.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::{
    Finished, GRACE, PROMISE, Site, finish, lives, most_within_promise, processes, send, until,
};

/// The last moment of a start at which the gateway is killed; an idle machine is ready long before.
const START: Duration = Duration::from_millis(300);
/// The last moment of a stop at which the gateway is killed.
const STOP: Duration = Duration::from_millis(90);
/// Rounds of one start and one stop that are cut short, each at another moment.
const ROUNDS: u32 = 30;

/// A site with one upstream that is behind a shell, as `npx` starts them, and can be told by the site's path.
fn site() -> Site {
    let site = Site::new();
    let probe = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/probe_server.py");
    fs::copy(probe, site.path("probe.py")).unwrap();
    let script = site.path("probe.py").display().to_string();
    site.write(
        "mcpeg.toml",
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n\
             [upstreams.wrapped]\ncommand = \"sh\"\nargs = [\"-c\", \"/usr/bin/python3 {script}; true\"]\n"
        ),
    );
    site
}

/// The command line of a process.
fn command_line(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

/// The processes of the site's upstream: the shell and the server.
fn upstream_of(site: &Site) -> Vec<i32> {
    let script = site.path("probe.py").display().to_string();
    processes().filter(|pid| command_line(*pid).contains(&script) && lives(*pid)).collect()
}

/// The guardians of a gateway, living or not.
fn guardians_of(gateway: i32) -> Vec<i32> {
    let wanted = format!("mcp-guardian of {gateway} ");
    processes().filter(|pid| command_line(*pid) == wanted).collect()
}

/// Insists that nothing is left of a gateway; how long that took.
fn nothing_is_left(site: &Site, gateway: i32) -> Duration {
    let begun = Instant::now();
    until("nothing is left", || {
        let (upstream, guardians) = (upstream_of(site), guardians_of(gateway));
        let gone = upstream.is_empty() && guardians.is_empty();
        assert!(gone || begun.elapsed() < PROMISE + GRACE, "left: {upstream:?}, {guardians:?}");
        gone
    });
    begun.elapsed()
}

/// Kills a gateway in the foreground.
fn cut(gateway: Child) -> Finished {
    send(gateway.id().cast_signed(), Signal::SIGKILL);
    finish(gateway)
}

/// Waits until the pid file is that of the gateway, and not one that a killed one has left.
fn ready(site: &Site, gateway: &Child) {
    let wanted = format!("{}\n", gateway.id());
    until("the gateway serves", || fs::read_to_string(site.pid_file()).is_ok_and(|number| number == wanted));
}

#[test]
fn killed_daemon_leaves_neither_upstream_nor_guardian() {
    let site = site();
    let daemon = site.daemon();
    assert_eq!(upstream_of(&site).len(), 2, "the shell and the server");
    assert_eq!(guardians_of(daemon).len(), 1);
    send(daemon, Signal::SIGKILL);
    nothing_is_left(&site, daemon);
}

#[test]
fn everything_called_mcpeg_is_killed_and_nothing_is_left() {
    let site = site();
    let daemon = site.daemon();
    // As `pkill -9 mcpeg` does it, but for this gateway and its children only.
    let is_called = |pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let parent = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = parent.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        name.contains("mcpeg") && (*pid == daemon || parent == Some(daemon))
    };
    let called: Vec<i32> = processes().filter(is_called).collect();
    assert_eq!(called, [daemon]);
    for pid in called {
        send(pid, Signal::SIGKILL);
    }
    nothing_is_left(&site, daemon);
}

#[test]
fn stop_returns_when_the_guardian_is_gone_too() {
    let site = site();
    let daemon = site.daemon();
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    assert_eq!((upstream_of(&site), guardians_of(daemon)), (Vec::new(), Vec::new()));
}

#[test]
#[ignore = "needs root: a pid namespace of its own"]
fn upstreams_work_where_the_leader_of_the_session_is_outside_of_the_pid_namespace() {
    // Containers are often entered so: getsid(2) then answers 0, as pid_namespaces(7) says of processes outside.
    let site = site();
    let script = "exec unshare --pid --fork --kill-child --mount-proc \"$MCPEG\"";
    let mut gateway = site.shell(script).spawn().unwrap();
    let log = BufReader::new(gateway.stderr.take().unwrap());
    let mut lines = log.lines().map_while(Result::ok);
    let is_ready = |line: &String| line.contains("the upstream is ready") && line.contains("wrapped");
    assert!(lines.any(|line| is_ready(&line)), "the gateway ends without its upstream");
    cut(gateway);
    until("nothing is left", || upstream_of(&site).is_empty());
}

#[test]
fn guardian_called_by_hand_refuses() {
    let site = Site::new();
    let finished = finish(site.mcpeg(&["of", "1"]).arg0("mcp-guardian").spawn().unwrap());
    assert_eq!(finished.code, Some(64), "{finished:?}");
}

#[test]
fn gateways_killed_at_any_moment_of_start_and_stop_leave_nothing_and_the_next_one_serves() {
    let site = site();
    let mut ends = Vec::new();
    for round in 0..ROUNDS {
        let starting = site.mcpeg(&[]).spawn().unwrap();
        // The moment is what the test varies; it is no wait for anything.
        std::thread::sleep(START * round / ROUNDS);
        let pid = starting.id().cast_signed();
        assert_eq!(cut(starting).signal, Some(9), "killed during its start, round {round}");
        ends.push(nothing_is_left(&site, pid));

        let stopping = site.mcpeg(&[]).spawn().unwrap();
        ready(&site, &stopping);
        let pid = stopping.id().cast_signed();
        send(pid, Signal::SIGTERM);
        std::thread::sleep(STOP * round / ROUNDS);
        // It may have stopped just before.
        let finished = cut(stopping);
        assert!(finished.signal == Some(9) || finished.code == Some(0), "round {round}: {finished:?}");
        ends.push(nothing_is_left(&site, pid));
    }
    let last = site.daemon();
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    ends.push(nothing_is_left(&site, last));
    most_within_promise(ends);
}
