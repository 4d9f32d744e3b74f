//! `mcpeg import FILE`: a client's servers as files in `conf.d`.
//!
//! Order: read the file into a tree (`document`), find the servers of whichever client wrote it (`clients`), translate
//! each (`server`, `conceal`, `secrets`), check each as mcpeg would load it, refuse to overwrite, and only then write.
//! Invariants: a value that looks like a secret is never written and never printed, only the name of the variable that
//! stands for it; a server that cannot be taken is named and stops no other; nothing is written unless the whole
//! configuration is valid with it.

mod clients;
mod conceal;
mod document;
mod plan;
mod secrets;
mod server;

pub(super) use plan::run;
pub(super) use secrets::{is_random, is_token};
