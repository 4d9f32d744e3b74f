//! The order of what the two processes of an upgrade say: whatever the protocol leaves open may come in any, and what it does
//! not is refused by name.
//!
//! The two are real; between them is `tests/fixtures/interposer.py`.

use std::fs;

use super::bad::Replaceable;
use super::children::{runtime, site};
use crate::client::{Client, MODERN_META};
use crate::support::daemon::{lives, until};
use crate::support::program::mcpeg;

/// The stages that each side says, in their order.
const OLD: [&str; 5] = ["take", "go", "commit", "confirm", "released"];
/// The same of the new process.
const NEW: [&str; 5] = ["hello", "prepared", "ready", "owned", "confirmed"];
/// The stages that are only said to a process that understands them.
const EXTENDED: [&str; 2] = ["confirm", "confirmed"];
/// How many orders are tried.
const SEEDS: u32 = 6;

/// A new process behind the interposer.
fn interposed(gateway: &Replaceable, mode: &str, seed: u32) -> String {
    include_str!("../../fixtures/interposer.py")
        .replace("@REAL@", mcpeg())
        .replace("@MODE@", mode)
        .replace("@SEED@", &seed.to_string())
        .replace("@TRANSCRIPT@", gateway.site.path("transcript").to_str().unwrap())
}

/// What the two have said: the side, and the message's name.
fn transcript(gateway: &Replaceable) -> Vec<(String, String)> {
    let text = fs::read_to_string(gateway.site.path("transcript")).unwrap();
    let said = text.lines().map(|line| {
        let (side, message) = line.split_once(' ').unwrap();
        let message: serde_json::Value = serde_json::from_str(message).unwrap();
        (side.to_owned(), message["message"].as_str().unwrap().to_owned())
    });
    said.collect()
}

/// Where a side has first said this.
fn place(said: &[(String, String)], side: &str, name: &str) -> Option<usize> {
    said.iter().position(|(speaker, message)| speaker == side && message == name)
}

/// Insists on the order that the protocol promises.
fn check(said: &[(String, String)], mode: &str) {
    for (side, stages) in [("old", OLD), ("new", NEW)] {
        let of_side: Vec<_> = said.iter().filter(|(speaker, _)| speaker == side).map(|(_, it)| it).collect();
        assert_eq!(of_side[0], stages[0], "{mode}: nothing comes before it: {said:?}");
        let seen: Vec<_> = of_side.into_iter().filter(|name| stages.contains(&name.as_str())).collect();
        let due = stages.iter().filter(|stage| mode != "first" || !EXTENDED.contains(stage));
        assert_eq!(seen, due.collect::<Vec<_>>(), "{mode}: {said:?}");
    }
    let at = |side, name| place(said, side, name).unwrap_or_else(|| panic!("{mode}: no {name}: {said:?}"));
    let last_child = said.iter().rposition(|(_, name)| name == "child").expect("a child goes over");
    assert!(last_child < at("old", "commit"), "{mode}: {said:?}");
    assert!(at("new", "of_child") > at("new", "owned"), "{mode}: {said:?}");
    if mode == "first" {
        assert_eq!(place(said, "old", "turn"), None, "{said:?}");
    } else {
        assert!(at("old", "turn") < at("old", "go"), "{mode}: {said:?}");
    }
    for kind in ["session", "found", "round"] {
        assert!(place(said, "old", kind).is_some(), "{mode}: nothing is proven of {kind}: {said:?}");
    }
}

/// An upgrade in which everything that moves is there, with the interposer in between.
fn converse(mode: &str, seed: u32) {
    let what = format!("{mode} {seed}");
    let gateway = Replaceable::of(site(", \"--tasks\"", "max_concurrency = 2"));
    let (runtime, address) = (runtime(), gateway.site.address().to_string());
    let at = || Client::modern(&address, "/mcp");
    let begun: serde_json::Value =
        serde_json::from_str(&runtime.block_on(async { at().call("job", "{}").await.result() })).unwrap();
    let task = begun["taskId"].as_str().unwrap();
    let sessions: Vec<_> = (0..4).map(|_| runtime.block_on(Client::legacy(&address, "/mcp"))).collect();
    let before = child_of_modern(&gateway, &runtime);
    let slow: Vec<_> = (0..3)
        .map(|_| {
            let client = at();
            runtime.spawn(async move { client.call("sleep", r#"{"ms":1000}"#).await.text() })
        })
        .collect();
    until("the calls are in flight", || gateway.site.status()["in_flight"] == 3);
    let finished = gateway.upgrade_to(&interposed(&gateway, mode, seed), false);
    assert_eq!(finished.code, Some(0), "{what}: {finished:?}");
    // At once, while the old process still has its calls.
    for session in &sessions {
        let answer = runtime.block_on(session.call("sleep", r#"{"ms":1}"#));
        assert_eq!(answer.text(), "slept", "{what}");
    }
    let unknown = [("mcp-session-id", "00000000000000000000000000000000")];
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let answer = runtime.block_on(crate::client::post(&address, "/mcp", &unknown, ping));
    assert_eq!(answer.status, 404, "{what}");
    for call in slow {
        assert_eq!(runtime.block_on(call).unwrap(), "slept", "{what}");
    }
    until("the old process ends", || !lives(gateway.pid));
    let about = format!(r#"{{"taskId":"{task}","_meta":{{{MODERN_META}}}}}"#);
    let answer = runtime.block_on(async { at().request("1", "tasks/get", task, &about).await.result() });
    assert!(answer.contains("working"), "{what}: {answer}");
    for session in sessions {
        assert_eq!(runtime.block_on(session.request("1", "ping", "", "{}")).result(), "{}", "{what}");
        runtime.block_on(session.end());
    }
    assert_eq!(child_of_modern(&gateway, &runtime), before, "{what}: the child went over");
    assert_eq!(gateway.site.run(&["--stop"]).code, Some(0), "{what}");
    check(&transcript(&gateway), mode);
}

/// The child that answers clients of the modern era.
fn child_of_modern(gateway: &Replaceable, runtime: &tokio::runtime::Runtime) -> String {
    let address = gateway.site.address().to_string();
    runtime.block_on(async { Client::modern(&address, "/mcp").call("pids", "{}").await.text() })
}

#[test]
fn both_say_what_they_say_in_the_order_of_the_protocol() {
    converse("watch", 0);
}

#[test]
fn process_of_the_first_version_is_told_nothing_that_it_does_not_understand() {
    converse("first", 0);
}

#[test]
fn what_has_no_order_may_come_in_any() {
    for seed in 0..SEEDS {
        converse("mixed", seed);
    }
}

#[test]
fn stage_in_the_place_of_another_is_refused_by_name_and_the_old_process_serves_on() {
    let gateway = Replaceable::new();
    for (side, stages, also) in [("old", &OLD[..3], "prepared"), ("new", &NEW[1..], "go")] {
        for due in stages {
            for said in stages.iter().chain([&also]).filter(|said| *said != due) {
                let what = format!("{side} {due} {said}");
                let script = interposed(&gateway, &format!("{side}:{due}:{said}"), 0);
                let finished = gateway.upgrade_to(&script, false);
                assert_eq!(finished.code, Some(71), "{what}: {finished:?}");
                // `take` has more than its name.
                let told = format!("said `{said}` where `{due}` was due");
                assert!(*said == "take" || finished.stderr.contains(&told), "{what}: {finished:?}");
                gateway.serves_on(&what);
            }
        }
    }
}

#[test]
fn new_process_serves_without_the_last_word_of_the_old_one() {
    let gateway = Replaceable::new();
    let finished = gateway.upgrade_to(&interposed(&gateway, "old:released:go", 0), false);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(gateway.site.status()["state"], "running");
    assert_ne!(gateway.site.pid(), gateway.pid);
}
