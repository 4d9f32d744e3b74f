//! The plan of an installation, for people and for programs.

use serde_json::{Value, json};

use super::terminal::{changed, marked};
use crate::cli::report;
use crate::exit::Exit;
use crate::install::{self, Layout, Plan, Target};

/// What the marks before the lines of a plan mean.
const LEGEND: &str = "(+ make, ~ change, - take away, > run, = leave as it is)";

/// Prints the plan without what is not worth a line.
pub(super) fn print(target: &Target, plan: &Plan) -> Exit {
    let layout = target.layout();
    let mut lines = Vec::new();
    for step in plan.steps().iter().filter(|step| step.is_worth_showing(layout)) {
        lines.push(marked(step.mark(), &step.shown(layout)));
        lines.extend(step.difference(target).iter().map(|(mark, text)| changed(*mark, text)));
    }
    lines.push(String::new());
    lines.push(LEGEND.to_owned());
    lines.extend(session(layout).map(str::to_owned));
    report::lines(lines.join("\n"), Exit::Done)
}

/// Prints the plan as one JSON document.
pub(super) fn print_data(target: &Target, plan: &Plan) -> Exit {
    report::json(&data(target, plan), Exit::Done)
}

/// The plan for programs.
pub(super) fn data(target: &Target, plan: &Plan) -> Value {
    let steps: Vec<_> = plan.steps().iter().map(|step| step.data(target.layout())).collect();
    json!({ "version": 1, "changes": plan.changes(), "steps": steps })
}

/// The acts of the plan, each with its reason.
pub(super) fn explained(target: &Target, plan: &Plan) -> String {
    let layout = target.layout();
    let acts = plan.steps().iter().filter(|step| step.acts());
    // That a directory above a file is made needs no reason.
    let acts = acts.filter(|step| step.path().is_none_or(|path| layout.is_own(path)));
    let lines: Vec<String> = acts
        .map(|step| format!("{}\n      {}", marked(step.mark(), &step.shown(layout)), step.reason(layout)))
        .collect();
    format!(
        "{}\n\nEach change is written down in {} before it is made.\nIf a step fails, all are taken back; \
         `mcpeg uninstall --purge` takes back\nthe whole installation.",
        lines.join("\n"),
        layout.receipt.display()
    )
}

/// What a user must know whose services end with the session.
pub(super) fn session(layout: &Layout) -> Option<&'static str> {
    install::ends_with_the_session(layout).then_some(
        "It ends when you log out, and starts when you log in; `loginctl enable-linger` keeps it running.",
    )
}
