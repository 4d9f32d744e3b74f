//! daemon(7) "SysV Daemons", step by step, as /proc shows it, for a launcher that leaves everything in disorder.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::daemon::{Site, finish, lives, send, until};

/// One process in /proc.
struct Proc(i32);

impl Proc {
    /// A line of `proc_pid_status(5)`.
    fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
    }

    /// A set of signals.
    fn signals(&self, field: &str) -> u64 {
        // 32 and 33 belong to the C library's threads: nptl(7).
        u64::from_str_radix(&self.status(field), 16).unwrap() & !(0b11 << 31)
    }

    /// A field of `proc_pid_stat(5)` by its number there.
    fn stat(&self, number: usize) -> i32 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(number - 3).unwrap().parse().unwrap()
    }

    /// Where a link leads.
    fn link(&self, name: &str) -> String {
        fs::read_link(format!("/proc/{}/{name}", self.0)).unwrap().to_str().unwrap().to_owned()
    }

    /// Where all descriptors lead; one that is closed meanwhile leads nowhere.
    fn descriptors(&self) -> Vec<String> {
        let names = fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap();
        let links = names.filter_map(|name| fs::read_link(name.ok()?.path()).ok());
        links.map(|link| link.display().to_string()).collect()
    }
}

#[test]
fn every_step_of_daemon_7_leaves_its_trace() {
    let site = Site::new();
    site.write("leaked", "");
    let script = "umask 000; trap '' HUP INT TERM USR1; exec 7<leaked 9<leaked; exec \"$MCPEG\" --daemon";
    let finished = finish(site.shell(script).spawn().unwrap());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let daemon = Proc(site.pid());

    // Step 1: no descriptor of the launcher is left.
    let leaked = site.path("leaked").to_str().unwrap().to_owned();
    assert!(!daemon.descriptors().contains(&leaked), "step 1: {:?}", daemon.descriptors());
    // Steps 2 and 3: nothing but PIPE is ignored, nothing blocked.
    assert_eq!(daemon.signals("SigIgn"), 1 << 12, "step 2");
    assert_eq!(daemon.signals("SigBlk"), 0, "step 3");
    // The handlers of TERM, INT, HUP, USR1 and USR2 are there when readiness is announced.
    let handled = [15, 2, 1, 10, 12].map(|signal| 1_u64 << (signal - 1)).iter().sum::<u64>();
    assert_eq!(daemon.signals("SigCgt") & handled, handled, "handlers before ready");
    // Steps 5 to 7: a session of its own, without a terminal, and not as its leader.
    let (session, terminal) = (daemon.stat(6), daemon.stat(7));
    assert_ne!(session, Proc(std::process::id().cast_signed()).stat(6), "step 6");
    assert_ne!(session, daemon.0, "step 7: a session leader could acquire a terminal");
    assert_eq!(terminal, 0, "step 6");
    // Step 8: neither the launcher nor the first child is left; the daemon was given to init or a subreaper.
    assert!(!lives(session), "step 8");
    let parent = Path::new("/proc").join(daemon.status("PPid")).join("comm");
    assert_ne!(fs::read_to_string(parent).unwrap().trim(), "mcpeg", "step 8");
    // Step 9: standard descriptors.
    for descriptor in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(daemon.link(descriptor), "/dev/null", "step 9");
    }
    // Steps 10 and 11: umask and directory.
    assert_eq!(daemon.status("Umask"), "0027", "step 10");
    assert_eq!(daemon.link("cwd"), "/", "step 11");
    // Step 12: the pid file holds one number and a newline.
    assert_eq!(fs::read_to_string(site.pid_file()).unwrap(), format!("{}\n", daemon.0), "step 12");
    // Steps 14 and 15: when the launcher had returned, the gateway served already.
    assert!(TcpStream::connect(site.address()).is_ok(), "step 14");
}

#[test]
fn signals_of_the_process_are_those_that_the_manual_lists() {
    let site = Site::new();
    let daemon = Proc(site.daemon());
    let set = |names: &[&str]| {
        let bits = names.iter().map(|name| 1_u64 << (name.parse::<Signal>().unwrap() as i32 - 1));
        bits.fold(0, std::ops::BitOr::bitor)
    };
    let listed = mcpeg::daemon::SIGNALS.map(|signal| signal.name);
    let (ignored, handled): (Vec<_>, Vec<_>) = listed.iter().partition(|name| **name == "SIGPIPE");
    assert_eq!(daemon.signals("SigIgn"), set(&ignored));
    // With SEGV and BUS, Rust's runtime tells a stack overflow; CHLD is tokio's, for the upstreams.
    let runtime = set(&["SIGSEGV", "SIGBUS", "SIGCHLD"]);
    assert_eq!(daemon.signals("SigCgt") & !runtime, set(&handled));
}

/// A site with one upstream that never answers.
fn mute_site() -> Site {
    Site::with_config(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[upstreams.mute]\ncommand = \"sleep\"\nargs = [\"600\"]\n",
    )
}

/// Waits for the upstream's process.
fn upstream_of(gateway: i32) -> i32 {
    let mut found = None;
    until("the upstream runs", || {
        let runs_sleep =
            |child: &i32| fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe.ends_with("sleep"));
        found = children_of(gateway).into_iter().find(runs_sleep);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn upstream_inherits_three_descriptors_and_neither_lock_nor_leak() {
    let site = mute_site();
    site.write("leaked", "");
    let gateway = site.shell("exec 7<leaked; exec \"$MCPEG\"").spawn().unwrap();
    let upstream = Proc(upstream_of(gateway.id().cast_signed()));
    // The dynamic loader has libraries open for a moment (ld.so(8)).
    let open = format!("/proc/{}/fd", upstream.0);
    until("three descriptors are left", || fs::read_dir(&open).is_ok_and(|all| all.count() == 3));
    let descriptors = upstream.descriptors();
    assert!(
        descriptors.iter().all(|link| !link.contains(&site.path("").display().to_string())),
        "{descriptors:?}"
    );
    drop(site);
    finish(gateway);
}

#[test]
fn killed_gateway_takes_its_upstream_with_it() {
    let site = mute_site();
    let gateway = site.mcpeg(&[]).spawn().unwrap();
    let upstream = upstream_of(gateway.id().cast_signed());
    send(gateway.id().cast_signed(), Signal::SIGKILL);
    assert_eq!(finish(gateway).signal, Some(9));
    until("the upstream is gone", || !lives(upstream));
}

/// The children of every thread of the process.
fn children_of(pid: i32) -> Vec<i32> {
    let tasks = format!("/proc/{pid}/task");
    let lists = fs::read_dir(tasks).into_iter().flatten().flatten();
    lists
        .flat_map(|task| {
            let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok())
        .collect()
}
