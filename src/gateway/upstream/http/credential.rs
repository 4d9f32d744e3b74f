//! The token that one upstream is shown, where it wants one of an authorization server: taken from the login that is kept,
//! renewed ahead of its end and when it is refused.
//!
//! Invariants: only one task of all processes asks for the next token, and it is on the disk before it is used; where the
//! authorization server is away, the token that there is counts until it ends; neither log nor fault tells a token.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{OAuth, UpstreamName};
use crate::exit::chain;
use crate::oauth::{self, Challenge, Error, Login, Store, Web};
use crate::sys::stamp::Stamp;

/// How often it is looked whether somebody has logged in or out.
const EVERY: Duration = Duration::from_millis(400);
/// A token that was had because another one was refused, and is refused itself sooner than this, is not renewed: the next
/// one would be refused, too.
const YOUNG: Duration = Duration::from_secs(10);
/// After a failed renewal the next one is tried so much later, at least and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Characters of the scopes that are told.
const SHOWN: usize = 200;

/// The token of one upstream.
#[derive(Debug)]
pub(crate) struct Credential {
    /// Whose it is.
    name: UpstreamName,
    /// Where the upstream is.
    url: String,
    /// What the configuration says.
    oauth: OAuth,
    /// The way to authorization servers.
    web: Web,
    /// Where the login is kept.
    store: Store,
    /// What is known.
    state: Mutex<State>,
    /// Held by the task that renews the token.
    turn: tokio::sync::Mutex<()>,
    /// Whether there is a token.
    has_token: watch::Sender<bool>,
}

/// What is known.
#[derive(Debug)]
struct State {
    /// Which file was read.
    stamp: Stamp,
    /// What was in it, or has come of it.
    login: Option<Login>,
    /// What is shown.
    header: Option<HeaderValue>,
    /// When a token was renewed last because it was refused.
    refused: Option<Instant>,
    /// What is wrong.
    trouble: Option<Trouble>,
    /// How long it is waited after the last failure.
    wait: Duration,
    /// When the next token may be asked for.
    next: Instant,
    /// Scopes that the upstream has asked for beside those that there are.
    lacking: Option<String>,
}

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Somebody has to log in.
    #[error("needs a login: `mcpeg login {name}`")]
    NeedsLogin {
        /// The upstream.
        name: UpstreamName,
        /// Why, for operators.
        why: String,
    },
    /// There will be one.
    #[error("wants a token, and its authorization server gives none at present")]
    Away {
        /// Why, for operators.
        why: String,
    },
}

impl Trouble {
    /// Why, for operators.
    pub(crate) fn why(&self) -> &str {
        let (Self::NeedsLogin { why, .. } | Self::Away { why }) = self;
        why
    }
}

impl Credential {
    /// That of an upstream, from the login in this state directory. It is followed while anybody uses it.
    pub(crate) fn follow(
        (name, url): (&UpstreamName, &str),
        oauth: &OAuth,
        web: Web,
        directory: &Path,
    ) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            stamp: Stamp::default(),
            login: None,
            header: None,
            refused: None,
            trouble: None,
            wait: Duration::ZERO,
            next: now,
            lacking: None,
        };
        let credential = Arc::new(Self {
            name: name.clone(),
            url: url.to_owned(),
            oauth: oauth.clone(),
            web,
            store: Store::new(directory, name.as_str(), None),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            has_token: watch::Sender::new(false),
        });
        credential.read();
        let followed = Arc::downgrade(&credential);
        tokio::spawn(async move {
            let mut due = tokio::time::interval(EVERY);
            due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                due.tick().await;
                let Some(credential) = followed.upgrade() else { return };
                credential.look().await;
            }
        });
        credential
    }

    /// What the upstream is shown now.
    pub(crate) async fn token(&self) -> Result<HeaderValue, Trouble> {
        match self.good(None) {
            Some(header) => Ok(header),
            None => self.renewed(None).await,
        }
    }

    /// What the upstream is shown after it has refused this; `None` if there is nothing else.
    pub(crate) async fn after(&self, refused: &HeaderValue) -> Option<HeaderValue> {
        let other = self.good(Some(refused));
        if other.is_some() {
            return other;
        }
        let (is_young, can_renew) = {
            let state = self.state.lock();
            let lasts = state.login.as_ref().is_some_and(Login::lasts);
            (state.refused.is_some_and(|since| since.elapsed() < YOUNG), lasts || !self.oauth.needs_person())
        };
        if can_renew && !is_young {
            let next = self.renewed(Some(refused)).await.ok();
            self.state.lock().refused = next.is_some().then(Instant::now);
            return next;
        }
        if !can_renew {
            self.fail(&Trouble::NeedsLogin {
                name: self.name.clone(),
                why: "the upstream does not take its token any more".to_owned(),
            });
        }
        None
    }

    /// Notes that a token is good, and not good for some request; the scopes that are lacking.
    pub(crate) fn lacks(&self, headers: &HeaderMap) -> Option<String> {
        let challenge = Some(Challenge::of(headers)).filter(Challenge::is_insufficient)?;
        let scopes: Vec<_> = challenge.scopes().collect();
        let scopes: String = scopes.join(" ").chars().take(SHOWN).collect();
        let is_new = self.state.lock().lacking.replace(scopes.clone()).as_ref() != Some(&scopes);
        if is_new {
            tracing::warn!(upstream = %self.name, scopes, "the upstream wants more scopes than were granted");
        }
        Some(scopes)
    }

    /// How the scopes are had that an upstream has asked for, if it has.
    pub(crate) fn advice(&self) -> Option<String> {
        self.state.lock().lacking.as_ref().map(|scopes| advice(&self.name, scopes, &self.oauth))
    }

    /// What is to be done about these scopes.
    pub(crate) fn advice_for(&self, scopes: &str) -> String {
        advice(&self.name, scopes, &self.oauth)
    }

    /// Why somebody has to log in, if that is so.
    pub(crate) fn needs_login(&self) -> Option<Trouble> {
        let state = self.state.lock();
        state.trouble.clone().filter(|trouble| matches!(trouble, Trouble::NeedsLogin { .. }))
    }

    /// Waits until there is a token.
    pub(crate) async fn arrives(&self) {
        let _ = self.has_token.subscribe().wait_for(|has| *has).await;
    }

    /// The token, if it is good, and another one than was refused.
    fn good(&self, refused: Option<&HeaderValue>) -> Option<HeaderValue> {
        let state = self.state.lock();
        let is_over = state.login.as_ref().is_none_or(Login::is_over);
        state.header.as_ref().filter(|header| !is_over && Some(*header) != refused).cloned()
    }

    /// Looks whether the file is another one, and whether it is time for the next token.
    async fn look(&self) {
        self.read();
        let due = {
            let state = self.state.lock();
            let is_due = state.login.as_ref().is_some_and(|login| login.lasts() && login.is_due());
            (is_due && state.next <= Instant::now()).then(|| state.header.clone()).flatten()
        };
        if let Some(header) = due {
            // What is wrong is told where a token is needed, and in the status.
            let _ = self.renewed(Some(&header)).await;
        }
    }

    /// Reads the login, where its file is another one than was read last.
    fn read(&self) {
        let stamp = self.store.stamp();
        let mut state = self.state.lock();
        let is_first = state.trouble.is_none() && state.login.is_none();
        if state.stamp == stamp && !(is_first && self.oauth.needs_person()) {
            return;
        }
        state.stamp = stamp;
        drop(state);
        match self.store.read() {
            Ok(Some(login)) if login.is_for(&self.url, &self.oauth) => self.take(login),
            Ok(other) if self.oauth.needs_person() => {
                let why = if other.is_some() {
                    "the login is one for other settings"
                } else {
                    "nobody has logged in"
                };
                self.fail(&Trouble::NeedsLogin { name: self.name.clone(), why: why.to_owned() });
            }
            Ok(_) => self.state.lock().login = None,
            Err(error) => {
                tracing::error!(upstream = %self.name, error = chain(&error), "the login cannot be read");
                self.fail(&Trouble::NeedsLogin { name: self.name.clone(), why: chain(&error) });
            }
        }
    }

    /// Shows the token of this login from now on.
    fn take(&self, login: Login) {
        let header = HeaderValue::from_str(&format!("Bearer {}", login.access_token()));
        let mut state = self.state.lock();
        state.header = header.ok().map(|mut header| {
            header.set_sensitive(true);
            header
        });
        (state.refused, state.wait, state.next) = (None, Duration::ZERO, Instant::now());
        (state.login, state.trouble, state.lacking) = (Some(login), None, None);
        drop(state);
        self.has_token.send_replace(true);
    }

    /// Notes why there is no token, or will be none when this one is over.
    fn fail(&self, trouble: &Trouble) {
        let mut state = self.state.lock();
        state.wait = (state.wait * 2).clamp(AGAIN.0, AGAIN.1);
        state.next = Instant::now() + state.wait;
        let is_new = state.trouble.as_ref().is_none_or(|before| before.why() != trouble.why());
        if matches!(trouble, Trouble::NeedsLogin { .. }) {
            (state.login, state.header) = (None, None);
            self.has_token.send_replace(false);
        }
        state.trouble = Some(trouble.clone());
        drop(state);
        if is_new {
            tracing::warn!(upstream = %self.name, reason = trouble.why(), "the upstream {trouble}");
        }
    }

    /// The next token, or the one that somebody else has got meanwhile.
    async fn renewed(&self, refused: Option<&HeaderValue>) -> Result<HeaderValue, Trouble> {
        let _turn = self.turn.lock().await;
        if let Some(header) = self.good(refused) {
            return Ok(header);
        }
        let waits =
            |state: &State| state.next > Instant::now() || state.trouble.as_ref().is_some_and(is_final);
        let trouble =
            Some(self.state.lock()).filter(|state| waits(state)).and_then(|state| state.trouble.clone());
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        if let Err(trouble) = Box::pin(self.renew(refused)).await {
            self.fail(&trouble);
            return self.good(refused).ok_or(trouble);
        }
        self.good(refused).ok_or_else(|| away("the authorization server has given the same token again"))
    }

    /// Gets the next token, unless another process has.
    async fn renew(&self, refused: Option<&HeaderValue>) -> Result<(), Trouble> {
        let locked = self.store.lock().await.map_err(|error| away(&chain(&error)))?;
        self.read();
        if self.good(refused).is_some() {
            return Ok(());
        }
        if let Some(trouble) = self.needs_login() {
            return Err(trouble);
        }
        let login = self.state.lock().login.clone();
        let again = match &login {
            Some(login) => oauth::refresh(&self.web, login, &self.oauth).await,
            None => None,
        };
        let next = match (again, login) {
            (Some(Ok(granted)), Some(login)) => login.renewed(&granted),
            (Some(Err(error)), _) if self.oauth.needs_person() => {
                if error.is_grant() {
                    // It is of no use to anybody.
                    let _ = locked.remove();
                    self.state.lock().stamp = self.store.stamp();
                }
                let why = chain(&error);
                let name = self.name.clone();
                return Err(if error.ends_login() { Trouble::NeedsLogin { name, why } } else { away(&why) });
            }
            _ if self.oauth.needs_person() => {
                let why = "the token is over, and there is nothing to get another one for".to_owned();
                return Err(Trouble::NeedsLogin { name: self.name.clone(), why });
            }
            _ => self.granted().await.map_err(|error| away(&chain(&error)))?,
        };
        // What was had before may be worth nothing by now.
        if let Err(error) = locked.write(&next) {
            tracing::error!(upstream = %self.name, error = chain(&error), "the login cannot be kept");
        }
        self.state.lock().stamp = self.store.stamp();
        tracing::debug!(upstream = %self.name, "has the next token");
        self.take(next);
        Ok(())
    }

    /// A token for mcpeg itself.
    async fn granted(&self) -> Result<Login, Error> {
        let authority = oauth::discover(&self.web, &self.url, &self.oauth, None).await?;
        let client = oauth::identify(&self.web, &authority, &self.oauth, None).await?;
        let granted = oauth::client_credentials(&self.web, &authority, &client).await?;
        Ok(Login::new(&authority, &client, &granted))
    }
}

/// That there is no token for now.
fn away(why: &str) -> Trouble {
    Trouble::Away { why: why.to_owned() }
}

/// Whether waiting is of no use.
const fn is_final(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::NeedsLogin { .. })
}

/// How these scopes are had.
fn advice(name: &UpstreamName, scopes: &str, oauth: &OAuth) -> String {
    match (scopes.is_empty(), oauth.needs_person()) {
        (true, true) => format!("wants more scopes than were granted: `mcpeg login {name}`"),
        (false, true) => {
            format!("wants more scopes than were granted: `mcpeg login {name} --scope \"{scopes}\"`")
        }
        (true, false) => "wants more scopes than `oauth.scopes` has".to_owned(),
        (false, false) => format!("wants more scopes than `oauth.scopes` has: {scopes}"),
    }
}
