//! Upstreams that are child processes: the process, its pipes, and the connection over them.

pub(crate) mod child;
pub(crate) mod connection;
pub(crate) mod day_file;
pub(crate) mod fingerprint;
pub(crate) mod framing;
pub(crate) mod mask;
pub(crate) mod pending;
pub(crate) mod pipes;
pub(crate) mod reaper;
pub(crate) mod stderr;
pub(crate) mod transfer;
