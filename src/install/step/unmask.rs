//! The mask that the removal of a package has left on the unit.

use std::path::PathBuf;

use super::action::{Act, Action, Description, Listener, Step};
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::privileged::removal;
use crate::install::receipt::Entry;
use crate::install::target::Target;
use crate::install::{service, shadow};

/// Takes the mask away, with what deb-systemd-helper(1) has noted of it.
#[derive(Debug)]
pub(in crate::install) struct Unmask([PathBuf; 2]);

impl Unmask {
    /// The step where there is such a mask.
    pub(in crate::install) fn plan(target: &Target) -> Result<Option<Step>, Error> {
        let mask = shadow::leftover_mask(target.tree(), target.layout())?;
        Ok(mask.map(|mask| Step::new(Act::Create, Self(mask))))
    }
}

impl Action for Unmask {
    fn description(&self, _: &Act, layout: &Layout) -> Description {
        let (systemctl, unit) = (layout.systemctl(), &layout.unit);
        let text = format!("{systemctl} unmask {unit} (the removal of a package has left it masked)");
        Description::new(
            "unmask",
            text,
            "a package that was removed has masked its unit, which would hide this one",
        )
    }

    fn entry(&self, _: &Act, _: &Target) -> Option<Entry> {
        Some(Entry::Unmasked)
    }

    fn apply(&self, _: &Act, target: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        self.0.iter().try_for_each(|file| removal::remove_file(target.tree(), file))
    }

    fn revert(&self, _: &Act, target: &Target) -> Result<bool, Error> {
        service::mask_again(target, &self.0).map(|()| true)
    }
}
