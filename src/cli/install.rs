//! `mcpeg install` and `mcpeg uninstall` as the operator sees them: the plan, the question, the progress, what is next.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::definition::{InstallArgs, UninstallArgs};
use super::report;
use crate::exit::Exit;
use crate::install::{
    self, Error, InstallOptions, Kept, Plan, Progress, RemovalPlan, Target, UninstallOptions,
};

/// What the operator does next, after an installation that started the service.
const NEXT: &str = r#"
mcpeg serves. Next:
  systemctl status mcpeg      the service
  mcpeg --status              the gateway and its upstreams
  man mcpeg                   the manual
For an MCP client's configuration:
  { "mcpServers": { "mcpeg": { "type": "http", "url": "http://127.0.0.1:8080/mcp" } } }
The URL follows `listen` in /etc/mcpeg/mcpeg.toml."#;

/// The same where the service was not started.
const NEXT_UNSTARTED: &str = "
mcpeg is installed and starts at boot. To start it now: systemctl start mcpeg";

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
        let text: Vec<_> = plan.steps.iter().map(|step| format!("{} {step}", step.mark())).collect();
        let exit = report::lines(text.join("\n"), Exit::Done);
        if arguments.dry_run || exit != Exit::Done {
            return Ok(exit);
        }
        if plan.changes() && !confirmed("Install mcpeg as shown?") {
            return Ok(refused());
        }
    }
    let changes = plan.changes();
    install::carry_out(&target, &plan, &mut |progress| match progress {
        Progress::Done(step) if step.acts() => line(&format!("{} {step}", step.mark())),
        Progress::Done(_) => {}
        Progress::Failed(step) => line(&format!("! {step}")),
        Progress::Reverted(step) => line(&format!("< {step}")),
    })?;
    for step in plan.steps.iter().filter(|step| !step.acts()) {
        let text = step.to_string();
        if text.contains(": kept, ") {
            report::note(text);
        }
    }
    let next = if start { NEXT } else { NEXT_UNSTARTED };
    let text = if changes { next.trim_start() } else { "mcpeg is installed; nothing had to be changed" };
    Ok(report::lines(text, Exit::Done))
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
        if !confirmed("Uninstall mcpeg as shown?") {
            return Ok(refused());
        }
    }
    let kept = install::carry_out_removal(&target, &plan, &mut |act| line(&act.to_string()))?;
    if !asks {
        stays(&plan.kept);
    }
    stays(&kept);
    Ok(report::lines("mcpeg is uninstalled", Exit::Done))
}

/// Names what stays, and why.
fn stays(kept: &[Kept]) {
    for Kept { what, why } in kept {
        report::note(format_args!("kept {what}: {why}"));
    }
}

/// One line of progress. That nobody reads it must not stop an installation half-way.
fn line(text: &str) {
    let _unread = report::lines(text, Exit::Done);
}

/// Asks a question whose default is no.
fn confirmed(question: &str) -> bool {
    let mut terminal = std::io::stderr();
    let mut answer = String::new();
    let asked = write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush());
    asked.is_ok()
        && std::io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// The answer was no.
fn refused() -> Exit {
    report::note("nothing was changed");
    Exit::Done
}
