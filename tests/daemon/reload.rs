//! Reloading: what is in force afterwards, what is told, and that a configuration that is wrong changes nothing.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};

use nix::sys::signal::Signal;

use crate::support::daemon::{DEADLINE, Finished, Held, Site, finish, send, suspend, until};

/// A configuration with these listeners and further lines.
fn config(listen: &[&str], rest: &str) -> String {
    let listen: Vec<String> = listen.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[server]\nlisten = [{}]\n{rest}", listen.join(", "))
}

/// Reloads, and insists on success.
fn reload(site: &Site) -> Finished {
    let finished = site.run(&["--reload"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished
}

/// Sends bytes and reads the answer until the other side closes.
fn talk(mut stream: impl std::io::Read + std::io::Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks whether the gateway is live.
fn is_live(stream: impl std::io::Read + std::io::Write) -> bool {
    let request = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    talk(stream, request).starts_with("HTTP/1.1 200 ")
}

/// What must not change when a reload is refused.
fn in_force(site: &Site) -> (i32, serde_json::Value, serde_json::Value) {
    let status = site.status();
    assert!(is_live(TcpStream::connect(site.address()).unwrap()));
    (site.pid(), status["listeners"].clone(), status["upstreams"].clone())
}

#[test]
fn wrong_configuration_is_refused_with_its_place_and_the_old_one_serves_on() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let taken = config(&["127.0.0.1:0", &format!("127.0.0.1:{port}")], "");
    let cases: [(&str, i32, &str); 11] = [
        ("this is no TOML", 78, "mcpeg.toml:1:"),
        ("[server]\nlisten = [\"127.0.0.1:0\"]\nlissen = 1\n", 78, "mcpeg.toml:3:1"),
        ("[server]\nlisten = [\"127.0.0.1\"]\n", 78, "mcpeg.toml:2:"),
        ("[log]\nlevel = \"\u{201c}\"\n", 78, "mcpeg.toml:2:"),
        ("[upstreams.a]\ncommand = \"x\"\nurl = \"http://127.0.0.1:1/\"\n", 78, "mcpeg.toml:"),
        ("[upstreams.a]\nargs = []\n", 78, "mcpeg.toml:"),
        ("[upstreams.a]\ncommand = \"${env:NOPE}\"\n", 78, "NOPE"),
        ("[server]\nlisten = [\"0.0.0.0:0\"]\n", 78, "auth"),
        ("[server]\ndrain_timeout = \"soon\"\n", 78, "mcpeg.toml:2:"),
        ("[server]\nlisten = [\"unix:/nonexistent/x.sock\"]\n", 71, "/nonexistent/x.sock"),
        (&taken, 71, &format!("127.0.0.1:{port}")),
    ];
    site.daemon();
    let before = in_force(&site);
    for (text, code, reason) in cases {
        site.write("mcpeg.toml", text);
        let refused = site.run(&["--reload"]);
        assert_eq!(refused.code, Some(code), "{text}: {refused:?}");
        assert!(refused.stderr.contains(reason), "{text}: {refused:?}");
        assert!(refused.stderr.contains("keeps its former configuration"), "{refused:?}");
        assert_eq!(in_force(&site), before, "{text}");
    }
    std::fs::remove_file(site.path("mcpeg.toml")).unwrap();
    let refused = site.run(&["--reload"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("does not exist"), "{refused:?}");
    assert_eq!(in_force(&site), before);
    site.write("mcpeg.toml", config(&["127.0.0.1:0"], ""));
    reload(&site);
    assert_eq!(in_force(&site), before);
}

#[test]
fn refused_listener_leaves_no_socket_of_those_before_it() {
    let site = Site::new();
    let child = site.foreground();
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = bound.local_addr().unwrap();
    let socket = site.path("extra.sock");
    let listen = ["127.0.0.1:0", &format!("unix:{}", socket.display()), &taken.to_string()];
    site.write("mcpeg.toml", config(&listen, ""));
    assert_eq!(site.run(&["--reload"]).code, Some(71));
    assert!(!socket.exists());
    send(child.id().cast_signed(), Signal::SIGTERM);
    assert_eq!(finish(child).code, Some(0));
}

#[test]
fn reload_of_a_stopped_gateway_exits_3_and_removes_a_stale_pid_file() {
    let site = Site::new();
    let stopped = site.run(&["--reload"]);
    assert_eq!((stopped.code, stopped.stdout.as_str()), (Some(3), "mcpeg is not running\n"));
    let pid = site.daemon();
    send(pid, Signal::SIGKILL);
    until("the gateway is gone", || site.run(&["--status"]).code == Some(1));
    let stale = site.run(&["--reload"]);
    assert_eq!(stale.code, Some(3), "{stale:?}");
    assert!(stale.stdout.contains("removed the pid file"), "{stale:?}");
    assert!(!site.pid_file().exists());
}

#[test]
fn reload_of_a_suspended_gateway_returns_with_a_hint() {
    let site = Site::new();
    let pid = site.daemon();
    suspend(pid);
    let finished = site.run(&["--reload"]);
    assert_eq!(finished.code, Some(75), "{finished:?}");
    assert!(finished.stderr.contains(&format!("kill -CONT {pid}")), "{finished:?}");
}

#[test]
fn added_listener_serves_and_removed_one_finishes_what_is_in_flight() {
    let site = Site::new();
    site.daemon();
    let first: SocketAddr = site.address();
    let socket = site.path("extra.sock");
    let unix = format!("unix:{}", socket.display());
    site.write("mcpeg.toml", config(&["127.0.0.1:0", &unix], ""));
    let added = reload(&site);
    assert!(added.stdout.contains(&format!("listeners added: {unix}")), "{added:?}");
    assert!(is_live(UnixStream::connect(&socket).unwrap()));
    assert_eq!(site.address(), first, "the listener whose address is the same is kept");

    let held = Held::start(first);
    site.write("mcpeg.toml", config(&[&unix], ""));
    let removed = reload(&site);
    assert!(removed.stdout.contains(&format!("listeners removed: {first}")), "{removed:?}");
    until("nobody accepts any more", || TcpStream::connect(first).is_err());
    assert!(held.complete().starts_with("HTTP/1.1 "));
    assert!(is_live(UnixStream::connect(&socket).unwrap()));
    assert_eq!(site.status()["state"], "running");
    assert_eq!(site.status()["listeners"], serde_json::json!([unix]));

    site.write("mcpeg.toml", config(&["127.0.0.1:0"], ""));
    reload(&site);
    assert!(!socket.exists());
    assert!(is_live(TcpStream::connect(site.address()).unwrap()));
}

#[test]
fn hangup_reloads_and_logs_the_result() {
    let site = Site::new();
    let child = site.foreground();
    let unix = format!("unix:{}", site.path("extra.sock").display());
    site.write("mcpeg.toml", config(&["127.0.0.1:0", &unix], ""));
    send(child.id().cast_signed(), Signal::SIGHUP);
    until("the new listener is there", || site.status()["listeners"].as_array().unwrap().len() == 2);
    site.write("mcpeg.toml", "nonsense = 1\n");
    send(child.id().cast_signed(), Signal::SIGHUP);
    // Answered after the reload that the signal began: they wait for one another.
    assert_eq!(site.run(&["--reload"]).code, Some(78));
    send(child.id().cast_signed(), Signal::SIGTERM);
    let finished = finish(child);
    assert_eq!(finished.code, Some(0));
    assert!(finished.stderr.contains("reloaded the configuration"), "{finished:?}");
    assert!(finished.stderr.contains("cannot reload"), "{finished:?}");
    assert!(finished.stderr.contains("mcpeg.toml:1:1"), "{finished:?}");
}

#[test]
fn log_level_changes_at_once_and_other_keys_of_the_log_are_named() {
    let site = Site::new();
    let child = site.foreground();
    let address = site.address();
    let malformed = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: 1\r\n\r\n{{"
    );
    assert!(talk(TcpStream::connect(address).unwrap(), &malformed).starts_with("HTTP/1.1 400 "));
    let log = format!("[log]\nlevel = \"debug\"\nfile = \"{}\"\n", site.path("log").display());
    site.write("mcpeg.toml", config(&["127.0.0.1:0"], &log));
    let finished = reload(&site);
    assert!(finished.stdout.contains("log level: debug"), "{finished:?}");
    assert!(finished.stderr.contains("`file in [log]` has no effect before a restart"), "{finished:?}");
    assert!(talk(TcpStream::connect(address).unwrap(), &malformed).starts_with("HTTP/1.1 400 "));
    send(child.id().cast_signed(), Signal::SIGTERM);
    let finished = finish(child);
    assert_eq!(finished.stderr.matches("a request failed").count(), 1, "{finished:?}");
    assert!(!site.path("log").exists());
}

#[test]
fn answer_as_json_has_its_schema() {
    let site = Site::new();
    site.daemon();
    let done = site.run(&["--reload", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.code, &value["schema"], &value["reload"]), (Some(0), &1.into(), &"done".into()));
    site.write("mcpeg.toml", "nonsense = 1\n");
    let refused = site.run(&["--reload", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!((refused.code, &value["reload"], &value["exit"]), (Some(78), &"refused".into(), &78.into()));
}

#[test]
fn manager_hears_of_the_reload_and_of_its_end_whatever_that_is() {
    let site = Site::new();
    let socket = UnixDatagram::bind(site.path("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let next = |wanted: &str| loop {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if message.lines().any(|line| line == wanted) {
            return message;
        }
        // The line for `systemctl status` comes at its own times.
        assert!(
            message.starts_with("STATUS=") || message.starts_with("FDSTORE"),
            "waited for {wanted}, got {message}"
        );
    };
    let child = site.mcpeg(&[]).env("NOTIFY_SOCKET", site.path("notify")).spawn().unwrap();
    next("READY=1");
    for (text, code) in [(config(&["127.0.0.1:0"], ""), 0), ("nonsense = 1\n".to_owned(), 78)] {
        site.write("mcpeg.toml", text);
        assert_eq!(site.run(&["--reload"]).code, Some(code));
        let reloading = next("RELOADING=1");
        let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
        next("READY=1");
    }
    send(child.id().cast_signed(), Signal::SIGTERM);
    assert_eq!(finish(child).code, Some(0));
}
