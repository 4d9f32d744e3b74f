//! What systemd knows of its unit files.

use super::action::{Act, Action, Description, Listener, Step};
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::service;
use crate::install::target::Target;

/// Has systemd read its unit files again.
#[derive(Debug)]
pub(in crate::install) struct DaemonReload;

impl DaemonReload {
    /// The step where a unit file has changed.
    pub(in crate::install) fn plan() -> Step {
        Step::new(Act::Create, Self)
    }
}

impl Action for DaemonReload {
    fn description(&self, _: &Act, layout: &Layout) -> Description {
        let text = format!("{} daemon-reload", layout.systemctl());
        Description::new("daemon-reload", text, "systemd reads its unit files again")
    }

    fn apply(&self, _: &Act, target: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        service::reload(target.layout())
    }

    fn resume(&self, _: &Act, target: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        service::reload(target.layout())
    }
}
