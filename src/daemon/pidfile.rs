//! The pid file: one number and a newline, for people and for `kill $(cat …)`.
//!
//! mcpeg itself never acts on the number. It only decides whether the file may be replaced or removed, and what
//! does not look like a pid file of ours is left alone: `--pid-file /etc/passwd` must not destroy anything.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::paths::RunPaths;
use crate::exit::{Exit, ToExit};
use crate::sys::fs::{self as files, Owners, Ownership, Why};

/// More than any number with its newline, in bytes.
const LIMIT: u64 = 32;

/// Why a pid file is refused or cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A link could lead the write anywhere.
    #[error("the pid file `{0}` is a symbolic link")]
    Symlink(PathBuf),
    /// A directory, fifo, device …
    #[error("the pid file `{0}` is not a regular file")]
    NotAFile(PathBuf),
    /// Anybody could have written the number.
    #[error("the pid file `{0}` is writable for everybody")]
    WorldWritable(PathBuf),
    /// The content is not a process number above 1.
    #[error("`{0}` does not hold a process number, so it is not a pid file of mcpeg")]
    Foreign(PathBuf),
    /// It cannot be read.
    #[error("cannot read the pid file `{0}`")]
    Read(PathBuf, #[source] io::Error),
    /// It cannot be written.
    #[error("cannot write the pid file `{0}`")]
    Write(PathBuf, #[source] io::Error),
    /// It cannot be removed.
    #[error("cannot remove the pid file `{0}`")]
    Remove(PathBuf, #[source] io::Error),
}

/// What a pid file that is no danger holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// There is no file.
    Absent,
    /// An empty file, as a full disk leaves it.
    Empty,
    /// A number above 1.
    Number(i32),
}

/// Reads the file without following links or hanging.
pub(super) fn read(path: &Path) -> Result<Content, Error> {
    read_of(path, Owners::Anybody)
}

/// [`read`], if the file is one of these owners'.
fn read_of(path: &Path, owners: Owners) -> Result<Content, Error> {
    let (file, metadata) = match files::open_untrusted(path, owners) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Absent),
        Err(error) => {
            let path = path.to_path_buf();
            return Err(match files::refusal(&error).map(files::Untrusted::why) {
                Some(Why::Link) => Error::Symlink(path),
                Some(Why::NotAFile) => Error::NotAFile(path),
                _ => Error::Read(path, error),
            });
        }
    };
    if metadata.permissions().mode() & 0o002 != 0 {
        return Err(Error::WorldWritable(path.to_path_buf()));
    }
    let content =
        files::read_at_most(file, LIMIT + 1).map_err(|error| Error::Read(path.to_path_buf(), error))?;
    parse(&content).ok_or_else(|| Error::Foreign(path.to_path_buf()))
}

/// The content's meaning; `None` if it has none.
fn parse(content: &[u8]) -> Option<Content> {
    if content.is_empty() {
        return Some(Content::Empty);
    }
    let text = std::str::from_utf8(content).ok().filter(|text| text.len() as u64 <= LIMIT)?.trim_ascii();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 1).map(Content::Number)
}

/// Checks that a start may put its pid file here, and returns the number that a crashed gateway left behind. The
/// caller holds the lock, so that no living gateway's file is meant.
pub(crate) fn check_replaceable(paths: &RunPaths) -> Result<Option<i32>, Error> {
    let path = &paths.pid_file;
    if let Err(error) = files::sweep_temporaries(path) {
        tracing::warn!(%error, path = %path.display(), "cannot remove what was left beside the pid file");
    }
    match read_of(path, paths.owners())? {
        Content::Number(pid) => Ok(Some(pid)),
        Content::Absent | Content::Empty => Ok(None),
    }
}

/// Writes the file as a whole, so that a reader never finds it empty.
pub(crate) fn write(path: &Path, pid: i32) -> Result<(), Error> {
    files::write_atomic(path, format!("{pid}\n").as_bytes(), Ownership::mode(0o644))
        .map_err(|error| Error::Write(path.to_path_buf(), error))
}

/// Removes the file if it still holds our number: an administrator or another program may have taken the name.
pub(crate) fn remove_own(path: &Path, pid: i32) -> Result<(), Error> {
    match read(path) {
        Ok(Content::Number(number)) if number == pid => remove(path),
        _ => Ok(()),
    }
}

/// Removes a file that a crashed gateway left behind; whether there was one. The caller holds the lock.
pub(super) fn remove_stale(path: &Path) -> Result<bool, Error> {
    match read(path)? {
        Content::Absent => Ok(false),
        Content::Empty | Content::Number(_) => remove(path).map(|()| true),
    }
}

/// Unlinks the file.
fn remove(path: &Path) -> Result<(), Error> {
    files::remove(path).map_err(|error| Error::Remove(path.to_path_buf(), error))
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Read(_, error) | Self::Write(_, error) | Self::Remove(_, error)
                if error.kind() == io::ErrorKind::PermissionDenied =>
            {
                Exit::Permission
            }
            _ => Exit::CannotCreate,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Symlink(_) | Self::NotAFile(_) | Self::Foreign(_) => {
                Some("remove it, or name another file with --pid-file".to_owned())
            }
            Self::Read(_, error) | Self::Write(_, error) | Self::Remove(_, error) => files::mend(error),
            Self::WorldWritable(path) => Some(format!("remove it, or run `chmod o-w {}`", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_above_one_are_a_pid_file() {
        for (content, expected) in [
            ("", Some(Content::Empty)),
            ("4711\n", Some(Content::Number(4711))),
            ("4711", Some(Content::Number(4711))),
            ("0\n", None),
            ("1\n", None),
            ("-1\n", None),
            ("+5\n", None),
            ("99999999999\n", None),
            ("12 13\n", None),
            ("root:x:0:0\n", None),
        ] {
            assert_eq!(parse(content.as_bytes()), expected, "{content:?}");
        }
    }

    #[test]
    fn file_with_another_number_is_not_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x.pid");
        write(&path, 4711).unwrap();
        remove_own(&path, 4712).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4711\n");
        remove_own(&path, 4711).unwrap();
        assert!(!path.exists());
    }
}
