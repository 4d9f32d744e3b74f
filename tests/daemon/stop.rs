//! Stopping: work in flight finishes, impatience is possible, and `--stop` reports what became of it.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::daemon::{Held, Site, finish, lives, send, suspend, until};
use crate::support::fault::Fault;

#[test]
fn term_finishes_the_request_in_flight_and_exits_0() {
    let site = Site::new();
    let child = site.foreground();
    let held = Held::start(site.address());
    send(child.id().cast_signed(), Signal::SIGTERM);
    until("the gateway drains", || site.status()["state"] == "draining");
    let answer = held.complete();
    assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("\r\n\r\n"), "{answer}");
    assert_eq!(finish(child).code, Some(0));
    assert!(!site.pid_file().exists() && !site.path("mcpeg.sock").exists());
}

#[test]
fn second_signal_exits_at_once_with_its_number() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        // Longer than any step of a test may take: an end within that was no wait for the drain.
        let site = Site::with_config("[server]\nlisten = [\"127.0.0.1:0\"]\ndrain_timeout = \"1h\"\n");
        let child = site.foreground();
        let _held = Held::start(site.address());
        let pid = child.id().cast_signed();
        send(pid, signal);
        until("the gateway drains", || site.status()["state"] == "draining");
        send(pid, signal);
        assert_eq!(finish(child).code, Some(code), "{signal}");
        assert!(!site.pid_file().exists());
    }
}

#[test]
fn drain_timeout_cuts_what_does_not_finish() {
    let site = Site::with_config("[server]\nlisten = [\"127.0.0.1:0\"]\ndrain_timeout = \"300ms\"\n");
    let child = site.foreground();
    let _held = Held::start(site.address());
    send(child.id().cast_signed(), Signal::SIGTERM);
    let finished = finish(child);
    assert_eq!(finished.code, Some(0));
    assert!(finished.stderr.contains("cut connections"), "{finished:?}");
}

#[test]
fn signals_that_find_nothing_to_do_are_survived() {
    let site = Site::new();
    let console = fs::File::create(site.path("console")).unwrap();
    let child = site.mcpeg(&[]).stderr(console).spawn().unwrap();
    site.serves();
    for signal in [Signal::SIGUSR1, Signal::SIGPIPE] {
        send(child.id().cast_signed(), signal);
        assert_eq!(site.status()["state"], "running", "{signal}");
    }
    // Of signals that come at once the one that stops is heard first.
    let console = || fs::read_to_string(site.path("console")).unwrap();
    until("USR1 is answered", || console().contains("no log file to rotate"));
    send(child.id().cast_signed(), Signal::SIGINT);
    assert_eq!(finish(child).code, Some(0));
}

#[test]
fn stop_returns_after_the_process_has_ended_and_another_can_start() {
    let site = Site::new();
    let pid = site.daemon();
    let stopped = site.run(&["--stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(stopped.stdout.contains(&format!("pid {pid} has stopped")), "{stopped:?}");
    assert!(!lives(pid) && !site.pid_file().exists());
    site.daemon();
}

#[test]
fn stop_does_not_read_the_configuration() {
    let site = Site::new();
    let pid = site.daemon();
    site.write("mcpeg.toml", "this is no TOML");
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    assert!(!lives(pid));
}

#[test]
fn stop_of_a_stopped_gateway_succeeds() {
    let stopped = Site::new().run(&["--stop"]);
    assert_eq!((stopped.code, stopped.stdout.as_str()), (Some(0), "mcpeg is not running\n"));
}

#[test]
fn suspended_gateway_is_told_apart_and_stops_when_it_goes_on() {
    let site = Site::new();
    let pid = site.daemon();
    suspend(pid);
    let stopped = site.run(&["--stop"]);
    assert_eq!(stopped.code, Some(75), "{stopped:?}");
    assert!(stopped.stderr.contains(&format!("kill -CONT {pid}")), "{stopped:?}");
    send(pid, Signal::SIGCONT);
    until("the gateway is gone", || !lives(pid));
}

#[test]
#[ignore = "needs strace(1), which attaches to the gateway"]
fn traced_gateway_is_not_taken_for_a_suspended_one() {
    let site = Site::new();
    let pid = site.daemon();
    // At each of these calls, such as the one that hands a signal on, the tracer holds the process for a while.
    let slow = Fault::delay(pid, "sendto,write,recvfrom,rt_sigreturn", Duration::from_millis(100));
    let reloaded = site.run(&["--reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    let stopped = site.run(&["--stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    drop(slow);
    assert!(!lives(pid));
}

#[test]
#[ignore = "needs strace(1), which attaches to the gateway"]
fn gateway_that_is_busy_for_longer_than_a_status_may_take_reloads_and_rotates() {
    let site = Site::new();
    let log = format!("[log]\nfile = \"{}\"\n", site.path("log").display());
    site.write("mcpeg.toml", format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{log}"));
    let pid = site.daemon();
    let slow = Fault::delay(pid, "accept4", Duration::from_millis(2500));
    assert!(site.run(&["--status"]).stdout.contains("did not answer within"), "it is not that busy");
    let reloaded = site.run(&["--reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    let rotated = site.run(&["--log-rotate"]);
    assert!(rotated.stdout.starts_with("rotated: "), "{rotated:?}");
    drop(slow);
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}

#[test]
fn force_kills_a_gateway_that_does_not_end_and_nothing_else() {
    let site = Site::new();
    assert_eq!(site.run(&["--force"]).code, Some(64), "it belongs to --stop");
    let pid = site.daemon();
    suspend(pid);
    let stopped = site.run(&["--stop", "--force"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(
        stopped.stderr.contains(&format!("pid {pid} did not stop in time and was killed")),
        "{stopped:?}"
    );
    assert!(!lives(pid) && !site.pid_file().exists());
    site.daemon();
}
