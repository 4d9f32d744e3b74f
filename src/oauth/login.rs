//! What is kept of a login, in the state directory: `login-NAME.json`, and `login-NAME.lock` beside it.
//!
//! Who changes a login holds the lock: only one process asks for the next token, also while a gateway takes another one's
//! place, and what a server has rotated is written before it is used. Nobody but the owner can read either file.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::discovery::{Authority, covers};
use super::error::Error;
use super::grant::Granted;
use super::registration::Client;
use crate::config::OAuth;
use crate::sys::fs::{
    Access, Directory, Owners, Ownership, open_untrusted, read_at_most, remove, write_atomic,
};
use crate::sys::user;

/// The schema of the file.
const SCHEMA: u32 = 1;
/// The mode of both files.
const MODE: u32 = 0o600;
/// What others may do with either.
const FOREIGN: u32 = 0o077;
/// The mode of a directory that is missing.
const DIRECTORY: u32 = 0o750;
/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;
/// How often it is looked whether the lock is free.
const EVERY: Duration = Duration::from_millis(50);
/// A token is renewed so long before its end, or a fifth of its time before, whichever is later.
const MARGIN: u64 = 60;

/// A login: who mcpeg is where, and the tokens that it has.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// [`SCHEMA`].
    schema: u32,
    /// The authorization server.
    issuer: String,
    /// The upstream, as it is called there.
    resource: String,
    /// Where the next token is.
    token_endpoint: String,
    /// Where tokens are given back.
    revocation_endpoint: Option<String>,
    /// Who mcpeg is there.
    client_id: String,
    /// The secret of that, where the server has made it.
    client_secret: Option<String>,
    /// Whether secrets go into forms.
    secret_in_form: bool,
    /// What was granted.
    scopes: Vec<String>,
    /// The token.
    access_token: String,
    /// What the next one is had for.
    refresh_token: Option<String>,
    /// When the token was made, in seconds since 1970.
    obtained: u64,
    /// When it ends, if that was told.
    expires: Option<u64>,
}

/// Where the login of one upstream is.
#[derive(Clone, Debug)]
pub struct Store {
    /// The state directory.
    directory: PathBuf,
    /// The file.
    file: PathBuf,
    /// The user and group that the files are to belong to; `None` is whom the directory belongs to.
    owner: Option<(u32, u32)>,
}

/// The right to change a login, until it is dropped.
#[derive(Debug)]
pub struct Locked<'a> {
    /// Where it is.
    store: &'a Store,
    /// To whom the file is to belong.
    owner: (u32, u32),
    /// The lock.
    _lock: File,
}

/// What the file is by, so that another one is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(Option<(u64, u64, i64, i64, u64)>);

/// The time in seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Login {
    /// That of tokens which a server has granted.
    #[must_use]
    pub fn new(authority: &Authority, client: &Client, granted: Granted) -> Self {
        let login = Self {
            schema: SCHEMA,
            issuer: authority.issuer().to_owned(),
            resource: authority.resource.clone(),
            token_endpoint: authority.metadata.token_endpoint.clone().unwrap_or_default(),
            revocation_endpoint: authority.metadata.revocation_endpoint.clone(),
            client_id: client.id.clone(),
            client_secret: client.secret.clone().filter(|_| client.made),
            secret_in_form: client.in_form,
            scopes: authority.scopes.clone(),
            access_token: String::new(),
            refresh_token: None,
            obtained: 0,
            expires: None,
        };
        login.renewed(granted)
    }

    /// The same with the next token. What a server does not say again is as it was.
    #[must_use]
    pub fn renewed(mut self, granted: Granted) -> Self {
        let now = now();
        self.access_token = granted.access_token;
        self.refresh_token = granted.refresh_token.or(self.refresh_token);
        (self.obtained, self.expires) = (now, granted.expires_in.map(|seconds| now.saturating_add(seconds)));
        if let Some(scope) = granted.scope {
            self.scopes = scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
        }
        self
    }

    /// Whether it is one for the upstream at this address, with these settings. One that is not is as good as none: a token is
    /// shown to nobody but whom it was made for.
    #[must_use]
    pub fn is_for(&self, url: &str, oauth: &OAuth) -> bool {
        let same =
            |wanted: &Option<String>, have: &str| wanted.as_deref().is_none_or(|wanted| wanted == have);
        let known = [&oauth.client_id, &oauth.client_metadata_url].into_iter().flatten();
        let is_client = known.clone().count() == 0 || known.clone().any(|id| *id == self.client_id);
        covers(&self.resource, url) && same(&oauth.issuer, &self.issuer) && is_client
    }

    /// Who mcpeg is at the authorization server.
    pub(super) fn client(&self, oauth: &OAuth) -> Client {
        let own = || oauth.client_secret.as_ref().map(|secret| secret.reveal().to_owned());
        let is_own = oauth.client_id.as_ref() == Some(&self.client_id);
        let secret = if is_own { own() } else { self.client_secret.clone() };
        Client { id: self.client_id.clone(), secret, in_form: self.secret_in_form, made: !is_own }
    }

    /// The authorization server.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The upstream, as it is called there.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Where the next token is.
    pub(super) fn token_endpoint(&self) -> &str {
        &self.token_endpoint
    }

    /// Where tokens are given back.
    pub(super) fn revocation_endpoint(&self) -> Option<&str> {
        self.revocation_endpoint.as_deref()
    }

    /// What was granted.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The token.
    #[must_use]
    pub fn access_token(&self) -> &str {
        &self.access_token
    }

    /// What the next one is had for.
    pub(super) fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_deref()
    }

    /// Whether another token can be had for it without anybody.
    #[must_use]
    pub const fn lasts(&self) -> bool {
        self.refresh_token.is_some()
    }

    /// When the token ends, if that was told.
    #[must_use]
    pub const fn expires(&self) -> Option<u64> {
        self.expires
    }

    /// Whether the token is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.expires.is_some_and(|end| end <= now())
    }

    /// Whether it is time for the next token.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let margin = |end: u64| (end.saturating_sub(self.obtained) / 5).clamp(1, MARGIN);
        self.expires.is_some_and(|end| end.saturating_sub(margin(end)) <= now())
    }
}

impl Stamp {
    /// That of no file.
    pub const NONE: Self = Self(None);
}

impl Store {
    /// Where the login of this upstream is; the files are to belong to `owner`, or else to whom the directory does.
    #[must_use]
    pub fn new(directory: &Path, upstream: &str, owner: Option<(u32, u32)>) -> Self {
        let file = directory.join(format!("login-{upstream}.json"));
        Self { directory: directory.to_owned(), file, owner }
    }

    /// What the file is by now.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let stamp = |it: Metadata| (it.dev(), it.ino(), it.mtime(), it.mtime_nsec(), it.size());
        Stamp(std::fs::symlink_metadata(&self.file).ok().map(stamp))
    }

    /// The login that is kept, if there is one.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn read(&self) -> Result<Option<Login>, Error> {
        let owner = self.owner.or_else(|| user::owner_of(&self.directory));
        let owners = owner.map_or(Owners::Ours, |(uid, _)| Owners::OursOr(uid));
        let cannot = |error| Error::File(self.file.clone(), error);
        let bytes = match open_untrusted(&self.file, owners) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok((_, metadata)) if metadata.mode() & FOREIGN != 0 => {
                return Err(Error::Open(self.file.clone()));
            }
            Ok((file, _)) => read_at_most(file, LIMIT).map_err(cannot)?,
            Err(error) => return Err(cannot(error)),
        };
        let login: Option<Login> = serde_json::from_slice(&bytes).ok();
        let login = login.filter(|login| login.schema == SCHEMA);
        login.map(Some).ok_or_else(|| Error::Content(self.file.clone()))
    }

    /// Waits until nobody else changes the login, for as long as others take.
    ///
    /// # Errors
    /// When the directory or the lock cannot be used.
    pub async fn lock(&self) -> Result<Locked<'_>, Error> {
        let path = self.file.with_extension("lock");
        let cannot = |error| Error::File(path.clone(), error);
        let place = Directory::make(&self.directory, DIRECTORY).map_err(cannot)?;
        let owner = self.owner.unwrap_or((place.owner(), place.group()));
        let name = path.file_name().unwrap_or_default();
        let made = place.open_or_create(name, MODE, Access::ReadWrite, Owners::OursOr(owner.0));
        let (lock, _) = made.map_err(cannot)?;
        if user::is_root() {
            std::os::unix::fs::fchown(&lock, Some(owner.0), Some(owner.1)).map_err(cannot)?;
        }
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked { store: self, owner, _lock: lock }),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => sleep(EVERY).await,
                Err(error) => return Err(cannot(error.into())),
            }
        }
    }
}

impl Locked<'_> {
    /// Keeps a login, on the disk before this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    ///
    /// # Panics
    /// Never: a login can be JSON.
    pub fn write(&self, login: &Login) -> Result<(), Error> {
        let content = serde_json::to_vec_pretty(login).expect("a login has string keys and numbers only");
        let owner = Some(self.owner).filter(|_| user::is_root()).unzip();
        let ownership = Ownership { mode: MODE, uid: owner.0, gid: owner.1 };
        let file = &self.store.file;
        write_atomic(file, &content, ownership).map_err(|error| Error::File(file.clone(), error))
    }

    /// Forgets the login.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(&self) -> Result<(), Error> {
        match remove(&self.store.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::File(self.store.file.clone(), error))
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("issuer", &self.issuer)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}
