//! `mcpeg install` and `mcpeg uninstall` as the operator sees them: the plan, the question, the progress, what is next.

mod ask;
mod progress;
mod words;

pub(super) mod ownership;
pub(super) mod uninstall;

use super::definition::{InstallArgs, PlaceArgs, PlanFormat, ProfileName};
use super::report;
use crate::exit::{Exit, ToExit as _};
use crate::install::{self, Asked, Error, InstallOptions, Plan, Profile, Target};

use progress::{Listener, Outcome};

/// `mcpeg install`.
pub(super) fn install(arguments: &InstallArgs) -> Exit {
    match try_install(arguments) {
        Ok(exit) => exit,
        Err(error) if arguments.json => {
            progress::failure(&error);
            error.to_exit()
        }
        Err(error) => {
            for line in error.journal() {
                report::note(format_args!("journal: {line}"));
            }
            report::error(&error)
        }
    }
}

/// Which installation a command is about.
fn asked(place: &PlaceArgs) -> Asked {
    let profile = match place.profile {
        ProfileName::Production => Profile::Production,
        ProfileName::Development => Profile::Development,
    };
    Asked { profile, instance: place.instance.clone(), ..Asked::default() }
}

/// What the command line asks for.
fn wishes(arguments: &InstallArgs) -> Asked {
    Asked {
        prefix: arguments.prefix.clone(),
        user: arguments.user.clone(),
        group: arguments.group.clone(),
        listen: arguments.listen.clone(),
        no_enable: arguments.no_enable,
        adopt: arguments.adopt,
        ..asked(&arguments.place)
    }
}

/// The order of an installation.
fn try_install(arguments: &InstallArgs) -> Result<Exit, Error> {
    let asked = wishes(arguments);
    let format = if arguments.dry_run { Some(PlanFormat::Text) } else { arguments.plan };
    let looks_only = format.is_some() || arguments.check;
    if !looks_only {
        Target::require_rights("install", asked.profile)?;
    }
    let root = arguments.place.root.as_deref();
    let target = Target::open(root, &asked)?;
    let options = InstallOptions {
        start: !arguments.no_start && root.is_none(),
        configuration: arguments.config.clone(),
    };
    let plan = Plan::of_install(&target, &options)?;
    let json = arguments.json;
    if arguments.check {
        return Ok(drift(&target, &plan, json));
    }
    if let Some(format) = format {
        let as_data = json || format == PlanFormat::Json;
        return Ok(if as_data { words::plan_data(&target, &plan) } else { words::plan(&target, &plan) });
    }
    if !arguments.yes && !json && ask::is_possible() {
        let exit = words::plan(&target, &plan);
        if exit != Exit::Done {
            return Ok(exit);
        }
        let explained = || words::explained(&target, &plan);
        if plan.changes() && !ask::confirmed("Install mcpeg as shown?", Some(&explained)) {
            return Ok(ask::refused());
        }
    }
    let mut listener = Listener::new(target.layout(), json);
    install::carry_out(&target, &plan, &mut |progress| listener.hear(&progress))?;
    let outcome =
        Outcome { target: &target, plan: &plan, answered: listener.answered.as_ref(), image: root.is_some() };
    if json {
        progress::success(&outcome);
    } else {
        words::closing(&outcome);
    }
    Ok(Exit::Done)
}

/// Tells whether an installation would change anything.
fn drift(target: &Target, plan: &Plan, json: bool) -> Exit {
    let exit = if plan.changes() { Exit::DRIFTED } else { Exit::Done };
    if json {
        return report::json(&words::data(target, plan), exit);
    }
    if exit == Exit::Done {
        report::lines("mcpeg is installed; nothing has drifted", exit)
    } else {
        let shown = words::plan(target, plan);
        if shown == Exit::Done { exit } else { shown }
    }
}

/// What happened. That nobody can read it must neither stop an installation half-way nor make a complete one a failure.
fn line(text: &str) {
    let _unread = report::lines(text, Exit::Done);
}
