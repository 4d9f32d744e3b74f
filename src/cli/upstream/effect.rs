//! What becomes of a change.

use super::change::Change;
use super::error::Error;
use crate::cli::site::Site;
use crate::cli::{check, reload};
use crate::daemon::locate::{self, Reached};
use crate::exit::Exit;
use crate::serve::reload::Answer;

/// Whether a gateway runs that has taken it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It has.
    Reloaded,
    /// None runs.
    NotRunning,
}

/// Makes a change that was checked, and has a gateway that runs take it up. What it refuses, or with which the service would not
/// start, is taken back.
pub(super) fn put(site: &Site, change: &Change) -> Result<Effect, Error> {
    change.make()?;
    let done = take_up(site, change);
    match &done {
        Ok(_) | Err(Error::Untold(..)) => change.keep()?,
        Err(_) => change.take_back()?,
    }
    done
}

/// Has a gateway take a change up that was made.
fn take_up(site: &Site, change: &Change) -> Result<Effect, Error> {
    let untold = |error| Error::Untold(change.path().to_owned(), Box::new(error));
    let reached = locate::reach(site.paths()).map_err(|error| untold(error.into()))?;
    if matches!(reached, Reached::Nobody { .. }) {
        return match check::of_service(&site.file()) {
            Some(answer) if answer.exit() != Exit::Done => Err(Error::Unstartable(answer.problems())),
            _ => Ok(Effect::NotRunning),
        };
    }
    match reload::ask(site.paths()).map_err(untold)?.1.answer {
        Answer::Done(_) => Ok(Effect::Reloaded),
        Answer::Refused(refused) => Err(Error::Refused(refused)),
    }
}
