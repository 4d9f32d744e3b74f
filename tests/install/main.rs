//! `mcpeg install` and `mcpeg uninstall` with the real binary below scratch roots: what they make, what they refuse, and
//! that every failure and every kill leaves something that the next command puts right.
//!
//! Changing owners and making accounts needs root, so most of these are ignored unless asked for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod asking;
mod faults;
mod full;
mod life;
mod links;
mod options;
mod receipts;
mod refusals;
mod scratch;
mod screens;
