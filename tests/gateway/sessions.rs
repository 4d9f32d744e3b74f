//! Legacy sessions: how many there may be, and how they outlive the process.

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;

use crate::client::{Client, LEGACY, Message, open, post, send};
use crate::following::wait;
use crate::gateway::Gateway;
use crate::upstreams::{Gate, http, http_probe, odd, probe};

#[tokio::test]
async fn session_goes_on_after_the_gateway_was_killed() {
    let gateway = Gateway::start(&(odd("odd", &[]) + "sharing = \"shared\"\n")).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let ended = Client::legacy(gateway.address(), "/mcp").await;
    let subject = r#"{"uri":"odd://x"}"#;
    client.request("1", "resources/subscribe", "", subject).await.result();
    let gone = ended.session_headers()[0].1.to_owned();
    ended.end().await;
    let gateway = gateway.crash().await;
    let client = client.at(gateway.address());
    assert_eq!(client.call("echo", "{}").await.text(), "\"echoed\"");
    assert_eq!(gateway.status().await["sessions"], 1, "one that its client has ended stays ended");
    let headers = [("mcp-session-id", gone.as_str()), ("mcp-protocol-version", LEGACY)];
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(post(gateway.address(), "/mcp", &headers, ping).await.status, StatusCode::NOT_FOUND);
    // The new process has subscribed again; that happens beside everything else.
    let subscribed = async { while client.call("subscribed", "{}").await.text() != r#"["odd://x"]"# {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), subscribed).await.expect("subscribed again");
    // And once more: what was taken over is remembered, too.
    let gateway = gateway.crash().await;
    assert_eq!(client.at(gateway.address()).call("echo", "{}").await.text(), "\"echoed\"");
    gateway.stop().await;
}

#[tokio::test]
async fn subscription_of_a_session_that_goes_on_is_not_ended_by_that_of_another() {
    let gateway = Gateway::start(&(odd("odd", &[]) + "sharing = \"shared\"\n")).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let subject = r#"{"uri":"odd://x"}"#;
    client.request("1", "resources/subscribe", "", subject).await.result();
    let gateway = gateway.crash().await;
    let client = client.at(gateway.address());
    let tells = async |client: &Client, wanted: &str| {
        while !client.call("subscribed", "{}").await.reply().contains(wanted) {}
    };
    let (limit, subscribed) = (std::time::Duration::from_secs(60), r#"[\"odd://x\"]"#);
    tokio::time::timeout(limit, tells(&client, subscribed)).await.expect("subscribed again");
    let other = Client::legacy(gateway.address(), "/mcp").await;
    other.request("1", "resources/subscribe", "", subject).await.result();
    other.request("2", "resources/unsubscribe", "", subject).await.result();
    assert_eq!(client.call("subscribed", "{}").await.text(), r#"["odd://x"]"#);
    // The next process of the server learns of it, and at the end of the session it is told.
    client.call("exit", "{}").await;
    tokio::time::timeout(limit, tells(&client, subscribed)).await.expect("the next process is told");
    client.end().await;
    tokio::time::timeout(limit, tells(&other, r#""[]""#)).await.expect("nobody has subscribed any more");
    gateway.stop().await;
}

#[tokio::test]
async fn session_whose_client_writes_on_many_lines_goes_on_after_the_gateway_was_killed() {
    let gateway = Gateway::start("").await;
    let initialize = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{{\"protocolVersion\":\"{LEGACY}\",\
         \"capabilities\":{{\r\n}},\"clientInfo\":{{\n\"name\":\"raw\",\n\"version\":\"1\"}}}}}}"
    );
    let begun = post(gateway.address(), "/mcp", &[], &initialize).await;
    begun.result();
    let session = begun.headers["mcp-session-id"].to_str().expect("ASCII").to_owned();
    let gateway = gateway.crash().await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", LEGACY)];
    assert_eq!(post(gateway.address(), "/mcp", &headers, ping).await.status, StatusCode::OK);
    gateway.stop().await;
}

#[tokio::test]
async fn session_may_follow_so_many_resources_and_more_are_refused_by_name_of_the_limit() {
    let gateway = Gateway::start(&(odd("odd", &[]) + "sharing = \"shared\"\n")).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let uri = |letter: &str| format!(r#"{{"uri":"odd://{}"}}"#, letter.repeat(600 << 10));
    let (first, second) = (uri("a"), uri("b"));
    client.request("1", "resources/subscribe", "", &first).await.result();
    let (code, message) = client.request("2", "resources/subscribe", "", &second).await.error();
    assert!(
        code == -32600 && message.contains("1000 resources") && message.contains("1024 KiB"),
        "{message}"
    );
    // The server has not heard of it, and room is made by ending one.
    let subscribed = client.call("subscribed", "{}").await.text();
    assert!(subscribed.contains("odd://aaa") && !subscribed.contains("odd://bbb"));
    client.request("3", "resources/unsubscribe", "", &first).await.result();
    client.request("4", "resources/subscribe", "", &second).await.result();
    gateway.stop().await;
}

#[tokio::test]
async fn sessions_of_a_killed_gateway_count_as_those_of_their_client() {
    let gateway = Gateway::start_with("max_sessions_per_client = 2", "", &[]).await;
    let first = Client::legacy(gateway.address(), "/mcp").await;
    let second = Client::legacy(gateway.address(), "/mcp").await;
    let gateway = gateway.crash().await;
    let (first, second) = (first.at(gateway.address()), second.at(gateway.address()));
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(first.post("", "", ping).await.status, StatusCode::OK);
    let third = Client::legacy(gateway.address(), "/mcp").await;
    assert_eq!(second.post("", "", ping).await.status, StatusCode::NOT_FOUND, "it was silent for longest");
    for client in [first, third] {
        assert_eq!(client.post("", "", ping).await.status, StatusCode::OK);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn server_that_is_slow_to_start_holds_up_nobody_elses_messages() {
    let gate = Gate::closed();
    let upstreams = odd("slow", &["--gate", gate.directory()])
        + "sharing = \"per-session\"\n"
        + &odd("quick", &[])
        + "sharing = \"per-session\"\n";
    let gateway = Gateway::start(&upstreams).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    // What the slow one has said before its handshake comes before what the other one says.
    gate.told().await;
    client.call("quick_change", "{}").await.text();
    let mut stream = client.stream().await.into_body();
    let told = wait(&mut stream, &["tools/list_changed"]).await;
    assert!(!told.contains("before the handshake"), "{told}");
    gate.open();
    wait(&mut stream, &["before the handshake"]).await;
    gateway.stop().await;
}

#[tokio::test]
async fn session_ends_whose_client_does_not_wait_for_it() {
    let gate = Gate::closed();
    let upstream = odd("slow", &["--gate", gate.directory()]) + "sharing = \"per-session\"\n";
    let gateway = Gateway::start(&upstream).await;
    let initialize = concat!(
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
        r#""capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}"#
    );
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{initialize}",
        gateway.address(),
        initialize.len()
    );
    let mut client = tokio::net::TcpStream::connect(gateway.address()).await.expect("somebody listens");
    tokio::io::AsyncWriteExt::write_all(&mut client, request.as_bytes()).await.expect("it reads");
    gate.told().await;
    assert_eq!(gateway.status().await["sessions"], 1);
    drop(client);
    let ended = async { while gateway.status().await["sessions"] != 0 {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.expect("the session ends");
    gate.open();
    gateway.stop().await;
}

#[tokio::test]
async fn stream_of_a_session_that_is_not_kept_is_no_sign_of_the_sessions_end() {
    let gateway = Gateway::start("").await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let [session, version] = client.session_headers();
    let headers = [session, version, ("accept", "text/event-stream"), ("last-event-id", "7-1")];
    let answer = send(gateway.address(), Method::GET, "/mcp", &headers, "").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    gateway.stop().await;
}

#[tokio::test]
async fn log_level_that_the_protocol_does_not_know_is_refused() {
    let gateway = Gateway::start(&odd("odd", &[])).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    for params in [r#"{"level":"loud"}"#, r#"{"level":7}"#, "{}"] {
        let (code, message) = client.request("1", "logging/setLevel", "", params).await.error();
        assert!(code == -32602 && message.contains("emergency"), "{message}");
    }
    client.request("2", "logging/setLevel", "", r#"{"level":"notice"}"#).await.result();
    gateway.stop().await;
}

#[tokio::test]
async fn progress_of_a_client_reaches_the_server_that_has_asked_under_its_own_token() {
    let own = |name| odd(name, &["--roots"]) + "sharing = \"per-session\"\n";
    let gateway = Gateway::start(&(own("one") + &own("other"))).await;
    let client = Client::legacy_with(gateway.address(), "/mcp", r#"{"roots":{}}"#).await;
    let mut stream = client.stream().await.into_body();
    let asked = wait(&mut stream, &["\"id\":1,", "\"id\":2,", "0.1-2\n"]).await;
    // Both servers use the same token; the client can tell them apart.
    assert!(asked.contains(r#""progressToken":1}"#) && asked.contains(r#""progressToken":2}"#), "{asked}");
    let note =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":2,"progress":1}}"#;
    assert_eq!(client.post("", "", note).await.status, StatusCode::ACCEPTED);
    let mut heard = Vec::new();
    for tool in ["one_progress", "other_progress"] {
        heard.push(client.call(tool, "{}").await.text());
    }
    heard.sort();
    assert_eq!(heard, [r#"["theirs"]"#, "[]"]);
    gateway.stop().await;
}

#[tokio::test]
async fn question_is_taken_back_by_the_identifier_that_the_client_knows() {
    let upstream = http_probe(&["--era", "legacy"]).await;
    let gateway = Gateway::start(&http("probe", upstream.port)).await;
    // The second session counts from the beginning again, the server goes on.
    for _ in 0..2 {
        let client = Client::legacy_with(gateway.address(), "/mcp", r#"{"elicitation":{}}"#).await;
        let messages = client.call("retract", "{}").await.messages();
        let id = Message::read(&messages[0]).id.expect("a question").get().to_owned();
        let taken_back = Message::read(&messages[1]).params.expect("parameters").get().replace(' ', "");
        assert_eq!((id.as_str(), taken_back), ("1", format!(r#"{{"requestId":{id}}}"#)), "{messages:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn stream_of_a_killed_gateway_ends_with_an_error_for_its_request() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let session = client.session_headers();
    let headers = [
        session[0],
        session[1],
        ("accept", "text/event-stream, application/json"),
        ("content-type", "application/json"),
    ];
    let call = r#"{"jsonrpc":"2.0","id":"slow","method":"tools/call","params":{"name":"sleep","arguments":{"ms":60000}}}"#;
    let mut stream = open(gateway.address(), Method::POST, "/mcp", &headers, call).await.into_body();
    let first = stream.frame().await.expect("a stream").expect("a frame").into_data().expect("data");
    let first = String::from_utf8(first.to_vec()).expect("UTF-8");
    let place = first.lines().find_map(|line| line.strip_prefix("id:")).expect("an event with an id").trim();
    let gateway = gateway.crash().await;
    let headers = [session[0], session[1], ("accept", "text/event-stream"), ("last-event-id", place)];
    let answer = send(gateway.address(), Method::GET, "/mcp", &headers, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    assert!(text.contains(r#""id":"slow""#) && text.contains("restarted while"), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn orderly_restart_keeps_sessions_and_no_secret_lies_open() {
    let gateway = Gateway::start("").await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let file = gateway.file("mcpeg.sessions");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let gateway = gateway.again().await;
    client.at(gateway.address()).call("status", "{}").await.text();
    gateway.stop().await;
}

#[tokio::test]
async fn silent_session_makes_room_and_sessions_in_use_do_not() {
    let gateway = Gateway::start_with("max_sessions = 2", "", &[]).await;
    let first = Client::legacy(gateway.address(), "/mcp").await;
    let second = Client::legacy(gateway.address(), "/mcp").await;
    let _listening = first.stream().await;
    let third = Client::legacy(gateway.address(), "/mcp").await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(second.post("", "", ping).await.status, StatusCode::NOT_FOUND);
    // One client attends half of all sessions at most, so that there is always one that can end for another.
    assert_eq!(third.stream().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let fourth = Client::legacy(gateway.address(), "/mcp").await;
    assert_eq!(third.post("", "", ping).await.status, StatusCode::NOT_FOUND);
    for client in [&first, &fourth] {
        assert_eq!(client.post("", "", ping).await.status, StatusCode::OK);
    }
    assert_eq!(gateway.status().await["sessions"], 2);
    gateway.stop().await;
}

#[tokio::test]
async fn one_client_may_have_so_many_sessions_and_loses_its_silent_ones_first() {
    let gateway = Gateway::start_with("max_sessions_per_client = 2", &probe("probe", &[]), &[]).await;
    let first = Client::legacy(gateway.address(), "/mcp").await;
    let second = Client::legacy(gateway.address(), "/mcp").await;
    first.call("pids", "{}").await.text();
    let third = Client::legacy(gateway.address(), "/mcp").await;
    assert_eq!(second.call("pids", "{}").await.status, StatusCode::NOT_FOUND);
    first.call("pids", "{}").await.text();
    third.call("pids", "{}").await.text();
    // Both are in use: a new one is refused.
    let (_one, _other) = (first.stream().await, third.stream().await);
    let initialize = concat!(
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
        r#""capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}"#
    );
    let refused = post(gateway.address(), "/mcp", &[], initialize).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    assert!(refused.error().1.contains("max_sessions_per_client"), "{refused:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn legacy_server_at_a_url_has_a_session_for_each_legacy_client_as_the_manual_says() {
    let upstream = crate::scripted::http_script(
        "def call(handler, message, name):\n    return handler.headers[\"Mcp-Session-Id\"]\n",
    )
    .await;
    let gateway = Gateway::start(&crate::upstreams::http("one", upstream.port)).await;
    let own = async |client: &Client| client.call("one", "{}").await.text();
    let (first, second) = (
        Client::legacy(gateway.address(), "/mcp/one").await,
        Client::legacy(gateway.address(), "/mcp/one").await,
    );
    assert_eq!(own(&first).await, own(&first).await);
    assert_ne!(own(&first).await, own(&second).await, "though neither can answer the server");
    let modern = Client::modern(gateway.address(), "/mcp/one");
    assert_eq!(own(&modern).await, own(&modern).await, "clients without a session share one");
    gateway.stop().await;
    let page = include_str!("../../packaging/man/mcpeg.toml.5");
    assert!(page.contains("each client of such a revision has a session of its own there"));
}
