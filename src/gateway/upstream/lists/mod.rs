//! The lists that MCP servers have, as values: what kinds there are, one list as it was read, what is in it for clients of
//! extensions or wrong, and what is remembered of all lists of a connection. Nothing here talks to a server.

pub(crate) mod addresses;
mod annotations;
pub(crate) mod cache;
pub(crate) mod definitions;
pub(crate) mod kind;
pub(crate) mod listing;
