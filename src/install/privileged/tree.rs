//! The file system below the root, by directory descriptors: no symbolic link is followed that another could have made.
//!
//! Every path is walked one name at a time with `O_NOFOLLOW` from the root's own descriptor, so somebody who may
//! write in a directory on the way cannot lead root elsewhere between a check and an act (openat(2), "Rationale"). Links
//! that only root, or the calling user, could have made are resolved by the walk itself: [`walk`].

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use fieldwork::Fieldwork;
use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, StatVfsMountFlags, fstatvfs};
use rustix::io::Errno;

use crate::install::error::Error;
use crate::sys::fs::permissions;
use crate::sys::walk::{self, Stop};

/// The root directory of an installation.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(in crate::install)")]
pub(in crate::install) struct Tree {
    /// The root's descriptor.
    root: OwnedFd,
    /// Its path, for programs that take one and for messages.
    #[field(get)]
    path: PathBuf,
}

/// Held while a command changes the tree.
#[derive(Debug)]
pub(in crate::install) struct Lock {
    /// Closing it releases the lock.
    _directory: OwnedFd,
}

/// Mode and owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Fieldwork)]
#[fieldwork(get, vis = "pub(in crate::install)")]
pub(in crate::install) struct Access {
    /// Permission bits, with set-id and sticky bits.
    mode: u32,
    /// The owner.
    uid: u32,
    /// The group.
    gid: u32,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::install) struct Found {
    /// File, directory, or something else.
    kind: FileType,
    /// Mode and owner.
    access: Access,
}

impl Tree {
    /// Opens the root; symbolic links in `path` itself are the caller's choice and are followed.
    pub(in crate::install) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
        let root = fs::open(path, flags, Mode::empty()).map_err(Error::file("open", path))?;
        Ok(Self { root, path: path.to_owned() })
    }

    /// Whether this is the running system's own root.
    pub(in crate::install) fn is_host(&self) -> bool {
        self.path == Path::new("/")
    }

    /// The path as the caller of the program would write it.
    pub(in crate::install) fn outside(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Opens a directory for use with other calls; `None` if it or one above it is missing.
    ///
    /// A symbolic link on the way is followed if nobody but root could have made or changed it, such as `/usr/local` of
    /// systems that are images: see [`walk`].
    /// Fails with [`Error::Link`] for another one, [`Error::NotADirectory`] for a file on the way, [`Error::File`] otherwise.
    pub(in crate::install) fn directory(&self, path: &Path) -> Result<Option<OwnedFd>, Error> {
        walk::directory(&self.root, path).map_err(|stop| match stop {
            Stop::Link(link, why) => Error::Link { path: self.outside(&link), why },
            Stop::NotADirectory(file) => Error::NotADirectory(self.outside(&file)),
            Stop::Refused(place, error) => Error::file("open", self.outside(&place))(error),
        })
    }

    /// The directory that holds `path`, and the last name; `None` if the directory is missing.
    pub(in crate::install) fn parent(&self, path: &Path) -> Result<Option<(OwnedFd, OsString)>, Error> {
        let name = path.file_name().expect("paths of the layout end with a name").to_owned();
        let above = path.parent().expect("paths of the layout are absolute");
        Ok(self.directory(above)?.map(|fd| (fd, name)))
    }

    /// The directory that holds `path`, which must be there.
    pub(in crate::install) fn existing_parent(&self, path: &Path) -> Result<(OwnedFd, OsString), Error> {
        self.parent(path)?
            .ok_or_else(|| Error::file("open the directory of", self.outside(path))(Errno::NOENT))
    }

    /// What is at `path`; a symbolic link is reported as itself.
    pub(in crate::install) fn look(&self, path: &Path) -> Result<Option<Found>, Error> {
        let Some((directory, name)) = self.parent(path)? else { return Ok(None) };
        match fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Found::of(&stat, FileType::from_raw_mode(stat.st_mode)))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::file("look at", self.outside(path))(error)),
        }
    }

    /// What is at `path`, which is to be a directory: behind a symbolic link that may be followed, what that leads to.
    pub(in crate::install) fn look_through(&self, path: &Path) -> Result<Option<Found>, Error> {
        let found = self.look(path)?;
        if !found.is_some_and(|found| found.is_link()) {
            return Ok(found);
        }
        let Some(fd) = self.directory(path)? else { return Ok(None) };
        let stat = fs::fstat(&fd).map_err(Error::file("look at", self.outside(path)))?;
        Ok(Some(Found::of(&stat, FileType::Directory)))
    }

    /// Where the symbolic link at `path` leads; `None` if there is none.
    pub(in crate::install) fn link(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        let Some((directory, name)) = self.parent(path)? else { return Ok(None) };
        match fs::readlinkat(&directory, &name, Vec::new()) {
            Ok(to) => Ok(Some(PathBuf::from(OsString::from_vec(to.into_bytes())))),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(error) => Err(Error::file("look at", self.outside(path))(error)),
        }
    }

    /// Makes the names in the directory of `path` durable.
    pub(in crate::install) fn sync_parent(&self, path: &Path) -> Result<(), Error> {
        let (directory, _) = self.existing_parent(path)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        fs::openat(&directory, ".", flags, Mode::empty())
            .and_then(fs::fsync)
            .map_err(Error::file("write to disk the directory of", self.outside(path)))
    }

    /// Keeps other installations and uninstallations away that lock the same directory.
    pub(in crate::install) fn lock(&self, path: &Path) -> Result<Lock, Error> {
        let outside = self.outside(path);
        let directory = self.directory(path)?.ok_or_else(|| Error::file("open", &outside)(Errno::NOENT))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            fs::openat(&directory, ".", flags, Mode::empty()).map_err(Error::file("open", &outside))?;
        match fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _directory: directory }),
            Err(Errno::WOULDBLOCK) => Err(Error::Busy),
            Err(error) => Err(Error::file("lock", outside)(error)),
        }
    }

    /// The path, or the nearest directory above it that can be seen, if its file system is mounted read-only.
    pub(in crate::install) fn read_only_place(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        let mut nearest = None;
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        for path in above {
            match self.directory(path) {
                Ok(Some(fd)) => nearest = Some((path, fd)),
                // Below /etc/mcpeg only root may look; what is above it has been seen by then.
                Ok(None) | Err(Error::File { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        let Some((path, fd)) = nearest else { return Ok(None) };
        let outside = self.outside(path);
        let state = fstatvfs(&fd).map_err(Error::file("look at the file system of", &outside))?;
        Ok(state.f_flag.contains(StatVfsMountFlags::RDONLY).then_some(outside))
    }
}

impl Access {
    /// These permission bits, owner and group.
    pub(in crate::install) const fn new(mode: u32, uid: u32, gid: u32) -> Self {
        Self { mode, uid, gid }
    }
}

impl Found {
    /// What the kernel tells of something of this kind.
    fn of(stat: &Stat, kind: FileType) -> Self {
        Self { kind, access: Access::new(permissions(stat.st_mode), stat.st_uid, stat.st_gid) }
    }

    /// Mode and owner.
    pub(in crate::install) fn access(&self) -> Access {
        self.access
    }

    /// Whether it is a plain file.
    pub(in crate::install) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// Whether it is a symbolic link.
    pub(in crate::install) fn is_link(&self) -> bool {
        self.kind == FileType::Symlink
    }

    /// Whether it is a directory.
    pub(in crate::install) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }
}
