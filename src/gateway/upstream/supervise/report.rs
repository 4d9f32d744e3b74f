//! What is told of an upstream: to operators, and to whoever calls it in vain.

use std::sync::atomic::Ordering;

use super::supervisor::Upstream;
use crate::config::Transport;
use crate::gateway::error::Fault;
use crate::gateway::status::State;
use crate::gateway::status::{Audience, UpstreamStatus};

impl Upstream {
    /// A snapshot.
    pub(crate) fn status(&self, audience: Audience) -> UpstreamStatus {
        let (state, link) = (self.state(), self.current.borrow().1.clone());
        UpstreamStatus {
            name: self.name().to_owned(),
            transport: self.transport().to_owned(),
            state,
            era: link.as_ref().map(|link| link.era),
            pid: link.and_then(|link| link.pid()),
            restarts: self.restarts.load(Ordering::Relaxed),
            last_error: self.trouble(state).as_ref().map(|fault| match (&fault.detail, audience) {
                (Some(detail), Audience::Operator) => detail.clone(),
                _ => fault.message.clone(),
            }),
        }
    }

    /// The transport's name.
    fn transport(&self) -> &'static str {
        match (&self.connector.builtin, &self.connector.settings.transport) {
            (Some(_), _) => "builtin",
            (None, Transport::Stdio { .. }) => "stdio",
            (None, Transport::Http { .. }) => "http",
        }
    }

    /// What is or was wrong with it.
    fn trouble(&self, state: State) -> Option<Fault> {
        let fault = self.error().clone();
        if fault.is_some() || state != State::Degraded {
            return fault;
        }
        let (out, all) = (self.connector.endpoints.out(), self.connector.endpoints.len());
        Some(if out > 0 {
            let reason = format_args!("does without {out} of {all} endpoints for a while, since they failed");
            Fault::upstream(&self.name(), reason)
        } else {
            Fault::upstream(&self.name(), "has not answered the last question whether it is there")
        })
    }

    /// What a call is told while there is no connection.
    pub(crate) fn unavailable(&self, state: State) -> Fault {
        let reason = match (state, &*self.error()) {
            (State::Stopped, _) => {
                "is stopped: the gateway is shutting down or was given another configuration".to_owned()
            }
            (State::Starting, _) => "is still starting; try again soon".to_owned(),
            (_, Some(fault)) => format!("is not available and is tried again soon: {fault}"),
            (_, None) => "is not available and is tried again soon".to_owned(),
        };
        Fault::upstream(&self.name(), reason).unprocessed()
    }
}
