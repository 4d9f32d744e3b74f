//! What the holder of the lock writes into it about itself: one JSON line.
//!
//! It is information for messages and for finding the process; that the process runs is proved by the lock alone,
//! and that a process is the one meant by its identity. Unknown fields are ignored and optional ones may be absent,
//! because a control action may be older or newer than the daemon.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::paths::RunPaths;
use crate::sys::clock::seconds_now;
use crate::sys::identity::Identity;
use crate::systemd;

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The process.
    pub(crate) pid: i32,
    /// Its start in clock ticks since boot: field 22 of `proc_pid_stat(5)`.
    pub(crate) start_time: u64,
    /// The boot that the ticks count from.
    pub(crate) boot_id: String,
    /// The wall-clock time of the record in seconds since 1970, for people.
    pub(crate) since: u64,
    /// The version of mcpeg.
    pub(crate) version: String,
    /// The executable, by its absolute path at the start.
    pub(crate) executable: Option<PathBuf>,
    /// The main configuration file; `None` without any.
    pub(crate) config: Option<PathBuf>,
    /// The pid file.
    pub(crate) pid_file: PathBuf,
    /// The control socket.
    pub(crate) control: PathBuf,
    /// How long a drain may take, in milliseconds; so `--stop` knows how long to wait without the configuration.
    #[serde(default)]
    pub(crate) drain_timeout_ms: u64,
    /// The systemd unit that the process belongs to, as `NAME.service`.
    #[serde(default)]
    pub(crate) unit: Option<String>,
    /// The launcher of `--daemon` wrote this; the daemon's own record follows within milliseconds.
    #[serde(default)]
    pub(crate) launching: bool,
}

impl Record {
    /// The record of this process.
    pub(crate) fn own(
        paths: &RunPaths,
        config: Option<PathBuf>,
        drain_timeout: Duration,
    ) -> io::Result<Self> {
        let identity = Identity::own()?;
        Ok(Self {
            pid: identity.pid,
            start_time: identity.start_time,
            boot_id: identity.boot_id,
            since: seconds_now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            executable: std::env::current_exe().ok(),
            config,
            pid_file: paths.pid_file.clone(),
            control: paths.control.clone(),
            drain_timeout_ms: u64::try_from(drain_timeout.as_millis()).unwrap_or(u64::MAX),
            unit: systemd::own_unit(),
            launching: false,
        })
    }

    /// The identity that it claims.
    pub(crate) fn identity(&self) -> Identity {
        Identity { pid: self.pid, start_time: self.start_time, boot_id: self.boot_id.clone() }
    }

    /// `since` in RFC 3339 form.
    pub(crate) fn since_text(&self) -> String {
        i64::try_from(self.since)
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .map_or_else(|| self.since.to_string(), |time| time.to_string())
    }
}
