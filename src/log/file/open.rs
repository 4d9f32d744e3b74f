//! Opening the log file, and closing the torn line that a crash left at its end.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::log::error::Error;
use crate::sys::fs::{Access, Directory, Owners};

/// The mode of a new log file: logs name users and hosts, so that only the group reads along.
const FILE_MODE: u32 = 0o640;
/// How our records begin, with 0 for each digit: JSON, logfmt, text.
const BEGINNINGS: [&[u8]; 3] = [b"{\"timestamp\":\"0000-00-00T", b"ts=0000-00-00T", b"0000-00-00T"];
/// A last line that is longer is not looked at.
const LONGEST: u64 = 16 << 20;
/// The mode of a directory that is made for it.
const DIRECTORY_MODE: u32 = 0o750;

/// Opens the file for appending, with its directory; makes both if they are missing.
///
/// The rules are those of [`crate::sys::fs`]: who can write the directory, or one above it, could otherwise make a
/// privileged gateway append to any file. Nor may it be a pipe or device, which could block the first event for ever.
pub(super) fn open(path: &Path) -> Result<(Directory, File), Error> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let opened = Directory::make(directory, DIRECTORY_MODE)
        .and_then(|directory| directory.owned(Owners::Ours))
        .map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
    let name = path.file_name().unwrap_or_default();
    let (file, _) = opened
        .open_or_create(name, FILE_MODE, Access::Append, Owners::Ours)
        .map_err(|source| Error::Open { path: path.to_owned(), source })?;
    Ok((opened, file))
}

/// Ends the file with a whole line; its size then. A record of ours that a killed process has written by half is
/// removed if `alone` says that nobody else writes the file; anything else gets the end that it lacks.
pub(super) fn close_torn_line(mut file: &File, alone: bool) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut last = *b"\n";
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    if last == *b"\n" {
        return Ok(size);
    }
    if let Some(whole) = torn_record(file, size)?.filter(|_| alone) {
        file.set_len(whole)?;
        return Ok(whole);
    }
    file.write_all(b"\n")?;
    Ok(size + 1)
}

/// Where the last line begins, if that is the beginning of a record of ours.
fn torn_record(file: &File, size: u64) -> io::Result<Option<u64>> {
    let length = size.min(LONGEST);
    let mut tail = vec![0; usize::try_from(length).expect("it is not long")];
    file.read_exact_at(&mut tail, size - length)?;
    let before = tail.iter().rposition(|byte| *byte == b'\n');
    if before.is_none() && length < size {
        return Ok(None);
    }
    let line = &tail[before.map_or(0, |at| at + 1)..];
    let ours = BEGINNINGS.iter().any(|beginning| {
        let fits = |(byte, pattern): (&u8, &u8)| byte == pattern || *pattern == b'0' && byte.is_ascii_digit();
        line.iter().zip(*beginning).all(fits)
    });
    Ok(ours.then_some(size - line.len() as u64))
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
        let (_, file) = open(&scratch.path().join("x.log")).unwrap();
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

    /// What is left of a file with this content.
    fn closed(content: &str, alone: bool) -> String {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.log");
        File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
        let size = close_torn_line(&open(&path).unwrap().1, alone).unwrap();
        let left = std::fs::read_to_string(&path).unwrap();
        assert_eq!(left.len() as u64, size);
        left
    }

    #[test]
    fn half_a_record_is_removed_and_what_is_not_ours_only_ended() {
        for torn in
            ["{", "{\"timest", "{\"timestamp\":\"2026-11-24T09:30:00.0000", "ts=2026-1", "2026-11-24T09"]
        {
            assert_eq!(closed(&format!("whole\n{torn}"), true), "whole\n");
            assert_eq!(closed(torn, true), "");
            assert_eq!(closed(torn, false), format!("{torn}\n"));
        }
        for other in ["a note", "{\"other\":1", "2026 was a good year"] {
            assert_eq!(closed(other, true), format!("{other}\n"));
        }
        assert_eq!(closed("whole\n", true), "whole\n");
        assert_eq!(closed("", true), "");
    }
}
