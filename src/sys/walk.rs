//! A walk from a root directory down to another, one name at a time, by openat(2) with `O_NOFOLLOW`.
//!
//! A symbolic link is followed, within the root, if it belongs to root, or to the user that this process is, and lies in a
//! directory that nobody else may write to; so must be each directory that holds a name of where it leads. Nobody else can
//! then lead the walk elsewhere, neither before nor during an act.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// More symbolic links than these on one path are a circle: `path_resolution(7)`.
const MOST_LINKS: usize = 40;
/// How each directory is opened.
const FLAGS: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::PATH).union(OFlags::NOFOLLOW);

/// Why a walk ends before its end; the path is that which was asked for, as far as it was walked.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A symbolic link that is not followed, as it does this.
    Link(PathBuf, &'static str),
    /// Something that is neither a directory nor a link to one.
    NotADirectory(PathBuf),
    /// What the kernel says.
    Refused(PathBuf, io::Error),
}

/// Opens the directory (`O_PATH`) at a path that is absolute below the root; `None` if it or one above it is missing.
/// Fails with [`Stop`].
pub(crate) fn directory(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>, Stop> {
    let root = fs::openat(root, ".", FLAGS, Mode::empty())
        .map_err(|error| Stop::Refused(PathBuf::from("/"), error.into()))?;
    let mut walk = Walk { opened: vec![root], walked: PathBuf::from("/"), links: 0 };
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        walk.walked.push(name);
        if !walk.enter(name)? {
            return Ok(None);
        }
    }
    Ok(walk.opened.pop())
}

/// A walk on its way.
struct Walk {
    /// The directories from the root to here.
    opened: Vec<OwnedFd>,
    /// The path that was asked for, as far as it was walked.
    walked: PathBuf,
    /// How many links were followed.
    links: usize,
}

impl Walk {
    /// Enters the directory of this name; whether there is one.
    fn enter(&mut self, name: &OsStr) -> Result<bool, Stop> {
        match fs::openat(self.here(), name, FLAGS, Mode::empty()) {
            Ok(fd) => {
                self.opened.push(fd);
                Ok(true)
            }
            Err(Errno::NOENT) => Ok(false),
            Err(Errno::NOTDIR | Errno::LOOP) => self.follow(name).map(|()| true),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Follows the symbolic link of this name.
    fn follow(&mut self, name: &OsStr) -> Result<(), Stop> {
        let Ok(to) = fs::readlinkat(self.here(), name, Vec::new()) else {
            return Err(Stop::NotADirectory(self.walked.clone()));
        };
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(self.link("leads in a circle"));
        }
        let link = fs::statat(self.here(), name, AtFlags::SYMLINK_NOFOLLOW);
        if !is_trusted(link.map_err(|error| self.refused(error))?.st_uid) {
            return Err(self.link("belongs to somebody else"));
        }
        let to = PathBuf::from(OsString::from_vec(to.into_bytes()));
        for part in to.components() {
            self.holds_safely()?;
            match part {
                Component::RootDir => self.opened.truncate(1),
                Component::ParentDir if self.opened.len() > 1 => drop(self.opened.pop()),
                Component::Normal(name) if !self.enter(name)? => return Err(self.link("leads nowhere")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses to go on where somebody else could change names.
    fn holds_safely(&self) -> Result<(), Stop> {
        let stat = fs::fstat(self.here()).map_err(|error| self.refused(error))?;
        let safe = is_trusted(stat.st_uid) && stat.st_mode & 0o022 == 0;
        if safe { Ok(()) } else { Err(self.link("others could lead elsewhere")) }
    }

    /// The innermost directory.
    fn here(&self) -> &OwnedFd {
        self.opened.last().expect("the root stays")
    }

    /// The end at the link that the path so far ends with.
    fn link(&self, why: &'static str) -> Stop {
        Stop::Link(self.walked.clone(), why)
    }

    /// The end by the kernel.
    fn refused(&self, error: Errno) -> Stop {
        Stop::Refused(self.walked.clone(), error.into())
    }
}

/// Whether what belongs to this user can be trusted: root, or who runs this process.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}
