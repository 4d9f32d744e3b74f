//! What is kept of a login, in the state directory: `login-NAME.json`, and `login-NAME.lock` beside it.
//!
//! Who changes a login holds the lock: only one process asks for the next token, also while a gateway takes another one's
//! place, and what a server has rotated is written before it is used. Nobody but the owner can read either file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldwork::Fieldwork;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::discovery::{Authority, covers};
use super::error::Error;
use super::grant::Granted;
use super::registration::Client;
use crate::config::OAuth;
use crate::state_file::{Change, Kind, StateFile};
use crate::sys::clock::seconds_now;
use crate::sys::fs::Owners;
use crate::sys::stamp::Stamp;
use crate::sys::user;

/// The schema of the file.
const SCHEMA: u32 = 1;
/// The kind of both files.
const KIND: Kind = Kind { what: "the file of a login", is_public: false, limit: 1 << 20 };
/// How often it is looked whether the lock is free.
const EVERY: Duration = Duration::from_millis(50);
/// A token is renewed so long before its end, or a fifth of its time before, whichever is later.
const MARGIN: u64 = 60;

/// A login: who mcpeg is where, and the tokens that it has.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Login {
    /// [`SCHEMA`].
    schema: u32,
    /// The authorization server.
    #[field(get)]
    issuer: String,
    /// The upstream, as it is called there.
    #[field(get)]
    resource: String,
    /// Where the next token is.
    #[field(get, vis = "pub(super)")]
    token_endpoint: String,
    /// Where tokens are given back.
    #[field(get, vis = "pub(super)")]
    revocation_endpoint: Option<String>,
    /// Who mcpeg is there.
    client_id: String,
    /// The secret of that, where the server has made it.
    client_secret: Option<String>,
    /// Whether secrets go into forms.
    secret_in_form: bool,
    /// What was granted.
    #[field(get)]
    scopes: Vec<String>,
    /// The token.
    #[field(get)]
    access_token: String,
    /// What the next one is had for.
    #[field(get, vis = "pub(super)")]
    refresh_token: Option<String>,
    /// When the token was made, in seconds since 1970.
    obtained: u64,
    /// When it ends, if that was told.
    #[field(get)]
    expires: Option<u64>,
}

/// Where the login of one upstream is.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// The state directory.
    directory: PathBuf,
    /// The file.
    file: StateFile,
    /// Who changes it holds a lock on this one.
    lock: StateFile,
    /// The user and group that the files are to belong to; `None` is whom the directory belongs to.
    owner: Option<(u32, u32)>,
}

/// The right to change a login, until it is dropped.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    /// Where it is.
    store: &'a Store,
    /// The lock.
    change: Change,
}

impl Login {
    /// That of tokens which a server has granted.
    pub(crate) fn new(authority: &Authority, client: &Client, granted: &Granted) -> Self {
        let login = Self {
            schema: SCHEMA,
            issuer: authority.issuer().to_owned(),
            resource: authority.resource().to_owned(),
            token_endpoint: authority.token_endpoint().unwrap_or_default().to_owned(),
            revocation_endpoint: authority.revocation_endpoint().map(str::to_owned),
            client_id: client.id().to_owned(),
            client_secret: client.made_secret().map(str::to_owned),
            secret_in_form: client.is_in_form(),
            scopes: authority.scopes().to_vec(),
            access_token: String::new(),
            refresh_token: None,
            obtained: 0,
            expires: None,
        };
        login.renewed(granted)
    }

    /// The same with the next token. What a server does not say again is as it was.
    pub(crate) fn renewed(mut self, granted: &Granted) -> Self {
        let now = seconds_now();
        granted.access_token().clone_into(&mut self.access_token);
        self.refresh_token = granted.refresh_token().map(str::to_owned).or(self.refresh_token);
        (self.obtained, self.expires) =
            (now, granted.expires_in().map(|seconds| now.saturating_add(seconds)));
        if let Some(scope) = granted.scope() {
            self.scopes = scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
        }
        self
    }

    /// Whether it is one for the upstream at this address, with these settings. One that is not is as good as none: a token is
    /// shown to nobody but whom it was made for.
    pub(crate) fn is_for(&self, url: &str, oauth: &OAuth) -> bool {
        let same =
            |wanted: &Option<String>, have: &str| wanted.as_deref().is_none_or(|wanted| wanted == have);
        let known = [&oauth.client_id, &oauth.client_metadata_url].into_iter().flatten();
        let is_client = known.clone().count() == 0 || known.clone().any(|id| *id == self.client_id);
        covers(&self.resource, url) && same(&oauth.issuer, &self.issuer) && is_client
    }

    /// Who mcpeg is at the authorization server.
    pub(super) fn client(&self, oauth: &OAuth) -> Client {
        if oauth.client_id.as_ref() == Some(&self.client_id) {
            return Client::configured(&self.client_id, oauth, self.secret_in_form);
        }
        Client::registered(&self.client_id, self.client_secret.as_deref(), self.secret_in_form)
    }

    /// Whether another token can be had for it without anybody.
    pub(crate) const fn lasts(&self) -> bool {
        self.refresh_token.is_some()
    }

    /// Whether the token is over.
    pub(crate) fn is_over(&self) -> bool {
        self.expires.is_some_and(|end| end <= seconds_now())
    }

    /// Whether it is time for the next token.
    pub(crate) fn is_due(&self) -> bool {
        let margin = |end: u64| (end.saturating_sub(self.obtained) / 5).clamp(1, MARGIN);
        self.expires.is_some_and(|end| end.saturating_sub(margin(end)) <= seconds_now())
    }
}

impl Store {
    /// Where the login of this upstream is; the files are to belong to `owner`, or else to whom the directory does.
    pub(crate) fn new(directory: &Path, upstream: &str, owner: Option<(u32, u32)>) -> Self {
        let file = |kind: &str| StateFile::new(directory, &format!("login-{upstream}.{kind}"), &KIND);
        Self { directory: directory.to_owned(), file: file("json"), lock: file("lock"), owner }
    }

    /// What the file is by now.
    pub(crate) fn stamp(&self) -> Stamp {
        self.file.stamp()
    }

    /// The login that is kept, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Login>, Error> {
        let owner = self.owner.or_else(|| user::owner_of(&self.directory));
        let owners = owner.map_or(Owners::Ours, |(uid, _)| Owners::OursOr(uid));
        Ok(self.file.document(owners, |login: &Login| login.schema == SCHEMA)?)
    }

    /// Waits until nobody else changes the login, for as long as others take.
    pub(crate) async fn lock(&self) -> Result<Locked<'_>, Error> {
        let change = Change::by(&self.lock, self.owner)?;
        while !change.try_lock()? {
            sleep(EVERY).await;
        }
        Ok(Locked { store: self, change })
    }
}

impl Locked<'_> {
    /// Keeps a login, on the disk before this returns.
    pub(crate) fn write(&self, login: &Login) -> Result<(), Error> {
        Ok(self.change.write(&self.store.file, login)?)
    }

    /// Forgets the login.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        Ok(self.store.file.remove()?)
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
