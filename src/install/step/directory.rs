//! A directory of the installation, or one above a file of it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::access;
use super::action::{Act, Action, Description, Listener, Step};
use crate::install::account::{self, Owner, Rights};
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::privileged::{Access, files, removal};
use crate::install::receipt::Entry;
use crate::install::service;
use crate::install::target::Target;

/// Makes a directory, or mends its mode and owner.
#[derive(Debug)]
pub(in crate::install) struct Directory {
    /// Where.
    path: PathBuf,
    /// Mode and owner.
    rights: Rights,
    /// Mode and owner before, for the way back.
    before: Option<Access>,
}

impl Directory {
    /// The step for one directory; `None` for those that appear with the receipt, before the first step. Directories that were
    /// there before keep their mode and owner. Those that systemd sees to (systemd.exec(5) `StateDirectory=`) shall have
    /// what it would give them at the next start.
    pub(in crate::install) fn plan(
        target: &Target,
        path: PathBuf,
        mut rights: Rights,
    ) -> Result<Option<Step>, Error> {
        let link = matches!(target.tree().look(&path), Ok(Some(found)) if found.is_link());
        let found = match target.tree().look_through(&path) {
            // Without root the plan cannot look below /etc/mcpeg; what the receipt says is there, is there.
            Err(error) if error.is_permission_denied() => {
                let act = Act::Keep("only root can look at it");
                return Ok(Some(Step::new(act, Self { path, rights, before: None })));
            }
            other => other?,
        };
        let ours = target.receipt().and_then(|receipt| receipt.directory(&path)) == Some(false);
        let before = found.map(|found| found.access());
        let act = match found {
            None if target.layout().state.starts_with(&path) => return Ok(None),
            None => Act::Create,
            Some(found) if !found.is_directory() => {
                return Err(Error::NotADirectory(target.tree().outside(&path)));
            }
            // The administrator has put it elsewhere, and sees to what is there.
            Some(_) if link => Act::Same,
            Some(_) if rights.owner() == Owner::Service => {
                rights = in_force(target, &path, rights, before);
                access::act(target, &path, before, rights)?
            }
            Some(_) if !ours => Act::Same,
            Some(_) => access::act(target, &path, before, rights)?,
        };
        Ok(Some(Step::new(act, Self { path, rights, before })))
    }
}

/// The rights of a directory of the service: a drop-in may have given it another mode, which systemd knows.
fn in_force(target: &Target, path: &Path, rights: Rights, before: Option<Access>) -> Rights {
    let Layout { home, logs, cache, .. } = target.layout();
    let same = before.is_none_or(|before| before.mode() == rights.mode());
    let kind = [(home, "StateDirectoryMode"), (logs, "LogsDirectoryMode"), (cache, "CacheDirectoryMode")];
    let kind = kind.into_iter().find(|(directory, _)| directory.as_deref() == Some(path));
    let Some((_, name)) = kind.filter(|_| !same && target.is_booted()) else { return rights };
    if service::property(target.layout(), "LoadState") != "loaded" {
        return rights;
    }
    let mode = u32::from_str_radix(&service::property(target.layout(), name), 8);
    Rights::new(mode.unwrap_or(rights.mode()), rights.owner())
}

impl Action for Directory {
    fn description(&self, _: &Act, layout: &Layout) -> Description {
        let text = format!("{}/ {}", self.path.display(), self.rights.text(layout));
        let is = |own: &Option<PathBuf>| own.as_ref() == Some(&self.path);
        let reason = match &self.path {
            path if *path == layout.configuration_directory => {
                "the configuration, for root and the service only"
            }
            path if *path == layout.drop_ins => "one file for each upstream, if you like",
            _ if is(&layout.home) => "the home of the service and its upstreams",
            _ if is(&layout.logs) => "the service's log files",
            _ if is(&layout.cache) => "what upstreams download (npm, uv)",
            _ => "it will hold a file below",
        };
        Description::new("directory", text, reason)
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

    fn entry(&self, act: &Act, target: &Target) -> Option<Entry> {
        let known = target.known(|receipt| receipt.directory(&self.path));
        let existed = target.existed(known, Some(&self.path), *act == Act::Create);
        Some(Entry::Directory { path: self.path.clone(), existed })
    }

    fn apply(&self, _: &Act, target: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        let access = account::access_of(target.tree(), target.layout(), &self.path, self.rights)?;
        files::make_directory(target.tree(), &self.path, access)
    }

    fn revert(&self, act: &Act, target: &Target) -> Result<bool, Error> {
        let (tree, path) = (target.tree(), &self.path);
        match (act, self.before) {
            (Act::Create, _) if target.layout().is_own_directory(path) => removal::remove_tree(tree, path)?,
            (Act::Create, _) => removal::remove_directory(tree, path).map(drop)?,
            (_, Some(access)) => files::set_access(tree, path, access)?,
            (_, None) => {}
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::choices::Choices;

    #[test]
    fn each_directory_of_ours_has_a_reason_of_its_own() {
        let layout = Layout::production("mcpeg", &Choices::default_of("mcpeg"));
        let reason = |path: &Path| {
            let rights = Rights::new(0, Owner::Root);
            Step::new(Act::Same, Directory { path: path.to_owned(), rights, before: None }).reason(&layout)
        };
        for path in layout.own_directories() {
            assert_ne!(reason(path), reason(Path::new("/usr")), "{}", path.display());
        }
    }
}
