//! Keeping upstreams up, and down where nobody needs them: lazy start, idleness, health, turns, limits, endpoints.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

use crate::children::Processes;
use crate::client::Client;
use crate::gateway::{Gateway, HttpUpstream};
use crate::upstreams::{Gate, PROBE, PYTHON, http_probe, odd, probe};

/// How long something may take to happen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The entry of the first upstream in the status.
async fn upstream(gateway: &Gateway) -> Value {
    gateway.status().await["upstreams"][0].clone()
}

/// Waits until the first upstream's entry passes the test.
async fn until(gateway: &Gateway, what: &str, test: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        let mut poll = tokio::time::interval(Duration::from_millis(50));
        loop {
            poll.tick().await;
            let upstream = upstream(gateway).await;
            if test(&upstream) {
                return upstream;
            }
        }
    };
    if let Ok(upstream) = tokio::time::timeout(PATIENCE, waiting).await {
        return upstream;
    }
    panic!("not {what}: {}; it printed {}", upstream(gateway).await, gateway.printed());
}

/// The process of the upstream.
async fn pid(client: &Client) -> i32 {
    let pids: Vec<i32> = serde_json::from_str(&client.call("pids", "{}").await.text()).expect("numbers");
    pids[0]
}

#[tokio::test]
async fn lazy_upstream_starts_with_the_first_call_and_sleeps_again_with_its_tools_listed() {
    let gateway = Gateway::start(&(probe("probe", &[]) + "start = \"lazy\"\nidle_timeout = \"3s\"\n")).await;
    let before = upstream(&gateway).await;
    assert_eq!((&before["state"], &before["pid"]), (&"idle".into(), &Value::Null), "{before}");
    let client = Client::modern(gateway.address(), "/mcp");
    let first = pid(&client).await;
    let process = Processes::hold(&[first]);
    until(&gateway, "idle", |upstream| upstream["state"] == "idle").await;
    process.gone();
    let legacy = Client::legacy(gateway.address(), "/mcp").await;
    for client in [&client, &legacy] {
        assert!(client.tools().await.contains(&"pids".to_owned()));
    }
    let asleep = upstream(&gateway).await;
    assert_eq!((&asleep["state"], &asleep["restarts"]), (&"idle".into(), &0.into()), "listing wakes nobody");
    assert_ne!(pid(&legacy).await, first);
    gateway.stop().await;
}

#[tokio::test]
async fn calls_that_meet_an_upstream_falling_asleep_are_all_answered() {
    let gateway = Gateway::start(&(probe("probe", &[]) + "idle_timeout = \"20ms\"\n")).await;
    let client = Client::modern(gateway.address(), "/mcp");
    for pause in 0..25_u64 {
        assert_eq!(client.call("sleep", r#"{"ms":1}"#).await.text(), "slept");
        tokio::time::sleep(Duration::from_millis(15 + pause)).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn upstream_in_use_never_sleeps() {
    let gateway = Gateway::start(&(probe("probe", &[]) + "idle_timeout = \"50ms\"\n")).await;
    let client = Client::modern(gateway.address(), "/mcp");
    assert_eq!(client.call("sleep", r#"{"ms":1500}"#).await.text(), "slept");
    gateway.stop().await;
}

#[tokio::test]
async fn hung_upstream_is_degraded_then_started_anew() {
    let gateway = Gateway::start(&(odd("odd", &["--hang", "ping"]) + "health_interval = \"100ms\"\n")).await;
    until(&gateway, "degraded", |upstream| upstream["state"] == "degraded").await;
    until(&gateway, "restarted", |upstream| upstream["restarts"].as_u64() >= Some(1)).await;
    gateway.prints("does not answer any more").await;
    gateway.stop().await;
}

#[tokio::test]
async fn healthy_upstream_is_asked_and_left_alone() {
    for era in ["legacy", "modern"] {
        let gateway =
            Gateway::start(&(probe("probe", &["--era", era]) + "health_interval = \"20ms\"\n")).await;
        let client = Client::modern(gateway.address(), "/mcp");
        let first = pid(&client).await;
        assert_eq!(client.call("sleep", r#"{"ms":1500}"#).await.text(), "slept");
        assert_eq!(pid(&client).await, first);
        // It may just have been busy for longer than a question may take.
        let upstream = until(&gateway, "ready", |upstream| upstream["state"] == "ready").await;
        assert_eq!(upstream["restarts"], 0, "{upstream}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn requests_beyond_the_turns_wait_and_those_beyond_the_queue_are_refused() {
    let gateway = Gateway::start(&(probe("probe", &[]) + "max_concurrency = 1\nmax_queue = 1\n")).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let gate = Gate::closed();
    let arguments = gate.arguments();
    let mut calls: FuturesUnordered<_> = (0..3).map(|_| client.call("sleep", &arguments)).collect();
    // The first one that is answered is the one that neither has a turn nor may wait for one.
    let refused = calls.next().await.expect("three calls").reply();
    assert!(refused.contains("busy: 1 requests"), "{refused}");
    gate.open();
    let slept: Vec<_> = calls.map(|answer| answer.text()).collect().await;
    assert_eq!(slept, ["slept", "slept"]);
    // The turns are given back.
    assert_eq!(client.call("sleep", r#"{"ms":1}"#).await.text(), "slept");
    gateway.stop().await;
}

#[tokio::test]
async fn child_is_held_to_its_limits() {
    let limits = "memory_max = \"256MiB\"\ntasks_max = 30000\nopen_files_max = 64\n";
    let gateway = Gateway::start(&(probe("probe", &[]) + limits)).await;
    let pid = pid(&Client::modern(gateway.address(), "/mcp")).await;
    let shown = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    for (name, value) in
        [("Max data size", "268435456"), ("Max processes", "30000"), ("Max open files", "64")]
    {
        let line = shown.lines().find(|line| line.starts_with(name)).expect("listed");
        assert_eq!(line.matches(value).count(), 2, "{line}");
    }
    gateway.stop().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn child_runs_as_its_user_with_no_other_groups() {
    // The interpreter reads its script from the standard input's place: others may not reach this directory.
    let source = std::fs::read_to_string(PROBE).expect("the probe");
    let script = tempfile::Builder::new().suffix(".py").tempfile_in("/tmp").expect("a file");
    std::io::Write::write_all(&mut script.as_file(), source.as_bytes()).expect("a file");
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    script.as_file().set_permissions(readable).expect("our file");
    let path = script.path().to_str().expect("UTF-8");
    let gateway =
        Gateway::start(&(crate::upstreams::stdio("probe", PYTHON, &[path]) + "user = \"nobody\"\n")).await;
    let pid = pid(&Client::modern(gateway.address(), "/mcp")).await;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a field");
        line[name.len()..].split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("nobody");
    assert!(field("Uid:").iter().all(|uid| *uid == nobody.uid.to_string()), "{status}");
    assert!(field("Gid:").iter().all(|gid| *gid == nobody.gid.to_string()), "{status}");
    assert_eq!(field("Groups:"), Vec::<String>::new(), "{status}");
    let process = Processes::hold(&[pid]);
    gateway.kill().await;
    process.gone();
}

/// `[upstreams.probe]` with several endpoints.
fn several(ports: &[u16]) -> String {
    let urls: Vec<_> = ports.iter().map(|port| format!("\"http://127.0.0.1:{port}/mcp\"")).collect();
    format!("[upstreams.probe]\nurls = [{}]\n", urls.join(", "))
}

#[tokio::test]
async fn requests_are_shared_among_endpoints_and_one_that_is_gone_is_left_out() {
    let (one, other) = (http_probe(&["--era", "modern"]).await, http_probe(&["--era", "modern"]).await);
    let gateway = Gateway::start(&several(&[one.port, other.port])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let mut seen = std::collections::BTreeMap::<i32, u32>::new();
    for _ in 0..10 {
        *seen.entry(pid(&client).await).or_default() += 1;
    }
    assert_eq!(seen.values().copied().collect::<Vec<_>>(), [5, 5], "{seen:?}");
    let process = Processes::hold(&[pid_of(&one)]);
    drop(one);
    process.gone();
    let mut left = std::collections::BTreeSet::new();
    let mut lost = 0;
    for _ in 0..10 {
        // A call that went over a connection just before its end was seen may have reached the server: it is not repeated.
        match client.call("pids", "{}").await {
            answer if answer.reply().contains("result") => _ = left.insert(answer.text()),
            _ => lost += 1,
        }
    }
    assert_eq!(left, [format!("[{}]", pid_of(&other))].into(), "{left:?}");
    assert!(lost <= 1, "{lost}");
    until(&gateway, "degraded", |upstream| upstream["state"] == "degraded").await;
    gateway.stop().await;
}

#[tokio::test]
async fn session_stays_at_its_endpoint_and_begins_anew_elsewhere_when_that_is_gone() {
    let (one, other) = (http_probe(&["--era", "legacy"]).await, http_probe(&["--era", "legacy"]).await);
    let gateway = Gateway::start(&several(&[one.port, other.port])).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let first = pid(&client).await;
    for _ in 0..5 {
        assert_eq!(pid(&client).await, first);
    }
    // Whichever it is, the session goes on at the other one.
    let (gone, left) = if pid_of(&one) == first { (one, other) } else { (other, one) };
    drop(gone);
    let back = async {
        loop {
            let answer = client.call("pids", "{}").await;
            if answer.reply().contains("result") {
                return answer.text();
            }
        }
    };
    let back = tokio::time::timeout(PATIENCE, back).await.expect("the session goes on");
    assert_eq!(back, format!("[{}]", pid_of(&left)));
    gateway.stop().await;
}

/// The process of an upstream over HTTP.
fn pid_of(upstream: &HttpUpstream) -> i32 {
    upstream.pid().try_into().expect("a pid fits")
}

/// Makes an authority, and the key and certificate of 127.0.0.1 that it signed; gives the files of both.
fn certificates(directory: &Path) -> (String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("names");
    let certificate = params.signed_by(&key, &authority).expect("signed");
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        crate::gateway::write(&path, &text);
        path.to_str().expect("a name in UTF-8").to_owned()
    };
    (write("ca.pem", authority.pem()), write("server.pem", key.serialize_pem() + &certificate.pem()))
}

#[tokio::test]
async fn authorities_that_are_replaced_in_their_file_are_read_by_a_reload() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (authority, server) = certificates(scratch.path());
    let (first, upstream) =
        (std::fs::read_to_string(&authority).expect("a file"), http_probe(&["--tls", &server]).await);
    // Another authority in the same place.
    certificates(scratch.path());
    let url = format!("url = \"https://127.0.0.1:{}/mcp\"\n", upstream.port);
    let trusting = format!("[upstreams.probe]\n{url}ca_file = \"{authority}\"\n");
    let gateway = Gateway::start(&trusting).await;
    let client = Client::modern(gateway.address(), "/mcp/probe");
    let (_, message) = client.call("sleep", r#"{"ms":1}"#).await.error();
    assert!(message.contains("cannot be reached"), "{message}");
    crate::gateway::write(Path::new(&authority), &first);
    let reloaded = gateway.reload("", &trusting).await;
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert!(String::from_utf8_lossy(&reloaded.stdout).contains("changed"), "{reloaded:?}");
    assert_eq!(client.call("sleep", r#"{"ms":1}"#).await.text(), "slept");
    // Nothing is different any more.
    let reloaded = gateway.reload("", &trusting).await;
    assert!(!String::from_utf8_lossy(&reloaded.stdout).contains("changed: probe"), "{reloaded:?}");
    crate::gateway::write(Path::new(&authority), "nothing");
    assert!(!gateway.reload("", &trusting).await.status.success(), "what cannot be used is refused");
    assert_eq!(client.call("sleep", r#"{"ms":1}"#).await.text(), "slept");
    gateway.stop().await;
}

#[tokio::test]
async fn secret_that_is_replaced_in_its_file_is_read_by_a_reload() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (file, upstream) = (scratch.path().join("secret"), http_probe(&[]).await);
    let configuration = format!(
        "[upstreams.probe]\nurl = \"http://127.0.0.1:{}/mcp\"\nheaders = {{ X-Key = \"${{file:{}}}\" }}\n",
        upstream.port,
        file.display()
    );
    crate::gateway::write(&file, "one");
    let gateway = Gateway::start(&configuration).await;
    for (content, changed) in [("one", false), ("two", true)] {
        crate::gateway::write(&file, content);
        let reloaded = gateway.reload("", &configuration).await;
        let said = String::from_utf8_lossy(&reloaded.stdout).into_owned();
        assert!(reloaded.status.success() && said.contains("changed") == changed, "{said}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn authorities_of_an_upstreams_own_are_trusted_and_no_others() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (authority, server) = certificates(scratch.path());
    let upstream = http_probe(&["--tls", &server]).await;
    let url = format!("url = \"https://127.0.0.1:{}/mcp\"\n", upstream.port);
    let trusting = format!("[upstreams.probe]\n{url}ca_file = \"{authority}\"\n");
    let gateway = Gateway::start(&(trusting + &format!("[upstreams.doubting]\n{url}"))).await;
    let trusted = Client::modern(gateway.address(), "/mcp/probe");
    assert_eq!(trusted.call("sleep", r#"{"ms":1}"#).await.text(), "slept");
    let doubting = Client::modern(gateway.address(), "/mcp/doubting");
    let (_, message) = doubting.call("sleep", r#"{"ms":1}"#).await.error();
    assert!(message.contains("cannot be reached"), "{message}");
    gateway.stop().await;
    let missing =
        format!("[server]\nlisten = [\"127.0.0.1:0\"]\n[upstreams.probe]\n{url}ca_file = \"/nowhere.pem\"\n");
    let refused = Gateway::run(&missing).await;
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
}
