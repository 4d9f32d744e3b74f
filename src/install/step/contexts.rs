//! The `SELinux` contexts of files that were written.

use std::path::{Path, PathBuf};

use super::action::{Act, Action, Description, Listener, Step};
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::privileged::exec;
use crate::install::target::Target;

/// Sets the contexts of these files.
#[derive(Debug)]
pub(in crate::install) struct Contexts(Vec<PathBuf>);

impl Contexts {
    /// The step for files that are written, where there are contexts.
    pub(in crate::install) fn plan(target: &Target, written: &[PathBuf]) -> Option<Step> {
        let selinux = target.tree().is_host()
            && !target.layout().is_users()
            && Path::new("/sys/fs/selinux/enforce").exists();
        let sets = selinux && exec::find("restorecon").is_some() && !written.is_empty();
        sets.then(|| Step::new(Act::Create, Self(written.to_vec())))
    }
}

impl Action for Contexts {
    fn description(&self, _: &Act, _: &Layout) -> Description {
        let text = "restorecon -F (the files above)".to_owned();
        Description::new("contexts", text, "SELinux must know the new files")
    }

    fn apply(&self, _: &Act, _: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        let paths: Vec<_> = self.0.iter().filter_map(|path| path.to_str()).collect();
        exec::run("restorecon", &[&["-F"], &paths[..]].concat())?;
        Ok(())
    }
}
