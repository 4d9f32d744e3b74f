//! What the file's writer lets others know.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

use super::batch::Counts;

/// How the file is, for the status and the metrics. Numbers are since the start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Health {
    /// The file.
    pub file: PathBuf,
    /// Records that are in the file or in one that was rotated.
    pub written: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that wait for the disk at the moment.
    pub waiting: u64,
    /// Records that were lost.
    pub lost: u64,
    /// The same by level.
    pub lost_by_level: Counts,
    /// Rotations.
    pub rotations: u64,
    /// Why the file cannot be written, moved or opened at the moment.
    pub trouble: Option<String>,
}

/// What the thread shares with the others.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// How the file is.
    health: Mutex<Health>,
    /// Tells that the gateway is to stop because of its log.
    stop: Notify,
}

impl Shared {
    /// That of the writer of this file.
    pub(super) fn of(file: PathBuf) -> Self {
        Self { health: Mutex::new(Health { file, ..Health::default() }), stop: Notify::new() }
    }

    /// The health; a panic elsewhere leaves it as good as it was.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that the gateway is to stop.
    pub(super) fn demand_stop(&self) {
        self.stop.notify_one();
    }

    /// Waits until that is told. Safe to cancel.
    pub(super) async fn stop_demanded(&self) {
        self.stop.notified().await;
    }

    /// Notes what was written.
    pub(super) fn wrote(&self, records: usize, bytes: usize) {
        let mut health = self.health();
        health.written += records as u64;
        health.bytes += bytes as u64;
    }

    /// Notes what was lost.
    pub(super) fn lost(&self, counts: Counts) {
        let mut health = self.health();
        health.lost += counts.total();
        health.lost_by_level.add_all(counts);
    }
}
