//! What an installation has come to.

use fieldwork::Fieldwork;

use crate::install::{self, Entrance, Plan, Proof, Target};

/// What there is to say at the end.
#[derive(Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(super) struct Outcome<'a> {
    /// On what.
    #[field(get)]
    target: &'a Target,
    /// What was done.
    #[field(get)]
    plan: &'a Plan,
    /// What the service has answered.
    #[field(get(copy))]
    answered: Option<&'a Proof>,
    /// Whether it is an image.
    #[field(get = is_image)]
    image: bool,
}

impl<'a> Outcome<'a> {
    /// What has come of this plan; `answered` is what the service has answered, `image` that it is for a directory.
    pub(super) const fn new(
        target: &'a Target,
        plan: &'a Plan,
        answered: Option<&'a Proof>,
        image: bool,
    ) -> Self {
        Self { target, plan, answered, image }
    }

    /// Where clients reach the service, as far as that is known.
    pub(super) fn entrance(&self) -> Option<Entrance> {
        let answered = self.answered.map(|proof| proof.entrance.clone());
        answered.or_else(|| install::configured_entrance(self.target))
    }

    /// How exposed the unit is that was written, in the words of systemd-analyze(1); `None` if nobody can tell.
    pub(super) fn exposure(&self) -> Option<String> {
        let layout = self.target.layout();
        let is_written =
            self.plan.steps().iter().any(|step| step.acts() && step.path() == Some(&layout.unit_file));
        let is_told = is_written && self.answered.is_some() && !layout.is_users();
        is_told.then(|| layout.service().exposure()).flatten()
    }

    /// What stays as it is, with the reason.
    pub(super) fn kept(&self) -> impl Iterator<Item = String> {
        let steps = self.plan.steps().iter().filter(|step| step.kept_because().is_some());
        steps.map(|step| step.shown(self.target.layout()))
    }
}
