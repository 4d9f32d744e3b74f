//! Removing files, directories and whole trees below the root.

use std::os::fd::OwnedFd;
use std::path::Path;

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
}

impl Tree {
    /// Removes a file that may be missing.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(in crate::install) fn remove_file(&self, path: &Path) -> Result<(), Error> {
        let Some((directory, name)) = self.parent(path)? else { return Ok(()) };
        match fs::unlinkat(&directory, &name, AtFlags::empty()) {
            Ok(()) => self.sync_parent(path),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::file("remove", self.outside(path))(error)),
        }
    }

    /// Renames within one directory; there must be nothing of the new name.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(in crate::install) fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let (directory, name) = self.existing_parent(from)?;
        let to_name = to.file_name().expect("paths of the layout end with a name");
        rename_new(&directory, &name, &directory, to_name)
            .map_err(Error::file("rename", self.outside(from)))?;
        self.sync_parent(to)
    }

    /// Removes a directory if it is empty.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(in crate::install) fn remove_directory(&self, path: &Path) -> Result<Emptied, Error> {
        let Some((directory, name)) = self.parent(path)? else { return Ok(Emptied::Gone) };
        match fs::unlinkat(&directory, &name, AtFlags::REMOVEDIR) {
            Ok(()) => self.sync_parent(path).map(|()| Emptied::Gone),
            Err(Errno::NOENT) => Ok(Emptied::Gone),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Emptied::NotEmpty),
            Err(error) => Err(Error::file("remove", self.outside(path))(error)),
        }
    }

    /// Removes a directory with everything in it. Symbolic links are removed, not followed.
    ///
    /// # Errors
    /// [`Error::File`], for a mount point inside too (`EBUSY`).
    pub(in crate::install) fn remove_tree(&self, path: &Path) -> Result<(), Error> {
        let Some((directory, name)) = self.parent(path)? else { return Ok(()) };
        match empty(&directory, &name).and_then(|()| fs::unlinkat(&directory, &name, AtFlags::REMOVEDIR)) {
            Ok(()) => self.sync_parent(path),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::file("remove", self.outside(path))(error)),
        }
    }

    /// The names in a directory, without `.` and `..`; empty if it is missing.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(in crate::install) fn names(&self, path: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
        let Some(directory) = self.directory(path)? else { return Ok(Vec::new()) };
        match list(&directory, ".".as_ref()) {
            Ok((_, names)) => Ok(names),
            Err(Errno::NOENT) => Ok(Vec::new()),
            Err(error) => Err(Error::file("list", self.outside(path))(error)),
        }
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

/// Removes everything in a directory.
fn empty(at: &OwnedFd, name: &std::ffi::OsStr) -> rustix::io::Result<()> {
    let (fd, names) = list(at, name)?;
    for name in names {
        match fs::unlinkat(&fd, &name, AtFlags::empty()) {
            // Linux answers EISDIR for a directory (unlink(2)).
            Err(Errno::ISDIR) => {
                empty(&fd, &name)?;
                fs::unlinkat(&fd, &name, AtFlags::REMOVEDIR)?;
            }
            other => other?,
        }
    }
    Ok(())
}
