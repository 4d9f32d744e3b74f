//! The kernel's interfaces, and the only unsafe code of the crate.
//!
//! Each file wraps one of the kernel's subjects in calls that are safe for any caller: what a call needs
//! (one thread, a descriptor that is open) is checked here, not promised by the caller. Errors are plain
//! [`std::io::Error`]; the modules above know which operation failed and say so.

pub mod at_exit;
pub mod capacity;
pub mod clock;
pub mod credentials;
pub mod fd;
pub mod fork;
pub mod fs;
pub mod group;
pub mod guardian;
pub mod holder;
pub mod identity;
pub mod limits;
pub mod memory;
pub mod net;
pub mod peer;
mod pidfd;
pub mod process;
pub mod rename;
pub mod scm_rights;
pub mod signal;
pub mod stamp;
pub mod usage;
pub mod user;
pub mod walk;
