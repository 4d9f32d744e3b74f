//! One authorization server: its keys, when they are looked for, and what its tokens must say.
//!
//! A task looks for keys: at the start, every [`EVERY`], and when a token names one that is not known, but not twice within
//! [`BETWEEN`], so that nobody can have the server asked as often as they like. Where there is no answer, the last keys stay in use.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fieldwork::Fieldwork;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::key_set::{KeySet, PublicKey};
use super::signatures;
use crate::config::{self, KeySource};
use crate::gateway::error::Error;
use crate::gateway::status::IssuerStatus;
use crate::gateway::upstream::Documents;
use crate::sys::clock::seconds_now;

/// How often keys are looked for that nobody has asked for.
const EVERY: Duration = Duration::from_secs(600);
/// The same after a failure.
const AGAIN: Duration = Duration::from_secs(15);
/// The shortest time between two looks.
const BETWEEN: Duration = Duration::from_secs(2);
/// How long a request waits for keys: each of up to four documents may take five seconds, but nobody waits so long.
const PATIENCE: Duration = Duration::from_secs(6);
/// The largest set of keys, in bytes.
const KEYS: usize = 256 << 10;
/// The largest metadata of a server, in bytes.
const METADATA: usize = 128 << 10;
/// The longest `sub`, in bytes (`OpenID` Connect Core §2).
const SUBJECT: usize = 255;
/// The types that access tokens have: RFC 9068 §2.1, and before it. Other JWT of the same server are for other uses.
const TYPES: [&str; 3] = ["at+jwt", "application/at+jwt", "jwt"];

/// One server.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(crate) struct Issuer {
    /// What the configuration says.
    #[field(get)]
    settings: Arc<config::Issuer>,
    /// What every token must say.
    validation: Validation,
    /// Where documents come from.
    documents: Documents,
    /// What is known of its keys.
    known: watch::Sender<Known>,
    /// Asks for a look.
    wanted: Arc<Notify>,
}

/// What is known of the keys of a server.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The last keys that were found.
    keys: Option<Arc<KeySet>>,
    /// When they were found, or there was no answer.
    looked: Option<Instant>,
    /// When they were found last.
    found: Option<Instant>,
    /// Why the last look has found none.
    trouble: Option<String>,
}

/// What a token proves.
#[derive(Debug, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Proven {
    /// The key that has signed it.
    key: Arc<PublicKey>,
    /// What it says.
    claims: Map<String, Value>,
    /// The one endpoint that it is for, if it is not for all.
    only: Option<String>,
    /// When it is over, in seconds since 1970.
    until: u64,
}

/// Why a token proves nothing.
#[derive(Debug)]
pub(crate) enum Unproven {
    /// It is not good.
    Invalid(&'static str),
    /// It lacks these scopes.
    Scope(String),
    /// Whether it is good cannot be told now.
    Unavailable,
    /// That cannot be told before keys were looked for: [`Issuer::look`].
    Wait(Arc<Issuer>),
}

/// What a server tells of itself (RFC 8414, `OpenID` Connect Discovery).
#[derive(Deserialize)]
struct Metadata {
    /// Its identifier.
    issuer: String,
    /// Where its keys are.
    jwks_uri: String,
}

/// Checks the file of keys of a server, if it has one.
///
/// # Errors
/// If there is no key of use in it.
pub fn check(settings: &config::Issuer) -> Result<(), Error> {
    match &settings.keys {
        KeySource::File(file) => read(&settings.name, file).map(drop),
        KeySource::Discovered | KeySource::Url(_) => Ok(()),
    }
}

/// Reads a file of keys.
fn read(issuer: &str, file: &Path) -> Result<KeySet, Error> {
    let unusable = |reason: String, unread: bool| Error::Keys {
        issuer: issuer.to_owned(),
        file: file.to_owned(),
        reason,
        unread,
    };
    let mut text = Vec::new();
    fs::File::open(file)
        .and_then(|open| open.take(KEYS as u64 + 1).read_to_end(&mut text))
        .map_err(|error| unusable(error.to_string(), true))?;
    if text.len() > KEYS {
        return Err(unusable(format!("it is larger than {KEYS} bytes"), false));
    }
    let none = || unusable("there is no public key for signatures in it (JWKS)".to_owned(), false);
    KeySet::read(&text).ok_or_else(none)
}

/// The algorithm by the name that the library has for it.
const fn named(algorithm: config::Algorithm) -> Algorithm {
    match algorithm {
        config::Algorithm::Rs256 => Algorithm::RS256,
        config::Algorithm::Rs384 => Algorithm::RS384,
        config::Algorithm::Rs512 => Algorithm::RS512,
        config::Algorithm::Ps256 => Algorithm::PS256,
        config::Algorithm::Ps384 => Algorithm::PS384,
        config::Algorithm::Ps512 => Algorithm::PS512,
        config::Algorithm::Es256 => Algorithm::ES256,
        config::Algorithm::Es384 => Algorithm::ES384,
        config::Algorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// What every token of a server must say. Its audience is looked at apart.
fn validation(settings: &config::Issuer) -> Validation {
    let algorithms = settings.algorithms.iter().copied().map(named).collect();
    let mut validation = Validation {
        algorithms,
        leeway: settings.skew.as_secs(),
        validate_nbf: true,
        validate_aud: false,
        ..Validation::default()
    };
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[&settings.issuer]);
    validation
}

/// Where a server may tell of itself, in the order in which it is asked (RFC 8414 §3.1, §5; `OpenID` Connect Discovery §4).
fn places(issuer: &str) -> Vec<String> {
    let issuer = issuer.trim_end_matches('/');
    let host = issuer.find("://").map_or(0, |scheme| scheme + 3);
    let path = issuer[host..].find('/').map_or(issuer.len(), |path| host + path);
    let (origin, path) = issuer.split_at(path);
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{issuer}/.well-known/openid-configuration"));
    }
    places
}

/// The values of a claim that is a string or a list of them.
fn texts(claim: Option<&Value>) -> Vec<&str> {
    match claim {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

impl Issuer {
    /// A server of which nothing was asked yet; the keys of a file are read at once.
    pub(super) fn new(settings: &Arc<config::Issuer>) -> Result<Arc<Self>, Error> {
        signatures::install();
        let secure = |url: &str| url.starts_with("https:");
        let tls = match &settings.keys {
            KeySource::Discovered => secure(&settings.issuer),
            KeySource::Url(url) => secure(url),
            KeySource::File(_) => false,
        };
        let mut known = Known::default();
        if let KeySource::File(file) = &settings.keys {
            let (keys, now) = (read(&settings.name, file)?, Some(Instant::now()));
            known = Known { keys: Some(Arc::new(keys)), looked: now, found: now, trouble: None };
        }
        Ok(Arc::new(Self {
            validation: validation(settings),
            documents: Documents::new(settings.ca_file.as_deref(), tls)?,
            settings: Arc::clone(settings),
            known: watch::Sender::new(known),
            wanted: Arc::default(),
        }))
    }

    /// Looks for keys from now on, until nobody believes the server any more; tells of others than before.
    pub(super) fn follow(self: &Arc<Self>, changed: impl Fn(&Self, &KeySet) + Send + Sync + 'static) {
        // Nothing here keeps it.
        let (issuer, wanted) = (Arc::downgrade(self), Arc::clone(&self.wanted));
        tokio::spawn(async move {
            while let Some(wait) = Self::round(&issuer, &changed).await {
                // What was asked for meanwhile was for this look.
                let _ = timeout(Duration::ZERO, wanted.notified()).await;
                let _ = timeout(wait, wanted.notified()).await;
            }
        });
    }

    /// One look; how long to wait for the next.
    async fn round(issuer: &Weak<Self>, changed: &impl Fn(&Self, &KeySet)) -> Option<Duration> {
        let issuer = issuer.upgrade()?;
        let found = issuer.fetch().await;
        let (name, now) = (&issuer.settings.name, Instant::now());
        let had_trouble = issuer.known.borrow().trouble.is_some();
        match found {
            Ok(keys) => {
                if had_trouble {
                    tracing::info!(issuer = name, "the keys of the authorization server were found again");
                }
                let (keys, now) = (Arc::new(keys), Some(now));
                let known = Known { keys: Some(Arc::clone(&keys)), looked: now, found: now, trouble: None };
                issuer.known.send_replace(known);
                changed(&issuer, &keys);
                Some(EVERY)
            }
            Err(trouble) => {
                if !had_trouble {
                    let keys = issuer.known.borrow().keys.is_some();
                    let message = if keys {
                        "the keys of the authorization server cannot be had; the last ones stay in use"
                    } else {
                        "the keys of the authorization server cannot be had; its tokens are refused until they can"
                    };
                    tracing::error!(issuer = name, error = trouble, "{message}");
                }
                issuer.known.send_modify(|known| {
                    (known.looked, known.trouble) = (Some(now), Some(trouble));
                });
                Some(AGAIN)
            }
        }
    }

    /// Fetches or reads the keys.
    async fn fetch(&self) -> Result<KeySet, String> {
        let url = match &self.settings.keys {
            KeySource::File(file) => {
                return read(&self.settings.name, file).map_err(|error| error.to_string());
            }
            KeySource::Url(url) => url.clone(),
            KeySource::Discovered => self.discover().await?,
        };
        let text = self.documents.get(&url, KEYS).await;
        let text = text.map_err(|error| format!("{url}: {}", crate::exit::chain(&error)))?;
        KeySet::read(&text).ok_or_else(|| format!("{url}: there is no public key for signatures (JWKS)"))
    }

    /// Where its metadata says that its keys are.
    async fn discover(&self) -> Result<String, String> {
        let mut trouble = String::new();
        for place in places(&self.settings.issuer) {
            let said = match self.documents.get(&place, METADATA).await {
                Ok(text) => {
                    serde_json::from_slice::<Metadata>(&text).map_err(|_| "it is no metadata".to_owned())
                }
                Err(error) => Err(crate::exit::chain(&error)),
            };
            match said {
                // RFC 8414 §3.3: anything else may be another's.
                Ok(metadata) if metadata.issuer != self.settings.issuer => {
                    trouble = format!("{place}: it is of another issuer");
                }
                Ok(metadata) if config::is_private_url(&metadata.jwks_uri) => return Ok(metadata.jwks_uri),
                Ok(_) => trouble = format!("{place}: `jwks_uri` is not https://"),
                Err(error) => trouble = format!("{place}: {error}"),
            }
        }
        Err(trouble)
    }

    /// Has keys looked for, and waits until that was done, or for [`PATIENCE`].
    pub(crate) async fn look(&self) {
        let mut known = self.known.subscribe();
        // Another one's look may have ended just now.
        if known.borrow_and_update().looked.is_some_and(|looked| looked.elapsed() < BETWEEN) {
            return;
        }
        self.wanted.notify_one();
        let _ = timeout(PATIENCE, known.changed()).await;
    }

    /// What a token proves that has this server's name on it. Where `waited`, keys were looked for on its account.
    pub(super) fn verify(self: &Arc<Self>, token: &str, waited: bool) -> Result<Proven, Unproven> {
        let header =
            decode_header(token).map_err(|_| Unproven::Invalid("the token is no JWT of a known kind"))?;
        self.check_header(&header)?;
        let known = self.known.borrow().clone();
        let found = known.keys.as_ref().and_then(|keys| keys.find(header.kid.as_deref(), header.alg));
        let Some(keys) = found else {
            let is_due = known.looked.is_none_or(|looked| looked.elapsed() >= BETWEEN);
            return Err(match known.trouble {
                _ if is_due && !waited => Unproven::Wait(Arc::clone(self)),
                None if known.keys.is_some() => {
                    Unproven::Invalid("the token is signed by a key that is not known")
                }
                _ => Unproven::Unavailable,
            });
        };
        // The library wants each algorithm to suit the key.
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        let mut failure = Unproven::Invalid("the token is signed by a key of another kind");
        for key in keys {
            match decode::<Map<String, Value>>(token, key.key(), &validation) {
                Ok(token) => return self.check_claims(Arc::clone(key), token.claims),
                Err(error) => failure = Unproven::Invalid(explained(error.kind())),
            }
        }
        Err(failure)
    }

    /// Checks what stands before the claims.
    fn check_header(&self, header: &Header) -> Result<(), Unproven> {
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(Unproven::Invalid("the token is signed by an algorithm that is not accepted"));
        }
        let is_access = |kind: &String| TYPES.iter().any(|one| one.eq_ignore_ascii_case(kind));
        if header.typ.as_ref().is_some_and(|kind| !is_access(kind)) {
            return Err(Unproven::Invalid("the token is no access token"));
        }
        Ok(())
    }

    /// Checks what the library does not: times are numbers, and it is for this gateway and for whoever shows it.
    fn check_claims(&self, key: Arc<PublicKey>, claims: Map<String, Value>) -> Result<Proven, Unproven> {
        let config::Issuer { issuer, skew, .. } = &*self.settings;
        let is = |name: &str, text: &str| claims.get(name).and_then(Value::as_str) == Some(text);
        let expires = claims.get("exp").and_then(Value::as_f64).filter(|time| *time >= 0.0);
        let Some(expires) = expires.filter(|_| is("iss", issuer)) else {
            return Err(Unproven::Invalid("the token is of another issuer, or has no end"));
        };
        let begun = claims.get("iat").and_then(Value::as_f64).unwrap_or(0.0);
        #[expect(clippy::cast_precision_loss, reason = "seconds have no need of it for 280 million years")]
        if begun > (seconds_now() + skew.as_secs()) as f64 {
            return Err(Unproven::Invalid("the token is from the future; check the clocks"));
        }
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        if subject.is_empty() || subject.len() > SUBJECT || subject.contains(char::is_control) {
            return Err(Unproven::Invalid("the token names nobody who could be told from others (sub)"));
        }
        // RFC 9449, RFC 8705: it is good only with a proof of a key, which is not asked for here.
        if claims.contains_key("cnf") {
            return Err(Unproven::Invalid(
                "the token is bound to a key (cnf), which this gateway does not check",
            ));
        }
        let only = self.audience(&claims)?;
        self.check_scopes(&claims)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is no less than 0")]
        let until = (expires as u64).saturating_add(skew.as_secs());
        Ok(Proven { key, claims, only, until })
    }

    /// Checks whom the token is for: this gateway, or the one endpoint of it that is told.
    fn audience(&self, claims: &Map<String, Value>) -> Result<Option<String>, Unproven> {
        let config::Issuer { audience, resource, .. } = &*self.settings;
        let given = texts(claims.get("aud"));
        if given.iter().any(|one| audience.iter().any(|own| own == one)) {
            return Ok(None);
        }
        let below = |one: &&str| Some(one.strip_prefix(resource)?.strip_prefix('/')?.to_owned());
        let only = given.iter().find_map(below).filter(|_| audience.contains(resource));
        only.map(Some).ok_or(Unproven::Invalid("the token is for another audience"))
    }

    /// Checks that the token has all scopes.
    fn check_scopes(&self, claims: &Map<String, Value>) -> Result<(), Unproven> {
        let given = [texts(claims.get("scope")), texts(claims.get("scp"))].concat();
        let has = |scope: &str| given.iter().any(|words| words.split(' ').any(|word| word == scope));
        let missing: Vec<_> =
            self.settings.scopes.iter().filter(|scope| !has(scope)).map(String::as_str).collect();
        if missing.is_empty() { Ok(()) } else { Err(Unproven::Scope(missing.join(" "))) }
    }

    /// Whether a key is among those that were found last.
    pub(super) fn publishes(&self, key: &PublicKey) -> bool {
        self.known.borrow().keys.as_ref().is_some_and(|keys| keys.has(key))
    }

    /// What the status says.
    pub(super) fn status(&self) -> IssuerStatus {
        let known = self.known.borrow();
        IssuerStatus {
            name: self.settings.name.clone(),
            keys: known.keys.as_ref().map_or(0, |keys| keys.len()),
            age_seconds: known.found.map(|found| found.elapsed().as_secs()),
            error: known.trouble.clone(),
        }
    }
}

/// Why a token is refused, for people.
const fn explained(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not good yet; check the clocks",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks one of exp, iss, aud and sub",
        _ => "the token is not understood",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_both_standards_have_it() {
        assert_eq!(
            places("https://login.example.org"),
            [
                "https://login.example.org/.well-known/oauth-authorization-server",
                "https://login.example.org/.well-known/openid-configuration"
            ]
        );
        assert_eq!(
            places("https://login.example.org/realms/one/"),
            [
                "https://login.example.org/.well-known/oauth-authorization-server/realms/one",
                "https://login.example.org/.well-known/openid-configuration/realms/one",
                "https://login.example.org/realms/one/.well-known/openid-configuration"
            ]
        );
    }
}
