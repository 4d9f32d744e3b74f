//! What an installation has come to.

use crate::install::{self, Entrance, Plan, Proof, Target};

/// What there is to say at the end.
pub(super) struct Outcome<'a> {
    /// On what.
    target: &'a Target,
    /// What was done.
    plan: &'a Plan,
    /// What the service has answered.
    answered: Option<&'a Proof>,
    /// Whether it is an image.
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

    /// On what.
    pub(super) const fn target(&self) -> &'a Target {
        self.target
    }

    /// What was done.
    pub(super) const fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// What the service has answered.
    pub(super) const fn answered(&self) -> Option<&'a Proof> {
        self.answered
    }

    /// Whether it is an image.
    pub(super) const fn is_image(&self) -> bool {
        self.image
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
