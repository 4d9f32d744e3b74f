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
    /// Whether root has left the file behind in a directory of the service's.
    is_stray: bool,
}

impl MendRights {
    /// The step for a file whose rights are wrong.
    pub(in crate::install) fn plan(path: &Path, rights: Rights, before: Access) -> Step {
        Step::new(Act::Mend, Self { path: path.to_owned(), rights, before, is_stray: false })
    }

    /// The step for a file that root has left behind.
    pub(super) fn give_back(path: PathBuf, rights: Rights, before: Access) -> Step {
        Step::new(Act::Mend, Self { path, rights, before, is_stray: true })
    }
}

impl Action for MendRights {
    fn description(&self, _: &Act, layout: &Layout) -> Description {
        let text = format!("{} {}", self.path.display(), self.rights.text(layout));
        let stray = "root has left it behind, and the service must write it";
        Description::new("rights", text, if self.is_stray { stray } else { file::reason(&self.path, layout) })
    }

    fn describe(&self, layout: &Layout, data: &mut Map<String, Value>) {
        access::describe(&self.path, self.rights, layout, data);
    }

    fn path(&self) -> Option<&Path> {
        self.is_stray.then_some(&self.path)
    }

    fn is_on_disk(&self) -> bool {
        true
    }

    fn apply(&self, _: &Act, target: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        let (tree, layout) = (target.tree(), target.layout());
        if self.is_stray {
            return files::give_away(tree, &self.path, account::access(tree, layout, self.rights)?);
        }
        files::set_access(tree, &self.path, account::access_of(tree, layout, &self.path, self.rights)?)
    }

    fn revert(&self, _: &Act, target: &Target) -> Result<bool, Error> {
        files::set_access(target.tree(), &self.path, self.before).map(|()| true)
    }
}
