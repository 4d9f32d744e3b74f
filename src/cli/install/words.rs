//! The plan and the closing words, for people.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::super::report;
use super::line;
use super::progress::Outcome;
use crate::exit::Exit;
use crate::install::{self, Layout, Plan, Target};

/// What the marks before the lines of a plan mean.
const LEGEND: &str = "(+ make, ~ change, > run, = leave as it is)";
/// What is easily read at once, in columns.
const WIDEST: usize = 100;
/// The frame of the closing box.
const FRAME: Style = AnsiColor::Green.on_default();
/// What is less important.
const DIM: Style = Style::new().dimmed();

/// The width of the terminal in columns, as far as it is used.
pub(super) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map_or(80, |size| usize::from(size.ws_col)).clamp(40, WIDEST)
}

/// Prints the plan without what is not worth a line.
pub(super) fn plan(target: &Target, plan: &Plan) -> Exit {
    let layout = target.layout();
    let mut lines = Vec::new();
    for step in plan.steps.iter().filter(|step| step.is_worth_showing(layout)) {
        lines.push(marked(step.mark(), &step.shown(layout)));
        lines.extend(step.difference(target).iter().map(|(mark, text)| changed(*mark, text)));
    }
    lines.push(String::new());
    lines.push(LEGEND.to_owned());
    lines.extend(session(layout).map(str::to_owned));
    report::lines(lines.join("\n"), Exit::Done)
}

/// Prints the plan as one JSON document.
pub(super) fn plan_data(target: &Target, plan: &Plan) -> Exit {
    report::json(&data(target, plan), Exit::Done)
}

/// What a user must know whose services end with the session.
fn session(layout: &Layout) -> Option<&'static str> {
    install::ends_with_the_session(layout).then_some(
        "It ends when you log out, and starts when you log in; `loginctl enable-linger` keeps it running.",
    )
}

/// The plan for programs.
pub(super) fn data(target: &Target, plan: &Plan) -> Value {
    let steps: Vec<_> = plan.steps.iter().map(|step| step.data(target.layout())).collect();
    json!({ "version": 1, "changes": plan.changes(), "steps": steps })
}

/// The acts of the plan, each with its reason.
pub(super) fn explained(target: &Target, plan: &Plan) -> String {
    let layout = target.layout();
    let acts = plan.steps.iter().filter(|step| step.acts());
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

/// A line with its mark, which has a colour on terminals.
pub(super) fn marked(mark: char, text: &str) -> String {
    let style = style(mark);
    format!("{style}{mark}{style:#} {text}")
}

/// A line of a file that changes.
fn changed(mark: char, text: &str) -> String {
    let style = if mark == '-' { AnsiColor::Red.on_default() } else { style(mark) };
    format!("      {style}{mark} {text}{style:#}")
}

/// The colour of a mark.
fn style(mark: char) -> Style {
    match mark {
        '+' => AnsiColor::Green.on_default(),
        '~' => AnsiColor::Yellow.on_default(),
        '>' => AnsiColor::Cyan.on_default(),
        '!' => AnsiColor::Red.on_default().bold(),
        '<' => AnsiColor::Magenta.on_default(),
        _ => DIM,
    }
}

/// A marked line with its time at the right end.
pub(super) fn timed(mark: char, text: &str, took: Duration, width: usize) -> String {
    let time = if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    };
    let used = 2 + text.chars().count() + time.len();
    let gap = width.saturating_sub(used).max(1);
    format!("{}{:gap$}{DIM}{time}{DIM:#}", marked(mark, text), "")
}

/// What there is to say at the end.
pub(super) fn closing(outcome: &Outcome<'_>) {
    let layout = outcome.target.layout();
    for step in outcome.plan.steps.iter().filter(|step| step.kept_because().is_some()) {
        report::note(step.shown(layout));
        // What differs is worth reading when something has changed.
        for (mark, text) in step.difference(outcome.target).iter().filter(|_| outcome.plan.changes()) {
            line(&changed(*mark, text));
        }
    }
    if outcome.answered.is_some_and(|proof| !proof.ready) {
        let status = status(layout);
        report::warning(format_args!(
            "no upstream can be used now; `{status}` says why, and mcpeg keeps trying"
        ));
    }
    let others = outcome.target.other_instances();
    if outcome.plan.writes_program(outcome.target) && !others.is_empty() {
        report::note(format_args!(
            "{} still runs the program from before; `mcpeg install` with its --instance exchanges it",
            others.join(", ")
        ));
    }
    if !outcome.plan.changes() {
        return line(&unchanged(outcome));
    }
    let lines = next(outcome);
    if std::io::stdout().is_terminal() {
        line(&boxed(&lines, width()));
    } else {
        line(&lines.join("\n"));
    }
    if let Some(text) = session(layout) {
        line(text);
    }
    // Outside of the box, so that it can be copied.
    if let Some(text) = client(outcome) {
        line(&text);
    }
}

/// How the gateway itself is asked.
fn status(layout: &Layout) -> String {
    let sudo = if layout.is_users() { "" } else { "sudo " };
    if layout.name == "mcpeg" {
        format!("{sudo}mcpeg --status")
    } else {
        format!("{sudo}mcpeg --status --pid-file {}", layout.pid_file.display())
    }
}

/// What the operator does next after an installation that changed something.
fn next(outcome: &Outcome<'_>) -> Vec<String> {
    let layout = outcome.target.layout();
    let (listener, unit) = (outcome.listener(), &layout.name);
    let systemctl = layout.systemctl();
    let mut lines = vec![match (outcome.answered, &listener, outcome.image) {
        (Some(_), Some(listener), _) => {
            format!("{unit} serves on {listener} and has answered an MCP request. Next:")
        }
        (_, _, true) => format!("{unit} is installed in the image. Where that runs:"),
        _ => format!("{unit} is installed. To start it now: {systemctl} start {unit}"),
    }];
    let rows = [
        (format!("{systemctl} status {unit}"), "the service"),
        (status(layout), "the gateway and its upstreams"),
        ("man mcpeg".to_owned(), "the manual"),
    ];
    let wide = rows.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    lines.extend(rows.iter().map(|(command, what)| format!("  {command:wide$}   {what}")));
    lines
}

/// What a client's configuration needs.
fn client(outcome: &Outcome<'_>) -> Option<String> {
    let listener = outcome.listener()?;
    let file = outcome.target.layout().configuration.display();
    Some(match install::endpoint(&listener) {
        // Without an indentation and blanks inside of the braces, the line fits into 80 columns.
        Some(url) => format!(
            "For the configuration of an MCP client:\n\
             {{\"mcpServers\": {{\"mcpeg\": {{\"type\": \"http\", \"url\": \"{url}\"}}}}}}\n\
             The URL follows `listen` in {file}."
        ),
        None => format!("MCP clients connect to {listener}, path /mcp."),
    })
}

/// The lines in a frame; a line that is wider than the terminal makes the frame go without its right side.
fn boxed(lines: &[String], width: usize) -> String {
    let length = |line: &String| line.chars().count();
    let inside = lines.iter().map(length).max().unwrap_or_default();
    let fits = inside + 4 <= width;
    let rule = "─".repeat(if fits { inside + 2 } else { width.saturating_sub(2) });
    let mut text = format!("{FRAME}╭{rule}╮{FRAME:#}");
    for line in lines {
        let gap = if fits { inside - length(line) } else { 0 };
        let end = if fits { "│" } else { "" };
        let _ = write!(text, "\n{FRAME}│{FRAME:#} {line}{:gap$} {FRAME}{end}{FRAME:#}", "");
    }
    let _ = write!(text, "\n{FRAME}╰{rule}╯{FRAME:#}");
    text
}

/// What there is to say after an installation that changed nothing.
fn unchanged(outcome: &Outcome<'_>) -> String {
    let name = &outcome.target.layout().name;
    match outcome.answered {
        Some(proof) => format!(
            "{name} is installed; nothing had to be changed.\nIt serves on {} and has answered an MCP request.",
            proof.listener
        ),
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
        assert!(narrow.contains("a longer line") && !narrow.contains("line │"), "{narrow}");
    }

    #[test]
    fn times_end_where_the_terminal_ends() {
        let line = timed('+', "text", Duration::from_millis(7), 40);
        let line = anstream::adapter::strip_str(&line).to_string();
        assert!(line.starts_with("+ text ") && line.ends_with(" 7 ms") && line.len() == 40, "{line}");
        assert!(timed('+', &"x".repeat(60), Duration::from_secs(2), 40).contains("2.0 s"));
    }
}
