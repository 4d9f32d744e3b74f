//! The steps of an installation, one by one, for people and for programs.

use serde_json::{Value, json};

use crate::cli::report;
use crate::cli::terminal::{changed, label, marked, wrapped, wrapped_after};
use crate::exit::Exit;
use crate::install::{Plan, Step, Target};

/// What the marks before the lines of a plan mean.
const LEGEND: &str = "(+ make, ~ change, - take away, > run, = leave as it is)";

/// The steps by parts, with the lines of texts that change, without what is not worth a line; `all` is with those that change
/// nothing.
pub(super) fn details(target: &Target, plan: &Plan, all: bool) -> String {
    let layout = target.layout();
    let mut lines = Vec::new();
    let mut part = None;
    let is_told = |step: &&Step| step.is_worth_showing(layout) && (all || step.changes());
    for step in plan.steps().iter().filter(is_told) {
        if part.replace(step.part()) != Some(step.part()) {
            lines.push(label(step.part().label()));
        }
        let text = wrapped_after(&step.shown(layout), 4);
        lines.push(format!("  {}", marked(step.mark(), &text)));
        lines.extend(step.difference(target).iter().map(|(mark, text)| changed(*mark, text)));
    }
    lines.push(wrapped(LEGEND, 0));
    lines.join("\n")
}

/// Prints the plan as one JSON document.
pub(super) fn print_data(target: &Target, plan: &Plan) -> Exit {
    report::json(&data(target, plan), Exit::Done)
}

/// The plan for programs.
pub(super) fn data(target: &Target, plan: &Plan) -> Value {
    let steps: Vec<_> = plan.steps().iter().map(|step| step.data(target.layout())).collect();
    json!({ "version": 1, "changes": plan.changes(), "service": plan.summary(target), "steps": steps })
}

/// The acts of the plan, each with its reason.
pub(super) fn explained(target: &Target, plan: &Plan) -> String {
    let layout = target.layout();
    let acts = plan.steps().iter().filter(|step| step.acts());
    // That a directory above a file is made needs no reason.
    let acts = acts.filter(|step| step.path().is_none_or(|path| layout.is_own(path)));
    let lines: Vec<String> = acts
        .map(|step| {
            let reason = wrapped(step.reason(layout), 6);
            format!("{}\n{reason}", marked(step.mark(), &wrapped_after(&step.shown(layout), 2)))
        })
        .collect();
    let text = format!(
        "Each change is written down in {} before it is made. If a step fails, all are taken back; \
         `{}` takes back the whole installation.",
        layout.receipt.display(),
        command(target, "uninstall", " --purge")
    );
    format!("{}\n\n{}", lines.join("\n"), wrapped(&text, 0))
}

/// A command of the installer about the same installation, as it is typed.
pub(super) fn command(target: &Target, verb: &str, options: &str) -> String {
    let layout = target.layout();
    let sudo = if layout.is_users() { "" } else { "sudo " };
    let profile = if layout.is_users() { " --profile development" } else { "" };
    let instance =
        layout.name.strip_prefix("mcpeg-").map(|name| format!(" --instance {name}")).unwrap_or_default();
    let root = target.image().map(|root| format!(" --root {}", root.display())).unwrap_or_default();
    format!("{sudo}mcpeg {verb}{options}{profile}{instance}{root}")
}
