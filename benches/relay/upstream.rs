//! The upstreams that are called: this program again, with one tool, `echo`, over stdio or HTTP.

use std::io::{BufRead as _, Write as _};

use hyper_util::rt::TokioIo;

/// The answer to one request of the gateway.
fn reply(line: &str) -> Option<String> {
    let request: serde_json::Value = serde_json::from_str(line).ok()?;
    let id = request.get("id")?;
    let result = match request["method"].as_str()? {
        "server/discover" => {
            r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}"#
        }
        "initialize" => {
            r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}"#
        }
        "tools/list" => {
            r#"{"resultType":"complete","tools":[{"name":"echo","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"private"}"#
        }
        "tools/call" => r#"{"resultType":"complete","content":[{"type":"text","text":"hello"}]}"#,
        _ => {
            return Some(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"no"}}}}"#
            ));
        }
    };
    Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}

/// Answers over stdio until there is no more input.
pub(crate) fn stdio() {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if let Some(reply) = reply(&line)
            && writeln!(out, "{reply}").and_then(|()| out.flush()).is_err()
        {
            return;
        }
    }
}

/// Answers over HTTP; prints its address first.
pub(crate) async fn http() {
    let answer = |body: String| async move {
        ([("content-type", "application/json")], reply(&body).unwrap_or_default())
    };
    let router = axum::Router::new().route("/mcp", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("a bound socket"));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}
