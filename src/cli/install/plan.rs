//! The plan of an installation, for people and for programs.

use serde_json::{Value, json};

use super::terminal::{changed, marked, wrapped, wrapped_after};
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
    lines.push(wrapped(&plan.summary(target), 0));
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
    let profile = if layout.is_users() { " --profile development" } else { "" };
    format!(
        "{}\n\n{}",
        lines.join("\n"),
        wrapped(
            &format!(
                "Each change is written down in {} before it is made. If a step fails, all are taken back; \
                 `mcpeg uninstall --purge{profile}` takes back the whole installation.",
                layout.receipt.display()
            ),
            0
        )
    )
}

/// What a user must know whose services end with the session.
pub(super) fn session(layout: &Layout) -> Option<&'static str> {
    install::ends_with_the_session(layout).then_some(
        "It ends when you log out, and starts when you log in; `loginctl enable-linger` keeps it running.",
    )
}
