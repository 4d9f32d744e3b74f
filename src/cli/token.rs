//! `mcpeg token`: makes, lists, replaces and revokes the tokens by which clients prove who they are.
//!
//! A gateway that runs says where its tokens are, and whose; it takes changes up by itself.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::json;

use super::definition::{TokenAct, TokenArgs, TokenPlace};
use super::report;
use super::state_place::{Place, state_directory};
use crate::config::UpstreamName;
use crate::control::Act;
use crate::daemon::PathsError;
use crate::exit::{Exit, ToExit};
use crate::sys::fs::Owners;
use crate::sys::user;
use crate::tokens::{self, Draft, NewToken, Refusal, Store, Token};

/// The schema of the answers.
const SCHEMA: u32 = 1;

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
    Ok((Draft::begin(place.directory(), place.owner())?, place))
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
    let store = Store::read(at.directory(), at.owners())?;
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
