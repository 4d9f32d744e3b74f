//! The life cycle of the process: identity, detaching, readiness, listeners, signals, control.
//!
//! | file | owns |
//! |---|---|
//! | `paths` | where pid file, lock and control socket are, and whether that place can be trusted |
//! | `lock` | the one truth about who runs, and the record beside it |
//! | `pidfile` | the number for people and scripts |
//! | `locate` | from a pid file to a proved process; stopping it |
//! | `detach` | daemon(7) SysV steps and the pipe by which the launcher learns of readiness |
//! | `privileges` | giving root up, and what the user needs beforehand |
//! | `readiness` | the pipe of a supervisor that waits for readiness |
//! | `passed` | descriptors that a service manager passes at the start |
//! | `bind_hint` | why an address cannot be bound, and what to do |
//! | `listen` | binding, taking over, storing and removing listeners |
//! | `signals` | what each signal means to a serving process |
//! | `control` | the serving side of the control socket |
//! | `unit` | gateways that belong to a systemd unit |
//!
//! A remembered number is never signalled: every way to a signal goes through [`locate::locate`].

mod bind_hint;
pub mod control;
pub mod detach;
pub mod listen;
pub mod locate;
mod lock;
pub mod passed;
mod paths;
mod pidfile;
pub mod privileges;
mod readiness;
mod record;
mod signals;
pub mod unit;

pub(crate) use lock::{Error as LockError, Lock};
pub use paths::{Error as PathsError, RunPaths};
pub(crate) use pidfile::{Error as PidFileError, check_replaceable, remove_own, write as write_pid_file};
pub(crate) use readiness::Waiting;
pub(crate) use record::Record;
pub use signals::TABLE as SIGNALS;
pub(crate) use signals::{Received, SignalRequest, Signals};
