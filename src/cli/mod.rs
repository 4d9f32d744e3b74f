//! The command line: parsing, control actions, and all terminal output.
//!
//! Nothing else in the crate prints. Output for people goes through [`report`]; data goes to standard output.

pub mod definition;

use clap::Parser as _;

use crate::exit::Exit;

/// Parses the command line of this process and carries it out.
#[must_use]
pub fn run() -> Exit {
    let _arguments = definition::Cli::parse();
    Exit::Done
}
