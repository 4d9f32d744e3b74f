//! Renaming that never replaces: renameat2(2) `RENAME_NOREPLACE`.

use std::os::fd::AsFd;

use rustix::io;
use rustix::path::Arg;

/// Gives a file another name unless that is taken.
/// Fails with `EEXIST` if it is taken, `EINVAL` or `ENOSYS` where the file system or the kernel cannot, else what renameat2(2)
/// answers.
#[cfg(target_os = "linux")]
pub(crate) fn rename_new(from: impl AsFd, old: impl Arg, to: impl AsFd, new: impl Arg) -> io::Result<()> {
    rustix::fs::renameat_with(from, old, to, new, rustix::fs::RenameFlags::NOREPLACE)
}

/// Gives a file another name unless that is taken, by link(2), which does not replace either; for a moment it has both.
/// Fails with `EEXIST` if it is taken, else what linkat(2) and unlinkat(2) answer.
#[cfg(not(target_os = "linux"))]
pub(crate) fn rename_new(from: impl AsFd, old: impl Arg, to: impl AsFd, new: impl Arg) -> io::Result<()> {
    use rustix::fs::{AtFlags, linkat, unlinkat};
    let old = old.into_c_str()?;
    linkat(&from, &*old, to, new, AtFlags::empty())?;
    unlinkat(from, &*old, AtFlags::empty())
}
