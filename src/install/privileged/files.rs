//! Making, replacing and comparing files and directories below the root.
//!
//! A file appears whole or not at all: it is written beside its place under [`Beside::New`], made durable, and renamed.
//! While an installation may still be rolled back, the file that was replaced stays as a second link under
//! [`Beside::Old`], so that reverting restores the very inode.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::tree::{Access, Tree};
use crate::install::digest::Digest;
use crate::install::error::Error;
use crate::sys::fs::mode;
use crate::sys::rename::rename_new;

/// Files are read and written in pieces of this size, in bytes.
const PIECE: usize = 1 << 20;

/// The names of a file's companions during a change.
#[derive(Clone, Copy, Debug)]
pub(in crate::install) enum Beside {
    /// The next content, before it is complete.
    New,
    /// The content before, as long as it may be needed again.
    Old,
}

impl Beside {
    /// The companion's name: hidden, and with an ending that no reader of such a directory takes for its own, logrotate(8) included.
    fn name(self, name: &OsStr) -> OsString {
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(match self {
            Self::New => ".mcpeg-new~",
            Self::Old => ".mcpeg-old~",
        });
        beside
    }
}

/// Opens a plain file for reading; `None` if it is missing. Fails with [`Error::File`], also for a symbolic link.
pub(in crate::install) fn read(tree: &Tree, path: &Path) -> Result<Option<File>, Error> {
    let Some((directory, name)) = tree.parent(path)? else { return Ok(None) };
    // O_NONBLOCK keeps a fifo that somebody put there from blocking us.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match fs::openat(&directory, &name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::file("read", tree.outside(path))(error)),
    }
}

/// The digest of a file; `None` if it is missing.
pub(in crate::install) fn digest(tree: &Tree, path: &Path) -> Result<Option<Digest>, Error> {
    let Some(file) = read(tree, path)? else { return Ok(None) };
    Digest::of(file).map(Some).map_err(Error::file("read", tree.outside(path)))
}

/// Makes a directory, or mends mode and owner of one that is there.
pub(in crate::install) fn make_directory(tree: &Tree, path: &Path, access: Access) -> Result<(), Error> {
    let (directory, name) = tree.existing_parent(path)?;
    match fs::mkdirat(&directory, &name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(Error::file("make the directory", tree.outside(path))(error)),
    }
    set_access(tree, path, access)?;
    tree.sync_parent(path)
}

/// Sets mode and owner of a plain file or directory.
pub(in crate::install) fn set_access(tree: &Tree, path: &Path, access: Access) -> Result<(), Error> {
    let (directory, name) = tree.existing_parent(path)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    fs::openat(&directory, &name, flags, Mode::empty())
        .and_then(|fd| grant(&fd, access))
        .map_err(Error::file("set mode and owner of", tree.outside(path)))
}

/// Gives root's plain file to somebody in whose directory it lies; one that has another name is left alone, since who owns the
/// directory could have made the name.
/// Fails with [`Error::File`].
pub(in crate::install) fn give_away(tree: &Tree, path: &Path, to: Access) -> Result<(), Error> {
    let (directory, name) = tree.existing_parent(path)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    fs::openat(&directory, &name, flags, Mode::empty())
        .and_then(|fd| {
            let found = fs::fstat(&fd)?;
            let plain = fs::FileType::from_raw_mode(found.st_mode) == fs::FileType::RegularFile;
            let ours = found.st_uid == 0 && found.st_nlink == 1;
            if plain && ours { grant(&fd, to) } else { Ok(()) }
        })
        .map_err(Error::file("set mode and owner of", tree.outside(path)))
}

/// Writes a file whole. With `keep_old`, what it replaces stays as [`Beside::Old`]; otherwise there must be
/// nothing in its place.
/// Fails with [`Error::File`]; the place is then as before, and [`tidy`] removes what was left beside it.
pub(in crate::install) fn write(
    tree: &Tree,
    path: &Path,
    content: impl Read,
    access: Access,
    keep_old: bool,
) -> Result<(), Error> {
    let (directory, name) = tree.existing_parent(path)?;
    let new = Beside::New.name(&name);
    write_beside(tree, path, content, access)?;
    let renamed = if keep_old {
        let old = Beside::Old.name(&name);
        // An earlier run that was killed may have left one; the file in place is what counts now.
        unlink(&directory, &old)
            .and_then(|()| fs::linkat(&directory, &name, &directory, &old, AtFlags::empty()))
            .and_then(|()| fs::renameat(&directory, &new, &directory, &name))
    } else {
        rename_new(&directory, &new, &directory, &name)
    };
    renamed.map_err(Error::file("put in place", tree.outside(path)))?;
    tree.sync_parent(path)
}

/// Keeps the file as it is under [`Beside::Old`] too, so that [`put_back`] needs no room for its content.
pub(in crate::install) fn keep_old(tree: &Tree, path: &Path) -> Result<(), Error> {
    let (directory, name) = tree.existing_parent(path)?;
    let old = Beside::Old.name(&name);
    unlink(&directory, &old)
        .and_then(|()| fs::linkat(&directory, &name, &directory, &old, AtFlags::empty()))
        .map_err(Error::file("keep a second link of", tree.outside(path)))
}

/// Writes over the bytes of a file in place, which takes no room: the content is not longer than what is there, and
/// is filled up with spaces to that length. A power cut in the middle can leave a mixture of both.
/// Fails with [`Error::File`], also if the content is longer.
pub(in crate::install) fn write_over(tree: &Tree, path: &Path, content: &[u8]) -> Result<(), Error> {
    use std::os::unix::fs::FileExt as _;
    let (directory, name) = tree.existing_parent(path)?;
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let written =
        fs::openat(&directory, &name, flags, Mode::empty()).map_err(std::io::Error::from).and_then(|fd| {
            let file = File::from(fd);
            let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
            let Some(spare) = length.checked_sub(content.len()) else { return Err(Errno::NOSPC.into()) };
            let text = content.strip_suffix(b"\n").unwrap_or(content);
            let end: &[u8] = if text.len() < content.len() { b"\n" } else { b"" };
            file.write_all_at(&[text, &vec![b' '; spare], end].concat(), 0)?;
            file.sync_all()
        });
    written.map_err(Error::file("write over", tree.outside(path)))
}

/// Writes a file whole, whatever was there before. Fails with [`Error::File`]; the place is then as before.
pub(in crate::install) fn overwrite(
    tree: &Tree,
    path: &Path,
    content: &[u8],
    access: Access,
) -> Result<(), Error> {
    let (directory, name) = tree.existing_parent(path)?;
    write_beside(tree, path, content, access)?;
    fs::renameat(&directory, Beside::New.name(&name), &directory, &name)
        .map_err(Error::file("put in place", tree.outside(path)))?;
    tree.sync_parent(path)
}

/// Writes the content under [`Beside::New`] and makes it durable.
fn write_beside(tree: &Tree, path: &Path, mut content: impl Read, access: Access) -> Result<(), Error> {
    let (directory, name) = tree.existing_parent(path)?;
    let new = Beside::New.name(&name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let written = unlink(&directory, &new)
        .and_then(|()| fs::openat(&directory, &new, flags, Mode::RUSR | Mode::WUSR))
        .map_err(std::io::Error::from)
        .and_then(|fd| {
            let mut file = File::from(fd);
            let mut piece = vec![0; PIECE];
            loop {
                let length = content.read(&mut piece)?;
                if length == 0 {
                    break;
                }
                file.write_all(&piece[..length])?;
            }
            grant(&file, access)?;
            fs::fsync(&file).map_err(Into::into)
        });
    written.map_err(Error::file("write", tree.outside(path)))
}

/// Puts [`Beside::Old`] back in place, if there is one.
pub(in crate::install) fn put_back(tree: &Tree, path: &Path) -> Result<(), Error> {
    let Some((directory, name)) = tree.parent(path)? else { return Ok(()) };
    let old = Beside::Old.name(&name);
    // A rename of one link over another of the same file does nothing (rename(2)), so the link goes separately.
    match fs::renameat(&directory, &old, &directory, &name).and_then(|()| unlink(&directory, &old)) {
        Ok(()) => tree.sync_parent(path),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::file("put back", tree.outside(path))(error)),
    }
}

/// Removes what a change may have left beside a file.
pub(in crate::install) fn tidy(tree: &Tree, path: &Path) -> Result<(), Error> {
    let Some((directory, name)) = tree.parent(path)? else { return Ok(()) };
    unlink(&directory, &Beside::New.name(&name))
        .and_then(|()| unlink(&directory, &Beside::Old.name(&name)))
        .map_err(Error::file("tidy up beside", tree.outside(path)))
}

/// Sets owner, then mode: changing the owner clears set-id bits (chown(2)).
fn grant(fd: impl std::os::fd::AsFd, access: Access) -> rustix::io::Result<()> {
    fs::fchown(&fd, Some(Uid::from_raw(access.uid())), Some(Gid::from_raw(access.gid())))?;
    fs::fchmod(&fd, mode(access.mode()))
}

/// Removes a name that may be missing.
fn unlink(directory: &std::os::fd::OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    match fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
