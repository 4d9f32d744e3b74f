//! Pins: what each tool of an upstream was when it was approved, so that a change under one's feet is seen.
//!
//! The gateway compares what a server lists with them, and notes what differs; `mcpeg tools approve` shows the difference and
//! approves it.

mod store;

pub(crate) use store::{Definition, Draft, Error, Store, Tool};
