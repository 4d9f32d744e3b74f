//! The children of stdio upstreams in an upgrade: those that all clients share go on, with every request in flight.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::bad::{Replaceable, successor};
use super::upgrade;
use crate::client::{Answer, Client, MODERN_META, Message};
use crate::support::daemon::{Site, lives, processes, send, suspend, until};

/// What is promised: this long after the gateway's death nothing of it is left.
const PROMISE: Duration = Duration::from_secs(2);

/// The configuration of one upstream behind a shell, as `npx` starts them; `script` is what the server runs.
fn config(site: &Site, arguments: &str, more: &str) -> String {
    let (script, log) = (site.path("probe.py"), site.path("log"));
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nfile = \"{}\"\nlevel = \"debug\"\n\
         [upstreams.probe]\ncommand = \"/usr/bin/python3\"\nargs = [\"{}\"{arguments}]\n{more}\n",
        log.display(),
        script.display(),
    )
}

/// A site with the probe server as its only upstream.
pub(super) fn site(arguments: &str, more: &str) -> Site {
    let site = Site::new();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/probe_server.py"), site.path("probe.py"))
        .unwrap();
    site.write("mcpeg.toml", config(&site, arguments, more));
    site
}

/// The processes of the site's upstream.
fn children(site: &Site) -> BTreeSet<i32> {
    let script = site.path("probe.py").display().to_string();
    let runs = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&script) && lives(*pid)
    };
    processes().filter(runs).collect()
}

/// The only process of the site's upstream.
fn child(site: &Site) -> i32 {
    let all = children(site);
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap()
}

/// The child's pid as status and the child itself tell it.
fn told(site: &Site, runtime: &Runtime) -> i32 {
    let address = site.address().to_string();
    // A child that is starting is waited for.
    let pids = runtime.block_on(async { Client::modern(&address, "/mcp").call("pids", "{}").await.text() });
    let pid = site.status()["upstreams"][0]["pid"].as_i64().unwrap();
    assert_eq!(pids, format!("[{pid}]"));
    pid.try_into().unwrap()
}

/// A runtime for clients.
pub(super) fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

/// A call that takes as long as this, in flight when this returns.
fn call(site: &Site, runtime: &Runtime, tool: &'static str, arguments: &'static str) -> JoinHandle<Answer> {
    let before = site.status()["in_flight"].as_u64().unwrap();
    let address = site.address().to_string();
    let call = runtime.spawn(async move { Client::modern(&address, "/mcp").call(tool, arguments).await });
    until("the call is in flight", || site.status()["in_flight"].as_u64().unwrap() > before);
    call
}

/// What a file's descriptors lead to, how many of each.
fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn shared_child_goes_on_through_upgrades_and_ends_with_the_last_gateway() {
    let (site, runtime) = (site("", ""), runtime());
    site.daemon();
    let before = child(&site);
    assert_eq!(told(&site, &runtime), before);
    let mut open = None;
    for _ in 0..4 {
        let old = site.pid();
        let new = upgrade(&site);
        until("the old process ends", || !lives(old));
        assert_eq!((child(&site), told(&site, &runtime)), (before, before));
        until("one guardian is left", || guardians().contains(&new));
        // One or the other is open only for a moment; what is left over of three upgrades would be more.
        let first = *open.get_or_insert_with(|| descriptors(new));
        until("no descriptor is left over", || descriptors(new) <= first + 2);
    }
    let gateway = site.pid();
    send(gateway, Signal::SIGKILL);
    let deadline = Instant::now() + PROMISE;
    until("the child is gone", || children(&site).is_empty() || Instant::now() > deadline);
    assert_eq!(children(&site), BTreeSet::new(), "longer than promised");
}

/// The gateways that a guardian watches over.
fn guardians() -> BTreeSet<i32> {
    let name = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let names = processes().map(|pid| String::from_utf8_lossy(&name(pid)).replace('\0', " "));
    names.filter_map(|name| name.strip_prefix("mcp-guardian of ")?.trim().parse().ok()).collect()
}

#[test]
fn stop_after_an_upgrade_ends_the_child_and_its_group() {
    let site = site(", \"--stubborn\"", "");
    site.daemon();
    let before = child(&site);
    upgrade(&site);
    assert_eq!(child(&site), before);
    let stopped = site.run(&["--stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}\n{}", fs::read_to_string(site.path("log")).unwrap());
    assert_eq!(children(&site), BTreeSet::new());
}

#[test]
fn call_in_flight_in_the_old_process_is_answered_by_the_same_child() {
    let (site, runtime) = (site("", ""), runtime());
    let old = site.daemon();
    let before = child(&site);
    let slow = call(&site, &runtime, "sleep", r#"{"ms":3000}"#);
    let new = upgrade(&site);
    assert!(lives(old), "it waits for the answer");
    // The new process has calls of its own meanwhile.
    let other = call(&site, &runtime, "sleep", r#"{"ms":100}"#);
    assert_eq!(runtime.block_on(other).unwrap().text(), "slept");
    assert_eq!(runtime.block_on(slow).unwrap().text(), "slept");
    until("the old process ends", || !lives(old));
    assert_eq!((site.pid(), child(&site)), (new, before));
    assert_eq!(site.status()["upstreams"][0]["restarts"], 0);
}

#[test]
fn legacy_child_that_all_sessions_share_goes_on_too() {
    let (site, runtime) = (site("", ""), runtime());
    let old = site.daemon();
    let address = site.address().to_string();
    let session = runtime.block_on(Client::legacy(&address, "/mcp"));
    let pids = || runtime.block_on(async { session.call("pids", "{}").await.text() });
    let (before, all) = (pids(), children(&site));
    assert_eq!(all.len(), 2, "a server of both eras has a process for each: {all:?}");
    upgrade(&site);
    until("the old process ends", || !lives(old));
    assert_eq!((pids(), children(&site)), (before, all));
}

/// A call that tells of its progress `count` times, under a token that is the same for all.
async fn progress(address: String, count: usize) -> Vec<String> {
    let params = format!(
        r#"{{"name":"progress","arguments":{{"count":{count},"pause":60,"call":{count}}},"_meta":{{"progressToken":"t",{MODERN_META}}}}}"#
    );
    let answer = Client::modern(&address, "/mcp").request("1", "tools/call", "progress", &params).await;
    let params = |message: &String| Message::read(message).params.map(|params| params.get().to_owned());
    answer.messages().iter().filter_map(params).collect()
}

/// What such a call is told.
fn told_progress(count: usize) -> Vec<String> {
    let told = |number| format!(r#"{{"progressToken":"t","progress":{number},"call":{count}}}"#);
    (1..=count).map(told).collect()
}

#[test]
fn progress_of_both_processes_calls_is_kept_apart_and_in_order() {
    let (site, runtime) = (site("", ""), runtime());
    let old = site.daemon();
    let before = told(&site, &runtime);
    let address = site.address().to_string();
    let first = runtime.spawn(progress(address.clone(), 50));
    until("the call is in flight", || site.status()["in_flight"].as_u64().unwrap() > 0);
    upgrade(&site);
    let second = runtime.spawn(progress(address, 10));
    assert_eq!(runtime.block_on(second).unwrap(), told_progress(10));
    assert!(lives(old), "its call is in flight all the time");
    assert_eq!(runtime.block_on(first).unwrap(), told_progress(50));
    assert_eq!(told(&site, &runtime), before);
}

#[test]
fn child_that_ends_is_started_again_by_the_new_process_and_the_old_ones_call_is_told() {
    let (site, runtime) = (site("", ""), runtime());
    let old = site.daemon();
    let before = child(&site);
    let slow = call(&site, &runtime, "sleep", r#"{"ms":60000}"#);
    upgrade(&site);
    until("the new process has the child", || site.status()["upstreams"][0]["pid"] == before);
    send(before, Signal::SIGKILL);
    let (_, message) = runtime.block_on(slow).unwrap().error();
    assert!(message.contains("upstream `probe` ended before it answered"), "{message}");
    until("another child", || children(&site).iter().any(|pid| *pid != before));
    until("it is ready", || site.status()["upstreams"][0]["state"] == "ready");
    assert_ne!(told(&site, &runtime), before);
    assert_eq!(site.status()["upstreams"][0]["restarts"], 1);
    until("the old process ends", || !lives(old));
}

#[test]
fn child_whose_script_or_recipe_has_changed_is_started_anew() {
    let (site, runtime) = (site("", ""), runtime());
    site.daemon();
    let first = child(&site);
    let script = fs::read_to_string(site.path("probe.py")).unwrap();
    site.write("probe.py", script + "# Another version.\n");
    let old = site.pid();
    upgrade(&site);
    until("the old process ends", || !lives(old));
    let second = told(&site, &runtime);
    assert_ne!(first, second);
    site.write("mcpeg.toml", config(&site, "", "env = { ANOTHER = \"variable\" }"));
    let old = site.pid();
    upgrade(&site);
    until("the old process ends", || !lives(old));
    let third = told(&site, &runtime);
    assert_ne!(second, third);
    // Nothing of how it is started has changed.
    site.write("mcpeg.toml", config(&site, "", "env = { ANOTHER = \"variable\" }\nrequest_timeout = \"1m\""));
    upgrade(&site);
    assert_eq!(told(&site, &runtime), third);
}

#[test]
fn child_that_does_not_read_stays_with_the_old_process() {
    let (site, runtime) = (site("", ""), runtime());
    let old = site.daemon();
    // Before it is asked for an echo it has told its tools.
    let before = told(&site, &runtime);
    suspend(before);
    // More than a pipe holds: the writer waits in the middle of a message.
    let address = site.address().to_string();
    let long = runtime.spawn(async move {
        let arguments = format!("{{\"text\":\"{}\"}}", "x".repeat(1 << 20));
        Client::modern(&address, "/mcp").call("echo", &arguments).await
    });
    until("the call is in flight", || site.status()["in_flight"].as_u64().unwrap() > 0);
    upgrade(&site);
    let other = told(&site, &runtime);
    assert_ne!(other, before);
    send(before, Signal::SIGCONT);
    assert!(runtime.block_on(long).unwrap().text().len() > 1 << 20);
    until("the old process and its child end", || !lives(old) && children(&site).len() == 1);
    assert_eq!(child(&site), other);
}

#[test]
fn new_process_that_fails_with_the_child_in_its_hands_gives_it_back() {
    let (site, runtime) = (site("", ""), runtime());
    let before = {
        let gateway = Replaceable::of(site);
        let before = child(&gateway.site);
        for (stage, hangs) in [("ready", false), ("owned", false), ("owned", true)] {
            let slow = call(&gateway.site, &runtime, "sleep", r#"{"ms":2000}"#);
            let finished = gateway.upgrade_to(&successor(stage, hangs), hangs);
            assert_ne!(finished.code, Some(0), "{stage}: {finished:?}");
            gateway.serves_on(stage);
            let slow = runtime.block_on(slow).unwrap_or_else(|error| panic!("{stage}: {error}"));
            assert_eq!(slow.text(), "slept", "{stage}");
            assert_eq!(told(&gateway.site, &runtime), before, "{stage}");
        }
        before
    };
    until("the gateway's child ends with its site", || !lives(before));
}

#[test]
fn what_the_child_complains_of_is_logged_by_whoever_has_it() {
    let (site, runtime) = (site("", ""), runtime());
    site.daemon();
    let before = child(&site);
    upgrade(&site);
    let complaints = format!("/proc/{before}/fd/2");
    fs::File::create(complaints).unwrap().write_all(b"a complaint after the upgrade\n").unwrap();
    let log = || fs::read_to_string(site.path("log")).unwrap();
    until("it is logged", || log().contains("a complaint after the upgrade"));
    assert_eq!(told(&site, &runtime), before);
}
