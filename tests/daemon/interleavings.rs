//! Edits of the configuration, reloads, upgrades, and changes of what upstreams have, in any order and at once: in the end
//! everything is as a fresh start with the last configuration has it.
//!
//! `MCPEG_INTERLEAVINGS_ROUNDS` sets how many rounds there are; `MCPEG_INTERLEAVINGS_SEED` repeats those of a failure,
//! which prints it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Runtime;

use crate::client::{Client, MODERN_META};
use crate::support::daemon::{Site, finish, until};
use crate::support::gateway::HttpUpstream;
use crate::support::tools::bound;
use crate::support::upstreams::{PYTHON, http, stdio};

/// Numbers that look random and come again with their seed.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// What they began with; a failed test prints it.
    #[expect(dead_code, reason = "it is for messages")]
    seed: u64,
    /// What comes next.
    state: u64,
}

impl Numbers {
    /// Those of the seed in the environment, or of a new one.
    pub(crate) fn from_environment() -> Self {
        let given = std::env::var("MCPEG_INTERLEAVINGS_SEED").ok();
        let seed = given.map_or_else(
            || u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()),
            |text| text.parse().unwrap(),
        );
        Self { seed, state: seed }
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).unwrap() % limit
    }
}

/// The upstreams that a configuration may have; the last one is reached over HTTP.
const UPSTREAMS: [&str; 4] = ["a", "b", "c", "http"];
/// The listeners that it may have beside the one that is always there.
const LISTENERS: [&str; 2] = ["x.sock", "y.sock"];
/// A stdio server whose only tool is the one that a file names, and which tells when that changes.
const STDIO: &str = r#"
capabilities = {"tools": {"listChanged": True}}
modern = True
PLACE = sys.argv[1]


def now():
    with open(PLACE) as file:
        return file.read()


def handle(message):
    if message.get("method") != "tools/list":
        return False
    tool = {"name": now(), "inputSchema": {"type": "object"}}
    reply(message, {"tools": [tool], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"})
    return True


def watch():
    before = now()
    while True:
        time.sleep(0.02)
        if now() != before:
            before = now()
            send({"method": "notifications/tools/list_changed"})


threading.Thread(target=watch, daemon=True).start()
"#;
/// A legacy HTTP server of the same kind, whose stream breaks at each change, so that the word of the change is lost.
const HTTP: &str = r#"
import sys
capabilities = {"tools": {"listChanged": True}}
PLACE = sys.argv[1]


def now():
    with open(PLACE) as file:
        return file.read()


def post(handler, message):
    if message.get("method") != "tools/list":
        return False
    handler.result(message, {"tools": [{"name": now(), "inputSchema": {"type": "object"}}]})
    return True


def get(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.end_headers()
    handler.wfile.write(b": open\n\n")
    before = now()
    while now() == before:
        time.sleep(0.02)
    handler.cut()
    return True
"#;

/// What must be the same.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// The upstreams, and whether each can be used.
    upstreams: Vec<(String, bool)>,
    /// The Unix listeners that it says it has.
    listeners: BTreeSet<String>,
    /// The files of listeners that accept.
    accepting: BTreeSet<String>,
    /// The files of listeners that do not.
    left: BTreeSet<String>,
    /// The tools in the merged list.
    tools: BTreeSet<String>,
}

/// A site, what its configuration says, and what its servers have.
struct Ground {
    /// The site.
    site: Site,
    /// For clients.
    runtime: Runtime,
    /// The HTTP server.
    server: HttpUpstream,
    /// The upstreams of the configuration.
    upstreams: BTreeSet<&'static str>,
    /// Its Unix listeners.
    listeners: BTreeSet<&'static str>,
    /// How often something was changed.
    changes: usize,
    /// Commands that run.
    commands: Vec<(&'static str, Child)>,
    /// The order of things.
    random: Numbers,
}

impl Ground {
    /// A gateway that serves.
    fn new() -> Self {
        let site = Site::new();
        let servers = [
            ("stdio.py", include_str!("../fixtures/scripted.py").replace("# HERE", STDIO)),
            ("over_http.py", include_str!("../fixtures/scripted_http.py").replace("# HERE", HTTP)),
        ];
        for (name, text) in servers {
            site.write(name, text);
        }
        for name in UPSTREAMS {
            site.write(&format!("tool-{name}"), "t0");
        }
        let runtime = Runtime::new().unwrap();
        let mut server = bound(PYTHON);
        server.args([site.path("over_http.py"), site.path("tool-http")]);
        let server = runtime.block_on(HttpUpstream::start(&mut server));
        let ground = Self {
            site,
            runtime,
            server,
            upstreams: BTreeSet::from(["a", "http"]),
            listeners: BTreeSet::from(["x.sock"]),
            changes: 0,
            commands: Vec::new(),
            random: Numbers::from_environment(),
        };
        ground.write();
        ground.site.daemon();
        ground
    }

    /// Writes the configuration, whole at once.
    fn write(&self) {
        let place = |name: &str| self.site.path(name).display().to_string();
        let mut text = "[server]\nlisten = [\"127.0.0.1:0\"".to_owned();
        for listener in &self.listeners {
            let _ = write!(text, ", \"unix:{}\"", place(listener));
        }
        let _ = writeln!(
            text,
            "]\nprefix = \"always\"\ndrain_timeout = \"5s\"\n[log]\nfile = {:?}",
            place("log")
        );
        for name in &self.upstreams {
            let upstream = if *name == "http" {
                http(name, self.server.port)
            } else {
                stdio(name, PYTHON, &[&place("stdio.py"), &place(&format!("tool-{name}"))])
            };
            // Another one makes the upstream another.
            let timeout = 60 + self.changes;
            let _ = writeln!(text, "{upstream}request_timeout = \"{timeout}s\"");
        }
        self.site.write("next.toml", &text);
        std::fs::rename(self.site.path("next.toml"), self.site.path("mcpeg.toml")).unwrap();
    }

    /// Adds or removes something.
    fn edit(&mut self) {
        let (upstream, listener) = (UPSTREAMS[self.random.below(4)], LISTENERS[self.random.below(2)]);
        match self.random.below(3) {
            0 if !self.listeners.remove(listener) => drop(self.listeners.insert(listener)),
            1 => self.changes += 1,
            _ if !self.upstreams.remove(upstream) => drop(self.upstreams.insert(upstream)),
            _ => {}
        }
        self.write();
    }

    /// Gives a server another tool.
    fn change_tool(&mut self) {
        self.changes += 1;
        let name = UPSTREAMS[self.random.below(4)];
        self.site.write("tool", format!("t{}", self.changes));
        std::fs::rename(self.site.path("tool"), self.site.path(&format!("tool-{name}"))).unwrap();
    }

    /// Asks for something without waiting for it.
    fn command(&mut self, argument: &'static str) {
        self.commands.push((argument, self.site.mcpeg(&[argument]).spawn().unwrap()));
    }

    /// Signals the process that the pid file names; it may have gone since.
    fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.site.pid()), signal);
    }

    /// Does something.
    fn act(&mut self) {
        match self.random.below(10) {
            0..=2 => self.edit(),
            3 | 4 => self.change_tool(),
            5 | 6 => self.command("--reload"),
            7 => self.signal(Signal::SIGHUP),
            8 => self.command("--restart"),
            _ => self.signal(Signal::SIGUSR2),
        }
        if self.random.below(2) == 0 {
            std::thread::sleep(Duration::from_millis(self.random.below(200) as u64));
        }
    }

    /// Waits for the commands, each of which has done what it says or tells why not.
    fn settle(&mut self) {
        for (argument, child) in std::mem::take(&mut self.commands) {
            let finished = finish(child);
            match finished.code {
                Some(0) => {}
                // A second upgrade at once, or one that was asked of a process that was already replaced.
                Some(75) => {
                    let random = &self.random;
                    assert!(finished.stderr.contains("hint: "), "{argument}: {finished:?}, {random:?}");
                }
                Some(69) if finished.stderr.contains("cannot ask the control socket") => {}
                _ => panic!("{argument}: {finished:?}, {:?}", self.random),
            }
        }
    }

    /// What is to be seen now.
    fn seen(&self) -> Seen {
        let status = self.site.status();
        let upstreams = status["upstreams"].as_array().unwrap().iter().map(|upstream| {
            let name = upstream["name"].as_str().unwrap().to_owned();
            (name, upstream["state"] == "ready" || upstream["state"] == "idle")
        });
        let name = |listener: &serde_json::Value| {
            let path = listener.as_str().unwrap().strip_prefix("unix:")?;
            Some(path.rsplit('/').next().unwrap().to_owned())
        };
        let files = LISTENERS.iter().filter(|name| self.site.path(name).exists());
        let (accepting, left) = files
            .map(|name| (*name).to_owned())
            .partition(|name: &String| UnixStream::connect(self.site.path(name)).is_ok());
        let address = status["listeners"][0].as_str().unwrap().to_owned();
        let tools = self.runtime.block_on(async {
            let params = format!(r#"{{"_meta":{{{MODERN_META}}}}}"#);
            Client::modern(&address, "/mcp").request("1", "tools/list", "", &params).await.tools()
        });
        Seen {
            upstreams: upstreams.filter(|(name, _)| name != "mcpeg").collect(),
            listeners: status["listeners"].as_array().unwrap().iter().filter_map(name).collect(),
            accepting,
            left,
            tools: tools.into_iter().filter(|tool| is_of_a_server(tool)).collect(),
        }
    }

    /// What a gateway with the last configuration has.
    fn expected(&self) -> Seen {
        let owned = |names: &BTreeSet<&'static str>| names.iter().map(|name| (*name).to_owned()).collect();
        let tool = |name: &&str| {
            format!("{name}_{}", std::fs::read_to_string(self.site.path(&format!("tool-{name}"))).unwrap())
        };
        Seen {
            upstreams: self.upstreams.iter().map(|name| ((*name).to_owned(), true)).collect(),
            listeners: owned(&self.listeners),
            accepting: owned(&self.listeners),
            left: BTreeSet::new(),
            tools: self.upstreams.iter().map(tool).collect(),
        }
    }

    /// Insists that all is as it should be in the end.
    fn is_as_expected(&self, what: &str) {
        let expected = self.expected();
        let mut seen = self.seen();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while seen != expected && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            seen = self.seen();
        }
        assert_eq!(seen, expected, "{what}, {:?}", self.random);
    }
}

/// Whether a tool is one of those that the files name, and none of the built-in upstream's.
fn is_of_a_server(tool: &str) -> bool {
    tool.rsplit_once("_t").is_some_and(|(_, number)| number.parse::<usize>().is_ok())
}

#[test]
fn any_interleaving_of_edits_reloads_upgrades_and_changes_ends_as_a_fresh_start() {
    let rounds = std::env::var("MCPEG_INTERLEAVINGS_ROUNDS").map_or(2, |text| text.parse().unwrap());
    let mut ground = Ground::new();
    for _ in 0..rounds {
        for _ in 0..14 {
            ground.act();
        }
        ground.edit();
        // Whatever is under way, this is done after it, or it says that it was not.
        let finished = ground.site.run(&["--reload"]);
        ground.settle();
        if finished.code != Some(0) {
            assert!(finished.code == Some(75) || finished.code == Some(69), "{finished:?}");
            assert_eq!(ground.site.run(&["--reload"]).code, Some(0));
        }
        ground.is_as_expected("after everything");
        until("one process is left", || ground.site.gateways().len() == 1);
    }
    assert_eq!(ground.site.run(&["--stop"]).code, Some(0));
    ground.site.daemon();
    ground.is_as_expected("after a fresh start");
}
