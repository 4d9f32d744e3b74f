//! What a running gateway tells over its control socket, and `--status --json` prints.
//!
//! The schema only grows: fields keep their names, types and meanings; if that is ever impossible, [`SCHEMA`] changes.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{Config, Server};
use crate::daemon::Record;
use crate::drain;
use crate::gateway::{self, Gateway};
use crate::log;
use crate::sys::net::Address;

/// The schema's version.
pub(crate) const SCHEMA: u32 = 1;

/// Where in its life the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It serves.
    Running,
    /// It finishes what is in flight.
    Draining,
}

/// The answer to `{"request":"status"}`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Status {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// Where in its life the gateway is.
    pub(crate) state: State,
    /// The process.
    pub(crate) pid: i32,
    /// Its start in RFC 3339 form.
    pub(crate) since: String,
    /// Where it serves, as it was bound.
    pub(crate) listeners: Vec<String>,
    /// The configuration files.
    pub(crate) config: Vec<PathBuf>,
    /// The log file.
    pub(crate) log_file: Option<PathBuf>,
    /// How the log file is.
    pub(crate) log: Option<log::Health>,
    /// The pid file.
    pub(crate) pid_file: PathBuf,
    /// Where what outlives the process is kept.
    pub(crate) state_directory: PathBuf,
    /// The systemd unit.
    pub(crate) unit: Option<String>,
    /// What the relay tells: version, uptime, sessions, requests in flight, upstreams.
    #[serde(flatten)]
    pub(crate) gateway: Option<gateway::Status>,
}

impl Status {
    /// Everything that does not change while the gateway serves.
    pub(super) fn template(
        record: &Record,
        addresses: &[Address],
        (config, state): (&Config, &Path),
    ) -> Self {
        Self {
            schema: SCHEMA,
            state: State::Running,
            pid: record.pid,
            since: record.since_text(),
            listeners: addresses.iter().map(ToString::to_string).collect(),
            config: config.sources.clone(),
            log_file: config.log.file.clone(),
            log: None,
            pid_file: record.pid_file.clone(),
            state_directory: state.to_owned(),
            unit: record.unit.clone(),
            gateway: None,
        }
    }
}

/// Answers `{"request":"status"}`.
pub(super) fn answer(
    template: Status,
    gateway: &Gateway,
    watch: &drain::Watch,
    log: &log::Handle,
) -> serde_json::Value {
    let state = if watch.is_draining() { State::Draining } else { State::Running };
    let status = Status { state, log: log.health(), gateway: Some(gateway.status()), ..template };
    serde_json::to_value(status).expect("a status has string keys and finite numbers only")
}

/// Where clients connect, in one line: the URL to paste into a client's configuration, or the Unix socket.
pub(crate) fn endpoints(addresses: &[Address], server: &Server) -> String {
    addresses.iter().map(|address| endpoint(address, server)).collect::<Vec<_>>().join(", ")
}

/// The same of one listener.
pub(super) fn endpoint(address: &Address, server: &Server) -> String {
    let Address::Tcp(bound) = address else { return address.to_string() };
    let named = server.listener_at(&address.to_string(), Some(bound)).flatten();
    let scheme = if named.is_some_and(|listener| listener.tls.is_some()) { "https" } else { "http" };
    format!("{scheme}://{bound}/mcp")
}
