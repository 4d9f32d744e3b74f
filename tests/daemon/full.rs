//! A disk that is full for a while: what is remembered of sessions, and the log, come back by themselves.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

use crate::client::{Client, LEGACY, post};
use crate::disk::Small;
use crate::support::daemon::{Site, lives, send, until};

/// The log on that disk, which is small, too.
const LOG: &str = "rotate_size = \"never\"\nfsync = \"never\"\n";

/// Begins a session of a client that says this much about itself; its identifier.
async fn begin(address: SocketAddr, bytes: usize) -> String {
    let name = "x".repeat(bytes);
    let hello = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{{"name":"{name}","version":"1"}}}}}}"#
    );
    let answer = post(&address.to_string(), "/mcp", &[], &hello).await;
    assert!(answer.status.is_success(), "{answer:?}");
    answer.headers["mcp-session-id"].to_str().unwrap().to_owned()
}

/// Whether a session is known.
async fn knows(address: SocketAddr, session: &str) -> bool {
    let ping = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
    let headers = [("mcp-session-id", session), ("mcp-protocol-version", LEGACY)];
    post(&address.to_string(), "/mcp", &headers, ping).await.status.is_success()
}

#[test]
#[ignore = "needs root for mount(2)"]
fn sessions_are_remembered_again_when_a_full_disk_has_room_without_a_restart() {
    let site = Site::new();
    let disk = Small::mount(site.path(""), 256 << 10);
    let log = site.path("mcpeg.log");
    let config = format!("[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nfile = {log:?}\n{LOG}");
    site.write("mcpeg.toml", config);
    let runtime = Runtime::new().unwrap();
    let pid = site.daemon();
    let address = site.address();
    let mut sessions = vec![runtime.block_on(begin(address, 10))];
    let remembered = || fs::read_to_string(site.path("mcpeg.sessions")).unwrap_or_default();
    let has = |session: &String| remembered().lines().any(|line| line.starts_with(&format!("+{session} ")));
    until("the first one is remembered", || has(&sessions[0]));
    for round in 0..2 {
        let ballast = disk.fill();
        // More than what is left of the last page.
        for _ in 0..4 {
            sessions.push(runtime.block_on(begin(address, 5_000)));
        }
        assert!(!has(sessions.last().unwrap()), "round {round}: the disk is not full");
        // The gateway serves, whatever it can write.
        assert_eq!(site.status()["state"], "running");
        assert!(runtime.block_on(knows(address, sessions.last().unwrap())));
        // What it tries again meanwhile finds no room either.
        std::thread::sleep(Duration::from_secs(6));
        assert!(!has(sessions.last().unwrap()), "round {round}: the disk is not full");
        fs::remove_file(ballast).unwrap();
        until("all are remembered again", || sessions.iter().all(has));
        sessions.push(runtime.block_on(begin(address, 10)));
        until("and those that begin then", || has(sessions.last().unwrap()));
        until("that is told in the log, which goes on too", || {
            let told = fs::read_to_string(&log).unwrap_or_default();
            told.matches("sessions are saved again").count() > round
        });
    }
    assert_eq!(site.pid(), pid, "it is the same process");
    send(pid, Signal::SIGKILL);
    until("it is gone", || !lives(pid));
    site.daemon();
    let address = site.address();
    for session in &sessions {
        assert!(runtime.block_on(knows(address, session)), "{session}");
    }
    let client = runtime.block_on(Client::legacy(&address.to_string(), "/mcp"));
    assert!(runtime.block_on(client.tools()).iter().all(|tool| !tool.is_empty()));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    drop(disk);
}
