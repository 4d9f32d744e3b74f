//! A new process that fails at any step and in any way: what the old one has afterwards is its own again, and live.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::Signal;

use super::bad::{Replaceable, failing};
use super::children::runtime;
use crate::client::Client;
use crate::support::daemon::{Site, lives, send, until};

/// The steps at which a new process fails.
const STAGES: [&str; 6] = ["hello", "take", "prepared", "ready", "owned", "confirm"];
/// How it fails: it dies, sleeps, is suspended, or says why it cannot serve.
const WAYS: [&str; 4] = ["no", "yes", "stop", "fail"];

/// Begins a session.
fn session(site: &Site) {
    let address = site.status()["listeners"][0].as_str().unwrap().to_owned();
    runtime().block_on(async { drop(Client::legacy(&address, "/mcp").await) });
}

/// Everything that must be so after an upgrade that has failed, up to a kill and a new start.
fn check(stage: &str, way: &str) {
    let (site, what) = (Site::new(), format!("{stage} {way}"));
    let socket = site.path("mcp.sock");
    let config = |level| {
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n[log]\nlevel = \"{level}\"\n",
            socket.display()
        )
    };
    site.write("mcpeg.toml", config("info"));
    let gateway = Replaceable::of(site);
    let file = inode(&socket);
    session(&gateway.site);
    let script = failing(include_str!("../../fixtures/successor.py"), stage, way);
    let finished = gateway.upgrade_to(&script, ["yes", "stop"].contains(&way));
    assert_ne!(finished.code, Some(0), "{what}: {finished:?}");
    gateway.serves_on(&what);
    assert_eq!(inode(&socket), file, "{what}");
    drop(UnixStream::connect(&socket).unwrap_or_else(|error| panic!("{what}: {error}")));
    // It still owns its configuration, and what it notes of sessions reaches the file that the next start reads.
    let site = &gateway.site;
    site.write("mcpeg.toml", config("debug"));
    let reloaded = site.run(&["--reload"]);
    assert_eq!(reloaded.code, Some(0), "{what}: {reloaded:?}");
    assert!(reloaded.stdout.contains("log level: debug"), "{what}: {reloaded:?}");
    session(site);
    assert_eq!(site.status()["sessions"], 2, "{what}");
    send(gateway.pid, Signal::SIGKILL);
    until("the gateway is gone", || !lives(gateway.pid));
    site.daemon();
    assert_eq!(site.status()["sessions"], 2, "{what}: sessions were lost");
}

/// The file that is there.
fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

#[test]
fn whatever_way_a_new_process_fails_at_any_step_the_survivor_has_all_that_it_had() {
    // Each waits for a time-out of its own.
    std::thread::scope(|scope| {
        for stage in STAGES {
            for way in WAYS {
                scope.spawn(move || check(stage, way));
            }
        }
    });
}

#[test]
fn new_process_that_stands_still_before_it_has_read_all_sessions_is_ended_and_clients_go_on() {
    let gateway = Replaceable::new();
    let (address, runtime) = (gateway.site.address().to_string(), runtime());
    // More than a socket holds.
    let capabilities = format!(r#"{{"experimental":{{"x":{{"y":"{}"}}}}}}"#, "y".repeat(40 << 10));
    let sessions: Vec<_> =
        (0..12).map(|_| runtime.block_on(Client::legacy_with(&address, "/mcp", &capabilities))).collect();
    let script = failing(include_str!("../../fixtures/successor.py"), "prepared", "stop");
    let finished = gateway.upgrade_to(&script, true);
    assert_eq!(finished.code, Some(71), "{finished:?}");
    assert!(finished.stderr.contains("did not serve within"), "{finished:?}");
    gateway.serves_on("sessions");
    let answer = runtime.block_on(sessions[0].request("1", "ping", "", "{}"));
    assert_eq!(answer.result(), "{}");
}
