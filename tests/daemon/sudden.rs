//! SIGKILL at any moment of start, reload, upgrade and stop: the next start works, and no process, socket or lock is left.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use mcpeg::sys::process::command;
use nix::sys::signal::Signal;

use crate::support::daemon::{GRACE, PROMISE, Site, finish, lives, most_within_promise, processes, until};

/// What is cut short, and the last moment at which that happens; an idle machine is done before.
const ACTS: [(&str, Duration); 4] = [
    ("start", Duration::from_millis(250)),
    ("reload", Duration::from_millis(250)),
    ("upgrade", Duration::from_millis(300)),
    ("stop", Duration::from_millis(120)),
];

/// Moments that look random and come again: a linear congruential generator.
struct Moments(u64);

impl Moments {
    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// A moment before `end`.
    fn before(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(end.as_micros()).unwrap()))
    }
}

/// A site whose configuration has two forms, for reloads that have something to do.
struct Ground {
    /// The site.
    site: Site,
    /// Which form is written.
    form: bool,
    /// Every gateway that was seen, since a guardian is known by the number of its gateway only.
    seen: RefCell<BTreeSet<i32>>,
}

impl Ground {
    /// The first form.
    fn new() -> Self {
        let ground = Self { site: Site::new(), form: false, seen: RefCell::default() };
        let probe = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py");
        fs::copy(probe, ground.site.path("echo.py")).unwrap();
        ground.write();
        ground
    }

    /// The other form: another listener, and another upstream beside one that stays.
    fn change(&mut self) {
        self.form = !self.form;
        self.write();
    }

    /// Writes the configuration.
    fn write(&self) {
        let directory = self.site.path("").display().to_string();
        let (listener, name) = if self.form { ("a", "even") } else { ("b", "odd") };
        let upstream = |name: &str| {
            format!(
                "[upstreams.{name}]\ncommand = \"sh\"\nargs = [\"-c\", \"/usr/bin/python3 {directory}echo.py; true\"]\n"
            )
        };
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{directory}{listener}.sock\"]\n{}{}",
            upstream("kept"),
            upstream(name)
        );
        self.site.write("mcpeg.toml", text);
    }

    /// The living gateways and launchers.
    fn gateways(&self) -> Vec<i32> {
        let gateways = self.site.gateways();
        self.seen.borrow_mut().extend(&gateways);
        gateways
    }

    /// Everything that runs for the site: gateways, launchers, guardians, upstreams and what these have started.
    fn running(&self) -> Vec<i32> {
        let script = self.site.path("echo.py").display().to_string();
        let mut all = self.gateways();
        all.extend(processes().filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let guarded = line.strip_prefix("mcp-guardian of ").and_then(|of| of.trim().parse().ok());
            line.contains(&script) || guarded.is_some_and(|of: i32| self.seen.borrow().contains(&of))
        }));
        all.retain(|pid| lives(*pid));
        all
    }

    /// Kills every gateway that there is now, launchers included.
    fn kill_all(&self) {
        for pid in self.gateways() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Insists that nothing runs any more; how long that took.
    fn nothing_is_left(&self, what: &str) -> Duration {
        let begun = Instant::now();
        loop {
            let left = self.running();
            if left.is_empty() {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PROMISE + GRACE, "{what}: left {left:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// One act that is cut short; what was started to ask for it.
fn cut(ground: &mut Ground, moments: &mut Moments, act: &str, end: Duration) -> Child {
    if act != "start" {
        ground.site.daemon();
    }
    ground.change();
    let flag = match act {
        "start" => "--daemon",
        "reload" => "--reload",
        "upgrade" => "--restart",
        _ => "--stop",
    };
    let before = (act != "start").then(|| ground.site.pid());
    let asking = ground.site.mcpeg(&[flag]).spawn().unwrap();
    std::thread::sleep(moments.before(end));
    // In an upgrade there are two, of which one may go on.
    match (act, moments.below(3)) {
        ("upgrade", 0) => before.into_iter().for_each(|old| {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(old), Signal::SIGKILL);
        }),
        ("upgrade", 1) => {
            for new in ground.gateways() {
                if Some(new) != before && new != asking.id().cast_signed() {
                    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(new), Signal::SIGKILL);
                }
            }
        }
        _ => ground.kill_all(),
    }
    asking
}

/// Rounds of acts that are cut short.
#[expect(clippy::print_stderr, reason = "the counts are what the reader of a run wants to see")]
fn rounds(rounds: usize, seed: u64) {
    let mut ground = Ground::new();
    let mut moments = Moments(seed);
    let mut innocent = command("sleep").arg("600").spawn().unwrap();
    let (mut counts, mut ends) = (BTreeMap::<&str, [u32; 2]>::new(), Vec::new());
    for round in 0..rounds {
        let (act, end) = ACTS[round % ACTS.len()];
        let what = format!("{act}, round {round} of seed {seed}");
        let asking = cut(&mut ground, &mut moments, act, end);
        finish(asking);
        // Whoever lost its other half has noticed when it is alone and answers, or is gone.
        until(&format!("{what}: at most one is left, and serves"), || match ground.gateways()[..] {
            [] => true,
            [one] => {
                let status = ground.site.status();
                status["state"] == "running" && status["degraded"].is_null() && status["pid"] == one
            }
            _ => false,
        });
        let count = counts.entry(act).or_default();
        if ground.gateways().is_empty() {
            count[0] += 1;
            ends.push(ground.nothing_is_left(&what));
            let started = ground.site.run(&["--daemon"]);
            assert_eq!(started.code, Some(0), "{what}: {started:?}");
        } else {
            count[1] += 1;
        }
        let status = ground.site.status();
        let state = (&status["state"], &status["degraded"], status["pid"].as_i64());
        let pid = ground.site.pid();
        assert_eq!(state, (&"running".into(), &serde_json::Value::Null, Some(pid.into())), "{what}");
        let stopped = ground.site.run(&["--stop"]);
        assert_eq!(stopped.code, Some(0), "{what}: {stopped:?}");
        ends.push(ground.nothing_is_left(&what));
        assert!(innocent.try_wait().unwrap().is_none(), "{what}: an innocent was ended");
    }
    innocent.kill().unwrap();
    innocent.wait().unwrap();
    let mut left: Vec<_> =
        fs::read_dir(ground.site.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    // A socket of the form before, which nobody has asked for since, may lie there; a start with that form replaces it.
    left.retain(|name| name != "a.sock" && name != "b.sock");
    assert_eq!(left, ["echo.py", "mcpeg.lock", "mcpeg.toml"]);
    let longest = ends.iter().max();
    eprintln!("killed, [nothing left, one serves on]: {counts:?}; longest end {longest:?}");
    most_within_promise(ends);
}

#[test]
fn acts_that_are_cut_short_leave_nothing_and_the_next_start_works() {
    rounds(12, 1);
}

#[test]
#[ignore = "needs up to two minutes"]
fn two_hundred_acts_that_are_cut_short_leave_nothing() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    rounds(200, seed);
}
