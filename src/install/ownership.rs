//! Who owns the service `mcpeg`, its configuration and its state: the one place that decides.
//!
//! An installer, packages and an administrator may all have been at work on one machine. [`Situation`] is what they left,
//! [`Act`] is what somebody wants now, and [`decide`] says what then happens. The installer asks it, and so do the
//! packages' scripts (`mcpeg ownership`). What runs after a package's program is gone, `postrm` and `%postun`, has the same
//! rule in a few lines of shell; a test holds that against this table. The manual's table is made of [`decide`], too.
//!
//! The rule in short: a package owns what it has installed, unless an installation lives beside it; that one keeps what
//! it serves with until somebody takes over. Nobody stops, disables or deletes what another one owns.

use crate::exit::Exit;

/// What the installer's receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptState {
    /// There is none, and nothing of an installation.
    None,
    /// An installation lives, or one that was killed can be completed.
    Live,
    /// Uninstalled, with configuration and state kept.
    Removed,
    /// There is none, but the unit of an installation is there.
    Lost,
    /// It cannot be understood, or it names what no installation writes.
    Foreign,
}

/// What package managers say. For the scripts of a package, the other format is that of another package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageState {
    /// Nothing.
    None,
    /// It is installed.
    Installed,
    /// It was removed and not purged: `rc` in dpkg(1).
    ConfigFiles,
    /// A package of another format is installed.
    OtherFormat,
}

/// Which unit is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// That of the installation.
    Ours,
    /// That of the package, or none.
    Packages,
    /// A whole copy of the administrator's, as `systemctl edit --full` makes it.
    Copy,
    /// None: the administrator has masked it.
    Masked,
    /// That of installation or package with a drop-in of the administrator's.
    DropIn,
}

/// What they found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// See [`ReceiptState`].
    pub receipt: ReceiptState,
    /// See [`PackageState`].
    pub package: PackageState,
    /// See [`UnitState`].
    pub unit: UnitState,
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `mcpeg install`, for the first time.
    Install,
    /// The same again.
    Reinstall,
    /// The same with a newer program.
    Upgrade,
    /// `mcpeg install --adopt`.
    Adopt,
    /// `mcpeg uninstall`.
    Uninstall,
    /// `mcpeg uninstall --purge`.
    Purge,
    /// A package is installed where none was: `apt install`, `%post 1`.
    PackageInstall,
    /// A package is upgraded or installed again.
    PackageUpgrade,
    /// A package is removed.
    PackageRemove,
    /// What a package left is purged.
    PackagePurge,
}

/// What then happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What was asked for.
    Proceed,
    /// Files come, but the service is left as it is.
    Files,
    /// The one who acts gets service, configuration and state from the one who had them.
    TakeOver,
    /// Service, configuration and state are left to the one who has them.
    Leave,
    /// Nothing, with this exit code.
    Refuse(Exit),
    /// Nothing: there is nothing to do.
    Nothing,
}

impl ReceiptState {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::None, Self::Live, Self::Removed, Self::Lost, Self::Foreign];

    /// Whether an installation serves.
    pub(super) const fn serves(self) -> bool {
        matches!(self, Self::Live | Self::Lost)
    }

    /// As the manual calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Live => "live",
            Self::Removed => "removed",
            Self::Lost => "lost",
            Self::Foreign => "foreign",
        }
    }
}

impl PackageState {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::None, Self::Installed, Self::ConfigFiles, Self::OtherFormat];

    /// Whether a package has its program in place.
    pub(super) const fn is_there(self) -> bool {
        matches!(self, Self::Installed | Self::OtherFormat)
    }

    /// As the manual calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Installed => "installed",
            Self::ConfigFiles => "rc",
            Self::OtherFormat => "other",
        }
    }
}

impl UnitState {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Ours, Self::Packages, Self::Copy, Self::Masked, Self::DropIn];

    /// As the manual calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "installation's",
            Self::Packages => "package's",
            Self::Copy => "copy",
            Self::Masked => "masked",
            Self::DropIn => "drop-in",
        }
    }
}

impl Act {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Install,
        Self::Reinstall,
        Self::Upgrade,
        Self::Adopt,
        Self::Uninstall,
        Self::Purge,
        Self::PackageInstall,
        Self::PackageUpgrade,
        Self::PackageRemove,
        Self::PackagePurge,
    ];

    /// As the manual calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Reinstall => "re-install",
            Self::Upgrade => "upgrade",
            Self::Adopt => "install --adopt",
            Self::Uninstall => "uninstall",
            Self::Purge => "uninstall --purge",
            Self::PackageInstall => "package installed",
            Self::PackageUpgrade => "package upgraded",
            Self::PackageRemove => "package removed",
            Self::PackagePurge => "package purged",
        }
    }

    /// Whether a package manager does it.
    #[must_use]
    pub const fn is_packages(self) -> bool {
        matches!(self, Self::PackageInstall | Self::PackageUpgrade | Self::PackageRemove | Self::PackagePurge)
    }
}

impl Verdict {
    /// One word, for scripts.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Files => "files",
            Self::TakeOver => "take-over",
            Self::Leave => "leave",
            Self::Refuse(_) => "refuse",
            Self::Nothing => "nothing",
        }
    }
}

/// The rule.
#[must_use]
pub const fn decide(situation: Situation, act: Act) -> Verdict {
    match act {
        Act::Install | Act::Reinstall | Act::Upgrade => install(situation, false),
        Act::Adopt => install(situation, true),
        Act::Uninstall => uninstall(situation, false),
        Act::Purge => uninstall(situation, true),
        Act::PackageInstall => package_comes(situation),
        Act::PackageUpgrade if matches!(situation.package, PackageState::Installed) => {
            package_changes(situation)
        }
        Act::PackageRemove if matches!(situation.package, PackageState::Installed) => package_goes(situation),
        Act::PackagePurge if matches!(situation.package, PackageState::OtherFormat) => Verdict::Leave,
        Act::PackagePurge if !matches!(situation.package, PackageState::None) => package_is_purged(situation),
        Act::PackageUpgrade | Act::PackageRemove | Act::PackagePurge => Verdict::Nothing,
    }
}

/// `mcpeg install`.
const fn install(situation: Situation, adopt: bool) -> Verdict {
    let Situation { receipt, package, unit } = situation;
    let serves = receipt.serves();
    match unit {
        _ if matches!(receipt, ReceiptState::Foreign) => Verdict::Refuse(Exit::Config),
        _ if package.is_there() && !adopt => Verdict::Refuse(Exit::Packaged),
        UnitState::Copy | UnitState::Masked if !serves => Verdict::Refuse(Exit::Foreign),
        UnitState::Masked => Verdict::Files,
        _ if package.is_there() => Verdict::TakeOver,
        _ => Verdict::Proceed,
    }
}

/// `mcpeg uninstall`.
const fn uninstall(situation: Situation, purge: bool) -> Verdict {
    let Situation { receipt, package, .. } = situation;
    match receipt {
        ReceiptState::Foreign => Verdict::Refuse(Exit::Config),
        _ if package.is_there() && receipt.serves() && !purge => Verdict::TakeOver,
        _ if package.is_there() => Verdict::Refuse(Exit::Packaged),
        ReceiptState::Live | ReceiptState::Lost => Verdict::Proceed,
        ReceiptState::Removed if purge => Verdict::Proceed,
        ReceiptState::None | ReceiptState::Removed => Verdict::Nothing,
    }
}

/// A package is installed where none of its format was.
const fn package_comes(situation: Situation) -> Verdict {
    match (situation.package, situation.unit) {
        (PackageState::OtherFormat, _) => Verdict::Refuse(Exit::Packaged),
        (PackageState::Installed, _) => package_changes(situation),
        (_, UnitState::Copy) if situation.receipt.serves() => Verdict::Leave,
        _ if situation.receipt.serves() => Verdict::TakeOver,
        _ => package_changes(situation),
    }
}

/// A package's files are exchanged. A receipt that nobody understands is no service: what counts is whose unit is there.
const fn package_changes(situation: Situation) -> Verdict {
    match (situation.receipt, situation.unit) {
        (ReceiptState::Live | ReceiptState::Lost, _) | (ReceiptState::Foreign, UnitState::Ours) => {
            Verdict::Leave
        }
        (_, UnitState::Masked) => Verdict::Files,
        _ => Verdict::Proceed,
    }
}

/// A package's files go.
const fn package_goes(situation: Situation) -> Verdict {
    match (situation.receipt, situation.unit) {
        (ReceiptState::Live | ReceiptState::Lost, _) | (ReceiptState::Foreign, UnitState::Ours) => {
            Verdict::Leave
        }
        _ => Verdict::Proceed,
    }
}

/// What a package left goes; not what may be somebody else's.
const fn package_is_purged(situation: Situation) -> Verdict {
    match situation.receipt {
        ReceiptState::Live | ReceiptState::Lost | ReceiptState::Foreign => Verdict::Leave,
        ReceiptState::None | ReceiptState::Removed => Verdict::Proceed,
    }
}

/// Every combination with what happens.
pub fn table() -> impl Iterator<Item = (Situation, Act, Verdict)> {
    ReceiptState::ALL.into_iter().flat_map(|receipt| {
        PackageState::ALL.into_iter().flat_map(move |package| {
            UnitState::ALL.into_iter().flat_map(move |unit| {
                let situation = Situation { receipt, package, unit };
                Act::ALL.into_iter().map(move |act| (situation, act, decide(situation, act)))
            })
        })
    })
}

/// What happens, in a sentence, for the reader of a package manager's output; `None` if it is what was asked for.
#[must_use]
pub fn words(situation: Situation, act: Act) -> Option<String> {
    let whose = match situation.receipt {
        ReceiptState::Foreign => {
            "a receipt /var/lib/mcpeg/install.json that this version does not understand"
        }
        _ => "`mcpeg install`",
    };
    Some(match (decide(situation, act), act) {
        (Verdict::Proceed, _) => return None,
        (Verdict::Files, _) => {
            "the unit is masked, so the service is left as it is; after `systemctl unmask mcpeg`, \
             `mcpeg --restart` takes the new program up"
                .to_owned()
        }
        (Verdict::TakeOver, Act::PackageInstall) => {
            "the package takes the service over from `mcpeg install`; configuration, state and sessions stay".to_owned()
        }
        (Verdict::TakeOver, Act::Adopt) => {
            "the installation takes the service over from the package; configuration, state and sessions stay".to_owned()
        }
        (Verdict::TakeOver, _) => {
            "the installation gives the service to the package; configuration, state and sessions stay".to_owned()
        }
        (Verdict::Leave, Act::PackagePurge) if matches!(situation.package, PackageState::OtherFormat) => {
            "configuration and state are left: they belong to a package of another format".to_owned()
        }
        (Verdict::Leave, Act::PackageRemove | Act::PackagePurge) => {
            format!("service, configuration and state are left as they are: they belong to {whose}")
        }
        (Verdict::Leave, _) => format!(
            "the service belongs to {whose}, and goes on with its program; `mcpeg uninstall` gives it to the package"
        ),
        (Verdict::Refuse(Exit::Packaged), _) => {
            "a package owns mcpeg here; use its package manager".to_owned()
        }
        (Verdict::Refuse(Exit::Foreign), _) => {
            "the administrator's unit or mask is in the way; `systemctl revert mcpeg` or `systemctl unmask mcpeg` \
             removes it"
                .to_owned()
        }
        (Verdict::Refuse(_), _) => format!("nothing is done: there is {whose}"),
        (Verdict::Nothing, _) => "there is nothing of it here".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Who owns the service before anything is done.
    fn owner(situation: Situation) -> &'static str {
        match (situation.receipt, situation.package) {
            (ReceiptState::Live | ReceiptState::Lost, _) => "installation",
            (ReceiptState::Foreign, _) if situation.unit == UnitState::Ours => "stranger",
            (_, PackageState::Installed) => "package",
            (_, PackageState::OtherFormat) => "other package",
            (ReceiptState::None | ReceiptState::Removed | ReceiptState::Foreign, _) => "nobody",
        }
    }

    /// Whose act it is.
    const fn actor(act: Act) -> &'static str {
        if act.is_packages() { "package" } else { "installation" }
    }

    #[test]
    fn nothing_of_another_owner_is_stopped_or_deleted_and_what_happened_is_said() {
        let mut count = 0;
        let mut verdicts = BTreeSet::new();
        for (situation, act, verdict) in table() {
            count += 1;
            verdicts.insert(verdict.word());
            let other = ![actor(act), "nobody"].contains(&owner(situation));
            // A package that is there owns its format's own acts only; the installer does not know formats.
            if other {
                let careful = match verdict {
                    Verdict::Leave | Verdict::Refuse(_) | Verdict::Nothing => true,
                    // A take-over keeps everything; it is asked for, or is what the installation of a package means.
                    Verdict::TakeOver => matches!(act, Act::Adopt | Act::PackageInstall),
                    Verdict::Proceed | Verdict::Files => false,
                };
                assert!(
                    careful,
                    "{situation:?} {act:?}: {verdict:?} touches what belongs to {}",
                    owner(situation)
                );
            }
            assert_eq!(words(situation, act).is_none(), verdict == Verdict::Proceed, "{situation:?} {act:?}");
            if let Verdict::Refuse(exit) = verdict {
                assert!(Exit::ALL.iter().any(|(known, _)| *known == exit), "{exit:?} is not documented");
            }
        }
        assert_eq!(count, 5 * 4 * 5 * 10);
        assert_eq!(verdicts.len(), 6, "{verdicts:?}");
    }

    #[test]
    fn receipts_never_win_over_a_package_in_a_purge() {
        for (situation, _, verdict) in table().filter(|(_, act, _)| *act == Act::Purge) {
            let refused = Verdict::Refuse(if situation.receipt == ReceiptState::Foreign {
                Exit::Config
            } else {
                Exit::Packaged
            });
            if situation.package.is_there() {
                assert_eq!(verdict, refused, "{situation:?}");
            }
        }
    }
}
