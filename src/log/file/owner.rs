//! Which of several processes that write one log may rotate, compress and delete: the one that holds a lock in the
//! log's directory.
//!
//! During an upgrade two gateways write the same file for a while. Both append whole lines, and the one that does not own the
//! log finds the file moved and opens the new one. Each also holds a shared lock on the file that it writes, so that
//! the owner does not compress a rotated file while another still appends to it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::sys::fs::{Owners, open_or_create};

/// The mode of the lock file.
const MODE: u32 = 0o640;

/// The proof that this process owns the log.
#[derive(Debug)]
pub(crate) struct Owner(#[expect(dead_code, reason = "the descriptor holds the lock")] File);

impl Owner {
    /// Takes the lock; `None` if another process has it. Fails when the lock file cannot be made or locked.
    pub(crate) fn take(log: &Path) -> io::Result<Option<Self>> {
        let (file, _) = open_or_create(&lock_path(log), MODE, Owners::Ours)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// `.mcpeg.log.lock` beside `mcpeg.log`.
#[must_use]
pub fn lock_path(log: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(log.file_name().unwrap_or_default());
    name.push(".lock");
    log.with_file_name(name)
}

/// Says that this process writes the file, among others; whether nobody claims it for themselves.
pub(super) fn share(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockShared).is_ok()
}

/// Claims a file that nobody else writes; whether that is so.
pub(super) fn claim(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_one_owner_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("mcpeg.log");
        let first = Owner::take(&log).unwrap();
        assert!(first.is_some());
        assert!(Owner::take(&log).unwrap().is_none());
        drop(first);
        assert!(Owner::take(&log).unwrap().is_some());
    }
}
