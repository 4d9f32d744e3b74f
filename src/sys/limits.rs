//! How many descriptors this process may have open.
//!
//! The soft limit is 1024 nearly everywhere for the sake of select(2), which cannot name more; a program that does not use
//! select(2) shall raise it to the hard one, and give what it starts the former one back (systemd.exec(5), "Don't use"
//! of `LimitNOFILE=`).

#![expect(unsafe_code, reason = "a pre_exec hook runs between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// The soft limit that this process was started with, once it is raised.
static FORMER: OnceLock<rlim_t> = OnceLock::new();

/// Raises the soft limit on open files to the hard one.
/// Fails with what getrlimit(2) and setrlimit(2) answer.
pub(crate) fn raise_open_files() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        let _ = FORMER.set(soft);
    }
    Ok(())
}

/// How many files may be open.
pub(crate) fn open_files() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    usize::try_from(soft).unwrap_or(usize::MAX)
}

/// Gives a child the soft limit that this process was started with.
pub(super) fn restore_in_child(command: &mut Command) {
    let Some(former) = FORMER.get().copied() else { return };
    let hook = move || {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(setrlimit(Resource::RLIMIT_NOFILE, former.min(hard), hard)?)
    };
    // SAFETY: the hook makes the system calls getrlimit and setrlimit only; it neither allocates nor takes a lock, as
    // signal-safety(7) demands between fork and exec.
    unsafe { command.pre_exec(hook) };
}
