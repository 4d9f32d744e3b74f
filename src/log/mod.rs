//! The log: tracing in front, queues, formats and writers of our own behind it.
//!
//! | file | owns |
//! |---|---|
//! | `subscriber` | putting all of it together |
//! | `output`, `format` | from an event to a record, in the thread that logs |
//! | `queue`, `batch` | the way of records to the thread that writes |
//! | `worker`, `file` | the thread of the file: writing, rotation |
//! | `self_report`, `trouble`, `health` | what is wrong with it, who is told, and what others may know |
//! | `console`, `console_writer` | standard error |
//! | `journal_writer` | the audit in the journal |
//!
//! Order: [`init`] comes after detaching, because the writers are threads, and threads do not survive fork(2).
//! [`Guard`] is kept until the last event; dropping it writes out what is queued. Invariants: no event is dropped
//! while the file can be written unless the configuration says so, and each that is dropped is counted and told; every
//! line of the file is a whole record; no event ends the process, whatever has become of standard error.
//!
//! tracing-appender was measured (`benches/log.rs`) and is not used for it: its non-blocking front allocates for each event and
//! loses what is queued at exit(3) and abort(3), and neither it nor the other crates notice a file that was deleted, keep
//! lines whole on a full disk, or count what they lose there.

mod batch;
mod console;
mod console_writer;
mod error;
mod file;
mod format;
mod health;
mod journal_writer;
mod output;
mod queue;
mod self_report;
mod subscriber;
mod trouble;
mod worker;

pub use batch::Counts;
pub use console::Console;
pub use error::Error;
pub use file::{Rotated, lock_path};
pub use health::Health;
pub use subscriber::{Guard, Handle, audit_now, init};
