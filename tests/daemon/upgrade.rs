//! A new process takes the gateway's place: nothing is lost, and a bad one changes nothing.

mod load;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::support::daemon::{DEADLINE, Finished, Held, MCPEG, Site, finish, lives, send, suspend, until};

use load::{Load, Session};

/// The pid after an upgrade that must succeed.
fn upgrade(site: &Site) -> i32 {
    let before = site.pid();
    let finished = site.run(&["--restart"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let after = site.pid();
    assert_eq!(finished.stdout, format!("mcpeg is serving with pid {after}, was {before}\n"));
    assert_ne!(before, after);
    after
}

#[test]
fn twenty_upgrades_under_load_lose_no_request_and_no_session() {
    let site = Site::new();
    site.daemon();
    let address = site.address();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (answered, failed) = runtime.block_on(async {
        let mut sessions = Vec::new();
        for _ in 0..10 {
            sessions.push(Session::begin(address).await.unwrap());
        }
        let load = Load::start(address, 32);
        for _ in 0..20 {
            load.go_on(8).await;
            tokio::task::block_in_place(|| upgrade(&site));
            for session in &sessions {
                assert_eq!(session.answers().await.unwrap(), 200);
            }
        }
        load.go_on(32).await;
        load.end().await
    });
    let failures = failed.len();
    writeln!(std::io::stderr(), "20 upgrades: {failures} of {} requests failed", answered + failures as u64)
        .unwrap();
    assert_eq!(failed, [""; 0], "of {answered}");
    assert_eq!(site.status()["sessions"], 10 + 16);
    until("only one generation is left", || site.gateways() == [site.pid()]);
}

#[test]
fn request_in_flight_finishes_in_the_old_process() {
    let site = Site::new();
    let old = site.daemon();
    let held = Held::start(site.address());
    let new = upgrade(&site);
    assert!(lives(old) && lives(new));
    let answer = held.complete();
    assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("\r\n\r\n"), "{answer}");
    until("the old process ends", || !lives(old));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    assert!(!site.pid_file().exists() && !site.path("mcpeg.sock").exists());
}

#[test]
fn user2_upgrades_and_the_old_process_exits_0() {
    let site = Site::new();
    let child = site.foreground();
    let old = child.id().cast_signed();
    send(old, Signal::SIGUSR2);
    until("another pid is in the pid file", || site.pid() != old);
    // The new process has the same standard error, so that it must end before all of it is there.
    until("the old process ends", || !lives(old));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    let finished = finish(child);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stderr.contains("a new process has taken over"), "{finished:?}");
    assert!(finished.stderr.contains("serving in place of the process before"), "{finished:?}");
}

#[test]
fn restart_of_a_stopped_gateway_starts_it() {
    let site = Site::new();
    let finished = site.run(&["--restart"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.starts_with("mcpeg is serving on http://"), "{finished:?}");
    assert!(lives(site.pid()));
}

#[test]
fn restart_of_a_suspended_gateway_says_how_it_goes_on() {
    let site = Site::new();
    let pid = site.daemon();
    suspend(pid);
    let finished = site.run(&["--restart"]);
    assert_eq!(finished.code, Some(75), "{finished:?}");
    assert!(finished.stderr.contains(&format!("kill -CONT {pid}")), "{finished:?}");
}

#[test]
fn lock_is_never_free_during_upgrades() {
    let site = Site::new();
    site.daemon();
    let over = std::sync::atomic::AtomicBool::new(false);
    let lock = fs::File::open(site.path("mcpeg.lock")).unwrap();
    let tries = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut tries = 0_u64;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(lock.try_lock_shared().is_err(), "the lock was free after {tries} tries");
                tries += 1;
            }
            tries
        });
        for _ in 0..5 {
            upgrade(&site);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        looking.join().unwrap()
    });
    assert!(tries > 100, "{tries}");
}

#[test]
fn unix_listener_moves_with_its_file_and_the_last_process_removes_it() {
    let site = Site::new();
    let socket = site.path("mcp.sock");
    site.write("mcpeg.toml", format!("[server]\nlisten = [\"unix:{}\"]\n", socket.display()));
    let old = site.daemon();
    let before = fs::metadata(&socket).unwrap().ino();
    upgrade(&site);
    until("the old process ends", || !lives(old));
    assert_eq!(fs::metadata(&socket).unwrap().ino(), before);
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    let mut left: Vec<_> =
        fs::read_dir(site.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["mcpeg.lock", "mcpeg.toml"]);
}

#[test]
fn new_configuration_is_served_after_an_upgrade() {
    let site = Site::new();
    site.daemon();
    let address = site.address();
    let socket = site.path("added.sock");
    site.write("mcpeg.toml", format!("[server]\nlisten = [\"{address}\", \"unix:{}\"]\n", socket.display()));
    upgrade(&site);
    let expected = serde_json::json!([address.to_string(), format!("unix:{}", socket.display())]);
    assert_eq!(site.status()["listeners"], expected);
}

#[test]
fn manager_is_told_of_the_new_main_process_and_never_of_a_stop() {
    let site = Site::new();
    let socket = UnixDatagram::bind(site.path("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let message = || crate::notify::message(&socket);
    let mut mcpeg = site.mcpeg(&[]);
    mcpeg.env("NOTIFY_SOCKET", site.path("notify")).env("WATCHDOG_USEC", "60000000");
    let child = mcpeg.spawn().unwrap();
    assert!(message().starts_with("READY=1"));
    let restart = site.mcpeg(&["--restart"]).spawn().unwrap();
    let named = message();
    let new = site.pid();
    assert_eq!(named, format!("MAINPID={new}\nWATCHDOG=1"), "old pid {}", child.id());
    // Reading the message closes the descriptor that came with it, which confirms.
    assert_eq!(message(), "BARRIER=1");
    assert_eq!(finish(restart).code, Some(0));
    let next = message();
    assert!(next.starts_with("STATUS=serving on "), "{next}");
    until("the old process ends", || !lives(child.id().cast_signed()));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    assert!(message().starts_with("STOPPING=1"), "the new process is heard");
    assert_eq!(finish(child).code, Some(0));
}

/// A site whose gateway runs from an executable of its own, which tests replace.
struct Replaceable {
    /// The site.
    site: Site,
    /// The executable.
    program: PathBuf,
    /// The gateway.
    pid: i32,
}

impl Replaceable {
    /// Starts the gateway.
    fn new() -> Self {
        let site = Site::new();
        let program = site.path("program");
        fs::copy(MCPEG, &program).unwrap();
        let started = finish(site.shell("exec \"$PWD/program\" --daemon").spawn().unwrap());
        assert_eq!(started.code, Some(0), "{started:?}");
        let pid = site.pid();
        Self { site, program, pid }
    }

    /// Puts a script in the executable's place and asks for an upgrade.
    fn upgrade_to(&self, script: &str) -> Finished {
        fs::remove_file(&self.program).unwrap();
        self.site.write("program", script);
        fs::set_permissions(&self.program, fs::Permissions::from_mode(0o755)).unwrap();
        self.site.run(&["--restart", "--start-timeout", "2s"])
    }

    /// Asserts that the old process serves as if nothing had happened.
    fn serves_on(&self, what: &str) {
        let status = self.site.status();
        assert_eq!((&status["pid"], &status["state"]), (&self.pid.into(), &"running".into()), "{what}");
        assert_eq!(self.site.pid(), self.pid, "{what}");
        assert_eq!(self.site.record().unwrap()["pid"], self.pid, "{what}");
        assert!(std::net::TcpStream::connect(self.site.address()).is_ok(), "{what}");
        assert!(!self.site.path("mcpeg.sock~").exists(), "{what}");
    }
}

#[test]
fn bad_new_programs_are_reported_and_the_old_process_serves_on() {
    let gateway = Replaceable::new();
    for (script, code, text) in [
        ("#!/bin/sh\necho out of order >&2\nexit 3\n", 70, "ended before it served: out of order"),
        ("#!/bin/sh\nexec sleep 600\n", 71, "did not serve within 2 s"),
        ("#!/bin/sh\nsleep 600 & wait\n", 71, "did not serve within 2 s"),
        ("#!/nonexistent/interpreter\n", 71, "cannot execute"),
        (
            "#!/bin/sh\necho '{\"message\":\"hello\",\"protocol\":99,\"pid\":1,\"version\":\"9\"}' >&0\nexec sleep 600\n",
            71,
            "does not speak version 1",
        ),
        ("#!/bin/sh\necho what >&0\nexec sleep 600\n", 71, "does not speak version 1"),
        // Says hello, takes everything, and goes.
        (
            "#!/bin/sh\necho '{\"message\":\"hello\",\"protocol\":1,\"pid\":1,\"version\":\"1\"}' >&0\nread x\nexit 0\n",
            70,
            "ended before it served",
        ),
    ] {
        let finished = gateway.upgrade_to(script);
        assert_eq!(finished.code, Some(code), "{script}: {finished:?}");
        assert!(finished.stderr.contains(text), "{script}: {finished:?}");
        gateway.serves_on(script);
    }
    fs::remove_file(&gateway.program).unwrap();
    let finished = gateway.site.run(&["--restart"]);
    assert_eq!(finished.code, Some(71), "{finished:?}");
    assert!(finished.stderr.contains("cannot execute"), "{finished:?}");
    gateway.serves_on("missing");
    fs::copy(MCPEG, &gateway.program).unwrap();
    upgrade(&gateway.site);
}

#[test]
fn wrong_configuration_is_reported_with_its_place_and_the_old_process_serves_on() {
    let site = Site::new();
    let pid = site.daemon();
    site.write("mcpeg.toml", "[server]\nlissten = []\n");
    let finished = site.run(&["--restart"]);
    assert_eq!(finished.code, Some(78), "{finished:?}");
    assert!(finished.stderr.contains("mcpeg.toml:2:1"), "{finished:?}");
    assert_eq!((site.pid(), site.status()["pid"].as_i64()), (pid, Some(pid.into())));
    site.write("mcpeg.toml", "[server]\nlisten = [\"127.0.0.1:0\"]\n");
    upgrade(&site);
}
