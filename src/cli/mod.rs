//! The command line: parsing, control actions, and all terminal output.
//!
//! Nothing else in the crate prints. Output for people goes through [`report`]; data goes to standard output.

mod ask;
mod check;
mod client;
mod complete;
mod control;
pub mod definition;
mod documents;
mod explain;
mod fragment;
mod generate;
mod import;
mod install;
mod login;
mod logs;
mod long_names;
mod manual;
mod ownership;
mod redirect;
mod reload;
pub mod report;
mod rotate;
mod site;
mod state_place;
mod status;
mod terminal;
mod token;
mod tools;
mod uninstall;
mod upstream;
mod verbs;

use std::panic;

use clap::FromArgMatches as _;

use crate::exit::{Exit, ToExit};

use definition::{Action, Cli, Command};

/// Parses the command line of this process and carries it out. A panic ends with the exit code of a bug.
#[must_use]
pub fn run() -> Exit {
    // The process before this one says what to serve, whatever the command line looks like.
    if let Some(exit) = panic::catch_unwind(crate::serve::take_over).unwrap_or(Some(Exit::Bug)) {
        return exit;
    }
    panic::catch_unwind(|| match parse() {
        Ok(mut cli) => {
            cli.common.settle();
            carry_out(&cli)
        }
        Err(error) => report::command_line(&error),
    })
    .unwrap_or(Exit::Bug)
}

/// Parses the command line of this process.
fn parse() -> Result<Cli, clap::Error> {
    let mut command = verbs::command();
    let given = command.try_get_matches_from_mut(verbs::with_flag(std::env::args_os().collect()))?;
    Cli::from_arg_matches(&given).map_err(|error| error.format(&mut command))
}

/// The action needs what only Linux has: a process that is proved by pidfd and /proc before it is signalled.
#[derive(Debug, thiserror::Error)]
#[error("this action needs Linux; on this platform mcpeg serves in the foreground only")]
struct NeedsLinux;

impl ToExit for NeedsLinux {
    fn to_exit(&self) -> Exit {
        Exit::Os
    }

    fn hint(&self) -> Option<String> {
        Some("have a supervisor run `mcpeg` in the foreground; SIGTERM drains and stops it".to_owned())
    }
}

/// Carries out one command line.
fn carry_out(cli: &Cli) -> Exit {
    match &cli.command {
        None => act(cli),
        Some(Command::Install(arguments)) => install::run(arguments),
        Some(Command::Uninstall(arguments)) => uninstall::run(arguments),
        Some(Command::Import(arguments)) => import::run(arguments),
        Some(Command::Token(arguments)) => token::run(arguments),
        Some(Command::Explain(arguments)) => explain::run(arguments),
        Some(Command::Login(arguments)) => login::log_in(arguments),
        Some(Command::Logout(arguments)) => login::log_out(arguments),
        Some(Command::Tools(arguments)) => match &arguments.act {
            Some(act) => tools::run(act),
            None => client::tools(arguments),
        },
        Some(Command::Call(arguments)) => client::call(arguments),
        Some(Command::Read(arguments)) => client::read(arguments),
        Some(Command::Prompt(arguments)) => client::prompt(arguments),
        Some(Command::Ping(arguments)) => client::ping(arguments),
        Some(Command::Upstream(arguments)) => upstream::run(arguments),
        Some(Command::Logs(arguments)) => logs::run(arguments),
        Some(Command::Ownership(arguments)) => ownership::run(arguments),
        Some(Command::Complete(arguments)) => complete::run(&arguments.words),
        Some(Command::Generate(arguments)) => generate::run(arguments),
    }
}

/// Carries out an action.
fn act(cli: &Cli) -> Exit {
    let action = cli.action.action();
    if !cfg!(target_os = "linux") && action.needs_linux() {
        return report::error(&NeedsLinux);
    }
    match action {
        Action::Foreground => control::foreground(&cli.common, &cli.start),
        Action::Daemon => control::daemon(&cli.common, &cli.start, cli.action.start_timeout),
        Action::Stop => control::stop(&cli.common, cli.action.force),
        Action::Status => status::run(&cli.common, &cli.action.upstream, cli.action.json),
        Action::Check => check::run(&cli.common.source(), cli.common.pid_file.as_deref(), cli.action.json),
        Action::Restart => control::restart(&cli.common, cli.action.start_timeout),
        Action::Reload => reload::run(&cli.common, cli.action.json),
        Action::LogRotate => rotate::run(&cli.common, cli.action.json),
    }
}
