//! The lock: who holds it runs.
//!
//! flock(2) belongs to the open file, so it passes to a forked daemon and ends with the last process that has it
//! open, however that process ended. The file is never removed; a removed lock file could be held by two processes
//! at once. The descriptor is close-on-exec: an upstream that inherited it would hold the lock after us.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::paths::RunPaths;
use super::record::Record;
use crate::exit::{Exit, ToExit};
use crate::sys::fs::{self as files, Owners, Why};
use crate::sys::identity::{Handle, Lookup};

/// How long a contender waits for the holder's record to make sense; it covers the time between a winner's flock
/// and its record, that between a kill and the end of all threads, and a `--status` that looks at the lock.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it waits for a launcher that lives: its daemon is the one to name, and a busy machine may not let it come.
const LAUNCH: Duration = Duration::from_secs(15);
/// How often it looks.
const STEP: Duration = Duration::from_millis(5);
/// The longest record that is read, in bytes.
const RECORD_LIMIT: u64 = 64 * 1024;

/// The held lock.
#[derive(Debug)]
pub(crate) struct Lock {
    /// The open file that carries it.
    file: File,
    /// Its name.
    path: PathBuf,
}

/// Who holds a lock.
#[derive(Debug)]
pub(super) enum Holder {
    /// Nobody: nothing runs.
    Nobody,
    /// Somebody, with the record if it can be read, and the owner of the lock file.
    Somebody(Option<Box<Record>>, u32),
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another gateway holds it and is alive.
    #[error("mcpeg is already running with pid {} since {} (pid file `{}`)", .0.pid, .0.since_text(), .0.pid_file.display())]
    Running(Box<Record>),
    /// It is held, but the record does not say by whom.
    #[error("`{0}` is locked by a process that cannot be identified")]
    Unidentified(PathBuf),
    /// The file cannot be opened.
    #[error("cannot open the lock file `{0}`")]
    Open(PathBuf, #[source] io::Error),
    /// It is a directory, fifo, device …
    #[error("the lock file `{0}` is not a regular file")]
    NotAFile(PathBuf),
    /// Somebody else made it or can change it.
    #[error("the lock file `{0}` belongs to another user or is writable for everybody")]
    NotOurs(PathBuf),
    /// A system call on the open file failed.
    #[error("cannot lock `{0}`")]
    Lock(PathBuf, #[source] io::Error),
    /// The record cannot be written.
    #[error("cannot write the record into `{0}`")]
    Record(PathBuf, #[source] io::Error),
}

impl Lock {
    /// Takes the lock and writes the record, or tells who holds it.
    /// Fails with [`Error::Running`] if another gateway runs; nothing was changed then.
    pub(crate) fn acquire(paths: &RunPaths, record: &Record) -> Result<Self, Error> {
        let begun = Instant::now();
        loop {
            if let Some(lock) = Self::try_take(&paths.lock, paths.owners())? {
                lock.describe(record)?;
                return Ok(lock);
            }
            let (file, _) = open(&paths.lock, paths.owners())?;
            let holder = read_record(&file).filter(is_alive);
            let waited = begun.elapsed();
            match holder {
                Some(record) if waited >= LAUNCH || !record.launching => {
                    return Err(Error::Running(Box::new(record)));
                }
                None if waited >= PATIENCE => return Err(Error::Unidentified(paths.lock.clone())),
                _ => std::thread::sleep(STEP),
            }
        }
    }

    /// Takes the lock without a record, for a moment in which nobody may start; `None` if it is held.
    pub(super) fn try_take(path: &Path, owners: Owners) -> Result<Option<Self>, Error> {
        loop {
            let (file, metadata) = open(path, owners)?;
            if metadata.permissions().mode() & 0o002 != 0 {
                return Err(Error::NotOurs(path.to_path_buf()));
            }
            let failed = |error| Error::Lock(path.to_path_buf(), error);
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_still(path, &file).map_err(failed)? => {
                    return Ok(Some(Self { file, path: path.to_path_buf() }));
                }
                // The file was replaced between open and flock: FreeBSD flopen(3) starts again too.
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    /// The lock that the process before us held and still holds: both have the same open file, flock(2).
    /// Fails with [`Error::Lock`] if it is another file than the one at the path.
    pub(crate) fn inherit(paths: &RunPaths, passed: OwnedFd) -> Result<Self, Error> {
        let failed = |error| Error::Lock(paths.lock.clone(), error);
        let file = File::from(passed);
        if !is_still(&paths.lock, &file).map_err(failed)? {
            return Err(failed(io::Error::other("it was replaced")));
        }
        // Ours already if it is the open file that carries the lock; otherwise another has it, or nobody.
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(error.into()))?;
        Ok(Self { file, path: paths.lock.clone() })
    }

    /// A second handle of the open file that carries the lock, for the next process.
    /// Fails with what dup(2) answers.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Replaces the record. Readers take the first line only, so they see the old record or the new one.
    pub(crate) fn describe(&self, record: &Record) -> Result<(), Error> {
        let failed = |error| Error::Record(self.path.clone(), error);
        let mut line = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        self.file.write_all_at(&line, 0).map_err(failed)?;
        self.file.set_len(line.len() as u64).map_err(failed)
    }
}

/// Looks who holds the lock, without keeping a start from taking it for more than a moment.
pub(super) fn holder(path: &Path) -> Result<Holder, Error> {
    let (file, metadata) = match files::open_untrusted(path, Owners::Anybody) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(error) => return Err(refused(path, error)),
    };
    // Shared, so that two lookers do not see each other as the daemon.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Holder::Nobody),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Ok(Holder::Somebody(read_record(&file).map(Box::new), metadata.uid()))
        }
        Err(error) => Err(Error::Lock(path.to_path_buf(), error.into())),
    }
}

/// Opens the lock file, creating it if need be. Others may not read it: who can open a file can lock it, and could
/// keep mcpeg from starting.
fn open(path: &Path, owners: Owners) -> Result<(File, Metadata), Error> {
    files::open_or_create(path, 0o640, owners).map_err(|error| refused(path, error))
}

/// Why the file is not opened.
fn refused(path: &Path, error: io::Error) -> Error {
    match files::refusal(&error).map(files::Untrusted::why) {
        Some(Why::NotAFile) => Error::NotAFile(path.to_path_buf()),
        Some(Why::Foreign(_)) => Error::NotOurs(path.to_path_buf()),
        _ => Error::Open(path.to_path_buf(), error),
    }
}

/// Whether the path still leads to the open file.
fn is_still(path: &Path, file: &File) -> io::Result<bool> {
    let opened = crate::sys::fd::device_inode(file.as_fd())?;
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok((metadata.dev(), metadata.ino()) == opened),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The record, if there is a whole one.
fn read_record(file: &File) -> Option<Record> {
    let mut content = vec![0; usize::try_from(file.metadata().ok()?.len().min(RECORD_LIMIT)).ok()?];
    let length = file.read_at(&mut content, 0).ok()?;
    serde_json::from_slice(content[..length].split(|byte| *byte == b'\n').next()?).ok()
}

/// Whether the process of the record lives, and is not about to end. Where that cannot be told, the lock alone says so.
fn is_alive(record: &Record) -> bool {
    match Handle::open(&record.identity()) {
        Ok(Lookup::Alive(handle)) => !handle.is_ending(),
        Ok(Lookup::Gone) => false,
        Err(_) => true,
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Running(_) | Self::Unidentified(_) => Exit::TryAgain,
            Self::Open(_, error) if error.kind() == io::ErrorKind::PermissionDenied => Exit::Permission,
            Self::Open(..) | Self::NotAFile(_) | Self::NotOurs(_) => Exit::CannotCreate,
            Self::Lock(..) | Self::Record(..) => Exit::Os,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Running(_) => {
                Some("stop it with `mcpeg --stop`, or give this one another --pid-file".to_owned())
            }
            Self::Unidentified(path) => Some(format!("`fuser -v {}` names the process", path.display())),
            Self::Open(_, error) if files::mend(error).is_some() => files::mend(error),
            Self::NotAFile(path) | Self::NotOurs(path) => {
                let root = "where root has left it behind, `sudo mcpeg install` gives it to the service";
                Some(format!("look at it with `ls -l {}` and remove it; {root}", path.display()))
            }
            _ => None,
        }
    }
}
