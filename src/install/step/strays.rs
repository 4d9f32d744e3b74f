//! What root has left behind that the service must write: somebody has started mcpeg by hand, or rotated its log. The service
//! could not start any more, and systemd gives files to its user only where their directory belongs to another.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::access;
use super::action::{Act, Action, Description, Listener, Step};
use crate::install::account::{self, Owner, Rights};
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::privileged::{Access, files};
use crate::install::target::Target;

/// The ends of names of run-time files.
const RUN_TIME: [&str; 3] = ["pid", "lock", "sessions"];

/// Gives a file to the service.
#[derive(Debug)]
struct GiveBack {
    /// Where.
    path: PathBuf,
    /// Its mode, and the service.
    rights: Rights,
    /// Mode and owner before, for the way back.
    before: Access,
}

/// The steps that give the service its files back; none for one that a user runs, or whose account is not there yet.
pub(in crate::install) fn plan(target: &Target) -> Vec<Step> {
    if target.layout().is_users() || !target.tree().is_host() {
        return Vec::new();
    }
    let give_back = |path: PathBuf| {
        let found = target.tree().look(&path).ok().flatten()?;
        if !found.is_file() || found.access().uid() != 0 {
            return None;
        }
        let rights = Rights::new(found.access().mode(), Owner::Service);
        Some(Step::new(Act::Mend, GiveBack { path, rights, before: found.access() }))
    };
    candidates(target).into_iter().filter_map(give_back).collect()
}

/// The run-time files, the log and its lock; what was rotated is not written any more.
fn candidates(target: &Target) -> Vec<PathBuf> {
    let layout = target.layout();
    let mut paths: Vec<PathBuf> = RUN_TIME.iter().map(|end| layout.pid_file.with_extension(end)).collect();
    paths.extend(layout.home.as_ref().map(|home| home.join("mcpeg.sessions")));
    if let Some(logs) = &layout.logs {
        paths.extend(["mcpeg.log", ".mcpeg.log.lock"].map(|name| logs.join(name)));
    }
    paths
}

impl Action for GiveBack {
    fn description(&self, _: &Act, layout: &Layout) -> Description {
        let text = format!("{} {}", self.path.display(), self.rights.text(layout));
        Description::new("rights", text, "root has left it behind, and the service must write it")
    }

    fn describe(&self, layout: &Layout, data: &mut Map<String, Value>) {
        access::describe(&self.path, self.rights, layout, data);
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn is_on_disk(&self) -> bool {
        true
    }

    fn apply(&self, _: &Act, target: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        let to = account::access(target.tree(), target.layout(), self.rights)?;
        files::give_away(target.tree(), &self.path, to)
    }

    fn revert(&self, _: &Act, target: &Target) -> Result<bool, Error> {
        files::set_access(target.tree(), &self.path, self.before).map(|()| true)
    }
}
