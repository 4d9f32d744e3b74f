//! Upstreams that are killed at random under load: every call is answered, others are untouched, and nothing is left behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::upstreams::probe;

/// For how long upstreams are killed.
const STORM: Duration = Duration::from_secs(60);
/// How long a call may take: its time-out, with room for a busy machine.
const CALL: Duration = Duration::from_secs(20);

/// What a process has: open files, KiB in memory, children.
fn figures(pid: Pid) -> BTreeMap<&'static str, usize> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a field");
    let memory = memory.trim().trim_end_matches(" kB").parse().expect("a number");
    BTreeMap::from([("files", files), ("KiB", memory), ("children", children(pid).len())])
}

/// The children of a process.
pub(crate) fn children(pid: Pid) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let of = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("children")).ok()
    };
    let all = tasks.filter_map(of).collect::<Vec<_>>().join(" ");
    all.split_whitespace().map(|pid| pid.parse().expect("a number")).collect()
}

/// What became of calls.
#[derive(Debug, Default)]
struct Tally {
    /// Results.
    answered: AtomicUsize,
    /// Errors that name the upstream.
    failed: AtomicUsize,
}

/// Calls one upstream until told to stop.
async fn load(client: Client, stop: Arc<AtomicBool>, tally: Arc<Tally>) {
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = client.call("sleep", r#"{"ms":5}"#).await;
        assert!(began.elapsed() < CALL, "{:?}", began.elapsed());
        let reply = answer.reply();
        if reply.contains("slept") {
            tally.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            assert!(reply.contains("upstream `victim`"), "{reply}");
            tally.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The child that a client's upstream runs in.
async fn victim(client: &Client) -> Option<i32> {
    let answer = client.call("pids", "{}").await;
    if !answer.reply().contains("\"result\"") {
        return None;
    }
    let pids: Vec<i32> = serde_json::from_str(&answer.text()).expect("numbers");
    pids.first().copied()
}

/// Leaves the figures in the test's output.
#[expect(clippy::print_stdout, reason = "the figures are this test's result for its reader")]
fn report(figures: &str) {
    println!("{figures}");
}

#[tokio::test]
#[ignore = "needs a minute"]
async fn upstreams_killed_at_random_leave_no_call_unanswered_and_nothing_behind() {
    let gateway = Gateway::start(&(probe("victim", &[]) + &probe("other", &[]))).await;
    let (victims, others) = (Arc::<Tally>::default(), Arc::<Tally>::default());
    let modern = |path: &str| Client::modern(gateway.address(), path);
    // Everything has been used once before it is measured.
    for path in ["/mcp/victim", "/mcp/other"] {
        assert_eq!(modern(path).call("sleep", r#"{"ms":1}"#).await.text(), "slept");
    }
    let before = figures(gateway.pid());
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..8 {
        tasks.push(tokio::spawn(load(modern("/mcp/victim"), Arc::clone(&stop), Arc::clone(&victims))));
        tasks.push(tokio::spawn(load(modern("/mcp/other"), Arc::clone(&stop), Arc::clone(&others))));
    }
    let (began, mut kills) = (Instant::now(), 0);
    while began.elapsed() < STORM {
        if let Some(pid) = victim(&modern("/mcp/victim")).await {
            kills += usize::from(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        }
        let pause = u64::from(std::process::id() ^ began.elapsed().subsec_nanos()) % 400;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no call was lost");
    }
    let back = async {
        while !modern("/mcp/victim").call("sleep", r#"{"ms":1}"#).await.reply().contains("slept") {}
    };
    tokio::time::timeout(Duration::from_secs(60), back).await.expect("the upstream comes back");
    // What was killed last may still be on its way out.
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut after = figures(gateway.pid());
    while after["children"] != before["children"] && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
        after = figures(gateway.pid());
    }
    report(&format!(
        "{kills} kills; victim {victims:?}; other {others:?}; before {before:?}; after {after:?}"
    ));
    assert!(kills >= 5, "{kills}");
    assert_eq!(others.failed.load(Ordering::Relaxed), 0, "{others:?}");
    assert!(victims.answered.load(Ordering::Relaxed) > 0, "{victims:?}");
    assert_eq!(after["children"], before["children"], "{after:?}");
    assert!(after["files"] <= before["files"] + 16, "before {before:?}, after {after:?}");
    assert!(after["KiB"] <= before["KiB"] + 16_384, "before {before:?}, after {after:?}");
    gateway.stop().await;
}
