//! Mode and owner of a file whose content stays as it is.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::action::{Act, Action, Description, Listener, Step};
use super::{access, file};
use crate::install::account::{self, Rights};
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::privileged::{Access, files};
use crate::install::target::Target;

/// Mends mode and owner.
#[derive(Debug)]
pub(in crate::install) struct MendRights {
    /// Where.
    path: PathBuf,
    /// What they shall be.
    rights: Rights,
    /// What they were, for the way back.
    before: Access,
}

impl MendRights {
    /// The step for a file whose rights are wrong.
    pub(in crate::install) fn plan(path: &Path, rights: Rights, before: Access) -> Step {
        Step::new(Act::Mend, Self { path: path.to_owned(), rights, before })
    }
}

impl Action for MendRights {
    fn description(&self, _: &Act, layout: &Layout) -> Description {
        let text = format!("{} {}", self.path.display(), self.rights.text(layout));
        Description::new("rights", text, file::reason(&self.path, layout))
    }

    fn describe(&self, layout: &Layout, data: &mut Map<String, Value>) {
        access::describe(&self.path, self.rights, layout, data);
    }

    fn is_on_disk(&self) -> bool {
        true
    }

    fn apply(&self, _: &Act, target: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        let wanted = account::access_of(target.tree(), target.layout(), &self.path, self.rights)?;
        files::set_access(target.tree(), &self.path, wanted)
    }

    fn revert(&self, _: &Act, target: &Target) -> Result<bool, Error> {
        files::set_access(target.tree(), &self.path, self.before).map(|()| true)
    }
}
