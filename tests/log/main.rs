//! The log, from outside: what is in its files when everything is over.

#![expect(clippy::unwrap_used, reason = "a failed step of the set-up should stop the test where it is")]

#[expect(dead_code, reason = "this suite needs only a part of what the others share")]
#[path = "../support/mod.rs"]
mod support;

#[path = "../support/disk.rs"]
mod disk;

mod checker;
mod faults;
mod fsync;
mod lossless;
mod rotate;
mod secrets;
mod site;
mod trouble;
mod workload;
