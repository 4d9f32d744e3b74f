//! A file of the state directory: read only if nobody else could have written it, and replaced as a whole by whoever holds
//! the lock that it is changed under.
//!
//! Invariants: a reader sees a whole file; what a [`Change`] writes is on the disk before it goes on; only their owner can read
//! the files that it makes.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::{Exit, ToExit};
use crate::sys::fs::{
    self, Access, Directory, Owners, Ownership, mend, open_untrusted, read_at_most, write_atomic,
};
use crate::sys::stamp::Stamp;
use crate::sys::user;

/// The mode of every file.
const MODE: u32 = 0o600;
/// The mode of a directory that is missing.
const DIRECTORY: u32 = 0o750;

/// A kind of file.
#[derive(Debug)]
pub(crate) struct Kind {
    /// What it is, for people.
    pub(crate) what: &'static str,
    /// Whether others may read it.
    pub(crate) is_public: bool,
    /// The largest that is read, in bytes.
    pub(crate) limit: u64,
}

/// A file of the state directory.
#[derive(Clone, Debug)]
pub(crate) struct StateFile {
    /// The directory.
    directory: PathBuf,
    /// The file.
    path: PathBuf,
    /// Of what kind it is.
    kind: &'static Kind,
}

/// A change of files. Nobody else changes them once it is locked, until it is dropped.
#[derive(Debug)]
pub(crate) struct Change {
    /// The file or directory that is locked.
    lock: File,
    /// Where that is.
    path: PathBuf,
    /// The user and group that the files are to belong to.
    owner: (u32, u32),
}

/// Why a file cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It or its directory.
    #[error("cannot use `{}`", .0.display())]
    Use(PathBuf, #[source] io::Error),
    /// Others can do what they must not.
    #[error("`{}` can be {act} by others", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What that is.
        act: &'static str,
    },
    /// It is none of ours.
    #[error("`{}` is not {what} that this version knows", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it is to be.
        what: &'static str,
    },
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Use(_, error) if error.kind() == io::ErrorKind::PermissionDenied => Exit::Permission,
            Self::Use(..) => Exit::CannotCreate,
            Self::Open { .. } | Self::Content { .. } => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Use(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some("run the command as root or as the user that the gateway runs as".to_owned())
            }
            Self::Use(_, error) => mend(error),
            Self::Open { .. } | Self::Content { .. } => None,
        }
    }
}

impl StateFile {
    /// The file of this name.
    pub(crate) fn new(directory: &Path, name: &str, kind: &'static Kind) -> Self {
        Self { directory: directory.to_owned(), path: directory.join(name), kind }
    }

    /// What the file is by, so that another one is seen.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::of(&self.path)
    }

    /// What it has, if it is there.
    pub(crate) fn bytes(&self, owners: Owners) -> Result<Option<Vec<u8>>, Error> {
        let cannot = |error| Error::Use(self.path.clone(), error);
        match open_untrusted(&self.path, owners) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok((file, metadata)) => {
                self.check_mode(metadata.mode())?;
                read_at_most(file, self.kind.limit).map(Some).map_err(cannot)
            }
            Err(error) => Err(cannot(error)),
        }
    }

    /// The document that it has, if it is there. It must be one that is known.
    pub(crate) fn document<T: DeserializeOwned>(
        &self,
        owners: Owners,
        is_known: impl FnOnce(&T) -> bool,
    ) -> Result<Option<T>, Error> {
        let Some(bytes) = self.bytes(owners)? else { return Ok(None) };
        let document = serde_json::from_slice(&bytes).ok().filter(is_known);
        document.map(Some).ok_or_else(|| self.strange())
    }

    /// Removes it, if it is there, for whoever has the lock.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        match fs::remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::Use(self.path.clone(), error))
            }
            _ => Ok(()),
        }
    }

    /// It is none of ours.
    pub(crate) fn strange(&self) -> Error {
        Error::Content { path: self.path.clone(), what: self.kind.what }
    }

    /// Whether others can do no more with a file of this mode than they may.
    fn check_mode(&self, mode: u32) -> Result<(), Error> {
        let (foreign, act) =
            if self.kind.is_public { (0o022, "written") } else { (0o077, "read or written") };
        if mode & foreign == 0 { Ok(()) } else { Err(Error::Open { path: self.path.clone(), act }) }
    }
}

impl Change {
    /// Begins to change the files of a directory, which is locked itself, and is made if it is missing. The files are to
    /// belong to `owner`, or else to whom the directory does.
    pub(crate) fn of_directory(directory: &Path, owner: Option<(u32, u32)>) -> Result<Self, Error> {
        let cannot = |error| Error::Use(directory.to_owned(), error);
        let owner = made(directory, owner).map_err(cannot)?.1;
        let lock = File::open(directory).map_err(cannot)?;
        Ok(Self { lock, path: directory.to_owned(), owner })
    }

    /// The same where this file is locked, and made if it is missing. It is never replaced.
    pub(crate) fn by(file: &StateFile, owner: Option<(u32, u32)>) -> Result<Self, Error> {
        let cannot = |error| Error::Use(file.path.clone(), error);
        let (directory, owner) = made(&file.directory, owner).map_err(cannot)?;
        let name = file.path.file_name().unwrap_or_default();
        let opened = directory.open_or_create(name, MODE, Access::ReadWrite, Owners::OursOr(owner.0));
        let (lock, metadata) = opened.map_err(cannot)?;
        file.check_mode(metadata.mode())?;
        if user::is_root() {
            std::os::unix::fs::fchown(&lock, Some(owner.0), Some(owner.1)).map_err(cannot)?;
        }
        Ok(Self { lock, path: file.path.clone(), owner })
    }

    /// Waits until nobody else changes the files.
    pub(crate) fn lock(&self) -> Result<(), Error> {
        flock(&self.lock, FlockOperation::LockExclusive).map_err(|error| self.cannot(error.into()))
    }

    /// Whether nobody else changes them now.
    pub(crate) fn try_lock(&self) -> Result<bool, Error> {
        match flock(&self.lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(self.cannot(error.into())),
        }
    }

    /// What the locked file has; this, if it is empty.
    pub(crate) fn content_or<E: From<Error>>(
        &mut self,
        first: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let mut content = Vec::new();
        self.lock.read_to_end(&mut content).map_err(|error| self.cannot(error))?;
        if !content.is_empty() {
            return Ok(content);
        }
        let content = first()?;
        let written = self.lock.write_all(&content).and_then(|()| self.lock.sync_all());
        written.map(|()| content).map_err(|error| self.cannot(error).into())
    }

    /// Who may own the files.
    pub(crate) const fn owners(&self) -> Owners {
        Owners::OursOr(self.owner.0)
    }

    /// Replaces a file by this document, which can be JSON.
    pub(crate) fn write(&self, file: &StateFile, document: &impl Serialize) -> Result<(), Error> {
        let content =
            serde_json::to_vec_pretty(document).expect("it has string keys, texts and numbers only");
        let (uid, gid) = Some(self.owner).filter(|_| user::is_root()).unzip();
        let written = write_atomic(&file.path, &content, Ownership { mode: MODE, uid, gid });
        written.map_err(|error| Error::Use(file.path.clone(), error))
    }

    /// The lock cannot be used.
    fn cannot(&self, error: io::Error) -> Error {
        Error::Use(self.path.clone(), error)
    }
}

/// The directory, which is made if it is missing, and to whom its files are to belong.
fn made(path: &Path, owner: Option<(u32, u32)>) -> io::Result<(Directory, (u32, u32))> {
    let directory = match owner.filter(|_| user::is_root()) {
        Some(owner) => Directory::make_for(path, DIRECTORY, owner)?,
        None => Directory::make(path, DIRECTORY)?,
    };
    let owner = owner.unwrap_or((directory.owner(), directory.group()));
    Ok((directory, owner))
}
