//! `--status`: LSB exit codes, and an answer in every case.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::{Site, lives, send, suspend, until};

#[test]
fn exit_codes_are_those_of_the_lsb() {
    let site = Site::new();
    let status = |code| {
        let words = site.run(&["--status"]);
        let json = site.run(&["--status", "--json"]);
        assert_eq!((words.code, json.code), (Some(code), Some(code)), "{words:?}");
        let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(value["schema"], 1);
        assert!(words.stdout.contains(value["state"].as_str().unwrap()), "{words:?}");
        value["state"].clone()
    };
    assert_eq!(status(3), "stopped");
    let pid = site.daemon();
    assert_eq!(status(0), "running");
    send(pid, Signal::SIGKILL);
    until("the killed gateway is gone", || !lives(pid));
    assert_eq!(status(1), "dead");
    fs::remove_file(site.path("mcpeg.lock")).unwrap();
    fs::create_dir(site.path("mcpeg.lock")).unwrap();
    assert_eq!(status(4), "unknown");
}

#[test]
fn json_names_process_listeners_files_and_upstreams() {
    let site = Site::new();
    let pid = site.daemon();
    let status = site.status();
    assert_eq!(status["pid"], pid);
    assert_eq!(status["pid_file"], site.pid_file().to_str().unwrap());
    assert_eq!(status["config"], serde_json::json!([site.path("mcpeg.toml")]));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime_seconds"].is_u64() && status["sessions"].is_u64() && status["in_flight"].is_u64());
    assert!(status["upstreams"].is_array());
    let table = site.run(&["--status"]).stdout;
    assert!(table.contains(&format!("pid         {pid}")), "{table}");
    assert!(table.contains(&format!("listening   {}", site.address())), "{table}");
}

#[test]
fn without_control_socket_the_status_is_degraded_and_says_so() {
    let site = Site::new();
    let pid = site.daemon();
    fs::remove_file(site.path("mcpeg.sock")).unwrap();
    let status = site.run(&["--status"]);
    assert_eq!(status.code, Some(0));
    assert!(status.stdout.contains("degraded") && status.stdout.contains(&pid.to_string()), "{status:?}");
}

#[test]
fn suspended_gateway_does_not_hang_the_status() {
    let site = Site::new();
    let pid = site.daemon();
    suspend(pid);
    let start = Instant::now();
    let status = site.run(&["--status", "--json"]);
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    assert_eq!(status.code, Some(0));
    assert!(status.stdout.contains("suspended"), "{status:?}");
    send(pid, Signal::SIGCONT);
    assert_eq!(site.status()["degraded"], serde_json::Value::Null);
}
