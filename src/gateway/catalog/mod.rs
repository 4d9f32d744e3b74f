//! What an endpoint shows: the merged lists of its upstreams, and which upstream a name belongs to.

mod board;
mod cursor;
mod list;
mod route;
mod scope;
mod tasks;

pub(crate) use board::{Board, Lineup};
pub(crate) use list::{merged, soon};
pub(crate) use route::route;
pub(crate) use scope::{Links, Native, Scope};
pub(crate) use tasks::{all_tasks, own_tasks};
