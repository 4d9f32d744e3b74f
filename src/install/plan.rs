//! The plan of an installation: what is there is compared with what shall be, without any effect.
//!
//! The order of the steps: the account's declaration and the account, because directories and files belong to it;
//! directories before what lies in them; the unit last of the files; then systemd, and at the end the proof.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::account::{self, Owner, Rights};
use super::assets::{self, Content, Units};
use super::error::Error;
use super::layout::{self, Layout};
use super::privileged::{Access, Digest, exec};
use super::receipt::State;
use super::shadow::{self, Shadow};
use super::step::{Act, Object, Step};
use super::target::Target;
use super::{checks, configuration, service, situation};
use crate::render::Confinement;

/// Why nothing is done with a service that nobody may start.
const MASKED: &str = "the unit is masked, and `systemctl unmask` lets it start";

/// What the operator asked for.
#[derive(Clone, Debug, Default)]
pub struct InstallOptions {
    /// Whether the service shall be started.
    pub start: bool,
    /// The file to install as configuration; `None` is the default one.
    pub configuration: Option<PathBuf>,
}

/// The steps of an installation, in order.
#[derive(Debug)]
pub struct Plan {
    /// See [`Step`].
    pub steps: Vec<Step>,
    /// The digest of this version's default configuration.
    pub(super) default_configuration: Digest,
    /// How the unit is confined.
    pub(super) confinement: Confinement,
}

/// Makes a plan.
pub(super) struct Planner<'a> {
    /// On what.
    pub(super) target: &'a Target,
    /// The steps so far.
    steps: Vec<Step>,
    /// Directories that have their step.
    directories: BTreeSet<PathBuf>,
    /// What systemd reads in place of the unit.
    shadow: Option<Shadow>,
}

impl Plan {
    /// Compares the target with what an installation makes of it.
    ///
    /// # Errors
    /// The refusals of `checks`, [`Error::Foreign`], and those of looking.
    pub fn of_install(target: &Target, options: &InstallOptions) -> Result<Self, Error> {
        if !target.layout.is_users() {
            situation::before_install(target)?;
        }
        checks::before_install(target, options.start)?;
        if let Some(file) = &options.configuration {
            configuration::check(target, file)?;
        }
        let needs = configuration::needs(target, options);
        if options.start && !service::is_active(&target.layout)? {
            checks::free(&needs.listen)?;
        }
        if options.start {
            checks::reachable(target, &needs.listen)?;
        }
        let units = assets::render(&target.layout, &target.choices.listen, needs.confinement)?;
        let default_configuration = text(units.configuration.clone()).digest()?;
        let shadow = shadow::find(&target.tree, &target.layout)?;
        let mut planner = Planner { target, steps: Vec::new(), directories: BTreeSet::new(), shadow };
        planner.files(units, options)?;
        planner.systemd(options)?;
        let steps = planner.steps;
        let starts = |step: &Step| step.acts() && matches!(step.object, Object::Start | Object::Upgrade);
        let writes = |step: &Step| step.acts() && step.path() == Some(&target.layout.configuration);
        if steps.iter().any(starts) && !steps.iter().any(writes) {
            configuration::check_installed(target)?;
        }
        Ok(Self { steps, default_configuration, confinement: needs.confinement })
    }

    /// Whether the program's file is exchanged, which other instances use too.
    #[must_use]
    pub fn writes_program(&self, target: &Target) -> bool {
        let program = target.layout.program.as_path();
        self.steps.iter().any(|step| step.act == Act::Replace && step.path() == Some(program))
    }

    /// Whether any step changes anything.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.steps.iter().any(|step| step.acts() && !matches!(step.object, Object::Probe))
    }
}

impl Planner<'_> {
    /// Account, directories and files.
    fn files(&mut self, units: Units, options: &InstallOptions) -> Result<(), Error> {
        let layout = &self.target.layout;
        let root = |mode| Rights { mode, owner: Owner::Root };
        if let Some(sysusers) = &layout.sysusers {
            self.file(sysusers, text(units.sysusers), root(0o644))?;
            // systemd-sysusers writes below /etc, which an image may lack.
            self.directories_above(&layout.configuration_directory)?;
            let there = account::find(&self.target.tree, layout)?.is_some();
            self.push(if there { Act::Same } else { Act::Create }, Object::Account);
        }
        for directory in [&layout.configuration_directory, &layout.drop_ins] {
            self.directory(directory, Rights { mode: 0o750, owner: Owner::Readable })?;
        }
        for directory in layout.home.iter().chain(&layout.logs).chain(&layout.cache) {
            self.directory(directory, Rights { mode: 0o750, owner: Owner::Service })?;
        }
        self.configuration(options.configuration.as_deref(), text(units.configuration))?;
        if let Some(tmpfiles) = &layout.tmpfiles {
            self.file(tmpfiles, text(units.tmpfiles), root(0o644))?;
        }
        for (path, content) in assets::documents(layout) {
            self.file(path, content, root(0o644))?;
        }
        self.file(&layout.program, Content::Program, root(0o755))?;
        for (path, unit) in layout.watcher.iter().flatten().zip(units.watcher.into_iter().flatten()) {
            self.file(path, text(unit), root(0o644))?;
        }
        let unit = text(units.service);
        let shadow = match &self.shadow {
            Some(Shadow::Copy(path)) => Some(Object::Shadow { path: path.clone(), unit: unit.clone() }),
            _ => None,
        };
        self.file(&layout.unit_file, unit, root(0o644))?;
        if let Some(object) = shadow {
            self.push(
                Act::Keep("it is in force in place of the unit, as systemctl edit --full has made it"),
                object,
            );
        }
        Ok(())
    }

    /// The steps after the files.
    fn systemd(&mut self, options: &InstallOptions) -> Result<(), Error> {
        let target = self.target;
        let layout = &target.layout;
        let written: Vec<_> =
            self.steps.iter().filter(|step| step.acts()).filter_map(Step::path).map(Path::to_owned).collect();
        let selinux =
            target.tree.is_host() && !layout.is_users() && Path::new("/sys/fs/selinux/enforce").exists();
        if selinux && exec::find("restorecon").is_some() && !written.is_empty() {
            self.push(Act::Create, Object::Contexts(written.clone()));
        }
        let is_unit = |path: &PathBuf| {
            *path == layout.unit_file || layout.watcher.iter().flatten().any(|unit| unit == path)
        };
        let unit_changed = written.iter().any(is_unit);
        // A command that was killed may have written the unit and not told systemd.
        let unfinished = target.receipt.as_ref().is_some_and(|receipt| receipt.state != State::Installed);
        if let Some(mask) = shadow::leftover_mask(&target.tree, layout)? {
            self.push(Act::Create, Object::Unmask(mask));
        }
        if target.booted && (unit_changed || unfinished) {
            self.push(Act::Create, Object::Reload);
        }
        let disabled = self.enable(unfinished)?;
        // What hides the unit has not changed.
        let restart = (unit_changed || unfinished) && self.shadow.is_none();
        if options.start { self.start(&written, restart, disabled) } else { Ok(()) }
    }

    /// The start at boot; tells whether the administrator has said that there shall be none.
    fn enable(&mut self, unfinished: bool) -> Result<bool, Error> {
        let target = self.target;
        if !target.choices.enable {
            return Ok(false);
        }
        // A link to the unit of somebody else, such as a package, would dangle when that goes.
        let link = target.tree.link(&target.layout.wants_link)?;
        let moves = link.as_ref().is_some_and(|to| target.adopts && *to != target.layout.unit_file);
        let linked = link.is_some() && !moves;
        let was_enabled =
            !unfinished && target.receipt.as_ref().is_some_and(|receipt| receipt.enabled().is_some());
        let enable = match (linked, was_enabled) {
            (true, _) => Act::Same,
            (false, _) if self.is_masked() => Act::Keep(MASKED),
            (false, true) => Act::Keep("the administrator disabled it"),
            (false, false) => Act::Create,
        };
        let disabled = matches!(enable, Act::Keep(_));
        self.directories_above(&target.layout.wants_link)?;
        self.push(enable, Object::Enable);
        Ok(disabled)
    }

    /// The running service. What is new in the unit needs a restart; a new program or configuration is taken up without
    /// losing a request.
    fn start(&mut self, written: &[PathBuf], unit_changed: bool, disabled: bool) -> Result<(), Error> {
        let Layout { program, configuration, .. } = &self.target.layout;
        let changed = written.iter().any(|path| path == program || path == configuration);
        if self.is_masked() {
            for object in [Object::Start, Object::Probe] {
                self.push(Act::Keep(MASKED), object);
            }
            return Ok(());
        }
        let active = service::is_active(&self.target.layout)?;
        let follows = if active { service::obstacle(&self.target.layout) } else { None };
        let (act, object) = match active {
            true if changed || unit_changed || service::is_outdated(&self.target.layout) => match follows {
                // What systemd would not follow, or could not start again, goes on as it is.
                Some(obstacle) => {
                    (Act::Keep(obstacle), if unit_changed { Object::Start } else { Object::Upgrade })
                }
                None if unit_changed => (Act::Replace, Object::Start),
                None => (Act::Replace, Object::Upgrade),
            },
            true => (Act::Same, Object::Start),
            false if disabled => (Act::Keep("the administrator disabled it"), Object::Start),
            false => (Act::Create, Object::Start),
        };
        let probe =
            if matches!(act, Act::Keep(_)) && !active { Act::Keep("it does not run") } else { Act::Create };
        self.push(act, object);
        self.push(probe, Object::Probe);
        Ok(())
    }

    /// Whether the administrator has masked the unit, so that systemd would not start it.
    fn is_masked(&self) -> bool {
        matches!(self.shadow, Some(Shadow::Mask(_)))
    }

    /// Adds a step.
    pub(super) fn push(&mut self, act: Act, object: Object) {
        self.steps.push(Step { act, object });
    }

    /// A directory of ours with those above it.
    fn directory(&mut self, path: &Path, rights: Rights) -> Result<(), Error> {
        self.directories_above(path)?;
        self.one_directory(path.to_owned(), rights)
    }

    /// The directories above a path.
    fn directories_above(&mut self, path: &Path) -> Result<(), Error> {
        let rights = Rights { mode: 0o755, owner: Owner::Root };
        layout::above(path).into_iter().try_for_each(|above| self.one_directory(above, rights))
    }

    /// One directory. Those that were there before keep their mode and owner. Those that systemd sees to (systemd.exec(5)
    /// `StateDirectory=`) shall have what it would give them at the next start.
    fn one_directory(&mut self, path: PathBuf, mut rights: Rights) -> Result<(), Error> {
        if !self.directories.insert(path.clone()) {
            return Ok(());
        }
        let link = matches!(self.target.tree.look(&path), Ok(Some(found)) if found.is_link());
        let found = match self.target.tree.look_through(&path) {
            // Without root the plan cannot look below /etc/mcpeg; what the receipt says is there, is there.
            Err(error) if error.is_permission_denied() => {
                self.push(
                    Act::Keep("only root can look at it"),
                    Object::Directory { path, rights, before: None },
                );
                return Ok(());
            }
            other => other?,
        };
        let ours = self.target.receipt.as_ref().and_then(|receipt| receipt.directory(&path)) == Some(false);
        let before = found.map(|found| Access { mode: found.mode, uid: found.uid, gid: found.gid });
        let act = match found {
            // The receipt's own directory appears with the receipt, before the first step.
            None if self.target.layout.state.starts_with(&path) => return Ok(()),
            None => Act::Create,
            Some(found) if !found.is_directory() => {
                return Err(Error::NotADirectory(self.target.tree.outside(&path)));
            }
            // The administrator has put it elsewhere, and sees to what is there.
            Some(_) if link => Act::Same,
            Some(_) if rights.owner == Owner::Service => {
                let wanted = self.in_force(&path, rights, before);
                rights = wanted;
                self.access_act(&path, before, wanted)?
            }
            Some(_) if !ours => Act::Same,
            Some(_) => self.access_act(&path, before, rights)?,
        };
        self.push(act, Object::Directory { path, rights, before });
        Ok(())
    }

    /// The rights of a directory of the service: a drop-in may have given it another mode, which systemd knows.
    fn in_force(&self, path: &Path, rights: Rights, before: Option<Access>) -> Rights {
        let Layout { home, logs, cache, .. } = &self.target.layout;
        let same = before.is_none_or(|before| before.mode == rights.mode);
        let kind = [(home, "StateDirectoryMode"), (logs, "LogsDirectoryMode"), (cache, "CacheDirectoryMode")];
        let kind = kind.into_iter().find(|(directory, _)| directory.as_deref() == Some(path));
        let Some((_, name)) = kind.filter(|_| !same && self.target.booted) else { return rights };
        if service::property(&self.target.layout, "LoadState") != "loaded" {
            return rights;
        }
        let mode = u32::from_str_radix(&service::property(&self.target.layout, name), 8);
        Rights { mode: mode.unwrap_or(rights.mode), ..rights }
    }

    /// [`Act::Mend`] if mode or owner differ from what they shall be.
    pub(super) fn access_act(
        &self,
        path: &Path,
        before: Option<Access>,
        rights: Rights,
    ) -> Result<Act, Error> {
        let wanted = match account::access_of(&self.target.tree, &self.target.layout, path, rights) {
            Err(Error::NoAccount(_)) => None,
            other => Some(other?),
        };
        Ok(if wanted == before { Act::Same } else { Act::Mend })
    }

    /// A file of ours with the directories above it.
    pub(super) fn file(&mut self, path: &Path, content: Content, rights: Rights) -> Result<(), Error> {
        self.directories_above(path)?;
        let sha256 = content.digest()?;
        let Some((found, before)) = self.existing(path)? else {
            let object =
                Object::File { path: path.to_owned(), content, sha256, previous: None, rights, before: None };
            self.push(Act::Create, object);
            return Ok(());
        };
        let siblings = self.target.siblings.iter().map(|(_, receipt)| receipt);
        let known = self.target.receipt.iter().chain(siblings).find_map(|receipt| receipt.file(path));
        let act = if found == sha256 {
            self.access_act(path, Some(before), rights)?
        } else if known.is_some() {
            Act::Replace
        } else {
            let why = "`mcpeg install` did not write it";
            return Err(Error::Foreign { path: self.target.tree.outside(path), why });
        };
        let previous = (act == Act::Replace).then_some(found);
        let object =
            Object::File { path: path.to_owned(), content, sha256, previous, rights, before: Some(before) };
        self.push(act, object);
        Ok(())
    }

    /// Digest, mode and owner of a plain file; `None` if nothing is there.
    pub(super) fn existing(&self, path: &Path) -> Result<Option<(Digest, Access)>, Error> {
        let tree = &self.target.tree;
        let Some(found) = tree.look(path)? else { return Ok(None) };
        if !found.is_file() {
            return Err(Error::Foreign { path: tree.outside(path), why: "it is not a plain file" });
        }
        let access = Access { mode: found.mode, uid: found.uid, gid: found.gid };
        Ok(tree.digest(path)?.map(|digest| (digest, access)))
    }
}

/// Text as the content of a file.
fn text(text: String) -> Content {
    Content::Bytes(Cow::Owned(text.into_bytes()))
}
