//! Rotating the log file while the gateway serves, by request and by signal.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::exit::ToExit as _;
use crate::log::{self, Rotated};

/// The version of [`Answer`]'s schema; like that of the status, it only grows.
pub(crate) const SCHEMA: u32 = 1;

/// The answer to `{"request":"rotate"}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// What was done.
    #[serde(flatten)]
    pub(crate) done: Done,
}

/// What was done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "rotate", rename_all = "snake_case")]
pub(crate) enum Done {
    /// The file was moved, and a new one is in use.
    Rotated {
        /// Where it is now; soon with `.gz` behind its name.
        old: PathBuf,
        /// The file in use.
        new: PathBuf,
    },
    /// The file is open again: somebody else had moved it, or rotates it.
    Reopened {
        /// The file in use.
        new: PathBuf,
    },
    /// Nothing was in it, so that there is nothing to rotate.
    Empty {
        /// The file in use.
        new: PathBuf,
    },
    /// Another process owns it: two gateways write it, or one is about to end.
    Left {
        /// The file in use.
        new: PathBuf,
    },
    /// It could not be done; the log goes on in the file that is open.
    Refused {
        /// The exit code for it.
        exit: u8,
        /// The reason.
        error: String,
        /// How it is mended.
        hint: Option<String>,
    },
}

/// Answers `{"request":"rotate"}`, when the new file is in use.
pub(super) async fn answer(log: &log::Handle) -> serde_json::Value {
    let answer = Answer { schema: SCHEMA, done: rotate(log).await };
    serde_json::to_value(answer).expect("an answer has string keys")
}

/// Rotates because of a signal: the result is only logged.
pub(super) async fn by_signal(log: log::Handle) {
    rotate(&log).await;
}

/// Rotates, and logs what became of it, in the new file if there is one.
async fn rotate(log: &log::Handle) -> Done {
    match log.rotate().await {
        Ok(Rotated::Moved { old, new }) => {
            tracing::info!(old = %old.display(), "rotated the log file");
            Done::Rotated { old, new }
        }
        Ok(Rotated::Reopened(new)) => {
            tracing::info!("reopened the log file");
            Done::Reopened { new }
        }
        Ok(Rotated::Empty(new)) => Done::Empty { new },
        Ok(Rotated::Left(new)) => {
            tracing::warn!("not rotated: another process owns the log file");
            Done::Left { new }
        }
        Err(error @ log::Error::NoFile) => {
            tracing::info!("there is no log file to rotate");
            refused(&error)
        }
        Err(error) => {
            tracing::error!(error = crate::exit::chain(&error), "not rotated");
            refused(&error)
        }
    }
}

/// The answer to a request that cannot be met.
fn refused(error: &log::Error) -> Done {
    Done::Refused { exit: error.to_exit().code(), error: crate::exit::chain(error), hint: error.hint() }
}
