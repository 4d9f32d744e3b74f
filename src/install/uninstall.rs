//! Taking an installation back, from its receipt.
//!
//! Order: the service stops and is disabled while its unit is still there; files go before the directories that hold
//! them; the receipt goes last, so that a killed uninstallation can be run again. A file whose content is none that we
//! wrote stays, and so does what was there before.

use std::path::PathBuf;

use super::checks;
use super::error::Error;
use super::layout::Layout;
use super::privileged::Emptied;
use super::receipt::{self, Entry, Receipt, State};
use super::service;
use super::target::Target;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct UninstallOptions {
    /// Whether configuration, state, logs and cache go too.
    pub purge: bool,
}

/// Something that stays, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What.
    pub what: String,
    /// Why.
    pub why: &'static str,
}

/// One act of an uninstallation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Stops the service.
    Stop,
    /// Removes the link that starts it at boot.
    Disable,
    /// Removes a file.
    File(PathBuf),
    /// Removes a directory with everything in it.
    Tree(PathBuf),
    /// Removes a directory if nothing is in it.
    Directory(PathBuf),
    /// Has systemd forget the unit.
    Reload,
    /// Removes the receipt.
    Receipt,
}

/// The acts of an uninstallation, in order, and what stays.
#[derive(Debug)]
pub struct RemovalPlan {
    /// See [`Removal`].
    pub acts: Vec<Removal>,
    /// See [`Kept`].
    pub kept: Vec<Kept>,
}

impl Removal {
    /// The act in words.
    #[must_use]
    pub fn shown(&self, layout: &Layout) -> String {
        let systemctl = layout.systemctl();
        match self {
            Self::Stop => format!("> {systemctl} stop {}", layout.unit),
            Self::Disable => format!("> {systemctl} disable {}", layout.unit),
            Self::File(path) => format!("- {}", path.display()),
            Self::Tree(path) => format!("- {}/ with everything in it", path.display()),
            Self::Directory(path) => format!("- {}/ if empty", path.display()),
            Self::Reload => format!("> {systemctl} daemon-reload"),
            Self::Receipt => format!("- {}", layout.receipt.display()),
        }
    }
}

impl RemovalPlan {
    /// Says what would be removed, from the receipt and what is on the disk.
    ///
    /// # Errors
    /// [`Error::Packaged`], [`Error::NothingInstalled`], and those of looking.
    pub fn new(target: &Target, options: UninstallOptions) -> Result<Self, Error> {
        let Some(receipt) = &target.receipt else {
            if !target.layout.is_users() {
                checks::packaged(target)?;
            }
            if receipt::is_untidy(&target.tree, &target.layout)? {
                return Ok(Self { acts: vec![Removal::Receipt], kept: Vec::new() });
            }
            return Err(Error::NothingInstalled);
        };
        if receipt.state == State::Removed && !options.purge {
            return Err(Error::NothingInstalled);
        }
        let mut plan = Self { acts: Vec::new(), kept: Vec::new() };
        if target.booted {
            plan.acts.push(Removal::Stop);
        }
        let unit = target.tree.look(&target.layout.unit_file)?.is_some();
        if receipt.enabled() == Some(false) && unit && target.tree.look(&target.layout.wants_link)?.is_some()
        {
            plan.acts.push(Removal::Disable);
        }
        for entry in receipt.entries.iter().rev() {
            plan.entry(target, entry, options)?;
        }
        if target.booted {
            plan.acts.push(Removal::Reload);
        }
        plan.directories(&target.layout, receipt, options);
        if options.purge {
            plan.acts.push(Removal::Receipt);
        }
        Ok(plan)
    }

    /// Files and the account.
    fn entry(&mut self, target: &Target, entry: &Entry, options: UninstallOptions) -> Result<(), Error> {
        let mut keep = |what: String, why| self.kept.push(Kept { what, why });
        match entry {
            Entry::Account { .. } => {
                keep(
                    format!("account {}", target.layout.user),
                    "its number must not be given to anybody else",
                );
            }
            Entry::File { path, existed, sha256, previous, .. } => {
                let Some(found) = target.tree.look(path)? else { return Ok(()) };
                let configuration = *path == target.layout.configuration;
                let shared = target
                    .siblings
                    .iter()
                    .any(|(_, sibling)| sibling.state != State::Removed && sibling.file(path).is_some());
                let digest = if found.is_file() { target.tree.digest(path)? } else { None };
                let ours =
                    digest.is_some_and(|digest| digest == *sha256 || previous.as_ref() == Some(&digest));
                let name = path.display().to_string();
                if shared {
                    keep(name, "another instance uses it");
                } else if *existed {
                    keep(name, "it was there before mcpeg");
                } else if configuration && !options.purge {
                    keep(
                        name,
                        if ours {
                            "configuration; --purge removes it"
                        } else {
                            "edited configuration; --purge removes it"
                        },
                    );
                } else if ours || configuration {
                    self.acts.push(Removal::File(path.clone()));
                } else {
                    keep(name, "its content is not what `mcpeg install` wrote");
                }
            }
            Entry::Directory { .. } | Entry::Enabled { .. } => {}
        }
        Ok(())
    }

    /// Directories, deepest first.
    fn directories(&mut self, layout: &Layout, receipt: &Receipt, options: UninstallOptions) {
        let mut directories: Vec<_> = receipt
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Directory { path, existed: false } => Some(path),
                _ => None,
            })
            .filter(|path| !layout.state.starts_with(path))
            .collect();
        directories.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for path in directories {
            let whole = layout.is_own_directory(path);
            match (whole, options.purge) {
                (true, true) => self.acts.push(Removal::Tree(path.clone())),
                (true, false) => {
                    self.kept.push(Kept { what: path.display().to_string(), why: "--purge removes it" });
                }
                (false, _) => self.acts.push(Removal::Directory(path.clone())),
            }
        }
    }
}

/// Carries the removal out and says what stays beyond the plan. Run again after a failure, it goes on.
///
/// # Errors
/// [`Error::Busy`], and those of the acts.
pub fn carry_out(
    target: &Target,
    plan: &RemovalPlan,
    report: &mut dyn FnMut(&Removal),
) -> Result<Vec<Kept>, Error> {
    let _lock = target.lock()?;
    if Receipt::read(&target.tree, &target.layout.receipt)? != target.receipt {
        return Err(Error::Busy);
    }
    receipt::tidy(&target.tree, &target.layout)?;
    let Some(mut receipt) = target.receipt.clone() else { return Ok(Vec::new()) };
    receipt.state = State::Removing;
    receipt.save_shorter(target)?;
    for path in target.layout.files() {
        target.tree.tidy(path)?;
    }
    let mut kept = Vec::new();
    for act in &plan.acts {
        remove(target, act, &receipt, &mut kept)?;
        report(act);
    }
    if !plan.acts.contains(&Removal::Receipt) {
        let mut left = Vec::new();
        for entry in receipt.entries {
            let gone = match entry.path() {
                Some(path) => target.tree.look(path)?.is_none(),
                None => matches!(entry, Entry::Enabled { .. }),
            };
            if !gone {
                left.push(entry);
            }
        }
        receipt.entries = left;
        receipt.state = State::Removed;
        receipt.save_shorter(target)?;
    }
    Ok(kept)
}

/// One act.
fn remove(target: &Target, act: &Removal, receipt: &Receipt, kept: &mut Vec<Kept>) -> Result<(), Error> {
    match act {
        Removal::Stop => service::stop(&target.layout),
        Removal::Disable => service::disable(target),
        Removal::File(path) => target.tree.remove_file(path),
        Removal::Tree(path) => target.tree.remove_tree(path),
        Removal::Directory(path) => {
            if target.tree.remove_directory(path)? == Emptied::NotEmpty {
                kept.push(Kept { what: path.display().to_string(), why: "other files are in it" });
            }
            Ok(())
        }
        Removal::Reload => service::reload(&target.layout),
        Removal::Receipt => receipt.destroy(target),
    }
}
