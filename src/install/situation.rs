//! What is on the machine now: receipt, package and unit in force, as [`ownership`] asks for them.

use std::path::Path;

use super::error::Error;
use super::layout::Layout;
use super::ownership::{self, Act, PackageState, ReceiptState, Situation, UnitState, Verdict};
use super::package::Package;
use super::privileged::{Tree, removal};
use super::receipt::State;
use super::shadow;
use super::target::Target;
use crate::exit::Exit;

/// What an installer's command finds.
pub(super) fn of_command(target: &Target) -> Result<Situation, Error> {
    of_target(target, target.package().map_or(PackageState::None, Package::state))
}

/// The same with what is known of the package.
fn of_target(target: &Target, package: PackageState) -> Result<Situation, Error> {
    let receipt = match target.receipt() {
        None => ReceiptState::None,
        Some(_) if target.recorded().is_none() => ReceiptState::Lost,
        Some(receipt) if receipt.state() == State::Removed => ReceiptState::Removed,
        Some(_) if package.is_there() && !is_in_place(target)? => ReceiptState::Removed,
        Some(_) => ReceiptState::Live,
    };
    // The package's own script takes the mask away that its removal has left.
    let masked =
        package == PackageState::None && shadow::removal_mask(target.tree(), target.layout())?.is_some();
    let unit = if masked { UnitState::Packages } else { unit(target.tree(), target.layout())? };
    Ok(Situation { receipt, package, unit })
}

/// Whether there is anything of the installation that could serve. Beside a package, a receipt alone comes from a backup.
fn is_in_place(target: &Target) -> Result<bool, Error> {
    let Layout { unit_file, program, .. } = target.layout();
    Ok(target.tree().look(unit_file)?.is_some() || target.tree().look(program)?.is_some())
}

/// What a package's script finds: the package manager that runs it says itself how far the package is.
/// Fails with [`Error::File`].
pub(crate) fn for_package(
    root: Option<&Path>,
    target: Result<Target, Error>,
    package: PackageState,
) -> Result<Situation, Error> {
    match target {
        Ok(target) => of_target(&target, package),
        Err(Error::Receipt { .. } | Error::NewerReceipt { .. } | Error::StrangePath(_)) => {
            let (tree, [layout, _]) = (Tree::open(root.unwrap_or(Path::new("/")))?, Layout::documented());
            let there = tree.look(&layout.unit_file)?.is_some();
            let unit = if there { UnitState::Ours } else { unit(&tree, &layout)? };
            Ok(Situation { receipt: ReceiptState::Foreign, package, unit })
        }
        Err(error) => Err(error),
    }
}

/// Which unit is in force, from the files below the root (systemd.unit(5) "UNIT FILE LOAD PATH").
fn unit(tree: &Tree, layout: &Layout) -> Result<UnitState, Error> {
    if shadow::leftover_mask(tree, layout)?.is_none() {
        for place in &layout.shadows {
            match tree.look(place)? {
                None => {}
                Some(_) if shadow::is_mask(tree, place)? => return Ok(UnitState::Masked),
                Some(_) => return Ok(UnitState::Copy),
            }
        }
    }
    for place in &layout.shadows {
        let mut directory = place.clone().into_os_string();
        directory.push(".d");
        let names = removal::names(tree, Path::new(&directory)).unwrap_or_default();
        if names.iter().any(|name| name.to_string_lossy().ends_with(".conf")) {
            return Ok(UnitState::DropIn);
        }
    }
    Ok(if tree.look(&layout.unit_file)?.is_some() { UnitState::Ours } else { UnitState::Packages })
}

/// Refuses an installation where a package or the administrator is the owner.
pub(super) fn before_install(target: &Target) -> Result<(), Error> {
    let act = if target.adopts() { Act::Adopt } else { Act::Install };
    match (ownership::decide(of_command(target)?, act), target.package()) {
        (Verdict::Refuse(Exit::Packaged), Some(package)) => Err(packaged(package, target)),
        // What is in the way of a unit is named by `checks`.
        _ => Ok(()),
    }
}

/// The error that points at the package manager.
pub(super) fn packaged(package: &Package, target: &Target) -> Error {
    let beside = of_command(target).is_ok_and(|situation| situation.receipt.serves());
    Error::Packaged { package: package.name().to_owned(), manager: package.manager(), beside }
}
