//! Where a gateway keeps its run-time files, and whether that directory can be trusted.
//!
//! Lock and control socket lie beside the pid file and share its name: `mcpeg.pid`, `mcpeg.lock`, `mcpeg.sock`. So
//! several gateways can use one directory, and every action needs to know the pid file's name only.

use std::io;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, ToExit};
use crate::sys::fs::{Directory, Owners, mend};
use crate::sys::user;

/// The default name of the pid file.
const PID_FILE: &str = "mcpeg.pid";
/// Anything that group or others may do.
const OTHERS: u32 = 0o077;
/// Anybody may write: the directory's entries can be replaced unless it is sticky, too.
const WORLD_WRITABLE: u32 = 0o002;
/// The group may.
const GROUP_WRITABLE: u32 = 0o020;

/// The files of one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPaths {
    /// The number of the process, for people and scripts.
    pub(crate) pid_file: PathBuf,
    /// The lock with the record; never removed.
    pub lock: PathBuf,
    /// The control socket.
    pub control: PathBuf,
    /// How far the directory is ours to make.
    place: RunDirectory,
    /// The user and the group that this process is about to become.
    user: Option<(u32, u32)>,
}

/// Whose the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunDirectory {
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
    /// Others could replace the files in it.
    #[error("the directory `{0}` of the pid file is writable for {1}")]
    Writable(PathBuf, &'static str),
    /// Its owner could replace the files in it.
    #[error("the directory `{0}` of the pid file belongs to the user with number {1}")]
    Foreign(PathBuf, u32),
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
                RunDirectory::Given,
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
        Ok(Self { lock: beside(".lock"), control: beside(".sock"), pid_file, place, user: None })
    }

    /// The same files for a process that is about to become this user.
    pub(crate) fn for_user(self, user: Option<(u32, u32)>) -> Self {
        Self { user, ..self }
    }

    /// Whose the files may be that a start finds.
    pub(crate) fn owners(&self) -> Owners {
        self.user.map_or(Owners::Ours, |(uid, _)| Owners::OursOr(uid))
    }

    /// Where sessions are saved: in `$STATE_DIRECTORY` (systemd.exec(5)), which outlives the service, or beside the pid file.
    pub(crate) fn sessions(&self) -> PathBuf {
        let name = self.lock.with_extension("sessions");
        let state = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute());
        match (state, name.file_name()) {
            (Some(state), Some(file)) => state.join(file),
            _ => name,
        }
    }

    /// The directory that holds them.
    pub(crate) fn directory(&self) -> &Path {
        self.pid_file.parent().expect("`resolve` lets only absolute paths with a file name through")
    }

    /// Makes the default directory if it is missing, and checks what is there.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let path = self.directory();
        let made = match self.place {
            RunDirectory::Given => Directory::open(path),
            RunDirectory::Default(mode) => Directory::make(path, mode),
            RunDirectory::Shared => Directory::make(path, 0o700),
        };
        let failed = |error| match self.place {
            RunDirectory::Given => Error::Directory(path.to_path_buf(), error),
            _ => Error::Create(path.to_path_buf(), error),
        };
        let directory = made.map_err(failed)?;
        self.check_rights(&directory)?;
        let (owner, group) = (directory.owner(), directory.group());
        let user = self.user;
        if ![0, user::effective_uid()].contains(&owner) && user.is_none_or(|(uid, _)| uid != owner) {
            return Err(Error::Foreign(path.to_path_buf(), owner));
        }
        let own_group =
            [0, user::effective_gid()].contains(&group) || user.is_some_and(|(_, gid)| gid == group);
        if directory.mode() & GROUP_WRITABLE != 0 && !own_group && !directory.is_sticky() {
            return Err(Error::Writable(path.to_path_buf(), "its group"));
        }
        Ok(())
    }

    /// Checks the directory without making it; that is all that control actions do.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let path = self.directory();
        let opened = Directory::open(path).map_err(|error| Error::Directory(path.to_path_buf(), error))?;
        self.check_rights(&opened)
    }

    /// Refuses a directory in which anybody could replace files.
    fn check_rights(&self, directory: &Directory) -> Result<(), Error> {
        let path = || self.directory().to_path_buf();
        let (owner, bits) = (directory.owner(), directory.mode());
        if self.place == RunDirectory::Shared && (owner != user::effective_uid() || bits & OTHERS != 0) {
            return Err(Error::NotOurs(path()));
        }
        if bits & WORLD_WRITABLE != 0 && !directory.is_sticky() {
            return Err(Error::Writable(path(), "everybody"));
        }
        Ok(())
    }

    /// Whether a Unix listener or a log would take the name of one of these files.
    pub(crate) fn have(&self, socket: &Path) -> bool {
        let resolved = |path: &Path| match (path.parent().map(Path::canonicalize), path.file_name()) {
            (Some(Ok(parent)), Some(name)) => parent.join(name),
            _ => path.to_path_buf(),
        };
        let socket = resolved(socket);
        let sessions = self.sessions();
        let own = [&self.pid_file, &self.lock, &self.control, &sessions];
        own.into_iter().any(|own| resolved(own) == socket)
    }

    /// Whether the directory is one of mcpeg's own, not one that somebody has named.
    pub(crate) fn is_default(&self) -> bool {
        self.place != RunDirectory::Given
    }

    /// Whether the directory is missing, so that nothing can run there.
    pub(crate) fn is_absent(&self) -> bool {
        let metadata = self.directory().symlink_metadata();
        metadata.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

/// The default pid file, and whose its directory is.
fn default_pid_file(variable: impl Fn(&str) -> Option<PathBuf>) -> (PathBuf, RunDirectory) {
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    // systemd.exec(5) RuntimeDirectory=: several directories are separated by colons.
    let runtime = variable("RUNTIME_DIRECTORY")
        .and_then(|list| Some(PathBuf::from(list.to_str()?.split(':').next()?)))
        .filter(|path| path.is_absolute());
    let (directory, place) = if let Some(directory) = runtime {
        (directory, RunDirectory::Given)
    } else if user::is_root() {
        (PathBuf::from("/run/mcpeg"), RunDirectory::Default(0o755))
    } else if let Some(directory) = absolute("XDG_RUNTIME_DIR") {
        (directory.join("mcpeg"), RunDirectory::Default(0o700))
    } else {
        (PathBuf::from(format!("/tmp/mcpeg-{}", user::effective_uid())), RunDirectory::Shared)
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
            Self::Directory(_, error) | Self::Create(_, error) if mend(error).is_some() => mend(error),
            Self::Directory(path, error) if error.kind() == io::ErrorKind::NotFound => {
                Some(format!("create it with `mkdir -p {}`, or name another with --pid-file", path.display()))
            }
            Self::Writable(path, _) => Some(format!("run `chmod go-w {}`", path.display())),
            Self::Foreign(path, _) => Some(format!(
                "give it to the user that mcpeg runs as with `chown`, or name another with --pid-file; `ls -ld {}` shows it",
                path.display()
            )),
            Self::NotOurs(_) | Self::Create(..) | Self::Directory(..) => {
                Some("name a pid file in a directory of your own with --pid-file".to_owned())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

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
            assert_eq!(matches!(paths.check(), Err(Error::Writable(..))), refused, "{mode:o}");
        }
    }
}
