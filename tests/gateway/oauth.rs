//! Tokens of a real authorization server: whose are believed, what others are answered, and who is told from whom by them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::access::{Answer, Guarded, bearer, call, modern};
use crate::audit;
use crate::authorization_server::AuthorizationServer;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the tokens are for.
const RESOURCE: &str = "https://mcp.example.org/mcp";
/// What clients are told beside an error.
const TOLD: &str =
    "scope=\"mcp\", resource_metadata=\"https://mcp.example.org/.well-known/oauth-protected-resource/mcp\"";

/// The seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs()
}

/// The tables for a server, and these clients.
fn tables(server: &AuthorizationServer, clients: &str) -> String {
    format!(
        "[auth.oauth.corp]\nissuer = \"{}\"\naudience = [\"{RESOURCE}\", \"api://mcpeg\"]\nresource = \"{RESOURCE}\"\n\
         scopes = [\"mcp\"]\nclock_skew = \"0s\"\n{clients}",
        server.issuer()
    )
}

/// The tables of the guide for a server; its listener is tested elsewhere.
fn guide(server: &AuthorizationServer) -> String {
    let text = include_str!("../../docs/network.md").split("## With OAuth").nth(1).expect("a section");
    let tables = text.split("```").nth(1).expect("tables");
    let begin = tables.find("[auth.oauth.").expect("an authorization server");
    tables[begin..].replace("https://login.example.org", &server.issuer())
}

/// A client that is recognised by this claim.
fn client(name: &str, claims: &str) -> String {
    format!("[clients.{name}]\noauth = {{ issuer = \"corp\", claims = {{ {claims} }} }}\n")
}

/// Claims that are good, but for these.
fn claims(server: &AuthorizationServer, others: &Value) -> Value {
    let mut claims = json!({
        "iss": server.issuer(), "aud": RESOURCE, "sub": "alice", "scope": "mcp", "groups": ["dev"], "iat": now(),
        "exp": now() + 600,
    });
    for (name, value) in others.as_object().expect("claims") {
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().expect("claims").remove(name);
        }
    }
    claims
}

/// Lists tools with a token, at this path.
async fn list(guarded: &Guarded, path: &str, token: &str) -> Answer {
    guarded.ask(path, token, modern("tools/list", "")).await
}

/// Waits until a list is answered with this status.
async fn until(guarded: &Guarded, token: &str, status: u16) {
    let answered = async {
        while list(guarded, "/mcp", token).await.status != status {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.unwrap_or_else(|_| panic!("never {status}"));
}

/// Each token that is refused: with which status, which error, and why.
async fn refused_tokens(
    server: &AuthorizationServer,
    good: &str,
) -> Vec<(String, u16, &'static str, &'static str)> {
    use base64::Engine as _;
    let header = good.split('.').next().expect("a header");
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).expect("base64");
    let known = serde_json::from_slice::<Value>(&header).expect("JSON")["kid"].clone();
    let invalid = "invalid_token";
    let mut cases = vec![
        ("x".to_owned(), 401, invalid, "not known here"),
        ("a.b.c".to_owned(), 401, invalid, "not understood"),
        (format!("{}AAAA", &good[..good.len() - 4]), 401, invalid, "signature is wrong"),
    ];
    for (key, header, others, status, error, why) in [
        ("current", json!({}), json!({ "exp": now() - 2 }), 401, invalid, "has expired"),
        ("current", json!({}), json!({ "exp": null }), 401, invalid, "lacks one of exp"),
        ("current", json!({}), json!({ "exp": "9999999999" }), 401, invalid, ""),
        ("current", json!({}), json!({ "nbf": now() + 600 }), 401, invalid, "not good yet"),
        ("current", json!({}), json!({ "iat": now() + 600 }), 401, invalid, "from the future"),
        (
            "current",
            json!({}),
            json!({ "aud": "https://other.example.org" }),
            401,
            invalid,
            "another audience",
        ),
        ("current", json!({}), json!({ "aud": format!("{RESOURCE}/two") }), 401, invalid, "another endpoint"),
        ("current", json!({}), json!({ "aud": null }), 401, invalid, "lacks one of"),
        ("current", json!({}), json!({ "iss": "https://evil.example.org" }), 401, invalid, "another issuer"),
        ("current", json!({}), json!({ "iss": [server.issuer()] }), 401, invalid, ""),
        ("current", json!({}), json!({ "sub": null }), 401, invalid, "lacks one of"),
        ("current", json!({}), json!({ "sub": "a\nb" }), 401, invalid, "names nobody"),
        ("current", json!({}), json!({ "cnf": { "jkt": "x" } }), 401, invalid, "bound to a key"),
        ("current", json!({ "typ": "logout+jwt" }), json!({}), 401, invalid, "no access token"),
        ("none", json!({}), json!({}), 401, invalid, "no JWT of a known kind"),
        ("public", json!({}), json!({}), 401, invalid, "not accepted"),
        ("foreign", json!({}), json!({}), 401, invalid, "a key that is not known"),
        ("foreign", json!({ "kid": known }), json!({}), 401, invalid, "signature is wrong"),
        ("foreign", json!({ "kid": known, "alg": "ES256" }), json!({}), 401, invalid, "another kind"),
        ("current", json!({}), json!({ "scope": "mcpx" }), 403, "insufficient_scope", "needed here: mcp"),
        ("current", json!({}), json!({ "sub": "carol", "groups": ["x"] }), 403, "", "no client"),
    ] {
        let token = server.signed(key, header, &claims(server, &others)).await;
        cases.push((token, status, error, why));
    }
    cases
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn token_is_refused_by_the_table_and_tells_clients_where_to_get_one() {
    let server = AuthorizationServer::start(&json!({})).await;
    let clients =
        client("alice", "sub = \"alice\"") + &client("developers", "groups = \"dev\"") + "[clients.own]\n";
    let scratch = tempfile::tempdir().expect("it works");
    let file = scratch.path().join("audit.log");
    let guarded = Guarded::start(&(tables(&server, &clients) + &audit::table(&file))).await;
    let good = server.signed("current", json!({ "typ": "at+jwt" }), &claims(&server, &json!({}))).await;
    let called = guarded.ask("/mcp", &good, modern("tools/call", r#""name":"one_echo""#)).await;
    assert_eq!(called.status, 200);
    let cases = refused_tokens(&server, &good).await;
    for (token, status, error, why) in &cases {
        let (mut lines, body) = modern("tools/list", "");
        lines.extend([bearer(token), "Origin: http://localhost:1".to_owned()]);
        let answer = guarded.send("POST /mcp", &lines, &body).await;
        assert_eq!(answer.status, *status, "{why} {token}: {answer:?}");
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let begin = format!("bearer error=\"{error}\", error_description=\"");
        let is_told = challenge.starts_with(&begin) && challenge.ends_with(TOLD)
            || error.is_empty() && challenge.is_empty();
        assert!(is_told, "{why}: {challenge}");
        assert_eq!(
            (&answer.message()["error"]["code"], &answer.message()["id"]),
            (&json!(-32600), &Value::Null)
        );
        assert!(
            answer.message()["error"]["message"].as_str().is_some_and(|text| text.contains(why)),
            "{answer:?}"
        );
        // What a page is to read.
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:1"));
        let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
        assert!(exposed.contains("www-authenticate") && exposed.contains("mcp-session-id"), "{exposed}");
    }
    audited(&file, &cases).await;
    told_challenges(&guarded, &good).await;
    told_metadata(&server, &guarded).await;
    good_tokens(&server, &guarded).await;
    let own = guarded.believed("own").await;
    assert_eq!(list(&guarded, "/mcp", &own).await.status, 200);
    // What docs/network.md says works with tokens that the server gives out by itself.
    guarded.reload(&(guide(&server) + &audit::table(&file))).await;
    for (who, status) in [(Some("alice"), 200), (Some("bob"), 200), (None, 403)] {
        assert_eq!(
            list(&guarded, "/mcp", &server.token(who, RESOURCE).await).await.status,
            status,
            "{who:?}"
        );
    }
    let printed = guarded.gateway.printed();
    let is_told = |token: &str| printed.contains(&token[token.len().saturating_sub(40)..]);
    assert!(!cases.iter().any(|(token, ..)| token.len() > 60 && is_told(token)), "a secret is in the log");
    guarded.gateway.stop().await;
}

/// The audit names the person of a call, and each refusal by what it was for.
async fn audited(file: &std::path::Path, cases: &[(String, u16, &str, &str)]) {
    let calls = audit::records(file, "call", 1).await;
    let refusals = audit::records(file, "refusal", cases.len()).await;
    let told = |record: &Value| {
        ["event", "client", "subject", "proof", "reason"].map(|name| audit::text(record, name).to_owned())
    };
    assert_eq!(told(&calls[0]), ["call", "alice", "alice", "oauth", ""]);
    let refusals: Vec<_> = refusals.iter().map(told).collect();
    let expected = cases.iter().map(|(_, status, error, _)| {
        let reason = match (status, *error) {
            (401, _) => "credential",
            (_, "") => "client",
            _ => "rights",
        };
        ["refusal", "", "", "", reason].map(str::to_owned)
    });
    assert_eq!(refusals, expected.collect::<Vec<_>>());
}

/// Whoever shows nothing, or in a wrong place, is told so.
async fn told_challenges(guarded: &Guarded, good: &str) {
    let (lines, body) = modern("tools/list", "");
    let with = |more: &[String]| [more, &lines].concat();
    for (path, more, status, challenge) in [
        ("/mcp", vec![], 401, format!("bearer {TOLD}")),
        ("/mcp/two", vec![], 401, format!("bearer {}/two\"", TOLD.trim_end_matches('"'))),
        ("/mcp?x=", vec![], 400, "bearer error=\"invalid_request\"".to_owned()),
        ("/mcp", vec![bearer(good), bearer(good)], 400, "bearer error=\"invalid_request\"".to_owned()),
    ] {
        let path = if status == 400 && more.is_empty() { format!("{path}{good}") } else { path.to_owned() };
        let answer = guarded.send(&format!("POST {path}"), &with(&more), &body).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (status, Some(&*challenge)), "{path}");
    }
}

/// A token for one endpoint is good there; every algorithm that is accepted is.
async fn good_tokens(server: &AuthorizationServer, guarded: &Guarded) {
    let one = server
        .signed("current", json!({}), &claims(server, &json!({ "aud": [format!("{RESOURCE}/two")] })))
        .await;
    assert_eq!(list(guarded, "/mcp/two", &one).await.status, 200);
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let token = server
            .signed("current", json!({ "alg": algorithm }), &claims(server, &json!({ "aud": "api://mcpeg" })))
            .await;
        assert_eq!(list(guarded, "/mcp", &token).await.status, 200, "{algorithm}");
    }
}

/// The metadata is at both places, and at those of endpoints, for whoever asks.
async fn told_metadata(server: &AuthorizationServer, guarded: &Guarded) {
    for (below, resource) in
        [("", RESOURCE.to_owned()), ("/mcp", RESOURCE.to_owned()), ("/mcp/two", format!("{RESOURCE}/two"))]
    {
        let path = format!("GET /.well-known/oauth-protected-resource{below}");
        let answer = guarded.send(&path, &["Origin: http://localhost:1".to_owned()], "").await;
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:1"));
        let expected = json!({
            "resource": resource, "authorization_servers": [server.issuer()], "scopes_supported": ["mcp"],
            "bearer_methods_supported": ["header"], "resource_name": "mcpeg",
        });
        assert_eq!(answer.message(), expected);
    }
    let answer = guarded.send("GET /.well-known/oauth-protected-resource/etc/passwd", &[], "").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn person_keeps_its_session_through_reload_rotation_and_upgrade_and_no_other_meets_it() {
    let server = AuthorizationServer::start(&json!({})).await;
    let everybody = client("service", "client_id = \"service\"") + &client("developers", "groups = \"dev\"");
    let guarded = Guarded::start(&tables(&server, &everybody)).await;
    let (alice, bob) =
        (server.token(Some("alice"), RESOURCE).await, server.token(Some("bob"), RESOURCE).await);
    let service = server.token(None, RESOURCE).await;
    let session = guarded.begin(&alice).await;
    let say = async |token: &str| guarded.say("POST", token, &session, &call("one_echo")).await.status;
    for (token, status) in [(&alice, 200), (&bob, 404), (&service, 404)] {
        assert_eq!(say(token).await, status);
    }
    // Verified once, whatever is called: nothing is asked for a token that is known.
    let asked = server.count("/jwks").await;
    guarded.reload(&tables(&server, &client("developers", "groups = [\"ops\", \"dev\"]"))).await;
    assert_eq!((say(&alice).await, say(&bob).await, say(&service).await), (200, 404, 403));
    guarded.reload(&tables(&server, &client("developers", "groups = \"ops\""))).await;
    assert_eq!((say(&alice).await, say(&bob).await), (200, 403));
    guarded.reload(&tables(&server, &everybody)).await;
    assert_eq!((say(&alice).await, say(&bob).await), (200, 404));
    assert_eq!(server.count("/jwks").await, asked);
    // The keys are others: a new token has them looked for, and the former one is good no more, nor what it has open.
    server.ask("rotate", json!({ "keep": false })).await;
    let stream = guarded.say("GET", &alice, &session, "");
    let rotated = async {
        let new = server.token(Some("alice"), RESOURCE).await;
        until(&guarded, &new, 200).await;
        new
    };
    let (stream, new) = tokio::join!(stream, rotated);
    assert_eq!((stream.status, say(&alice).await, say(&new).await), (200, 401, 200), "{stream:?}");
    guarded.gateway.restart().await;
    assert_eq!((say(&new).await, say(&bob).await), (200, 401));
    away(&server, &guarded, &new).await;
    guarded.gateway.stop_successor().await;
}

/// The server is away: what is known stays good, what is not cannot be told, and nobody has it asked as often as they like.
async fn away(server: &AuthorizationServer, guarded: &Guarded, known: &str) {
    let fleeting = server.signed("current", json!({}), &claims(server, &json!({ "exp": now() + 5 }))).await;
    let session = guarded.begin(&fleeting).await;
    server.ask("away", json!({ "paths": ["/jwks"] })).await;
    let asked = server.count("/jwks").await;
    let foreign = server.signed("foreign", json!({}), &claims(server, &json!({}))).await;
    until(guarded, &foreign, 503).await;
    let answer = list(guarded, "/mcp", &foreign).await;
    assert!(answer.status == 503 && answer.header("retry-after").is_some(), "{answer:?}");
    for _ in 0..60 {
        assert_eq!(list(guarded, "/mcp", &foreign).await.status, 503);
        assert_eq!(list(guarded, "/mcp", known).await.status, 200);
    }
    assert!(server.count("/jwks").await - asked < 20, "the server is asked by whoever likes");
    let status = guarded.gateway.status().await;
    assert!(status["issuers"][0]["error"].as_str().is_some_and(|text| text.contains("503")), "{status}");
    assert_eq!(status["issuers"][0]["keys"], json!(3), "{status}");
    // A stream goes no further than its token, and the session's next request is refused.
    let stream = guarded.say("GET", &fleeting, &session, "").await;
    assert!(matches!(stream.status, 200 | 401), "{stream:?}");
    assert_eq!(guarded.say("POST", &fleeting, &session, &call("one_echo")).await.status, 401);
    server.ask("away", json!({ "paths": [] })).await;
    let new = server.signed("current", json!({}), &claims(server, &json!({ "sub": "dave" }))).await;
    assert_eq!(list(guarded, "/mcp", &new).await.status, 200);
}
