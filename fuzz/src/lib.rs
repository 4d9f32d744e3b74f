//! What the fuzz targets check of the parsers that read what strangers write, one module a target.
//!
//! `cargo fuzz` calls each with inputs of its own. The gate calls them, with any toolchain, on the seeds in `corpus` and on
//! what comes of these by small random changes: so that a target that no longer compiles or no longer holds is seen there.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the parsers are compiled alone, each for one of its parts"
)]

pub mod events;
pub mod lines;
pub mod message;
pub mod names;
pub mod splice;

#[path = "../../src/gateway/relay/mod.rs"]
mod relay;

/// Where the parsers look for it.
mod gateway {
    pub(crate) use crate::relay;
}
