//! `mcpeg uninstall` as the operator sees it.

use super::definition::UninstallArgs;
use super::install::{wrapped, wrapped_after};
use super::{ask, report};
use crate::exit::Exit;
use crate::install::{self, Error, Kept, RemovalPlan, Target, UninstallOptions};

/// So many things that stay for one reason are counted, not named.
const NAMED: usize = 5;

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
        let explained = || {
            let lines = plan.acts.iter().map(|act| {
                format!("{}\n{}", wrapped_after(&act.shown(target.layout()), 2), wrapped(act.reason(), 6))
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        if !ask::confirmed("Uninstall mcpeg as shown?", Some(&explained)) {
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

/// Names what stays, and why: of what stays for the same reason, the first ones and how many more there are.
pub(super) fn stays(kept: &[Kept]) {
    let mut told: Vec<&str> = Vec::new();
    for Kept { what, why, .. } in kept {
        if told.contains(why) {
            continue;
        }
        told.push(why);
        let others: Vec<&str> =
            kept.iter().filter(|other| other.why == *why).map(|other| other.what.as_str()).collect();
        match others.as_slice() {
            [_, rest @ ..] if rest.len() >= NAMED => {
                report::note(format_args!("kept {what} and {} more: {why}", rest.len()));
            }
            all => all.iter().for_each(|one| report::note(format_args!("kept {one}: {why}"))),
        }
    }
}
