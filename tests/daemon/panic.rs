//! Panics and aborts: they are in the log, nothing serves on with what they left, and the next start works.
//!
//! The panic is a real one: strace(1) lets the kernel refuse random numbers, without which the standard library makes
//! no hash map and panics. A reload needs one in a new thread.

use nix::sys::signal::Signal;

use crate::support::daemon::{Held, Site, finish, lives, send, until};
use crate::support::fault::Fault;

/// Provokes a panic of a gateway, which has its reload refused.
fn provoke(site: &Site, pid: i32) -> Fault {
    let fault = Fault::inject(pid, "getrandom", "EIO");
    let reload = site.run(&["--reload"]);
    assert_ne!(reload.code, Some(0), "{reload:?}");
    fault
}

#[test]
#[ignore = "needs root: strace(1) attaches to the gateway"]
fn panic_of_a_task_is_logged_and_the_gateway_drains_and_exits_70() {
    let site = Site::new();
    let child = site.foreground();
    let pid = child.id().cast_signed();
    let held = Held::start(site.address());
    let fault = provoke(&site, pid);
    until("the gateway drains", || site.status()["state"] == "draining");
    let answer = held.complete();
    assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("\r\n\r\n"), "{answer}");
    let finished = finish(child);
    drop(fault);
    assert_eq!(finished.code, Some(70), "{finished:?}");
    assert!(finished.stderr.contains("failed to generate random data"), "{finished:?}");
    assert!(finished.stderr.contains("draining after a panic"), "{finished:?}");
    assert!(!site.pid_file().exists() && !site.path("mcpeg.sock").exists());
    site.daemon();
}

#[test]
#[ignore = "needs root: strace(1) attaches to the gateway"]
fn panic_of_a_daemon_is_in_its_log_file() {
    let site = Site::new();
    let log = site.path("log");
    site.write(
        "mcpeg.toml",
        format!("[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nfile = \"{}\"\n", log.display()),
    );
    let pid = site.daemon();
    let _fault = provoke(&site, pid);
    until("the gateway is gone", || !lives(pid));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(
        log.contains("failed to generate random data") && log.contains("draining after a panic"),
        "{log}"
    );
    assert_eq!(site.run(&["--status"]).code, Some(3));
}

#[test]
fn aborted_gateway_leaves_nothing_that_keeps_the_next_one_from_serving() {
    let site = Site::new();
    for signal in [Signal::SIGABRT, Signal::SIGILL, Signal::SIGKILL] {
        let pid = site.daemon();
        send(pid, signal);
        until("the gateway is gone", || !lives(pid));
        assert_eq!(site.run(&["--status"]).code, Some(1), "{signal}");
        let next = site.daemon();
        assert_eq!((site.status()["pid"].as_i64(), site.gateways()), (Some(next.into()), vec![next]));
        assert_eq!(site.run(&["--stop"]).code, Some(0));
    }
}
