//! Reloads and upgrades at once: the configuration has one owner at any time, and every answer is true.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Child;

use nix::sys::signal::Signal;

use super::bad::{Replaceable, failing};
use crate::support::daemon::{Finished, Site, finish, lives, send, until};

/// A gateway whose next process waits, with the configuration that it has loaded, until [`Waiting::go_on`].
struct Waiting {
    /// The site.
    site: Site,
    /// The gateway.
    old: i32,
    /// The command that asked for the upgrade.
    restart: Child,
}

/// A configuration with these upstreams, each of which is a program that does not serve, and a Unix listener or none.
fn config(site: &Site, listener: bool, upstreams: &[&str]) -> String {
    let unix =
        if listener { format!(", \"unix:{}\"", site.path("mcp.sock").display()) } else { String::new() };
    let upstreams = upstreams.iter().map(|name| format!("[upstreams.{name}]\ncommand = \"true\"\n"));
    format!("[server]\nlisten = [\"127.0.0.1:0\"{unix}]\n{}", upstreams.collect::<String>())
}

impl Waiting {
    /// Begins an upgrade whose new process has read the configuration and waits for an upstream.
    fn begin() -> Self {
        let site = Site::new();
        site.write("mcpeg.toml", config(&site, true, &["a"]));
        let old = site.daemon();
        let script = "touch begun; until [ -e go ]; do sleep 0.02; done; exit 1";
        let slow = format!(
            "[upstreams.slow]\ncommand = \"sh\"\nargs = [\"-c\", \"cd {}; {script}\"]\n",
            site.path("").display()
        );
        // Names that must not clash are waited for.
        let waits = config(&site, true, &["a"]).replacen("[server]\n", "[server]\nprefix = \"never\"\n", 1);
        site.write("mcpeg.toml", waits + &slow);
        let restart = site.mcpeg(&["--restart"]).spawn().unwrap();
        until("the new process has loaded its configuration", || site.path("begun").exists());
        Self { site, old, restart }
    }

    /// Lets the upgrade end.
    fn go_on(self) -> (Site, i32, Finished) {
        self.site.write("go", "");
        (self.site, self.old, finish(self.restart))
    }
}

/// The names of the upstreams that are configured.
fn upstreams(site: &Site) -> Vec<String> {
    let status = site.status();
    let names = status["upstreams"].as_array().unwrap().iter();
    names
        .map(|upstream| upstream["name"].as_str().unwrap().to_owned())
        .filter(|name| name != "mcpeg")
        .collect()
}

/// The listeners, without the one whose port is another each time.
fn unix_listeners(site: &Site) -> usize {
    site.status()["listeners"].as_array().unwrap().len() - 1
}

/// Asserts that the second configuration is in force, and nothing of the first.
fn second_is_in_force(site: &Site) {
    assert_eq!(upstreams(site), ["b", "c"]);
    assert_eq!(unix_listeners(site), 0);
    assert!(!site.path("mcp.sock").exists());
    assert!(TcpStream::connect(site.address()).is_ok());
}

#[test]
fn reload_during_an_upgrade_is_done_by_the_new_process_with_its_answer() {
    let waiting = Waiting::begin();
    waiting.site.write("mcpeg.toml", config(&waiting.site, false, &["b", "c"]));
    let reloads: Vec<_> = (0..3).map(|_| waiting.site.mcpeg(&["--reload"]).spawn().unwrap()).collect();
    // It is asked at least once before the upgrade goes on.
    until("one of them has connected", || connections(waiting.old) > 0);
    let (site, old, restarted) = waiting.go_on();
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    let new = site.pid();
    assert_ne!(new, old);
    for reload in reloads {
        let finished = finish(reload);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let told = format!("mcpeg with pid {new} has reloaded its configuration\n");
        assert!(finished.stdout.starts_with(&told), "{finished:?}");
    }
    second_is_in_force(&site);
    until("the old process ends", || !lives(old));
}

/// How many connections to its control socket a process holds open.
fn connections(pid: i32) -> usize {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    let path = std::fs::read_dir(format!("/proc/{pid}/cwd")).is_ok();
    let mine: std::collections::BTreeSet<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|link| link.display().to_string())
        .collect();
    let accepted = table.lines().filter(|line| line.ends_with("mcpeg.sock") && path);
    accepted
        .filter(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            // 03 is connected; the listening one is 01.
            fields[5] == "03" && mine.contains(&format!("socket:[{}]", fields[6]))
        })
        .count()
}

#[test]
fn hangups_during_an_upgrade_reload_the_new_process() {
    let waiting = Waiting::begin();
    waiting.site.write("mcpeg.toml", config(&waiting.site, false, &["b", "c"]));
    for _ in 0..50 {
        send(waiting.old, Signal::SIGHUP);
    }
    let (site, old, restarted) = waiting.go_on();
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    until("the second configuration is in force", || upstreams(&site) == ["b", "c"]);
    second_is_in_force(&site);
    until("the old process ends", || !lives(old));
}

#[test]
fn reload_during_an_upgrade_that_fails_is_done_by_the_old_process() {
    let gateway = Replaceable::new();
    let site = &gateway.site;
    let (begun, go) = (site.path("begun"), site.path("go"));
    let wait =
        format!("open({begun:?}, 'w').close()\n    while not os.path.exists({go:?}): time.sleep(0.02)");
    let script = failing(include_str!("../../fixtures/successor.py"), "prepared", "no");
    gateway.replace(&script.replace("fail(\"take\")", &wait));
    let restart = site.mcpeg(&["--restart"]).spawn().unwrap();
    until("the new process is there", || site.path("begun").exists());
    site.write("mcpeg.toml", config(site, false, &["b", "c"]));
    let reload = site.mcpeg(&["--reload"]).spawn().unwrap();
    until("it has connected", || connections(gateway.pid) > 1);
    // A second upgrade is refused with a reason, and so is one that is asked for by a signal.
    send(gateway.pid, Signal::SIGUSR2);
    let second = site.run(&["--restart"]);
    assert_eq!(second.code, Some(75), "{second:?}");
    assert!(second.stderr.contains("another upgrade is under way"), "{second:?}");
    site.write("go", "");
    let restarted = finish(restart);
    assert_eq!(restarted.code, Some(70), "{restarted:?}");
    let finished = finish(reload);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let told = format!("mcpeg with pid {} has reloaded its configuration\n", gateway.pid);
    assert!(finished.stdout.starts_with(&told), "{finished:?}");
    gateway.serves_on("after the reload");
    second_is_in_force(site);
}

#[test]
fn upgrade_waits_for_the_reload_that_is_under_way() {
    let site = Site::new();
    let old = site.daemon();
    let script = "touch begun; until [ -e go ]; do sleep 0.02; done; exit 1";
    let slow = format!(
        "[upstreams.slow]\ncommand = \"sh\"\nargs = [\"-c\", \"cd {}; {script}\"]\n",
        site.path("").display()
    );
    site.write("mcpeg.toml", config(&site, true, &["b"]) + &slow);
    let reload = site.mcpeg(&["--reload"]).spawn().unwrap();
    until("the reload is under way", || site.path("begun").exists());
    let restart = site.mcpeg(&["--restart"]).spawn().unwrap();
    until("both have connected", || connections(old) > 1);
    site.write("go", "");
    let (reload, restart) = (finish(reload), finish(restart));
    assert_eq!((reload.code, restart.code), (Some(0), Some(0)), "{reload:?} {restart:?}");
    assert!(reload.stdout.contains(&format!("mcpeg with pid {old} has reloaded")), "{reload:?}");
    assert!(reload.stdout.contains("listeners added: unix:"), "{reload:?}");
    until("the old process ends", || !lives(old));
    assert_eq!((upstreams(&site), unix_listeners(&site)), (vec!["b".to_owned(), "slow".to_owned()], 1));
    assert!(UnixStream::connect(site.path("mcp.sock")).is_ok());
}

#[test]
fn stop_during_an_upgrade_and_a_reload_refuses_both_with_a_reason() {
    let waiting = Waiting::begin();
    let mut control = UnixStream::connect(waiting.site.path("mcpeg.sock")).unwrap();
    control.write_all(b"{\"request\":\"reload\"}\n").unwrap();
    until("it is heard", || connections(waiting.old) > 1);
    let stopped = waiting.site.run(&["--stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let (site, old, restarted) = waiting.go_on();
    assert_eq!(restarted.code, Some(75), "{restarted:?}");
    assert!(restarted.stderr.contains("the gateway is stopping\nhint: "), "{restarted:?}");
    let mut answer = String::new();
    BufReader::new(control).read_line(&mut answer).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&answer["reload"], &answer["exit"]), (&"refused".into(), &75.into()), "{answer}");
    assert_eq!(answer["error"], "the gateway is stopping");
    assert!(answer["hint"].is_string(), "{answer}");
    until("both processes end", || !lives(old) && site.gateways().is_empty());
    let mut left: Vec<_> =
        std::fs::read_dir(site.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["begun", "go", "mcpeg.lock", "mcpeg.toml"]);
}
