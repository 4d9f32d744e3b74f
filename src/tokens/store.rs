//! The file of all tokens in the state directory, `tokens.json`, and the key beside it, `tokens.key`.
//!
//! Who changes the file holds a lock on the key, whose file is never replaced. A gateway reads both whenever the file is
//! another one ([`Store::stamp`]).

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secret::{NewToken, Secret, id};
use crate::exit::{Exit, ToExit};
use crate::state_file::{self, Kind, StateFile};
use crate::sys::clock::seconds_now;
use crate::sys::fs::Owners;
use crate::sys::stamp::Stamp;

/// The file's name.
const FILE: &str = "tokens.json";
/// The key's.
const KEY: &str = "tokens.key";
/// The kind of both.
const KIND: Kind = Kind { what: "a file of tokens", is_public: false, limit: 64 << 20 };
/// The schema of the file.
const SCHEMA: u32 = 1;
/// How far clocks may differ, in seconds.
const SKEW: u64 = 60;

/// What is kept of one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    /// What finds it: a part of the token that is no secret.
    pub(crate) id: String,
    /// The client that it proves.
    pub(crate) client: String,
    /// Its keyed digest.
    digest: String,
    /// When it was made, in seconds since 1970.
    pub(crate) created: u64,
    /// When it ends, if it does.
    pub(crate) expires: Option<u64>,
}

/// All tokens, as they were read.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// By identifier.
    tokens: HashMap<String, Token>,
    /// By which digests are made.
    secret: Secret,
}

/// Tokens that are about to change; nobody else changes them meanwhile.
#[derive(Debug)]
pub(crate) struct Draft {
    /// As they will be.
    store: Store,
    /// Where.
    file: StateFile,
    /// The key, which is locked.
    change: state_file::Change,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Content {
    /// [`SCHEMA`].
    schema: u32,
    /// The tokens.
    tokens: Vec<Token>,
}

/// Why a token proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was never made, or it was revoked.
    Unknown,
    /// Its time is over.
    Expired,
    /// It is from the future: one of the clocks is wrong.
    Early,
}

/// Why the tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file.
    #[error(transparent)]
    File(#[from] state_file::Error),
    /// The kernel gives no random bytes.
    #[error("cannot make a secret")]
    Random(#[from] getrandom::Error),
    /// There is one already.
    #[error("client `{0}` has a token already")]
    Exists(String),
    /// There is none.
    #[error("client `{0}` has no token")]
    None(String),
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::File(error) => error.to_exit(),
            Self::Random(_) => Exit::Os,
            Self::Exists(_) | Self::None(_) => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(state_file::Error::Open { path, .. }) => {
                Some(format!("`chmod 600 {}`; if others may have read it, rotate all tokens", path.display()))
            }
            Self::File(state_file::Error::Content { .. }) => {
                Some("move it away, and make the tokens anew".to_owned())
            }
            Self::File(error) => error.hint(),
            Self::Random(_) => None,
            Self::Exists(client) => Some(format!("`mcpeg token rotate {client}` replaces it")),
            Self::None(client) => Some(format!("`mcpeg token create {client}` makes one")),
        }
    }
}

/// The file of this name.
fn file(directory: &Path, name: &str) -> StateFile {
    StateFile::new(directory, name, &KIND)
}

impl Token {
    /// Whether it proves something at this time.
    fn standing(&self, now: u64) -> Result<(), Refusal> {
        if self.expires.is_some_and(|end| end <= now) {
            return Err(Refusal::Expired);
        }
        if self.created > now.saturating_add(SKEW) { Err(Refusal::Early) } else { Ok(()) }
    }

    /// The same at this moment.
    pub(crate) fn is_good(&self) -> Result<(), Refusal> {
        self.standing(seconds_now())
    }
}

impl Store {
    /// What the file is by, so that another one is seen.
    pub(crate) fn stamp(directory: &Path) -> Stamp {
        file(directory, FILE).stamp()
    }

    /// Reads all tokens; `None` where none was ever made.
    pub(crate) fn read(directory: &Path, owners: Owners) -> Result<Option<Self>, Error> {
        let file = file(directory, KEY);
        let Some(key) = file.bytes(owners)? else { return Ok(None) };
        let secret = Secret::new(&key).ok_or_else(|| file.strange())?;
        Ok(Some(Self { tokens: tokens(directory, owners)?, secret }))
    }

    /// What is known of a token that proves something now.
    pub(crate) fn find(&self, token: &str) -> Result<&Token, Refusal> {
        let known = id(token).and_then(|id| self.tokens.get(id)).ok_or(Refusal::Unknown)?;
        if !self.secret.verifies(token, &known.digest) {
            return Err(Refusal::Unknown);
        }
        known.is_good().map(|()| known)
    }

    /// Those of a client.
    fn of(&self, client: &str) -> impl Iterator<Item = &Token> {
        self.tokens.values().filter(move |token| token.client == client)
    }

    /// All of them, by client and age.
    pub(crate) fn all(&self) -> Vec<&Token> {
        let mut all: Vec<_> = self.tokens.values().collect();
        all.sort_by_key(|token| (&token.client, token.created, &token.id));
        all
    }

    /// Whether this one is there and proves something.
    pub(crate) fn is_good(&self, id: &str) -> bool {
        self.tokens.get(id).is_some_and(|token| token.is_good().is_ok())
    }
}

/// The tokens of the file, if there is one.
fn tokens(directory: &Path, owners: Owners) -> Result<HashMap<String, Token>, Error> {
    let content = file(directory, FILE).document(owners, |content: &Content| content.schema == SCHEMA)?;
    let tokens = content.into_iter().flat_map(|content| content.tokens);
    Ok(tokens.map(|token| (token.id.clone(), token)).collect())
}

impl Draft {
    /// Begins to change the tokens of a gateway, whose files are to belong to `owner`, or else to whom the directory does.
    pub(crate) fn begin(directory: &Path, owner: Option<(u32, u32)>) -> Result<Self, Error> {
        let key = file(directory, KEY);
        let mut change = state_file::Change::by(&key, owner)?;
        change.lock()?;
        let bytes = change.content_or(|| Ok::<_, Error>(Secret::fresh()?.to_vec()))?;
        let secret = Secret::new(&bytes).ok_or_else(|| key.strange())?;
        let store = Store { tokens: tokens(directory, change.owners())?, secret };
        Ok(Self { store, file: file(directory, FILE), change })
    }

    /// Makes a token for a client that has none.
    /// Fails with [`Error::Exists`], and those of [`Self::begin`].
    pub(crate) fn create(self, client: &str, lifetime: Option<Duration>) -> Result<NewToken, Error> {
        if self.store.of(client).any(|token| token.is_good().is_ok()) {
            return Err(Error::Exists(client.to_owned()));
        }
        self.replace(client, lifetime, None)
    }

    /// Makes another token for a client that has one, which is good for `overlap` beside it. It lasts as long as that one did
    /// where nothing else is said.
    /// Fails with [`Error::None`], and those of [`Self::begin`].
    pub(crate) fn rotate(
        self,
        client: &str,
        lifetime: Option<Duration>,
        overlap: Option<Duration>,
    ) -> Result<NewToken, Error> {
        let last = self.store.of(client).max_by_key(|token| token.created);
        let last = last.ok_or_else(|| Error::None(client.to_owned()))?;
        let same = last.expires.map(|end| Duration::from_secs(end.saturating_sub(last.created)));
        self.replace(client, lifetime.or(same), overlap)
    }

    /// Puts a new token in the place of those of a client.
    fn replace(
        mut self,
        client: &str,
        lifetime: Option<Duration>,
        overlap: Option<Duration>,
    ) -> Result<NewToken, Error> {
        let (now, token) = (seconds_now(), NewToken::fresh()?);
        let until = overlap.map(|overlap| now.saturating_add(overlap.as_secs()));
        self.store
            .tokens
            .retain(|_, token| token.client != client || until.is_some() && token.is_good().is_ok());
        for token in self.store.tokens.values_mut().filter(|token| token.client == client) {
            token.expires = token.expires.into_iter().chain(until).min();
        }
        let id = id(token.reveal()).unwrap_or_default().to_owned();
        let expires = lifetime.map(|lifetime| now.saturating_add(lifetime.as_secs()));
        let digest = self.store.secret.digest(token.reveal());
        let kept = Token { id: id.clone(), client: client.to_owned(), digest, created: now, expires };
        self.store.tokens.insert(id, kept);
        self.save().map(|()| token)
    }

    /// Revokes all tokens of a client; how many there were.
    /// Fails with [`Error::None`], and those of [`Self::begin`].
    pub(crate) fn revoke(mut self, client: &str) -> Result<usize, Error> {
        let before = self.store.tokens.len();
        self.store.tokens.retain(|_, token| token.client != client);
        let gone = before - self.store.tokens.len();
        if gone == 0 {
            return Err(Error::None(client.to_owned()));
        }
        self.save().map(|()| gone)
    }

    /// Writes the file.
    fn save(&self) -> Result<(), Error> {
        let tokens = self.store.all().into_iter().cloned().collect();
        Ok(self.change.write(&self.file, &Content { schema: SCHEMA, tokens })?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::sys::fs::{Ownership, write_atomic};

    /// What is there now.
    fn read(directory: &Path) -> Store {
        Store::read(directory, Owners::Ours).unwrap().unwrap()
    }

    /// Begins a change.
    fn draft(directory: &Path) -> Draft {
        Draft::begin(directory, None).unwrap()
    }

    #[test]
    fn token_is_believed_until_it_is_revoked_replaced_or_over() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("state");
        let first = draft(&directory).create("a", None).unwrap();
        let before = Store::stamp(&directory);
        let other = draft(&directory).create("b", Some(Duration::from_secs(3600))).unwrap();
        assert_ne!(Store::stamp(&directory), before);
        assert!(matches!(draft(&directory).create("a", None), Err(Error::Exists(_))));
        let store = read(&directory);
        assert_eq!(store.find(first.reveal()).unwrap().client, "a");
        assert_eq!(store.find(other.reveal()).unwrap().client, "b");
        // No secret ends so: its last letter stands for four bits.
        let forged = format!("{}x", &first.reveal()[..first.reveal().len() - 1]);
        for token in [forged.as_str(), "", "x", "mcpeg_0123456789ab_x"] {
            assert_eq!(store.find(token), Err(Refusal::Unknown), "{token}");
        }
        let second = draft(&directory).rotate("a", None, None).unwrap();
        let third = draft(&directory).rotate("b", None, Some(Duration::from_secs(60))).unwrap();
        let store = read(&directory);
        assert_eq!(store.find(first.reveal()), Err(Refusal::Unknown));
        assert!([&second, &other, &third].iter().all(|token| store.find(token.reveal()).is_ok()));
        assert_eq!(draft(&directory).revoke("b").unwrap(), 2);
        assert!(matches!(draft(&directory).revoke("b"), Err(Error::None(_))));
        assert_eq!(read(&directory).find(third.reveal()), Err(Refusal::Unknown));
    }

    #[test]
    fn token_stands_within_its_time_only() {
        let token = |created, expires| Token {
            id: String::new(),
            client: String::new(),
            digest: String::new(),
            created,
            expires,
        };
        assert_eq!(token(100, Some(200)).standing(199), Ok(()));
        assert_eq!(token(100, Some(200)).standing(200), Err(Refusal::Expired));
        assert_eq!(token(100, None).standing(u64::MAX), Ok(()));
        assert_eq!(token(100 + SKEW, None).standing(100), Ok(()));
        assert_eq!(token(101 + SKEW, None).standing(100), Err(Refusal::Early));
    }

    #[test]
    fn file_that_others_can_read_is_not_believed() {
        let scratch = tempfile::tempdir().unwrap();
        let token = draft(scratch.path()).create("a", None).unwrap();
        for name in [KEY, FILE] {
            let path = scratch.path().join(name);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert!(!String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(&token.reveal()[20..]));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(
                Store::read(scratch.path(), Owners::Ours),
                Err(Error::File(state_file::Error::Open { .. }))
            ));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        write_atomic(&scratch.path().join(FILE), b"{}", Ownership::mode(0o600)).unwrap();
        assert!(matches!(
            Store::read(scratch.path(), Owners::Ours),
            Err(Error::File(state_file::Error::Content { .. }))
        ));
    }
}
