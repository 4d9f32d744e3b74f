//! `--status`: LSB exit codes, and an answer in every case.

use std::fs;

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
    // A command that hangs fails here.
    let status = site.run(&["--status", "--json"]);
    assert_eq!(status.code, Some(0));
    assert!(
        status.stdout.contains("suspended") && status.stdout.contains("did not answer within"),
        "{status:?}"
    );
    send(pid, Signal::SIGCONT);
    assert_eq!(site.status()["degraded"], serde_json::Value::Null);
}

/// The names of all members of a JSON value, those of objects in lists included.
fn names(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Object(members) => {
            let inner = members.values().flat_map(names);
            members.keys().cloned().chain(inner).collect()
        }
        serde_json::Value::Array(items) => items.iter().flat_map(names).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_field_of_every_answer_is_in_the_manual() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/man/mcpeg.8");
    let manual = fs::read_to_string(manual).unwrap();
    let words: Vec<&str> = manual.split([' ', '\n', '"', ',']).collect();
    let site = Site::new();
    let log = format!("[log]\nfile = \"{}\"\n", site.path("log").display());
    let upstream = "[upstreams.gone]\ncommand = \"true\"\n";
    site.write("mcpeg.toml", format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{log}{upstream}"));
    site.daemon();
    let json = |arguments: &[&str]| -> serde_json::Value {
        let finished = site.run(arguments);
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
    };
    let mut fields = names(&json(&["--status", "--json"]));
    fields.extend(names(&json(&["--reload", "--json"])));
    site.write("mcpeg.toml", "nonsense = 1\n");
    fields.extend(names(&json(&["--reload", "--json"])));
    assert!(fields.len() > 30, "{fields:?}");
    fields.retain(|field| !words.contains(&field.as_str()));
    assert_eq!(fields, [""; 0], "not in mcpeg(8)");
}

/// Begins a legacy session.
fn begin_session(address: std::net::SocketAddr) {
    use std::io::{Read as _, Write as _};

    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",
        "capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(crate::support::daemon::DEADLINE)).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn every_file_that_a_gateway_makes_is_in_the_manual() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/man/mcpeg.8");
    let manual = fs::read_to_string(manual).unwrap();
    let files = manual.split(".SH FILES\n").nth(1).unwrap().split("\n.SH ").next().unwrap();
    let site = Site::new();
    let log = format!("[log]\nfile = \"{}\"\n", site.path("mcpeg.log").display());
    site.write("mcpeg.toml", format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{log}"));
    site.daemon();
    begin_session(site.address());
    until("sessions are remembered", || site.path("mcpeg.sessions").exists());
    let entries = fs::read_dir(site.path("")).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.len() >= 7, "{names:?}");
    for name in names {
        assert!(files.contains(&name), "{name} is not in FILES of mcpeg(8)");
    }
}

#[test]
fn status_of_some_upstreams_ends_with_0_3_or_64() {
    let site = Site::new();
    let asleep = "[upstreams.asleep]\ncommand = \"sleep\"\nargs = [\"600\"]\nstart = \"lazy\"\n";
    let gone = "[upstreams.gone]\ncommand = \"/not/there\"\n";
    site.write("mcpeg.toml", format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{asleep}{gone}"));
    assert_eq!(site.run(&["--status", "--upstream", "asleep"]).code, Some(3), "nothing runs");
    site.daemon();
    let good = site.run(&["--status", "--upstream", "asleep"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.stdout.starts_with("asleep ") && good.stdout.lines().count() == 1, "{good:?}");
    let bad = site.run(&["--status", "--json", "--upstream", "gone", "--upstream", "asleep"]);
    assert_eq!(bad.code, Some(3), "{bad:?}");
    let value: serde_json::Value = serde_json::from_str(&bad.stdout).unwrap();
    let whole = site.status();
    assert_eq!(value["upstreams"].as_array().unwrap().len(), 2);
    assert_eq!((&value["schema"], &value["pid"]), (&whole["schema"], &whole["pid"]));
    let unknown = site.run(&["--status", "--upstream", "tme"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(64), ""));
    assert!(unknown.stderr.contains("no upstream `tme`"), "{unknown:?}");
    assert!(unknown.stderr.contains("asleep") && unknown.stderr.contains("gone"), "{unknown:?}");
}

#[test]
fn control_socket_answers_as_the_manual_says() {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::fs::PermissionsExt as _;

    let site = Site::new();
    let pid = site.daemon();
    let socket = site.path("mcpeg.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream
        .write_all(b"{\"request\":\"status\"}\n{\"request\":\"dance\"}\n{\"request\":\"reload\"}\n")
        .unwrap();
    stream.set_read_timeout(Some(crate::support::daemon::DEADLINE)).unwrap();
    let answers: Vec<serde_json::Value> = BufReader::new(stream)
        .lines()
        .take(3)
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!((&answers[0]["schema"], answers[0]["pid"].as_i64()), (&1.into(), Some(pid.into())));
    assert!(answers[1]["error"].is_string(), "{answers:?}");
    assert_eq!((&answers[2]["schema"], &answers[2]["reload"]), (&1.into(), &"done".into()));
}

/// KiB of files that a process has mapped: `proc_pid_status(5)`.
fn mapped_files(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn pages_that_only_the_start_has_used_are_given_back() {
    let site = Site::new();
    let pid = site.daemon();
    let before = mapped_files(pid);
    until("half of the pages are unmapped", || mapped_files(pid) < before / 2);
    // What was unmapped is there when it is needed.
    assert_eq!(site.status()["pid"], pid);
    assert_eq!(site.run(&["--reload"]).code, Some(0));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}
