//! What browsers and other strict readers of HTTP need: CORS, `Allow`, paths with a slash, and what is where.

use http::Method;

use crate::client::{Answer, Client, MODERN_META, open, post, send};
use crate::gateway::Gateway;
use crate::upstreams::probe;

/// A legacy handshake.
const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
    r#""capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}"#
);

/// A header of an answer; empty if it is not there.
fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
}

/// Whether a list in a header names something.
fn names(answer: &Answer, header_name: &str, wanted: &str) -> bool {
    answer.headers.get_all(header_name).iter().any(|list| {
        list.to_str().expect("ASCII").split(',').any(|item| item.trim().eq_ignore_ascii_case(wanted))
    })
}

/// The text of an answer.
fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).expect("UTF-8")
}

#[tokio::test]
async fn pages_of_this_machine_and_allowed_ones_may_use_every_path_and_no_others() {
    let allowed = r#"allowed_origins = ["https://app.example.org"]"#;
    let gateway = Gateway::start_with(allowed, &probe("one", &[]), &[]).await;
    let asked = "mcp-session-id, mcp-protocol-version, mcp-param-region, authorization, content-type";
    for origin in
        ["http://localhost:6274", "http://127.0.0.1:1", "http://[::1]:3000", "https://app.example.org"]
    {
        for (path, method) in
            [("/mcp", "POST"), ("/mcp", "DELETE"), ("/mcp/one", "GET"), ("/health", "GET"), ("/mcp/", "POST")]
        {
            let question = [
                ("origin", origin),
                ("access-control-request-method", method),
                ("access-control-request-headers", asked),
                ("access-control-request-private-network", "true"),
            ];
            let answer = send(gateway.address(), Method::OPTIONS, path, &question, "").await;
            assert!(answer.status.is_success(), "{origin} {path}: {answer:?}");
            assert_eq!(header(&answer, "access-control-allow-origin"), origin);
            assert!(names(&answer, "access-control-allow-methods", method), "{answer:?}");
            for name in asked.split(", ") {
                assert!(names(&answer, "access-control-allow-headers", name), "{name}: {answer:?}");
            }
            assert_eq!(header(&answer, "access-control-allow-private-network"), "true");
            assert!(header(&answer, "access-control-max-age").parse::<u64>().is_ok_and(|age| age > 0));
            assert!(names(&answer, "vary", "origin"), "{answer:?}");
            assert_eq!(header(&answer, "access-control-allow-credentials"), "");
        }
        let opened = post(gateway.address(), "/mcp", &[("origin", origin)], INITIALIZE).await;
        opened.result();
        let refused = post(gateway.address(), "/mcp", &[("origin", origin)], "{").await;
        assert_eq!(refused.status, 400);
        for answer in [&opened, &refused] {
            assert_eq!(header(answer, "access-control-allow-origin"), origin);
            for name in ["mcp-session-id", "mcp-protocol-version", "www-authenticate", "retry-after"] {
                assert!(names(answer, "access-control-expose-headers", name), "{name}: {answer:?}");
            }
            assert!(names(answer, "vary", "origin"), "{answer:?}");
        }
        let session = header(&opened, "mcp-session-id");
        let headers = [("origin", origin), ("mcp-session-id", session), ("accept", "text/event-stream")];
        let stream = open(gateway.address(), Method::GET, "/mcp", &headers, "").await;
        assert_eq!(stream.headers()["access-control-allow-origin"], origin);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn foreign_pages_are_refused_without_a_word_to_their_browser() {
    let allowed = r#"allowed_origins = ["https://app.example.org"]"#;
    let gateway = Gateway::start_with(allowed, &probe("one", &[]), &[]).await;
    for origin in
        ["https://evil.example", "null", "https://app.example.org:444", "http://localhost.evil.example"]
    {
        for (method, path) in [(Method::OPTIONS, "/mcp"), (Method::POST, "/mcp"), (Method::GET, "/health")] {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("content-type", "application/json"),
            ];
            let answer = send(gateway.address(), method, path, &headers, INITIALIZE).await;
            assert_eq!(answer.status, 403, "{origin} {path}");
            let told = answer.headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(told.count(), 0, "{answer:?}");
        }
    }
    let plain = send(gateway.address(), Method::GET, "/health", &[], "").await;
    assert!(
        names(&plain, "vary", "origin") && header(&plain, "access-control-allow-origin").is_empty(),
        "{plain:?}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn each_path_says_which_methods_it_has() {
    let gateway = Gateway::start(&probe("one", &[])).await;
    for (path, has) in [
        ("/mcp", &["GET", "POST", "DELETE"][..]),
        ("/mcp/one", &["GET", "POST", "DELETE"]),
        ("/mcp/", &["GET", "POST", "DELETE"]),
        ("/health", &["GET"]),
        ("/health/live", &["GET"]),
        ("/health/ready", &["GET"]),
        ("/metrics", &["GET"]),
        ("/status", &["GET"]),
        ("/", &["GET"]),
    ] {
        for method in [Method::PUT, Method::PATCH, Method::TRACE] {
            let answer = send(gateway.address(), method.clone(), path, &[], "").await;
            assert_eq!(answer.status, 405, "{method} {path}");
            for method in has {
                assert!(names(&answer, "allow", method), "{path}: {answer:?}");
            }
            assert!(!answer.body.is_empty(), "{method} {path}");
        }
        let answer = send(gateway.address(), Method::OPTIONS, path, &[], "").await;
        assert_eq!(answer.status, 204, "{path}");
        assert!(names(&answer, "allow", "OPTIONS") && names(&answer, "allow", has[0]), "{path}: {answer:?}");
    }
    // What needs a session has it among the methods only there.
    for method in [Method::GET, Method::DELETE, Method::HEAD] {
        let answer = send(gateway.address(), method.clone(), "/mcp", &[], "").await;
        assert_eq!((answer.status.as_u16(), header(&answer, "allow")), (405, "POST, OPTIONS"), "{method}");
    }
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let head = send(gateway.address(), Method::HEAD, "/mcp", &client.session_headers(), "").await;
    assert_eq!(head.status, 405);
    for path in ["/health", "/health/live", "/"] {
        let answer = send(gateway.address(), Method::HEAD, path, &[], "").await;
        assert!(answer.status.is_success() && answer.body.is_empty(), "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn slash_at_the_end_changes_nothing_and_other_paths_say_what_is_where() {
    let gateway = Gateway::start(&probe("one", &[])).await;
    for path in ["/mcp/", "/mcp/one/"] {
        assert!(
            Client::legacy(gateway.address(), path).await.tools().await.contains(&"echo".to_owned()),
            "{path}"
        );
        assert!(Client::modern(gateway.address(), path).tools().await.contains(&"echo".to_owned()), "{path}");
    }
    assert_eq!(send(gateway.address(), Method::GET, "/health/", &[], "").await.status, 200);
    let index = send(gateway.address(), Method::GET, "/", &[], "").await;
    assert_eq!(index.status, 200);
    let page = send(gateway.address(), Method::GET, "/wrong", &[], "").await;
    assert_eq!(page.status, 404);
    for answer in [&index, &page] {
        assert!(text(answer).contains("/mcp ") && text(answer).contains("/health"), "{answer:?}");
    }
    for path in ["/", "/wrong"] {
        let refused = post(gateway.address(), path, &[], INITIALIZE).await;
        assert_eq!(refused.status, 404);
        assert!(refused.error().1.contains("MCP is at /mcp"), "{refused:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn client_that_takes_json_only_gets_the_answer_as_json() {
    let gateway = Gateway::start(&probe("one", &[])).await;
    let json = ("accept", "application/json");
    let opened = post(gateway.address(), "/mcp", &[json], INITIALIZE).await;
    let session = header(&opened, "mcp-session-id");
    let headers = [json, ("mcp-session-id", session), ("mcp-protocol-version", "2025-11-25")];
    let call = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"progress","#,
        r#""arguments":{"count":3,"call":1},"_meta":{"progressToken":1}}}"#
    );
    let modern = call.replace(r#""progressToken":1"#, &format!(r#""progressToken":1,{MODERN_META}"#));
    let modern_headers = [
        json,
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "progress"),
    ];
    for (headers, body) in [(&headers[..], call), (&modern_headers[..], &modern)] {
        let answer = post(gateway.address(), "/mcp", headers, body).await;
        assert_eq!((answer.status.as_u16(), header(&answer, "content-type")), (200, "application/json"));
        answer.text();
    }
    let listen = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"notifications":{{}},"_meta":{{{MODERN_META}}}}}}}"#
    );
    let listening = [json, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    assert_eq!(post(gateway.address(), "/mcp", &listening, &listen).await.status, 406);
    for accept in ["text/event-stream", "text/html", "image/*"] {
        let refused = post(gateway.address(), "/mcp", &[("accept", accept)], INITIALIZE).await;
        assert_eq!(refused.status, 406, "{accept}");
    }
    gateway.stop().await;
}
