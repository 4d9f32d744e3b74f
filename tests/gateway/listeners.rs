//! Listeners with a name: TLS by the table, clients' certificates, proxies that are believed and those that are not, and
//! certificates that are replaced while clients connect.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ConfigBuilder, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::gateway::Gateway;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An authority, and what it has signed, in a directory.
pub(crate) struct Authority {
    /// The authority.
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The directory.
    directory: tempfile::TempDir,
}

impl Authority {
    /// A new one, whose own certificate is `ca.pem`.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        let authority = Self { issuer, directory: tempfile::tempdir().expect("a directory") };
        crate::gateway::write(&authority.file("ca.pem"), authority.issuer.pem());
        authority
    }

    /// A file of its own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a new certificate of this many days at `NAME.pem`, by a rename, and its key at `NAME.key`.
    pub(crate) fn sign(&self, name: &str, days: i64) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "127.0.0.2".to_owned()];
        let names = CertificateParams::new(names).expect("names");
        self.sign_as(name, days, names.subject_alt_names);
    }

    /// The same with these alternative names.
    pub(crate) fn sign_as(&self, name: &str, days: i64, names: Vec<SanType>) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.distinguished_name.push(DnType::CommonName, name);
        let now = std::time::SystemTime::now();
        params.not_before = (now - Duration::from_secs(60 * 24 * 60 * 60)).into();
        let end =
            i64::try_from(now.duration_since(std::time::UNIX_EPOCH).expect("now").as_secs()).expect("small");
        let end = u64::try_from(end + days * 24 * 60 * 60 + 60).expect("after 1970");
        params.not_after = (std::time::UNIX_EPOCH + Duration::from_secs(end)).into();
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        for (file, text) in
            [(format!("{name}.key"), key.serialize_pem()), (format!("{name}.pem"), certificate.pem())]
        {
            let new = self.file("new");
            crate::gateway::write(&new, &text);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&new, mode).expect("its mode");
            std::fs::rename(new, self.file(&file)).expect("renamed");
        }
    }

    /// `tls = …` with this certificate.
    pub(crate) fn tls(&self, name: &str, more: &str) -> String {
        let file = |kind: &str| self.file(&format!("{name}.{kind}")).display().to_string();
        format!("tls = {{ cert = \"{}\", key = \"{}\"{more} }}\n", file("pem"), file("key"))
    }

    /// A client that trusts the authority.
    pub(crate) fn client(&self) -> TlsConnector {
        let builder = self.trusting();
        TlsConnector::from(Arc::new(builder.with_no_client_auth()))
    }

    /// The same with a certificate that another authority has signed, or this one.
    pub(crate) fn client_with(&self, signer: &Self, name: &str) -> TlsConnector {
        let read = |kind: &str| std::fs::read(signer.file(&format!("{name}.{kind}"))).expect("it is there");
        let certificate = CertificateDer::from_pem_slice(&read("pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(&read("key")).expect("a key");
        let config = self.trusting().with_client_auth_cert(vec![certificate], key).expect("they fit");
        TlsConnector::from(Arc::new(config))
    }

    /// The beginning of both.
    fn trusting(&self) -> ConfigBuilder<rustls::ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        builder.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots)
    }
}

/// A GET with these headers; `None` if the connection breaks.
pub(crate) async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
    headers: &[(&str, &str)],
) -> Option<(u16, String)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let driver = tokio::spawn(connection);
    let mut request = Request::get(path);
    if headers.iter().all(|(name, _)| *name != "host") {
        request = request.header("host", "localhost");
    }
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response =
        sender.send_request(request.body(Full::<Bytes>::default()).expect("a request")).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    driver.abort();
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The same over TLS, on a connection of its own; and the certificate that was shown.
async fn secure(address: &str, client: &TlsConnector, path: &str) -> Option<(u16, CertificateDer<'static>)> {
    let stream = TcpStream::connect(address).await.ok()?;
    let stream = client.connect("localhost".try_into().expect("a name"), stream).await.ok()?;
    let shown = stream.get_ref().1.peer_certificates()?.first()?.clone();
    Some((get(stream, path, &[]).await?.0, shown))
}

/// The addresses of all listeners, in the order of the configuration.
pub(crate) async fn addresses(gateway: &Gateway) -> Vec<String> {
    let status = gateway.status().await;
    let all = status["listeners"].as_array().expect("listeners").iter();
    all.map(|address| address.as_str().expect("text").to_owned()).collect()
}

/// What `openssl s_client` prints with these arguments.
pub(crate) async fn s_client(address: &str, arguments: &[&str], request: &str) -> String {
    let mut child = tokio::process::Command::new("openssl")
        .args(["s_client", "-connect", address, "-servername", "localhost"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl");
    let mut stdin = child.stdin.take().expect("a pipe");
    // One whose handshake fails reads nothing.
    let _ = stdin.write_all(request.as_bytes()).await;
    drop(stdin);
    let output =
        tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("in time").expect("its end");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// A request after which `s_client` waits for the end.
const ASK: &str = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Versions, suites and protocols.
async fn versions_and_protocols(plain: &str, own: &Authority) {
    let authority = own.file("ca.pem").display().to_string();
    for (arguments, says) in [
        (&["-tls1_2"][..], "Protocol  : TLSv1.2"),
        (&["-tls1_3"], "New, TLSv1.3"),
        (&["-tls1_1"], "alert"),
        (&["-tls1_2", "-cipher", "AES256-SHA"], "alert"),
        (&["-alpn", "h2"], "ALPN protocol: h2"),
        (&["-alpn", "http/1.1"], "ALPN protocol: http/1.1"),
        (&["-alpn", "h2,http/1.1"], "ALPN protocol: h2"),
        (&["-alpn", "spdy/1"], "alert"),
        (&[], "No ALPN negotiated"),
        (&[], "HTTP/1.1 200 OK"),
    ] {
        let verify = ["-CAfile", &authority, "-verify_return_error", "-ign_eof"];
        let text = s_client(plain, &[&verify[..], arguments].concat(), ASK).await;
        assert_eq!(text.contains("alert"), says == "alert", "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}

/// Clients with and without certificates, where they may and where they must have one.
async fn certificates_of_clients(perhaps: &str, (own, foreign): (&Authority, &Authority)) {
    let shown = |authority: &Authority| {
        ["pem", "key"].map(|kind| authority.file(&format!("client.{kind}")).display().to_string())
    };
    let ([cert, key], [foreign_cert, foreign_key]) = (shown(own), shown(foreign));
    for version in ["-tls1_2", "-tls1_3"] {
        for (arguments, answer) in [
            (&[][..], "HTTP/1.1 200 OK"),
            (&["-cert", &cert, "-key", &key], "HTTP/1.1 200 OK"),
            (&["-cert", &foreign_cert, "-key", &foreign_key], "alert"),
        ] {
            let text = s_client(perhaps, &[&["-ign_eof", version], arguments].concat(), ASK).await;
            assert!(text.contains(answer), "{version} {arguments:?}: {text}");
            assert_eq!(
                text.contains("HTTP/1.1 "),
                answer.starts_with("HTTP"),
                "{version} {arguments:?}: {text}"
            );
        }
    }
}

/// Clients that do not speak TLS, or stop in the middle.
async fn silence(plain: &str, own: &Authority) {
    // TLS does not answer who speaks without it, and nobody waits for those who say nothing.
    let stream = TcpStream::connect(plain).await.expect("somebody listens");
    assert_eq!(get(stream, "/health/live", &[]).await, None);
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(plain).await.expect("somebody listens");
        stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.expect("written");
        silent.push(stream);
    }
    assert_eq!(secure(plain, &own.client(), "/health/live").await.expect("an answer").0, 200);
    for mut stream in silent {
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "a handshake that stops is given up");
    }
}

#[tokio::test]
async fn tls_is_what_the_table_says_and_who_must_prove_something_is_let_in_by_nothing_else() {
    let (own, foreign) = (Authority::new(), Authority::new());
    own.sign("server", 20);
    own.sign("client", 90);
    foreign.sign("client", 90);
    let ca = format!(", client_ca = \"{}\"", own.file("ca.pem").display());
    let config = format!(
        "client_timeout = \"500ms\"\n[listeners.plain]\naddress = \"127.0.0.2:0\"\n{}\
         [listeners.perhaps]\naddress = \"127.0.0.3:0\"\n{}\
         [listeners.token]\naddress = \"127.0.0.5:0\"\nauth = [\"token\"]\n",
        own.tls("server", ""),
        own.tls("server", &ca),
    );
    let gateway = Gateway::start_with(&config, "", &[]).await;
    let [_, plain, perhaps, token] = <[String; 4]>::try_from(addresses(&gateway).await).expect("four");
    versions_and_protocols(&plain, &own).await;
    certificates_of_clients(&perhaps, (&own, &foreign)).await;
    // What asks for a token answers nobody without one, whatever it is asked for.
    for path in ["/mcp", "/health", "/metrics", "/sse", "/nothing"] {
        let stream = TcpStream::connect(&token).await.expect("somebody listens");
        assert_eq!(get(stream, path, &[]).await.expect("an answer").0, 401, "{path}");
    }
    silence(&plain, &own).await;
    let status = gateway.status().await;
    assert_eq!(status["certificates"][0]["days_left"], 20, "{status}");
    let (_, health) =
        get(TcpStream::connect(gateway.address()).await.expect("it"), "/health", &[]).await.expect("it");
    assert!(health.contains("\"days_left\":20"), "{health}");
    let (_, metrics) =
        get(TcpStream::connect(gateway.address()).await.expect("it"), "/metrics", &[]).await.expect("it");
    assert!(
        metrics.contains("mcpeg_tls_certificate_expiry_timestamp_seconds{listener=\"plain\"} "),
        "{metrics}"
    );
    assert!(gateway.printed().contains("the certificate expires soon"), "{}", gateway.printed());
    gateway.stop().await;
}

/// Clients that connect one after the other until told to stop; how many were served, and how many were not.
struct Load {
    /// Set at the end.
    ends: Arc<AtomicBool>,
    /// Those that were served.
    served: Arc<AtomicUsize>,
    /// Those that were not.
    failed: Arc<AtomicUsize>,
    /// The clients.
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// Begins.
    fn start(address: &str, client: &TlsConnector) -> Self {
        let (ends, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let failed = Arc::<AtomicUsize>::default();
        let one = |_| {
            let (address, client) = (address.to_owned(), client.clone());
            let (ends, served, failed) = (Arc::clone(&ends), Arc::clone(&served), Arc::clone(&failed));
            tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    let answered = secure(&address, &client, "/health/live").await;
                    let well = answered.is_some_and(|(status, _)| status == 200);
                    if well {
                        served.fetch_add(1, Ordering::Relaxed)
                    } else {
                        failed.fetch_add(1, Ordering::Relaxed)
                    };
                }
            })
        };
        let clients = (0..2).map(one).collect();
        Self { ends, served, failed, clients }
    }

    /// Waits until so many more were served.
    async fn more(&self, count: usize) {
        let wanted = self.served.load(Ordering::Relaxed) + count;
        let reached = tokio::time::timeout(PATIENCE, async {
            while self.served.load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        reached.await.expect("they are served");
    }

    /// Ends; how many failed.
    async fn end(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no panic");
        }
        self.failed.load(Ordering::Relaxed)
    }
}

/// Waits until the status says this of the certificate's files.
async fn certificate_is(gateway: &Gateway, wrong: bool) {
    let reached = tokio::time::timeout(PATIENCE, async {
        while gateway.status().await["certificates"][0]["error"].is_string() != wrong {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    reached.await.unwrap_or_else(|_| panic!("{}", gateway.printed()));
}

/// Waits until another certificate is shown than before, and returns it.
async fn another(
    address: &str,
    client: &TlsConnector,
    before: &CertificateDer<'_>,
) -> CertificateDer<'static> {
    let reached = tokio::time::timeout(PATIENCE, async {
        loop {
            match secure(address, client, "/health/live").await {
                Some((_, shown)) if shown != *before => return shown,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    reached.await.expect("the new certificate is shown")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_listeners_and_processes_are_replaced_under_load_without_a_failed_request() {
    let authority = Authority::new();
    authority.sign("server", 90);
    let listener = format!("[listeners.a]\naddress = \"127.0.0.2:0\"\n{}", authority.tls("server", ""));
    let gateway = Gateway::start_with("", &listener, &[]).await;
    let [_, address] = <[String; 2]>::try_from(addresses(&gateway).await).expect("two");
    let client = authority.client();
    let (_, mut shown) = secure(&address, &client, "/health/live").await.expect("an answer");
    let load = Load::start(&address, &client);
    // By the files alone, and by a reload at once.
    for reloads in [false, true, true] {
        load.more(3).await;
        authority.sign("server", 90);
        if reloads {
            let reloaded = gateway.reload("", &listener).await;
            assert!(reloaded.status.success(), "{reloaded:?}");
            let (_, now) = secure(&address, &client, "/health/live").await.expect("an answer");
            assert_ne!(now, shown, "a reload has read the certificate before it answers");
            shown = now;
        } else {
            shown = another(&address, &client, &shown).await;
        }
    }
    // A key of another certificate leaves what is in use in use, and says so.
    let key = std::fs::read(authority.file("server.key")).expect("a key");
    crate::gateway::write(&authority.file("server.key"), KeyPair::generate().expect("a key").serialize_pem());
    certificate_is(&gateway, true).await;
    assert!(gateway.printed().contains("does not belong to the certificate"), "{}", gateway.printed());
    assert!(gateway.reload("", &listener).await.status.success());
    assert_eq!(secure(&address, &client, "/health/live").await.expect("an answer"), (200, shown.clone()));
    crate::gateway::write(&authority.file("server.key"), key);
    certificate_is(&gateway, false).await;
    // Another listener comes and goes; one whose files are not there does not come at all.
    let other =
        format!("{listener}[listeners.b]\naddress = \"127.0.0.3:0\"\n{}", authority.tls("server", ""));
    assert!(gateway.reload("", &other).await.status.success());
    let [_, _, second] = <[String; 3]>::try_from(addresses(&gateway).await).expect("three");
    assert_eq!(secure(&second, &client, "/health/live").await.expect("an answer").0, 200);
    let missing =
        format!("{listener}[listeners.c]\naddress = \"127.0.0.4:0\"\n{}", authority.tls("none", ""));
    let refused = gateway.reload("", &missing).await;
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("none.pem"), "{refused:?}");
    assert!(gateway.reload("", &listener).await.status.success());
    assert_eq!(addresses(&gateway).await.len(), 2);
    // A new process, at the same port.
    gateway.restart().await;
    load.more(3).await;
    assert_eq!(addresses(&gateway).await[1], address);
    // The same socket without TLS, and with it again.
    assert_eq!(load.end().await, 0, "{}", gateway.printed());
    assert!(gateway.reload("", "[listeners.a]\naddress = \"127.0.0.2:0\"\n").await.status.success());
    let stream = TcpStream::connect(&address).await.expect("somebody listens");
    assert_eq!(get(stream, "/health/live", &[]).await.expect("an answer").0, 200);
    assert!(gateway.reload("", &listener).await.status.success());
    assert_eq!(secure(&address, &client, "/health/live").await.expect("an answer").0, 200);
    gateway.stop_successor().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_is_replaced_twenty_times_under_load_by_clients_of_a_release_only() {
    let authority = Authority::new();
    authority.sign("server", 90);
    let listener = format!("[listeners.a]\naddress = \"127.0.0.2:0\"\n{}", authority.tls("server", ""));
    let gateway = Gateway::start_with("", &listener, &[]).await;
    let [_, address] = <[String; 2]>::try_from(addresses(&gateway).await).expect("two");
    let client = authority.client();
    let (_, mut shown) = secure(&address, &client, "/health/live").await.expect("an answer");
    let load = Load::start(&address, &client);
    for _ in 0..20 {
        load.more(20).await;
        authority.sign("server", 90);
        shown = another(&address, &client, &shown).await;
    }
    assert_eq!(load.end().await, 0, "{}", gateway.printed());
    gateway.stop().await;
}

/// A header of version 2 for a TCP connection from this IPv4 address.
fn two(from: [u8; 4]) -> Vec<u8> {
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &from, &[127, 0, 0, 1, 0, 1, 0, 2]].concat()
}

/// What proxies that begin so are answered where the header comes before TLS.
async fn over_tls(address: &str, authority: &Authority, cases: [(&[u8], Option<u16>); 3]) {
    for (beginning, status) in cases {
        let mut stream = TcpStream::connect(address).await.expect("somebody listens");
        stream.write_all(beginning).await.expect("written");
        let stream = authority.client().connect("localhost".try_into().expect("a name"), stream).await;
        let answer = match stream {
            Ok(stream) => get(stream, "/metrics", &[]).await.map(|(status, _)| status),
            Err(_) => None,
        };
        assert_eq!(answer, status);
    }
}

/// The same over a Unix socket.
async fn over_unix(socket: &Path, cases: [(&[u8], Option<u16>); 3]) {
    for (beginning, status) in cases {
        let mut stream = UnixStream::connect(socket).await.expect("somebody listens");
        stream.write_all(beginning).await.expect("written");
        assert_eq!(get(stream, "/metrics", &[]).await.map(|(status, _)| status), status);
    }
}

/// Listeners that believe different proxies, in different ways.
fn listeners_behind_proxies(authority: &Authority) -> String {
    format!(
        "allowed_hosts = [\"everywhere.example\"]\n\
         [listeners.header]\naddress = \"127.0.0.2:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\nallowed_hosts = [\"here.example\"]\n\
         [listeners.protocol]\naddress = \"127.0.0.3:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\nproxy_protocol = true\n\
         [listeners.stranger]\naddress = \"127.0.0.4:0\"\ntrusted_proxies = [\"192.0.2.0/24\"]\nproxy_protocol = true\n\
         [listeners.secure]\naddress = \"127.0.0.5:0\"\ntrusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = true\n{}\
         [listeners.quiet]\naddress = \"127.0.0.6:0\"\nmetrics = false\nstatus = false\n\
         [listeners.socket]\naddress = \"unix:{}\"\ntrusted_proxies = [\"unix\"]\nproxy_protocol = true\n",
        authority.tls("server", ""),
        authority.file("proxy.sock").display()
    )
}

#[tokio::test]
async fn proxies_are_believed_where_they_are_trusted_and_nowhere_else() {
    let authority = Authority::new();
    authority.sign("server", 90);
    let config = listeners_behind_proxies(&authority);
    let gateway = Gateway::start_with(&config, "", &[]).await;
    let all = addresses(&gateway).await;
    let [plain, header, protocol, stranger, secure, quiet, _] = <[String; 7]>::try_from(all).expect("seven");
    // Who is local may read the metrics and the status, which tells whom the gateway takes a client for.
    let four: &[u8] = b"PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\n";
    let local: &[u8] = b"PROXY TCP4 127.0.0.9 127.0.0.1 1 2\r\n";
    let (foreign_two, local_two) = (two([192, 0, 2, 9]), two([127, 0, 0, 9]));
    let forwarded = "x-forwarded-for";
    for (address, beginning, headers, status) in [
        (&plain, &[][..], &[][..], Some(200)),
        (&plain, &[], &[(forwarded, "192.0.2.9")], Some(200)),
        (&header, &[], &[], Some(200)),
        (&header, &[], &[(forwarded, "192.0.2.9")], Some(404)),
        (&header, &[], &[(forwarded, "127.0.0.9, 192.0.2.9")], Some(404)),
        (&header, &[], &[("forwarded", "for=192.0.2.9")], Some(404)),
        (&header, &[], &[("forwarded", "for=127.0.0.1"), (forwarded, "192.0.2.9")], Some(400)),
        (&header, four, &[], Some(400)),
        (&header, &[], &[("host", "here.example"), (forwarded, "192.0.2.9")], Some(404)),
        (&header, &[], &[("host", "everywhere.example")], Some(403)),
        (&plain, &[], &[("host", "everywhere.example")], Some(200)),
        (&protocol, four, &[], Some(404)),
        (&protocol, local, &[], Some(200)),
        (&protocol, &foreign_two, &[], Some(404)),
        (&protocol, &local_two, &[], Some(200)),
        (&protocol, b"PROXY UNKNOWN\r\n", &[], Some(200)),
        // Whom a proxy speaks for is no proxy, so that nobody believes what that one says.
        (&protocol, four, &[(forwarded, "127.0.0.1")], Some(404)),
        (&protocol, &[], &[], None),
        (&protocol, b"PROXY TCP4 192.0.2.9\r\n", &[], None),
        // From strangers it is no part of HTTP, nor are their headers believed.
        (&stranger, four, &[], Some(400)),
        (&stranger, &foreign_two, &[], Some(400)),
        (&stranger, &[], &[(forwarded, "192.0.2.9")], Some(200)),
        (&quiet, &[], &[], Some(404)),
    ] {
        for path in ["/metrics", "/status"] {
            let mut stream = TcpStream::connect(address).await.expect("somebody listens");
            stream.write_all(beginning).await.expect("written");
            let answer = get(stream, path, headers).await.map(|(status, _)| status);
            let beginning = String::from_utf8_lossy(beginning);
            assert_eq!(answer, status, "{path} {address} {headers:?} {beginning}");
        }
    }
    let cases = [(four, Some(404)), (local, Some(200)), (&[], None)];
    over_tls(&secure, &authority, cases).await;
    over_unix(&authority.file("proxy.sock"), cases).await;
    // The log names whom they speak for.
    let stream = TcpStream::connect(&header).await.expect("somebody listens");
    get(
        stream,
        "/mcp",
        &[("host", "here.example"), ("origin", "http://evil.example"), (forwarded, "192.0.2.77")],
    )
    .await;
    gateway.prints("192.0.2.77").await;
    gateway.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_keep_a_gateway_from_starting_and_check_finds_them() {
    let authority = Authority::new();
    for name in ["good", "other", "old"] {
        authority.sign(name, if name == "old" { -1 } else { 90 });
    }
    let file = |name: &str| authority.file(name).display().to_string();
    crate::gateway::write(&authority.file("empty.pem"), "");
    crate::gateway::write(
        &authority.file("wrong.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    std::fs::copy(authority.file("good.key"), authority.file("open.key")).expect("copied");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(authority.file("open.key"), mode).expect("its mode");
    for (cert, key, starts, says) in [
        ("good.pem", "good.key", true, ""),
        ("none.pem", "good.key", false, "cannot read"),
        ("good.pem", "none.key", false, "cannot read"),
        ("empty.pem", "good.key", false, "no certificate in PEM form"),
        ("wrong.pem", "good.key", false, "cannot use"),
        ("good.pem", "good.pem", false, "no private key in PEM form"),
        ("good.pem", "other.key", false, "does not belong to the certificate"),
        ("old.pem", "old.key", true, "has expired"),
        ("good.pem", "open.key", true, "every user of this machine can read the key"),
    ] {
        let (cert, key) = (file(cert), file(key));
        let text = format!(
            "[listeners.a]\naddress = \"127.0.0.2:0\"\ntls = {{ cert = \"{cert}\", key = \"{key}\" }}\n"
        );
        let site = crate::daemon::Site::serving("", &text);
        let checked = site.run(&["--check"]);
        let told = format!("{}{}", checked.stdout, checked.stderr);
        assert!(told.contains(says), "{cert} {key}: {told}");
        // Whoever checks may not be who serves; that a file cannot be read is a doubt then.
        let certain = !starts && says != "cannot read";
        assert_eq!(checked.code, Some(if certain { 78 } else { 0 }), "{cert} {key}: {told}");
        if !starts {
            let started = site.run(&[]);
            assert_eq!(started.code, Some(78), "{cert} {key}: {started:?}");
            assert!(started.stderr.contains(says) && started.stderr.contains("[listeners.a]"), "{started:?}");
        }
    }
}
