//! Calls through the gateway beside calls to the same upstream without it, in one run.
//!
//! `cargo bench --bench relay` starts the release binary with a minimal upstream (this program again, with an argument), and
//! then with one made with the official Rust SDK (benches/rmcp), each over HTTP and over stdio, and drives each with 1, 16
//! and 64 connections that call one tool as fast as they are answered. It prints calls a second, latency, and the processor time of a call: the gateway's, and that of everybody
//! else. The ratio to the upstream alone is what can be compared between machines; see benches/README.md.
//!
//! `mcp-proxy` and `supergateway`, where they are installed, are driven in the same run, and the gateway once more as they
//! are: in legacy sessions, over stdio.
//!
//! `-- small` measures what else a gateway takes: the time until the first answer, memory when idle and with 200 sessions,
//! instructions a call. `-- beside PROGRAM` compares with another binary, and `-- guard` calls with tokens, JWT and TLS with calls
//! without them, in turns of half a second, so that what the machine does meanwhile falls on all alike. `-- scale` measures what a call costs with 1 and 1,000 upstreams in the catalog, and with 1 and
//! 10,000 sessions open.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "the processes that are measured are started here")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "relay/beside.rs"]
mod beside;
#[path = "relay/load.rs"]
mod load;
#[path = "relay/pipe.rs"]
mod pipe;
#[path = "relay/process.rs"]
mod process;
#[path = "relay/small.rs"]
mod small;
#[path = "relay/upstream.rs"]
mod upstream;

use load::{Client, Era, Figures, RUN, measure, measure_tool, runtime};
use process::{Gateway, Memory, end, first_line, processor_time};

/// Numbers of connections.
const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// A run, and the processor time of everybody but the gateway for each call, in microseconds.
struct Row(Figures, f64);

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("upstream-stdio") => upstream::stdio(),
        Some("upstream-http") => runtime().block_on(upstream::http()),
        Some("scale") => scale(),
        Some("small") => small(),
        Some("beside") => beside::another(&Upstream::minimal(), &second("a program to measure beside")),
        Some("guard") => beside::guarded(&Upstream::minimal()),
        _ => compare(),
    }
}

/// The second argument, which is this.
fn second(what: &str) -> String {
    std::env::args().nth(2).unwrap_or_else(|| panic!("{what} comes after the first argument"))
}

/// A program that is an upstream, over stdio and over HTTP.
struct Upstream {
    /// What it is called.
    name: &'static str,
    /// The program, and its arguments for stdio and for HTTP.
    words: (PathBuf, [&'static str; 2]),
    /// The process that serves HTTP.
    process: Child,
    /// Where.
    address: SocketAddr,
}

impl Upstream {
    /// This program: as little as possible beside the protocol.
    fn minimal() -> Self {
        let own = std::env::current_exe().expect("this program has a path");
        Self::start("minimal upstream", own, ["upstream-stdio", "upstream-http"])
    }

    /// A server made with the official SDK, which is built first; `None` where that fails.
    fn of_sdk() -> Option<Self> {
        let (manifest, target) = ("benches/rmcp/Cargo.toml", "target/rmcp");
        let root = env!("CARGO_MANIFEST_DIR");
        let words = ["build", "--release", "--quiet", "--locked", "--manifest-path", manifest];
        let built =
            Command::new("cargo").args(words).args(["--target-dir", target]).current_dir(root).status();
        let program = Path::new(root).join(target).join("release/rmcp-upstream");
        built
            .is_ok_and(|status| status.success())
            .then(|| Self::start("SDK's upstream", program, ["--stdio", "--http"]))
    }

    /// Starts it over HTTP.
    fn start(name: &'static str, program: PathBuf, arguments: [&'static str; 2]) -> Self {
        let mut command = Command::new(&program);
        let mut process = command.arg(arguments[1]).stdout(Stdio::piped()).spawn().expect("the upstream");
        let address = first_line(&mut process).parse().expect("the upstream prints its address");
        Self { name, words: (program, arguments), process, address }
    }

    /// The gateway's configuration for it over HTTP.
    fn http(&self) -> String {
        format!("url = \"http://{}/mcp\"", self.address)
    }

    /// The same over stdio.
    fn stdio(&self) -> String {
        format!("command = \"{}\"\nargs = [\"{}\"]", self.words.0.display(), self.words.1[0])
    }

    /// Calls without a gateway.
    fn alone(&self) -> Vec<Row> {
        let run = |connections| {
            let before = processor_time(self.process.id());
            let figures = measure(self.address, Era::Modern, connections);
            let upstream = each(processor_time(self.process.id()).saturating_sub(before), &figures);
            let others = figures.load + upstream;
            Row(figures, others)
        };
        CONNECTIONS.map(run).into()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// Everything but calls a second.
fn small() {
    let upstream = Upstream::minimal();
    let rows = [("gateway, HTTP", upstream.http()), ("gateway, stdio", upstream.stdio())];
    for measure in [small::start, small::memory, small::instructions] {
        for (name, upstream) in &rows {
            measure(name, upstream);
        }
    }
}

/// Measures upstreams alone, then gateways before them.
fn compare() {
    println!(
        "{:<18}{:>6}{:>10}{:>7}{:>7}{:>8}{:>8}{:>15}{:>9}",
        "", "conns", "calls/s", "ratio", "bound", "p50 µs", "p99 µs", "CPU µs: gateway", "others"
    );
    let minimal = Upstream::minimal();
    let base = through_gateways(&minimal);
    let own = minimal.words.0.display().to_string();
    let (port, dash) = (free_port(), "--");
    let words = ["mcp-proxy", "--port", &port, dash, &own, "upstream-stdio"];
    peer("mcp-proxy", &words, &port, &base);
    let (port, upstream) = (free_port(), format!("{own} upstream-stdio"));
    let words = [
        "supergateway",
        "--stdio",
        &upstream,
        "--outputTransport",
        "streamableHttp",
        "--stateful",
        "--port",
        &port,
    ];
    peer("supergateway", &words, &port, &base);
    match Upstream::of_sdk() {
        Some(upstream) => drop(through_gateways(&upstream)),
        None => println!("the SDK's upstream cannot be built"),
    }
}

/// Measures an upstream alone and through this gateway; returns the former.
fn through_gateways(upstream: &Upstream) -> Vec<Row> {
    let base = upstream.alone();
    for (row, connections) in base.iter().zip(CONNECTIONS) {
        print(upstream.name, connections, row, row, None);
    }
    let program = upstream.words.0.display().to_string();
    for (row, connections) in base.iter().zip(CONNECTIONS) {
        let (figures, upstream) = pipe::measure(&[&program, upstream.words.1[0]], connections);
        let others = figures.load + upstream;
        print("the same, stdio", connections, &Row(figures, others), row, None);
    }
    through_gateway("gateway, HTTP", &upstream.http(), Era::Modern, &base, Some(upstream.process.id()));
    through_gateway("gateway, stdio", &upstream.stdio(), Era::Modern, &base, None);
    through_gateway("gateway, sessions", &upstream.stdio(), Era::Legacy, &base, None);
    base
}

/// Processor time for each call of a run, in microseconds.
fn each(spent: Duration, figures: &Figures) -> f64 {
    spent.as_secs_f64() * 1e6 / figures.calls
}

/// Measures another gateway, if it is installed.
fn peer(name: &str, words: &[&str], port: &str, base: &[Row]) {
    let started =
        Command::new(words[0]).args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut peer) = started else {
        println!("{name} is not installed");
        return;
    };
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "{name} does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    for (base, connections) in base.iter().zip(CONNECTIONS) {
        let before = processor_time(peer.id());
        let figures = measure(address, Era::Legacy, connections);
        let cost = each(processor_time(peer.id()).saturating_sub(before), &figures);
        let others = figures.load;
        print(name, connections, &Row(figures, others), base, Some(cost));
    }
    println!("{name}: {} after the calls", Memory::of(peer.id()));
    end(&mut peer);
}

/// A port that nobody has now.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").port().to_string()
}

/// What a call costs with few and many upstreams in the catalog, and with few and many sessions.
fn scale() {
    let minimal = Upstream::minimal();
    let upstream = minimal.http();
    for upstreams in [1, 10, 100, 1000] {
        let more = (1..upstreams).map(|number| format!("[upstreams.u{number}]\n{upstream}\n"));
        let all = format!("prefix = \"always\"\n[upstreams.echo]\n{upstream}\n{}", more.collect::<String>());
        let gateway = Gateway::start(&all);
        let cost = cost(&gateway, "echo_echo");
        println!("{upstreams:>6} upstreams: {cost:.1} µs a call, {}", gateway.memory());
        gateway.end();
    }
    for sessions in [1, 100, 10_000] {
        let gateway = Gateway::start(&format!("[upstreams.echo]\n{upstream}\nsharing = \"shared\"\n"));
        runtime().block_on(async {
            let mut client = Client::connect(gateway.address).await;
            for _ in 0..sessions {
                client.begin().await;
            }
        });
        let cost = cost(&gateway, "echo");
        println!("{sessions:>6} sessions: {cost:.1} µs a call, {}", gateway.memory());
        gateway.end();
    }
}

/// The gateway's processor time a call, in microseconds, with 16 connections.
fn cost(gateway: &Gateway, tool: &'static str) -> f64 {
    let before = gateway.time();
    let figures = measure_tool(&gateway.address.into(), Era::Modern, (16, RUN), tool);
    each(gateway.time().saturating_sub(before), &figures)
}

/// Measures a gateway with this upstream, which is its child unless a process is named.
fn through_gateway(name: &str, upstream: &str, era: Era, base: &[Row], process: Option<u32>) {
    let gateway = Gateway::start(&format!("[upstreams.echo]\n{upstream}"));
    let of_upstream = || process.map_or_else(|| gateway.time_of_children(), processor_time);
    println!("{name}: {} at its start", gateway.memory());
    for (base, connections) in base.iter().zip(CONNECTIONS) {
        let before = (gateway.time(), of_upstream());
        let figures = measure(gateway.address, era, connections);
        let after = (gateway.time(), of_upstream());
        let cost = each(after.0.saturating_sub(before.0), &figures);
        let others = figures.load + each(after.1.saturating_sub(before.1), &figures);
        print(name, connections, &Row(figures, others), base, Some(cost));
    }
    println!("{name}: {} after the calls", gateway.memory());
    gateway.end();
}

/// Prints one line of figures. The bound is the ratio that no gateway of this cost can exceed where all share the processors
/// and these are never idle: the processor time of a call without it over that of a call through it.
fn print(name: &str, connections: usize, row: &Row, base: &Row, cost: Option<f64>) {
    let Row(Figures { rate, median, high, .. }, others) = row;
    let bound = base.1 / (base.1 + cost.unwrap_or(0.0));
    let cost = cost.map_or(String::new(), |cost| format!("{cost:.0}"));
    println!(
        "{name:<18}{connections:>6}{rate:>10.0}{:>7.2}{bound:>7.2}{:>8}{:>8}{cost:>15}{others:>9.0}",
        rate / base.0.rate,
        median.as_micros(),
        high.as_micros()
    );
}
