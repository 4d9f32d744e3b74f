//! The kinds of values that only authorization servers have, and by which of their tokens a client is recognised.

use std::collections::BTreeMap;

use http::Uri;
use toml::de::DeValue;

use super::diagnostic::Place;
use super::key::{Key, Kind};
use super::kinds::{self, string, strings};
use super::reader::{Reader, Value};
use super::suggestion::suggestion;

/// The URL of a server or of its keys: secrets and keys must not pass the network in the clear.
pub(super) const URL: Kind<String> = Kind::new("a string", url);
/// The URL of the gateway's endpoint.
pub(super) const RESOURCE: Kind<String> = Kind::new("a string", resource);
/// Values of `aud`.
pub(super) const AUDIENCE: Kind<Vec<String>> = Kind::new("an array of strings", |key, value, reader| {
    let items = strings(key, value, reader)?;
    if items.is_empty() || items.iter().any(|item| item.get_ref().is_empty()) {
        let hint = format!("write audience = {}", key.example);
        reader.refuse(&value.span(), "`audience` is empty, which would accept tokens for others", hint);
    }
    Some(items.iter().map(|item| (*item.get_ref()).to_owned()).collect())
});
/// Algorithms of signatures.
pub(super) const ALGORITHMS: Kind<Vec<Algorithm>> = Kind::new("an array of strings", algorithms);
/// Scopes: RFC 6749 §3.3.
pub(super) const SCOPES: Kind<Vec<String>> = Kind::new("an array of strings", |key, value, reader| {
    let items = strings(key, value, reader)?;
    let is_scope = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
    };
    for item in items.iter().filter(|item| !is_scope(item.get_ref())) {
        let message = format!("`{}` cannot be a scope", item.get_ref());
        reader.refuse(&item.span(), message, "write each scope as a string of its own, without spaces");
    }
    for item in items.iter().filter(|item| *item.get_ref() == "offline_access") {
        let message =
            "`offline_access` is between a client and its authorization server, and none of a resource";
        reader.refuse(&item.span(), message, "remove it");
    }
    Some(items.iter().map(|item| (*item.get_ref()).to_owned()).collect())
});
/// By which tokens a client is recognised.
pub(super) const PROOF: Kind<(Place, Proof)> = Kind::new("a table with `issuer` and perhaps `claims`", proof);

/// The algorithms, as RFC 7518 §3.1 and RFC 8037 §3.1 write them; only those whose keys are public.
const NAMES: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("PS256", Algorithm::Ps256),
    ("PS384", Algorithm::Ps384),
    ("PS512", Algorithm::Ps512),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("EdDSA", Algorithm::EdDsa),
];

/// An algorithm of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// What a claim of a token must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// One of these, or a list with one of them.
    Any(Vec<String>),
    /// A table with these.
    Within(BTreeMap<String, Self>),
}

/// By which tokens a client is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The server's name in the configuration.
    pub issuer: String,
    /// What the token must say.
    pub claims: BTreeMap<String, Claim>,
}

/// Whether a URL leads to this machine.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Whether nobody on the way can read or forge what comes from a URL.
#[must_use]
pub fn is_private_url(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| match uri.scheme_str() {
        Some("https") => uri.host().is_some_and(|host| !host.is_empty()),
        Some("http") => is_loopback(&uri),
        _ => false,
    })
}

/// Reads a URL that is private.
fn url(key: &Key<String>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = string(key, value, reader)?;
    if !is_private_url(text.get_ref()) {
        let message = if text.get_ref().starts_with("http://") {
            format!("`{}` is http:// to another machine: anybody on the way could forge keys", key.name)
        } else {
            format!("`{}` is not a URL with https://", key.name)
        };
        let hint = format!("write {} = {}; http:// is for loopback only", key.name, key.example);
        reader.refuse(&value.span(), message, hint);
    }
    Some((*text.get_ref()).to_owned())
}

/// Reads the URL of the endpoint.
fn resource(key: &Key<String>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = string(key, value, reader)?;
    let is_one = text.get_ref().parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none()
    });
    let is_quoted = text.get_ref().bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\#".contains(&byte));
    if !is_one || !is_quoted {
        let hint = format!("write {} = {}", key.name, key.example);
        reader.refuse(&value.span(), "`resource` is not a URL without query and fragment", hint);
    }
    Some(text.get_ref().trim_end_matches('/').to_owned())
}

/// Reads algorithms.
fn algorithms(
    key: &Key<Vec<Algorithm>>,
    value: &Value<'_>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Algorithm>> {
    let items = strings(key, value, reader)?;
    if items.is_empty() {
        reader.refuse(
            &value.span(),
            "`algorithms` is empty",
            "leave it out, or write algorithms = [\"ES256\"]",
        );
    }
    let mut read = Vec::new();
    for item in items {
        if let Some((_, algorithm)) = NAMES.iter().find(|(name, _)| name == item.get_ref()) {
            read.push(*algorithm);
        } else {
            let message = format!("`algorithms` cannot have `{}`", item.get_ref());
            let known = NAMES.map(|(name, _)| name).join(", ");
            let hint = format!("write some of {known}: those whose keys are public");
            reader.refuse_structure(&item.span(), message, hint);
        }
    }
    Some(read)
}

/// Reads by which tokens a client is recognised, with the place of the server's name.
fn proof(key: &Key<(Place, Proof)>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<(Place, Proof)> {
    let DeValue::Table(table) = value.get_ref() else {
        key.wrong_type(value, reader, format!("write {} = {}", key.name, key.example));
        return None;
    };
    let (mut issuer, mut claims) = (None, BTreeMap::new());
    for (entry, value) in table {
        match entry.get_ref().as_ref() {
            "issuer" => issuer = kinds::element("oauth.issuer", value, reader),
            "claims" => match claim("oauth.claims", value, reader)? {
                Claim::Within(found) => claims = found,
                Claim::Any(_) => {
                    let hint = format!("write {} = {}", key.name, key.example);
                    reader.wrong_type("oauth.claims", "a table", value, hint);
                }
            },
            other => {
                let hint = suggestion(other, &["issuer", "claims"]);
                reader.refuse_structure(&entry.span(), format!("unknown key `oauth.{other}`"), hint);
            }
        }
    }
    let Some(issuer) = issuer else {
        let hint = format!("write {} = {}", key.name, key.example);
        reader.refuse(&value.span(), "`oauth` has no `issuer`", hint);
        return None;
    };
    Some((reader.place(&issuer.span()), Proof { issuer: (*issuer.get_ref()).to_owned(), claims }))
}

/// Reads what a claim must be.
fn claim(name: &str, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Claim> {
    let read = match value.get_ref() {
        DeValue::Table(table) => {
            let within = table.iter().filter_map(|(entry, value)| {
                let full = format!("{name}.{}", entry.get_ref());
                Some((entry.get_ref().to_string(), claim(&full, value, reader)?))
            });
            return Some(Claim::Within(within.collect()));
        }
        DeValue::Array(items) => items.iter().filter_map(|item| kinds::element(name, item, reader)).collect(),
        _ => vec![kinds::element(name, value, reader)?],
    };
    if read.is_empty() {
        let message = format!("`{name}` is empty, so that no token fits");
        reader.refuse(&value.span(), message, "write a value, or remove it");
    }
    Some(Claim::Any(read.iter().map(|item| (*item.get_ref()).to_owned()).collect()))
}
