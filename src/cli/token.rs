//! `mcpeg token`: makes, lists, replaces and revokes the tokens by which clients prove who they are.
//!
//! A gateway that runs says where its tokens are, and whose; it takes changes up by itself.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldwork::Fieldwork;
use jiff::Timestamp;
use serde_json::json;

use crate::config::{self, UpstreamName};
use crate::control::{self, Act, Identity, Request};
use crate::daemon::locate;
use crate::daemon::{PathsError, RunPaths};
use crate::exit::{self, Exit, ToExit};
use crate::install;
use crate::log;
use crate::sys::fs::Owners;
use crate::sys::user;
use crate::tokens::{self, Draft, NewToken, Refusal, Store, Token};

use super::definition::{TokenAct, TokenArgs, TokenPlace};
use super::report;

/// The schema of the answers.
const SCHEMA: u32 = 1;
/// How long a gateway that runs may take to say where its tokens are.
const LIMIT: Duration = Duration::from_secs(5);

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The run-time directory.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The tokens.
    #[error(transparent)]
    Tokens(#[from] tokens::Error),
    /// No client can have this name.
    #[error("client name `{0}` is not allowed")]
    Name(String),
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Paths(error) => error.to_exit(),
            Self::Tokens(error) => error.to_exit(),
            Self::Name(_) => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Paths(error) => error.hint(),
            Self::Tokens(error) => error.hint(),
            Self::Name(_) => {
                Some("use 1 to 63 letters, digits, `-` and `_`, beginning with a letter or digit".to_owned())
            }
        }
    }
}

/// Where a gateway keeps its state, and to whom the files are to belong.
#[derive(Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Place {
    /// The state directory.
    directory: PathBuf,
    /// The user and group that the gateway runs as, or will by its configuration, if that can be told.
    #[field(get(copy))]
    owner: Option<(u32, u32)>,
    /// Its control socket, if it runs.
    #[field = false]
    socket: Option<PathBuf>,
}

/// `mcpeg token`.
pub(super) fn run(arguments: &TokenArgs) -> Exit {
    carry_out(&arguments.act).unwrap_or_else(|error| report::error(&error))
}

/// Carries out one act.
fn carry_out(act: &TokenAct) -> Result<Exit, Error> {
    match act {
        TokenAct::Create { name, expires, place } => {
            let (draft, at) = draft(place, name)?;
            let token = draft.create(name, *expires)?;
            at.tell(Act::Create, name);
            Ok(show(name, &token, place.json))
        }
        TokenAct::Rotate { name, expires, overlap, place } => {
            let (draft, at) = draft(place, name)?;
            let token = draft.rotate(name, *expires, *overlap)?;
            at.tell(Act::Rotate, name);
            Ok(show(name, &token, place.json))
        }
        TokenAct::Revoke { name, place } => {
            let (draft, at) = draft(place, name)?;
            let revoked = draft.revoke(name)?;
            at.tell(Act::Revoke, name);
            if place.json {
                let value = json!({ "schema": SCHEMA, "client": name, "revoked": revoked });
                return Ok(report::json(&value, Exit::Done));
            }
            Ok(report::lines(format!("revoked: {revoked} of client {name}"), Exit::Done))
        }
        TokenAct::List { place } => list(place),
    }
}

/// Begins to change the tokens for a client; with the place where they are.
fn draft(place: &TokenPlace, name: &str) -> Result<(Draft, Place), Error> {
    if UpstreamName::new(name).is_none() {
        return Err(Error::Name(name.to_owned()));
    }
    let place = Place::find(place)?;
    Ok((Draft::begin(&place.directory, place.owner)?, place))
}

/// Prints a token, which nobody can see again.
fn show(client: &str, token: &NewToken, json: bool) -> Exit {
    if json {
        let value = json!({ "schema": SCHEMA, "client": client, "token": token.reveal() });
        return report::json(&value, Exit::Done);
    }
    report::note(format!(
        "this is the only time that the token of client `{client}` is shown; it is sent as `Authorization: Bearer TOKEN`"
    ));
    report::lines(token.reveal(), Exit::Done)
}

/// Prints what is known of all tokens, without any secret.
fn list(place: &TokenPlace) -> Result<Exit, Error> {
    let at = Place::find(place)?;
    let store = Store::read(&at.directory, at.owners())?;
    let all = store.as_ref().map(Store::all).unwrap_or_default();
    if place.json {
        let each = |token: &&Token| {
            json!({
                "client": token.client, "id": token.id, "created": text(token.created),
                "expires": token.expires.map(text), "state": state(token),
            })
        };
        let value = json!({ "schema": SCHEMA, "tokens": all.iter().map(each).collect::<Vec<_>>() });
        return Ok(report::json(&value, Exit::Done));
    }
    if all.is_empty() {
        return Ok(report::lines("no client has a token; `mcpeg token create NAME` makes one", Exit::Done));
    }
    let mut lines = format!("{:<24} {:<12} {:<20} {:<20} STATE\n", "CLIENT", "ID", "CREATED", "EXPIRES");
    for token in all {
        let expires = token.expires.map_or_else(|| "never".to_owned(), text);
        let (client, id, created) = (&token.client, &token.id, text(token.created));
        let _ = writeln!(lines, "{client:<24} {id:<12} {created:<20} {expires:<20} {}", state(token));
    }
    Ok(report::lines(lines, Exit::Done))
}

/// The tokens that the service would have, or a gateway of this user, as far as they can be read.
pub(super) fn store() -> Option<Store> {
    let directory = state_directory(None);
    let owner = user::owner_of(&directory).map_or(Owners::Ours, |(uid, _)| Owners::OursOr(uid));
    Store::read(&directory, owner).ok().flatten()
}

/// The state directory that a gateway would use which is started: the installed service, or by this user.
pub(super) fn state_directory(instance: Option<&str>) -> PathBuf {
    let service = Some(install::state_of(instance)).filter(|home| user::is_root() && home.is_dir());
    let given = std::env::var_os("STATE_DIRECTORY").is_some();
    service.filter(|_| !given).unwrap_or_else(config::state_directory)
}

/// The user and group that root's gateway becomes by a configuration.
fn account(config: Option<&Path>) -> Option<(u32, u32)> {
    let (user, group) = config::account(config)?;
    let account = user::find(&user)?;
    Some((account.uid, group.map_or(Some(account.gid), |group| user::find_group(&group))?))
}

/// Whether a token is good, in a word.
fn state(token: &Token) -> &'static str {
    match token.is_good() {
        Ok(()) => "good",
        Err(Refusal::Early) => "early",
        Err(Refusal::Expired | Refusal::Unknown) => "expired",
    }
}

/// Seconds since 1970 in RFC 3339.
fn text(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "never".to_owned(), |time| time.to_string())
}

impl Place {
    /// What the gateway says that runs, or else what one would use that is started: the installed service, or by this user.
    pub(super) fn find(place: &TokenPlace) -> Result<Self, PathsError> {
        let instance = place.instance.as_deref();
        let paths = RunPaths::resolve(place.pid_file().as_deref())?;
        let running = locate::ask_status::<Identity>(&paths, LIMIT).ok();
        if let Some(running) = running.map(|reply| reply.answer)
            && let Some(directory) = running.state_directory
        {
            let owner = user::owner_of(&PathBuf::from(format!("/proc/{}", running.pid)));
            return Ok(Self { directory, owner, socket: Some(paths.control) });
        }
        let config = place.configuration();
        let owner = Some(()).filter(|()| user::is_root()).and_then(|()| account(config.as_deref()));
        Ok(Self { directory: state_directory(instance), owner, socket: None })
    }

    /// Has the audit know what was done to a client or an upstream: that of the gateway that runs, or else the journal.
    pub(super) fn tell(&self, act: Act, name: &str) {
        let Some(socket) = &self.socket else {
            let uid = user::effective_uid();
            return log::audit_now(|| act.record(name, Some("command line"), Some(uid)).write());
        };
        let request = Request::Audit { act, name: name.to_owned() };
        // One of an older version has no audit.
        if let Err(error @ (control::Error::Ask(..) | control::Error::TimeOut(..))) =
            control::ask::<serde_json::Value>(socket, request, LIMIT)
        {
            report::note(format!("the audit was not told: {}", exit::chain(&error)));
        }
    }

    /// Whose files are believed.
    pub(super) fn owners(&self) -> Owners {
        let owner = self.owner.or_else(|| user::owner_of(&self.directory));
        owner.map_or(Owners::Ours, |(uid, _)| Owners::OursOr(uid))
    }
}
