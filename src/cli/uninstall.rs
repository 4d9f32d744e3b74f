//! `mcpeg uninstall` as the operator sees it: what goes, what stays and why, and the way on.

use super::ask;
use super::definition::UninstallArgs;
use super::report;
use super::terminal::{headline, label, row, wrapped, wrapped_after};
use crate::exit::Exit;
use crate::install::{self, Error, Kept, Removal, RemovalPlan, Target, UninstallOptions};

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
        let mut lines = screen(&target, &plan);
        if arguments.details {
            lines.extend([String::new(), details(&target, &plan)]);
        }
        let exit = report::lines(lines.join("\n"), Exit::Done);
        if arguments.dry_run || exit != Exit::Done {
            return Ok(exit);
        }
        let more = (|| details(&target, &plan), || explained(&target, &plan));
        if !ask::is_affirmed("\nUninstall mcpeg as shown?", false, more) {
            return Ok(ask::refused());
        }
    }
    carry_out(&target, &plan, arguments, asks)
}

/// Carries it out and tells what is so then; `is_told` is that what stays was named before.
fn carry_out(
    target: &Target,
    plan: &RemovalPlan,
    arguments: &UninstallArgs,
    is_told: bool,
) -> Result<Exit, Error> {
    let kept = install::carry_out_removal(target, plan, &mut |act| {
        if arguments.details || act.is_of_systemd() {
            report::progress(act.shown(target.layout()));
        }
    })?;
    if !is_told {
        stays(&plan.kept);
    }
    stays(&kept);
    if kept.iter().any(|kept| kept.failed) {
        report::warning(
            "mcpeg is uninstalled except for what could not be removed; run the command again then",
        );
        return Ok(Exit::CannotCreate);
    }
    let end = if plan.gives_to_package() {
        "the installation is gone; the package has the service, its configuration and its state"
    } else if arguments.purge {
        "mcpeg is uninstalled, with its configuration, log and state"
    } else {
        "mcpeg is uninstalled; `mcpeg install` takes up what stays, `mcpeg uninstall --purge` removes it"
    };
    report::progress(wrapped(end, 0));
    Ok(Exit::Done)
}

/// What goes and what stays, on one screen.
fn screen(target: &Target, plan: &RemovalPlan) -> Vec<String> {
    let layout = target.layout();
    let mut lines = vec![headline(&head(target, plan)), String::new()];
    let files = plan.acts.iter().filter(|act| matches!(act, Removal::File(_))).count();
    let goes = |what: &str, text: String| row(None, what, &text);
    if plan.acts.contains(&Removal::Stop) {
        lines.push(goes("Stops", format!("{}, when its requests in flight have ended", layout.unit)));
    }
    let whole = plan.acts.iter().filter_map(|act| match act {
        Removal::Tree(path) => Some(format!("{} with everything in it", path.display())),
        _ => None,
    });
    lines.push(goes(
        "Goes",
        format!("{files} files that `mcpeg install` wrote (program, unit, manual, completions)"),
    ));
    lines.extend(whole.map(|text| goes("", text)));
    let mut reasons: Vec<&str> = Vec::new();
    for Kept { why, .. } in &plan.kept {
        if reasons.contains(why) {
            continue;
        }
        let first = if reasons.is_empty() { "Stays" } else { "" };
        reasons.push(why);
        lines.push(goes(first, named(&plan.kept, why)));
    }
    lines
}

/// What is to be done.
fn head(target: &Target, plan: &RemovalPlan) -> String {
    let name = &target.layout().name;
    let place = target.image().map_or_else(|| "this machine".to_owned(), |root| root.display().to_string());
    if plan.gives_to_package() {
        return format!("Give the service {name} to the package that lies beside the installation");
    }
    format!("Uninstall {name} from {place}")
}

/// What stays for one reason: names, or how many, and the reason.
fn named(kept: &[Kept], why: &str) -> String {
    let what: Vec<&str> = kept.iter().filter(|kept| kept.why == why).map(|kept| kept.what.as_str()).collect();
    match what.as_slice() {
        [first, rest @ ..] if rest.len() >= NAMED => format!("{first} and {} more: {why}", rest.len()),
        all => format!("{}: {why}", all.join(", ")),
    }
}

/// Each act.
fn details(target: &Target, plan: &RemovalPlan) -> String {
    let acts = plan.acts.iter().map(|act| wrapped(&act.shown(target.layout()), 2));
    std::iter::once(label("Changes")).chain(acts).collect::<Vec<_>>().join("\n")
}

/// Each act with its reason.
fn explained(target: &Target, plan: &RemovalPlan) -> String {
    let lines = plan.acts.iter().map(|act| {
        format!("{}\n{}", wrapped_after(&act.shown(target.layout()), 2), wrapped(act.reason(), 6))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Names what stays, and why: of what stays for the same reason, the first ones and how many more there are.
pub(super) fn stays(kept: &[Kept]) {
    let mut told: Vec<&str> = Vec::new();
    for Kept { why, .. } in kept {
        if !told.contains(why) {
            told.push(why);
            report::note(format_args!("kept {}", named(kept, why)));
        }
    }
}
