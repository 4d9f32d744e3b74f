//! The life cycle in figures, beside nginx and `HAProxy` in the same run: start, stop, reload, memory, and what fails under
//! load.
//!
//! `cargo bench --bench lifecycle` serves `GET /health/live` by each of the three, every one from a scratch directory on a
//! free port, and drives them with the clients of the tests. What is not installed is left out, and said to be; see
//! benches/README.md.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "the processes that are measured are started here")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "lifecycle/service.rs"]
mod service;

use mcpeg_test::load::{Kind, Load, Session};
use mcpeg_test::{load, machine};

/// How often a time is measured; the median is printed.
const TIMES: usize = 11;
/// Clients at work during reloads and upgrades.
const CLIENTS: usize = 32;
/// Reloads and upgrades under load.
const RELOADS: usize = 50;
/// Upgrades under load.
const UPGRADES: usize = 50;
/// Requests in flight when a server is asked to stop.
const IN_FLIGHT: usize = 8;
/// How long the backend takes for each of these.
const SLOW: Duration = Duration::from_millis(400);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a server does between two changes under load.
const PAUSE: Duration = Duration::from_millis(150);

/// A program that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// This repository's.
    Mcpeg,
    /// nginx, with one worker, in the foreground.
    Nginx,
    /// `HAProxy` in master-worker mode.
    Haproxy,
}

/// A program in a scratch directory.
struct Server {
    /// Which.
    program: Program,
    /// Its directory.
    scratch: tempfile::TempDir,
    /// Where it serves.
    address: SocketAddr,
    /// Its first process.
    child: Child,
}

fn main() {
    let backend = Backend::start();
    println!("{:<44}{:>18}{:>18}{:>18}", "", "mcpeg", "nginx", "HAProxy");
    let programs = [Program::Mcpeg, Program::Nginx, Program::Haproxy];
    let present = programs.map(Program::is_present);
    let row = |label: &str, measure: &dyn Fn(Program) -> String| {
        let cells = programs
            .iter()
            .zip(present)
            .map(|(program, present)| if present { measure(*program) } else { "not there".to_owned() });
        let cells: Vec<String> = cells.collect();
        println!("{label:<44}{:>18}{:>18}{:>18}", cells[0], cells[1], cells[2]);
    };
    row("start to ready and a first answer, ms", &|program| median(|| start_to_ready(program, backend.port)));
    row("memory when idle, all processes, KiB", &|program| idle_memory(program, backend.port));
    row("TERM to exit when idle, ms", &|program| median(|| term_to_exit(program, backend.port)));
    let label = format!("TERM to exit with {IN_FLIGHT} in flight, ms");
    row(&label, &|program| millis(term_under_way(program, backend.port).0));
    let label = format!("… of which answered, of {IN_FLIGHT}");
    row(&label, &|program| term_under_way(program, backend.port).1.to_string());
    row("reload until it is in force, ms", &|program| median(|| reload_latency(program, backend.port)));
    for (what, times, change) in [
        ("reloads", RELOADS, Server::reload as fn(&mut Server)),
        ("upgrades", UPGRADES, Server::upgrade as fn(&mut Server)),
    ] {
        let label = format!("failed of requests, {times} {what}");
        row(&label, &|program| failed_under_load(program, backend.port, times, change));
    }
    if let Some(services) = service::Services::boot() {
        row("refused + cut of requests, 20 restarts", &|program| services.restarts(program));
        row("refused + cut of requests, 20 kill -9", &|program| services.kills(program));
    } else {
        println!("no restarts and kills under systemd: they need root, and Debian 12 or 13");
    }
    sessions_under_upgrades(backend.port);
}

/// A time in milliseconds.
fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

/// The median of several measurements.
fn median(measure: impl Fn() -> Duration) -> String {
    let mut times: Vec<Duration> = (0..TIMES).map(|_| measure()).collect();
    times.sort_unstable();
    millis(times[TIMES / 2])
}

/// From exec to the first answer.
fn start_to_ready(program: Program, backend: u16) -> Duration {
    let begun = Instant::now();
    let server = Server::start(program, backend);
    let time = begun.elapsed();
    drop(server);
    time
}

/// The memory of all processes, after one request.
fn idle_memory(program: Program, backend: u16) -> String {
    let server = Server::start(program, backend);
    server.family().into_iter().map(resident).sum::<u64>().to_string()
}

/// From TERM to the end, with nothing to do.
fn term_to_exit(program: Program, backend: u16) -> Duration {
    let mut server = Server::start(program, backend);
    let begun = Instant::now();
    server.signal(Signal::SIGTERM);
    server.child.wait().expect("a child of ours");
    begun.elapsed()
}

/// From TERM to the end with requests that wait for the backend, and how many of them were answered.
fn term_under_way(program: Program, backend: u16) -> (Duration, usize) {
    let mut server = Server::start(program, backend);
    let mut streams: Vec<TcpStream> = (0..IN_FLIGHT).map(|_| server.ask_slowly()).collect();
    // The backend has all of them before the signal is sent.
    std::thread::sleep(SLOW / 2);
    let begun = Instant::now();
    server.signal(Signal::SIGTERM);
    server.child.wait().expect("a child of ours");
    let time = begun.elapsed();
    let mut answered = 0;
    for stream in &mut streams {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answered += usize::from(answer.starts_with("HTTP/1.1 200 ") && answer.contains("slow"));
    }
    (time, answered)
}

/// How long a reload takes until the new configuration serves.
fn reload_latency(program: Program, backend: u16) -> Duration {
    let mut server = Server::start(program, backend);
    // A signal that comes too early is lost by some.
    std::thread::sleep(PAUSE);
    let begun = Instant::now();
    server.reload();
    begun.elapsed()
}

/// Failed and all requests while something is done again and again.
fn failed_under_load(program: Program, backend: u16, times: usize, change: fn(&mut Server)) -> String {
    let mut server = Server::start_with(program, backend, "daemon on");
    let report = runtime().block_on(async {
        let load = Load::start(server.address, CLIENTS, &[Kind::Plain]);
        for _ in 0..times {
            load.go_on(CLIENTS as u64).await;
            tokio::task::block_in_place(|| change(&mut server));
            tokio::time::sleep(PAUSE).await;
        }
        load.end().await
    });
    format!("{}/{}", report.failed(), report.total())
}

/// What only mcpeg has: sessions and open streams during upgrades.
fn sessions_under_upgrades(backend: u16) {
    let mut server = Server::start(Program::Mcpeg, backend);
    let (report, lost) = runtime().block_on(async {
        let kinds = [Kind::Plain, Kind::Session, Kind::Stateless];
        let mut load = Load::start(server.address, CLIENTS, &kinds);
        load.follow(server.address, 10).await;
        let session = Session::begin(server.address).await.expect("a session");
        let mut lost = 0;
        for _ in 0..UPGRADES {
            load.go_on(CLIENTS as u64).await;
            tokio::task::block_in_place(|| server.upgrade());
            lost += u32::from(session.answers().await.is_ok_and(|status| status != 200));
        }
        (load.end().await, lost)
    });
    println!(
        "mcpeg, {UPGRADES} upgrades with sessions and 10 streams: {} of {} requests failed, {lost} sessions lost, {} streams ended in order",
        report.failed(),
        report.total(),
        report.ended
    );
}

/// A runtime for the clients.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

impl Program {
    /// Its executable.
    const fn executable(self) -> &'static str {
        match self {
            Self::Mcpeg => env!("CARGO_BIN_EXE_mcpeg"),
            Self::Nginx => "/usr/sbin/nginx",
            Self::Haproxy => "/usr/sbin/haproxy",
        }
    }

    /// Whether it is installed.
    fn is_present(self) -> bool {
        Path::new(self.executable()).exists()
    }

    /// Its configuration.
    fn configuration(self, directory: &Path, address: SocketAddr, backend: u16) -> String {
        let directory = directory.display();
        match self {
            Self::Mcpeg => format!(
                "[server]\nlisten = [\"{address}\"]\n[upstreams.slow]\nurl = \"http://127.0.0.1:{backend}/mcp\"\n"
            ),
            Self::Nginx => format!(
                "worker_processes 1;\ndaemon off;\npid {directory}/nginx.pid;\nerror_log {directory}/error.log;\n\
                 events {{ worker_connections 1024; }}\nhttp {{ access_log off;\n\
                 client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;\n\
                 uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;\n\
                 server {{ listen {address}; location /health/live {{ return 200 \"live\"; }}\n\
                 location /slow {{ proxy_pass http://127.0.0.1:{backend}; }} }} }}\n"
            ),
            Self::Haproxy => format!(
                "global\n master-worker\n stats socket {directory}/sock expose-fd listeners\n\
                 defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n\
                 frontend f\n bind {address}\n http-request return status 200 content-type text/plain string live if {{ path /health/live }}\n\
                 default_backend b\nbackend b\n server s 127.0.0.1:{backend}\n"
            ),
        }
    }
}

impl Server {
    /// Starts it, and returns when it has answered.
    fn start(program: Program, backend: u16) -> Self {
        Self::start_with(program, backend, "daemon off")
    }

    /// Starts it with nginx's way to be a daemon or not: in the foreground it ignores the signal for an upgrade.
    fn start_with(program: Program, backend: u16, daemon: &str) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let file = scratch.path().join("configuration");
        let text = program.configuration(scratch.path(), address, backend).replace("daemon off", daemon);
        std::fs::write(&file, text).expect("a file");
        let mut command = Command::new(program.executable());
        match program {
            Program::Mcpeg => command.arg("--config").arg(&file).arg("--pid-file").arg(pid_file(&scratch)),
            Program::Nginx => command.arg("-c").arg(&file).arg("-p").arg(scratch.path()),
            Program::Haproxy => command.args(["-W", "-f"]).arg(&file),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the program starts");
        let server = Self { program, scratch, address, child };
        wait("the first answer", || server.is_live());
        // mcpeg answers a request of its own before it says that it is ready.
        wait("readiness", || program != Program::Mcpeg || pid_file(&server.scratch).exists());
        server
    }

    /// Whether it answers.
    fn is_live(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        let request = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        stream.write_all(request.as_bytes()).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }

    /// Asks for something that the backend is slow to answer.
    fn ask_slowly(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let request = match self.program {
            Program::Mcpeg => {
                let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow__slow","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
                format!(
                    "POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
                     Accept: application/json, text/event-stream\r\nMcp-Protocol-Version: 2026-07-28\r\n\
                     Mcp-Method: tools/call\r\nMcp-Name: slow__slow\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
            _ => "GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
        };
        stream.write_all(request.as_bytes()).expect("the server reads");
        stream
    }

    /// Has it read its configuration again, and waits until that is in force: mcpeg's own command returns then, of the
    /// others a new worker must be there.
    fn reload(&mut self) {
        let workers = self.family();
        let signal = match self.program {
            Program::Mcpeg => return self.mcpeg("--reload"),
            Program::Nginx => Signal::SIGHUP,
            Program::Haproxy => Signal::SIGUSR2,
        };
        let mut sent: Option<Instant> = None;
        wait(&format!("a new worker of {:?}", self.program), || {
            // `HAProxy` loses one that comes while it is still busy with the one before.
            if sent.is_none_or(|sent| sent.elapsed() > Duration::from_secs(1)) {
                self.signal(signal);
                sent = Some(Instant::now());
            }
            self.family().iter().any(|pid| !workers.contains(pid))
        });
    }

    /// Has a new process of its program take over; `HAProxy` does the same as for a reload.
    fn upgrade(&mut self) {
        match self.program {
            Program::Mcpeg => self.mcpeg("--restart"),
            Program::Haproxy => self.reload(),
            Program::Nginx => {
                let (file, old) = (self.scratch.path().join("nginx.pid"), self.main_process());
                kill(Pid::from_raw(old), Signal::SIGUSR2).expect("nginx runs");
                wait("a new master", || {
                    let new = std::fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse().ok());
                    new.is_some_and(|new: i32| new != old && children(new).len() == 1)
                });
                kill(Pid::from_raw(old), Signal::SIGQUIT).expect("nginx runs");
            }
        }
    }

    /// Runs one of mcpeg's actions.
    fn mcpeg(&self, action: &str) {
        let mut command = Command::new(self.program.executable());
        command.arg(action).arg("--pid-file").arg(pid_file(&self.scratch));
        let output = command.stdin(Stdio::null()).output().expect("mcpeg can be run");
        assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The process that is in charge now.
    fn main_process(&self) -> i32 {
        let file = match self.program {
            Program::Mcpeg => pid_file(&self.scratch),
            Program::Nginx => self.scratch.path().join("nginx.pid"),
            Program::Haproxy => return self.child.id().cast_signed(),
        };
        let number = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
        number.unwrap_or_else(|| self.child.id().cast_signed())
    }

    /// The process in charge and its children.
    fn family(&self) -> BTreeSet<i32> {
        let main = self.main_process();
        children(main).into_iter().chain([main]).collect()
    }

    /// Signals the process in charge.
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.main_process()), signal).expect("the server runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in self.family().into_iter().chain([self.child.id().cast_signed()]) {
            // Some have ended.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// mcpeg's pid file.
fn pid_file(scratch: &tempfile::TempDir) -> PathBuf {
    scratch.path().join("mcpeg.pid")
}

/// A process's children: `proc_pid_task(5)`.
fn children(pid: i32) -> BTreeSet<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A process's resident memory in KiB (`proc_pid_status(5)` `VmRSS`).
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// Waits until something holds.
fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// What is slow: an MCP server and a plain one at once, in threads of this program.
struct Backend {
    /// Its port.
    port: u16,
}

impl Backend {
    /// Starts it.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || converse(stream));
            }
        });
        Self { port }
    }
}

/// Answers requests of one connection, each after its body.
fn converse(mut stream: TcpStream) -> Option<()> {
    let mut input = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = input.windows(4).position(|part| part == b"\r\n\r\n") {
                break end + 4;
            }
            receive(&mut stream, &mut input)?;
        };
        let head = String::from_utf8_lossy(&input[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        while input.len() < end + length {
            receive(&mut stream, &mut input)?;
        }
        let body = String::from_utf8_lossy(&input[end..end + length]).into_owned();
        input.drain(..end + length);
        let (kind, body) = answer(&body);
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).ok()?;
    }
}

/// Reads more; `None` at the end.
fn receive(stream: &mut TcpStream, input: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
    input.extend_from_slice(&buffer[..length]);
    Some(())
}

/// The answer to an MCP request, or to a plain one; calls and plain ones are slow.
fn answer(body: &str) -> (&'static str, String) {
    let Ok(request) = serde_json::from_str::<serde_json::Value>(body) else {
        std::thread::sleep(SLOW);
        return ("text/plain", "slow".to_owned());
    };
    let result = match request["method"].as_str() {
        Some("server/discover") => {
            r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}"#
        }
        Some("tools/list") => {
            r#"{"resultType":"complete","tools":[{"name":"slow","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"private"}"#
        }
        Some("tools/call") => {
            std::thread::sleep(SLOW);
            r#"{"resultType":"complete","content":[{"type":"text","text":"slow"}]}"#
        }
        _ => {
            let error = r#"{"code":-32601,"message":"no"}"#;
            return (
                "application/json",
                format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, request["id"]),
            );
        }
    };
    ("application/json", format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, request["id"]))
}
