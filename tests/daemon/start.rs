//! Starting: one gateway for each pid file, and the launcher knows.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use mcpeg::sys::process::command;
use nix::sys::signal::Signal;

use crate::support::daemon::{Site, finish, lives, send, until};

/// Fifty starts at once on one pid file, and the end of the one that won, this many times.
fn simultaneous_starts(rounds: usize) {
    let site = Site::new();
    for round in 0..rounds {
        let children: Vec<_> = (0..50).map(|_| site.mcpeg(&["--daemon"]).spawn().unwrap()).collect();
        let finished: Vec<_> = children.into_iter().map(finish).collect();
        let pid = site.pid();
        let won = finished.iter().filter(|it| it.code == Some(0)).count();
        let lost: Vec<_> = finished.iter().filter(|it| it.code == Some(75)).collect();
        assert_eq!((won, lost.len()), (1, 49), "round {round}: {finished:?}");
        for loser in lost {
            assert!(loser.stderr.contains(&format!("with pid {pid} since")), "pid {pid}: {loser:?}");
        }
        assert_eq!(site.gateways(), [pid], "round {round}");
        // Every second time what the winner leaves behind is stale.
        if round % 2 == 0 {
            send(pid, Signal::SIGKILL);
            until("the gateway is gone", || !lives(pid));
        } else {
            assert_eq!(site.run(&["--stop"]).code, Some(0));
        }
    }
}

#[test]
fn fifty_simultaneous_starts_leave_one_alive_and_49_exit_75_naming_it() {
    simultaneous_starts(2);
}

#[test]
#[ignore = "needs up to a minute"]
fn fifty_simultaneous_starts_leave_one_alive_in_each_of_20_rounds() {
    simultaneous_starts(20);
}

#[test]
fn start_waits_for_the_threads_of_a_killed_gateway() {
    let site = Site::new();
    site.daemon();
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ending.py");
    let mut python = command("/usr/bin/python3");
    python.arg(script).arg(site.path("mcpeg.lock")).stdout(Stdio::piped());
    let mut ending = python.spawn().unwrap();
    let mut told = [0; 4];
    ending.stdout.as_mut().unwrap().read_exact(&mut told).unwrap();
    let stat = format!("/proc/{}/stat", ending.id());
    until("its first thread has ended", || fs::read_to_string(&stat).unwrap().contains(") Z "));
    let started = site.run(&["--daemon"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    assert_eq!(told, *b"held");
    ending.wait().unwrap();
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}

#[test]
fn second_start_exits_75_and_leaves_pid_file_alone() {
    let site = Site::new();
    let pid = site.daemon();
    let before = fs::metadata(site.pid_file()).unwrap();
    for arguments in [&["--daemon"][..], &[]] {
        let second = site.run(arguments);
        assert_eq!(second.code, Some(75), "{second:?}");
        assert!(second.stderr.contains(&format!("pid {pid}")), "{second:?}");
        assert!(second.stderr.contains(site.pid_file().to_str().unwrap()), "{second:?}");
    }
    let after = fs::metadata(site.pid_file()).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    assert!(lives(pid));
}

#[test]
fn failure_in_the_daemon_appears_in_the_launcher_with_its_code() {
    let site = Site::new();
    site.write("file", "");
    // The log is opened after detaching.
    let finished = site.run(&["--daemon", "--log-file", site.path("file/log").to_str().unwrap()]);
    assert_eq!(finished.code, Some(73), "{finished:?}");
    assert!(finished.stderr.contains(site.path("file").to_str().unwrap()), "{finished:?}");
    assert!(finished.stderr.contains("hint: "), "{finished:?}");
    assert_eq!(finished.stdout, "");
    assert_eq!(site.run(&["--status"]).code, Some(3));
}

#[test]
fn taken_port_exits_71_and_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let site = Site::new();
    for mode in [&["--daemon"][..], &[]] {
        let listen = ["--listen", &address.to_string()];
        let finished = site.run(&[mode, &listen].concat());
        assert_eq!(finished.code, Some(71), "{finished:?}");
        assert!(finished.stderr.contains(&format!("cannot listen on `{address}`")), "{finished:?}");
        let hint = finished.stderr.lines().find(|line| line.contains("hint: ")).unwrap_or_default();
        for part in [
            format!("with pid {} of ", std::process::id()),
            format!("`ss -ltnp 'sport = :{}'`", address.port()),
        ] {
            assert!(hint.contains(&part), "{part}: {finished:?}");
        }
        assert!(!site.pid_file().exists());
    }
}

#[test]
fn start_after_kill_replaces_what_was_left_behind() {
    let site = Site::new();
    let socket = site.path("mcp.sock");
    site.write("mcpeg.toml", format!("[server]\nlisten = [\"unix:{}\"]\n", socket.display()));
    let first = site.daemon();
    send(first, Signal::SIGKILL);
    until("the killed gateway is gone", || !lives(first));
    assert!(site.pid_file().exists() && socket.exists() && site.path("mcpeg.sock").exists());
    assert_eq!(site.run(&["--status"]).code, Some(1));
    assert_eq!(site.run(&["--daemon", "--log-file", "log"]).code, Some(0));
    let second = site.pid();
    assert_ne!(first, second);
    until("the log tells of the pid file", || {
        let log = fs::read_to_string(site.path("log")).unwrap();
        let said = log.lines().find(|line| line.contains("replacing a pid file that was left behind"));
        said.is_some_and(|line| line.contains("\"INFO\"") && line.contains(&first.to_string()))
    });
    assert_eq!(site.status()["pid"], second);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    let mut left: Vec<_> =
        fs::read_dir(site.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".log.lock", "log", "mcpeg.lock", "mcpeg.toml"]);
}

/// A site whose upstream never answers and whose names must not clash, so that the daemon waits for it and the launcher for
/// the daemon.
fn waiting_site() -> Site {
    Site::with_config(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nprefix = \"never\"\n[upstreams.mute]\ncommand = \"sleep\"\nargs = [\"600\"]\n",
    )
}

/// Waits until a daemon is on its own, and returns its pid.
fn detached(site: &Site) -> i32 {
    until("the daemon is detached", || site.record().is_some_and(|record| record["launching"] == false));
    i32::try_from(site.record().unwrap()["pid"].as_i64().unwrap()).unwrap()
}

#[test]
fn death_before_ready_is_reported_with_its_signal() {
    let site = waiting_site();
    let launcher = site.mcpeg(&["--daemon"]).spawn().unwrap();
    let daemon = detached(&site);
    send(daemon, Signal::SIGKILL);
    let finished = finish(launcher);
    assert_eq!(finished.code, Some(70), "{finished:?}");
    assert!(finished.stderr.contains("died before it was ready (killed by SIGKILL)"), "{finished:?}");
    assert_eq!(site.run(&["--status"]).code, Some(3));
}

#[test]
fn daemon_that_is_not_ready_in_time_is_ended() {
    let site = waiting_site();
    let finished = site.run(&["--daemon", "--start-timeout", "1s"]);
    assert_eq!(finished.code, Some(71), "{finished:?}");
    assert!(finished.stderr.contains("was not ready within 1 s and was ended"), "{finished:?}");
    assert_eq!(site.run(&["--status"]).code, Some(3), "it is gone when the launcher has said so");
    assert!(site.gateways().is_empty());
}

#[test]
fn stop_before_ready_ends_the_start() {
    let site = waiting_site();
    let launcher = site.mcpeg(&["--daemon"]).spawn().unwrap();
    let daemon = detached(&site);
    until("the handlers are installed", || {
        let status = fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() & (1 << 14) != 0
    });
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    let finished = finish(launcher);
    assert_eq!(finished.code, Some(143), "{finished:?}");
    assert!(finished.stderr.contains("stopped by TERM before the gateway was ready"), "{finished:?}");
    assert!(!lives(daemon));
}

#[test]
fn killed_launcher_takes_its_daemon_with_it() {
    let site = waiting_site();
    let launcher = site.mcpeg(&["--daemon"]).spawn().unwrap();
    let daemon = detached(&site);
    send(launcher.id().cast_signed(), Signal::SIGTERM);
    assert_eq!(finish(launcher).signal, Some(15));
    until("the daemon is gone", || !lives(daemon));
    assert_eq!(site.run(&["--status"]).code, Some(3));
}

#[test]
fn passed_sockets_are_served_in_place_of_configured_ones() {
    let site = Site::new();
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    // sd_listen_fds(3): the sockets start at descriptor 3.
    let mut shell = site.shell("exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$MCPEG\"");
    let child = shell.stdin(Stdio::from(std::os::fd::OwnedFd::from(passed))).spawn().unwrap();
    until("the gateway writes its pid file", || site.pid_file().exists());
    assert_eq!(site.status()["listeners"], serde_json::json!([address.to_string()]));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    assert_eq!(finish(child).code, Some(0));
}

#[test]
fn announced_sockets_that_are_none_are_refused() {
    let site = Site::new();
    let missing = site.shell("LISTEN_PID=$$ LISTEN_FDS=4 exec \"$MCPEG\" 3<&- 4<&- 5<&- 6<&-");
    let file = site.shell("LISTEN_PID=$$ LISTEN_FDS=1 exec \"$MCPEG\" 3</dev/null");
    for mut shell in [missing, file] {
        let finished = finish(shell.spawn().unwrap());
        assert_eq!(finished.code, Some(71), "{finished:?}");
        assert!(finished.stderr.contains("LISTEN_FDS"), "{finished:?}");
    }
}

/// The soft and the hard limit on core files of a process: `proc_pid_limits(5)`.
fn core_limits(pid: i32) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let mut fields = line.split_whitespace().skip(4).map(str::to_owned);
    (fields.next().unwrap(), fields.next().unwrap())
}

#[test]
fn gateway_that_is_started_by_hand_leaves_no_core_file_and_nor_does_what_it_starts() {
    let site = Site::new();
    site.write("echo.py", include_str!("../fixtures/echo_server.py"));
    let upstream = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[upstreams.own]\ncommand = \"/usr/bin/python3\"\nargs = [\"{}\"]\n",
        site.path("echo.py").display()
    );
    site.write("mcpeg.toml", upstream);
    let any = "ulimit -c $(ulimit -H -c); exec \"$MCPEG\"";
    for (arguments, exits) in [("", false), (" --daemon", true)] {
        let started = site.shell(&format!("{any}{arguments}")).spawn().unwrap();
        let before = core_limits(std::process::id().cast_signed()).1;
        let child = if exits {
            assert_eq!(finish(started).code, Some(0));
            None
        } else {
            until("the gateway writes its pid file", || site.pid_file().exists());
            Some(started)
        };
        let first = site.pid();
        // A program may still ask for one: the hard limit stays.
        assert_eq!(core_limits(first), ("0".to_owned(), before));
        let children = || {
            crate::support::daemon::processes()
                .filter(|pid| {
                    fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                        line.contains("echo.py") && line.contains(site.path("").to_str().unwrap())
                    })
                })
                .collect::<Vec<_>>()
        };
        until("the upstream is started", || !children().is_empty());
        for pid in children() {
            // One that has ended since has none either.
            if lives(pid) {
                assert_eq!(core_limits(pid).0, "0");
            }
        }
        if exits {
            assert_eq!(site.run(&["--restart"]).code, Some(0));
            assert_ne!(site.pid(), first);
            assert_eq!(core_limits(site.pid()).0, "0");
        }
        assert_eq!(site.run(&["--stop"]).code, Some(0));
        if let Some(child) = child {
            assert_eq!(finish(child).code, Some(0));
        }
    }
}

#[test]
fn listener_in_the_place_of_a_file_of_the_gateway_itself_is_refused_and_takes_nothing_away() {
    let site = Site::new();
    let directory = site.path("");
    let directory = directory.display();
    std::os::unix::fs::symlink(site.path(""), site.path("link")).unwrap();
    for place in
        ["mcpeg.sock", "./mcpeg.sock", "link/mcpeg.sock", "mcpeg.pid", "mcpeg.lock", "mcpeg.sessions"]
    {
        let listener = format!("unix:{directory}/{place}");
        let config = format!("[server]\nlisten = [\"127.0.0.1:0\", \"{listener}\"]\n");
        site.write("mcpeg.toml", &config);
        for arguments in [&[][..], &["--daemon"]] {
            let refused = site.run(arguments);
            assert_eq!(refused.code, Some(78), "{place}: {refused:?}");
            assert!(refused.stderr.contains("a run-time file of the gateway itself"), "{refused:?}");
            assert!(refused.stderr.contains("hint: "), "{refused:?}");
        }
        assert!(!site.path("mcpeg.sock").exists() && !site.pid_file().exists(), "{place}");
        let checked = site.run(&["--check"]);
        assert_eq!(checked.code, Some(78), "{place}: {checked:?}");
        assert!(checked.stderr.contains("run-time file"), "{place}: {checked:?}");
    }
    // Nor does a reload take them away from a gateway that serves.
    site.write("mcpeg.toml", "[server]\nlisten = [\"127.0.0.1:0\"]\n");
    site.daemon();
    let config = format!("[server]\nlisten = [\"127.0.0.1:0\", \"unix:{directory}/mcpeg.sock\"]\n");
    site.write("mcpeg.toml", config);
    let refused = site.run(&["--reload"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("mcpeg.sock"), "{refused:?}");
    assert_eq!(site.status()["state"], "running");
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}

#[test]
fn unix_listener_answers() {
    let site = Site::new();
    let socket = site.path("mcp.sock");
    site.write("mcpeg.toml", format!("[server]\nlisten = [\"unix:{}\"]\n", socket.display()));
    site.daemon();
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
