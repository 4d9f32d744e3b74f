//! Removing files, directories and whole trees below the root.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::tree::Tree;
use crate::install::error::Error;
use crate::sys::rename::rename_new;

/// What became of a directory that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::install) enum Emptied {
    /// It is gone, or was not there.
    Gone,
    /// Something is still in it.
    NotEmpty,
    /// It is a mount point.
    MountPoint,
}

/// Removes a file that may be missing.
pub(in crate::install) fn remove_file(tree: &Tree, path: &Path) -> Result<(), Error> {
    let Some((directory, name)) = tree.parent(path)? else { return Ok(()) };
    match fs::unlinkat(&directory, &name, AtFlags::empty()) {
        Ok(()) => tree.sync_parent(path),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::file("remove", tree.outside(path))(error)),
    }
}

/// Renames within one directory; there must be nothing of the new name.
pub(in crate::install) fn rename(tree: &Tree, from: &Path, to: &Path) -> Result<(), Error> {
    let (directory, name) = tree.existing_parent(from)?;
    let to_name = to.file_name().expect("paths of the layout end with a name");
    rename_new(&directory, &name, &directory, to_name).map_err(Error::file("rename", tree.outside(from)))?;
    tree.sync_parent(to)
}

/// Removes a directory if it is empty.
pub(in crate::install) fn remove_directory(tree: &Tree, path: &Path) -> Result<Emptied, Error> {
    let Some((directory, name)) = tree.parent(path)? else { return Ok(Emptied::Gone) };
    match fs::unlinkat(&directory, &name, AtFlags::REMOVEDIR) {
        Ok(()) => tree.sync_parent(path).map(|()| Emptied::Gone),
        Err(Errno::NOENT) => Ok(Emptied::Gone),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Emptied::NotEmpty),
        Err(Errno::BUSY) => Ok(Emptied::MountPoint),
        Err(error) => Err(Error::file("remove", tree.outside(path))(error)),
    }
}

/// Removes a directory with everything in it. Symbolic links are removed, not followed.
/// Fails with [`Error::File`], for a mount point inside too (`EBUSY`).
pub(in crate::install) fn remove_tree(tree: &Tree, path: &Path) -> Result<(), Error> {
    match clear_tree(tree, path)?.into_iter().next() {
        None => Ok(()),
        Some((stuck, error)) => Err(Error::file("remove", tree.outside(&stuck))(error)),
    }
}

/// Removes what can be removed of a directory and everything in it, and says what cannot. Symbolic links are removed,
/// not followed; a mount point is emptied. Fails with [`Error::File`] for what no removal should answer.
pub(in crate::install) fn clear_tree(tree: &Tree, path: &Path) -> Result<Vec<(PathBuf, Errno)>, Error> {
    let mut stuck = Vec::new();
    if let Some((directory, name)) = tree.parent(path)? {
        clear(&directory, &name, path, &mut stuck).map_err(Error::file("remove", tree.outside(path)))?;
        tree.sync_parent(path)?;
    }
    Ok(stuck)
}

/// The names in a directory, without `.` and `..`; empty if it is missing.
pub(in crate::install) fn names(tree: &Tree, path: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
    let Some(directory) = tree.directory(path)? else { return Ok(Vec::new()) };
    match list(&directory, ".".as_ref()) {
        Ok((_, names)) => Ok(names),
        Err(Errno::NOENT) => Ok(Vec::new()),
        Err(error) => Err(Error::file("list", tree.outside(path))(error)),
    }
}

/// Opens a directory and lists it.
fn list(at: &OwnedFd, name: &std::ffi::OsStr) -> rustix::io::Result<(OwnedFd, Vec<std::ffi::OsString>)> {
    use std::os::unix::ffi::OsStrExt as _;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(at, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(std::ffi::OsStr::from_bytes(name).to_owned());
        }
    }
    Ok((fd, names))
}

/// Removes one name with everything below it, as far as the kernel lets it.
fn clear(
    at: &OwnedFd,
    name: &std::ffi::OsStr,
    path: &Path,
    stuck: &mut Vec<(PathBuf, Errno)>,
) -> rustix::io::Result<()> {
    let before = stuck.len();
    let mut removed = fs::unlinkat(at, name, AtFlags::empty());
    if removed == Err(Errno::ISDIR) {
        let (fd, names) = list(at, name)?;
        for name in names {
            clear(&fd, &name, &path.join(&name), stuck)?;
        }
        removed = fs::unlinkat(at, name, AtFlags::REMOVEDIR);
    }
    match removed {
        Ok(()) | Err(Errno::NOENT) => {}
        // What is stuck below has been named.
        Err(Errno::NOTEMPTY | Errno::EXIST) if stuck.len() > before => {}
        Err(
            error
            @ (Errno::BUSY | Errno::PERM | Errno::ACCESS | Errno::ROFS | Errno::NOTEMPTY | Errno::EXIST),
        ) => stuck.push((path.to_owned(), error)),
        Err(error) => return Err(error),
    }
    Ok(())
}
