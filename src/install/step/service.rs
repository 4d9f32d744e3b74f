//! The running service: its start, its restart, and the exchange of its process without losing a request.

use super::action::{Act, Action, Description, Listener, Progress, Step};
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::service;
use crate::install::target::Target;

/// Why nothing is done with a service that nobody may start.
pub(super) const MASKED: &str = "the unit is masked, and `systemctl unmask` lets it start";

/// What is done with the service.
#[derive(Debug)]
pub(in crate::install) enum Service {
    /// It is started; [`Act::Replace`] is a restart.
    Start,
    /// Its process is exchanged for one of the new program or configuration without losing a request.
    Upgrade,
}

/// What the plan has changed that the service must take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::install) enum Change {
    /// Nothing.
    Nothing,
    /// The program or its configuration, which are taken up without losing a request.
    Program,
    /// The unit, which needs a restart.
    Unit,
}

impl Service {
    /// The step for the service, and why there is nothing to probe afterwards. The administrator may have `masked` the unit,
    /// or `disabled` its start at boot.
    pub(in crate::install) fn plan(
        target: &Target,
        change: Change,
        masked: bool,
        disabled: bool,
    ) -> Result<(Step, Option<&'static str>), Error> {
        if masked {
            return Ok((Step::new(Act::Keep(MASKED), Self::Start), Some(MASKED)));
        }
        let layout = target.layout();
        let active = service::is_active(layout)?;
        let obstacle = if active { service::obstacle(layout) } else { None };
        let service = if change == Change::Unit { Self::Start } else { Self::Upgrade };
        let (act, service) = match active {
            true if change != Change::Nothing || service::is_outdated(layout) => {
                // What systemd would not follow, or could not start again, goes on as it is.
                (obstacle.map_or(Act::Replace, Act::Keep), service)
            }
            true => (Act::Same, Self::Start),
            false if disabled => (Act::Keep("the administrator disabled it"), Self::Start),
            false => (Act::Create, Self::Start),
        };
        let down = matches!(act, Act::Keep(_)) && !active;
        Ok((Step::new(act, service), down.then_some("it does not run")))
    }
}

impl Action for Service {
    fn description(&self, act: &Act, layout: &Layout) -> Description {
        let verb = if *act == Act::Replace { "restart" } else { "start" };
        match self {
            Self::Start => {
                let text = format!("{} {verb} {}", layout.systemctl(), layout.unit);
                Description::new("start", text, "the service serves from now on")
            }
            Self::Upgrade => {
                let text = format!("{} --restart, without losing a request", layout.program.display());
                let reason = "the running process gives its place to a new one; clients do not notice";
                Description::new("upgrade", text, reason)
            }
        }
    }

    fn apply(&self, act: &Act, target: &Target, listener: &mut Listener<'_>) -> Result<(), Error> {
        let waits = &mut |what: &str| listener(Progress::Waiting(what));
        match (self, act) {
            (Self::Start, Act::Replace) => service::restart(target.layout(), waits),
            (Self::Start, _) => service::start(target.layout(), waits),
            (Self::Upgrade, _) => service::upgrade(target.layout(), waits),
        }
    }

    fn revert(&self, act: &Act, target: &Target) -> Result<bool, Error> {
        match (self, act) {
            (Self::Start, Act::Create) => service::stop(target.layout()).map(|()| true),
            // It goes on until everything else is restored.
            (Self::Start, _) => Ok(true),
            (Self::Upgrade, _) => Ok(false),
        }
    }

    fn resume(&self, act: &Act, target: &Target, listener: &mut Listener<'_>) -> Result<(), Error> {
        match act {
            Act::Create => Ok(()),
            _ => self.apply(act, target, listener),
        }
    }
}
