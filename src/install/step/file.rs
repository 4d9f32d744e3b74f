//! A file of the installation.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::access;
use super::action::{Act, Action, Description, Listener, Step};
use crate::install::account::{self, Rights};
use crate::install::assets::Content;
use crate::install::difference;
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::privileged::{Access, Digest, files, removal};
use crate::install::receipt::Entry;
use crate::install::target::Target;

/// Writes a file, or mends its mode and owner.
#[derive(Debug)]
pub(in crate::install) struct File {
    /// Where.
    path: PathBuf,
    /// What it shall hold.
    content: Content,
    /// The digest of that.
    sha256: Digest,
    /// The digest of what is there now, if we wrote it or may replace it.
    previous: Option<Digest>,
    /// Mode and owner.
    rights: Rights,
    /// Mode and owner before, for the way back.
    before: Option<Access>,
}

impl File {
    /// The step for a file that shall hold this, whatever is there now; what somebody else wrote is refused.
    pub(in crate::install) fn plan(
        target: &Target,
        path: &Path,
        content: Content,
        rights: Rights,
    ) -> Result<Step, Error> {
        let sha256 = content.digest()?;
        let found = existing(target, path)?;
        let act = match &found {
            None => Act::Create,
            Some((found, before)) if *found == sha256 => access::act(target, path, Some(*before), rights)?,
            Some(_) if target.known(|receipt| receipt.file(path).map(drop)).is_some() => Act::Replace,
            Some(_) => {
                let why = "`mcpeg install` did not write it";
                return Err(Error::Foreign { path: target.tree().outside(path), why });
            }
        };
        Self::with_act(act, path, content, rights, found)
    }

    /// The step with an act that was decided elsewhere; `found` is what [`existing`] found.
    pub(in crate::install) fn with_act(
        act: Act,
        path: &Path,
        content: Content,
        rights: Rights,
        found: Option<(Digest, Access)>,
    ) -> Result<Step, Error> {
        let (found, before) = found.unzip();
        let (path, sha256) = (path.to_owned(), content.digest()?);
        let previous = found.filter(|_| act == Act::Replace);
        Ok(Step::new(act, Self { path, content, sha256, previous, rights, before }))
    }
}

/// Digest, mode and owner of a plain file; `None` if nothing is there.
/// Fails with [`Error::Foreign`] for what is no plain file, and those of looking.
pub(in crate::install) fn existing(target: &Target, path: &Path) -> Result<Option<(Digest, Access)>, Error> {
    let tree = target.tree();
    let Some(found) = tree.look(path)? else { return Ok(None) };
    if !found.is_file() {
        return Err(Error::Foreign { path: tree.outside(path), why: "it is not a plain file" });
    }
    Ok(files::digest(tree, path)?.map(|digest| (digest, found.access())))
}

/// What a file of the installation is for.
pub(super) fn reason(path: &Path, layout: &Layout) -> &'static str {
    let is = |own: &Option<PathBuf>| own.as_deref() == Some(path);
    match path {
        path if path == layout.program => "this program, where every shell finds it",
        path if path == layout.unit_file => {
            "how systemd runs and confines the service; change it with systemctl edit"
        }
        path if layout.watcher.iter().flatten().any(|unit| unit == path) => {
            "has the gateway follow changes of the configuration"
        }
        _ if is(&layout.sysusers) => "declares the account to systemd-sysusers",
        _ if is(&layout.logrotate) => "has logrotate rotate the log, instead of mcpeg",
        _ if is(&layout.tmpfiles) => "makes the directories of the configuration where they are missing",
        path if path == layout.configuration => {
            "your configuration; never overwritten once you have edited it"
        }
        path if path == layout.configuration_new => {
            "the default has changed; yours stays, compare them when you like"
        }
        path if path.to_string_lossy().contains("/man/") => "the manual",
        path if path.ends_with("prometheus/mcpeg.rules.yml") => {
            "alerts, to be copied to where Prometheus reads them"
        }
        path if path.ends_with("grafana/mcpeg.json") => "a dashboard that Grafana can import",
        _ => "completion with TAB in your shell",
    }
}

impl Action for File {
    fn description(&self, _: &Act, layout: &Layout) -> Description {
        let text = format!("{} {}", self.path.display(), self.rights.text(layout));
        Description::new("file", text, reason(&self.path, layout))
    }

    fn describe(&self, layout: &Layout, data: &mut Map<String, Value>) {
        access::describe(&self.path, self.rights, layout, data);
        data.insert("sha256".to_owned(), json!(self.sha256.to_string()));
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn is_on_disk(&self) -> bool {
        true
    }

    fn difference(&self, act: &Act, target: &Target) -> Vec<(char, String)> {
        if *act != Act::Replace {
            return Vec::new();
        }
        difference::of_texts(files::read(target.tree(), &self.path).ok().flatten(), &self.content)
            .unwrap_or_default()
    }

    fn entry(&self, act: &Act, target: &Target) -> Option<Entry> {
        let written = target.receipt().and_then(|receipt| receipt.file(&self.path));
        if let (Act::Keep(_), Some(written)) = (act, written) {
            return Some(written.clone());
        }
        let existed = target.known(|receipt| {
            receipt.file(&self.path).map(|entry| matches!(entry, Entry::File { existed: true, .. }))
        });
        let existed = target.existed(existed, Some(&self.path), *act == Act::Create) && *act != Act::Replace;
        Some(Entry::File {
            path: self.path.clone(),
            existed,
            sha256: self.sha256.clone(),
            previous: self.previous.clone(),
            mode: self.rights.mode(),
            owner: self.rights.owner(),
        })
    }

    fn apply(&self, act: &Act, target: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        let wanted = || account::access_of(target.tree(), target.layout(), &self.path, self.rights);
        match act {
            Act::Mend => files::set_access(target.tree(), &self.path, wanted()?),
            _ => {
                files::write(target.tree(), &self.path, self.content.open()?, wanted()?, *act == Act::Replace)
            }
        }
    }

    fn revert(&self, act: &Act, target: &Target) -> Result<bool, Error> {
        let (tree, path) = (target.tree(), &self.path);
        match (act, self.before) {
            (Act::Create, _) => {
                if files::digest(tree, path)?.as_ref() == Some(&self.sha256) {
                    removal::remove_file(tree, path)?;
                }
                files::tidy(tree, path)?;
            }
            (Act::Replace, _) => files::put_back(tree, path).and_then(|()| files::tidy(tree, path))?,
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
    fn each_file_has_a_reason_of_its_kind() {
        let layout = Layout::production("mcpeg", &Choices::default_of("mcpeg"));
        for path in layout.files() {
            let reason = reason(path, &layout);
            let completion =
                path.to_str().is_some_and(|path| path.contains("completion") || path.contains("zsh"));
            assert_eq!(reason.contains("TAB"), completion, "{}: {reason}", path.display());
        }
    }
}
