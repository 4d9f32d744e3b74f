//! Clients that are recognised by their certificates: by which, what others get, and what becomes of what they have open.

use std::time::Duration;

use rcgen::SanType;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::access::{Answer, call, exchange, modern};
use crate::audit;
use crate::client::LEGACY;
use crate::daemon::Site;
use crate::gateway::{Gateway, write};
use crate::listeners::{Authority, addresses, get};
use crate::upstreams::probe;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a certificate may name.
fn names(dns: &[&str], uris: &[&str], emails: &[&str]) -> Vec<SanType> {
    let dns = dns.iter().map(|name| SanType::DnsName((*name).try_into().expect("a name")));
    let uris = uris.iter().map(|name| SanType::URI((*name).try_into().expect("a name")));
    let emails = emails.iter().map(|name| SanType::Rfc822Name((*name).try_into().expect("a name")));
    dns.chain(uris).chain(emails).collect()
}

/// Sends a request over a connection of its own.
async fn ask(address: &str, client: &TlsConnector, first: &str, lines: &[String], body: &str) -> Answer {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    let stream = client.connect("localhost".try_into().expect("a name"), stream).await.expect("a handshake");
    exchange(stream, first, lines, body).await
}

/// The authority's certificates, each with its names.
fn sign(own: &Authority, foreign: &Authority) {
    own.sign("server", 90);
    for (name, days, names) in [
        ("dns", 90, names(&["other.example.org", "CI.example.org"], &[], &[])),
        ("uri", 90, names(&[], &["spiffe://example.org/ci"], &[])),
        ("email", 90, names(&[], &[], &["ci@example.org"])),
        ("fingerprint", 90, names(&[], &[], &[])),
        ("both", 90, names(&["both.example.org"], &["urn:both"], &[])),
        ("half", 90, names(&["both.example.org"], &["urn:other"], &[])),
        ("wild", 90, names(&["*.example.org"], &["spiffe://example.org/"], &["example.org"])),
        // Its common name, which names nobody.
        ("ci.example.org", 90, names(&[], &[], &[])),
        ("expired", -1, names(&["ci.example.org"], &[], &[])),
    ] {
        own.sign_as(name, days, names);
    }
    foreign.sign_as("foreign", 90, names(&["ci.example.org"], &[], &[]));
}

/// The listeners, and clients of which one has this certificate.
fn configuration(own: &Authority, dns: &str) -> String {
    let tls = own.tls("server", &format!(", client_ca = \"{}\"", own.file("ca.pem").display()));
    let pem = std::fs::read_to_string(own.file("fingerprint.pem")).expect("it is there");
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes());
    let der: rustls::pki_types::CertificateDer<'_> = der.expect("a certificate");
    let digest: Vec<_> = Sha256::digest(&der).iter().map(|byte| format!("{byte:02X}")).collect();
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [listeners.cert]\naddress = \"127.0.0.2:0\"\nauth = [\"certificate\"]\n{tls}\
         [listeners.either]\naddress = \"127.0.0.3:0\"\nauth = [\"token\", \"certificate\"]\n{tls}{}\
         [clients.dns]\ncertificate = {{ dns = \"{dns}\" }}\n\
         [clients.uri]\ncertificate = {{ uri = \"spiffe://example.org/ci\" }}\n\
         [clients.email]\ncertificate = {{ email = \"ci@example.org\" }}\n\
         [clients.fingerprint]\ncertificate = {{ fingerprint = \"{}\" }}\n\
         [clients.both]\ncertificate = {{ dns = \"both.example.org\", uri = \"urn:both\" }}\n{}",
        probe("one", &[]),
        digest.join(":"),
        audit::table(&own.file("audit.log")),
    )
}

#[tokio::test]
async fn client_is_who_its_certificate_says_and_loses_its_sessions_with_it() {
    let (own, foreign, state) = (Authority::new(), Authority::new(), tempfile::tempdir().expect("it works"));
    sign(&own, &foreign);
    let site = Site::with_config(&configuration(&own, "ci.example.org"));
    let gateway = Gateway::on(site.variable("STATE_DIRECTORY", &state.path().display().to_string())).await;
    let [_, cert, either] = <[String; 3]>::try_from(addresses(&gateway).await).expect("three");
    let (lines, body) = modern("tools/list", "");
    let mut without = 0;
    for (name, statuses) in [
        ("dns", [200, 200]),
        ("uri", [200, 200]),
        ("email", [200, 200]),
        ("fingerprint", [200, 200]),
        ("both", [200, 200]),
        ("half", [403, 403]),
        ("wild", [403, 403]),
        ("ci.example.org", [403, 403]),
        ("", [403, 401]),
    ] {
        let client = if name.is_empty() { own.client() } else { own.client_with(&own, name) };
        for (address, status) in [&cert, &either].into_iter().zip(statuses) {
            let answer = ask(address, &client, "POST /mcp", &lines, &body).await;
            assert_eq!(answer.status, status, "{name}: {answer:?}");
            if status != 200 {
                assert_eq!(answer.message()["error"]["code"], json!(-32600), "{answer:?}");
                assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{answer:?}");
                without += 1;
            }
        }
    }
    assert_eq!(without, 8);
    let refused = audit::records(&own.file("audit.log"), "refusal", without).await;
    let refused: Vec<_> = refused.iter().map(|record| audit::text(record, "reason")).collect();
    assert_eq!(refused, [["client"; 6].as_slice(), &["credential"; 2]].concat());
    // These are no certificates at all: the handshake fails.
    for (signer, name) in [(&own, "expired"), (&foreign, "foreign")] {
        let stream = TcpStream::connect(&cert).await.expect("somebody listens");
        let client = own.client_with(signer, name);
        let answer = match client.connect("localhost".try_into().expect("a name"), stream).await {
            Ok(stream) => get(stream, "/health/live", &[]).await,
            Err(_) => None,
        };
        assert_eq!(answer, None, "{name}");
    }
    sessions(&gateway, &cert, &own).await;
    gateway.stop().await;
}

/// A session is of the client that has begun it, and ends when its certificate is withdrawn.
async fn sessions(gateway: &Gateway, address: &str, own: &Authority) {
    let [dns, uri] = ["dns", "uri"].map(|name| own.client_with(own, name));
    let params = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": "a", "version": "1" } });
    let initialize =
        json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string();
    let begun = ask(address, &dns, "POST /mcp", &[], &initialize).await;
    let session = begun.header("mcp-session-id").unwrap_or_else(|| panic!("{begun:?}"));
    let lines = [format!("Mcp-Session-Id: {session}"), format!("MCP-Protocol-Version: {LEGACY}")];
    let say = async |client: &TlsConnector| ask(address, client, "POST /mcp", &lines, &call("echo")).await;
    assert_eq!(say(&dns).await.status, 200);
    let calls = audit::records(&own.file("audit.log"), "call", 1).await;
    assert_eq!(["client", "proof"].map(|name| audit::text(&calls[0], name)), ["dns", "certificate"]);
    assert_eq!(say(&uri).await.status, 404, "it is another client's");
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    let mut stream = dns.connect("localhost".try_into().expect("a name"), stream).await.expect("a handshake");
    let head = format!(
        "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{}\r\n\r\n",
        lines.join("\r\n")
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut status = [0; 15];
    stream.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    let reload = async |dns: &str| {
        write(&gateway.file("mcpeg.toml"), configuration(own, dns));
        let output = gateway.control(&["--reload"]).await;
        assert!(output.status.success(), "{output:?}");
    };
    reload("elsewhere.example.org").await;
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "the stream ends");
    assert_eq!(say(&dns).await.status, 403);
    reload("ci.example.org").await;
    assert_eq!(say(&dns).await.status, 404, "its session has ended");
}
