//! `docs/network.md`, word for word: its configurations, with this machine's paths and addresses in the place of the page's, and its
//! commands.

use std::path::Path;
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::net::TcpStream;

use crate::client::{open, post};
use crate::daemon::Site;
use crate::gateway::{Gateway, write};
use crate::listeners::{Authority, addresses, get, s_client};
use crate::port::Port;
use crate::tools::{Tools, bound, transcript};
use crate::upstreams::probe;

/// The page.
const PAGE: &str = include_str!("../../docs/network.md");
/// The name that the page's clients use.
const NAME: &str = "mcp.example.org";
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first block of a language after a heading.
fn block(heading: &str, language: &str) -> String {
    let (_, section) =
        PAGE.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let (_, block) =
        section.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("no {language}"));
    block.split_once("```").expect("its end").0.to_owned()
}

/// A text of the page with these words in the place of its own, each of which is there.
fn changed(text: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the page has no `{from}`: {text}");
        text.replace(from, to)
    })
}

/// A command of the page.
fn command(command: &str) -> Vec<&str> {
    assert!(PAGE.contains(&format!("`{command}`")), "the page has no `{command}`");
    command.split(' ').skip(1).collect()
}

#[tokio::test]
async fn tls_and_a_token_are_what_the_page_says() {
    let authority = Authority::new();
    authority.sign("server", 90);
    let [cert, key] = ["server.pem", "server.key"].map(|name| authority.file(name).display().to_string());
    let words = [
        ("0.0.0.0:8443", "127.0.0.2:0"),
        ("/etc/mcpeg/tls/fullchain.pem", &cert),
        ("/etc/mcpeg/tls/privkey.pem", &key),
    ];
    let site = Site::serving("", &changed(&block("With TLS", "toml"), &words));
    let state = site.path("state").display().to_string();
    let site = site.variable("STATE_DIRECTORY", &state);
    let checked = site.run(&["--check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let gateway = Gateway::on(site).await;
    let address = addresses(&gateway).await.pop().expect("the listener of the page");
    let mut create = command("mcpeg token create NAME");
    create[2] = "alice";
    let made = gateway.control(&create).await;
    assert!(made.status.success(), "{}", transcript(&made));
    let bearer = format!("Bearer {}", String::from_utf8(made.stdout).expect("text").trim());
    let status = async |host: &str, token: Option<&str>| {
        let stream = TcpStream::connect(&address).await.expect("somebody listens");
        let stream = authority.client().connect("localhost".try_into().expect("a name"), stream).await;
        let headers: Vec<_> =
            [("host", host)].into_iter().chain(token.map(|token| ("authorization", token))).collect();
        get(stream.expect("a handshake"), "/health", &headers).await.expect("an answer").0
    };
    let taken_up = async { while status(NAME, Some(&bearer)).await == 401 {} };
    tokio::time::timeout(PATIENCE, taken_up).await.expect("a token is in force");
    assert_eq!(
        [
            status(NAME, Some(&bearer)).await,
            status(NAME, None).await,
            status("other.example.org", Some(&bearer)).await
        ],
        [200, 401, 403]
    );
    let mut revoke = command("mcpeg token revoke NAME");
    revoke[2] = "alice";
    assert!(gateway.control(&revoke).await.status.success());
    let taken_up = async { while status(NAME, Some(&bearer)).await != 401 {} };
    tokio::time::timeout(PATIENCE, taken_up).await.expect("a revocation is in force");
    let shown = command("openssl s_client -connect mcp.example.org:8443 -alpn h2");
    assert_eq!(shown[1..3], ["-connect", "mcp.example.org:8443"]);
    assert!(s_client(&address, &shown[3..], "").await.contains("ALPN protocol: h2"));
    gateway.stop().await;
}

/// Sees what the page promises of a proxy at this address: names, addresses, and event streams that come as they are sent.
async fn behind(gateway: &Gateway, proxy: &str, scratch: &Path) {
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let modern = [("host", NAME), ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    assert!(post(proxy, "/mcp", &modern, list).await.tools().contains(&"echo".to_owned()));
    // What clients say of themselves is neither believed nor passed on.
    let lies = [("x-forwarded-for", "192.0.2.9"), ("forwarded", "for=192.0.2.9")];
    let answer = post(proxy, "/mcp", &[&modern[..], &lies].concat(), list).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    let foreign = [&modern[..], &lies, &[("origin", "http://evil.example")]].concat();
    assert_eq!(post(proxy, "/mcp", &foreign, list).await.status.as_u16(), 403);
    gateway.prints("a request is refused").await;
    assert!(!gateway.printed().contains("192.0.2.9"), "{}", gateway.printed());
    // An event arrives while the call that it is of goes on.
    let gate = scratch.join("open");
    let steps = json!([{ "say": [{ "progress": 1 }] }, { "until": gate }]);
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"script","arguments":{{"steps":{steps}}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"progressToken":"t"}}}}}}"#
    );
    let headers = [
        ("host", NAME),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "script"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let mut body = open(proxy, http::Method::POST, "/mcp", &headers, &call).await.into_body();
    let mut told = String::new();
    let mut until = async |wanted: &str| {
        while !told.contains(wanted) {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("events are not held back");
            let frame = frame.unwrap_or_else(|| panic!("no {wanted} in {told}")).expect("a frame");
            told += &String::from_utf8_lossy(frame.data_ref().expect("data"));
        }
    };
    until("notifications/progress").await;
    write(&gate, "");
    until("\"result\"").await;
}

/// A gateway with the listener that the page has for proxies, and the path of its socket.
async fn with_a_socket(scratch: &Path) -> (Gateway, String) {
    let socket = scratch.join("http.sock").display().to_string();
    let listener = changed(&block("Behind nginx", "toml"), &[("/run/mcpeg/http.sock", &socket)]);
    (Gateway::start(&(listener + &probe("one", &["--era", "legacy"]))).await, socket)
}

/// Waits until somebody listens.
async fn listens(address: &str) {
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.expect("the proxy listens");
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn nginx_with_the_configuration_of_the_page_passes_on_what_it_should() {
    let (tools, scratch) = (Tools::get().await, tempfile::tempdir().expect("a directory"));
    let (gateway, socket) = with_a_socket(scratch.path()).await;
    let location = changed(&block("Behind nginx", "nginx"), &[("/run/mcpeg/http.sock", &socket)]);
    let address = Port::free().address.to_string();
    let file = scratch.path().join("nginx.conf");
    write(
        &file,
        format!(
            "daemon off;\nmaster_process off;\nerror_log stderr;\npid nginx.pid;\nevents {{}}\n\
             http {{\naccess_log off;\nserver {{\nlisten {address};\n{location}}}\n}}\n"
        ),
    );
    let mut nginx = bound(&tools.path("bin/nginx"));
    let (prefix, file) = (scratch.path().display().to_string(), file.display().to_string());
    let _nginx = nginx.args(["-p", &prefix, "-c", &file]).kill_on_drop(true).spawn().expect("it starts");
    listens(&address).await;
    behind(&gateway, &address, scratch.path()).await;
    gateway.stop().await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn caddy_with_the_configuration_of_the_page_passes_on_what_it_should() {
    let (tools, scratch) = (Tools::get().await, tempfile::tempdir().expect("a directory"));
    let (gateway, socket) = with_a_socket(scratch.path()).await;
    let address = Port::free().address;
    // The certificate that it gets by itself is none of this machine's.
    let site = format!("http://{NAME}:{}", address.port());
    let words = [(NAME, site.as_str()), ("/run/mcpeg/http.sock", &socket)];
    let text = changed(&block("Behind Caddy", "caddyfile"), &words);
    let file = scratch.path().join("Caddyfile");
    write(
        &file,
        format!("{{\nadmin off\nauto_https off\npersist_config off\ndefault_bind 127.0.0.1\n}}\n{text}"),
    );
    let mut caddy = bound(&tools.path("venv/bin/caddy"));
    caddy.args(["run", "--adapter", "caddyfile", "--config", &file.display().to_string()]);
    caddy.env("HOME", scratch.path()).env("XDG_DATA_HOME", scratch.path()).kill_on_drop(true);
    let _caddy = caddy.spawn().expect("it starts");
    let address = address.to_string();
    listens(&address).await;
    behind(&gateway, &address, scratch.path()).await;
    gateway.stop().await;
}
