//! Opening the log file, and closing the torn line that a crash left at its end.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;

use super::super::Error;

/// The mode of a new log file: logs name users and hosts, so that only the group reads along.
const FILE_MODE: u32 = 0o640;
/// The mode of a directory that is made for it.
const DIRECTORY_MODE: u32 = 0o750;

/// Opens the file for appending; makes it and its directory if they are missing.
///
/// The last component must not be a symbolic link: who can write the directory could otherwise make a privileged
/// gateway append to any file. Nor may it be a pipe or device, which could block the first event for ever.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    let cannot = |source| Error::Open { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)
            .map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
    }
    // O_NONBLOCK has no effect on the regular file that this must be; on a pipe it keeps open(2) from waiting.
    let flags = OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .custom_flags(flags.bits())
        .open(path)
        .map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_file() {
        Ok(file)
    } else {
        Err(cannot(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")))
    }
}

/// Ends a line that was left without its end, so that the next record begins a line of its own. The size of the file.
pub(super) fn close_torn_line(mut file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut last = *b"\n";
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    if last != *b"\n" {
        file.write_all(b"\n")?;
        return Ok(size + 1);
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use crate::exit::{Exit, ToExit as _};

    use super::*;

    /// The permission bits of a path.
    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_missing_directory_and_file_are_made_without_rights_for_others() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log/mcpeg.log");
        open(&path).unwrap();
        assert_eq!(mode(&path) & 0o137, 0);
        assert_eq!(mode(path.parent().unwrap()) & 0o027, 0);
    }

    #[test]
    fn the_file_is_not_handed_to_children() {
        let scratch = tempfile::tempdir().unwrap();
        let file = open(&scratch.path().join("x.log")).unwrap();
        let flags = rustix::io::fcntl_getfd(&file).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn links_pipes_and_directories_are_refused_with_73_and_the_path() {
        let scratch = tempfile::tempdir().unwrap();
        let link = scratch.path().join("link.log");
        std::os::unix::fs::symlink(scratch.path().join("target"), &link).unwrap();
        let pipe = scratch.path().join("pipe.log");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&link, &pipe, &scratch.path().to_owned()] {
            let error = open(path).unwrap_err();
            assert_eq!(error.to_exit(), Exit::CannotCreate);
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            assert!(error.hint().is_some());
        }
        assert!(!scratch.path().join("target").exists());
    }

    #[test]
    fn a_file_where_the_directory_should_be_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        File::create(&file).unwrap();
        let error = open(&file.join("mcpeg.log")).unwrap_err();
        assert!(matches!(&error, Error::Directory { path, .. } if *path == file), "{error:?}");
    }
}
