//! The link that starts the service at boot.

use super::action::{Act, Action, Description, Listener, Step};
use super::service::MASKED;
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::receipt::{Entry, Receipt};
use crate::install::service;
use crate::install::target::Target;

/// Makes the link.
#[derive(Debug)]
pub(in crate::install) struct BootLink;

impl BootLink {
    /// The step for the link of the target. `unfinished` is a receipt of a command that did not come to its end, `masked` a
    /// unit that the administrator lets nobody start.
    pub(in crate::install) fn plan(target: &Target, unfinished: bool, masked: bool) -> Result<Step, Error> {
        // A link to the unit of somebody else, such as a package, would dangle when that goes.
        let link = target.tree().link(&target.layout().wants_link)?;
        let moves = link.as_ref().is_some_and(|to| target.adopts() && *to != target.layout().unit_file);
        let linked = link.is_some() && !moves;
        let was_enabled = !unfinished && target.receipt().is_some_and(|receipt| receipt.enabled().is_some());
        let act = match (linked, was_enabled) {
            (true, _) => Act::Same,
            (false, _) if masked => Act::Keep(MASKED),
            (false, true) => Act::Keep("the administrator disabled it"),
            (false, false) => Act::Create,
        };
        Ok(Step::new(act, Self))
    }
}

impl Action for BootLink {
    fn description(&self, _: &Act, layout: &Layout) -> Description {
        let text = format!("{} enable {}", layout.systemctl(), layout.unit);
        Description::new("enable", text, "the service starts when the machine does")
    }

    fn entry(&self, act: &Act, target: &Target) -> Option<Entry> {
        let known = target.receipt().and_then(Receipt::enabled);
        Some(Entry::Enabled { existed: target.existed(known, None, *act == Act::Create) })
    }

    fn apply(&self, _: &Act, target: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        service::enable(target)
    }

    fn revert(&self, _: &Act, target: &Target) -> Result<bool, Error> {
        service::disable(target).map(|()| true)
    }
}
