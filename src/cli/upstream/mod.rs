//! `mcpeg upstream`: the tables `[upstreams.NAME]` of a configuration, and what becomes of a change of them.
//!
//! | file | owns |
//! |---|---|
//! | `list`, `add`, `remove`, `trial` | one act each |
//! | `edit` | one table in the text of a file |
//! | `change` | one file that changes, and how that is taken back |
//! | `effect` | what becomes of it: the gateway that runs takes it up or refuses it |
//!
//! Invariants: the whole configuration is checked before anything is written; what the gateway then refuses is taken back, so
//! that the files are never worse than before; no word of a file that is not about the upstream changes.

mod add;
mod change;
mod edit;
mod effect;
mod error;
mod list;
mod remove;
mod trial;

use super::definition::{UpstreamAct, UpstreamArgs};
use super::report;
use crate::exit::Exit;

/// Carries out one act.
pub(super) fn run(arguments: &UpstreamArgs) -> Exit {
    let done = match &arguments.act {
        UpstreamAct::List { place } => list::run(place),
        UpstreamAct::Add(arguments) => add::run(arguments),
        UpstreamAct::Remove { upstream, yes, dry_run, place } => {
            remove::run(upstream, (*yes, *dry_run), place)
        }
        UpstreamAct::Test(arguments) => trial::run(arguments),
    };
    done.unwrap_or_else(|error| report::error(&error))
}
