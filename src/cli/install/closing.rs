//! What is true at the end of an installation, and what is next, for people.

use super::outcome::Outcome;
use super::screen::{VERSION, session};
use crate::cli::report;
use crate::cli::terminal::{changed, headline, label, row, wrapped};
use crate::install::{self, Layout, Occasion, Part, Step};

/// What there is to say at the end.
pub(super) fn print(outcome: &Outcome<'_>) {
    let layout = outcome.target().layout();
    for step in outcome.plan().steps().iter().filter(|step| step.kept_because().is_some()) {
        report::note(step.shown(layout));
        // What differs is worth reading when something has changed.
        for (mark, text) in step.difference(outcome.target()).iter().filter(|_| outcome.plan().changes()) {
            report::progress(changed(*mark, text));
        }
    }
    let new = outcome.plan().steps().iter().find(|step| step.path() == Some(&layout.configuration_new));
    if let Some(step) = new.filter(|step| step.acts()) {
        report::note(format_args!("{}: {}", layout.configuration_new.display(), step.reason(layout)));
    }
    if outcome.answered().is_some_and(|proof| !proof.ready) {
        let status = status(layout);
        report::warning(format_args!(
            "no upstream can be used now; `{status}` says why, and mcpeg keeps trying"
        ));
    }
    let others = outcome.target().other_instances();
    if outcome.plan().writes_program(outcome.target()) && !others.is_empty() {
        report::note(format_args!(
            "{} still runs the program from before; `mcpeg install` with its --instance exchanges it",
            others.join(", ")
        ));
    }
    if !outcome.plan().changes() {
        return report::progress(unchanged(outcome));
    }
    let mut lines = vec![String::new(), headline(&now(outcome))];
    lines.extend(outcome.exposure().map(|exposure| {
        wrapped(&format!("Its exposure is {exposure} of 10, as `systemd-analyze security` counts it."), 0)
    }));
    lines.extend(session(layout).map(|text| wrapped(text, 0)));
    if !outcome.plan().occasion().is_later() {
        lines.extend([String::new(), label("Next")]);
        lines.extend(next(outcome).into_iter().map(|(what, how)| row(None, what, &how)));
    }
    // A new configuration may have it listen elsewhere.
    let is_told =
        !outcome.plan().occasion().is_later() || outcome.plan().part(Part::Configuration).any(Step::changes);
    lines.extend(is_told.then(|| client(outcome)).flatten().map(|text| format!("\n{text}")));
    report::progress(lines.join("\n"));
}

/// How the gateway itself is asked.
fn status(layout: &Layout) -> String {
    let sudo = if layout.is_users() { "" } else { "sudo " };
    if layout.name == "mcpeg" {
        format!("{sudo}mcpeg --status")
    } else {
        format!("{sudo}mcpeg --status --instance {}", layout.name.trim_start_matches("mcpeg-"))
    }
}

/// What is true now.
fn now(outcome: &Outcome<'_>) -> String {
    let layout = outcome.target().layout();
    let unit = &layout.name;
    match (outcome.answered(), outcome.plan().occasion()) {
        (Some(proof), Occasion::Upgrade(before)) if before != VERSION => {
            format!("{unit} {}: version {VERSION}, where {before} was.", proof.words())
        }
        (Some(proof), _) => format!("{unit} {}.", proof.words()),
        _ if outcome.is_image() => format!("{unit} is installed in the image, and starts with it."),
        _ => format!("{unit} is installed. To start it now: {} start {unit}", layout.systemctl()),
    }
}

/// What the operator does next after a first installation: what, and by which command.
fn next(outcome: &Outcome<'_>) -> [(&'static str, String); 5] {
    let layout = outcome.target().layout();
    let (unit, systemctl) = (&layout.name, layout.systemctl());
    let upstream = layout.drop_ins.join("NAME.toml");
    let log = match outcome.plan().log_file(outcome.target()).flatten() {
        Some(file) => format!("tail --follow=name {}", file.display()),
        None => format!("{} --follow", crate::systemd::journal::line(&layout.service())),
    };
    [
        ("add upstreams", format!("write {}, then {systemctl} reload {unit}", upstream.display())),
        ("give secrets", format!("{systemctl} edit {unit} (Environment=; ReadWritePaths= for files)")),
        ("watch the log", log),
        ("see its state", format!("{systemctl} status {unit}; {}", status(layout))),
        ("read more", "man mcpeg; man mcpeg.toml".to_owned()),
    ]
}

/// What a client's configuration needs.
fn client(outcome: &Outcome<'_>) -> Option<String> {
    let entrance = outcome.entrance()?;
    let file = outcome.target().layout().configuration.display();
    Some(match install::endpoint(&entrance) {
        // Without an indentation and blanks inside of the braces, the line fits into 80 columns; it is not broken, so that it
        // can be copied.
        Some(url) => format!(
            "{}\n{{\"mcpServers\": {{\"mcpeg\": {{\"type\": \"http\", \"url\": \"{url}\"}}}}}}\n{}",
            label("For the configuration of an MCP client"),
            wrapped(&format!("The URL follows `listen` in {file}."), 0)
        ),
        None => wrapped(&format!("MCP clients connect to {}, path /mcp.", entrance.listener), 0),
    })
}

/// What there is to say after an installation that changed nothing.
fn unchanged(outcome: &Outcome<'_>) -> String {
    let name = &outcome.target().layout().name;
    match outcome.answered() {
        Some(proof) => format!("{name} is installed; nothing had to be changed.\nIt {}.", proof.words()),
        None => format!("{name} is installed; nothing had to be changed"),
    }
}
