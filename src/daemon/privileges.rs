//! Giving root up: daemon(7) SysV step 13.
//!
//! What only root can do comes first: listeners on ports below 1024, the run-time directory, files that an earlier
//! gateway left behind as root. [`adopt`] gives the user what it needs afterwards: the lock, so that the user's own
//! commands find the gateway, and whatever is to be replaced or removed. Then [`Credentials::assume`], before the runtime
//! exists. Nothing that an administrator has named is given away, but what lies there under mcpeg's own names.

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::AccessFlags;
use rustix::fs::FileType;

use super::paths::RunPaths;
use crate::exit::{Exit, ToExit};
pub(crate) use crate::sys::credentials::Credentials;
use crate::sys::fs::{Directory, Owners, mend};
use crate::sys::user;

/// The mode of directories that are made for the log.
const LOG_DIRECTORY_MODE: u32 = 0o750;

/// Why root is not given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody has this name.
    #[error("there is no user `{0}`")]
    NoUser(String),
    /// No group has this name.
    #[error("there is no group `{0}`")]
    NoGroup(String),
    /// That would give nothing up.
    #[error("user `{0}` is root, so that no rights would be given up")]
    Root(String),
    /// Only root can become another user.
    #[error("cannot run as user `{0}`: this process is not root's")]
    NotRoot(String),
    /// A system call refused.
    #[error("cannot {1} for user `{0}`")]
    Assume(String, &'static str, #[source] io::Error),
    /// A file cannot be given to the user.
    #[error("cannot give `{0}` to user `{1}`")]
    Give(PathBuf, String, #[source] io::Error),
    /// The pid file could be neither written nor removed.
    #[error("user `{1}` may not make files in the directory `{0}` of the pid file")]
    Directory(PathBuf, String),
}

/// The user to become; `None` if nobody asks for it, or this process is that user's already.
pub(crate) fn wanted(user: Option<&str>, group: Option<&str>) -> Result<Option<Credentials>, Error> {
    let Some(name) = user else { return Ok(None) };
    let mut wanted = Credentials::of(name).ok_or_else(|| Error::NoUser(name.to_owned()))?;
    if let Some(group) = group {
        wanted = wanted.in_group(group).ok_or_else(|| Error::NoGroup(group.to_owned()))?;
    }
    if wanted.uid == 0 {
        return Err(Error::Root(name.to_owned()));
    }
    if wanted.are_ours() {
        return Ok(None);
    }
    if user::is_root() { Ok(Some(wanted)) } else { Err(Error::NotRoot(name.to_owned())) }
}

/// Gives the user what the gateway needs after it has given root up: the default run-time directory, its own files there,
/// those of the log and what outlives it (of either the first is in directories that are made if they are missing), and the Unix
/// sockets that were just made. Only what is root's changes hands.
pub(crate) fn adopt<'a>(
    credentials: &Credentials,
    paths: &'a RunPaths,
    (log, state): (&'a [PathBuf], &'a [PathBuf]),
    sockets: impl Iterator<Item = &'a Path>,
) -> Result<(), Error> {
    let give = |path: &Path, kinds: &[FileType]| {
        give(path, kinds, credentials)
            .map_err(|error| Error::Give(path.to_owned(), credentials.name.clone(), error))
    };
    if paths.is_default() {
        give(paths.directory(), &[FileType::Directory])?;
    }
    let first = [log, state].into_iter().filter_map(|files| files.first()?.parent());
    for directory in first.flat_map(make) {
        give(&directory, &[FileType::Directory])?;
    }
    let sessions = paths.sessions();
    for file in [&paths.lock, &paths.pid_file, &sessions].into_iter().chain(log).chain(state) {
        give(file, &[FileType::RegularFile])?;
    }
    for socket in sockets.chain([paths.control.as_path()]) {
        give(socket, &[FileType::Socket])?;
    }
    Ok(())
}

/// Makes a directory and those missing above it; returns these. Errors show when the log is opened.
fn make(directory: &Path) -> Vec<PathBuf> {
    let is_missing =
        |path: &&Path| path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let missing: Vec<PathBuf> = directory.ancestors().take_while(is_missing).map(Path::to_owned).collect();
    if Directory::make(directory, LOG_DIRECTORY_MODE).is_err() {
        return Vec::new();
    }
    missing.into_iter().rev().collect()
}

/// Gives one file to the user, if it is there, of one of these kinds, and root's: [`Directory::give`].
fn give(path: &Path, kinds: &[FileType], to: &Credentials) -> io::Result<()> {
    let given = Directory::of(path, Owners::OursOr(to.uid))
        .and_then(|(directory, name)| directory.give(name, kinds, to.uid, to.gid));
    match given {
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            Ok(())
        }
        other => other,
    }
}

/// Becomes the user, for good.
pub(crate) fn assume(credentials: &Credentials, paths: &RunPaths) -> Result<(), Error> {
    let name = || credentials.name.clone();
    credentials.assume().map_err(|(what, error)| Error::Assume(name(), what, error))?;
    let usable = nix::unistd::access(paths.directory(), AccessFlags::W_OK | AccessFlags::X_OK);
    usable.map_err(|_| Error::Directory(paths.directory().to_owned(), name()))
}

/// Whether this process could start the program that it runs once more, as an upgrade does.
pub(crate) fn can_execute(program: &Path) -> bool {
    nix::unistd::access(program, AccessFlags::X_OK).is_ok()
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::NoUser(_) | Self::NoGroup(_) | Self::Root(_) => Exit::Config,
            Self::NotRoot(_) | Self::Directory(..) => Exit::Permission,
            Self::Assume(..) | Self::Give(..) => Exit::Os,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoUser(name) => Some(format!("`useradd --system --no-create-home {name}` makes one")),
            Self::NoGroup(name) => Some(format!("`groupadd --system {name}` makes one")),
            Self::Root(_) => Some("leave it out to run as root".to_owned()),
            Self::NotRoot(_) => Some("stop the gateway if one runs, and start it as root".to_owned()),
            Self::Directory(_, name) => Some(format!(
                "name a pid file in a directory of that user's own, as `install -d -o {name} /run/NAME` makes it"
            )),
            Self::Give(_, _, error) => mend(error),
            Self::Assume(..) => None,
        }
    }
}
