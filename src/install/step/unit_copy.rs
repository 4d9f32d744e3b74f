//! A copy of the unit that the administrator has made, which is in force in place of the installed one.

use std::path::PathBuf;

use super::action::{Act, Action, Description, Listener, Step};
use crate::install::assets::Content;
use crate::install::difference;
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::privileged::files;
use crate::install::target::Target;

/// Shows how the copy differs, and leaves it alone.
#[derive(Debug)]
pub(in crate::install) struct UnitCopy {
    /// Where it is.
    path: PathBuf,
    /// The unit that it hides.
    unit: Content,
}

impl UnitCopy {
    /// The step for a copy that hides this unit.
    pub(in crate::install) fn plan(path: PathBuf, unit: Content) -> Step {
        let why = "it is in force in place of the unit, as systemctl edit --full has made it";
        Step::new(Act::Keep(why), Self { path, unit })
    }
}

impl Action for UnitCopy {
    fn description(&self, _: &Act, _: &Layout) -> Description {
        let text = self.path.display().to_string();
        Description::new(
            "override",
            text,
            "what systemctl edit --full has made is in force in place of the unit",
        )
    }

    fn difference(&self, _: &Act, target: &Target) -> Vec<(char, String)> {
        difference::of_texts(files::read(target.tree(), &self.path).ok().flatten(), &self.unit)
            .unwrap_or_default()
    }

    fn apply(&self, _: &Act, _: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        Ok(())
    }
}
