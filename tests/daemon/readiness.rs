//! `--ready-fd`: one newline when the gateway serves, and nobody who holds the descriptor afterwards.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read as _};
use std::net::TcpListener;
use std::process::{Child, Stdio};

use crate::support::daemon::{Finished, Site, finish, until};

/// Starts mcpeg with the pipe as descriptor 7.
fn start(site: &Site, arguments: &str, pipe: PipeWriter) -> Child {
    let mut shell = site.shell(&format!("exec 7>&0 0</dev/null; exec \"$MCPEG\" {arguments} --ready-fd 7"));
    // The parent's copy goes with the command.
    shell.stdin(Stdio::from(pipe)).spawn().unwrap()
}

/// Everything that comes until nobody holds the pipe any more.
fn all(mut pipe: PipeReader) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

/// A site with an upstream, which must not inherit the pipe.
fn site() -> Site {
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py");
    Site::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[upstreams.echo]\ncommand = \"/usr/bin/python3\"\nargs = [\"{server}\"]\n"
    ))
}

#[test]
fn newline_comes_once_and_then_nobody_holds_the_pipe() {
    for arguments in ["", "--daemon"] {
        let site = site();
        let (reader, writer) = std::io::pipe().unwrap();
        let child = start(&site, arguments, writer);
        // The end comes while launcher or gateway, upstream and guardian live.
        assert_eq!(all(reader), "\n", "{arguments}");
        assert!(site.pid_file().exists(), "{arguments}: ready before the pid file is there");
        until("the gateway answers", || site.status()["state"] == "running");
        until("the upstream is ready", || site.status()["upstreams"][0]["state"] == "ready");
        let before = site.pid();
        // The next process has the same arguments, in which the number means nothing any more.
        assert_eq!(site.run(&["--restart"]).code, Some(0));
        assert_ne!(site.pid(), before);
        assert_eq!(site.run(&["--stop"]).code, Some(0));
        assert_eq!(finish(child).code, Some(0));
    }
}

#[test]
fn failed_start_ends_without_a_newline() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen {}", taken.local_addr().unwrap());
    for arguments in [listen.clone(), format!("--daemon {listen}")] {
        let site = Site::new();
        let (reader, writer) = std::io::pipe().unwrap();
        let child = start(&site, &arguments, writer);
        assert_eq!(all(reader), "", "{arguments}");
        assert_eq!(finish(child).code, Some(71));
    }
    // Here it is the daemon that fails, after detaching.
    let site = Site::new();
    site.write("file", "");
    let (reader, writer) = std::io::pipe().unwrap();
    let child = start(&site, "--daemon --log-file file/log", writer);
    assert_eq!(all(reader), "");
    assert_eq!(finish(child).code, Some(73));
}

#[test]
fn whoever_does_not_listen_any_more_does_not_stop_the_start() {
    let site = Site::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(finish(start(&site, "--daemon --log-file log", writer)).code, Some(0));
    until("the log tells", || {
        fs::read_to_string(site.path("log")).unwrap().contains("cannot tell the supervisor of --ready-fd")
    });
    assert_eq!(site.status()["state"], "running");
}

#[test]
fn descriptor_of_no_use_is_refused_before_anything_is_done() {
    let site = Site::new();
    let run = |script: &str| finish(site.shell(script).spawn().unwrap());
    let check = |finished: &Finished, reason: &str| {
        assert_eq!(finished.code, Some(64), "{finished:?}");
        assert!(finished.stderr.contains(reason), "{finished:?}");
        assert!(!site.path("mcpeg.lock").exists());
    };
    for daemon in ["", "--daemon"] {
        check(
            &run(&format!("\"$MCPEG\" {daemon} --ready-fd 9 9>&-")),
            "descriptor 9 of --ready-fd is not open\n",
        );
        let read_only = run(&format!("\"$MCPEG\" {daemon} --ready-fd 9 9</dev/null"));
        check(&read_only, "descriptor 9 of --ready-fd is not open for writing\nhint: ");
    }
    let announced = "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$MCPEG\" --ready-fd 4 3>a 4>b";
    check(&run(announced), "is one of those that LISTEN_FDS announces");
    check(&run("\"$MCPEG\" --ready-fd 2"), "2 is not in 3..");
    check(&run("\"$MCPEG\" --stop --ready-fd 9 9>a"), "cannot be used with");
}
