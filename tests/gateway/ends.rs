//! Ends and limits: what hangs at the other side costs neither time nor descriptors, and ends do not wait for one another.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::{Value, json};

use crate::client::{Client, post};
use crate::gateway::{Gateway, HttpUpstream};
use crate::isolation::call;
use crate::scripted::{Script, http_script};
use crate::upstreams::http;

/// How long something may take to happen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an HTTP server of these tests has beside: `test/counts` tells how often each method was posted, and how many of
/// what hangs hung at most at once.
const COUNTING: &str = r#"
import select
counts, hanging, most = {}, {}, {}
guard = threading.Lock()

def hang(what):
    with guard:
        hanging[what] = hanging.get(what, 0) + 1
        most[what] = max(most.get(what, 0), hanging[what])
    time.sleep(1000)

def wait_for(handler, what, seconds):
    """Takes its time, or as long as the other side waits: what it has given up is not under way any more."""
    with guard:
        hanging[what] = hanging.get(what, 0) + 1
        most[what] = max(most.get(what, 0), hanging[what])
    select.select([handler.connection], [], [], seconds)
    with guard:
        hanging[what] -= 1

def gone(handler):
    wait_for(handler, "DELETE", 2)
    with guard:
        counts["DELETE"] = counts.get("DELETE", 0) + 1
    handler.answer(200)

def post(handler, message):
    method = message.get("method")
    if method == "test/counts":
        handler.answer(200, {"id": 0, "result": {"counts": counts, "most": most}})
        return True
    counts[method] = counts.get(method, 0) + 1
    if method in hangs:
        hang(method)
    return method == "tools/call" and message["params"]["name"] != "quick" and hang(method)
"#;

/// What the server has counted.
async fn counted(upstream: &HttpUpstream) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "test/counts" }).to_string();
    let answer = post(&format!("127.0.0.1:{}", upstream.port), "/mcp", &[], &body).await;
    serde_json::from_str(&answer.result()).expect("JSON")
}

/// Waits until the test passes, and says what was found last if it does not.
async fn until<T: std::fmt::Debug>(what: &str, look: impl AsyncFn() -> T, test: impl Fn(&T) -> bool) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = look().await;
        if test(&found) {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "not {what}: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The descriptors of a gateway.
fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("it runs").count()
}

#[tokio::test]
async fn calls_of_a_server_that_hangs_leave_no_descriptor_behind() {
    let upstream = http_script(&format!("hangs = ['notifications/cancelled']\n{COUNTING}")).await;
    let limits = "request_timeout = \"1s\"\nhealth_interval = \"0s\"\n";
    for rest in ["", "sharing = \"shared\"\n"] {
        let gateway = Gateway::start(&(http("hung", upstream.port) + limits + rest)).await;
        let client = Client::legacy(gateway.address(), "/mcp").await;
        client.tools().await;
        let before = descriptors(&gateway);
        let calls = (0..100).map(|id| {
            let client = client.clone();
            async move {
                let params = r#"{"name":"one","arguments":{}}"#;
                client.request(&id.to_string(), "tools/call", "one", params).await.error()
            }
        });
        for (_, message) in futures_util::future::join_all(calls).await {
            assert!(message.contains("did not answer within"), "{message}");
        }
        until("given back", async || descriptors(&gateway), |now| *now <= before + 2).await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn handshake_that_hangs_is_not_called_off_and_leaves_no_descriptor_behind() {
    let upstream =
        http_script(&format!("hangs = ['initialize', 'notifications/cancelled']\n{COUNTING}")).await;
    let gateway = Gateway::start(&(http("hung", upstream.port) + "start_timeout = \"1s\"\n")).await;
    let tries = |found: &Value| found["counts"]["initialize"].as_u64() >= Some(4);
    let found = until("tried", async || counted(&upstream).await, tries).await;
    assert_eq!(found["counts"]["notifications/cancelled"], Value::Null, "{found}");
    // One that is under way, and none of those before.
    let sockets = async || connections(&gateway, upstream.port).len();
    until("given back", sockets, |open| *open <= 1).await;
    gateway.stop().await;
}

/// A gateway's TCP connections to a port: their descriptors, with the names of the sockets.
fn connections(gateway: &Gateway, port: u16) -> Vec<(i32, String)> {
    let own = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("it runs");
    let named = own.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = std::fs::read_link(entry.path()).ok()?.to_str()?.to_owned();
        Some((entry.file_name().to_str()?.parse().ok()?, name))
    });
    named.filter(|(_, name)| connected_to(name, port)).collect()
}

/// Whether a descriptor's link is that of a TCP connection to a port.
fn connected_to(link: &str, port: u16) -> bool {
    let Some(inode) = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[9] == inode && fields[2].ends_with(&format!(":{port:04X}"))
    })
}

#[tokio::test]
async fn sessions_that_are_idle_end_together() {
    let upstream = http_script(&format!("hangs = []\n{COUNTING}\nHandler.do_DELETE = gone\n")).await;
    let gateway = Gateway::start_with("session_timeout = \"5s\"", &http("slow", upstream.port), &[]).await;
    for _ in 0..25 {
        Client::legacy(gateway.address(), "/mcp").await.tools().await;
    }
    let sessions = async || gateway.status().await["sessions"].as_u64();
    until("ended", sessions, |sessions| *sessions == Some(0)).await;
    let most = counted(&upstream).await["most"]["DELETE"].as_u64().expect("a number");
    // One after the other, there would never be two: each takes two seconds.
    assert!(most >= 10, "{most} at once");
    gateway.stop().await;
}

/// Stops a gateway and insists that it ends by its own, in time.
async fn stops_in_time(gateway: Gateway) {
    let pid = gateway.pid();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    gateway.prints("code=0").await;
    let printed = gateway.printed();
    assert!(!printed.contains("the drain does not end"), "{printed}");
    assert_eq!(gateway.ended().await, Some(0), "{printed}");
}

#[tokio::test]
async fn stop_waits_for_no_handshake() {
    let hanging = "\ndef handle(message):\n    if message.get('method') == 'initialize' and os.environ.get('ALL'): time.sleep(1000)\n    return False\n";
    let modern =
        Script::new(&format!("modern = True\n{}", hanging.replace(" and os.environ.get('ALL')", "")));
    let http_hangs = http_script(&format!(
        "hangs = []\n{COUNTING}\nfirst = post\ndef post(handler, message):\n    if message.get('method') == 'initialize' and counts.get('initialize', 0) > 0: hang('initialize')\n    return first(handler, message)\n"
    ))
    .await;
    let cases = [
        // The legacy connection that all share, to a server that is modern by nature.
        modern.upstream("hung") + "sharing = \"shared\"\n",
        // A session's own.
        modern.upstream("hung") + "sharing = \"per-session\"\n",
        http("hung", http_hangs.port),
    ];
    for upstream in cases {
        let gateway = Gateway::start_with("drain_timeout = \"1s\"", &upstream, &[]).await;
        let client = Client::legacy(gateway.address(), "/mcp/mcpeg").await;
        drop(client);
        let address = gateway.address().to_owned();
        let calling = tokio::spawn(async move {
            let client = Client::legacy(&address, "/mcp").await;
            client.call("one", "{}").await
        });
        // The handshake is under way.
        tokio::time::sleep(Duration::from_secs(1)).await;
        stops_in_time(gateway).await;
        calling.abort();
    }
}

#[tokio::test]
async fn stop_waits_for_no_goodbye_and_no_child_that_will_not_end() {
    let upstream = http_script(&format!("hangs = []\n{COUNTING}\nHandler.do_DELETE = gone\n")).await;
    let stubborn = Script::new(
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nimport atexit\natexit.register(time.sleep, 1000)\n",
    );
    let configuration =
        http("slow", upstream.port) + &stubborn.upstream("stubborn") + "sharing = \"per-session\"\n";
    let gateway = Gateway::start_with("drain_timeout = \"1s\"", &configuration, &[]).await;
    for _ in 0..12 {
        let client = Client::legacy(gateway.address(), "/mcp").await;
        client.tools().await;
    }
    // Connections that were lent to clients which can be asked end with the others.
    let asking = Client::modern(gateway.address(), "/mcp/slow");
    let calls = (0..12).map(|number| {
        let asking = asking.clone();
        async move { call(&asking, &format!("client {number}"), "quick", "").await.text() }
    });
    assert!(futures_util::future::join_all(calls).await.iter().all(|text| text == "fine"));
    stops_in_time(gateway).await;
    let counted = counted(&upstream).await;
    // Those of the sessions, and that which all share.
    assert!(counted["most"]["DELETE"].as_u64() >= Some(12), "{counted}");
}

/// A copy of a descriptor of another process.
fn copy_of(pid: nix::unistd::Pid, number: i32) -> OwnedFd {
    let pid = Pid::from_raw(pid.as_raw()).expect("a pid");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
    pidfd_getfd(process, number, PidfdGetfdFlags::empty()).expect("it is a child of ours")
}

#[tokio::test]
async fn kernel_watches_over_all_connections_to_upstreams() {
    let lines = "\ndef get(handler):\n    handler.send_response(200)\n    handler.send_header('Content-Type', 'text/event-stream')\n    handler.end_headers()\n    handler.wfile.flush()\n    time.sleep(1000)\n    return True\n";
    let upstream = http_script(lines).await;
    let gateway = Gateway::start(&http("one", upstream.port)).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    client.tools().await;
    let numbers = async || connections(&gateway, upstream.port);
    // The streams of both sessions.
    let open = until("open", numbers, |open| open.len() >= 2).await;
    for (number, _) in open {
        let socket = copy_of(gateway.pid(), number);
        assert!(getsockopt(&socket, sockopt::KeepAlive).expect("a socket"));
        let seconds = [
            getsockopt(&socket, sockopt::TcpKeepIdle).expect("a socket"),
            getsockopt(&socket, sockopt::TcpKeepInterval).expect("a socket"),
            getsockopt(&socket, sockopt::TcpKeepCount).expect("a socket"),
            getsockopt(&socket, sockopt::TcpUserTimeout).expect("a socket"),
        ];
        assert_eq!(seconds, [30, 10, 3, 60_000], "{}", socket.as_raw_fd());
    }
    gateway.stop().await;
}

/// A machine of its own for a server, which can vanish.
struct Machine(String);

impl Machine {
    /// Makes one, reachable at `10.213.7.2`.
    fn new() -> Self {
        let name = format!("mcpeg{}", std::process::id());
        let machine = Self(name.clone());
        let (ours, theirs) = (format!("{name}a"), format!("{name}b"));
        ip(&["netns", "add", &name]);
        ip(&["link", "add", &ours, "type", "veth", "peer", "name", &theirs, "netns", &name]);
        ip(&["address", "add", "10.213.7.1/30", "dev", &ours]);
        ip(&["link", "set", &ours, "up"]);
        ip(&["-n", &name, "address", "add", "10.213.7.2/30", "dev", &theirs]);
        ip(&["-n", &name, "link", "set", &theirs, "up"]);
        machine
    }

    /// Lets it vanish: nothing that is sent to it is answered any more.
    fn vanish(&self) {
        ip(&["-n", &self.0, "link", "set", &format!("{}b", self.0), "down"]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

/// Runs ip(8).
#[expect(clippy::disallowed_methods, reason = "a tool of the test, which is waited for at once")]
fn ip(arguments: &[&str]) {
    let status = std::process::Command::new("ip").args(arguments).status().expect("ip(8) is installed");
    assert!(status.success(), "{arguments:?}");
}

#[tokio::test]
#[ignore = "needs root for network namespaces"]
async fn stream_from_a_peer_that_vanished_is_given_up() {
    let machine = Machine::new();
    let lines = "\nfrom http.server import ThreadingHTTPServer as Threading\ndef get(handler):\n    handler.send_response(200)\n    handler.send_header('Content-Type', 'text/event-stream')\n    handler.end_headers()\n    handler.wfile.flush()\n    time.sleep(1000)\n    return True\n";
    let text = crate::scripted::http_text(lines).replace("(\"127.0.0.1\", port)", "(\"10.213.7.2\", port)");
    let mut command = crate::tools::bound("ip");
    let upstream = HttpUpstream::start(command.args([
        "netns",
        "exec",
        &machine.0,
        crate::upstreams::PYTHON,
        "-c",
        &text,
    ]))
    .await;
    let configuration = format!(
        "[upstreams.far]\nurl = \"http://10.213.7.2:{}/mcp\"\nhealth_interval = \"0s\"\n",
        upstream.port
    );
    let gateway = Gateway::start(&configuration).await;
    let sockets = async || connections(&gateway, upstream.port);
    let before = until("connected", sockets, |open| !open.is_empty()).await;
    machine.vanish();
    let given_up = async {
        while sockets().await.iter().any(|open| before.contains(open)) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    // The kernel gives up after a minute and a half.
    tokio::time::timeout(Duration::from_secs(180), given_up).await.expect("it is given up");
    gateway.stop().await;
}
