//! The machine, or the directory below which an image is built, that a command works on.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;
use super::receipt::Receipt;
use super::tree::Tree;

/// What a command works on, and what is known about it.
#[derive(Debug)]
pub struct Target {
    /// The root.
    pub(super) tree: Tree,
    /// Whether systemd runs on it now.
    pub(super) booted: bool,
    /// What earlier commands did.
    pub(super) receipt: Option<Receipt>,
}

/// Held while a command changes the target.
#[derive(Debug)]
pub(super) struct Lock {
    /// Closing it releases the lock.
    _root: OwnedFd,
}

impl Target {
    /// Opens the running system (`None`) or an image below a directory.
    ///
    /// # Errors
    /// [`Error::File`] if the directory is not there; those of an unreadable receipt.
    pub fn open(root: Option<&Path>) -> Result<Self, Error> {
        let path = root.unwrap_or(Path::new("/"));
        let path = path.canonicalize().map_err(Error::file("open", path))?;
        let tree = Tree::open(&path)?;
        let receipt = Receipt::read(&tree)?;
        // sd_booted(3).
        let booted = root.is_none() && Path::new("/run/systemd/system").is_dir();
        Ok(Self { tree, booted, receipt })
    }

    /// Refuses whoever is not root.
    ///
    /// # Errors
    /// [`Error::NotRoot`] with the name of the command.
    pub fn require_root(act: &'static str) -> Result<(), Error> {
        if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Error::NotRoot(act)) }
    }

    /// Keeps other installations and uninstallations of the same root away.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(super) fn lock(&self) -> Result<Lock, Error> {
        let path = self.tree.path();
        let root = fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::file("open", path))?;
        match fs::flock(&root, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _root: root }),
            Err(Errno::WOULDBLOCK) => Err(Error::Busy),
            Err(error) => Err(Error::file("lock", path)(error)),
        }
    }
}
