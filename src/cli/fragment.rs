//! Writing one file of the configuration: whole or not at all, and never over another file by accident.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::Path;

use nix::fcntl::OFlag;
use rustix::fs::CWD;

use crate::sys::fs::{Ownership, write_atomic};
use crate::sys::rename::rename_new;

/// The mode of a fragment: it may name hosts and users.
const FILE_MODE: u32 = 0o640;
/// The mode of a new `conf.d`.
const DIRECTORY_MODE: u32 = 0o750;

/// Makes the directory for fragments if it is missing; its group is that of the directory around it, so that the
/// service can read what root writes.
pub(super) fn directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let around = path.parent().filter(|around| !around.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(around)?;
    DirBuilder::new().mode(DIRECTORY_MODE).create(path)?;
    inherit_group(&File::open(path)?, around)
}

/// Writes a file that appears complete under its name, or not at all. Without `replace` an existing file is an error
/// even if it appeared at the last moment: rename(2) RENAME_NOREPLACE.
#[expect(clippy::doc_markdown, reason = "names of the manual page, which has them without quotes")]
pub(super) fn file(path: &Path, content: &str, replace: bool) -> io::Result<()> {
    let directory = path.parent().expect("a fragment lies in a directory");
    let name = path.file_name().expect("a fragment has a name").to_string_lossy();
    // Hidden, so that a gateway that reloads in the meantime does not read it.
    let draft = directory.join(format!(".{name}.{}", std::process::id()));
    let result = write_draft(&draft, content, directory).and_then(|()| {
        if replace {
            std::fs::rename(&draft, path)?;
        } else {
            rename_new(CWD, &draft, CWD, path)?;
        }
        File::open(directory)?.sync_all()
    });
    if result.is_err() {
        // The draft is of no use to anybody; that it cannot be removed matters less than why there is one.
        drop(std::fs::remove_file(&draft));
    }
    result
}

/// Puts another content in the place of a file that is there; mode and owner stay. A link to it stays a link.
pub(super) fn exchange(path: &Path, content: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let before = std::fs::metadata(&path)?;
    let ownership = Ownership {
        mode: before.permissions().mode() & 0o7777,
        uid: Some(before.uid()),
        gid: Some(before.gid()),
    };
    write_atomic(&path, content.as_bytes(), ownership)
}

/// Writes the content to a new file and waits until it is on the disk.
fn write_draft(draft: &Path, content: &str, directory: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .custom_flags((OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).bits())
        .open(draft)?;
    inherit_group(&file, directory)?;
    // The umask may have taken bits away that the service needs.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

/// Gives a file the group of a directory. A user who may not do that is not writing for a service.
fn inherit_group(file: &File, directory: &Path) -> io::Result<()> {
    let group = std::fs::metadata(directory)?.gid();
    if file.metadata()?.gid() == group {
        return Ok(());
    }
    match fchown(file, None, Some(group)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_if_that_is_meant() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a.toml");
        file(&path, "one", false).unwrap();
        assert_eq!(file(&path, "two", false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        file(&path, "three", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1, "a draft is left behind");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, FILE_MODE);
    }
}
