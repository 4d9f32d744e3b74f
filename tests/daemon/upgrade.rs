//! A new process takes the gateway's place: nothing is lost, and a bad one changes nothing.

mod bad;
mod children;
mod lists;
mod order;
mod overlap;
mod owner;
mod rollback;
mod rounds;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use crate::support::daemon::{DEADLINE, Held, Site, finish, lives, send, suspend, until};

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
    assert!(finished.stderr.contains("serving in place of the former process"), "{finished:?}");
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
