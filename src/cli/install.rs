//! `mcpeg install` and `mcpeg uninstall` as the operator sees them: the plan, the question, the progress, what is next.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};

use super::definition::{InstallArgs, UninstallArgs};
use super::report;
use crate::config::ListenAddr;
use crate::exit::Exit;
use crate::install::{
    self, Error, InstallOptions, Kept, Plan, Progress, RemovalPlan, Step, Target, UninstallOptions,
};

/// What the marks before the lines of a plan mean.
const LEGEND: &str = "(+ make, ~ change, > run, = leave as it is)";

/// `mcpeg install`.
pub(super) fn install(arguments: &InstallArgs) -> Exit {
    match try_install(arguments) {
        Ok(exit) => exit,
        Err(error) => {
            for line in error.journal() {
                report::note(format_args!("journal: {line}"));
            }
            report::error(&error)
        }
    }
}

/// The order of an installation.
fn try_install(arguments: &InstallArgs) -> Result<Exit, Error> {
    if !arguments.dry_run {
        Target::require_root("install")?;
    }
    let target = Target::open(arguments.root.as_deref())?;
    let start = !arguments.no_start && arguments.root.is_none();
    let options = InstallOptions { start, configuration: arguments.config.clone() };
    let plan = Plan::of_install(&target, &options)?;
    let asks = !arguments.yes && std::io::stdin().is_terminal();
    if arguments.dry_run || asks {
        let exit = report::lines(shown(&plan), Exit::Done);
        if arguments.dry_run || exit != Exit::Done {
            return Ok(exit);
        }
        if plan.changes() && !confirmed("Install mcpeg as shown?", Some(&|| explained(&plan))) {
            return Ok(refused());
        }
    }
    let mut answered = None;
    install::carry_out(&target, &plan, &mut |progress| match progress {
        Progress::Done(step) if step.acts() => line(&marked(step.mark(), step)),
        Progress::Done(_) => {}
        Progress::Failed(step) => line(&marked('!', step)),
        Progress::Reverted(step) => line(&marked('<', step)),
        Progress::Answered(proof) => answered = Some(proof.clone()),
    })?;
    for step in plan.steps.iter().filter(|step| step.kept_because().is_some()) {
        report::note(step);
    }
    if answered.as_ref().is_some_and(|proof| !proof.ready) {
        report::warning(
            "no upstream can be used now; `sudo mcpeg --status` says why, and mcpeg keeps trying",
        );
    }
    let answered = answered.map(|proof| proof.listener);
    let listener = answered.clone().or_else(|| install::configured_listener(&target));
    let text = if plan.changes() {
        next(answered.is_some(), listener.as_ref(), arguments.root.is_some())
    } else {
        unchanged(answered.as_ref())
    };
    line(&text);
    Ok(Exit::Done)
}

/// The plan without what is not worth a line.
fn shown(plan: &Plan) -> String {
    let worth = plan.steps.iter().filter(|step| step.is_worth_showing());
    let mut lines: Vec<String> = worth.map(|step| marked(step.mark(), step)).collect();
    lines.push(String::new());
    lines.push(LEGEND.to_owned());
    lines.join("\n")
}

/// The acts of the plan, each with its reason.
fn explained(plan: &Plan) -> String {
    let acts = plan.steps.iter().filter(|step| step.acts());
    let lines: Vec<String> =
        acts.map(|step| format!("{}\n      {}", marked(step.mark(), step), step.reason())).collect();
    format!(
        "{}\n\nEach change is written down in /var/lib/mcpeg/install.json before it is made. If a step fails, all are\n\
         taken back; `mcpeg uninstall --purge` takes back the whole installation.",
        lines.join("\n")
    )
}

/// A line with its mark, which has a colour on terminals.
fn marked(mark: char, text: &Step) -> String {
    let style = match mark {
        '+' => AnsiColor::Green.on_default(),
        '~' => AnsiColor::Yellow.on_default(),
        '>' => AnsiColor::Cyan.on_default(),
        '!' => AnsiColor::Red.on_default().bold(),
        '<' => AnsiColor::Magenta.on_default(),
        _ => Style::new().dimmed(),
    };
    format!("{style}{mark}{style:#} {text}")
}

/// What the operator does next after an installation that changed something.
fn next(serves: bool, listener: Option<&ListenAddr>, image: bool) -> String {
    let mut text = match (serves, listener, image) {
        (true, Some(listener), _) => {
            format!("\nmcpeg serves on {listener} and has answered an MCP request. Next:\n")
        }
        (_, _, true) => "\nmcpeg is installed in the image and starts when that boots. Then:\n".to_owned(),
        _ => "\nmcpeg is installed and starts at boot. To start it now: systemctl start mcpeg\nThen:\n"
            .to_owned(),
    };
    text.push_str(
        "  systemctl status mcpeg      the service\n  \
           sudo mcpeg --status         the gateway and its upstreams\n  \
           man mcpeg                   the manual\n",
    );
    match listener.map(|listener| (listener, install::endpoint(listener))) {
        Some((_, Some(url))) => {
            let _ = write!(
                text,
                "For the configuration of an MCP client:\n  \
                 {{ \"mcpServers\": {{ \"mcpeg\": {{ \"type\": \"http\", \"url\": \"{url}\" }} }} }}\n\
                 The URL follows `listen` in /etc/mcpeg/mcpeg.toml."
            );
        }
        Some((listener, None)) => {
            let _ = write!(text, "MCP clients connect to {listener}, path /mcp.");
        }
        None => {}
    }
    text
}

/// What there is to say after an installation that changed nothing.
fn unchanged(answered: Option<&ListenAddr>) -> String {
    match answered {
        Some(listener) => format!(
            "mcpeg is installed; nothing had to be changed. It serves on {listener} and has answered an MCP request"
        ),
        None => "mcpeg is installed; nothing had to be changed".to_owned(),
    }
}

/// `mcpeg uninstall`.
pub(super) fn uninstall(arguments: &UninstallArgs) -> Exit {
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
    if !arguments.dry_run {
        Target::require_root("uninstall")?;
    }
    let target = Target::open(arguments.root.as_deref())?;
    let plan = RemovalPlan::new(&target, UninstallOptions { purge: arguments.purge })?;
    let asks = !arguments.yes && std::io::stdin().is_terminal();
    if arguments.dry_run || asks {
        let acts: Vec<_> = plan.acts.iter().map(ToString::to_string).collect();
        let exit = report::lines(acts.join("\n"), Exit::Done);
        stays(&plan.kept);
        if arguments.dry_run || exit != Exit::Done {
            return Ok(exit);
        }
        if !confirmed("Uninstall mcpeg as shown?", None) {
            return Ok(refused());
        }
    }
    let kept = install::carry_out_removal(&target, &plan, &mut |act| line(&act.to_string()))?;
    if !asks {
        stays(&plan.kept);
    }
    stays(&kept);
    line("mcpeg is uninstalled");
    Ok(Exit::Done)
}

/// Names what stays, and why.
fn stays(kept: &[Kept]) {
    for Kept { what, why } in kept {
        report::note(format_args!("kept {what}: {why}"));
    }
}

/// What happened. That nobody can read it must neither stop an installation half-way nor make a complete one a failure.
fn line(text: &str) {
    let _unread = report::lines(text, Exit::Done);
}

/// Asks a question whose default is no. Where there is an explanation, it can be asked for first.
fn confirmed(question: &str, explanation: Option<&dyn Fn() -> String>) -> bool {
    let choices = if explanation.is_some() { "[yes / no / explain]" } else { "[yes / no]" };
    loop {
        let mut terminal = std::io::stderr();
        let mut answer = String::new();
        let asked = write!(terminal, "{question} {choices} ").and_then(|()| terminal.flush());
        let read = std::io::stdin().lock().read_line(&mut answer);
        // The end of the input (Ctrl-D) is no consent.
        if asked.is_err() || !matches!(read, Ok(1..)) {
            return false;
        }
        match (answer.trim().to_ascii_lowercase().as_str(), explanation) {
            ("y" | "yes", _) => return true,
            ("" | "n" | "no", _) => return false,
            ("e" | "explain" | "?", Some(explanation)) => line(&format!("\n{}\n", explanation())),
            _ => {}
        }
    }
}

/// The answer was no.
fn refused() -> Exit {
    report::note("nothing was changed");
    Exit::Done
}
