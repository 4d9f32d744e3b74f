//! The keys that a server publishes (JWKS, RFC 7517). What is not understood is passed over: servers publish keys for others, too.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// As many keys of one server are used.
const MOST: usize = 64;

/// The keys that a server publishes.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Arc<PublicKey>>);

/// A key that checks signatures.
#[derive(Debug)]
pub(super) struct PublicKey {
    /// As it is published.
    jwk: Jwk,
    /// The same for use.
    key: DecodingKey,
}

/// The form of a set.
#[derive(Deserialize)]
struct Published {
    /// The keys, in whatever form.
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a set; `None` if it is none, or has no key of use.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let Published { keys } = serde_json::from_slice(text).ok()?;
        let keys = keys.into_iter().filter_map(|key| PublicKey::new(serde_json::from_value(key).ok()?));
        let keys: Vec<_> = keys.take(MOST).map(Arc::new).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that a token's header may mean; `None` if there is none of this identifier, or none of this kind without one.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Vec<&Arc<PublicKey>>> {
        let named = |key: &&Arc<PublicKey>| {
            id.is_none_or(|id| key.jwk.common.key_id.as_deref().is_none_or(|its| its == id))
        };
        let named: Vec<_> = self.0.iter().filter(named).collect();
        let is_known = !named.is_empty();
        let suited: Vec<_> = named.into_iter().filter(|key| key.suits(algorithm)).collect();
        (!suited.is_empty() || is_known && id.is_some()).then_some(suited)
    }

    /// Whether this key is among them.
    pub(super) fn has(&self, key: &PublicKey) -> bool {
        self.0.iter().any(|one| one.jwk == key.jwk)
    }
}

impl PublicKey {
    /// A published key, if it is public and checks signatures.
    fn new(jwk: Jwk) -> Option<Self> {
        let signs = jwk.common.public_key_use.as_ref().is_none_or(|its| *its == PublicKeyUse::Signature);
        let verifies =
            jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        let is_public =
            !matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_));
        let key = Some(&jwk)
            .filter(|_| signs && verifies && is_public)
            .and_then(|jwk| DecodingKey::from_jwk(jwk).ok());
        Some(Self { key: key?, jwk })
    }

    /// Whether it may check signatures of this algorithm.
    fn suits(&self, algorithm: Algorithm) -> bool {
        let is_own =
            self.jwk.common.key_algorithm.is_none_or(|own| Algorithm::try_from(own) == Ok(algorithm));
        let curve = match &self.jwk.algorithm {
            AlgorithmParameters::EllipticCurve(its) => Some(&its.curve),
            AlgorithmParameters::OctetKeyPair(its) => Some(&its.curve),
            _ => None,
        };
        let fits = match algorithm {
            Algorithm::ES256 => curve == Some(&EllipticCurve::P256),
            Algorithm::ES384 => curve == Some(&EllipticCurve::P384),
            Algorithm::EdDSA => curve == Some(&EllipticCurve::Ed25519),
            _ => curve.is_none(),
        };
        is_own && fits
    }

    /// The key for use.
    pub(super) const fn key(&self) -> &DecodingKey {
        &self.key
    }
}
