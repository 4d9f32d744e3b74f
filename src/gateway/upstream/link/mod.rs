//! One live connection to an upstream, of whatever kind: opening it, its lists, its tasks.

pub(crate) mod connection;
mod known_era;
pub(crate) mod listen;
pub(crate) mod lists;
pub(crate) mod negotiate;
pub(crate) mod reconcile;
pub(crate) mod tasks;
pub(crate) mod wire;
