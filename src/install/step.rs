//! The closed list of what an installation can do: each step with its act and its way back.
//!
//! A step knows what was there when the plan was made ([`Act`]), so that reverting it restores exactly that. Reverting is
//! possible at any point of the act, also when it was never begun.

use std::path::{Path, PathBuf};

use super::account::{self, Rights};
use super::assets::Content;
use super::difference;
use super::error::Error;
use super::layout::Layout;
use super::privileged::{Access, Digest, exec};
use super::receipt::{Entry, Receipt};
use super::service;
use super::target::Target;
use super::verify;

/// What a step does to its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Makes what is missing.
    Create,
    /// Writes a new content over one that we wrote, or that drifted from it.
    Replace,
    /// Mends mode and owner only.
    Mend,
    /// Nothing: it is as it should be.
    Same,
    /// Nothing: it is somebody's, for this reason.
    Keep(&'static str),
}

/// One step of a plan.
#[derive(Debug)]
pub struct Step {
    /// What is done.
    pub(super) act: Act,
    /// To what.
    pub(super) object: Object,
}

/// What steps work on.
#[derive(Debug)]
pub(super) enum Object {
    /// A directory.
    Directory {
        /// Where.
        path: PathBuf,
        /// Mode and owner.
        rights: Rights,
        /// Mode and owner before, for the way back.
        before: Option<Access>,
    },
    /// A file.
    File {
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
    },
    /// Mode and owner of a file whose content stays as it is.
    Rights {
        /// Where.
        path: PathBuf,
        /// What they shall be.
        rights: Rights,
        /// What they were, for the way back.
        before: Access,
    },
    /// What is in force in place of the unit, which is the administrator's.
    Shadow {
        /// Where it is.
        path: PathBuf,
        /// The unit that it hides.
        unit: Content,
    },
    /// The account that the service runs under.
    Account,
    /// The `SELinux` contexts of these files.
    Contexts(Vec<PathBuf>),
    /// The mask that the removal of a package has left, and what deb-systemd-helper(1) has noted of it.
    Unmask([PathBuf; 2]),
    /// What systemd knows of its unit files.
    Reload,
    /// The start at boot.
    Enable,
    /// The running service; [`Act::Replace`] is a restart.
    Start,
    /// The process of the running service, exchanged for one of the new program or configuration without losing a
    /// request.
    Upgrade,
    /// The proof that it works.
    Probe,
}

impl Step {
    /// Whether the step changes anything.
    #[must_use]
    pub const fn acts(&self) -> bool {
        matches!(self.act, Act::Create | Act::Replace | Act::Mend)
    }

    /// Whether the step finds everything as it should be.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.act == Act::Same
    }

    /// Why the step leaves alone what is there.
    #[must_use]
    pub const fn kept_because(&self) -> Option<&'static str> {
        match self.act {
            Act::Keep(why) => Some(why),
            _ => None,
        }
    }

    /// Whether there is a way back of the step's own. The account stays on purpose: its number must not be given to
    /// anybody else while files of it may exist.
    pub(super) const fn reverts(&self) -> bool {
        self.acts()
            && matches!(
                self.object,
                Object::Directory { .. }
                    | Object::File { .. }
                    | Object::Unmask(_)
                    | Object::Rights { .. }
                    | Object::Enable
                    | Object::Start
            )
    }

    /// The sign before the step in a plan: `+`, `~` or `=`; `>` for a program that is run.
    #[must_use]
    pub const fn mark(&self) -> char {
        match (&self.object, &self.act) {
            (_, Act::Same | Act::Keep(_)) => '=',
            (Object::Directory { .. } | Object::File { .. } | Object::Account, Act::Create) => '+',
            (Object::Directory { .. } | Object::File { .. } | Object::Rights { .. } | Object::Account, _) => {
                '~'
            }
            _ => '>',
        }
    }

    /// The receipt's entry, if the step makes something lasting.
    pub(super) fn entry(&self, target: &Target) -> Option<Entry> {
        let earlier = target.receipt.as_ref();
        // What another instance has made is not somebody else's.
        let known = |what: &dyn Fn(&Receipt) -> Option<bool>| {
            let siblings = target.siblings.iter().map(|(_, receipt)| receipt);
            earlier.and_then(what).or_else(|| siblings.filter_map(what).min())
        };
        let is_own = |path: &Path| {
            let others = [&target.layout.configuration, &target.layout.state];
            target.layout.is_own_directory(path) || others.iter().any(|own| *own == path)
        };
        // What is taken over from a package, or what a removed one has left, becomes the installation's; so does a directory
        // that is there for it to fill, such as a mount point.
        let taken = target.takes_over();
        let prepared =
            |path: &Path| is_own(path) && target.tree.names(path).is_ok_and(|names| names.is_empty());
        let made = |known: Option<bool>, path: Option<&Path>| {
            let ours = path.map_or(taken, |path| taken && is_own(path));
            !ours && known.unwrap_or_else(|| self.act != Act::Create && !path.is_some_and(prepared))
        };
        match &self.object {
            Object::Directory { path, .. } => Some(Entry::Directory {
                path: path.clone(),
                existed: made(known(&|receipt| receipt.directory(path)), Some(path)),
            }),
            Object::File { path, sha256, previous, rights, .. } => {
                let written = earlier.and_then(|receipt| receipt.file(path));
                if let (Act::Keep(_), Some(written)) = (&self.act, written) {
                    return Some(written.clone());
                }
                let existed = known(&|receipt| {
                    receipt.file(path).map(|entry| matches!(entry, Entry::File { existed: true, .. }))
                });
                Some(Entry::File {
                    path: path.clone(),
                    existed: made(existed, Some(path)) && self.act != Act::Replace,
                    sha256: sha256.clone(),
                    previous: previous.clone(),
                    mode: rights.mode,
                    owner: rights.owner,
                })
            }
            Object::Account => Some(Entry::Account { existed: self.act != Act::Create }),
            Object::Enable => {
                Some(Entry::Enabled { existed: made(earlier.and_then(Receipt::enabled), None) })
            }
            Object::Unmask(_) => Some(Entry::Unmasked),
            Object::Rights { .. }
            | Object::Shadow { .. }
            | Object::Contexts(_)
            | Object::Reload
            | Object::Start
            | Object::Upgrade
            | Object::Probe => None,
        }
    }

    /// Carries the step out; `waits` hears what systemd waits for, if that takes long.
    ///
    /// # Errors
    /// Those of the act.
    pub(super) fn apply(&self, target: &Target, waits: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let tree = &target.tree;
        match (&self.object, &self.act) {
            (_, Act::Same | Act::Keep(_)) | (Object::Shadow { .. }, _) => Ok(()),
            (Object::Directory { path, rights, .. }, _) => {
                tree.make_directory(path, account::access_of(tree, &target.layout, path, *rights)?)
            }
            (Object::File { path, rights, .. }, Act::Mend) | (Object::Rights { path, rights, .. }, _) => {
                tree.set_access(path, account::access_of(tree, &target.layout, path, *rights)?)
            }
            (Object::File { path, content, rights, .. }, act) => tree.write(
                path,
                content.open()?,
                account::access_of(tree, &target.layout, path, *rights)?,
                *act == Act::Replace,
            ),
            (Object::Account, _) => account::create(tree, &target.layout),
            (Object::Contexts(paths), _) => {
                let paths: Vec<_> = paths.iter().filter_map(|path| path.to_str()).collect();
                Ok(exec::run("restorecon", &[&["-F"], &paths[..]].concat()).map(drop)?)
            }
            (Object::Unmask(files), _) => files.iter().try_for_each(|file| tree.remove_file(file)),
            (Object::Reload, _) => service::reload(&target.layout),
            (Object::Enable, _) => service::enable(target),
            (Object::Start, Act::Replace) => service::restart(&target.layout, waits),
            (Object::Start, _) => service::start(&target.layout, waits),
            (Object::Upgrade, _) => service::upgrade(&target.layout, waits),
            (Object::Probe, _) => verify::service(target).map(drop),
        }
    }

    /// Restores what was there before [`Step::apply`], however far that came.
    ///
    /// # Errors
    /// Those of the way back.
    pub(super) fn revert(&self, target: &Target) -> Result<(), Error> {
        let tree = &target.tree;
        match (&self.object, &self.act) {
            (_, Act::Same | Act::Keep(_)) => Ok(()),
            (Object::Directory { path, .. }, Act::Create) => {
                if target.layout.is_own_directory(path) {
                    tree.remove_tree(path)
                } else {
                    tree.remove_directory(path).map(drop)
                }
            }
            (Object::File { path, sha256, .. }, Act::Create) => {
                if tree.digest(path)?.as_ref() == Some(sha256) {
                    tree.remove_file(path)?;
                }
                tree.tidy(path)
            }
            (Object::File { path, .. }, Act::Replace) => tree.put_back(path).and_then(|()| tree.tidy(path)),
            (
                Object::Directory { path, before: Some(access), .. }
                | Object::File { path, before: Some(access), .. }
                | Object::Rights { path, before: access, .. },
                _,
            ) => tree.set_access(path, *access),
            (Object::Unmask(files), _) => service::mask_again(target, files),
            (Object::Enable, _) => service::disable(target),
            (Object::Start, Act::Create) => service::stop(&target.layout),
            _ => Ok(()),
        }
    }

    /// The file or directory that the step makes or writes.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.object {
            Object::Directory { path, .. } | Object::File { path, .. } => Some(path),
            _ => None,
        }
    }
}

impl Step {
    /// The step for programs.
    #[must_use]
    pub fn data(&self, layout: &Layout) -> serde_json::Value {
        let act = match self.act {
            Act::Create => "create",
            Act::Replace => "replace",
            Act::Mend => "mend",
            Act::Same => "same",
            Act::Keep(_) => "keep",
        };
        let object = match self.object {
            Object::Directory { .. } => "directory",
            Object::File { .. } => "file",
            Object::Rights { .. } => "rights",
            Object::Shadow { .. } => "override",
            Object::Account => "account",
            Object::Contexts(_) => "contexts",
            Object::Unmask(_) => "unmask",
            Object::Reload => "daemon-reload",
            Object::Enable => "enable",
            Object::Start => "start",
            Object::Upgrade => "upgrade",
            Object::Probe => "probe",
        };
        let mut data = serde_json::json!({ "act": act, "object": object, "text": self.shown(layout) });
        if let Object::Directory { path, rights, .. }
        | Object::File { path, rights, .. }
        | Object::Rights { path, rights, .. } = &self.object
        {
            data["path"] = path.to_string_lossy().into();
            data["mode"] = format!("{:04o}", rights.mode).into();
            data["owner"] = rights.owner.name(layout).into();
        }
        if let Object::File { sha256, .. } = &self.object {
            data["sha256"] = sha256.to_string().into();
        }
        if let Act::Keep(why) = self.act {
            data["kept"] = why.into();
        }
        data
    }

    /// The lines of a text that the step changes, each with its mark; empty where there is nothing to show.
    #[must_use]
    pub fn difference(&self, target: &Target) -> Vec<(char, String)> {
        if let Object::Shadow { path, unit } = &self.object {
            return difference::of_texts(target.tree.read(path).ok().flatten(), unit).unwrap_or_default();
        }
        let Object::File { path, content, .. } = &self.object else { return Vec::new() };
        if self.act != Act::Replace {
            return Vec::new();
        }
        difference::of_texts(target.tree.read(path).ok().flatten(), content).unwrap_or_default()
    }

    /// The step in words.
    #[must_use]
    pub fn shown(&self, layout: &Layout) -> String {
        let systemctl = |verb: &str| format!("{} {verb} {}", layout.systemctl(), layout.unit);
        let text = match &self.object {
            Object::Shadow { path, .. } => path.display().to_string(),
            Object::Directory { path, rights, .. }
            | Object::File { path, rights, .. }
            | Object::Rights { path, rights, .. } => {
                let slash = if matches!(self.object, Object::Directory { .. }) { "/" } else { "" };
                format!("{}{slash} ({:04o} {})", path.display(), rights.mode, rights.owner.name(layout))
            }
            Object::Account => format!("account {}", layout.user),
            Object::Contexts(_) => "restorecon -F (the files above)".to_owned(),
            Object::Unmask(_) => {
                format!("{} (the removal of a package has left it masked)", systemctl("unmask"))
            }
            Object::Reload => format!("{} daemon-reload", layout.systemctl()),
            Object::Enable => systemctl("enable"),
            Object::Start if self.act == Act::Replace => systemctl("restart"),
            Object::Start => systemctl("start"),
            Object::Upgrade => format!("{} --restart, without losing a request", layout.program.display()),
            Object::Probe => "probe the endpoint with a real request".to_owned(),
        };
        match self.act {
            Act::Keep(why) => format!("{text}: kept, {why}"),
            _ => text,
        }
    }
}
