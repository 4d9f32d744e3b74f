//! What the gateway takes beside calls a second: the time until it answers first, memory, and instructions a call.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::load::{Client, runtime};
use crate::process::{Gateway, command, end};

/// How often a start is timed.
const STARTS: usize = 31;
/// Sessions that are opened.
const SESSIONS: usize = 200;
/// A gateway is idle when it has served for so long and nobody has asked for anything.
const IDLE: Duration = Duration::from_secs(3);
/// How often a gateway that has just been started is tried.
const AGAIN: Duration = Duration::from_micros(100);
/// Calls whose instructions are counted: the difference is told, so that start and end do not count.
const COUNTED: [u32; 2] = [200, 1200];
/// What a valgrind says that does not know `pidfd_open(2)`, without which the gateway has no children: Debian 12's.
const NO_PIDFDS: &str = "syscall: 434";

/// The answer to `initialize` and to a call, from the start of a process that has neither socket nor upstream yet.
pub(crate) fn start(name: &str, upstream: &str) {
    let mut times: Vec<_> = (0..STARTS).map(|_| first_answers(upstream)).collect();
    let mut median = |answer: fn(&(Duration, Duration)) -> Duration| {
        times.sort_unstable_by_key(answer);
        (answer(&times[STARTS / 2]).as_secs_f64() * 1e3, answer(&times[STARTS - 1]).as_secs_f64() * 1e3)
    };
    let (initialize, call) = (median(|times| times.0), median(|times| times.1));
    println!(
        "{name}: from exec to the answer to `initialize` {:.1} ms, to a call {:.1} ms (medians of {STARTS}; at most {:.1} and {:.1})",
        initialize.0, call.0, initialize.1, call.1
    );
}

/// Starts a gateway; how long it took to answer `initialize`, and a call in that session.
fn first_answers(upstream: &str) -> (Duration, Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    drop(listener);
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut command =
        command(&[], scratch.path(), &address.to_string(), &format!("[upstreams.echo]\n{upstream}"));
    let began = Instant::now();
    let mut child = command.stderr(Stdio::null()).spawn().expect("the gateway starts");
    let mut stream = connect(address, began);
    let session = exchange(&mut stream, "", crate::load::HELLO);
    let initialized = began.elapsed();
    let (_, id) = session.split_once("mcp-session-id: ").expect("a session");
    let header = format!("Mcp-Session-Id: {}\r\n", id.lines().next().unwrap_or_default());
    exchange(&mut stream, &header, crate::load::INITIALIZED);
    let answer = exchange(&mut stream, &header, crate::load::SESSION_CALL);
    let called = began.elapsed();
    assert!(answer.contains("\"hello\""), "{answer}");
    drop(stream);
    end(&mut child);
    (initialized, called)
}

/// Connects as soon as somebody listens.
fn connect(address: SocketAddr, began: Instant) -> TcpStream {
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true).expect("a TCP socket");
                return stream;
            }
            Err(error) => assert!(began.elapsed() < Duration::from_secs(30), "nobody listens: {error}"),
        }
        std::thread::sleep(AGAIN);
    }
}

/// Posts one message; returns head and body of the answer.
fn exchange(stream: &mut TcpStream, header: &str, body: &str) -> String {
    let head = "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                Accept: application/json, text/event-stream\r\n";
    let request = format!("{head}{header}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).expect("the gateway reads");
    let (mut answer, mut part) = (String::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut part).expect("the gateway answers");
        assert_ne!(length, 0, "the gateway hung up after `{answer}`");
        answer.push_str(std::str::from_utf8(&part[..length]).expect("an answer in ASCII"));
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
                return answer;
            }
        }
    }
}

/// Memory when idle, and with many sessions, each with its event stream open and one call made.
pub(crate) fn memory(name: &str, upstream: &str) {
    let gateway = Gateway::start(&format!("[upstreams.echo]\n{upstream}\nsharing = \"shared\""));
    println!("{name}: {} at its start", gateway.memory());
    std::thread::sleep(IDLE);
    let idle = gateway.memory();
    println!("{name}: {idle} when idle");
    let address = gateway.address;
    runtime().block_on(async {
        let mut clients = Vec::new();
        for _ in 0..SESSIONS {
            let mut client = Client::connect(address).await;
            client.begin().await;
            let stream = client.listen(address).await;
            client.call("echo").await;
            clients.push((client, stream));
        }
        let full = gateway.memory();
        println!(
            "{name}: {full} with {SESSIONS} open sessions: {} KiB more",
            full.all.saturating_sub(idle.all)
        );
    });
    gateway.end();
}

/// Instructions a call, as callgrind counts them.
pub(crate) fn instructions(name: &str, upstream: &str) {
    let counts = COUNTED.map(|calls| counted(upstream, calls));
    match counts {
        [Some(few), Some(many)] => {
            let each = (many - few) / u64::from(COUNTED[1] - COUNTED[0]);
            println!("{name}: {each} instructions a call");
        }
        _ => println!(
            "{name}: instructions are not counted: that takes valgrind(1), for stdio one that knows pidfd_open(2)"
        ),
    }
}

/// Instructions of a gateway's life with so many calls; `None` without a valgrind that can run it.
fn counted(upstream: &str, calls: u32) -> Option<u64> {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let log = format!("--log-file={}/%p", scratch.path().display());
    let words = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", &log];
    std::process::Command::new(words[0]).arg("--version").stdout(Stdio::null()).spawn().ok()?.wait().ok()?;
    let gateway = Gateway::start_under(&words, &format!("[upstreams.echo]\n{upstream}"));
    let log = scratch.path().join(gateway.child.id().to_string());
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    if text().contains(NO_PIDFDS) {
        gateway.end();
        return None;
    }
    runtime().block_on(async {
        let mut client = Client::connect(gateway.address).await;
        for _ in 0..calls {
            client.call("echo").await;
        }
    });
    gateway.end();
    let text = text();
    let line = text.lines().rev().find_map(|line| line.split_once("Collected : "))?;
    line.1.trim().parse().ok()
}
