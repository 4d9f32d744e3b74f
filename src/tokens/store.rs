//! The file of all tokens in the state directory, `tokens.json`, and the key beside it, `tokens.key`.
//!
//! Who changes the file holds a lock on the key, whose file is never replaced. A gateway reads both whenever the file is
//! another one ([`Store::stamp`]).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::secret::{NewToken, Secret, id};
use crate::exit::{Exit, ToExit};
use crate::sys::fs::{
    Access, Directory, Owners, Ownership, mend, open_untrusted, read_at_most, write_atomic,
};
use crate::sys::stamp::Stamp;

/// The file's name.
const FILE: &str = "tokens.json";
/// The key's.
const KEY: &str = "tokens.key";
/// What others may do with either.
const FOREIGN: u32 = 0o077;
/// The mode of both.
const MODE: u32 = 0o600;
/// The mode of a directory that is missing.
const DIRECTORY: u32 = 0o750;
/// The largest file that is read, in bytes.
const LIMIT: u64 = 64 << 20;
/// The schema of the file.
const SCHEMA: u32 = 1;
/// How far clocks may differ, in seconds.
const SKEW: u64 = 60;

/// What is kept of one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What finds it: a part of the token that is no secret.
    pub id: String,
    /// The client that it proves.
    pub client: String,
    /// Its keyed digest.
    digest: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it ends, if it does.
    pub expires: Option<u64>,
}

/// All tokens, as they were read.
#[derive(Clone, Debug)]
pub struct Store {
    /// By identifier.
    tokens: HashMap<String, Token>,
    /// By which digests are made.
    secret: Secret,
}

/// Tokens that are about to change; nobody else changes them meanwhile.
#[derive(Debug)]
pub struct Draft {
    /// As they will be.
    store: Store,
    /// Where.
    directory: PathBuf,
    /// To whom the files belong: the user that the gateway runs as.
    owner: (u32, u32),
    /// The key, which is locked.
    _lock: File,
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
pub enum Refusal {
    /// It was never made, or it was revoked.
    Unknown,
    /// Its time is over.
    Expired,
    /// It is from the future: one of the clocks is wrong.
    Early,
}

/// Why the tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or its directory.
    #[error("cannot use `{}`", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// Others can read it, and so all that it protects.
    #[error("`{}` can be read or written by others", .0.display())]
    Open(PathBuf),
    /// It is none of ours.
    #[error("`{}` is not a file of tokens that this version knows", .0.display())]
    Content(PathBuf),
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
            Self::File(_, error) if error.kind() == io::ErrorKind::PermissionDenied => Exit::Permission,
            Self::File(..) => Exit::CannotCreate,
            Self::Open(_) | Self::Content(_) => Exit::Config,
            Self::Random(_) => Exit::Os,
            Self::Exists(_) | Self::None(_) => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some("run the command as root or as the user that the gateway runs as".to_owned())
            }
            Self::File(_, error) => mend(error),
            Self::Open(path) => {
                Some(format!("`chmod 600 {}`; if others may have read it, rotate all tokens", path.display()))
            }
            Self::Content(_) => Some("move it away, and make the tokens anew".to_owned()),
            Self::Random(_) => None,
            Self::Exists(client) => Some(format!("`mcpeg token rotate {client}` replaces it")),
            Self::None(client) => Some(format!("`mcpeg token create {client}` makes one")),
        }
    }
}

/// The time in seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
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
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn is_good(&self) -> Result<(), Refusal> {
        self.standing(now())
    }
}

impl Store {
    /// What the file is by, so that another one is seen.
    #[must_use]
    pub fn stamp(directory: &Path) -> Stamp {
        Stamp::of(&directory.join(FILE))
    }

    /// Reads all tokens; `None` where none was ever made.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn read(directory: &Path, owners: Owners) -> Result<Option<Self>, Error> {
        let Some(key) = content(directory, KEY, owners)? else { return Ok(None) };
        let secret = Secret::new(&key).ok_or_else(|| Error::Content(directory.join(KEY)))?;
        Ok(Some(Self { tokens: tokens(directory, owners)?, secret }))
    }

    /// What is known of a token that proves something now.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn find(&self, token: &str) -> Result<&Token, Refusal> {
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
    #[must_use]
    pub fn all(&self) -> Vec<&Token> {
        let mut all: Vec<_> = self.tokens.values().collect();
        all.sort_by_key(|token| (&token.client, token.created, &token.id));
        all
    }

    /// Whether this one is there and proves something.
    #[must_use]
    pub fn is_good(&self, id: &str) -> bool {
        self.tokens.get(id).is_some_and(|token| token.is_good().is_ok())
    }
}

/// What a file has that only its owner can read, if there is one.
fn content(directory: &Path, name: &str, owners: Owners) -> Result<Option<Vec<u8>>, Error> {
    let path = directory.join(name);
    match open_untrusted(&path, owners) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok((_, metadata)) if metadata.mode() & FOREIGN != 0 => Err(Error::Open(path)),
        Ok((file, _)) => read_at_most(file, LIMIT).map(Some).map_err(|error| Error::File(path, error)),
        Err(error) => Err(Error::File(path, error)),
    }
}

/// The tokens of the file, if there is one.
fn tokens(directory: &Path, owners: Owners) -> Result<HashMap<String, Token>, Error> {
    let Some(bytes) = content(directory, FILE, owners)? else { return Ok(HashMap::new()) };
    let content: Option<Content> = serde_json::from_slice(&bytes).ok();
    let content = content.filter(|content| content.schema == SCHEMA);
    let content = content.ok_or_else(|| Error::Content(directory.join(FILE)))?;
    Ok(content.tokens.into_iter().map(|token| (token.id.clone(), token)).collect())
}

impl Draft {
    /// Begins to change the tokens of a gateway, whose files are to belong to `owner`, or else to whom the directory does.
    ///
    /// # Errors
    /// When the directory or a file cannot be used.
    pub fn begin(directory: &Path, owner: Option<(u32, u32)>) -> Result<Self, Error> {
        let path = directory.join(KEY);
        let cannot = |error| Error::File(path.clone(), error);
        let made = match owner.filter(|_| crate::sys::user::is_root()) {
            Some(owner) => Directory::make_for(directory, DIRECTORY, owner),
            None => Directory::make(directory, DIRECTORY),
        };
        let place = made.map_err(cannot)?;
        let owner = owner.unwrap_or((place.owner(), place.group()));
        let owners = Owners::OursOr(owner.0);
        let (mut lock, metadata) =
            place.open_or_create(KEY.as_ref(), MODE, Access::ReadWrite, owners).map_err(cannot)?;
        if metadata.mode() & FOREIGN != 0 {
            return Err(Error::Open(path));
        }
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| cannot(error.into()))?;
        let mut key = Vec::new();
        lock.read_to_end(&mut key).map_err(cannot)?;
        if key.is_empty() {
            key = Secret::fresh()?.to_vec();
            lock.write_all(&key).and_then(|()| lock.sync_all()).map_err(cannot)?;
            if crate::sys::user::is_root() {
                std::os::unix::fs::fchown(&lock, Some(owner.0), Some(owner.1)).map_err(cannot)?;
            }
        }
        let secret = Secret::new(&key).ok_or(Error::Content(path))?;
        let store = Store { tokens: tokens(directory, owners)?, secret };
        Ok(Self { store, directory: directory.to_owned(), owner, _lock: lock })
    }

    /// Makes a token for a client that has none.
    ///
    /// # Errors
    /// [`Error::Exists`], and those of [`Self::begin`].
    pub fn create(self, client: &str, lifetime: Option<Duration>) -> Result<NewToken, Error> {
        if self.store.of(client).any(|token| token.is_good().is_ok()) {
            return Err(Error::Exists(client.to_owned()));
        }
        self.replace(client, lifetime, None)
    }

    /// Makes another token for a client that has one, which is good for `overlap` beside it. It lasts as long as that one did
    /// where nothing else is said.
    ///
    /// # Errors
    /// [`Error::None`], and those of [`Self::begin`].
    pub fn rotate(
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
        let (now, token) = (now(), NewToken::fresh()?);
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
    ///
    /// # Errors
    /// [`Error::None`], and those of [`Self::begin`].
    pub fn revoke(mut self, client: &str) -> Result<usize, Error> {
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
        let content = serde_json::to_vec_pretty(&Content { schema: SCHEMA, tokens });
        let content = content.expect("tokens have string keys and numbers only");
        let owner = Some(self.owner).filter(|_| crate::sys::user::is_root()).unzip();
        let path = self.directory.join(FILE);
        let ownership = Ownership { mode: MODE, uid: owner.0, gid: owner.1 };
        write_atomic(&path, &content, ownership).map_err(|error| Error::File(path, error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

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
            assert_eq!(path.metadata().unwrap().mode() & 0o777, MODE);
            assert!(!String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(&token.reveal()[20..]));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(Store::read(scratch.path(), Owners::Ours), Err(Error::Open(_))));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(MODE)).unwrap();
        }
        write_atomic(&scratch.path().join(FILE), b"{}", Ownership::mode(MODE)).unwrap();
        assert!(matches!(Store::read(scratch.path(), Owners::Ours), Err(Error::Content(_))));
    }
}
