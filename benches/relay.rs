//! Calls through the gateway beside calls to the same upstream without it, in one run.
//!
//! `cargo bench --bench relay` starts the release binary with a minimal upstream (this program again, with an argument)
//! over HTTP and over stdio, and drives each with 1, 16 and 64 connections that call one tool as fast as they are
//! answered. It prints calls a second, latency, and the processor time of a call: the gateway's, and that of everybody
//! else. The ratio to the upstream alone is what can be compared between machines; see benches/README.md.
//!
//! `mcp-proxy` and `supergateway`, where they are installed, are driven in the same run, and the gateway once more as they
//! are: in legacy sessions, over stdio.
//!
//! `-- small` measures what else a gateway takes: the time until the first answer, memory when idle and with 200 sessions,
//! instructions a call. `-- scale` measures what a call costs with 1 and 1,000 upstreams in the catalog, and with 1 and
//! 10,000 sessions open.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "the processes that are measured are started here")]

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "relay/load.rs"]
mod load;
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
        _ => compare(),
    }
}

/// An upstream over HTTP that runs.
fn upstream_http() -> (Child, SocketAddr) {
    let own = std::env::current_exe().expect("this program has a path");
    let mut child =
        Command::new(&own).arg("upstream-http").stdout(Stdio::piped()).spawn().expect("the upstream");
    let address = first_line(&mut child).parse().expect("the upstream prints its address");
    (child, address)
}

/// The configuration of an upstream over HTTP.
fn http(address: SocketAddr) -> String {
    format!("url = \"http://{address}/mcp\"")
}

/// The configuration of an upstream over stdio.
fn stdio() -> String {
    let own = std::env::current_exe().expect("this program has a path");
    format!("command = \"{}\"\nargs = [\"upstream-stdio\"]", own.display())
}

/// Everything but calls a second.
fn small() {
    let (mut upstream, address) = upstream_http();
    let rows = [("gateway, HTTP", http(address)), ("gateway, stdio", stdio())];
    for measure in [small::start, small::memory, small::instructions] {
        for (name, upstream) in &rows {
            measure(name, upstream);
        }
    }
    end(&mut upstream);
}

/// Measures the upstream alone, then the gateway before it.
fn compare() {
    let (mut alone, address) = upstream_http();
    let base: Vec<Row> = CONNECTIONS
        .iter()
        .map(|connections| {
            let before = processor_time(alone.id());
            let figures = measure(address, Era::Modern, *connections);
            let upstream = each(processor_time(alone.id()).saturating_sub(before), &figures);
            let others = figures.load + upstream;
            Row(figures, others)
        })
        .collect();
    println!(
        "{:<18}{:>6}{:>10}{:>7}{:>7}{:>8}{:>8}{:>15}{:>9}",
        "", "conns", "calls/s", "ratio", "bound", "p50 µs", "p99 µs", "CPU µs: gateway", "others"
    );
    for (row, connections) in base.iter().zip(CONNECTIONS) {
        print("upstream alone", connections, row, row, None);
    }
    through_gateway("gateway, HTTP", &http(address), Era::Modern, &base, Some(alone.id()));
    end(&mut alone);
    through_gateway("gateway, stdio", &stdio(), Era::Modern, &base, None);
    through_gateway("gateway, sessions", &stdio(), Era::Legacy, &base, None);
    let own = std::env::current_exe().expect("this program has a path").display().to_string();
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
}

/// Processor time for each call of a run, in microseconds.
fn each(spent: Duration, figures: &Figures) -> f64 {
    spent.as_secs_f64() * 1e6 / (figures.rate * RUN.as_secs_f64())
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
    let (mut alone, address) = upstream_http();
    let upstream = http(address);
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
    end(&mut alone);
}

/// The gateway's processor time a call, in microseconds, with 16 connections.
fn cost(gateway: &Gateway, tool: &'static str) -> f64 {
    let before = gateway.time();
    let figures = measure_tool(gateway.address, Era::Modern, 16, tool);
    each(gateway.time().saturating_sub(before), &figures)
}

/// Measures a gateway with this upstream, which is its child unless a process is named.
fn through_gateway(name: &str, upstream: &str, era: Era, base: &[Row], process: Option<u32>) {
    let gateway = Gateway::start(&format!("[upstreams.echo]\n{upstream}"));
    let of_upstream = || process.map_or_else(|| gateway.time_of_children(), processor_time);
    println!("{name}: {} when idle", gateway.memory());
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
