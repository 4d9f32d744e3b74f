//! Why upstreams cannot be used, as `mcpeg explain` tells it: each cause is brought about, all behind one gateway.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use axum::{Router, http::StatusCode};
use rcgen::SanType;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::daemon::Site;
use crate::gateway::{Gateway, write};
use crate::listeners::Authority;
use crate::tools::transcript;

/// The page for those who look for a cause.
const PAGE: &str = include_str!("../../docs/troubleshooting.md");

/// An upstream with its lines in the configuration, and what is told of it.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// Each upstream with its lines in the configuration, and what is told: of the cause, and of what mends it.
const CAUSES: [Row; 23] = [
    (
        "missing",
        "command = \"no-such-program\"",
        &["none of the directories of PATH, ", "write the whole path"],
    ),
    (
        "interpreter",
        "command = \"@/script\"",
        &["interpreter `/no/such/shell` is missing", "install the interpreter"],
    ),
    (
        "runtime",
        "command = \"@/runtime\"",
        &["exit code 127", "no-such-runtime", "give its directory in PATH"],
    ),
    ("mode", "command = \"@/plain\"", &["Permission denied", "`chmod +x`"]),
    (
        "directory",
        "command = \"sh\"\nworking_dir = \"/no/such\"",
        &["`/no/such` is no directory", "make the directory"],
    ),
    (
        "three",
        "command = \"sh\"\nargs = [\"-c\", \"echo one >&2; echo two >&2; exit 3\"]",
        &["exit code 3", "stderr    one\n", "stderr    two"],
    ),
    (
        "account",
        "command = \"sh\"\nuser = \"no-such-user\"",
        &["there is no user `no-such-user`", "make the account"],
    ),
    ("crash", "command = \"sh\"\nargs = [\"-c\", \"kill -SEGV $$$$\"]", &["SIGSEGV", "a bug of the server"]),
    ("killed", "command = \"sh\"\nargs = [\"-c\", \"kill -KILL $$$$\"]", &["SIGKILL", "out of memory"]),
    ("syscall", "command = \"sh\"\nargs = [\"-c\", \"kill -SYS $$$$\"]", &["SIGSYS", "SystemCallFilter="]),
    (
        "garbage",
        "command = \"sh\"\nargs = [\"-c\", \"echo Listening on 80; exec sed d\"]\nstart_timeout = \"1s\"",
        &["not MCP: Listening on 80", "log to standard error"],
    ),
    (
        "silent",
        "command = \"sleep\"\nargs = [\"600\"]\nstart_timeout = \"1s\"",
        &["was not ready within 1 s", "`start_timeout`"],
    ),
    ("ended", "command = \"true\"", &["exit code 0", "is it a server"]),
    (
        "module",
        "command = \"/usr/bin/python3\"\nargs = [\"-c\", \"import nothing_there\"]",
        &["No module named", "install the module"],
    ),
    ("port", "url = \"http://127.0.0.1:1/mcp\"", &["Connection refused", "nothing listens"]),
    ("host", "url = \"http://no-such-host.invalid/mcp\"", &["dns error", "no such host"]),
    ("plain", "url = \"https://127.0.0.1:@PORT/mcp\"", &["corrupt message", "speaks no TLS"]),
    (
        "name",
        "url = \"https://127.0.0.1:@TLS/mcp\"\nca_file = \"@CA\"",
        &["not valid for name", "write that one in `url`"],
    ),
    ("signed", "url = \"https://127.0.0.1:@TLS/mcp\"", &["UnknownIssuer", "`ca_file`"]),
    ("login", "url = \"http://127.0.0.1:@PORT/401\"", &["status 401", "Authorization"]),
    ("path", "url = \"http://127.0.0.1:@PORT/404\"", &["status 404", "the path of `url`"]),
    ("moved", "url = \"http://127.0.0.1:@PORT/301\"", &["https://elsewhere.example/mcp", "as `url`"]),
    ("page", "url = \"http://127.0.0.1:@PORT/mcp\"", &["<title>Sign in</title>", "a page to sign in"]),
];

/// What only root can bring about; the kernel has the last word in each of them.
const CAUSES_OF_ROOT: [Row; 5] = [
    (
        "access",
        "command = \"@/private\"\nuser = \"nobody\"",
        &["Permission denied", "let the user that it runs as have access"],
    ),
    (
        "unwritable",
        "command = \"unshare\"\nargs = [\"-m\", \"sh\", \"-c\", \"mount -t tmpfs -o ro none /mnt && echo a >/mnt/a\"]",
        &["Read-only file system", "ReadWritePaths="],
    ),
    (
        "full",
        "command = \"unshare\"\nargs = [\"-m\", \"sh\", \"-c\", \"mount -t tmpfs -o size=4k none /mnt && yes >/mnt/a\"]",
        &["No space left on device", "free space"],
    ),
    // As under PrivateNetwork=.
    (
        "address",
        "command = \"unshare\"\nargs = [\"-n\", \"python3\", \"-c\", \"import socket; socket.create_connection(('192.0.2.1', 80))\"]",
        &["Network is unreachable", "IPAddressDeny="],
    ),
    (
        "memory",
        "command = \"sh\"\nargs = [\"-c\", \"echo $$$$ >@GROUP && exec python3 -c 'bytearray(1 << 30)'\"]",
        &["SIGKILL", "out of memory"],
    ),
];

/// A control group whose processes may have 32 MiB together, or else the kernel kills one; removed with the value.
struct Small(PathBuf);

impl Small {
    /// Makes one, in either version of control groups.
    fn new() -> Self {
        let (root, limits) = match Path::new("/sys/fs/cgroup/memory") {
            first if first.exists() => (first, ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]),
            _ => (Path::new("/sys/fs/cgroup"), ["memory.max", "memory.swap.max"]),
        };
        let group = root.join(format!("mcpeg-test-{}", std::process::id()));
        std::fs::create_dir(&group).expect("a control group");
        let group = Self(group);
        write(&group.0.join(limits[0]), (32 << 20).to_string());
        // Where the kernel counts no swap, there is none of this.
        let swap = if limits[1] == "memory.swap.max" { "0".to_owned() } else { (32 << 20).to_string() };
        let limit = group.0.join(limits[1]);
        if limit.exists() {
            write(&limit, swap);
        }
        group
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A server by TLS whose certificate is for another name than its address; its port.
async fn secure(authority: &Authority) -> u16 {
    authority.sign_as("other", 90, vec![SanType::DnsName("other.example.org".try_into().expect("a name"))]);
    let certificate = CertificateDer::from_pem_file(authority.file("other.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(authority.file("other.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("they are spoken")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they fit");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(acceptor.accept(stream));
        }
    });
    port
}

/// A web server that is no MCP server; its port.
async fn web() -> u16 {
    let page = (StatusCode::OK, [("content-type", "text/html")], "<title>Sign in</title>");
    let moved = (StatusCode::MOVED_PERMANENTLY, [("location", "https://elsewhere.example/mcp")]);
    let routes = Router::new()
        .route("/mcp", post(async move || page))
        .route("/301", post(async move || moved))
        .route("/401", post(async || StatusCode::UNAUTHORIZED));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    port
}

/// Puts these upstreams behind one gateway, and sees that each is told of as it should be, once all of them have failed.
async fn each_is_told(causes: &[Row], places: &[(&str, &str)]) -> Gateway {
    let upstreams = causes.iter().fold(String::new(), |mut text, (name, lines, _)| {
        let lines =
            places.iter().fold((*lines).to_owned(), |lines, (place, value)| lines.replace(place, value));
        writeln!(text, "[upstreams.{name}]\n{lines}").expect("a string takes it");
        text
    });
    let gateway = Gateway::start(&upstreams).await;
    let is_known = |status: &serde_json::Value, name: &str| {
        let all = status["upstreams"].as_array().expect("there are some");
        all.iter().any(|one| one["name"] == name && one["last_error"].is_string())
    };
    let told = async {
        loop {
            let status = gateway.status().await;
            if causes.iter().all(|(name, ..)| is_known(&status, name)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("each fails");
    for (name, _, parts) in causes {
        let output = gateway.control(&["explain", name]).await;
        let said = transcript(&output);
        assert!(
            output.status.code() == Some(3) && parts.iter().all(|part| said.contains(part)),
            "{name}: {said}"
        );
    }
    gateway
}

/// Asks what the page says to ask, about one of the upstreams.
async fn commands_of_the_page_are_there(gateway: &Gateway) {
    let asked = PAGE.lines().filter_map(|row| row.strip_prefix("| ")?.split(" | ").nth(1));
    let commands: BTreeSet<_> =
        asked.filter_map(|cell| cell.strip_prefix("`mcpeg ")?.strip_suffix('`')).collect();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        let words = command.replace("NAME", "moved").replace("TOOL KEY=VALUE", "no_such_tool");
        let output = gateway.control(&words.split(' ').collect::<Vec<_>>()).await;
        let said = transcript(&output);
        let is_known = output.status.code().is_some_and(|code| code != 64) || said.contains("no_such_tool");
        assert!(is_known, "{command}: {said}");
    }
}

#[tokio::test]
async fn each_cause_is_named_with_what_mends_it() {
    let authority = Authority::new();
    let (web, tls) = (web().await.to_string(), secure(&authority).await.to_string());
    let site = Site::new();
    site.write("script", "#!/no/such/shell\n");
    site.write("plain", "exit 0\n");
    site.write("runtime", "#!/usr/bin/env no-such-runtime\n");
    for script in ["script", "runtime"] {
        std::fs::set_permissions(site.path(script), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let here = site.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    let ca = authority.file("ca.pem").display().to_string();
    let places = [("@PORT", &*web), ("@TLS", &tls), ("@CA", &ca), ("@", &here)];
    let gateway = each_is_told(&CAUSES, &places).await;
    let unknown = gateway.control(&["explain", "nobody"]).await;
    assert_eq!(unknown.status.code(), Some(64), "{}", transcript(&unknown));
    let status = gateway.control(&["status"]).await;
    assert!(transcript(&status).contains("mend        moved: write the address"), "{}", transcript(&status));
    commands_of_the_page_are_there(&gateway).await;
    gateway.stop().await;
}

#[tokio::test]
#[ignore = "needs root for another user, mount(2) and a control group"]
async fn each_cause_that_takes_root_is_named_with_what_mends_it() {
    let (site, group) = (Site::new(), Small::new());
    site.write("private", "#!/bin/sh\n");
    std::fs::set_permissions(site.path("private"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let here = site.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    let processes = group.0.join("cgroup.procs").display().to_string();
    each_is_told(&CAUSES_OF_ROOT, &[("@GROUP", &processes), ("@", &here)]).await.stop().await;
}
