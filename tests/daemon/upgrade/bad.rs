//! Upgrades to programs that cannot serve, in every way there is: the old process serves on, and whoever asked hears why.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::daemon::{DEADLINE, Finished, Site, finish};
use crate::support::program::mcpeg;

/// A site whose gateway runs from an executable of its own, which tests replace.
pub(super) struct Replaceable {
    /// The site.
    pub(super) site: Site,
    /// The executable.
    program: PathBuf,
    /// The gateway.
    pub(super) pid: i32,
}

impl Replaceable {
    /// Starts the gateway.
    pub(super) fn new() -> Self {
        Self::of(Site::new())
    }

    /// Starts the gateway of a site.
    pub(super) fn of(site: Site) -> Self {
        let program = site.path("program");
        // Not by this process: a child that another test is about to start would have it open for writing.
        let started = r#"cp "$MCPEG" program && exec "$PWD/program" --daemon"#;
        let started = finish(site.shell(started).spawn().unwrap());
        assert_eq!(started.code, Some(0), "{started:?}");
        let pid = site.pid();
        Self { site, program, pid }
    }

    /// Puts a script in the executable's place and asks for an upgrade, within a time that only one that hangs needs.
    pub(super) fn upgrade_to(&self, script: &str, hangs: bool) -> Finished {
        self.replace(script);
        self.site.run(&["--restart", "--start-timeout", if hangs { "2s" } else { "1h" }])
    }

    /// Puts a script in the executable's place.
    pub(super) fn replace(&self, script: &str) {
        self.site.write("script", script);
        let put = "rm program && cp script program.new && chmod 755 program.new && mv program.new program";
        assert_eq!(finish(self.site.shell(put).spawn().unwrap()).code, Some(0));
    }

    /// Asserts that the old process serves as if nothing had happened.
    pub(super) fn serves_on(&self, what: &str) {
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
            "does not speak version 2",
        ),
        ("#!/bin/sh\necho what >&0\nexec sleep 600\n", 71, "does not speak version 2"),
        // Says hello, takes everything, and goes.
        (
            "#!/bin/sh\necho '{\"message\":\"hello\",\"protocol\":2,\"pid\":1,\"version\":\"1\"}' >&0\nread x\nexit 0\n",
            70,
            "ended before it served",
        ),
    ] {
        let finished = gateway.upgrade_to(script, text.contains("within"));
        assert_eq!(finished.code, Some(code), "{script}: {finished:?}");
        assert!(finished.stderr.contains(text), "{script}: {finished:?}");
        gateway.serves_on(script);
    }
    fs::remove_file(&gateway.program).unwrap();
    let finished = gateway.site.run(&["--restart"]);
    assert_eq!(finished.code, Some(71), "{finished:?}");
    assert!(finished.stderr.contains("cannot execute"), "{finished:?}");
    gateway.serves_on("missing");
    fs::copy(mcpeg(), &gateway.program).unwrap();
    super::upgrade(&gateway.site);
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
    super::upgrade(&site);
}

/// A new process that gets as far as this stage.
pub(super) fn successor(stage: &str, hangs: bool) -> String {
    let script = include_str!("../../fixtures/successor.py");
    failing(script, stage, if hangs { "yes" } else { "no" })
}

/// One that fails at this stage in one of the ways that the fixture knows.
pub(super) fn failing(script: &str, stage: &str, how: &str) -> String {
    script.replace("@STAGE@", stage).replace("@HANG@", how)
}

#[test]
fn new_process_that_crashes_at_any_stage_leaves_everything_to_the_old_one() {
    let gateway = Replaceable::new();
    for stage in ["start", "hello", "take", "prepared", "ready", "owned", "confirm"] {
        let finished = gateway.upgrade_to(&successor(stage, false), false);
        assert_eq!(finished.code, Some(70), "{stage}: {finished:?}");
        assert!(finished.stderr.contains("ended before it served"), "{stage}: {finished:?}");
        gateway.serves_on(stage);
    }
    fs::remove_file(&gateway.program).unwrap();
    fs::copy(mcpeg(), &gateway.program).unwrap();
    super::upgrade(&gateway.site);
}

#[test]
fn new_process_that_hangs_when_it_is_prepared_lets_connections_wait_and_is_ended() {
    let gateway = Replaceable::new();
    let address = gateway.site.address();
    let over = Arc::new(AtomicBool::new(false));
    let enough = Arc::clone(&over);
    let client = std::thread::spawn(move || {
        let mut answered = 0;
        while !enough.load(Ordering::Relaxed) {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream
                .write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "after {answered}: {answer}");
            answered += 1;
        }
        answered
    });
    for stage in ["take", "prepared"] {
        let finished = gateway.upgrade_to(&successor(stage, true), true);
        assert_eq!(finished.code, Some(71), "{stage}: {finished:?}");
        assert!(finished.stderr.contains("did not serve within"), "{stage}: {finished:?}");
        gateway.serves_on(stage);
    }
    over.store(true, Ordering::Relaxed);
    assert!(client.join().unwrap() > 2, "nobody has asked");
}
