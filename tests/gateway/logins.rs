//! Upstreams that want a token of an authorization server: how mcpeg logs in there, and keeps the login.

use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use crate::access::{self, Guarded, modern};
use crate::audit;
use crate::authorization_server::AuthorizationServer;
use crate::client::{Client, send};
use crate::daemon::Site;
use crate::gateway::{Gateway, HttpUpstream, write};
use crate::scripted::http_script;
use crate::tools::transcript;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An upstream that answers who shows a token made for it, and tells what it was shown.
const GUARDED: &str = r#"
import base64
seen, refused = [], set()
told = dict(resource=None, issuers=[ISSUER], challenge=True)

def base():
    return f"http://127.0.0.1:{server.server_address[1]}"

def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))

def challenge(handler, status, text):
    text = f'{text}, resource_metadata="{base()}/.well-known/oauth-protected-resource/mcp"' if told["challenge"] else text
    handler.answer(status, {"id": None, "error": {"code": -32001, "message": "no"}}, [("WWW-Authenticate", text)])
    return True

def post(handler, message):
    shown = handler.headers.get_all("Authorization") or []
    token = shown[0][7:] if len(shown) == 1 and shown[0].startswith("Bearer ") else None
    known = token and token not in refused and claims(token)
    if not known or known["aud"] != base() + "/mcp" or known["exp"] <= time.time():
        return challenge(handler, 401, 'Bearer scope="mcp"')
    if token not in seen:
        seen.append(token)
    if message.get("method") == "tools/call" and message["params"]["name"] == "admin" and "admin" not in known["scope"]:
        return challenge(handler, 403, 'Bearer error="insufficient_scope", scope="admin"')

def get(handler):
    place, _, query = handler.path.partition("?")
    if place == "/.well-known/oauth-protected-resource/mcp":
        document = {"resource": told["resource"] or base() + "/mcp", "authorization_servers": told["issuers"]}
        handler.answer(200, document | {"scopes_supported": ["mcp"]})
    elif place == "/refuse":
        refused.update(seen)
        handler.answer(200, {"seen": len(seen)})
    else:
        return False
    return True
"#;

/// Such an upstream, and its authorization server.
struct World {
    /// The server.
    server: AuthorizationServer,
    /// The upstream.
    upstream: HttpUpstream,
}

/// `mcpeg login`, which waits for a browser.
struct Waiting {
    /// The process.
    child: Child,
    /// What it prints for people.
    lines: Lines<BufReader<Pin<Box<dyn AsyncRead>>>>,
    /// What it is told.
    input: ChildStdin,
}

impl World {
    /// Starts both, the server with these options.
    async fn start(options: Value) -> Self {
        let server = AuthorizationServer::start(&options).await;
        let upstream = http_script(&GUARDED.replace("ISSUER", &format!("{:?}", server.issuer()))).await;
        Self { server, upstream }
    }

    /// A gateway with this upstream under these names, each with its settings, and a state directory of its own.
    async fn gateway(&self, upstreams: &[(&str, &str)]) -> Gateway {
        let url = format!("http://127.0.0.1:{}/mcp", self.upstream.port);
        let table = |(name, oauth): &(&str, &str)| {
            let oauth = oauth.replace("ISSUER", &self.server.issuer());
            format!("[upstreams.{name}]\nurl = \"{url}\"\noauth = {{ {oauth} }}\n")
        };
        let site = Site::serving("", &upstreams.iter().map(table).collect::<String>());
        let configured = std::fs::read_to_string(site.path("mcpeg.toml")).expect("text");
        write(&site.path("mcpeg.toml"), configured + &audit::table(&site.path("audit.log")));
        let state = site.path("state").display().to_string();
        Gateway::on(site.variable("STATE_DIRECTORY", &state)).await
    }

    /// Has the upstream refuse all tokens that it has seen; how many those are.
    async fn refuse(&self) -> u64 {
        let address = format!("127.0.0.1:{}", self.upstream.port);
        let answer = send(&address, http::Method::GET, "/refuse", &[], "").await;
        let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
        told["seen"].as_u64().expect("a number")
    }

    /// Logs in as alice by a browser that comes back, or whose last address is pasted.
    async fn log_in(&self, gateway: &Gateway, arguments: &[&str], pasted: bool) -> String {
        let mut waiting =
            Waiting::begin(gateway.command(&[&["login"], arguments].concat()), arguments.contains(&"--json"));
        let url = waiting.address().await;
        let visited = self.server.ask("visit", json!({ "url": url })).await;
        let back =
            visited["location"].as_str().unwrap_or_else(|| panic!("the browser is not sent back: {visited}"));
        if pasted {
            waiting.input.write_all(format!("\n{back}\n").as_bytes()).await.expect("it reads");
        } else {
            let (address, path) =
                back.strip_prefix("http://").and_then(|back| back.split_once('/')).expect("an address");
            // Somebody else, before the browser.
            let other = send(address, http::Method::GET, "/callback?code=x&state=other", &[], "").await;
            assert_eq!(other.status, 400);
            let page = send(address, http::Method::GET, &format!("/{path}"), &[], "").await;
            assert_eq!(page.status, 200, "{}", page.text());
        }
        waiting.ended(0).await
    }
}

impl Waiting {
    /// Begins a login, whose answer is for programs or not.
    fn begin(mut command: Command, json: bool) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("it starts");
        let pipe: Pin<Box<dyn AsyncRead>> = if json {
            Box::pin(child.stderr.take().expect("a pipe"))
        } else {
            Box::pin(child.stdout.take().expect("a pipe"))
        };
        let lines = BufReader::new(pipe).lines();
        let input = child.stdin.take().expect("a pipe");
        Self { child, lines, input }
    }

    /// The address that it has printed.
    async fn address(&mut self) -> String {
        let read = async {
            while let Some(line) = self.lines.next_line().await.expect("text") {
                if let Some(at) = line.find("http://") {
                    return Some(line[at..].split([' ', ',']).next().unwrap_or_default().to_owned());
                }
            }
            None
        };
        tokio::time::timeout(PATIENCE, read).await.expect("it prints something").expect("an address")
    }

    /// Waits for its end; what it has printed since.
    async fn ended(mut self, code: i32) -> String {
        let mut printed = String::new();
        let end = async {
            while let Some(line) = self.lines.next_line().await.expect("text") {
                printed.extend([line.as_str(), "\n"]);
            }
            self.child.wait_with_output().await.expect("an end")
        };
        let output = tokio::time::timeout(PATIENCE, end).await.expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{printed}{}", transcript(&output));
        printed + &transcript(&output)
    }
}

/// Waits until an upstream is in this state; its status.
async fn reaches(gateway: &Gateway, name: &str, state: &str) -> Value {
    let reached = async {
        loop {
            let status = gateway.status().await;
            let all = status["upstreams"].as_array().into_iter().flatten();
            let found = all.into_iter().find(|one| one["name"] == name && one["state"] == state);
            if let Some(found) = found {
                return found.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    reached.unwrap_or_else(|_| panic!("it does not become {state}: {}", gateway.printed()))
}

/// What a call of a tool is answered.
async fn call(gateway: &Gateway, tool: &str) -> String {
    call_at(gateway, "docs", tool).await
}

/// The same of one upstream.
async fn call_at(gateway: &Gateway, name: &str, tool: &str) -> String {
    let answer = Client::modern(gateway.address(), &format!("/mcp/{name}")).call(tool, "{}").await;
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// Waits until a call is answered with this.
async fn answers(gateway: &Gateway, tool: &str, text: &str) {
    let mut last = String::new();
    let answered = async {
        while !last.contains(text) {
            last = call(gateway, tool).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    assert!(answered.is_ok(), "not `{text}`: {}", gateway.printed());
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn person_logs_in_once_and_the_gateway_renews_it() {
    let world = World::start(json!({})).await;
    let gateway = world.gateway(&[("docs", "client_id = \"app\"")]).await;
    let status = reaches(&gateway, "docs", "needs-login").await;
    assert!(
        status["last_error"].as_str().is_some_and(|error| error.contains("`mcpeg login docs`")),
        "{status}"
    );
    assert!(call(&gateway, "one").await.contains("upstream `docs` needs a login: `mcpeg login docs`"));
    let check = gateway.control(&["--check"]).await;
    assert!(transcript(&check).contains("needs a login: `mcpeg login docs`"), "{}", transcript(&check));
    let printed = world.log_in(&gateway, &["docs"], false).await;
    assert!(
        printed.contains("logged in: docs at http://127.0.0.1") && printed.contains("renews it"),
        "{printed}"
    );
    reaches(&gateway, "docs", "ready").await;
    assert!(call(&gateway, "one").await.contains("fine"));
    let check = gateway.control(&["--check"]).await;
    assert!(!transcript(&check).contains("needs a login"), "{}", transcript(&check));
    // Two calls at once, whose token is refused: one asks for the next.
    let before = world.server.count("/token").await;
    world.refuse().await;
    let (one, other) = tokio::join!(call(&gateway, "one"), call(&gateway, "one"));
    assert!(one.contains("fine") && other.contains("fine"), "{one} {other}");
    assert_eq!(world.server.count("/token").await, before + 1);
    // What was rotated is kept: by the next process, and by one that begins anew.
    gateway.restart().await;
    world.refuse().await;
    assert!(call(&gateway, "one").await.contains("fine"));
    assert_eq!(world.server.count("/token").await, before + 2);
    // A scope that is lacking is told, and asked for.
    let lacking = call(&gateway, "admin").await;
    assert!(lacking.contains(r#"`mcpeg login docs --scope \"admin\"`"#), "{lacking}");
    world.log_in(&gateway, &["docs", "--scope", "admin"], true).await;
    answers(&gateway, "admin", "fine").await;
    let out = gateway.control(&["logout", "docs"]).await;
    assert!(transcript(&out).contains("the tokens are revoked"), "{}", transcript(&out));
    let told = audit::records(&gateway.file("audit.log"), "login", 3).await;
    let told: Vec<_> =
        told.iter().map(|record| ["upstream", "reason"].map(|name| audit::text(record, name))).collect();
    assert_eq!(told, [["docs", "login"], ["docs", "login"], ["docs", "logout"]]);
    reaches(&gateway, "docs", "needs-login").await;
    assert!(call(&gateway, "one").await.contains("needs a login"));
    let printed = gateway.printed();
    assert!(printed.contains("needs a login") && !printed.contains("eyJ"), "{printed}");
    gateway.stop_successor().await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn code_is_typed_clients_register_themselves_and_machines_need_no_person() {
    let world = World::start(json!({})).await;
    let service = "flow = \"client-credentials\", issuer = \"ISSUER\", client_id = \"service\", client_secret = \"service-secret\"";
    let gateway = world.gateway(&[("machine", service), ("typed", "flow = \"device\""), ("docs", "")]).await;
    reaches(&gateway, "machine", "ready").await;
    assert!(call_at(&gateway, "machine", "one").await.contains("fine"));
    world.refuse().await;
    assert!(call_at(&gateway, "machine", "one").await.contains("fine"));
    assert!(
        call_at(&gateway, "machine", "admin")
            .await
            .contains("wants more scopes than `oauth.scopes` has: admin")
    );
    let needless = gateway.control(&["login", "machine"]).await;
    assert_eq!(needless.status.code(), Some(64), "{}", transcript(&needless));
    let mut waiting = Waiting::begin(gateway.command(&["login", "typed"]), false);
    let (_, url) = (waiting.address().await, waiting.address().await);
    let visited = world.server.ask("visit", json!({ "url": url })).await;
    assert!(visited["location"].is_null(), "{visited}");
    assert!(waiting.ended(0).await.contains("logged in: typed"));
    reaches(&gateway, "typed", "ready").await;
    let printed = world.log_in(&gateway, &["docs", "--json"], true).await;
    let answer: Value = serde_json::from_str(&printed[printed.find('{').unwrap_or(0)..])
        .unwrap_or_else(|_| panic!("{printed}"));
    assert_eq!(
        (&answer["schema"], &answer["upstream"], &answer["renewed"]),
        (&json!(1), &json!("docs"), &json!(true))
    );
    assert!(!printed.contains("eyJ") && answer["scopes"] == json!(["mcp"]), "{printed}");
    reaches(&gateway, "docs", "ready").await;
    assert_eq!(world.server.count("/reg").await, 2);
    for name in ["docs", "typed", "machine"] {
        let file = gateway.file(&format!("state/login-{name}.json"));
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().expect("a login").permissions());
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let unknown = gateway.control(&["login", "nobody"]).await;
    assert!(transcript(&unknown).contains("it has machine, typed, docs"), "{}", transcript(&unknown));
    gateway.stop().await;
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn token_is_renewed_ahead_of_its_end_and_outlives_a_server_that_is_away() {
    let world = World::start(json!({ "ttl": 3 })).await;
    let gateway = world.gateway(&[("docs", "client_id = \"app\"")]).await;
    world.log_in(&gateway, &["docs"], true).await;
    answers(&gateway, "one", "fine").await;
    let before = world.server.count("/token").await;
    let renewed = async {
        while world.server.count("/token").await == before {
            assert!(call(&gateway, "one").await.contains("fine"), "nobody waits for the next token");
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("it is renewed");
    world.server.ask("away", json!({ "paths": ["/token"] })).await;
    assert!(call(&gateway, "one").await.contains("fine"), "the token is good until it ends");
    answers(&gateway, "one", "its authorization server gives none at present").await;
    let gateway = gateway.again().await;
    world.server.ask("away", json!({ "paths": [] })).await;
    answers(&gateway, "one", "fine").await;
    // The server forgets the login, whichever token it has rotated to.
    let address = format!("127.0.0.1:{}", world.server.port());
    let forgotten = async {
        while let Ok(kept) = std::fs::read(gateway.file("state/login-docs.json")) {
            let kept: Value = serde_json::from_slice(&kept).expect("JSON");
            let form = format!("client_id=app&token={}", kept["refresh_token"].as_str().expect("a token"));
            let mut stream = TcpStream::connect(&address).await.expect("it listens");
            let request = format!(
                "POST /token/revocation HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
                form.len()
            );
            stream.write_all(request.as_bytes()).await.expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("what is worth nothing is not kept");
    let status = reaches(&gateway, "docs", "needs-login").await;
    assert!(status["last_error"].as_str().is_some_and(|error| error.contains("invalid_grant")), "{status}");
    world.log_in(&gateway, &["docs"], true).await;
    answers(&gateway, "one", "fine").await;
    gateway.stop().await;
}

/// A server that is upstream and authorization server at once, in each case below its own path, with a fault of its own.
const FAULTY: &str = r#"
def get(handler):
    base = f"http://127.0.0.1:{server.server_address[1]}"
    kind, case = (handler.path + "/").split("/")[2:4]
    if kind == "oauth-protected-resource" and case not in ("silent", ""):
        issuer = base + ("/elsewhere" if case == "other" else f"/{case}")
        resource = "https://elsewhere.example.org/mcp" if case == "foreign" else f"{base}/{case}/mcp"
        document = {"resource": resource, "authorization_servers": [issuer]}
    elif kind == "oauth-authorization-server" and case not in ("dumb",):
        if case == "away":
            return handler.answer(503) or True
        document = {
            "issuer": base if case == "impostor" else f"{base}/{case}",
            "authorization_endpoint": f"{base}/{case}/auth",
            "token_endpoint": "http://192.0.2.1/token" if case == "insecure" else f"{base}/{case}/token",
            "code_challenge_methods_supported": ["plain"] if case == "plain" else ["S256"],
        }
        if case == "unproved":
            del document["code_challenge_methods_supported"]
    else:
        return handler.answer(404) or True
    return handler.answer(200, document) or True
"#;

#[tokio::test]
async fn server_that_cannot_be_trusted_gets_no_login() {
    let upstream = http_script(FAULTY).await;
    let base = format!("http://127.0.0.1:{}", upstream.port);
    let cases = [
        ("foreign", "", 78, "which is not the upstream"),
        ("impostor", "", 78, "the metadata are of the issuer"),
        ("unproved", "", 78, "does not say that it supports PKCE"),
        ("plain", "", 78, "does not say that it supports PKCE"),
        ("insecure", "", 78, "neither an address of https:// nor one of this machine"),
        ("other", "", 78, "does not use the authorization server"),
        ("stranger", "", 78, "does not know mcpeg"),
        ("silent", "", 69, "does not say which authorization server"),
        ("dumb", "", 69, "does not say what it can do"),
        ("away", "", 69, "503"),
        ("state", "code=C&state=other", 77, "its `state` is another one"),
        (
            "iss",
            "code=C&iss=https://elsewhere.example.org&state=STATE",
            77,
            "of another authorization server",
        ),
        ("denied", "error=access_denied&state=STATE", 77, "access_denied"),
    ];
    let table = |(case, ..): &(&str, &str, i32, &str)| {
        let oauth = match *case {
            "stranger" | "silent" => String::new(),
            "other" => format!("issuer = \"{base}/other\", client_id = \"app\""),
            _ => "client_id = \"app\"".to_owned(),
        };
        format!("[upstreams.{case}]\nurl = \"{base}/{case}/mcp\"\noauth = {{ {oauth} }}\n")
    };
    let site = Site::serving("", &cases.iter().map(table).collect::<String>());
    let state = site.path("state").display().to_string();
    let site = site.variable("STATE_DIRECTORY", &state);
    for (case, pasted, code, said) in cases {
        let mut waiting = Waiting::begin(site.mcpeg(&["login", case]).into(), false);
        if !pasted.is_empty() {
            let address = waiting.address().await;
            assert!(
                address.contains("code_challenge_method=S256") && address.contains("&resource=http"),
                "{address}"
            );
            let own =
                address.split("&state=").nth(1).and_then(|rest| rest.split('&').next()).expect("a state");
            let line = format!("{}\n", pasted.replace("STATE", own));
            waiting.input.write_all(line.as_bytes()).await.expect("it reads");
        }
        let printed = waiting.ended(code).await;
        assert!(printed.contains(said), "{case}: {printed}");
        assert!(!site.path(&format!("state/login-{case}.json")).exists(), "{case}");
    }
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn token_of_each_client_is_exchanged_for_one_of_its_own_and_never_passed_on() {
    const RESOURCE: &str = "https://mcp.example.org/mcp";
    let server = AuthorizationServer::start(&json!({})).await;
    let told =
        "def call(handler, message, name): return claims(handler.headers[\"Authorization\"][7:])[\"sub\"]\n";
    let lines = GUARDED.replace("ISSUER", &format!("{:?}", server.issuer())) + told;
    let upstream = http_script(&lines).await;
    let world = World { server, upstream };
    let upstreams = format!(
        "[upstreams.docs]\nurl = \"http://127.0.0.1:{}/mcp\"\noauth = {{ flow = \"token-exchange\", issuer = \"{}\", client_id = \
         \"service\", client_secret = \"service-secret\" }}\n",
        world.upstream.port,
        world.server.issuer()
    );
    let tables = format!(
        "[auth.oauth.corp]\nissuer = \"{}\"\naudience = [\"{RESOURCE}\"]\nresource = \"{RESOURCE}\"\n[clients.people]\noauth = \
         {{ issuer = \"corp\", claims = {{ groups = \"dev\" }} }}\n[clients.bot]\n",
        world.server.issuer()
    );
    let guarded = Guarded::with(upstreams, &tables).await;
    let ask = async |token: &str| {
        let answer = guarded.ask("/mcp", token, modern("tools/call", r#""name":"one""#)).await;
        answer.message().to_string()
    };
    let [alice, bob, mallory] = [
        world.server.token(Some("alice"), RESOURCE).await,
        world.server.token(Some("bob"), RESOURCE).await,
        world.server.token(Some("mallory"), RESOURCE).await,
    ];
    let before = world.server.count("/token").await;
    let all = tokio::join!(ask(&alice), ask(&bob), ask(&alice), ask(&bob), ask(&alice));
    let is_for = |answer: &str, who: &str| answer.contains(&format!("\"text\":\"{who}\""));
    assert!([&all.0, &all.2, &all.4].iter().all(|answer| is_for(answer, "alice")), "{all:?}");
    assert!([&all.1, &all.3].iter().all(|answer| is_for(answer, "bob")), "{all:?}");
    let session = guarded.begin(&alice).await;
    let answer = guarded.say("POST", &alice, &session, &access::call("one")).await;
    assert!(is_for(&answer.message().to_string(), "alice"), "{answer:?}");
    // One exchange for each, whatever they ask, and nothing but what came of it was shown.
    assert_eq!(world.server.count("/token").await, before + 2);
    assert_eq!(world.refuse().await, 2);
    let again = tokio::join!(ask(&alice), ask(&alice));
    assert!(is_for(&again.0, "alice") && is_for(&again.1, "alice"), "{again:?}");
    assert_eq!(
        world.server.count("/token").await,
        before + 3,
        "a token that is refused is exchanged anew, once"
    );
    let own = guarded.believed("bot").await;
    let none = ask(&own).await;
    assert!(none.contains("this client has shown none of these"), "{none}");
    let refused = ask(&mallory).await;
    assert!(refused.contains("the authorization server gives none"), "{refused}");
    assert!(!guarded.gateway.printed().contains("eyJ"));
    guarded.stop().await;
}
