//! `mcpeg ownership`: one word on standard output for the scripts of a package, and what it means on standard error.
//!
//! The words are `proceed`, `files`, `take-over`, `leave`, `refuse` and `nothing`. A take-over has been carried out when the
//! word is printed: the installation's own files are gone, and the service is the package's.

use std::fmt::Write as _;
use std::path::Path;

use super::definition::{OwnershipArgs, OwnershipEvent};
use super::{report, uninstall};
use crate::exit::Exit;
use crate::install::ownership::{self, Act, PackageState, Verdict};
use crate::install::{self, Asked, Error, RemovalPlan, Target, UninstallOptions};

/// `mcpeg ownership`.
pub(super) fn run(arguments: &OwnershipArgs) -> Exit {
    let (act, package) = match arguments.event {
        OwnershipEvent::PackageInstall => (Act::PackageInstall, PackageState::None),
        OwnershipEvent::PackageUpgrade => (Act::PackageUpgrade, PackageState::Installed),
        OwnershipEvent::PackageRemove => (Act::PackageRemove, PackageState::Installed),
        OwnershipEvent::PackagePurge => (Act::PackagePurge, PackageState::ConfigFiles),
        OwnershipEvent::Table => return report::lines(table(), Exit::Done),
    };
    match decide(arguments, act, package) {
        Ok(verdict) => report::lines(verdict.word(), Exit::Done),
        Err(error) => report::error(&error),
    }
}

/// What happens, which is said; a take-over is carried out.
fn decide(arguments: &OwnershipArgs, act: Act, package: PackageState) -> Result<Verdict, Error> {
    let root = arguments.root.as_deref();
    let situation = install::for_package(root, open(root), package)?;
    let verdict = ownership::decide(situation, act);
    // A script first asks and then has it done; it is said once.
    let acts = verdict == Verdict::TakeOver && !arguments.dry_run;
    if let Some(words) = ownership::words(situation, act).filter(|_| !acts) {
        report::note(words);
    }
    if acts {
        Target::require_rights("take over", install::Profile::Production)?;
        let target = open(root)?;
        let options = UninstallOptions { purge: false, no_restart: arguments.no_restart };
        let plan = RemovalPlan::to_package(&target, options)?;
        let kept = install::carry_out_removal(&target, &plan, &mut |_| {})?;
        uninstall::stays(&plan.kept);
        uninstall::stays(&kept);
    }
    Ok(verdict)
}

/// The service that packages are about.
fn open(root: Option<&Path>) -> Result<Target, Error> {
    Target::open(root, &Asked::default())
}

/// Every combination as a line of words that are separated by tabs.
fn table() -> String {
    let mut text = String::new();
    for (situation, act, verdict) in ownership::table() {
        let (receipt, package, unit) =
            (situation.receipt.name(), situation.package.name(), situation.unit.name());
        writeln!(text, "{receipt}\t{package}\t{unit}\t{}\t{}", act.name(), verdict.word())
            .expect("writing to memory does not fail");
    }
    text.trim_end().to_owned()
}
