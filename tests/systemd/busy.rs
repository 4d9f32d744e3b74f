//! Restarts, upgrades and SIGKILL of the service under constant load: with the descriptor store no connection is refused,
//! on TCP and Unix sockets alike, only what is in flight when the process is killed can fail, and no session is lost.
//!
//! The clients are threads of the test that have entered the machine's network namespace.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::install::machine_with_binary;
use crate::load::{Kind, Load, Report, Session};
use crate::machine::Machine;

/// Restarts and kills.
const TIMES: usize = 20;
/// Clients at work.
const CLIENTS: usize = 32;

/// Sets the unit up to be started again at once, and as often as the test wants.
const DROP_IN: &str = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=100ms\n";

/// Open event streams, and sessions that are looked after.
const STREAMS: u64 = 10;
/// The Unix listener, in the machine: below the run-time directory, which systemd makes and removes.
const SOCKET: &str = "/run/mcpeg/mcp.sock";

/// The first process of the machine.
fn leader(machine: &Machine) -> String {
    let leader = std::fs::read_to_string(machine.handle().join("leader"));
    leader.expect("the testbed notes its leader").split(' ').next().expect("a number").to_owned()
}

/// What became of connections to the Unix socket.
#[derive(Debug, Default)]
struct Local {
    /// Answered well.
    answered: u64,
    /// No connection.
    refused: u64,
    /// A connection without a whole answer.
    cut: u64,
}

impl Local {
    /// Asks over the Unix socket, each time with a connection of its own, until it is over.
    fn ask(machine: &Machine, over: &AtomicBool) -> Self {
        let socket = PathBuf::from(format!("/proc/{}/root{SOCKET}", leader(machine)));
        let mut counts = Self::default();
        while !over.load(Ordering::Relaxed) {
            match UnixStream::connect(&socket) {
                Ok(stream) => match is_answered(stream) {
                    Ok(true) => counts.answered += 1,
                    _ => counts.cut += 1,
                },
                Err(_) => counts.refused += 1,
            }
        }
        counts
    }
}

/// Whether a request is answered well.
fn is_answered(mut stream: UnixStream) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\n\r\n"))
}

/// Does something again and again under load, on both kinds of listeners.
fn under_load(machine: &Machine, act: impl Fn(&str) + Sync) -> (Report, Local) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let local = scope.spawn(|| Local::ask(machine, &over));
        let report = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| over_network(machine, act)));
        over.store(true, Ordering::Relaxed);
        let local = local.join().expect("the client ends");
        (report.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), local)
    })
}

/// The load from within the machine's network.
fn over_network(machine: &Machine, act: impl Fn(&str) + Sync) -> Report {
    let leader = leader(machine);
    let network = File::open(format!("/proc/{leader}/ns/net")).expect("the machine runs");
    let address: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
    let load = || async {
        let mut load = Load::start(address, CLIENTS, &[Kind::Plain, Kind::Stateless, Kind::Session]);
        let mut sessions = Vec::new();
        for _ in 0..STREAMS {
            sessions.push(Session::begin(address).await.expect("a session"));
        }
        load.follow(address, STREAMS).await;
        for _ in 0..TIMES {
            load.go_on(CLIENTS as u64).await;
            let before = main_process(machine);
            tokio::task::block_in_place(|| act(&before));
            machine.wait_for("another main process", Duration::from_secs(60), || {
                let after = main_process(machine);
                (after != before && after != "0").then_some(())
            });
            for session in &sessions {
                assert_eq!(session.answers().await.expect("an answer"), 200, "a session is lost");
            }
        }
        load.go_on(CLIENTS as u64).await;
        load.end().await
    };
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            // The runtime's threads are started by this one, and are where it is.
            setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter");
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(load())
        });
        client.join().expect("the load ends")
    })
}

/// The service's main process.
fn main_process(machine: &Machine) -> String {
    machine.ok(&["systemctl", "show", "--value", "--property=MainPID", "mcpeg"]).trim().to_owned()
}

/// The whole test on one machine.
#[expect(clippy::print_stdout, reason = "the counts are what the reader of a run wants to see")]
fn refuses_nothing(suite: &str) {
    let machine = machine_with_binary(suite);
    let unix = format!("unix:{SOCKET}");
    machine.ok(&["/root/mcpeg", "install", "--yes", "--listen", "127.0.0.1:8080", "--listen", &unix]);
    machine.ok(&["mkdir", "-p", "/etc/systemd/system/mcpeg.service.d"]);
    machine.write("/etc/systemd/system/mcpeg.service.d/often.conf", DROP_IN);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", "mcpeg"]);
    let tell = |what: &str, (report, local): &(Report, Local)| {
        println!(
            "{suite}: {TIMES} {what}: of {} requests {} refused, {} cut, {} wrong, {} streams ended; \
             over the Unix socket of {} {} refused, {} cut",
            report.total(),
            report.refused,
            report.cut,
            report.wrong,
            report.ended,
            local.answered + local.refused + local.cut,
            local.refused,
            local.cut
        );
    };
    let upgrades = under_load(&machine, |_| drop(machine.ok(&["mcpeg", "--restart"])));
    tell("upgrades", &upgrades);
    let restarts = under_load(&machine, |_| drop(machine.ok(&["systemctl", "restart", "mcpeg"])));
    tell("restarts", &restarts);
    let kills = under_load(&machine, |pid| drop(machine.ok(&["kill", "-KILL", pid])));
    tell("kills", &kills);
    for (report, local) in [&upgrades, &restarts] {
        assert_eq!((report.failed(), local.refused, local.cut), (0, 0, 0), "{report:?}, {local:?}");
    }
    let (report, local) = kills;
    assert_eq!((report.refused, report.wrong, local.refused), (0, 0, 0), "{report:?}, {local:?}");
    let in_flight = (CLIENTS as u64 + STREAMS) * TIMES as u64;
    assert!(
        report.cut <= in_flight && local.cut <= TIMES as u64,
        "more than were in flight: {report:?}, {local:?}"
    );
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn restarts_and_kills_refuse_no_connection_on_bookworm() {
    refuses_nothing("bookworm");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn restarts_and_kills_refuse_no_connection_on_trixie() {
    refuses_nothing("trixie");
}
