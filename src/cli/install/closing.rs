//! What there is to say at the end of an installation, for people.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use anstyle::{AnsiColor, Style};

use super::outcome::Outcome;
use super::plan::session;
use super::terminal::{changed, folded, width};
use crate::cli::report;
use crate::install::{self, Layout};

/// The frame of the closing box.
const FRAME: Style = AnsiColor::Green.on_default();

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
    let lines = next(outcome);
    if std::io::stdout().is_terminal() {
        report::progress(boxed(&lines, width()));
    } else {
        report::progress(lines.join("\n"));
    }
    if let Some(text) = session(layout) {
        report::progress(text);
    }
    // Outside of the box, so that it can be copied.
    if let Some(text) = client(outcome) {
        report::progress(text);
    }
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

/// What the operator does next after an installation that changed something.
fn next(outcome: &Outcome<'_>) -> Vec<String> {
    let layout = outcome.target().layout();
    let unit = &layout.name;
    let systemctl = layout.systemctl();
    let mut lines = vec![match (outcome.answered(), outcome.is_image()) {
        (Some(proof), _) => format!("{unit} {}. Next:", proof.words()),
        (_, true) => format!("{unit} is installed in the image. Where that runs:"),
        _ => format!("{unit} is installed. To start it now: {systemctl} start {unit}"),
    }];
    let rows = [
        (format!("{systemctl} status {unit}"), "the service"),
        (status(layout), "the gateway and its upstreams"),
        (format!("{systemctl} edit {unit}"), "Environment=, and ReadWritePaths= for upstreams"),
        ("man mcpeg".to_owned(), "the manual"),
    ];
    let wide = rows.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    lines.extend(rows.iter().map(|(command, what)| format!("  {command:wide$}   {what}")));
    lines
}

/// What a client's configuration needs.
fn client(outcome: &Outcome<'_>) -> Option<String> {
    let entrance = outcome.entrance()?;
    let file = outcome.target().layout().configuration.display();
    Some(match install::endpoint(&entrance) {
        // Without an indentation and blanks inside of the braces, the line fits into 80 columns.
        Some(url) => format!(
            "For the configuration of an MCP client:\n\
             {{\"mcpServers\": {{\"mcpeg\": {{\"type\": \"http\", \"url\": \"{url}\"}}}}}}\n\
             The URL follows `listen` in {file}."
        ),
        None => format!("MCP clients connect to {}, path /mcp.", entrance.listener),
    })
}

/// The lines in a frame; a line that is wider than the terminal makes the frame go without its right side.
fn boxed(lines: &[String], width: usize) -> String {
    let length = |line: &String| line.chars().count();
    let lines: Vec<String> = lines.iter().flat_map(|line| folded(line, width.saturating_sub(4))).collect();
    let inside = lines.iter().map(length).max().unwrap_or_default();
    // A word alone may be wider.
    let fits = inside + 4 <= width;
    let rule = "─".repeat(if fits { inside + 2 } else { width.saturating_sub(2) });
    let mut text = format!("{FRAME}╭{rule}╮{FRAME:#}");
    for line in &lines {
        let gap = if fits { inside - length(line) } else { 0 };
        let end = if fits { "│" } else { "" };
        let _ = write!(text, "\n{FRAME}│{FRAME:#} {line}{:gap$} {FRAME}{end}{FRAME:#}", "");
    }
    let _ = write!(text, "\n{FRAME}╰{rule}╯{FRAME:#}");
    text
}

/// What there is to say after an installation that changed nothing.
fn unchanged(outcome: &Outcome<'_>) -> String {
    let name = &outcome.target().layout().name;
    match outcome.answered() {
        Some(proof) => format!("{name} is installed; nothing had to be changed.\nIt {}.", proof.words()),
        None => format!("{name} is installed; nothing had to be changed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_closes_where_it_can_and_no_line_is_cut() {
        let lines = ["short".to_owned(), "a longer line".to_owned()];
        let text = anstream::adapter::strip_str(&boxed(&lines, 40)).to_string();
        let widths: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [17; 4], "{text}");
        let narrow = anstream::adapter::strip_str(&boxed(&lines, 12)).to_string();
        let widths: Vec<_> = narrow.lines().map(|line| line.chars().count()).collect();
        assert!(
            narrow.contains("│ a longer │") && narrow.contains("│ line     │") && widths == [12; 5],
            "{narrow}"
        );
        let narrower = anstream::adapter::strip_str(&boxed(&lines, 8)).to_string();
        assert!(narrower.contains("longer") && !narrower.contains("longer │"), "{narrower}");
    }
}
