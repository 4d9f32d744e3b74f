//! `max_concurrency` while processes and configurations follow one another: the server itself records what it has at once.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::children::runtime;
use crate::client::Client;
use crate::interleavings::Numbers;
use crate::support::daemon::{Site, until};
use crate::support::gateway::HttpUpstream;
use crate::support::tools::bound;
use crate::support::upstreams::{PYTHON, http, stdio};

/// How many requests each server is given at once.
const MOST: usize = 2;
/// What both servers do: a call notes its begin and its end, before it is answered.
const NOTES: &str = r#"
modern = True
notes = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def work():
    os.write(notes, b"+")
    time.sleep(0.03)
    os.write(notes, b"-")
    return "fine"
"#;
/// How the one over stdio calls, without waiting for the end.
const STDIO: &str = r#"
def handle(message):
    if message.get("method") != "tools/call":
        return False
    threading.Thread(target=lambda: reply(message, text(work()))).start()
    return True
"#;
/// How the one over HTTP does.
const HTTP: &str = "
def call(handler, message, name):
    return work()
";

/// The site and its HTTP server, which ends with this.
struct Ground {
    /// The site.
    site: Site,
    /// The HTTP server.
    server: HttpUpstream,
}

impl Ground {
    /// Starts the HTTP server.
    async fn new() -> Self {
        let site = Site::new();
        let file = |name| format!("\"{}\"", site.path(name).display());
        let script = |text: &str, name, call: &str| {
            text.replace("# HERE", &(NOTES.replace("FILE", &file(name)) + call))
        };
        let (stdio, http) =
            (include_str!("../../fixtures/scripted.py"), include_str!("../../fixtures/scripted_http.py"));
        site.write("stdio.py", script(stdio, "stdio.notes", STDIO));
        site.write("over_http.py", script(http, "http.notes", HTTP));
        let server = HttpUpstream::start(bound(PYTHON).arg(site.path("over_http.py"))).await;
        Self { site, server }
    }

    /// Writes a configuration in which the upstreams have this time-out: another one makes them others.
    fn write(&self, timeout: usize) {
        let script = self.site.path("stdio.py").display().to_string();
        let mut text = "[server]\nlisten = [\"127.0.0.1:0\"]\n".to_owned();
        for upstream in [stdio("stdio", PYTHON, &[&script]), http("http", self.server.port)] {
            let limits =
                format!("max_concurrency = {MOST}\nmax_queue = 100\nrequest_timeout = \"{timeout}s\"");
            let _ = writeln!(text, "{upstream}{limits}");
        }
        self.site.write("mcpeg.toml", text);
    }

    /// The most calls that a server had at once, and how many there were.
    fn noted(&self, name: &str) -> (usize, usize) {
        let (mut now, mut most, mut all) = (0_usize, 0, 0);
        for note in std::fs::read(self.site.path(name)).unwrap() {
            if note == b'+' {
                (now, all) = (now + 1, all + 1);
            } else {
                now -= 1;
            }
            most = most.max(now);
        }
        (most, all)
    }
}

#[test]
fn no_server_ever_has_more_calls_at_once_than_it_may_through_upgrades_and_reloads_under_load() {
    let runtime = runtime();
    let ground = runtime.block_on(Ground::new());
    ground.write(60);
    ground.site.daemon();
    let address = ground.site.address().to_string();
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..12)
        .map(|client| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            let address = address.clone();
            runtime.spawn(async move {
                let path = if client % 2 == 0 { "/mcp/stdio" } else { "/mcp/http" };
                while !over.load(Ordering::Relaxed) {
                    let answer = Client::modern(&address, path).call("one", "{}").await;
                    assert_eq!(answer.text(), "fine", "{path}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut random = Numbers::from_environment();
    for round in 0..8 {
        let before = answered.load(Ordering::Relaxed);
        until("calls are answered", || answered.load(Ordering::Relaxed) > before + random.below(20));
        let act = if random.below(3) == 0 {
            ground.write(61 + round);
            "--reload"
        } else {
            "--restart"
        };
        let finished = ground.site.run(&[act]);
        assert_eq!(finished.code, Some(0), "{random:?}: {finished:?}");
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        runtime.block_on(client).unwrap();
    }
    for name in ["stdio.notes", "http.notes"] {
        let (most, all) = ground.noted(name);
        assert!(all > 20, "{name}: {all}");
        assert_eq!(most, MOST, "{name}, {random:?}");
    }
}
