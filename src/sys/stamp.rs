//! By what a file is known to be another one than before, without a look at its content.

use std::fs::{Metadata, symlink_metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a file is by; one that is not there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(Option<(u64, u64, i64, i64, u64)>);

impl Stamp {
    /// That of the file which there is now.
    pub(crate) fn of(path: &Path) -> Self {
        let stamp = |it: Metadata| (it.dev(), it.ino(), it.mtime(), it.mtime_nsec(), it.size());
        Self(symlink_metadata(path).ok().map(stamp))
    }
}
