//! No upstream outlives the gateway, however that ends: the guardian and what /proc shows of it.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getsid};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::upstreams::{PROBE, PYTHON, probe, stdio};

/// What is promised: this long after the gateway's death no upstream is left.
const PROMISE: Duration = Duration::from_secs(2);
/// How much longer a busy machine may take to show it.
const GRACE: Duration = Duration::from_secs(20);
/// How long anything else may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The probe server as `npx` would start it: a shell leads the group, the server is its child.
fn wrapped(name: &str, args: &str) -> String {
    stdio(name, "sh", &["-c", &format!("{PYTHON} {PROBE} {args}; true")])
}

/// A process as `proc_pid_stat(5)` shows it: name, state, parent and group.
fn stat(pid: i32) -> Option<(String, char, i32, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    Some((name.to_owned(), fields[0].chars().next()?, fields[1].parse().ok()?, fields[2].parse().ok()?))
}

/// Every process that is no zombie, with its number.
fn processes() -> Vec<(i32, (String, char, i32, i32))> {
    let entries = fs::read_dir("/proc").expect("mounted").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .filter(|(_, (_, state, ..))| !"ZX".contains(*state))
        .collect()
}

/// The guardians of a gateway.
fn guardians(gateway: Pid) -> Vec<Pid> {
    let all = processes().into_iter();
    let own = all.filter(|(_, (name, _, parent, _))| name == "mcp-guardian" && *parent == gateway.as_raw());
    own.map(|(pid, _)| Pid::from_raw(pid)).collect()
}

/// The groups of processes that the gateway is to end: those of its children but the guardians.
fn groups(gateway: Pid) -> BTreeSet<i32> {
    let all = processes().into_iter();
    let children =
        all.filter(|(_, (name, _, parent, _))| name != "mcp-guardian" && *parent == gateway.as_raw());
    children.map(|(_, (_, _, _, group))| group).collect()
}

/// Waits until something holds, at most for `limit`.
async fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    let mut poll = tokio::time::interval(Duration::from_millis(10));
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        poll.tick().await;
    }
}

/// What must be gone; dropping it kills what is left, so that a failed test leaves no stubborn process behind.
struct Kin {
    /// The upstreams' groups.
    groups: BTreeSet<i32>,
    /// The guardian.
    guardian: Pid,
}

impl Kin {
    /// Finds the groups and the guardian, when there are as many groups and each has this many processes.
    async fn find(gateway: Pid, count: usize, members: usize) -> Self {
        let complete = || {
            let (groups, all) = (groups(gateway), processes());
            let size = |group: &i32| all.iter().filter(|(_, (.., of))| of == group).count();
            groups.len() == count && groups.iter().all(|group| size(group) == members)
        };
        within(PATIENCE, "all upstreams run", complete).await;
        within(PATIENCE, "a guardian runs", || guardians(gateway).len() == 1).await;
        Self { groups: groups(gateway), guardian: guardians(gateway)[0] }
    }

    /// Waits until no process of any of the groups is left, nor the guardian.
    async fn gone(&self, limit: Duration) {
        let left = || {
            let all = processes().into_iter();
            all.filter(|(pid, (.., group))| self.groups.contains(group) || *pid == self.guardian.as_raw())
                .count()
        };
        within(limit, "no upstream and no guardian is left", || left() == 0).await;
    }
}

impl Drop for Kin {
    fn drop(&mut self) {
        for group in &self.groups {
            // Those that are gone are the normal case.
            let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
        }
    }
}

/// Kills the gateway, and waits for the promise to be kept. One time of three is enough: at the others, another process may
/// have had the processor.
async fn promise_kept(upstreams: &str, count: usize, members: usize) {
    let mut ends = Vec::new();
    for _ in 0..3 {
        let gateway = Gateway::start(upstreams).await;
        let kin = Kin::find(gateway.pid(), count, members).await;
        gateway.kill().await;
        let begun = Instant::now();
        kin.gone(PROMISE + GRACE).await;
        ends.push(begun.elapsed());
    }
    assert!(ends.iter().any(|end| *end <= PROMISE), "{ends:?}");
}

#[tokio::test]
async fn wrapped_upstream_is_gone_after_the_gateway_was_killed() {
    promise_kept(&wrapped("wrapped", ""), 1, 2).await;
}

#[tokio::test]
async fn stubborn_groups_are_gone_after_the_gateway_was_killed() {
    let upstreams = wrapped("one", "--stubborn") + &wrapped("two", "--stubborn");
    promise_kept(&upstreams, 2, 3).await;
}

#[tokio::test]
async fn stop_leaves_neither_upstream_nor_guardian() {
    let gateway = Gateway::start(&wrapped("wrapped", "")).await;
    let kin = Kin::find(gateway.pid(), 1, 2).await;
    gateway.stop().await;
    // The gateway has waited for all of them: nothing is left to be waited for.
    kin.gone(Duration::ZERO).await;
}

#[tokio::test]
async fn second_term_leaves_neither_upstream_nor_guardian() {
    let gateway = Gateway::start(&wrapped("wrapped", "--stubborn")).await;
    let kin = Kin::find(gateway.pid(), 1, 3).await;
    kill(gateway.pid(), Signal::SIGTERM).expect("it runs");
    within(PATIENCE, "the drain has begun", || gateway.printed().contains("draining")).await;
    kill(gateway.pid(), Signal::SIGTERM).expect("it runs");
    assert_eq!(gateway.ended().await, Some(143));
    kin.gone(PROMISE + GRACE).await;
}

#[tokio::test]
async fn killed_guardian_is_replaced_and_its_successor_keeps_the_promise() {
    let gateway = Gateway::start(&wrapped("wrapped", "--stubborn")).await;
    let mut kin = Kin::find(gateway.pid(), 1, 3).await;
    let first = kin.guardian;
    kill(first, Signal::SIGKILL).expect("it runs");
    within(PATIENCE, "another guardian", || {
        let now = guardians(gateway.pid());
        now.len() == 1 && now[0] != first
    })
    .await;
    kin.guardian = guardians(gateway.pid())[0];
    within(PATIENCE, "the successor holds the group", || descriptors(kin.guardian).len() == 4).await;
    let pids = Client::modern(gateway.address(), "/mcp").call("pids", "{}").await.text();
    assert!(pids.starts_with('['), "the upstream was not touched: {pids}");
    gateway.kill().await;
    kin.gone(PROMISE + GRACE).await;
}

#[tokio::test]
async fn suspended_guardian_does_not_keep_the_gateway_from_stopping() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let kin = Kin::find(gateway.pid(), 1, 1).await;
    kill(kin.guardian, Signal::SIGSTOP).expect("it runs");
    gateway.stop().await;
    kin.gone(Duration::ZERO).await;
}

#[tokio::test]
async fn gateway_without_children_has_no_guardian() {
    let gateway = Gateway::start("").await;
    assert_eq!(guardians(gateway.pid()), []);
    gateway.stop().await;
}

/// Where the descriptors of a process lead.
fn descriptors(pid: Pid) -> Vec<String> {
    let names = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut links: Vec<String> =
        names.filter_map(|name| Some(fs::read_link(name.path()).ok()?.display().to_string())).collect();
    links.sort();
    links
}

#[tokio::test]
async fn guardian_holds_nothing_of_the_gateway_and_heeds_no_request_to_stop() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let kin = Kin::find(gateway.pid(), 1, 1).await;
    let guardian = kin.guardian;
    // Its line, one group, and two standard descriptors: no lock, no listener, no log.
    within(PATIENCE, "one group is guarded", || descriptors(guardian).len() == 4).await;
    let held = descriptors(guardian);
    let kinds: Vec<&str> = held.iter().map(|link| link.split(':').next().expect("one")).collect();
    assert_eq!(kinds, ["/dev/null", "/dev/null", "anon_inode", "socket"], "{held:?}");
    assert_eq!(fs::read_link(format!("/proc/{guardian}/cwd")).expect("it runs").to_str(), Some("/"));
    assert_eq!(getsid(Some(guardian)), Ok(guardian), "a session of its own");
    assert_eq!(fs::read(format!("/proc/{guardian}/environ")).expect("it runs"), b"", "no variable");
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2] {
        kill(guardian, signal).expect("it runs");
    }
    let pids = Client::modern(gateway.address(), "/mcp").call("pids", "{}").await.text();
    assert!(pids.starts_with('['), "{pids}");
    assert_eq!(guardians(gateway.pid()), [guardian]);
    gateway.stop().await;
}

#[tokio::test]
async fn ended_upstream_is_struck_off_the_list() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let kin = Kin::find(gateway.pid(), 1, 1).await;
    Client::modern(gateway.address(), "/mcp").call("exit", "{}").await;
    let another = || {
        let now = groups(gateway.pid());
        now.len() == 1 && now != kin.groups
    };
    within(PATIENCE, "the upstream runs again", another).await;
    let second = Kin::find(gateway.pid(), 1, 1).await;
    assert_eq!(second.guardian, kin.guardian);
    within(PATIENCE, "one group is guarded", || descriptors(second.guardian).len() == 4).await;
    gateway.kill().await;
    second.gone(PROMISE + GRACE).await;
}
