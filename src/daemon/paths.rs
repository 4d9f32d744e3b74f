//! Where a gateway keeps its run-time files, and whether that directory can be trusted.
//!
//! Lock and control socket lie beside the pid file and share its name: `mcpeg.pid`, `mcpeg.lock`, `mcpeg.sock`. So
//! several gateways can use one directory, and every action needs to know the pid file's name only.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, ToExit};
use crate::sys::user;

/// The default name of the pid file.
const PID_FILE: &str = "mcpeg.pid";
/// Anybody may write: the directory's entries can be replaced unless [`STICKY`] is set too.
const WORLD_WRITABLE: u32 = 0o002;
/// Anything that group or others may do.
const OTHERS: u32 = 0o077;
/// Only owners may rename and remove their entries: inode(7) `S_ISVTX`.
const STICKY: u32 = 0o1000;

/// The files of one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPaths {
    /// The number of the process, for people and scripts.
    pub pid_file: PathBuf,
    /// The lock with the record; never removed.
    pub lock: PathBuf,
    /// The control socket.
    pub control: PathBuf,
    /// How far the directory is ours to make.
    place: Place,
}

/// Whose the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Named by the user or made by systemd: must exist.
    Given,
    /// A default that is created with this mode.
    Default(u32),
    /// A default below /tmp, where others may have been first: created 0700, and refused if it is not ours alone.
    Shared,
}

/// Why the run-time directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path of the pid file has no file name.
    #[error("`{0}` is not the name of a pid file")]
    NoName(PathBuf),
    /// The current directory is gone.
    #[error("cannot make `{0}` an absolute path")]
    Absolute(PathBuf, #[source] io::Error),
    /// It does not exist, or is not reachable for this user.
    #[error("cannot use the directory `{0}` of the pid file")]
    Directory(PathBuf, #[source] io::Error),
    /// A default directory cannot be made.
    #[error("cannot create the run-time directory `{0}`")]
    Create(PathBuf, #[source] io::Error),
    /// The path is something else.
    #[error("`{0}` is not a directory")]
    NotADirectory(PathBuf),
    /// Anybody could replace the files in it.
    #[error("the directory `{0}` of the pid file is writable for everybody")]
    WorldWritable(PathBuf),
    /// Somebody else made the directory in /tmp.
    #[error("the run-time directory `{0}` belongs to somebody else or is open to others")]
    NotOurs(PathBuf),
}

impl RunPaths {
    /// The files for this pid file, or for the default one: `$RUNTIME_DIRECTORY` (systemd.exec(5)), `/run/mcpeg` for
    /// root, `$XDG_RUNTIME_DIR/mcpeg`, else `/tmp/mcpeg-UID`.
    ///
    /// # Errors
    /// When the name cannot be that of a file.
    pub fn resolve(explicit: Option<&Path>) -> Result<Self, Error> {
        let (pid_file, place) = match explicit {
            // The daemon changes to `/`, so that relative names must be resolved before.
            Some(path) => (
                std::path::absolute(path).map_err(|error| Error::Absolute(path.to_path_buf(), error))?,
                Place::Given,
            ),
            None => default_pid_file(|name| std::env::var_os(name).map(PathBuf::from)),
        };
        let Some(name) = pid_file.file_name().filter(|_| pid_file.is_absolute()) else {
            return Err(Error::NoName(pid_file));
        };
        let stem = Path::new(name);
        let stem = if stem.extension().is_some_and(|it| it == "pid") {
            stem.with_extension("")
        } else {
            stem.into()
        };
        let beside = |suffix: &str| {
            let mut name = stem.clone().into_os_string();
            name.push(suffix);
            pid_file.with_file_name(name)
        };
        Ok(Self { lock: beside(".lock"), control: beside(".sock"), pid_file, place })
    }

    /// Where sessions are remembered: in `$STATE_DIRECTORY` (systemd.exec(5)), which outlives the service, or beside the
    /// pid file.
    #[must_use]
    pub fn sessions(&self) -> PathBuf {
        let name = self.lock.with_extension("sessions");
        let state = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute());
        match (state, name.file_name()) {
            (Some(state), Some(file)) => state.join(file),
            _ => name,
        }
    }

    /// The directory that holds them.
    ///
    /// # Panics
    /// Never: [`Self::resolve`] lets only absolute paths with a file name through.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.pid_file.parent().expect("`resolve` lets only absolute paths with a file name through")
    }

    /// Makes the default directory if it is missing, and checks what is there.
    ///
    /// # Errors
    /// When the directory cannot be used safely.
    pub fn prepare(&self) -> Result<(), Error> {
        let directory = self.directory();
        let mode = match self.place {
            Place::Given => None,
            Place::Default(mode) => Some(mode),
            Place::Shared => Some(0o700),
        };
        if let Some(mode) = mode {
            match DirBuilder::new().mode(mode).create(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::Create(directory.to_path_buf(), error));
                }
                _ => {}
            }
        }
        self.check()
    }

    /// Checks the directory without making it; that is all that control actions do.
    ///
    /// # Errors
    /// When the directory cannot be used safely.
    pub fn check(&self) -> Result<(), Error> {
        let directory = self.directory();
        let failed = |error| Error::Directory(directory.to_path_buf(), error);
        if self.place == Place::Shared {
            // Not followed: in /tmp a link may lead to another user's directory.
            let metadata = fs::symlink_metadata(directory).map_err(failed)?;
            let open_to_others = metadata.permissions().mode() & OTHERS != 0;
            if !metadata.is_dir() || metadata.uid() != user::effective_uid() || open_to_others {
                return Err(Error::NotOurs(directory.to_path_buf()));
            }
        }
        let metadata = fs::metadata(directory).map_err(failed)?;
        if !metadata.is_dir() {
            return Err(Error::NotADirectory(directory.to_path_buf()));
        }
        if metadata.permissions().mode() & (WORLD_WRITABLE | STICKY) == WORLD_WRITABLE {
            return Err(Error::WorldWritable(directory.to_path_buf()));
        }
        Ok(())
    }

    /// Whether the directory is one of mcpeg's own, not one that somebody has named.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.place != Place::Given
    }

    /// Whether the directory is missing, so that nothing can run there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        fs::symlink_metadata(self.directory()).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

/// The default pid file, and whose its directory is.
fn default_pid_file(variable: impl Fn(&str) -> Option<PathBuf>) -> (PathBuf, Place) {
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    // systemd.exec(5) RuntimeDirectory=: several directories are separated by colons.
    let runtime = variable("RUNTIME_DIRECTORY")
        .and_then(|list| Some(PathBuf::from(list.to_str()?.split(':').next()?)))
        .filter(|path| path.is_absolute());
    let (directory, place) = if let Some(directory) = runtime {
        (directory, Place::Given)
    } else if user::is_root() {
        (PathBuf::from("/run/mcpeg"), Place::Default(0o755))
    } else if let Some(directory) = absolute("XDG_RUNTIME_DIR") {
        (directory.join("mcpeg"), Place::Default(0o700))
    } else {
        (PathBuf::from(format!("/tmp/mcpeg-{}", user::effective_uid())), Place::Shared)
    };
    (directory.join(PID_FILE), place)
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Directory(_, error) | Self::Create(_, error)
                if error.kind() == io::ErrorKind::PermissionDenied =>
            {
                Exit::Permission
            }
            _ => Exit::CannotCreate,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(path, error) if error.kind() == io::ErrorKind::NotFound => {
                Some(format!("create it with `mkdir -p {}`, or name another with --pid-file", path.display()))
            }
            Self::WorldWritable(path) => Some(format!("run `chmod o-w {}`", path.display())),
            Self::NotOurs(_) | Self::Create(..) | Self::Directory(..) => {
                Some("name a pid file in a directory of your own with --pid-file".to_owned())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_and_socket_lie_beside_the_pid_file() {
        let paths = RunPaths::resolve(Some(Path::new("/run/other/one.pid"))).unwrap();
        assert_eq!(paths.lock, Path::new("/run/other/one.lock"));
        assert_eq!(paths.control, Path::new("/run/other/one.sock"));
        let clash = RunPaths::resolve(Some(Path::new("/run/other/one.lock"))).unwrap();
        assert_eq!(
            clash.lock,
            Path::new("/run/other/one.lock.lock"),
            "the lock would overwrite the pid file"
        );
    }

    #[test]
    fn first_runtime_directory_of_systemd_wins() {
        let (path, _) =
            default_pid_file(|name| (name == "RUNTIME_DIRECTORY").then(|| "/run/a:/run/b".into()));
        assert_eq!(path, Path::new("/run/a/mcpeg.pid"));
    }

    #[test]
    fn world_writable_directory_is_refused_unless_sticky() {
        let scratch = tempfile::tempdir().unwrap();
        let paths = RunPaths::resolve(Some(&scratch.path().join("x.pid"))).unwrap();
        for (mode, refused) in [(0o777, true), (0o1777, false), (0o755, false)] {
            fs::set_permissions(scratch.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(matches!(paths.check(), Err(Error::WorldWritable(_))), refused, "{mode:o}");
        }
    }
}
