//! What is told of an upstream: to operators, and in the errors of calls.

use super::failures::Failures;
use crate::config::Transport;
use crate::gateway::error::Fault;
use crate::gateway::mend::mend;
use crate::gateway::status::{Audience, UpstreamState, UpstreamStatus};
use crate::gateway::upstream::http::credential::Trouble;
use crate::gateway::upstream::link::connection::Link;
use crate::gateway::upstream::link::negotiate::Connector;
use crate::gateway::upstream::stdio::stderr::ChildErrors;

/// What a report is made of.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// How it is reached.
    pub(crate) connector: &'a Connector,
    /// What it is doing.
    pub(crate) state: UpstreamState,
    /// What was wrong.
    pub(crate) failures: &'a Failures,
}

impl Report<'_> {
    /// A snapshot of one with this connection.
    pub(crate) fn status(&self, link: Option<&Link>, audience: Audience) -> UpstreamStatus {
        let fault = self.trouble();
        let child = self.failures.child();
        let last_line = child.as_ref().filter(|_| audience != Audience::Downstream);
        let last_lines = child.as_ref().map(|child| child.lines()).unwrap_or_default();
        // By all that is known, also for those who are not told it: what mends it names nothing from inside.
        let whole = fault.as_ref().map(|fault| told(fault, child.as_deref()));
        UpstreamStatus {
            name: self.connector.name().to_string(),
            transport: self.transport().to_owned(),
            state: self.state,
            era: link.map(Link::era),
            pid: link.and_then(Link::pid),
            restarts: self.failures.restarts(),
            last_error: fault.as_ref().map(|fault| match audience {
                Audience::Operator => whole.clone().unwrap_or_default(),
                Audience::Local | Audience::Downstream => fault.message.clone(),
            }),
            mend: mend(whole.as_deref(), &last_lines).map(str::to_owned),
            exit_code: child.as_ref().and_then(|child| child.how()?.code()),
            exit_signal: child.as_ref().and_then(|child| child.how()?.signal()),
            last_line: last_line.and_then(|child| child.line()),
            last_lines: match audience {
                Audience::Operator => last_lines,
                Audience::Local | Audience::Downstream => Vec::new(),
            },
            warnings: self
                .connector
                .remarks()
                .all()
                .into_iter()
                .chain(self.connector.pins().warning())
                .chain(self.advice())
                .collect(),
        }
    }

    /// The transport's name.
    fn transport(&self) -> &'static str {
        match &self.connector.settings().transport {
            _ if self.connector.is_builtin() => "builtin",
            Transport::Stdio { .. } => "stdio",
            Transport::Http { .. } => "http",
        }
    }

    /// Why somebody has to log in, if that is so.
    fn login(&self) -> Option<Trouble> {
        self.connector.credential()?.needs_login()
    }

    /// What is to be done about scopes that are lacking.
    fn advice(&self) -> Option<String> {
        self.connector.credential()?.advice()
    }

    /// What is or was wrong with it.
    fn trouble(&self) -> Option<Fault> {
        if let Some(trouble) = self.login() {
            let detail = format!("upstream `{}` {trouble} ({})", self.connector.name(), trouble.why());
            return Some(Fault::upstream(self.connector.name(), trouble).because(detail));
        }
        let fault = self.failures.last();
        if fault.is_some() || self.state != UpstreamState::Degraded {
            return fault;
        }
        let (name, balancer) = (self.connector.name(), self.connector.balancer());
        let (out, all) = (balancer.out(), balancer.len());
        Some(if out > 0 {
            let reason = format_args!("does without {out} of {all} endpoints for a while, since they failed");
            Fault::upstream(name, reason)
        } else {
            Fault::upstream(name, "has not answered the last question whether it is there")
        })
    }

    /// What a call is told while there is no connection.
    pub(crate) fn unavailable(&self) -> Fault {
        let reason = match (self.state, self.failures.last()) {
            (UpstreamState::Stopped, _) => {
                "is stopped: the gateway is shutting down or was given another configuration".to_owned()
            }
            (UpstreamState::NeedsLogin, _) => match self.login() {
                Some(trouble) => trouble.to_string(),
                None => "needed a login, which has just come; try again".to_owned(),
            },
            (UpstreamState::Starting, _) => "is still starting; try again soon".to_owned(),
            (_, Some(fault)) => format!("is not available and is tried again soon: {fault}"),
            (_, None) => "is not available and is tried again soon".to_owned(),
        };
        Fault::upstream(self.connector.name(), reason).unprocessed()
    }
}

/// A fault as operators are told of it, with what its command has left behind.
pub(crate) fn told(fault: &Fault, child: Option<&ChildErrors>) -> String {
    let text = fault.detail.as_ref().unwrap_or(&fault.message);
    format!("{text}{}", child.map(ChildErrors::account).unwrap_or_default())
}
