//! Floods of connections: whoever sends nothing, half of something or nonsense shuts nobody else out, costs little and
//! does not fill the log.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::notify::message;
use crate::support::daemon::{DEADLINE, Held, Site, finish, lives, send, until};

/// The client's preface of HTTP/2: RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// A HEADERS frame of stream 1 that says neither that it is the last nor that the stream ends: `:method: GET`.
const HALF_HEADERS: &[u8] = b"\0\0\x01\x01\0\0\0\0\x01\x82";
/// A whole request.
pub(crate) const REQUEST: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A configuration with further lines of `[server]`.
pub(crate) fn config(more: &str) -> String {
    format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{more}\n")
}

/// A connection that has sent this.
pub(crate) fn connect(address: SocketAddr, sent: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(sent).unwrap();
    stream
}

/// Waits for the end of a connection: its end of file, or a reset.
fn ends(stream: &mut TcpStream, limit: Duration) -> bool {
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// The status line of an answer to a request over a connection of its own; empty without one.
pub(crate) fn answer(address: SocketAddr) -> String {
    let mut stream = connect(address, REQUEST);
    let mut buffer = [0; 32];
    let length = stream.read(&mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).lines().next().unwrap_or_default().to_owned()
}

/// Starts a gateway whose soft and hard limits on open files are these, with a log file.
pub(crate) fn limited(site: &Site, soft: u32, hard: u32, environment: &[(&str, &str)]) -> Child {
    let log = site.path("log");
    let script =
        format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec $MCPEG --log-file {}", log.display());
    let child = site.shell(&script).envs(environment.iter().copied()).spawn().unwrap();
    until("the gateway writes its pid file", || site.pid_file().exists());
    child
}

/// Ends a gateway in the foreground, and reads its log.
pub(crate) fn stop(site: &Site, child: Child) -> String {
    send(child.id().cast_signed(), Signal::SIGTERM);
    assert_eq!(finish(child).code, Some(0));
    fs::read_to_string(site.path("log")).unwrap()
}

/// A number of a process that proc(5) tells in this file.
fn limit_of(pid: i32, column: usize) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().nth(column).unwrap().parse().unwrap()
}

/// Processor time of a process in clock ticks: `proc_pid_stat(5)`, `utime` and `stime`.
pub(crate) fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[14 - 3].parse::<u64>().unwrap() + fields[15 - 3].parse::<u64>().unwrap()
}

#[test]
fn whatever_a_client_has_begun_with_it_is_let_go_when_it_goes_on_with_nothing() {
    let site = Site::with_config(&config("client_timeout = \"1s\""));
    site.daemon();
    let address = site.address();
    let beginnings = [
        b"".to_vec(),
        b"P".to_vec(),
        b"PR".to_vec(),
        b"PRI".to_vec(),
        PREFACE[..14].to_vec(),
        PREFACE[..23].to_vec(),
        PREFACE.to_vec(),
        [PREFACE, &SETTINGS[..5]].concat(),
        [PREFACE, SETTINGS].concat(),
        [PREFACE, SETTINGS, HALF_HEADERS].concat(),
        b"GET / HT".to_vec(),
        b"\x16\x03\x01".to_vec(),
        REQUEST.to_vec(),
        [REQUEST, REQUEST, b"GET"].concat(),
    ];
    let mut streams: Vec<_> = beginnings.iter().map(|sent| connect(address, sent)).collect();
    // Between the time-out and those of others: 30 s for a ping's answer, 60 s for a preface.
    let deadline = Instant::now() + Duration::from_secs(20);
    for (stream, sent) in streams.iter_mut().zip(&beginnings) {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        assert!(ends(stream, left), "{:?} holds a connection", String::from_utf8_lossy(sent));
    }
}

#[test]
fn half_of_a_preface_and_the_end_of_the_connection_are_noticed_at_once() {
    let site = Site::with_config(&config("client_timeout = \"10m\""));
    site.daemon();
    for sent in [&b"P"[..], b"PR", b"PRI", &PREFACE[..20], PREFACE] {
        let mut stream = connect(site.address(), sent);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(ends(&mut stream, DEADLINE), "{:?}", String::from_utf8_lossy(sent));
    }
}

#[test]
fn more_idle_connections_than_descriptors_shut_nobody_out() {
    let site = Site::with_config(&config(""));
    let socket = UnixDatagram::bind(site.path("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let notify = site.path("notify").display().to_string();
    let child = limited(&site, 256, 256, &[("NOTIFY_SOCKET", &notify), ("WATCHDOG_USEC", "400000")]);
    let pid = child.id().cast_signed();
    assert!(message(&socket).starts_with("READY=1"));
    let address = site.address();
    // Held to the end of the test, as an attacker would.
    let mut held = Vec::new();
    for sent in [b"".as_slice(), b"PRI", REQUEST, &[PREFACE, SETTINGS].concat(), b"GET"] {
        for _ in 0..120 {
            held.push(connect(address, sent));
        }
        assert!(answer(address).starts_with("HTTP/1.1 200"), "others are shut out");
        assert_eq!(site.run(&["--status"]).code, Some(0));
        let mut signs = 0;
        while signs < 2 {
            signs += u32::from(message(&socket) == "WATCHDOG=1");
        }
    }
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(descriptors <= 200, "{descriptors} of 256 descriptors are in use");
    let log = stop(&site, child);
    assert!(!log.contains("cannot reach ourselves") && !log.contains("cannot accept"), "{log}");
    assert!(log.lines().count() < 100, "{} records", log.lines().count());
}

#[test]
fn where_every_connection_is_in_use_a_new_one_is_refused_and_the_gateway_still_knows_that_it_lives() {
    let site = Site::with_config(&config("max_connections = 8"));
    let socket = UnixDatagram::bind(site.path("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let notify = site.path("notify").display().to_string();
    let child = limited(&site, 256, 256, &[("NOTIFY_SOCKET", &notify), ("WATCHDOG_USEC", "200000")]);
    assert!(message(&socket).starts_with("READY=1"));
    let address = site.address();
    let held: Vec<_> = (0..8).map(|_| Held::start(address)).collect();
    for _ in 0..20 {
        assert!(answer(address).starts_with("HTTP/1.1 503"), "it is told to come back later");
    }
    // Those that were sent before are still there to be read.
    let mut signs = 0;
    while signs < 8 {
        signs += u32::from(message(&socket) == "WATCHDOG=1");
    }
    for held in held {
        let answer = held.answer();
        assert!(answer.starts_with("HTTP/1.1 400"), "what is in flight is answered: {answer}");
    }
    until("there is room again", || answer(address).starts_with("HTTP/1.1 200"));
    let log = stop(&site, child);
    assert!(!log.contains("cannot reach ourselves"), "{log}");
}

#[test]
fn the_gateway_may_have_all_the_files_that_it_can_have_and_what_it_starts_as_many_as_before() {
    let site = Site::with_config("");
    let told = site.path("told");
    let upstream = format!(
        "[upstreams.shell]\ncommand = \"/bin/sh\"\nargs = [\"-c\", \"ulimit -Sn > {0}.new; mv {0}.new {0}; cat\"]\n",
        told.display()
    );
    site.write("mcpeg.toml", config("") + &upstream);
    let child = limited(&site, 300, 4000, &[]);
    let pid = child.id().cast_signed();
    until("the server tells", || told.exists());
    assert_eq!((limit_of(pid, 0), limit_of(pid, 1)), (4000, 4000));
    assert_eq!(fs::read_to_string(&told).unwrap().trim(), "300", "select(2) cannot do more than 1024");
    // The next process and its children are as this one and its.
    fs::remove_file(&told).unwrap();
    assert_eq!(site.run(&["--restart"]).code, Some(0));
    let next = site.pid();
    assert_ne!(next, pid);
    assert_eq!(limit_of(next, 0), 4000);
    send(next, Signal::SIGTERM);
    until("it ends", || !lives(next));
    drop(finish(child));
}

#[test]
fn half_a_preface_costs_no_more_than_silence() {
    /// Connections of each kind.
    const MANY: usize = 400;
    let site = Site::with_config(&config("client_timeout = \"2s\""));
    let pid = site.daemon();
    let address = site.address();
    let cost = |sent: &[u8]| {
        let before = ticks(pid);
        let mut streams: Vec<_> = (0..MANY).map(|_| connect(address, sent)).collect();
        assert!(streams.iter_mut().all(|stream| ends(stream, DEADLINE)));
        ticks(pid) - before
    };
    let (silence, half) = (cost(b""), cost(b"PR"));
    // The slack is a tenth of a second, in clock ticks.
    assert!(half <= silence * 3 + 10, "{half} ticks, beside {silence} for silence");
}

#[test]
fn bad_requests_are_logged_at_a_limited_rate_and_the_rest_is_counted() {
    /// Requests of each kind.
    const MANY: usize = 400;
    let site = Site::with_config(&config(""));
    let child = limited(&site, 256, 256, &[]);
    let address = site.address();
    let bad = [
        "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
        "nonsense\r\n\r\n",
    ];
    let quiet = fs::metadata(site.path("log")).unwrap().len();
    for request in bad {
        for _ in 0..MANY {
            let mut stream = connect(address, request.as_bytes());
            assert!(stream.read(&mut [0; 64]).unwrap() > 0, "it is answered");
        }
    }
    let read = || fs::read_to_string(site.path("log")).unwrap();
    let counted = |log: &str| -> u64 {
        let number = |line: &str| {
            let (_, rest) = line.split_once("left_out")?;
            let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
            digits.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        let left: u64 = log.lines().filter_map(number).sum();
        left + log.lines().filter(|line| line.contains("a request is refused")).count() as u64
    };
    // The three kinds that are worth a warning.
    until("each of them is in the log or counted there", || counted(&read()) >= 3 * MANY as u64);
    assert_eq!(counted(&read()), 3 * MANY as u64, "{}", read());
    let grown = fs::metadata(site.path("log")).unwrap().len() - quiet;
    assert!(grown < 32 << 10, "{grown} bytes for {} bad requests", 5 * MANY);
    stop(&site, child);
}

#[test]
fn listener_that_a_reload_removes_cuts_what_is_left_at_the_deadline_and_counts_it() {
    let site = Site::new();
    let unix = format!("unix:{}", site.path("extra.sock").display());
    let listen = |listeners: &[&str]| {
        site.write("mcpeg.toml", format!("[server]\nlisten = {listeners:?}\ndrain_timeout = \"1s\"\n"));
    };
    listen(&["127.0.0.1:0", &unix]);
    let child = limited(&site, 256, 256, &[]);
    let address = site.address();
    let (held, mut half) = (Held::start(address), connect(address, b"GET / HT"));
    let mut preface = connect(address, PREFACE);
    let mut stays = UnixStream::connect(site.path("extra.sock")).unwrap();
    listen(&[&unix]);
    assert_eq!(site.run(&["--reload"]).code, Some(0));
    let answer = held.given_up();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("drain_timeout"), "{answer}");
    assert!(ends(&mut half, DEADLINE) && ends(&mut preface, DEADLINE));
    stays.write_all(REQUEST).unwrap();
    assert!(stays.read(&mut [0; 64]).unwrap() > 0, "the other listener's are not touched");
    let log = stop(&site, child);
    let drained = log.lines().find(|line| line.contains("a listener that was removed is drained"));
    assert!(drained.is_some_and(|line| line.contains("\"connections_cut\":1")), "{log}");
}

/// How long the slowest of a hundred requests of another client took, each over a connection of its own; all are answered.
pub(crate) fn others(address: SocketAddr) -> Duration {
    let mut took: Vec<_> = (0..300)
        .map(|_| {
            let begun = Instant::now();
            assert!(answer(address).starts_with("HTTP/1.1 200"), "others are shut out");
            begun.elapsed()
        })
        .collect();
    took.sort();
    took[took.len() * 99 / 100]
}

/// How long others took ([`others`]) at a gateway, once it was at most twice what it took at a still one directly before; a machine
/// that has more to do for a moment slows down both, but what a gateway holds costs others each time.
pub(crate) fn as_fast_as(still: SocketAddr, address: SocketAddr) -> Option<Duration> {
    let mut tries = (0..20).map(|_| (others(still), others(address)));
    tries.find(|(still, took)| *took <= *still * 2).map(|(_, took)| took)
}

/// The same while as many connections come to another program, which reads once from each: what is the machine's part.
fn beside_a_sink(address: SocketAddr, sent: &[u8], count: usize) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let sink = std::thread::spawn(move || {
        let take = |_| {
            let mut stream = listener.accept().unwrap().0;
            let _ = stream.read(&mut [0; 64]);
            stream
        };
        (0..count).map(take).collect::<Vec<_>>()
    });
    let sent = sent.to_vec();
    let flooding = std::thread::spawn(move || flood(at, &sent, count, true));
    let took = others(address);
    drop((flooding.join().unwrap(), sink.join().unwrap()));
    took
}

/// Resident memory of a process in KiB: `proc_pid_status(5)`.
pub(crate) fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Opens so many connections that send this; returns those that are held, the others are dropped when they are answered.
pub(crate) fn flood(address: SocketAddr, sent: &[u8], count: usize, held: bool) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.set_read_timeout(Some(DEADLINE));
        // Whoever is let go while it still sends is no failure.
        let answered =
            stream.write_all(sent).and_then(|()| if held { Ok(0) } else { stream.read(&mut [0; 64]) });
        if held && answered.is_ok() {
            streams.push(stream);
        }
    }
    streams
}

/// A flood: its name, what each of its connections sends, how many there are, and whether they are held.
type Flood = (&'static str, Vec<u8>, usize, bool);

#[test]
#[ignore = "needs up to a minute"]
#[expect(clippy::print_stderr, reason = "the figures are what the reader of a run wants to see")]
fn floods_cost_little_and_others_are_answered_meanwhile() {
    let site = Site::with_config(&config("client_timeout = \"5s\""));
    let child = limited(&site, 1024, 8192, &[]);
    let (pid, address) = (child.id().cast_signed(), site.address());
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"{}"}}}}}}"#,
        "x".repeat(15 << 20)
    );
    let post = |body: &str| {
        let head =
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let small = body.replace(&"x".repeat(15 << 20), "x");
    let floods: [Flood; 7] = [
        ("PRI and silence", b"PRI".to_vec(), 2000, true),
        ("PR and silence", b"PR".to_vec(), 5000, true),
        ("idle HTTP/2", [PREFACE, SETTINGS].concat(), 2000, true),
        ("idle HTTP/1.1", REQUEST.to_vec(), 2000, true),
        ("15 MiB of clientInfo", post(&body), 10, false),
        ("bad Host", b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec(), 5000, false),
        ("initialize", post(&small), 5000, false),
    ];
    let log = || fs::metadata(site.path("log")).unwrap().len();
    let still = Site::with_config(&config(""));
    let beside = limited(&still, 1024, 8192, &[]);
    eprintln!("quiet: p99 {:.1?}, {} KiB", others(address), resident(pid));
    for (name, sent, count, held) in &floods {
        let machine = held.then(|| beside_a_sink(address, sent, *count));
        let (before, written) = (ticks(pid), log());
        let flooding = std::thread::spawn({
            let (sent, count, held) = (sent.clone(), *count, *held);
            move || flood(address, &sent, count, held)
        });
        let coming = others(address);
        let streams = flooding.join().unwrap();
        let held = as_fast_as(still.address(), address);
        assert_eq!(site.run(&["--status"]).code, Some(0), "{name}");
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let grown = log() - written;
        eprintln!(
            "{name}: p99 {coming:.1?} while it comes ({machine:.1?} where it comes to a sink), {held:.1?} afterwards; {} KiB; \
             {descriptors} descriptors; {grown} bytes of log; {} ticks",
            resident(pid),
            ticks(pid) - before
        );
        assert!(
            held.is_some(),
            "{name}: it takes others more than twice what it takes at a gateway without it"
        );
        assert!(descriptors < 8192 - 512, "{name}: {descriptors} descriptors");
        assert!(grown < 64 << 10, "{name}: {grown} bytes of log");
        assert!(resident(pid) < 512 << 10, "{name}: {} KiB", resident(pid));
        drop(streams);
    }
    stop(&site, child);
    stop(&still, beside);
}

#[test]
fn http2_client_that_reads_no_answer_is_let_go_while_it_answers_pings() {
    let site = Site::with_config(&config("client_timeout = \"1s\""));
    site.daemon();
    // A window of no bytes for each stream (SETTINGS_INITIAL_WINDOW_SIZE), and a request: `:method: GET`, `:scheme: http`,
    // `:path: /health/live`, `:authority: localhost`, all without Huffman coding.
    let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
    let block = [b"\x82\x86\x04\x0c/health/live\x01\x09localhost".as_slice()].concat();
    let headers = [&[0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1], &block[..]].concat();
    let mut stream = connect(site.address(), &[PREFACE, settings, &headers].concat());
    assert!(ends(&mut stream, Duration::from_secs(20)), "an answer that is not read holds a connection");
}
