//! What root has left behind that the service must write: somebody has started mcpeg by hand, or rotated its log. The service
//! could not start any more, and systemd gives files to its user only where their directory belongs to another.

use std::path::PathBuf;

use super::action::Step;
use super::rights::MendRights;
use crate::install::account::{Owner, Rights};
use crate::install::target::Target;

/// The ends of names of run-time files.
const RUN_TIME: [&str; 3] = ["pid", "lock", "sessions"];

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
        Some(MendRights::give_back(path, rights, found.access()))
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
