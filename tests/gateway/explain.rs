//! Why upstreams cannot be used, as `mcpeg explain` tells it: each cause is brought about, all behind one gateway.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use axum::routing::post;
use axum::{Router, http::StatusCode};

use crate::daemon::Site;
use crate::gateway::Gateway;
use crate::tools::transcript;

/// Each upstream with its lines in the configuration, and what is told: of the cause, and of what mends it.
const CAUSES: [(&str, &str, &[&str]); 19] = [
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
    ("login", "url = \"http://127.0.0.1:@PORT/401\"", &["status 401", "Authorization"]),
    ("path", "url = \"http://127.0.0.1:@PORT/404\"", &["status 404", "the path of `url`"]),
    ("moved", "url = \"http://127.0.0.1:@PORT/301\"", &["https://elsewhere.example/mcp", "as `url`"]),
    ("page", "url = \"http://127.0.0.1:@PORT/mcp\"", &["<title>Sign in</title>", "a page to sign in"]),
];

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

#[tokio::test]
async fn each_cause_is_named_with_what_mends_it() {
    let port = web().await.to_string();
    let site = Site::new();
    site.write("script", "#!/no/such/shell\n");
    site.write("plain", "exit 0\n");
    std::fs::set_permissions(site.path("script"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let here = site.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    let upstreams = CAUSES.iter().fold(String::new(), |mut text, (name, lines, _)| {
        let lines = lines.replace("@PORT", &port).replace('@', &here);
        writeln!(text, "[upstreams.{name}]\n{lines}").unwrap();
        text
    });
    let gateway = Gateway::start(&upstreams).await;
    let is_known = |status: &serde_json::Value, name: &str| {
        let all = status["upstreams"].as_array().unwrap();
        all.iter().any(|one| one["name"] == name && one["last_error"].is_string())
    };
    let told = async {
        loop {
            let status = gateway.status().await;
            if CAUSES.iter().all(|(name, ..)| is_known(&status, name)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("each fails");
    for (name, _, parts) in CAUSES {
        let output = gateway.control(&["explain", name]).await;
        let said = transcript(&output);
        assert!(
            output.status.code() == Some(3) && parts.iter().all(|part| said.contains(part)),
            "{name}: {said}"
        );
    }
    let unknown = gateway.control(&["explain", "nobody"]).await;
    assert_eq!(unknown.status.code(), Some(64), "{}", transcript(&unknown));
    let status = gateway.control(&["status"]).await;
    assert!(transcript(&status).contains("mend        moved: write the address"), "{}", transcript(&status));
    gateway.stop().await;
}
