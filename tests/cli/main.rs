//! The command line as scripts and people see it: exit codes, messages, and what is written.

#![expect(clippy::unwrap_used, reason = "a failed step of the set-up should stop the test where it is")]

mod check;
mod command;
mod generated;
mod import;
mod import_secrets;
mod manual;
mod token;
mod usage;
