//! The command line: parsing, control actions, and all terminal output.
//!
//! Nothing else in the crate prints. Output for people goes through [`report`]; data goes to standard output.

mod check;
pub mod definition;
mod generate;
mod install;
mod manual;
pub mod report;

use clap::Parser as _;

use crate::exit::Exit;

use definition::{Action, Cli, Command};

/// Parses the command line of this process and carries it out.
#[must_use]
pub fn run() -> Exit {
    match Cli::try_parse() {
        Ok(cli) => carry_out(&cli),
        Err(error) => report::command_line(&error),
    }
}

/// Carries out one command line.
fn carry_out(cli: &Cli) -> Exit {
    match (&cli.command, cli.action.action()) {
        (None, Action::Check) => check::run(&cli.common.source(), cli.action.json),
        (Some(Command::Install(arguments)), _) => install::install(arguments),
        (Some(Command::Uninstall(arguments)), _) => install::uninstall(arguments),
        (Some(Command::Generate(arguments)), _) => generate::run(arguments),
        _ => Exit::UNIMPLEMENTED,
    }
}
