//! Everything that the installer does to the machine: the only module of it that changes files and runs programs.
//!
//! It can be read in one sitting: [`tree`] finds a place without following symbolic links of others, [`files`] makes and replaces,
//! [`removal`] removes, [`exec`] runs a program of the system, and [`crate::systemd`] has systemd act. What they are called
//! for is decided elsewhere; a test in `tests/tidy` keeps these calls from appearing anywhere else in `install`.

pub(super) mod files;
pub(super) mod removal;
mod tree;

pub(super) use super::digest::Digest;
pub(super) use crate::program as exec;
pub(super) use removal::Emptied;
pub(super) use tree::{Access, Found, Lock, Tree};
