//! All authorization servers that are believed, the tokens that were verified, and what clients are told of the servers.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::dangerous::insecure_decode_claims;
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::issuer::{Issuer, Unproven};
use super::verified::Verified;
use crate::config;
use crate::gateway::error::Error;
use crate::gateway::status::IssuerStatus;

/// Where clients look for what they are told (RFC 9728 §3).
pub(crate) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// As many tokens are known by their digests, beside those in use.
const MOST: usize = 8192;
/// The longest token, in bytes.
const LONGEST: usize = 16 << 10;

/// The digest of a token.
type TokenDigest = [u8; 32];

/// The servers that are believed, and their tokens.
#[derive(Debug, Default)]
pub(crate) struct Issuers {
    /// The servers, in the order of the configuration.
    all: RwLock<Vec<Arc<Issuer>>>,
    /// Tokens that were verified.
    verified: Mutex<HashMap<TokenDigest, Arc<Verified>>>,
}

/// What a client is told that has shown nothing good.
#[derive(Debug)]
pub(crate) struct Challenge {
    /// Where the metadata is.
    metadata: String,
    /// The scopes that a token needs.
    scopes: String,
}

/// The one claim that is read before a token is verified.
#[derive(Deserialize)]
struct Named {
    /// Whose it says that it is.
    iss: String,
}

impl Challenge {
    /// What `WWW-Authenticate` says beside this error (RFC 6750 §3, RFC 9728 §5.1).
    pub(crate) fn parameters(&self) -> String {
        let scope =
            if self.scopes.is_empty() { String::new() } else { format!("scope=\"{}\", ", self.scopes) };
        format!("{scope}resource_metadata=\"{}\"", self.metadata)
    }
}

impl Issuers {
    /// Believes the servers of a configuration.
    pub(crate) fn start(settings: &[Arc<config::Issuer>]) -> Result<Arc<Self>, Error> {
        let issuers = Arc::<Self>::default();
        issuers.replace(&issuers.prepare(settings)?, |_| None);
        Ok(issuers)
    }

    /// The servers of a configuration; those that are believed in the same way stay.
    pub(crate) fn prepare(&self, settings: &[Arc<config::Issuer>]) -> Result<Vec<Arc<Issuer>>, Error> {
        let all = self.all.read();
        let same =
            |new: &Arc<config::Issuer>| all.iter().find(|issuer| issuer.settings() == &**new).map(Arc::clone);
        settings.iter().map(|new| same(new).map_or_else(|| Issuer::new(new), Ok)).collect()
    }

    /// Believes these servers from now on. Tokens of others, and those for which `entry` has another client than before, are so
    /// no more, and what they have open ends.
    pub(crate) fn replace(
        self: &Arc<Self>,
        new: &[Arc<Issuer>],
        entry: impl Fn(&Verified) -> Option<String>,
    ) {
        let old = std::mem::replace(&mut *self.all.write(), new.to_vec());
        let is_in =
            |all: &[Arc<Issuer>], one: &Issuer| all.iter().any(|other| std::ptr::eq(Arc::as_ptr(other), one));
        for issuer in new.iter().filter(|issuer| !is_in(&old, issuer)) {
            let issuers = Arc::downgrade(self);
            issuer.follow(move |issuer, keys| {
                let Some(issuers) = issuers.upgrade() else { return };
                issuers.forget(|one| std::ptr::eq(one.issuer(), issuer) && !keys.has(one.proven().key()));
            });
        }
        self.forget(|one| !is_in(new, one.issuer()) || one.was_other(entry(one).as_deref()));
    }

    /// Believes these tokens no more.
    fn forget(&self, is_gone: impl Fn(&Verified) -> bool) {
        for (_, gone) in self.verified.lock().extract_if(|_, one| is_gone(one)) {
            gone.ended().cancel();
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.read().is_empty()
    }

    /// What a token proves. Where `waited`, keys were looked for on its account.
    pub(crate) fn verify(&self, token: &str, waited: bool) -> Result<Arc<Verified>, Unproven> {
        if token.len() > LONGEST {
            return Err(Unproven::Invalid("the token is too long"));
        }
        let digest: TokenDigest = Sha256::digest(token).into();
        if let Some(known) = self.verified.lock().get(&digest).map(Arc::clone) {
            return if known.is_over() { Err(Unproven::Invalid("the token has expired")) } else { Ok(known) };
        }
        let Ok(Named { iss }) = insecure_decode_claims(token) else {
            return Err(Unproven::Invalid("the token is not understood"));
        };
        let issuer = self.all.read().iter().find(|issuer| issuer.settings().issuer == iss).cloned();
        let issuer = issuer.ok_or(Unproven::Invalid("the token is of another issuer"))?;
        let proven = issuer.verify(token, waited)?;
        Ok(self.keep(digest, Arc::new(Verified::new(issuer, proven))))
    }

    /// Remembers a token. What is over, or in nobody's hands, makes room.
    fn keep(&self, digest: TokenDigest, verified: Arc<Verified>) -> Arc<Verified> {
        let mut known = self.verified.lock();
        if known.len() >= MOST {
            known.retain(|_, one| !one.is_over());
            // In no order that anybody chooses.
            let mut spare = known.len().saturating_sub(MOST - MOST / 4);
            known.retain(|_, one| {
                let goes = spare > 0 && Arc::strong_count(one) == 1;
                spare -= usize::from(goes);
                !goes
            });
        }
        // Under the lock with what forgets tokens of keys that are gone.
        if verified.issuer().publishes(verified.proven().key()) {
            return Arc::clone(known.entry(digest).or_insert(verified));
        }
        verified
    }

    /// What a client is told that has shown nothing good at this path; `None` where no server is believed.
    pub(crate) fn challenge(&self, path: &str) -> Option<Challenge> {
        let all = self.all.read();
        let settings = all.first()?.settings();
        let name = endpoint(path).map_or_else(String::new, |name| format!("/{name}"));
        let resource = &settings.resource;
        let (origin, below) = origin(resource);
        let metadata = format!("{origin}{WELL_KNOWN}{below}{name}");
        Some(Challenge { metadata, scopes: settings.scopes.join(" ") })
    }

    /// The metadata of the resource (RFC 9728 §2) for a path below [`WELL_KNOWN`].
    pub(crate) fn metadata(&self, below: &str) -> Option<Value> {
        let all = self.all.read();
        let settings = all.first()?.settings();
        let own = origin(&settings.resource).1;
        let below = below.trim_end_matches('/');
        let rest = below.strip_prefix(own).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let resource = match rest {
            Some("") => settings.resource.clone(),
            _ if below.is_empty() || below == "/mcp" => settings.resource.clone(),
            rest => {
                let path = rest.map_or_else(|| below.to_owned(), |rest| format!("/mcp{rest}"));
                format!("{}/{}", settings.resource, endpoint(&path)?)
            }
        };
        let servers: Vec<_> = all.iter().map(|issuer| &issuer.settings().issuer).collect();
        let mut metadata = json!({
            "resource": resource,
            "authorization_servers": servers,
            "bearer_methods_supported": ["header"],
            "resource_name": "mcpeg",
        });
        if !settings.scopes.is_empty() {
            metadata["scopes_supported"] = json!(settings.scopes);
        }
        Some(metadata)
    }

    /// What the status says.
    pub(crate) fn status(&self) -> Vec<IssuerStatus> {
        self.all.read().iter().map(|issuer| issuer.status()).collect()
    }
}

/// The origin of a URL, and its path.
fn origin(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |scheme| scheme + 3);
    url.split_at(url[host..].find('/').map_or(url.len(), |path| host + path))
}

/// The name of an endpoint in its path, as far as it may be one.
pub(crate) fn endpoint(path: &str) -> Option<&str> {
    let name = ["/mcp/", "/sse/"].iter().find_map(|prefix| path.strip_prefix(prefix))?.trim_end_matches('/');
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (!name.is_empty() && name.len() < 64 && name.bytes().all(is_name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_known_by_paths_of_theirs_only() {
        for (path, name) in [
            ("/mcp", None),
            ("/mcp/", None),
            ("/mcp/git", Some("git")),
            ("/mcp/git/", Some("git")),
            ("/sse/git", Some("git")),
            ("/mcp/a/b", None),
            ("/mcp/a\"b", None),
            ("/metrics", None),
        ] {
            assert_eq!(endpoint(path), name, "{path}");
        }
    }
}
