//! The log: one subscriber with a console and a file behind one filter.
//!
//! Order: [`init`] comes after detaching, because the file's writer is a thread, and threads do not survive fork(2).
//! [`Guard`] is kept until the last event; dropping it writes out what is queued. Invariants: no event is dropped
//! while the file can be written (producers wait for a full queue), and no event ends the process, whatever has
//! become of standard error.

mod console;
mod file;
mod format;
mod subscriber;

pub use console::Console;
pub use subscriber::{Error, Guard, init};
