//! Upstreams that are killed at random under load, over stdio, shared and a session's own, and over HTTP: every call is
//! answered in time, others are untouched, what was killed is back within its backoff, and nothing is left behind.
//!
//! The whole is a minute: `MCPEG_CHAOS_SECONDS=60 cargo nextest run --test gateway --no-capture chaos::`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::JoinSet;

use crate::client::{Answer, Client, Era, MODERN_META};
use crate::gateway::{Gateway, HttpUpstream};
use crate::port::Port;
use crate::tools::bound;
use crate::upstreams::{PROBE, PYTHON, http, probe};

/// For how long upstreams are killed where the environment does not say it, in seconds.
const STORM: u64 = 5;
/// How long a call may take at the gateway.
const LIMIT: &str = "request_timeout = \"10s\"\n";
/// How long it may take for its client: that, with room for a busy machine.
const CALL: Duration = Duration::from_secs(20);
/// The wait before an upstream's first restart in a row; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(50);
/// An upstream that has lived for this long begins with the first wait again.
const STEADY: Duration = Duration::from_secs(10);
/// What starting takes on a busy machine.
const START: Duration = Duration::from_secs(20);

/// Open files that may be more than before: connections to HTTP upstreams are kept for a minute. Far fewer than there are
/// kills, so that one that is left behind by each of them is seen.
const KEPT: usize = 24;

/// What a gateway has: open files, KiB in memory, children, sessions.
type Figures = BTreeMap<&'static str, usize>;

/// The figures of a gateway.
async fn figures(gateway: &Gateway) -> Figures {
    let pid = gateway.pid();
    let sessions = gateway.status().await["sessions"].as_u64().expect("a number");
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a field");
    let memory = memory.trim().trim_end_matches(" kB").parse().expect("a number");
    let sessions = usize::try_from(sessions).expect("few");
    BTreeMap::from([
        ("files", files),
        ("KiB", memory),
        ("children", children(pid).len()),
        ("sessions", sessions),
    ])
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

/// A time of up to so many milliseconds.
fn chance(most: u64) -> Duration {
    Duration::from_millis(RandomState::new().build_hasher().finish() % most)
}

/// Calls a tool under an identifier that no other call of the test has: sessions have several calls at once.
async fn call(client: &Client, tool: &str, arguments: &str) -> Answer {
    /// The last identifier.
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let meta = match client.era {
        Era::Legacy(_) => String::new(),
        Era::Modern => format!(r#","_meta":{{{MODERN_META}}}"#),
    };
    let params = format!(r#"{{"name":"{tool}","arguments":{arguments}{meta}}}"#);
    let id = LAST.fetch_add(1, Ordering::Relaxed).to_string();
    client.request(&id, "tools/call", tool, &params).await
}

/// What became of one group of callers.
#[derive(Debug, Default)]
struct Tally {
    /// Calls that had a result.
    answered: usize,
    /// Those that had an error, by its words.
    errors: BTreeMap<String, usize>,
    /// The longest that one took.
    slowest: Duration,
    /// How often an upstream was killed.
    kills: usize,
    /// The longest that it was away.
    longest: Duration,
}

/// What the test's tasks share.
#[derive(Debug)]
struct Storm {
    /// The gateway's address.
    address: String,
    /// Whether it is over.
    over: AtomicBool,
    /// What became of the calls, by group.
    tallies: Mutex<BTreeMap<&'static str, Tally>>,
}

impl Storm {
    /// A modern client of one upstream.
    fn modern(&self, name: &str) -> Client {
        Client::modern(&self.address, &format!("/mcp/{name}"))
    }

    /// A legacy session with one upstream.
    async fn session(&self, name: &str, capabilities: &str) -> Client {
        Client::legacy_with(&self.address, &format!("/mcp/{name}"), capabilities).await
    }

    /// Whether it is over.
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Notes something about a group.
    fn note(&self, group: &'static str, note: impl FnOnce(&mut Tally)) {
        note(self.tallies.lock().expect("no panic while locked").entry(group).or_default());
    }

    /// Calls one upstream until the storm is over.
    async fn load(self: Arc<Self>, group: &'static str, name: String, client: Client) {
        while !self.is_over() {
            let began = Instant::now();
            let answer = call(&client, "sleep", r#"{"ms":5}"#).await;
            let took = began.elapsed();
            assert!(took < CALL, "{took:?}: {answer:?}");
            let slept = answer.reply().contains("slept");
            if slept {
                self.note(group, |tally| tally.answered += 1);
            } else {
                let (_, message) = answer.error();
                let reason = message.split_once(&format!("upstream `{name}` "));
                let (_, reason) = reason.unwrap_or_else(|| panic!("{group}: {message}"));
                let reason = reason.replace(&name, "it").replace(|c: char| c.is_ascii_digit(), "#");
                self.note(group, |tally| *tally.errors.entry(reason).or_default() += 1);
                // As clients do that are told to try again soon.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.note(group, |tally| tally.slowest = tally.slowest.max(took));
        }
    }

    /// Waits for the upstream's process, as one of its clients knows it.
    async fn up(&self, client: &Client, since: Instant, patience: Duration) -> i32 {
        loop {
            let answer = call(client, "pids", "{}").await;
            if answer.reply().contains("\"result\"") {
                let pids: Vec<i32> = serde_json::from_str(&answer.text()).expect("numbers");
                return pids[0];
            }
            assert!(since.elapsed() < patience, "not back within {patience:?}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills one upstream again and again: so many times in a row, before it is left alone until it begins with the first
    /// wait again. `wait` tells how long it may be away after its first, second … death in a row.
    async fn hunt(
        self: Arc<Self>,
        (group, row): (&'static str, u32),
        client: Client,
        wait: impl Fn(u32) -> (Duration, Duration),
        mut strike: impl AsyncFnMut(i32),
    ) {
        let (mut dead, mut killed, mut deaths) = (None, Instant::now(), 0);
        let mut limits = (Duration::ZERO, START);
        loop {
            let pid = self.up(&client, killed, limits.1).await;
            if let Some(dead) = dead {
                let away = killed.elapsed();
                assert_ne!(pid, dead, "{group}: a dead process answers");
                assert!(away >= limits.0, "{group}: back after {away:?}, not {limits:?}, death {deaths}");
                self.note(group, |tally| tally.longest = tally.longest.max(away));
            }
            if deaths == row {
                let rest = Instant::now();
                while !self.is_over() && rest.elapsed() < STEADY + FIRST {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                deaths = 0;
            }
            tokio::time::sleep(chance(400)).await;
            if self.is_over() {
                return;
            }
            // On a busy machine it may have lived for long enough to begin with the first wait.
            deaths = if killed.elapsed() >= STEADY { 1 } else { deaths + 1 };
            (dead, killed) = (Some(pid), Instant::now());
            strike(pid).await;
            self.note(group, |tally| tally.kills += 1);
            limits = wait(deaths);
        }
    }
}

/// How long an upstream of the gateway is away after its n-th death in a row: the backoff with its jitter, and the time that
/// its start takes.
fn backoff(deaths: u32) -> (Duration, Duration) {
    let base = FIRST * 2_u32.pow(deaths - 1);
    (base.mul_f64(0.75), base.mul_f64(1.25) + START)
}

/// The same of one that is a session's own, which is started by the next call.
fn at_once(_: u32) -> (Duration, Duration) {
    (Duration::ZERO, START)
}

/// The same of one that the test starts again: the gateway may have tried some times before.
fn later(deaths: u32) -> (Duration, Duration) {
    (Duration::ZERO, backoff(deaths + 5).1)
}

/// Kills a child of the gateway.
async fn strike(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
}

/// Starts the probe server over HTTP on a port.
async fn serve(port: u16) -> HttpUpstream {
    let port = port.to_string();
    HttpUpstream::start(bound(PYTHON).arg(PROBE).args(["--http", "--port", &port])).await
}

/// A server over HTTP that the test starts again when it has killed it, on the same port.
type Web = Arc<tokio::sync::Mutex<(u16, HttpUpstream)>>;

/// Kills such a server, and starts it again a little later.
async fn fell(web: &Web, pid: i32) {
    let mut web = web.lock().await;
    assert_eq!(web.1.pid().cast_signed(), pid);
    strike(pid).await;
    tokio::time::sleep(chance(200)).await;
    web.1 = serve(web.0).await;
}

/// The names of the upstreams that are killed, in the three ways to have them.
const SHARED: [&str; 4] = ["shared1", "shared2", "shared3", "shared4"];
/// Over HTTP.
const WEB: [&str; 2] = ["web1", "web2"];

/// The configuration.
fn configuration(ports: &[Port]) -> String {
    let mut text = String::new();
    for (place, name) in SHARED.into_iter().enumerate() {
        // Half of them are known to their clients by sessions.
        let era = if place % 2 == 0 { "both" } else { "legacy" };
        write!(text, "{}{LIMIT}", probe(name, &["--era", era])).expect("strings take all");
    }
    for (name, port) in WEB.into_iter().zip(ports) {
        write!(text, "{}{LIMIT}", http(name, port.address.port())).expect("strings take all");
    }
    let own = probe("own", &["--era", "legacy"]) + "sharing = \"per-session\"\n" + LIMIT;
    text + &own + &probe("other", &[]) + LIMIT
}

/// Begins everything that goes on during a storm; also returns the sessions that were begun for it. Without killing, only
/// what has no backoff is killed.
async fn begin(storm: &Arc<Storm>, webs: &[Web], killing: bool) -> (JoinSet<()>, Vec<Client>) {
    let (mut tasks, mut clients) = (JoinSet::new(), Vec::new());
    let mut load = |tasks: &mut JoinSet<()>, group, name: &str, client: &Client| {
        clients.push(client.clone());
        tasks.spawn(Arc::clone(storm).load(group, name.to_owned(), client.clone()));
    };
    for (place, name) in SHARED.into_iter().enumerate() {
        let client = if place % 2 == 0 { storm.modern(name) } else { storm.session(name, "{}").await };
        load(&mut tasks, "shared", name, &client);
        load(&mut tasks, "shared", name, &client);
        if killing {
            let client = storm.modern(name);
            tasks.spawn(Arc::clone(storm).hunt(("shared", 6), client, backoff, strike));
        }
    }
    for (name, web) in WEB.into_iter().zip(webs) {
        load(&mut tasks, "web", name, &storm.modern(name));
        load(&mut tasks, "web", name, &storm.session(name, "{}").await);
        if killing {
            let (client, web) = (storm.modern(name), Arc::clone(web));
            let strike = async move |pid: i32| fell(&web, pid).await;
            tasks.spawn(Arc::clone(storm).hunt(("web", 3), client, later, strike));
        }
    }
    for _ in 0..3 {
        let client = storm.session("own", r#"{"elicitation":{}}"#).await;
        load(&mut tasks, "own", "own", &client);
        load(&mut tasks, "own", "own", &client);
        tasks.spawn(Arc::clone(storm).hunt(("own", u32::MAX), client, at_once, strike));
    }
    for client in [storm.session("own", r#"{"elicitation":{}}"#).await, storm.session("own", "{}").await] {
        load(&mut tasks, "another's own", "own", &client);
    }
    for client in [storm.modern("other"), storm.modern("other"), storm.session("other", "{}").await] {
        load(&mut tasks, "other", "other", &client);
    }
    clients.dedup_by_key(|client| match &client.era {
        Era::Legacy(id) => id.clone(),
        Era::Modern => String::new(),
    });
    (tasks, clients)
}

/// Runs a storm for some time, and ends its sessions.
async fn rage(gateway: &Gateway, webs: &[Web], length: Duration, killing: bool) -> Arc<Storm> {
    let address = gateway.address().to_owned();
    let storm = Arc::new(Storm { address, over: AtomicBool::new(false), tallies: Mutex::default() });
    let (mut tasks, clients) = begin(&storm, webs, killing).await;
    tokio::time::sleep(length).await;
    storm.over.store(true, Ordering::Relaxed);
    while let Some(task) = tasks.join_next().await {
        task.expect("no call was lost");
    }
    for client in clients {
        if matches!(client.era, Era::Legacy(_)) {
            client.end().await;
        }
    }
    storm
}

/// The figures once they are no larger than others; what was killed last may still be on its way out.
async fn settled(gateway: &Gateway, before: Option<&Figures>) -> Figures {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let after = figures(gateway).await;
        let fits = |before: &Figures| {
            let gone = ["children", "sessions"].iter().all(|it| after[it] <= before[it]);
            gone && after["files"] <= before["files"] + KEPT
        };
        let done = before.map_or_else(|| after["sessions"] == 0, fits);
        if done || Instant::now() > deadline {
            return after;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What became of the calls, in words.
fn told(tallies: &BTreeMap<&'static str, Tally>) -> String {
    let mut text = String::new();
    for (group, Tally { answered, errors, slowest, kills, longest }) in tallies {
        let failed: usize = errors.values().sum();
        let calls = answered + failed;
        writeln!(
            text,
            "{group}: {kills} kills, away for {longest:.1?} at most; {calls} calls, {slowest:.1?} at most, \
             {answered} results, {failed} errors",
        )
        .expect("strings take all");
        for (reason, times) in errors {
            writeln!(text, "    {times} × {reason}").expect("strings take all");
        }
    }
    text
}

/// Leaves the figures in the test's output.
#[expect(clippy::print_stdout, reason = "the figures are this test's result for its reader")]
fn report(figures: &str) {
    println!("{figures}");
}

#[tokio::test]
async fn upstreams_killed_at_random_leave_no_call_unanswered_and_nothing_behind() {
    let length = std::env::var("MCPEG_CHAOS_SECONDS").map_or(STORM, |text| text.parse().expect("seconds"));
    let ports = WEB.map(|_| Port::free());
    let mut webs = Vec::new();
    for port in &ports {
        let port = port.address.port();
        webs.push(Arc::new(tokio::sync::Mutex::new((port, serve(port).await))));
    }
    let gateway = Gateway::start(&configuration(&ports)).await;
    // Everything has been used before it is measured.
    rage(&gateway, &webs, Duration::from_secs(1), false).await;
    let before = settled(&gateway, None).await;
    let earlier = restarts(&gateway).await;
    let storm = rage(&gateway, &webs, Duration::from_secs(length), true).await;
    let after = settled(&gateway, Some(&before)).await;
    let restarts = restarts(&gateway).await - earlier;
    let tallies = std::mem::take(&mut *storm.tallies.lock().expect("no panic while locked"));
    let text = format!("{length} s of storm\nbefore: {before:?}\nafter:  {after:?}\n{}", told(&tallies));
    report(&text);
    for victim in ["shared", "web", "own"] {
        assert!(tallies[victim].answered > 0 && tallies[victim].kills >= 4, "{text}");
    }
    for other in ["other", "another's own"] {
        assert!(tallies[other].answered > 0 && tallies[other].errors.is_empty(), "{text}");
    }
    assert_eq!(restarts, tallies["shared"].kills, "{text}");
    assert_eq!((after["children"], after["sessions"]), (before["children"], before["sessions"]), "{text}");
    assert!(after["files"] <= before["files"] + KEPT, "{text}");
    assert!(after["KiB"] <= before["KiB"] + 16_384, "{text}");
    gateway.stop().await;
}

/// How often the gateway has started upstreams again that it has started itself and that all share.
async fn restarts(gateway: &Gateway) -> usize {
    let status = gateway.status().await;
    let upstreams = status["upstreams"].as_array().expect("upstreams").iter();
    let shared = upstreams.filter(|upstream| SHARED.iter().any(|name| upstream["name"] == *name));
    let restarts: u64 = shared.map(|upstream| upstream["restarts"].as_u64().expect("a number")).sum();
    usize::try_from(restarts).expect("few")
}
