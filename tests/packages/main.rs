//! The packages: what a distribution's checkers say of them, that they are what the installer writes, and the life of each
//! on a machine that systemd has booted.
//!
//! All are built by `scripts/build-packages` from the binary under test; a later version is that with another number in it.

#![expect(clippy::unwrap_used, reason = "a failed step of the set-up should stop the test where it is")]

#[path = "../systemd/mcp.rs"]
mod mcp;
#[path = "../systemd/snapshot.rs"]
mod snapshot;

mod administrators;
mod built;
mod checkers;
mod content;
mod life;
mod owners;
mod ownership;
mod reproducible;
mod tab;

use mcpeg_test::machine;
