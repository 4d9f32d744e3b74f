//! Floods that take minutes, each beside a quiet run: others are answered as fast as before, and memory stays within its budget.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::flood::{
    REQUEST, answer, as_fast_as, config, connect, flood, limited, others, resident, stop, ticks,
};
use crate::support::daemon::{Site, until};
use crate::support::upstreams::probe;

/// The budget of memory, in KiB.
const BUDGET: u64 = 256 << 10;
/// Requests that were refused because their client has sent too many.
static LIMITED: AtomicUsize = AtomicUsize::new(0);

/// A POST with these lines in its head.
fn post(lines: &str, body: &str) -> Vec<u8> {
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Accept: application/json, text/event-stream\r\n";
    format!("{head}{lines}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// `initialize` of a client whose name has so many bytes.
fn initialize(bytes: usize) -> Vec<u8> {
    let name = "x".repeat(bytes);
    post(
        "",
        &format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"{name}","version":"1"}}}}}}"#
        ),
    )
}

/// A call in the modern era.
fn call(tool: &str, arguments: &str) -> Vec<u8> {
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let lines = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n");
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{meta},"name":"{tool}","arguments":{arguments}}}}}"#
    );
    post(&lines, &body)
}

/// Heads that come to no end.
fn slow_heads(address: SocketAddr) -> Vec<TcpStream> {
    flood(address, b"POST /mcp HT", 2000, true)
}

/// Bodies that come to no end.
fn slow_bodies(address: SocketAddr) -> Vec<TcpStream> {
    let whole = initialize(15 << 20);
    flood(address, &whole[..(96 << 10)], 1000, true)
}

/// Connections that had one answer and say nothing more.
fn idle(address: SocketAddr) -> Vec<TcpStream> {
    flood(address, REQUEST, 10_000, true)
}

/// Answers of 16 MiB that nobody reads.
fn unread(address: SocketAddr) -> Vec<TcpStream> {
    let call = call("echo", &format!(r#"{{"pad":"{}"}}"#, "x".repeat(7 << 20)));
    flood(address, &call, 40, true)
}

/// Clients that say much about themselves.
fn client_info(address: SocketAddr) -> Vec<TcpStream> {
    flood(address, &initialize(15 << 20), 60, false)
}

/// Sessions, each with a call that hangs.
fn pinned(address: SocketAddr) -> Vec<TcpStream> {
    let begin = |_| {
        let mut stream = connect(address, &initialize(1));
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        let id = answer.lines().find_map(|line| line.strip_prefix("mcp-session-id: "))?.to_owned();
        let lines = format!("Mcp-Session-Id: {id}\r\nMCP-Protocol-Version: 2025-11-25\r\n");
        let body = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"sleep","arguments":{"ms":60000}}}"#;
        stream.write_all(&post(&lines, body)).ok()?;
        Some(stream)
    };
    (0..300).filter_map(begin).collect()
}

/// One client at a hundred times its rate, over few connections.
fn hasty(address: SocketAddr) -> Vec<TcpStream> {
    let request = call("pids", "{}");
    let hurry = || {
        let mut stream = connect(address, b"");
        for _ in 0..250 {
            stream.write_all(&request).unwrap();
            let mut answer = [0; 4096];
            let length = stream.read(&mut answer).unwrap();
            LIMITED.fetch_add(usize::from(answer[..length].starts_with(b"HTTP/1.1 429")), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(hurry);
        }
    });
    Vec::new()
}

/// A flood: its name, and what it does; the connections that it goes on to hold.
type Flood = (&'static str, fn(SocketAddr) -> Vec<TcpStream>);

/// Floods, and sees what others and the memory have of it.
#[expect(clippy::print_stderr, reason = "the figures are what the reader of a run wants to see")]
fn measure(site: &Site, pid: i32, still: SocketAddr, (name, flood): Flood) {
    let (address, before) = (site.address(), ticks(pid));
    let log = || std::fs::metadata(site.path("log")).unwrap().len();
    let written = log();
    let flooding = std::thread::spawn(move || flood(address));
    let coming = others(address);
    let streams = flooding.join().unwrap();
    let held = as_fast_as(still, address);
    let status = site.run(&["--status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let grown = log() - written;
    eprintln!(
        "{name}: p99 {coming:.1?} while it comes, {held:.1?} afterwards; {} KiB, of which {}; {} connections; \
         {grown} bytes of log; {} ticks",
        resident(pid),
        status["memory"],
        streams.len(),
        ticks(pid) - before
    );
    assert!(held.is_some(), "{name}: it takes others more than twice what it takes at a gateway without it");
    assert!(grown < 64 << 10, "{name}: {grown} bytes of log");
    // One message may be on its way over the limit, and what is counted is there in up to two copies.
    assert!(status["memory"]["held"].as_u64().unwrap() <= (BUDGET + (32 << 10)) << 10, "{name}: {status}");
    assert!(resident(pid) < 3 * BUDGET, "{name}: {} KiB", resident(pid));
    drop(streams);
    until("what it held is let go", || answer(address).starts_with("HTTP/1.1 200"));
}

#[test]
#[ignore = "needs minutes"]
#[expect(clippy::print_stderr, reason = "the figures are what the reader of a run wants to see")]
fn floods_of_a_release_only_leave_others_their_answers_and_memory_its_budget() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let server =
        "client_timeout = \"5s\"\nmemory = \"256MiB\"\nmax_connections = 11000\ndrain_timeout = \"1s\"";
    let site = Site::with_config(&config(&format!("{server}\n{}", probe("probe", &[]))));
    let child = limited(&site, 1024, 12_000, &[]);
    let pid = child.id().cast_signed();
    until("the upstream is ready", || site.run(&["--status", "--upstream", "probe"]).code == Some(0));
    let still = Site::with_config(&config(""));
    let beside = limited(&still, 1024, 12_000, &[]);
    eprintln!("quiet: p99 {:.1?}, {} KiB", others(still.address()), resident(pid));
    let floods: [Flood; 6] = [
        ("10,000 idle connections", idle),
        ("slow heads", slow_heads),
        ("slow bodies", slow_bodies),
        ("60 clients with 15 MiB of clientInfo", client_info),
        ("40 calls of 16 MiB that nobody reads", unread),
        ("sessions pinned by calls that hang", pinned),
    ];
    for flood in floods {
        measure(&site, pid, still.address(), flood);
    }
    site.write(
        "mcpeg.toml",
        config(&format!("{server}\nrate_per_client = \"1/s\"\n{}", probe("probe", &[]))),
    );
    assert_eq!(site.run(&["--reload"]).code, Some(0));
    measure(&site, pid, still.address(), ("one client far beyond its rate", hasty));
    let limited = LIMITED.load(Ordering::Relaxed);
    assert!((1800..2000).contains(&limited), "{limited} of 2000 are refused");
    stop(&site, child);
    stop(&still, beside);
}
