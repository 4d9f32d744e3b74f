//! What the file's writer lets others know.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

/// How the file is, for the status.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Health {
    /// The file.
    pub file: PathBuf,
    /// Records that were lost since the start.
    pub lost: u64,
    /// Rotations since the start.
    pub rotations: u64,
    /// Why the file cannot be written, moved or opened at the moment.
    pub trouble: Option<String>,
}

/// What the thread shares with the others.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// How the file is.
    pub(super) health: Mutex<Health>,
    /// Tells that the gateway is to stop because of its log.
    pub(super) stop: Notify,
}

/// The health; a panic elsewhere leaves it as good as it was.
pub(super) fn lock(health: &Mutex<Health>) -> std::sync::MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}
