//! Restarts, upgrades and SIGKILL of the service under constant load: with the descriptor store no connection is refused,
//! only what is in flight when the process is killed can fail, and an upgrade loses no session either.
//!
//! The clients are threads of the test that have entered the machine's network namespace.

use std::fs::File;
use std::net::SocketAddr;
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

/// Open event streams, and sessions that are looked after, where they go on.
const STREAMS: u64 = 10;

/// Does something again and again under load, from within the machine's network; `lasting` says whether sessions outlive it.
fn under_load(machine: &Machine, lasting: bool, act: impl Fn(&str) + Sync) -> Report {
    let leader =
        std::fs::read_to_string(machine.handle().join("leader")).expect("the testbed notes its leader");
    let leader = leader.split(' ').next().expect("a number");
    let network = File::open(format!("/proc/{leader}/ns/net")).expect("the machine runs");
    let address: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
    let load = || async {
        let stateless = [Kind::Plain, Kind::Stateless];
        let kinds: &[Kind] =
            if lasting { &[Kind::Plain, Kind::Stateless, Kind::Session] } else { &stateless };
        let mut load = Load::start(address, CLIENTS, kinds);
        let mut sessions = Vec::new();
        for _ in (0..STREAMS).filter(|_| lasting) {
            sessions.push(Session::begin(address).await.expect("a session"));
        }
        load.follow(address, if lasting { STREAMS } else { 0 }).await;
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
    machine.ok(&["/root/mcpeg", "install", "--yes"]);
    machine.ok(&["mkdir", "-p", "/etc/systemd/system/mcpeg.service.d"]);
    machine.write("/etc/systemd/system/mcpeg.service.d/often.conf", DROP_IN);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", "mcpeg"]);
    let upgrades = under_load(&machine, true, |_| drop(machine.ok(&["mcpeg", "--restart"])));
    println!(
        "{suite}: {TIMES} upgrades: {} of {} requests failed, {} streams ended",
        upgrades.failed(),
        upgrades.total(),
        upgrades.ended
    );
    // A legacy session ends with its process, and is begun again by the client; requests that stand alone go on.
    let restarts = under_load(&machine, false, |_| drop(machine.ok(&["systemctl", "restart", "mcpeg"])));
    println!("{suite}: {TIMES} restarts: {} of {} requests failed", restarts.failed(), restarts.total());
    let kills = under_load(&machine, false, |pid| drop(machine.ok(&["kill", "-KILL", pid])));
    println!(
        "{suite}: {TIMES} kills: {} of {} refused, {} cut in flight, {} wrong",
        kills.refused,
        kills.total(),
        kills.cut,
        kills.wrong
    );
    assert_eq!(upgrades.failed(), 0, "{upgrades:?}");
    assert_eq!(restarts.failed(), 0, "{restarts:?}");
    assert_eq!((kills.refused, kills.wrong), (0, 0), "{kills:?}");
    assert!(kills.cut <= (CLIENTS * TIMES) as u64, "more than were in flight: {kills:?}");
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
