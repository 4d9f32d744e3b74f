//! Files where other users may write, too: the one place that opens, makes, renames and removes files by name.
//!
//! A name is looked up one directory after the other, by descriptor (openat(2), "Rationale"), so that nobody can lead
//! this process elsewhere between a check and an act. The rules:
//!
//! - Symbolic links on the way are followed as long as only root and this user could have made them. Below a directory
//!   that somebody else may write, none is followed; as the last part of a name, none is anywhere.
//! - An existing file is used only if it is a regular one, belongs to root or this user (or to whom the caller names), and
//!   has one name: a hard link could be another's file. A new one is made exclusively, `O_EXCL`.
//! - A directory that belongs to somebody else is used as a parent only if nobody but root and this user could have put it
//!   there, as an administrator who mounts one does; its files are held to the same rules.
//! - Modes are set on descriptors, never by path.
//!
//! None of that relies on `fs.protected_symlinks` and its kin (`proc_sys_fs(5)`), which may be off. A group counts as
//! others unless it is root's or this process's own; an access control list that lets more users in is not looked at.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::fchown;
use std::path::{Component, Path, PathBuf};

use nix::libc;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fchmod, fstat};
use rustix::io::Errno;

/// Only owners may rename and remove their entries: inode(7) `S_ISVTX`.
const STICKY: u32 = 0o1000;
/// The most links on the way to a file: `path_resolution(7)`.
const LINKS: usize = 40;
/// How often a file is looked for that others make and remove at the same time.
const TRIES: usize = 16;

/// Mode and owner of a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ownership {
    /// The permission bits, whatever the umask.
    pub(crate) mode: u32,
    /// The owner's id; `None` keeps the writer's.
    pub(crate) uid: Option<u32>,
    /// The group's id; `None` keeps the writer's.
    pub(crate) gid: Option<u32>,
}

impl Ownership {
    /// This mode, and the writer as owner.
    pub(crate) const fn mode(mode: u32) -> Self {
        Self { mode, uid: None, gid: None }
    }
}

/// Whose a file or directory may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Owners {
    /// Root's or this user's.
    #[default]
    Ours,
    /// Those, or this one's, whom this process is about to become.
    OursOr(u32),
    /// Anybody's: what it holds is not believed without proof.
    Anybody,
}

impl Owners {
    /// Whether this user may be the owner.
    fn allow(self, uid: u32) -> bool {
        match self {
            Self::Anybody => true,
            Self::OursOr(other) if uid == other => true,
            Self::Ours | Self::OursOr(_) => is_ours(uid),
        }
    }
}

/// How a file is opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// For reading and writing.
    ReadWrite,
    /// For reading, and for writing at its end.
    Append,
}

impl Access {
    /// The flags of open(2).
    const fn flags(self) -> OFlags {
        match self {
            Self::ReadWrite => OFlags::RDWR,
            Self::Append => OFlags::RDWR.union(OFlags::APPEND),
        }
    }
}

/// Why a name is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is a symbolic link.
    Link,
    /// It is a symbolic link on the way, which somebody else could have made.
    LinkOnTheWay,
    /// It is no regular file.
    NotAFile,
    /// It belongs to this user.
    Foreign(u32),
    /// It has so many names.
    Names(u64),
    /// It is a directory of this user's, who could have put it there.
    Placed(u32),
}

/// A name that is not used, since following it could harm somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Untrusted {
    /// The name.
    path: PathBuf,
    /// What is wrong with it.
    why: Why,
}

impl Untrusted {
    /// What is wrong with it.
    pub(crate) const fn why(&self) -> Why {
        self.why
    }

    /// How it is mended.
    pub(crate) fn mend(&self) -> String {
        let path = self.path.display();
        match self.why {
            Why::Link | Why::NotAFile => {
                format!("look at it with `ls -ld {path}` and remove it, or name another")
            }
            Why::LinkOnTheWay => {
                format!("name the place that `{path}` leads to, or remove the link if it is not yours")
            }
            Why::Foreign(_) => {
                format!(
                    "look at it with `ls -ld {path}`; remove it, or give it to the user that mcpeg runs as"
                )
            }
            Why::Names(_) => {
                format!("`find -samefile {path}` tells the others; remove the name that is wrong")
            }
            Why::Placed(_) => {
                format!(
                    "give it to the user that mcpeg runs as with `chown`, or name a place other than `{path}`"
                )
            }
        }
    }

    /// As what system calls answer.
    fn error(path: PathBuf, why: Why) -> io::Error {
        io::Error::other(Self { path, why })
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.why {
            Why::Link => write!(f, "`{path}` is a symbolic link"),
            Why::LinkOnTheWay => {
                write!(f, "`{path}` is a symbolic link below a directory that others may write")
            }
            Why::NotAFile => write!(f, "`{path}` is not a regular file"),
            Why::Foreign(uid) => write!(f, "`{path}` belongs to the user with number {uid}"),
            Why::Names(count) => write!(f, "`{path}` is a file with {count} names (hard links)"),
            Why::Placed(uid) => write!(
                f,
                "the directory `{path}` belongs to the user with number {uid}, below a directory that others may write"
            ),
        }
    }
}

impl std::error::Error for Untrusted {}

/// Why a name was not used, if that is what the error says.
pub(crate) fn refusal(error: &io::Error) -> Option<&Untrusted> {
    error.get_ref()?.downcast_ref()
}

/// How an error is mended, if it says that a name was not used.
pub(crate) fn mend(error: &io::Error) -> Option<String> {
    refusal(error).map(Untrusted::mend)
}

/// Whether a user is root or this one.
fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == super::user::effective_uid()
}

/// Whether others than root and this user may write what stat(2) tells about.
fn is_shared(stat: &Stat) -> bool {
    let bits = permissions(stat.st_mode);
    let foreign_group = ![0, super::user::effective_gid()].contains(&stat.st_gid);
    !is_ours(stat.st_uid) || bits & 0o002 != 0 || bits & 0o020 != 0 && foreign_group
}

/// A directory that was reached under the rules of this module; what is done in it is done by its descriptor, whatever
/// its name leads to by now.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The directory; `O_PATH`.
    fd: OwnedFd,
    /// How it was reached.
    path: PathBuf,
    /// What it is.
    stat: Stat,
    /// Whether somebody else could have put it there.
    exposed: bool,
}

impl Directory {
    /// Opens a directory that exists.
    /// Fails with [`Untrusted`] for a name that is not used, else what openat(2) answers.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::walk(path, None)
    }

    /// Opens a directory, making it and those above it with this mode if they are missing.
    /// Fails like [`Self::open`], and what mkdirat(2) answers.
    pub(crate) fn make(path: &Path, mode: u32) -> io::Result<Self> {
        Self::walk(path, Some(mode))
    }

    /// [`Self::make`] by root for this user and group, to whom what was missing is given.
    /// Fails like [`Self::make`] and [`Self::give`].
    pub(crate) fn make_for(path: &Path, mode: u32, (uid, gid): (u32, u32)) -> io::Result<Self> {
        let is_missing = |path: &&Path| matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
        let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
        let there = Self::make(path, mode)?;
        for directory in missing.iter().rev() {
            let (parent, name) = Self::of(directory, Owners::OursOr(uid))?;
            parent.give(name, &[FileType::Directory], uid, gid)?;
        }
        if missing.is_empty() { Ok(there) } else { Self::open(path) }
    }

    /// The directory of a file, and the file's name in it.
    /// Fails like [`Self::open`]; `EINVAL` for a path that has no file name.
    pub(crate) fn of(path: &Path, owners: Owners) -> io::Result<(Self, &OsStr)> {
        let name = path.file_name().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = Self::open(parent.unwrap_or(Path::new(".")))?;
        Ok((directory.owned(owners)?, name))
    }

    /// Follows a path.
    fn walk(path: &Path, make: Option<u32>) -> io::Result<Self> {
        let absolute = std::path::absolute(path)?;
        let mut rest = parts(&absolute);
        let mut at = Self::root()?;
        let mut links = 0;
        while let Some(name) = rest.pop() {
            let (fd, stat) = match at.look(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && make.is_some() => {
                    at.make_one(&name, make.unwrap_or_default())?;
                    at.look(&name)?
                }
                other => other?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => at = at.below(&name, fd, stat),
                FileType::Symlink => {
                    links += 1;
                    let target = at.follow(&name, links)?;
                    if target.is_absolute() {
                        at = Self::root()?;
                    }
                    rest.extend(parts(&target));
                }
                _ => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
            }
        }
        Ok(at)
    }

    /// The root of the file system.
    fn root() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/", flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok(Self { fd, path: PathBuf::from("/"), stat, exposed: false })
    }

    /// An entry, whatever it is.
    fn look(&self, name: &OsStr) -> io::Result<(OwnedFd, Stat)> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok((fd, stat))
    }

    /// A directory in this one.
    fn below(&self, name: &OsStr, fd: OwnedFd, stat: Stat) -> Self {
        // What lies in a sticky directory of ours and is ours, too, cannot be replaced by anybody else; but it is not known
        // whether all that is above it stays, so that links are not followed there either.
        let exposed = self.exposed || is_shared(&self.stat);
        Self { fd, path: self.path.join(name), stat, exposed }
    }

    /// Where a link leads that only root or this user can have made.
    fn follow(&self, name: &OsStr, links: usize) -> io::Result<PathBuf> {
        if self.exposed || is_shared(&self.stat) {
            return Err(Untrusted::error(self.path.join(name), Why::LinkOnTheWay));
        }
        if links > LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = rustix::fs::readlinkat(&self.fd, name, Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Makes a directory in this one; that somebody else has made it at the same time is no error.
    fn make_one(&self, name: &OsStr, bits: u32) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.fd, name, mode(bits)) {
            Err(Errno::EXIST) => Ok(()),
            other => Ok(other?),
        }
    }

    /// This directory, unless it is none of these owners' and somebody else could have put it there.
    /// Fails with [`Untrusted`].
    pub(crate) fn owned(self, owners: Owners) -> io::Result<Self> {
        if self.exposed && !owners.allow(self.stat.st_uid) {
            return Err(Untrusted::error(self.path, Why::Placed(self.stat.st_uid)));
        }
        Ok(self)
    }

    /// The owner's number.
    pub(crate) const fn owner(&self) -> u32 {
        self.stat.st_uid
    }

    /// The permission bits.
    pub(crate) fn mode(&self) -> u32 {
        permissions(self.stat.st_mode)
    }

    /// The group's number.
    pub(crate) const fn group(&self) -> u32 {
        self.stat.st_gid
    }

    /// Whether only owners may rename and remove entries.
    pub(crate) fn is_sticky(&self) -> bool {
        permissions(self.stat.st_mode) & STICKY != 0
    }

    /// What an entry is; links are not followed.
    /// Fails with what statat(2) answers.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Whether an entry is this file, by device and inode.
    pub(crate) fn holds(&self, name: &OsStr, file: (u64, u64)) -> bool {
        self.stat(name).is_ok_and(|stat| identity(&stat) == file)
    }

    /// The names of the entries.
    /// Fails with what getdents(2) answers.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self.readable()?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// The directory for reading.
    fn readable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.fd, ".", flags, Mode::empty())?)
    }

    /// Makes the entries durable: fsync(2) of a file alone does not.
    /// Fails with what fsync(2) answers.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.readable()?)?)
    }

    /// Opens an existing regular file for reading, without waiting for anybody.
    /// Fails with [`Untrusted`] for one that is not used, else what openat(2) answers.
    pub(crate) fn read(&self, name: &OsStr, owners: Owners) -> io::Result<(File, Metadata)> {
        self.open_existing(name, OFlags::RDONLY, owners)
    }

    /// Opens a regular file for writing, and makes it with this mode if it is missing.
    /// Fails like [`Self::read`].
    pub(crate) fn open_or_create(
        &self,
        name: &OsStr,
        bits: u32,
        access: Access,
        owners: Owners,
    ) -> io::Result<(File, Metadata)> {
        let mut last = Errno::EXIST.into();
        for _ in 0..TRIES {
            match self.open_existing(name, access.flags(), owners) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
            match self.exclusively(name, bits, access) {
                Ok(file) => {
                    let metadata = file.metadata()?;
                    return Ok((file, metadata));
                }
                // Another process has made it since.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Makes a file that must not exist, with exactly this mode.
    /// Fails with `EEXIST` if there is anything of that name, else what openat(2) answers.
    pub(crate) fn create_new(&self, name: &OsStr, bits: u32, access: Access) -> io::Result<File> {
        let file = self.exclusively(name, bits & 0o600, access)?;
        fchmod(&file, mode(bits))?;
        Ok(file)
    }

    /// Makes a file that must not exist, with what the umask leaves of this mode.
    fn exclusively(&self, name: &OsStr, bits: u32, access: Access) -> io::Result<File> {
        let flags = access.flags() | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, name, flags, mode(bits))?))
    }

    /// Opens an existing file after looking at it, and looks again at what was opened.
    fn open_existing(&self, name: &OsStr, access: OFlags, owners: Owners) -> io::Result<(File, Metadata)> {
        // Before: to open a device can have effects of its own.
        self.check(name, &self.stat(name)?, owners)?;
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::LOOP) => return Err(Untrusted::error(self.path.join(name), Why::Link)),
            other => other?,
        };
        self.check(name, &fstat(&fd)?, owners)?;
        let file = File::from(fd);
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }

    /// Refuses what is not a regular file with one name and one of these owners.
    fn check(&self, name: &OsStr, stat: &Stat, owners: Owners) -> io::Result<()> {
        let why = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Why::Link,
            FileType::RegularFile if !owners.allow(stat.st_uid) => Why::Foreign(stat.st_uid),
            // A file that was removed since has none.
            FileType::RegularFile if names_of(stat) > 1 => Why::Names(names_of(stat)),
            FileType::RegularFile => return Ok(()),
            _ => Why::NotAFile,
        };
        Err(Untrusted::error(self.path.join(name), why))
    }

    /// Renames an entry; what has the new name is replaced.
    /// Fails with what renameat(2) answers.
    pub(crate) fn rename(&self, old: &OsStr, new: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, old, &self.fd, new)?)
    }

    /// Renames an entry unless the new name is taken.
    /// Fails with `EEXIST` if it is taken, else what renameat2(2), or linkat(2) and unlinkat(2), answer.
    pub(crate) fn rename_new(&self, old: &OsStr, new: &OsStr) -> io::Result<()> {
        match super::rename::rename_new(&self.fd, old, &self.fd, new) {
            // A file system that cannot: link(2) does not replace either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(&self.fd, old, &self.fd, new, AtFlags::empty())?;
                self.remove(old)
            }
            other => Ok(other?),
        }
    }

    /// Removes an entry that is no directory.
    /// Fails with what unlinkat(2) answers.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Gives an entry to another user if it is root's, of one of these kinds, and has no other name: who could make the name
    /// may have made it a link to something precious.
    /// Fails with what chownat(2) answers.
    pub(crate) fn give(&self, name: &OsStr, kinds: &[FileType], uid: u32, gid: u32) -> io::Result<()> {
        let (fd, stat) = self.look(name)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let single = kind == FileType::Directory || names_of(&stat) == 1;
        if stat.st_uid != 0 || !kinds.contains(&kind) || !single {
            return Ok(());
        }
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        Ok(rustix::fs::chownat(&fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
    }

    /// Sets the mode of a socket that this process has just bound here, by descriptor.
    /// Fails with `EPERM` if there is something else by now.
    pub(super) fn set_socket_mode(&self, name: &OsStr, bits: u32) -> io::Result<()> {
        let (fd, stat) = self.look(name)?;
        let ours = stat.st_uid == super::user::effective_uid() && names_of(&stat) == 1;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket || !ours {
            return Err(Errno::PERM.into());
        }
        if permissions(stat.st_mode) == bits {
            return Ok(());
        }
        set_mode_of(&fd, bits)
    }
}

/// Sets the mode of a file that is open by `O_PATH` only, which fchmod(2) refuses: `proc_pid_fd(5)` leads to it.
#[cfg(target_os = "linux")]
fn set_mode_of(fd: &OwnedFd, bits: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(rustix::fs::chmod(path, mode(bits))?)
}

/// The descriptor alone does it here.
#[cfg(not(target_os = "linux"))]
fn set_mode_of(fd: &OwnedFd, bits: u32) -> io::Result<()> {
    Ok(rustix::fs::chmodat(fd, "", mode(bits), AtFlags::EMPTY_PATH)?)
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    let mut parts: Vec<OsString> = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect();
    parts.reverse();
    parts
}

/// Device and inode.
pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// The number of names of a file: its width differs between platforms.
#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "it is 64 bits wide here"))]
fn names_of(stat: &Stat) -> u64 {
    stat.st_nlink.into()
}

/// Replaces or creates a file so that a reader sees the old content or the new one and nothing between, also after
/// a crash: a new file in the same directory, fsync, rename, fsync of the directory.
///
/// A symbolic link at `path` is replaced, not followed.
/// Fails with [`Untrusted`] for a directory that is not used, else what the system calls answer; the temporary file is removed
/// then.
pub(crate) fn write_atomic(path: &Path, content: &[u8], ownership: Ownership) -> io::Result<()> {
    let (directory, name) = Directory::of(path, Owners::Ours)?;
    let temporary = temporary_beside(name);
    let result = write_new(&directory, &temporary, content, ownership)
        .and_then(|()| directory.rename(&temporary, name));
    if result.is_err() {
        // The first error is the one to report; a file that cannot be removed either is left behind.
        drop(directory.remove(&temporary));
    }
    result.and_then(|()| directory.sync())
}

/// Whether this process sees the root of the file system mounted without execution, mount(8) `noexec`: so a service does
/// whose unit forbids programs (systemd.exec(5) `NoExecPaths=/`).
#[cfg(target_os = "linux")]
pub(crate) fn is_root_noexec() -> bool {
    let flags = rustix::fs::statvfs("/").map(|state| state.f_flag);
    flags.is_ok_and(|flags| flags.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}

/// There are no units here.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn is_root_noexec() -> bool {
    false
}

/// A name in the same directory that this process alone uses.
fn temporary_beside(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    temporary
}

/// Removes what writers of this file left beside it that were killed before they could rename it. Nobody may be writing it.
pub(crate) fn sweep_temporaries(path: &Path) -> io::Result<()> {
    let (directory, name) = Directory::of(path, Owners::Anybody)?;
    let name = name.to_str().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    for found in directory.names()? {
        let number = found.to_str().and_then(|found| {
            found.strip_prefix('.')?.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp")
        });
        let is_number = number.is_some_and(|number| number.parse::<u32>().is_ok());
        if is_number && FileType::from_raw_mode(directory.stat(&found)?.st_mode) == FileType::RegularFile {
            directory.remove(&found)?;
        }
    }
    Ok(())
}

/// Creates the file, which must not exist, with its final mode and owner, and syncs it.
fn write_new(directory: &Directory, name: &OsStr, content: &[u8], ownership: Ownership) -> io::Result<()> {
    let mut file = match directory.create_new(name, 0o600, Access::ReadWrite) {
        // Left behind by a crashed process that had our number; nobody alive uses this name.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            directory.remove(name)?;
            directory.create_new(name, 0o600, Access::ReadWrite)?
        }
        other => other?,
    };
    file.write_all(content)?;
    if ownership.uid.is_some() || ownership.gid.is_some() {
        fchown(&file, ownership.uid, ownership.gid)?;
    }
    // After fchown, which clears set-id bits; and independent of the umask.
    fchmod(&file, mode(ownership.mode))?;
    file.sync_all()
}

/// [`Directory::read`] by path.
/// Fails like [`Directory::of`] and [`Directory::read`].
pub(crate) fn open_untrusted(path: &Path, owners: Owners) -> io::Result<(File, Metadata)> {
    let (directory, name) = Directory::of(path, owners)?;
    directory.read(name, owners)
}

/// [`Directory::open_or_create`] by path, for reading and writing.
/// Fails like [`Directory::of`] and [`Directory::open_or_create`].
pub(crate) fn open_or_create(path: &Path, mode: u32, owners: Owners) -> io::Result<(File, Metadata)> {
    let (directory, name) = Directory::of(path, owners)?;
    directory.open_or_create(name, mode, Access::ReadWrite, owners)
}

/// [`Directory::remove`] by path.
/// Fails like [`Directory::of`], and what unlinkat(2) answers.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let (directory, name) = Directory::of(path, Owners::Anybody)?;
    directory.remove(name)
}

/// Removes a file if it is still this one, by device and inode; whether it was.
/// Fails like [`remove`].
pub(crate) fn remove_if(path: &Path, file: (u64, u64)) -> io::Result<bool> {
    let (directory, name) = Directory::of(path, Owners::Anybody)?;
    let is_it = directory.holds(name, file);
    if is_it {
        directory.remove(name)?;
    }
    Ok(is_it)
}

/// Renames an entry within its directory; what has the new name is replaced.
/// Fails with `EXDEV` for names in different directories, else those of [`Directory::of`] and what renameat(2) answers.
pub(crate) fn rename(old: &Path, new: &Path) -> io::Result<()> {
    let (directory, name) = Directory::of(old, Owners::Ours)?;
    match new.file_name().filter(|_| old.parent() == new.parent()) {
        Some(new) => directory.rename(name, new),
        None => Err(Errno::XDEV.into()),
    }
}

/// Permission bits as the kernel takes them: `mode_t` is of another width on other platforms.
#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "it is 32 bits wide here"))]
pub(crate) fn mode(bits: u32) -> rustix::fs::Mode {
    rustix::fs::Mode::from_raw_mode((bits & 0o7777).try_into().unwrap_or_default())
}

/// The permission bits of what stat(2) tells.
#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "it is 32 bits wide here"))]
pub(crate) fn permissions(mode: rustix::fs::RawMode) -> u32 {
    u32::from(mode) & 0o7777
}

/// Reads at most `limit` bytes.
/// Fails with what read(2) answers.
pub(crate) fn read_at_most(file: impl io::Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn sweep_removes_what_killed_writers_left_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x.pid");
        let names = [".x.pid.4711.tmp", ".x.pid.a.tmp", ".y.pid.1.tmp", "x.pid.1.tmp", "x.pid"];
        for name in names {
            fs::File::create(scratch.path().join(name)).unwrap();
        }
        sweep_temporaries(&path).unwrap();
        let left: Vec<_> = names.into_iter().filter(|name| scratch.path().join(name).exists()).collect();
        assert_eq!(left, &names[1..]);
    }

    #[test]
    fn atomic_write_replaces_link_and_not_its_target() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        write_atomic(&target, b"precious", Ownership::mode(0o600)).unwrap();
        symlink(&target, &link).unwrap();
        write_atomic(&link, b"new", Ownership::mode(0o640)).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert_eq!(fs::read(&link).unwrap(), b"new");
        assert_eq!(fs::symlink_metadata(&link).unwrap().permissions().mode(), 0o100_640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "a temporary file stayed behind");
    }

    #[test]
    fn failed_atomic_write_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        fs::create_dir_all(target.join("full")).unwrap();
        assert!(write_atomic(&target, b"new", Ownership::mode(0o644)).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn opening_a_link_fails_and_opening_a_fifo_does_not_hang() {
        let directory = tempfile::tempdir().unwrap();
        let (link, fifo) = (directory.path().join("link"), directory.path().join("fifo"));
        symlink("/etc/passwd", &link).unwrap();
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (path, why) in [(&link, Why::Link), (&fifo, Why::NotAFile)] {
            let error = open_untrusted(path, Owners::Anybody).unwrap_err();
            assert_eq!(refusal(&error).map(Untrusted::why), Some(why), "{error}");
        }
    }
}
