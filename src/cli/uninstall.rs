//! `mcpeg uninstall` as the operator sees it.

use super::definition::UninstallArgs;
use super::{ask, report};
use crate::exit::Exit;
use crate::install::{self, Error, Kept, RemovalPlan, Target, UninstallOptions};

/// `mcpeg uninstall`.
pub(super) fn run(arguments: &UninstallArgs) -> Exit {
    match try_uninstall(arguments) {
        Ok(exit) => exit,
        // What was asked for is so already.
        Err(error @ Error::NothingInstalled) => {
            report::note(&error);
            Exit::Done
        }
        Err(error) => report::error(&error),
    }
}

/// The order of an uninstallation.
fn try_uninstall(arguments: &UninstallArgs) -> Result<Exit, Error> {
    let asked = arguments.place.asked();
    if !arguments.dry_run {
        Target::require_rights("uninstall", asked.profile)?;
    }
    let target = Target::open(arguments.place.root.as_deref(), &asked)?;
    let plan = RemovalPlan::new(&target, UninstallOptions { purge: arguments.purge, no_restart: false })?;
    let asks = !arguments.yes && ask::is_possible();
    if arguments.dry_run || asks {
        let acts: Vec<_> = plan.acts.iter().map(|act| act.shown(target.layout())).collect();
        let exit = report::lines(acts.join("\n"), Exit::Done);
        stays(&plan.kept);
        if arguments.dry_run || exit != Exit::Done {
            return Ok(exit);
        }
        if !ask::confirmed("Uninstall mcpeg as shown?", None) {
            return Ok(ask::refused());
        }
    }
    let kept =
        install::carry_out_removal(&target, &plan, &mut |act| report::progress(act.shown(target.layout())))?;
    if !asks {
        stays(&plan.kept);
    }
    stays(&kept);
    if kept.iter().any(|kept| kept.failed) {
        report::warning(
            "mcpeg is uninstalled except for what could not be removed; run the command again then",
        );
        return Ok(Exit::CannotCreate);
    }
    report::progress(if plan.gives_to_package() {
        "the installation is gone; the package has the service, its configuration and its state"
    } else {
        "mcpeg is uninstalled"
    });
    Ok(Exit::Done)
}

/// Names what stays, and why.
pub(super) fn stays(kept: &[Kept]) {
    for Kept { what, why, .. } in kept {
        report::note(format_args!("kept {what}: {why}"));
    }
}
