//! What an installation has come to.

use crate::config::ListenAddr;
use crate::install::{self, Plan, Proof, Target};

/// What there is to say at the end.
pub(super) struct Outcome<'a> {
    /// On what.
    pub(super) target: &'a Target,
    /// What was done.
    pub(super) plan: &'a Plan,
    /// What the service has answered.
    pub(super) answered: Option<&'a Proof>,
    /// Whether it is an image.
    pub(super) image: bool,
}

impl Outcome<'_> {
    /// Where the service listens, as far as that is known.
    pub(super) fn listener(&self) -> Option<ListenAddr> {
        let answered = self.answered.map(|proof| proof.listener.clone());
        answered.or_else(|| install::configured_listener(self.target))
    }

    /// What stays as it is, with the reason.
    pub(super) fn kept(&self) -> impl Iterator<Item = String> {
        let steps = self.plan.steps().iter().filter(|step| step.kept_because().is_some());
        steps.map(|step| step.shown(self.target.layout()))
    }
}
