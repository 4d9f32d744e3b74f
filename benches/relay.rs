//! Calls through the gateway beside calls to the same upstream without it, in one run.
//!
//! `cargo bench --bench relay` starts the release binary with a minimal upstream (this program again, with an argument)
//! over HTTP and over stdio, and drives each with 1, 16 and 64 connections that call one tool as fast as they are
//! answered. It prints calls a second, latency, the gateway's processor time a call and its memory. The ratio to the
//! upstream alone is what can be compared between machines; see benches/README.md.
//!
//! `mcp-proxy` and `supergateway`, where they are installed, are driven in the same run, and the gateway once more as they
//! are: in legacy sessions, over stdio.
//!
//! `cargo bench --bench relay -- scale` measures what a call costs with 1 and 1,000 upstreams in the catalog, and with 1 and
//! 10,000 sessions open.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "the processes that are measured are started here")]

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long each figure is measured.
const RUN: Duration = Duration::from_secs(4);
/// Numbers of connections.
const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// The call that is made.
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

/// The same call in a session.
const SESSION_CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}"#;
/// What begins a session.
const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
/// What follows it.
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// How calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Era {
    /// In a session for each connection.
    Legacy,
    /// Each by itself.
    Modern,
}

/// What a run has measured.
struct Figures {
    /// Calls a second.
    rate: f64,
    /// Median latency.
    median: Duration,
    /// 99th percentile.
    high: Duration,
}

fn main() {
    let argument = std::env::args().nth(1);
    match argument.as_deref() {
        Some("upstream-stdio") => upstream_stdio(),
        Some("upstream-http") => runtime().block_on(upstream_http()),
        Some("scale") => scale(),
        _ => compare(),
    }
}

/// Measures the upstream alone, then the gateway before it.
fn compare() {
    let own = std::env::current_exe().expect("this program has a path");
    let mut alone =
        Command::new(&own).arg("upstream-http").stdout(Stdio::piped()).spawn().expect("the upstream");
    let address = first_line(&mut alone).parse::<SocketAddr>().expect("the upstream prints its address");
    let base: Vec<Figures> =
        CONNECTIONS.iter().map(|connections| measure(address, Era::Modern, *connections)).collect();
    println!(
        "{:<18}{:>6}{:>12}{:>9}{:>11}{:>11}{:>14}",
        "", "conns", "calls/s", "ratio", "p50 µs", "p99 µs", "CPU µs/call"
    );
    for (figures, connections) in base.iter().zip(CONNECTIONS) {
        row("upstream alone", connections, figures, 1.0, None);
    }
    let http = format!("url = \"http://{address}/mcp\"");
    let stdio = format!("command = \"{}\"\nargs = [\"upstream-stdio\"]", own.display());
    for (name, upstream) in [("gateway, HTTP", http), ("gateway, stdio", stdio)] {
        through_gateway(name, &upstream, Era::Modern, &base);
    }
    end(&mut alone);
    let stdio = format!("command = \"{}\"\nargs = [\"upstream-stdio\"]", own.display());
    through_gateway("gateway, sessions", &stdio, Era::Legacy, &base);
    let upstream = format!("{} upstream-stdio", own.display());
    let (port, dash) = (free_port(), "--");
    let words = ["mcp-proxy", "--port", &port, dash, &own.display().to_string(), "upstream-stdio"];
    peer("mcp-proxy", &words, &port, &base);
    let port = free_port();
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

/// Measures another gateway, if it is installed.
fn peer(name: &str, words: &[&str], port: &str, base: &[Figures]) {
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
        let spent = processor_time(peer.id()).saturating_sub(before);
        let cost = spent.as_secs_f64() * 1e6 / (figures.rate * RUN.as_secs_f64());
        row(name, connections, &figures, figures.rate / base.rate, Some(cost));
    }
    println!("{name}: {} KiB resident after the calls", resident(peer.id()));
    end(&mut peer);
}

/// A port that nobody has now.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").port().to_string()
}

/// What a call costs with few and many upstreams in the catalog, and with few and many sessions.
fn scale() {
    let own = std::env::current_exe().expect("this program has a path");
    let mut alone =
        Command::new(&own).arg("upstream-http").stdout(Stdio::piped()).spawn().expect("the upstream");
    let upstream = format!("url = \"http://{}/mcp\"", first_line(&mut alone));
    for upstreams in [1, 10, 100, 1000] {
        let more = (1..upstreams).map(|number| format!("[upstreams.u{number}]\n{upstream}\n"));
        let all = format!("prefix = \"always\"\n[upstreams.echo]\n{upstream}\n{}", more.collect::<String>());
        let (mut gateway, address, _scratch) = gateway(&all);
        let cost = cost(&gateway, address, "echo_echo");
        println!("{upstreams:>6} upstreams: {cost:.1} µs a call, {} KiB", resident(gateway.id()));
        end(&mut gateway);
    }
    for sessions in [1, 100, 10_000] {
        let (mut gateway, address, _scratch) =
            gateway(&format!("[upstreams.echo]\n{upstream}\nsharing = \"shared\"\n"));
        runtime().block_on(async {
            let mut sender = connect(address).await;
            for _ in 0..sessions {
                begin(&mut sender).await;
            }
        });
        let cost = cost(&gateway, address, "echo");
        println!("{sessions:>6} sessions: {cost:.1} µs a call, {} KiB", resident(gateway.id()));
        end(&mut gateway);
    }
    end(&mut alone);
}

/// The gateway's processor time a call, in microseconds, with 16 connections.
fn cost(gateway: &Child, address: SocketAddr, tool: &'static str) -> f64 {
    let before = processor_time(gateway.id());
    let figures = measure_tool(address, Era::Modern, 16, tool);
    let spent = processor_time(gateway.id()).saturating_sub(before);
    spent.as_secs_f64() * 1e6 / (figures.rate * RUN.as_secs_f64())
}

/// Starts a gateway with this rest of `[server]` and these upstreams.
fn gateway(configuration: &str) -> (Child, SocketAddr, tempfile::TempDir) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let file = scratch.path().join("mcpeg.toml");
    let text = format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{configuration}\n");
    std::fs::write(&file, text).expect("the scratch directory can be written");
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_mcpeg"))
        .arg("--config")
        .arg(&file)
        .arg("--pid-file")
        .arg(scratch.path().join("mcpeg.pid"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the gateway starts");
    let address = announced(&mut gateway);
    (gateway, address, scratch)
}

/// Measures a gateway with this upstream.
fn through_gateway(name: &str, upstream: &str, era: Era, base: &[Figures]) {
    let (mut gateway, address, _scratch) = gateway(&format!("[upstreams.echo]\n{upstream}"));
    println!("{name}: {} KiB resident when idle", resident(gateway.id()));
    for (base, connections) in base.iter().zip(CONNECTIONS) {
        let before = processor_time(gateway.id());
        let figures = measure(address, era, connections);
        let spent = processor_time(gateway.id()).saturating_sub(before);
        let cost = spent.as_secs_f64() * 1e6 / (figures.rate * RUN.as_secs_f64());
        row(name, connections, &figures, figures.rate / base.rate, Some(cost));
    }
    println!("{name}: {} KiB resident after the calls", resident(gateway.id()));
    end(&mut gateway);
}

/// Prints one line of figures.
fn row(name: &str, connections: usize, figures: &Figures, ratio: f64, cost: Option<f64>) {
    let Figures { rate, median, high } = figures;
    let cost = cost.map_or(String::new(), |cost| format!("{cost:.0}"));
    println!(
        "{name:<18}{connections:>6}{rate:>12.0}{ratio:>9.2}{:>11}{:>11}{cost:>14}",
        median.as_micros(),
        high.as_micros()
    );
}

/// Drives an endpoint with this many connections.
fn measure(address: SocketAddr, era: Era, connections: usize) -> Figures {
    measure_tool(address, era, connections, "echo")
}

/// The same for a tool of another name.
fn measure_tool(address: SocketAddr, era: Era, connections: usize, tool: &'static str) -> Figures {
    runtime().block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> =
            (0..connections).map(|_| tokio::spawn(drive(address, era, tool, Arc::clone(&stop)))).collect();
        tokio::time::sleep(RUN).await;
        stop.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.expect("a connection that does not fail"));
        }
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        let count = u32::try_from(times.len()).expect("fewer calls than that");
        Figures { rate: f64::from(count) / RUN.as_secs_f64(), median: at(50), high: at(99) }
    })
}

/// One connection: calls until told to stop; returns how long each call took.
async fn drive(address: SocketAddr, era: Era, tool: &'static str, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut sender = connect(address).await;
    let session = if era == Era::Legacy { Some(begin(&mut sender).await) } else { None };
    let body = Bytes::from(CALL.replace("\"echo\"", &format!("\"{tool}\"")));
    let legacy = Bytes::from_static(SESSION_CALL.as_bytes());
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        sender.ready().await.expect("a connection that goes on");
        let request = match &session {
            Some(session) => post().header("mcp-session-id", session).body(Full::new(legacy.clone())),
            None => post()
                .header("mcp-protocol-version", "2026-07-28")
                .header("mcp-method", "tools/call")
                .header("mcp-name", tool)
                .body(Full::new(body.clone())),
        };
        let request = request.expect("a valid request");
        let began = Instant::now();
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
        times.push(began.elapsed());
        assert!(body.windows(7).any(|part| part == b"\"hello\""), "{body:?}");
    }
    times
}

/// Connects.
async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("the endpoint listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("an HTTP endpoint");
    tokio::spawn(connection);
    sender
}

/// Begins a session and returns its identifier.
async fn begin(sender: &mut SendRequest<Full<Bytes>>) -> http::HeaderValue {
    let hello = post().body(Full::new(Bytes::from_static(HELLO.as_bytes()))).expect("a valid request");
    // The answer before this may have been read to its end a moment before the connection knows.
    sender.ready().await.expect("a connection that goes on");
    let response = sender.send_request(hello).await.expect("an answer");
    let session = response.headers().get("mcp-session-id").expect("a session").clone();
    response.into_body().collect().await.expect("a whole answer");
    let note = post().header("mcp-session-id", &session);
    let note = note.body(Full::new(Bytes::from_static(INITIALIZED.as_bytes()))).expect("a valid request");
    sender.ready().await.expect("a connection that goes on");
    let response = sender.send_request(note).await.expect("an answer");
    response.into_body().collect().await.expect("a whole answer");
    session
}

/// A request without its body.
fn post() -> http::request::Builder {
    Request::post("/mcp")
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
}

/// A runtime for the load or the upstream.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// The answer to one request of the gateway.
fn reply(line: &str) -> Option<String> {
    let request: serde_json::Value = serde_json::from_str(line).ok()?;
    let id = request.get("id")?;
    let result = match request["method"].as_str()? {
        "server/discover" => {
            r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}"#
        }
        "initialize" => {
            r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}"#
        }
        "tools/list" => {
            r#"{"resultType":"complete","tools":[{"name":"echo","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"private"}"#
        }
        "tools/call" => r#"{"resultType":"complete","content":[{"type":"text","text":"hello"}]}"#,
        _ => {
            return Some(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"no"}}}}"#
            ));
        }
    };
    Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}

/// A minimal stdio upstream.
fn upstream_stdio() {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if let Some(reply) = reply(&line)
            && writeln!(out, "{reply}").and_then(|()| out.flush()).is_err()
        {
            return;
        }
    }
}

/// A minimal HTTP upstream; prints its address first.
async fn upstream_http() {
    let answer = |body: String| async move {
        ([("content-type", "application/json")], reply(&body).unwrap_or_default())
    };
    let router = axum::Router::new().route("/mcp", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("a bound socket"));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

/// The first line that a child prints.
fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    std::io::BufReader::new(stdout).read_line(&mut line).expect("a line");
    line.trim().to_owned()
}

/// The address that the gateway's log announces; the rest of the log is read and dropped.
fn announced(child: &mut Child) -> SocketAddr {
    let stderr = child.stderr.take().expect("piped");
    let mut lines = std::io::BufReader::new(stderr).lines().map_while(Result::ok);
    let address = lines
        .find_map(|line| line.split_once("serving on http://")?.1.split_once('/')?.0.parse().ok())
        .expect("the gateway announces where it serves");
    std::thread::spawn(move || lines.for_each(drop));
    address
}

/// A process's resident memory in KiB (`proc_pid_status(5)` `VmRSS`).
fn resident(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process with memory");
    line.trim().trim_end_matches(" kB").to_owned()
}

/// A process's processor time (`proc_pid_stat(5)` fields 14 and 15, in ticks of 10 ms).
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Asks a process to stop and waits for it.
fn end(child: &mut Child) {
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    let _ = child.wait();
}
