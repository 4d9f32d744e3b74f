//! `mcpeg import FILE.json`: a client's `mcpServers` as files in `conf.d`.
//!
//! Order: read the JSON, translate each server, refuse to overwrite, check the result as mcpeg would load it, and
//! only then write. Invariants: a value that looks like a secret is never written and never printed, only the name
//! of the variable that stands for it; nothing is written unless the whole configuration is valid with it.

mod plan;
mod secrets;
mod server;
mod write;

pub(super) use plan::run;
