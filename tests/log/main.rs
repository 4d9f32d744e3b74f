//! The log, from outside: what is in its files when everything is over.

#![expect(clippy::unwrap_used, reason = "a failed step of the set-up should stop the test where it is")]

mod checker;
mod faults;
mod fsync;
mod lossless;
mod rotate;
mod secrets;
mod site;
mod trouble;
mod workload;

use mcpeg_test::{self as support, disk};
