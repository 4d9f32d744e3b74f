//! One token: `mcpeg_ID_SECRET`. The beginning lets scanners of repositories find one that has leaked, the identifier finds
//! its entry, and the secret is 256 random bits.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What every token begins with.
const PREFIX: &str = "mcpeg_";
/// Characters of an identifier.
const ID: usize = 12;
/// Bytes of a secret, and of the key.
const SECRET: usize = 32;

/// A token as its client has it; shown nowhere but where it was made.
pub(crate) struct NewToken(String);

/// The key of this machine, by which digests are made.
#[derive(Clone)]
pub(crate) struct Secret(Hmac<Sha256>);

impl NewToken {
    /// A fresh one.
    pub(crate) fn fresh() -> Result<Self, getrandom::Error> {
        let (mut id, mut secret) = ([0; 8], [0; SECRET]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut secret)?;
        let id = u64::from_be_bytes(id) >> 16;
        Ok(Self(format!("{PREFIX}{id:012x}_{}", URL_SAFE_NO_PAD.encode(secret))))
    }

    /// The text itself, for the one who asked for it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

/// The identifier of a token, if it has the form of one.
pub(super) fn id(token: &str) -> Option<&str> {
    let (id, secret) = token.strip_prefix(PREFIX)?.split_at_checked(ID)?;
    let is_hex = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_hex && secret.len() > 1 && secret.starts_with('_')).then_some(id)
}

impl Secret {
    /// The key of these bytes; `None` if there are not as many as a key has.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == SECRET).then(|| Hmac::new_from_slice(bytes).ok().map(Self)).flatten()
    }

    /// The bytes of a fresh key.
    pub(super) fn fresh() -> Result<[u8; SECRET], getrandom::Error> {
        let mut bytes = [0; SECRET];
        getrandom::fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The digest of a token.
    fn mac(&self, token: &str) -> CtOutput<Hmac<Sha256>> {
        self.0.clone().chain_update(token).finalize()
    }

    /// The digest of a token, as it is kept.
    pub(super) fn digest(&self, token: &str) -> String {
        STANDARD.encode(self.mac(token).into_bytes())
    }

    /// Whether a token has this digest; how long that takes tells nothing of it.
    pub(super) fn verifies(&self, token: &str, digest: &str) -> bool {
        let Ok(digest) = STANDARD.decode(digest) else { return false };
        self.0.clone().chain_update(token).verify_slice(&digest).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_known_by_its_digest_under_one_key_only() {
        let [one, other] = [[1; SECRET], [2; SECRET]].map(|bytes| Secret::new(&bytes).unwrap());
        let (token, second) = (NewToken::fresh().unwrap(), NewToken::fresh().unwrap());
        let digest = one.digest(token.reveal());
        assert!(one.verifies(token.reveal(), &digest));
        assert!(!one.verifies(second.reveal(), &digest) && !other.verifies(token.reveal(), &digest));
        for digest in ["", "AA==", &digest[1..], &digest[..digest.len() - 4]] {
            assert!(!one.verifies(token.reveal(), digest), "{digest}");
        }
        assert_ne!(id(token.reveal()), id(second.reveal()));
        assert!(!format!("{token:?} {one:?}").contains(&token.reveal()[20..]));
    }

    #[test]
    fn only_what_has_the_form_of_a_token_has_an_identifier() {
        assert_eq!(id("mcpeg_0123456789ab_x"), Some("0123456789ab"));
        for text in [
            "",
            "mcpeg_",
            "mcpeg_0123456789ab",
            "mcpeg_0123456789ab_",
            "mcpeg_0123456789aB_x",
            "x_0123456789ab_x",
            "mcpeg_ä123456789ab_x",
        ] {
            assert_eq!(id(text), None, "{text}");
        }
    }
}
