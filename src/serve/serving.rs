//! The parts of a gateway that serves, side by side: each owns its state, and a function that needs several is given them.

use std::sync::Arc;

use super::accept::Acceptor;
use super::bootstrap::Invocation;
use super::control::Control;
use super::peer::PeerChannel;
use super::reload::Reloads;
use super::run_files::RunFiles;
use super::status::{Status, endpoints};
use super::upgrade::Upgrades;
use crate::config::Config;
use crate::daemon::Signals;
use crate::gateway::Gateway;
use crate::systemd::Notifier;
use crate::{drain, log};

/// The gateway while its runtime exists.
pub(super) struct Serving<'a> {
    /// How it was called.
    pub(crate) invocation: Invocation,
    /// The configuration that is in force.
    pub(crate) config: Arc<Config>,
    /// The run-time files.
    pub(crate) files: &'a mut RunFiles,
    /// The log.
    pub(crate) log: &'a log::Guard,
    /// TERM, INT and the others.
    pub(crate) signals: Signals,
    /// systemd, if it is there.
    pub(crate) notifier: Notifier,
    /// The relay.
    pub(crate) gateway: Gateway,
    /// Starts the drain.
    pub(crate) trigger: drain::Trigger,
    /// The listeners and their tasks.
    pub(crate) acceptor: Acceptor,
    /// The control socket.
    pub(crate) control: Control,
    /// Reloads that are wanted or under way.
    pub(crate) reloads: Reloads,
    /// Upgrades that are wanted or under way.
    pub(crate) upgrades: Upgrades,
    /// The way to the process before or after this one.
    pub(crate) peer: Option<PeerChannel>,
    /// Whether the process that has taken over reloads for those who ask this one.
    pub(crate) relaying: bool,
}

impl Serving<'_> {
    /// One line for `systemctl status`.
    pub(super) fn summary(&self) -> String {
        let status = self.gateway.status();
        let ready = status.upstreams.iter().filter(|upstream| upstream.state.is_usable()).count();
        let listening = endpoints(self.acceptor.addresses(), &self.config.server);
        let (sessions, all) = (status.sessions, status.upstreams.len());
        format!("serving on {listening}; {ready} of {all} upstreams ready; {sessions} sessions")
    }

    /// What the status says beside what the gateway tells.
    pub(super) fn template(&self) -> Status {
        Status::template(
            self.files.record(),
            self.acceptor.addresses(),
            (&self.config, &self.invocation.state),
        )
    }
}
