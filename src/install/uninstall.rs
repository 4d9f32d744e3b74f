//! Taking an installation back, from its receipt.
//!
//! Order: the service stops and is disabled while its unit is still there; files go before the directories that hold
//! them; the receipt goes last, so that a killed uninstallation can be run again. A file whose content is none that we
//! wrote stays, and so does what was there before.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::assets;
use super::choices::{Choices, LogRotation};
use super::error::Error;
use super::layout::{Layout, PACKAGED_PROGRAM};
use super::ownership::{self, Act, Verdict};
use super::privileged::{Access, Emptied, exec, files, removal};
use super::receipt::{self, Entry, Receipt, State};
use super::target::Target;
use super::{recovery, service, situation};

/// Why a mount point stays.
const MOUNT_POINT: &str = "mounted, so that only what was in there is removed";

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UninstallOptions {
    /// Whether configuration, state, logs and cache go too.
    pub(crate) purge: bool,
    /// Whether the process of a service that is given to a package goes on as it is.
    pub(crate) no_restart: bool,
}

/// Something that stays, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// What.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: &'static str,
    /// Whether it was to go, and could not.
    pub(crate) failed: bool,
}

/// One act of an uninstallation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
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
    /// Removes the receipt with the directories that were made for it.
    Receipt,
    /// Masks the unit again, as the removal of a package had left it.
    Mask,
    /// Has the start at boot lead to the package's unit.
    Reenable,
    /// Has the package's program take the place of the running one.
    HandOver,
    /// Has logrotate(8) tell the package's program that it has rotated the log.
    Rotation(PathBuf),
    /// Removes the receipt alone: what lies beside it is the package's.
    Release,
}

/// The acts of an uninstallation, in order, and what stays.
#[derive(Debug)]
pub(crate) struct RemovalPlan {
    /// See [`Removal`].
    pub(crate) acts: Vec<Removal>,
    /// See [`Kept`].
    pub(crate) kept: Vec<Kept>,
}

impl Removal {
    /// Whether it only takes files away.
    const fn is_of_files(&self) -> bool {
        matches!(self, Self::File(_) | Self::Tree(_) | Self::Directory(_))
    }

    /// Whether systemd does it, or is told of it.
    pub(crate) const fn is_of_systemd(&self) -> bool {
        matches!(
            self,
            Self::Stop | Self::Disable | Self::Reload | Self::Mask | Self::Reenable | Self::HandOver
        )
    }

    /// The act in words.
    pub(crate) fn shown(&self, layout: &Layout) -> String {
        let systemctl = layout.systemctl();
        match self {
            Self::Stop => format!("> {systemctl} stop {}", layout.unit),
            Self::Disable => format!("> {systemctl} disable {}", layout.unit),
            Self::File(path) => format!("- {}", path.display()),
            Self::Tree(path) => format!("- {}/ with everything in it", path.display()),
            Self::Directory(path) => format!("- {}/ if empty", path.display()),
            Self::Reload => format!("> {systemctl} daemon-reload"),
            Self::Receipt | Self::Release => format!("- {}", layout.receipt.display()),
            Self::Mask => format!("> {systemctl} mask {}", layout.unit),
            Self::Reenable => format!("> {systemctl} reenable {}", layout.unit),
            Self::Rotation(path) => format!("~ {}, for the package's program", path.display()),
            Self::HandOver => format!("> {systemctl} restart {}, without losing a request", layout.unit),
        }
    }
}

impl Removal {
    /// Why it is done, as one line, for somebody who is asked whether to go on.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Stop => "the service drains, and its upstreams end",
            Self::Disable => "nothing is started at boot any more",
            Self::File(_) => "`mcpeg install` wrote it, and nobody has changed it since",
            Self::Tree(_) => "--purge: it is mcpeg's as a whole",
            Self::Directory(_) => "`mcpeg install` made it; it stays if others have files in it",
            Self::Reload => "systemd forgets the unit",
            Self::Receipt => "nothing is left to take back",
            Self::Mask => "the removal of a package had left it masked",
            Self::Reenable => "the package's unit is started at boot instead",
            Self::HandOver => "the package's program goes on with the sessions",
            Self::Rotation(_) => "the configuration leaves the log to logrotate",
            Self::Release => "configuration and state are the package's now",
        }
    }
}

impl RemovalPlan {
    /// Says what would be removed, from the receipt and what is on the disk.
    /// Fails with [`Error::Packaged`], [`Error::NothingInstalled`], and those of looking.
    pub(crate) fn new(target: &Target, options: UninstallOptions) -> Result<Self, Error> {
        let act = if options.purge { Act::Purge } else { Act::Uninstall };
        let verdict = ownership::decide(situation::of_command(target)?, act);
        let receipt = match (verdict, target.receipt(), target.package()) {
            (Verdict::TakeOver, Some(receipt), _) => return Self::released(target, receipt, options),
            (Verdict::Proceed, Some(receipt), _) => receipt,
            (Verdict::Refuse(_), _, Some(package)) => return Err(situation::packaged(package, target)),
            (_, None, _) if receipt::is_untidy(target.tree(), target.layout())? => {
                return Ok(Self { acts: vec![Removal::Receipt], kept: Vec::new() });
            }
            _ => return Err(Error::NothingInstalled),
        };
        let mut plan = Self { acts: Vec::new(), kept: Vec::new() };
        // A service that executes something else is somebody else's, whatever its name is.
        let ours = !target.is_booted()
            || service::program(target.layout()).is_none_or(|path| path == target.layout().program);
        if target.is_booted() && ours {
            plan.acts.push(Removal::Stop);
        } else if !ours {
            plan.keep(&target.layout().unit, "it executes another program than that of the installation");
        }
        if ours && target.tree().look(&target.layout().wants_link)?.is_some() {
            plan.acts.push(Removal::Disable);
        }
        for entry in receipt.entries().iter().rev() {
            plan.entry(target, entry, options)?;
        }
        let left = target.package().is_some() && receipt.entries().contains(&Entry::Unmasked);
        if left && target.tree().look(&target.layout().shadows[0])?.is_none() {
            plan.acts.push(Removal::Mask);
        }
        if target.is_booted() {
            plan.acts.push(Removal::Reload);
        }
        plan.directories(target.layout(), receipt, options);
        plan.drop_ins(target)?;
        if options.purge {
            plan.acts.push(Removal::Receipt);
        }
        Ok(plan)
    }

    /// The same for the package whose script asks, whatever its package manager says of it meanwhile.
    /// Fails with [`Error::NothingInstalled`], and those of looking.
    pub(crate) fn to_package(target: &Target, options: UninstallOptions) -> Result<Self, Error> {
        let receipt = target.receipt().ok_or(Error::NothingInstalled)?;
        Self::released(target, receipt, options)
    }

    /// Gives the service to the package that lies beside the installation: the installation's own files go, and
    /// everything else stays where it is and becomes the package's.
    fn released(target: &Target, receipt: &Receipt, options: UninstallOptions) -> Result<Self, Error> {
        let mut plan = Self { acts: Vec::new(), kept: Vec::new() };
        let layout = target.layout();
        let configurations = [&layout.configuration, &layout.configuration_new];
        let rotated = target.choices().log_rotation() == LogRotation::Logrotate;
        for entry in receipt.entries().iter().rev() {
            match entry.path() {
                // The configuration, which stays, leaves the log to it.
                Some(path) if Some(path) == layout.logrotate.as_deref() && rotated => {
                    plan.acts.push(Removal::Rotation(path.to_owned()));
                }
                Some(path) if configurations.iter().all(|own| *own != path) => {
                    plan.entry(target, entry, options)?;
                }
                _ => {}
            }
        }
        // The administrator's unit may start the program.
        let starts = target.is_booted() && service::unit_program(layout).as_ref() == Some(&layout.program);
        let copied =
            layout.shadows.iter().any(|shadow| target.tree().look(shadow).is_ok_and(|there| there.is_some()));
        if starts && copied && plan.acts.contains(&Removal::File(layout.program.clone())) {
            plan.acts.retain(|act| *act != Removal::File(layout.program.clone()));
            plan.keep(&layout.program.display().to_string(), "the administrator's unit starts it");
        }
        if target.is_booted() {
            plan.acts.push(Removal::Reload);
        }
        if target.tree().look(&layout.wants_link)?.is_some() {
            plan.acts.push(Removal::Reenable);
        }
        if target.is_booted() && !options.no_restart && service::is_active(layout)? {
            plan.acts.push(Removal::HandOver);
        }
        plan.directories_above(layout, receipt);
        plan.acts.push(Removal::Release);
        Ok(plan)
    }

    /// Whether the service goes on as the package's.
    pub(crate) fn gives_to_package(&self) -> bool {
        self.acts.contains(&Removal::Release)
    }

    /// Notes that something stays.
    fn keep(&mut self, what: &str, why: &'static str) {
        self.kept.push(Kept { what: what.to_owned(), why, failed: false });
    }

    /// Names what an administrator has changed of the unit, by systemctl(1) `edit`: that stays.
    fn drop_ins(&mut self, target: &Target) -> Result<(), Error> {
        for shadow in &target.layout().shadows {
            let mut directory = shadow.clone().into_os_string();
            directory.push(".d");
            if target.tree().look(Path::new(&directory))?.is_some() {
                let why = "your changes of the unit are in it; `rm -r` removes them";
                self.keep(&Path::new(&directory).display().to_string(), why);
            }
        }
        Ok(())
    }

    /// Directories above files of the installation, if nothing is left in them.
    fn directories_above(&mut self, layout: &Layout, receipt: &Receipt) {
        for path in made_directories(layout, receipt) {
            if !layout.is_own_directory(path) {
                self.acts.push(Removal::Directory(path.clone()));
            }
        }
    }

    /// Files and the account.
    fn entry(&mut self, target: &Target, entry: &Entry, options: UninstallOptions) -> Result<(), Error> {
        let mut keep = |what: String, why| self.kept.push(Kept { what, why, failed: false });
        match entry {
            Entry::Account { .. } => {
                keep(
                    format!("account {}", target.layout().user),
                    "its number must not be given to anybody else",
                );
            }
            Entry::File { path, existed, sha256, previous, .. } => {
                let Some(found) = target.tree().look(path)? else { return Ok(()) };
                let configuration = *path == target.layout().configuration;
                let shared = target
                    .siblings()
                    .any(|sibling| sibling.state() != State::Removed && sibling.file(path).is_some());
                let digest = if found.is_file() { files::digest(target.tree(), path)? } else { None };
                let ours =
                    digest.is_some_and(|digest| digest == *sha256 || previous.as_ref() == Some(&digest));
                let name = path.display().to_string();
                if shared {
                    keep(name, "another instance uses it");
                } else if *existed && !is_unit_of_ours(target, path)? {
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
            Entry::Directory { .. } | Entry::Enabled { .. } | Entry::Unmasked => {}
        }
        Ok(())
    }

    /// Directories, deepest first.
    fn directories(&mut self, layout: &Layout, receipt: &Receipt, options: UninstallOptions) {
        for entry in receipt.entries().iter().filter(|_| options.purge) {
            match entry {
                Entry::Directory { path, existed: true } if layout.is_own_directory(path) => {
                    self.keep(&path.display().to_string(), "it was there before mcpeg");
                }
                _ => {}
            }
        }
        for path in made_directories(layout, receipt) {
            let whole = layout.is_own_directory(path);
            match (whole, options.purge) {
                (true, true) => self.acts.push(Removal::Tree(path.clone())),
                (true, false) => {
                    self.keep(&path.display().to_string(), "--purge removes it");
                }
                (false, _) => self.acts.push(Removal::Directory(path.clone())),
            }
        }
    }
}

/// The directories that the installation made, deepest first, without those on the way to the receipt.
fn made_directories<'a>(layout: &Layout, receipt: &'a Receipt) -> Vec<&'a PathBuf> {
    let mut directories: Vec<_> = receipt
        .entries()
        .iter()
        .filter_map(|entry| match entry {
            Entry::Directory { path, existed: false } => Some(path),
            _ => None,
        })
        .filter(|path| !layout.state.starts_with(path))
        .collect();
    directories.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    directories
}

/// Carries the removal out and says what stays beyond the plan. Run again after a failure, it goes on.
/// Fails with [`Error::Busy`], and those of the acts.
pub(crate) fn carry_out(
    target: &Target,
    plan: &RemovalPlan,
    report: &mut dyn FnMut(&Removal),
) -> Result<Vec<Kept>, Error> {
    let _lock = target.lock()?;
    if Receipt::read(target.tree(), &target.layout().receipt)?.as_ref() != target.recorded() {
        return Err(Error::Busy);
    }
    receipt::tidy(target.tree(), target.layout())?;
    let Some(mut receipt) = target.receipt().cloned() else { return Ok(Vec::new()) };
    receipt.begin_removal();
    receipt.save_shorter(target.tree(), target.layout())?;
    for path in target.layout().files() {
        files::tidy(target.tree(), path)?;
    }
    let mut kept = Vec::new();
    for act in &plan.acts {
        let failed = kept.iter().any(|kept: &Kept| kept.failed);
        // The receipt stays as long as something of what it names does, so that the command can be run again.
        if *act == Removal::Receipt && failed {
            break;
        }
        match remove(target, act, &receipt, &mut kept) {
            Ok(()) => report(act),
            // One file that is stuck must not keep all others.
            Err(Error::File { path, source, .. }) if act.is_of_files() => {
                kept.push(stuck(path.display().to_string(), source.raw_os_error()));
            }
            Err(error) => return Err(error),
        }
    }
    let failed = kept.iter().any(|kept| kept.failed);
    if failed || !plan.acts.iter().any(|act| matches!(act, Removal::Receipt | Removal::Release)) {
        let mut left = Vec::new();
        for entry in receipt.entries() {
            let gone = match entry.path() {
                Some(path) => target.tree().look(path)?.is_none(),
                None => matches!(entry, Entry::Enabled { .. }),
            };
            if !gone {
                left.push(entry.clone());
            }
        }
        receipt.complete_removal(left);
        receipt.save_shorter(target.tree(), target.layout())?;
    }
    Ok(kept)
}

/// One act.
fn remove(target: &Target, act: &Removal, receipt: &Receipt, kept: &mut Vec<Kept>) -> Result<(), Error> {
    match act {
        Removal::Stop => service::stop(target.layout()),
        Removal::Disable => {
            // Of a masked unit systemctl(1) leaves the link.
            let disabled = service::disable(target);
            removal::remove_file(target.tree(), &target.layout().wants_link).and(disabled.or(Ok(())))
        }
        Removal::File(path) => removal::remove_file(target.tree(), path),
        Removal::Tree(path) => {
            let left = removal::clear_tree(target.tree(), path)?;
            kept.extend(
                left.into_iter()
                    .map(|(path, error)| stuck(path.display().to_string(), Some(error.raw_os_error()))),
            );
            Ok(())
        }
        Removal::Directory(path) => {
            let what = path.display().to_string();
            match removal::remove_directory(target.tree(), path)? {
                Emptied::Gone => {}
                Emptied::NotEmpty => kept.push(Kept { what, why: "other files are in it", failed: false }),
                Emptied::MountPoint => kept.push(Kept { what, why: MOUNT_POINT, failed: false }),
            }
            Ok(())
        }
        Removal::Reload => service::reload(target.layout()),
        Removal::Receipt => match receipt.destroy(target.tree(), target.layout()) {
            // The state directory is a mount point, which cannot be renamed.
            Err(Error::File { source, .. })
                if matches!(source.kind(), ErrorKind::ResourceBusy | ErrorKind::CrossesDevices) =>
            {
                let what = target.layout().state.display().to_string();
                kept.push(Kept { what, why: MOUNT_POINT, failed: false });
                removal::remove_file(target.tree(), &target.layout().receipt)
            }
            other => other,
        },
        Removal::Mask => {
            let note = Path::new("/var/lib/systemd/deb-systemd-helper-masked").join(&target.layout().unit);
            service::mask_again(target, &[target.layout().shadows[0].clone(), note])
        }
        Removal::Reenable => {
            let led = service::reenable(target);
            // Of a masked unit no link can be made.
            if led.is_err() {
                kept.push(Kept { what: target.layout().unit.clone(), why: "it is masked", failed: false });
            }
            Ok(())
        }
        Removal::Rotation(path) => {
            let layout = Layout { program: PACKAGED_PROGRAM.into(), ..target.layout().clone() };
            let text = assets::logrotate(&layout, &Choices::default_of(&layout.name))?;
            files::overwrite(target.tree(), path, text.as_bytes(), Access::new(0o644, 0, 0))
        }
        Removal::HandOver => hand_over(target, kept),
        Removal::Release => removal::remove_file(target.tree(), &target.layout().receipt),
    }
}

/// Has the package's program take the running one's place, unless that could only end the service. systemd keeps the
/// listeners meanwhile, and the gateway its sessions, so that no request is lost.
fn hand_over(target: &Target, kept: &mut Vec<Kept>) -> Result<(), Error> {
    let layout = target.layout();
    let mut keep =
        |why| kept.push(Kept { what: format!("the running process of {}", layout.unit), why, failed: false });
    let configuration = layout.configuration.to_string_lossy();
    let arguments = ["--check", "--config", &configuration];
    if let Some(obstacle) = service::obstacle(layout) {
        keep(obstacle);
    } else if exec::run_path(Path::new(PACKAGED_PROGRAM), &arguments).is_err() {
        keep(
            "the package's program does not take the configuration; mend it, then `systemctl restart` the unit",
        );
    } else {
        return service::restart(layout, &mut |_| {});
    }
    Ok(())
}

/// Whether this is the unit file, and its head says that the installer has written it. A receipt that came after another
/// one was lost may say otherwise.
fn is_unit_of_ours(target: &Target, path: &Path) -> Result<bool, Error> {
    let text = if path == target.layout().unit_file { recovery::text(target.tree(), path)? } else { None };
    Ok(text.is_some_and(|text| recovery::is_generated(&text)))
}

/// What the kernel did not let go.
fn stuck(what: String, error: Option<i32>) -> Kept {
    let (why, failed) = match error.map(Errno::from_raw_os_error) {
        Some(Errno::BUSY) => (MOUNT_POINT, false),
        Some(Errno::PERM | Errno::ACCESS) => {
            ("the kernel does not let it go; is it immutable (lsattr)?", true)
        }
        Some(Errno::ROFS) => ("its file system is mounted read-only", true),
        Some(Errno::NOTEMPTY | Errno::EXIST) => ("files came into it meanwhile", true),
        _ => ("it could not be removed", true),
    };
    Kept { what, why, failed }
}
