//! Gateways beside one another, each for a short turn: what the machine does meanwhile falls on all of them alike.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::load::{Era, Target, measure_tool};
use crate::process::Gateway;
use crate::{CONNECTIONS, Upstream, each};

/// How long a turn is.
const TURN: Duration = Duration::from_millis(500);
/// How many turns each gateway has for a row.
const TURNS: usize = 16;

/// A gateway that is compared.
struct Entrant {
    /// What it is called.
    name: String,
    /// The gateway.
    gateway: Gateway,
    /// How calls come to it.
    target: Target,
}

/// What one gateway needed in one turn: calls a second, and its processor time a call in microseconds.
type Turn = (f64, f64);

/// Compares the binary that is measured with another one.
pub(crate) fn another(upstream: &Upstream, other: &str) {
    let mut all = (Vec::new(), Vec::new());
    let rows = [
        ("HTTP", upstream.http(), Era::Modern),
        ("stdio", upstream.stdio(), Era::Modern),
        ("sessions", upstream.stdio(), Era::Legacy),
    ];
    for (name, upstream, era) in rows {
        let entrant = |name: &str, binary| {
            let listen = "[server]\nlisten = [\"127.0.0.1:0\"]";
            let gateway = Gateway::start_other(binary, &format!("{listen}\n[upstreams.echo]\n{upstream}"));
            let target = gateway.address.into();
            Entrant { name: name.to_owned(), gateway, target }
        };
        let entrants = vec![entrant(other, Some(other)), entrant("this", None)];
        for connections in CONNECTIONS {
            let found = compare(&format!("{name}, {connections}"), &entrants, era, connections);
            all.0.push(found[1].0);
            all.1.push(found[1].1);
        }
        for entrant in entrants {
            entrant.gateway.end();
        }
    }
    println!("all: {:.3} of its calls a second, {:.3} of its processor time", mean(&all.0), mean(&all.1));
}

/// Compares calls with tokens, JWT and TLS with calls without them.
pub(crate) fn guarded(upstream: &Upstream) {
    for (name, upstream, era) in
        [("HTTP", upstream.http(), Era::Modern), ("sessions", upstream.stdio(), Era::Legacy)]
    {
        let entrants = entrants(&format!("[upstreams.echo]\n{upstream}"));
        for connections in CONNECTIONS {
            compare(&format!("{name}, {connections}"), &entrants, era, connections);
        }
        for entrant in entrants {
            entrant.gateway.end();
        }
    }
}

/// Gateways with this upstream: open, with a token, a JWT, TLS, and TLS with a token.
fn entrants(upstream: &str) -> Vec<Entrant> {
    let files = tempfile::tempdir().expect("a scratch directory");
    let path = |name: &str| files.path().join(name);
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(path("cert.pem"), own.cert.pem()).expect("a scratch file");
    std::fs::write(path("key.pem"), own.signing_key.serialize_pem()).expect("a scratch file");
    let (keys, jwt) = signed();
    std::fs::write(path("keys.json"), keys).expect("a scratch file");
    let tls = Some(trusting(own.cert.der().clone()));
    let listener = |auth: Option<&str>, with_tls: bool| {
        let place = files.path().display();
        let tls = format!("tls = {{ cert = \"{place}/cert.pem\", key = \"{place}/key.pem\" }}");
        let auth = auth.map(|auth| format!("auth = [\"{auth}\"]\n")).unwrap_or_default();
        let tls = if with_tls { tls.as_str() } else { "" };
        let listener = format!("address = \"127.0.0.1:0\"\n{auth}{tls}");
        format!(
            "[server]\nlisten = []\n[listeners.it]\n{listener}\nallowed_hosts = [\"127.0.0.1\"]\n{upstream}"
        )
    };
    let issuer = format!(
        "[auth.oauth.it]\nissuer = \"https://login.example.org\"\naudience = [\"it\"]\nresource = \"https://mcp.example.org/mcp\"\njwks_file = \"{}\"",
        path("keys.json").display()
    );
    let all = [
        ("open", listener(None, false), None, false),
        ("token", listener(Some("token"), false), Some(None), false),
        ("JWT", format!("{}\n{issuer}", listener(Some("oauth"), false)), Some(Some(jwt)), false),
        ("TLS", listener(None, true), None, true),
        ("TLS, token", listener(Some("token"), true), Some(None), true),
    ];
    let entrant = |(name, configuration, shown, with_tls): (&str, String, Option<Option<String>>, bool)| {
        let gateway = Gateway::start_other(None, &configuration);
        let token = shown.map(|jwt| jwt.unwrap_or_else(|| gateway.token("bench")));
        let authorization =
            token.map(|token| HeaderValue::try_from(format!("Bearer {token}")).expect("a value"));
        let target =
            Target { address: gateway.address, authorization, tls: tls.clone().filter(|_| with_tls) };
        Entrant { name: name.to_owned(), gateway, target }
    };
    all.into_iter().map(entrant).collect()
}

/// A set of keys (RFC 7517), and a token that is signed with one of them.
fn signed() -> (String, String) {
    let file = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(file.as_ref()).expect("a key");
    let coded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let keys = serde_json::json!({ "keys": [{
        "kty": "OKP", "crv": "Ed25519", "kid": "1", "use": "sig", "alg": "EdDSA", "x": coded(pair.public_key().as_ref()),
    }] });
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs();
    let claims = serde_json::json!({
        "iss": "https://login.example.org", "aud": "it", "sub": "bench", "client_id": "bench", "jti": "1",
        "iat": now, "exp": now + 24 * 60 * 60,
    });
    let head = serde_json::json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": "1" });
    let mut token = [head, claims].map(|part| coded(part.to_string().as_bytes())).join(".");
    let signature = pair.sign(token.as_bytes());
    write!(token, ".{}", coded(signature.as_ref())).expect("a string takes it");
    (keys.to_string(), token)
}

/// Clients that trust this certificate.
fn trusting(certificate: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// Measures these in turns, and prints a line for each; the medians of their ratios to the first: of calls a second, and of
/// processor time a call.
fn compare(row: &str, entrants: &[Entrant], era: Era, connections: usize) -> Vec<(f64, f64)> {
    let turn = |entrant: &Entrant| -> Turn {
        let before = entrant.gateway.time();
        let figures = measure_tool(&entrant.target, era, (connections, TURN), "echo");
        (figures.rate, each(entrant.gateway.time().saturating_sub(before), &figures))
    };
    let turns: Vec<Vec<Turn>> = (0..TURNS)
        .map(|number| {
            // Who begins changes, since each finds the machine as the one before has left it.
            let first = number % entrants.len();
            let mut found: Vec<_> = (0..entrants.len())
                .map(|place| (first + place) % entrants.len())
                .map(|place| (place, turn(&entrants[place])))
                .collect();
            found.sort_unstable_by_key(|(place, _)| *place);
            found.into_iter().map(|(_, turn)| turn).collect()
        })
        .collect();
    let figure = |of: &dyn Fn(&Vec<Turn>) -> f64| median(turns.iter().map(of).collect());
    let line = |(place, entrant): (usize, &Entrant)| {
        let (rate, cost) = (figure(&|turn| turn[place].0), figure(&|turn| turn[place].1));
        let ratio = (figure(&|turn| turn[place].0 / turn[0].0), figure(&|turn| turn[place].1 / turn[0].1));
        let name = &entrant.name;
        println!("{row:<14}{name:<24}{rate:>8.0} calls/s{cost:>7.1} µs{:>7.3}{:>7.3}", ratio.0, ratio.1);
        ratio
    };
    entrants.iter().enumerate().map(line).collect()
}

/// The median.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The geometric mean.
fn mean(values: &[f64]) -> f64 {
    let count = f64::from(u32::try_from(values.len()).expect("a few"));
    (values.iter().map(|value| value.ln()).sum::<f64>() / count).exp()
}
