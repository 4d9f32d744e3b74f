//! `mcpeg install` as the operator sees it: the plan, the question, the progress, what is next.

mod closing;
mod outcome;
mod plan;
mod progress;
mod screen;

use super::ask;
use super::definition::{InstallArgs, PlanFormat};
use super::{check, documents, report, terminal};
use crate::exit::{Exit, ToExit as _};
use crate::install::{self, Error, InstallOptions, Plan, Target};
use serde_json::json;

use outcome::Outcome;
use progress::{Form, Listener};
use screen::Screen;

/// `mcpeg install`.
pub(super) fn run(arguments: &InstallArgs) -> Exit {
    match try_install(arguments) {
        Ok(exit) => exit,
        Err(error) if arguments.json => {
            progress::failure(&error);
            error.to_exit()
        }
        Err(error) => {
            if !error.journal().is_empty() {
                report::note(format_args!("the end of its journal:\n  {}", error.journal().join("\n  ")));
            }
            report::error(&error)
        }
    }
}

/// The order of an installation.
fn try_install(arguments: &InstallArgs) -> Result<Exit, Error> {
    let asked = arguments.asked();
    let format = if arguments.dry_run { Some(PlanFormat::Text) } else { arguments.plan };
    let looks_only = format.is_some() || arguments.check;
    if !looks_only {
        Target::require_rights("install", asked.profile)?;
    }
    let root = arguments.place.root.as_deref();
    let target = Target::open(root, &asked)?;
    let starts = !arguments.no_start && root.is_none();
    // Whoever only looks is shown what would be done, and told what is missing.
    let without = looks_only && starts && !target.is_booted();
    let options = InstallOptions {
        start: starts && !without,
        looks_only,
        configuration: arguments.config.clone(),
        documents: documents::installed(),
    };
    let plan = Plan::of_install(&target, &options)?;
    if without && !arguments.json && format != Some(PlanFormat::Json) {
        report::note(
            "systemd does not run here, so that nothing can be started; --no-start installs the files",
        );
    }
    let json = arguments.json;
    if arguments.check {
        let service = match root {
            Some(_) => None,
            None => check::of_service(&target.layout().configuration),
        };
        return Ok(drift(&target, &plan, service.as_ref(), json));
    }
    if let Some(format) = format {
        let as_data = json || format == PlanFormat::Json;
        return Ok(if as_data { plan::print_data(&target, &plan) } else { shown(&target, &plan, arguments) });
    }
    let asks = !arguments.yes && !json && ask::is_possible();
    if asks && plan.changes() && !is_affirmed(&target, &plan) {
        return Ok(ask::refused());
    }
    let form = match (json, arguments.details) {
        (true, _) => Form::Json,
        (_, true) => Form::Steps,
        _ => Form::Parts,
    };
    let mut listener = Listener::new(target.layout(), &plan, form);
    let result = install::carry_out(&target, &plan, &mut |progress| listener.hear(&progress));
    listener.end();
    result?;
    let outcome = Outcome::new(&target, &plan, listener.answered(), root.is_some());
    if json {
        progress::success(&outcome);
    } else {
        closing::print(&outcome);
    }
    Ok(Exit::Done)
}

/// Shows what would be done, and where the steps are told.
fn shown(target: &Target, plan: &Plan, arguments: &InstallArgs) -> Exit {
    let mut lines = Screen::new(target, plan).lines();
    if arguments.details {
        lines.extend([String::new(), plan::details(target, plan, true)]);
    } else if plan.changes() {
        let hint = "Nothing was changed; with --details each change is listed.";
        lines.push(terminal::wrapped(hint, 0));
    }
    report::lines(lines.join("\n"), Exit::Done)
}

/// Shows what would be done, and asks whether it shall be.
fn is_affirmed(target: &Target, plan: &Plan) -> bool {
    let screen = Screen::new(target, plan);
    let lines = screen.lines().join("\n");
    let more = (|| plan::details(target, plan, true), || plan::explained(target, plan));
    report::lines(lines, Exit::Done) == Exit::Done && ask::is_affirmed(screen.question(), true, more)
}

/// Tells whether an installation would change anything, and whether the service can start with its configuration.
fn drift(target: &Target, plan: &Plan, service: Option<&check::Answer>, json: bool) -> Exit {
    let exit = if plan.changes() { Exit::Drifted } else { Exit::Done };
    let wrong = service.filter(|answer| answer.exit() != Exit::Done);
    // A file that has drifted may be why the service cannot start, and is mended by an installation.
    let worst = |wrong: Exit| if plan.mends() { exit } else { wrong };
    if json {
        let mut data = plan::data(target, plan);
        if let (Some(answer), Some(data)) = (service, data.as_object_mut()) {
            data.insert("check".to_owned(), json!(answer));
        }
        return report::json(&data, wrong.map_or(exit, |answer| worst(answer.exit())));
    }
    let shown = match exit {
        Exit::Done if wrong.is_some() => Exit::Done,
        Exit::Done => report::lines("mcpeg is installed; nothing has drifted", exit),
        _ => report::lines(Screen::new(target, plan).drift(), exit),
    };
    match wrong {
        Some(answer) => worst(answer.tell()),
        None if shown == Exit::Done => exit,
        None => shown,
    }
}
