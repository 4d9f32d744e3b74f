//! The machine, or the directory below which an image is built, that a command works on.

use std::path::{Path, PathBuf};

use fieldwork::Fieldwork;

use super::choices::{self, Asked, Choices, LogRotation, Profile};
use super::error::Error;
use super::layout::{Layout, UserPlaces};
use super::ownership::PackageState;
use super::package::{self, Package};
use super::privileged::{Lock, Tree, removal};
use super::receipt::{self, Receipt, State};
use super::recovery;

/// What a command works on, and what is known about it.
#[derive(Debug, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(crate) struct Target {
    /// The root.
    tree: Tree,
    /// Whether its systemd runs now; for a user's service, the user's.
    #[field = false]
    booted: bool,
    /// Every path of the installation.
    #[field = false]
    layout: Layout,
    /// What holds for the installation.
    choices: Choices,
    /// What earlier commands did; made from what lies there if the record of it was lost.
    receipt: Option<Receipt>,
    /// The record as it was read.
    recorded: Option<Receipt>,
    /// What package managers know of mcpeg.
    package: Option<Package>,
    /// What was asked for now.
    #[field = false]
    asked: Asked,
    /// The receipts of the other instances, by their names.
    #[field = false]
    siblings: Vec<(String, Receipt)>,
}

impl Target {
    /// Opens the running system (`None`) or an image below a directory.
    /// Fails with [`Error::File`] if the directory is not there; [`Error::Choice`] and [`Error::Differs`] for what was asked;
    /// those of an unreadable receipt.
    pub(crate) fn open(root: Option<&Path>, asked: &Asked) -> Result<Self, Error> {
        let path = root.unwrap_or(Path::new("/"));
        let path = path.canonicalize().map_err(Error::file("open", path))?;
        let tree = Tree::open(&path)?;
        if asked.profile == Profile::Development {
            asked.check_development(root)?;
        }
        let name = choices::name(asked.instance.as_deref())?;
        let layout = layout_of(&name, asked.profile)?;
        let recorded = Receipt::read(&tree, &layout(&Choices::default_of(&name)).receipt)?;
        if let Some(receipt) = &recorded {
            receipt.check(&layout(receipt.choices()))?;
        }
        let before = match &recorded {
            Some(receipt) => Some(receipt.clone()),
            None => recovery::receipt(&tree, &layout, &name)?,
        };
        let known = before.as_ref().map(Receipt::choices);
        let choices = Choices::settle(&name, asked, known)?;
        let layout = layout(&choices);
        let siblings = if layout.is_users() { Vec::new() } else { receipt::others(&tree, &layout)? };
        let booted = root.is_none() && is_booted(&layout);
        // Packages are about the service without a name of its own.
        let packaged = !layout.is_users() && name == choices::NAME;
        let package = if packaged { package::find(&tree)? } else { None };
        Ok(Self {
            tree,
            booted,
            layout,
            choices,
            receipt: before,
            recorded,
            package,
            asked: asked.clone(),
            siblings,
        })
    }

    /// Whether its systemd runs now; for a user's service, the user's.
    pub(crate) fn is_booted(&self) -> bool {
        self.booted
    }

    /// Every path of the installation.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The directory below which an image is made.
    pub(crate) fn image(&self) -> Option<&Path> {
        (!self.tree.is_host()).then(|| self.tree.path())
    }

    /// Whether logrotate(8) rotates the log.
    pub(crate) fn is_rotated_by_logrotate(&self) -> bool {
        self.choices.log_rotation() == LogRotation::Logrotate
    }

    /// Whether the service of a package is to be taken over.
    pub(super) fn adopts(&self) -> bool {
        self.asked.adopt
    }

    /// Whether it was asked for now that the service is not started at boot.
    pub(super) fn asks_no_enable(&self) -> bool {
        self.asked.no_enable
    }

    /// The listeners that were asked for now.
    pub(super) fn asked_listeners(&self) -> Option<&[String]> {
        (!self.asked.listen.is_empty()).then(|| self.choices.listen())
    }

    /// The receipts of the other instances.
    pub(super) fn siblings(&self) -> impl Iterator<Item = &Receipt> {
        self.siblings.iter().map(|(_, receipt)| receipt)
    }

    /// What the receipt says of something, or else those of other instances: their files are not somebody else's.
    pub(super) fn known<'a, T: Ord>(&'a self, what: impl Fn(&'a Receipt) -> Option<T>) -> Option<T> {
        self.receipt().and_then(&what).or_else(|| self.siblings().filter_map(&what).min())
    }

    /// Whether something was there before mcpeg, as `known` says, or else if this run does not make it. What is taken over from
    /// a package, or what a removed one has left, becomes the installation's; so does a directory that is there for it to
    /// fill, such as a mount point.
    pub(super) fn existed(&self, known: Option<bool>, path: Option<&Path>, is_made: bool) -> bool {
        let is_own = |path: &Path| {
            let others = [&self.layout.configuration, &self.layout.state];
            self.layout.is_own_directory(path) || others.iter().any(|own| *own == path)
        };
        let prepared = |path: &Path| {
            is_own(path) && removal::names(&self.tree, path).is_ok_and(|names| names.is_empty())
        };
        let taken = self.takes_over() && path.is_none_or(is_own);
        !taken && known.unwrap_or_else(|| !is_made && !path.is_some_and(prepared))
    }

    /// Whether what a package has, or has left, becomes the installation's.
    fn takes_over(&self) -> bool {
        match &self.package {
            Some(package) => self.asked.adopt || package.state() == PackageState::ConfigFiles,
            None => false,
        }
    }

    /// The names of the other instances that are installed.
    pub(crate) fn other_instances(&self) -> Vec<&str> {
        let there = self.siblings.iter().filter(|(_, receipt)| receipt.state() == State::Installed);
        there.map(|(name, _)| name.as_str()).collect()
    }

    /// Refuses a caller who may not do it: a service of the machine needs root, a user's must not be root's.
    /// Fails with [`Error::NotRoot`] with the name of the command, [`Error::Root`].
    pub(crate) fn require_rights(act: &'static str, profile: Profile) -> Result<(), Error> {
        let root = rustix::process::geteuid().is_root();
        match profile {
            Profile::Production if !root => Err(Error::NotRoot(act)),
            Profile::Development if root => Err(Error::Root),
            _ => Ok(()),
        }
    }

    /// Keeps other installations and uninstallations of the same root, or of the same user, away.
    pub(super) fn lock(&self) -> Result<Lock, Error> {
        if !self.layout.is_users() {
            return self.tree.lock(Path::new("/"));
        }
        let home = self.layout.program.ancestors().nth(3).unwrap_or(Path::new("/"));
        self.tree.lock(home)
    }
}

/// Makes the layout from the choices.
type MakesLayout = Box<dyn Fn(&Choices) -> Layout>;

/// What makes the layout of an installation of this name and kind.
fn layout_of(name: &str, profile: Profile) -> Result<MakesLayout, Error> {
    let name = name.to_owned();
    if profile == Profile::Production {
        return Ok(Box::new(move |choices| Layout::production(&name, choices)));
    }
    let places = UserPlaces::of_caller()?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let user = users::get_user_by_uid(uid)
        .map_or_else(|| uid.to_string(), |user| user.name().to_string_lossy().into_owned());
    let group = users::get_group_by_gid(gid)
        .map_or_else(|| gid.to_string(), |group| group.name().to_string_lossy().into_owned());
    Ok(Box::new(move |_| Layout::development(&name, &places, &user, &group)))
}

/// Whether the systemd that would run the service runs: `sd_booted(3)`, and the user's manager for a user's.
fn is_booted(layout: &Layout) -> bool {
    let runtime = layout.pid_file.ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    layout.manager().is_running(&runtime)
}
