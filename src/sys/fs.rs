//! Files that other programs may meddle with: opened without following links or hanging, replaced as a whole.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::libc;

/// Mode and owner of a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The permission bits, whatever the umask.
    pub mode: u32,
    /// The owner's id; `None` keeps the writer's.
    pub uid: Option<u32>,
    /// The group's id; `None` keeps the writer's.
    pub gid: Option<u32>,
}

impl Ownership {
    /// This mode, and the writer as owner.
    #[must_use]
    pub const fn mode(mode: u32) -> Self {
        Self { mode, uid: None, gid: None }
    }
}

/// Replaces or creates a file so that a reader sees the old content or the new one and nothing between, also after
/// a crash: a new file in the same directory, fsync, rename, fsync of the directory.
///
/// A symbolic link at `path` is replaced, not followed.
///
/// # Errors
/// What the system calls answer; the temporary file is removed then.
pub fn write_atomic(path: &Path, content: &[u8], ownership: Ownership) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let result = write_new(&temporary, content, ownership).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to report; a file that cannot be removed either is left behind.
        drop(fs::remove_file(&temporary));
    }
    result.and_then(|()| sync_directory_of(path))
}

/// Whether this process sees the root of the file system mounted without execution, mount(8) `noexec`: so a service does
/// whose unit forbids programs (systemd.exec(5) `NoExecPaths=/`).
#[must_use]
#[cfg(target_os = "linux")]
pub fn is_root_noexec() -> bool {
    let flags = rustix::fs::statvfs("/").map(|state| state.f_flag);
    flags.is_ok_and(|flags| flags.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}

/// There are no units here.
#[must_use]
#[cfg(not(target_os = "linux"))]
pub const fn is_root_noexec() -> bool {
    false
}

/// A name in the same directory that this process alone uses.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

/// Removes what writers of this file left beside it that were killed before they could rename it. Nobody may be writing it.
///
/// # Errors
/// When the directory cannot be read or a file not be removed.
pub fn sweep_temporaries(path: &Path) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let found = entry.file_name();
        let number = found.to_str().and_then(|found| {
            found.strip_prefix('.')?.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp")
        });
        let is_number = number.is_some_and(|number| number.parse::<u32>().is_ok());
        if is_number && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Creates the file, which must not exist, with its final mode and owner, and syncs it.
fn write_new(path: &Path, content: &[u8], ownership: Ownership) -> io::Result<()> {
    let open = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)
    };
    let mut file = match open() {
        // Left behind by a crashed process that had our number; nobody alive uses this name.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            open()?
        }
        other => other?,
    };
    file.write_all(content)?;
    if ownership.uid.is_some() || ownership.gid.is_some() {
        fchown(&file, ownership.uid, ownership.gid)?;
    }
    // After fchown, which clears set-id bits; and independent of the umask.
    file.set_permissions(fs::Permissions::from_mode(ownership.mode))?;
    file.sync_all()
}

/// Makes the directory's entries durable: fsync(2) of the file alone does not.
///
/// # Errors
/// What open(2) and fsync(2) answer.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Opens an existing file for reading: not through a symbolic link, and without waiting for a writer if it is a
/// fifo. The caller looks at the kind of file by the metadata of what was opened.
///
/// # Errors
/// `ELOOP` for a symbolic link, else what open(2) answers.
pub fn open_untrusted(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// Opens a file for reading and writing under the same precautions, creating it with this mode if it is missing.
///
/// # Errors
/// `ELOOP` for a symbolic link, else what open(2) answers.
pub fn open_or_create(path: &Path, mode: u32) -> io::Result<(File, Metadata)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(mode)
        .custom_flags(flags)
        .open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// Permission bits as the kernel takes them: `mode_t` is of another width on other platforms.
#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "it is 32 bits wide here"))]
#[must_use]
pub fn mode(bits: u32) -> rustix::fs::Mode {
    rustix::fs::Mode::from_raw_mode((bits & 0o7777).try_into().unwrap_or_default())
}

/// The permission bits of what stat(2) tells.
#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "it is 32 bits wide here"))]
#[must_use]
pub fn permissions(mode: rustix::fs::RawMode) -> u32 {
    u32::from(mode) & 0o7777
}

/// Reads at most `limit` bytes.
///
/// # Errors
/// What read(2) answers.
pub fn read_at_most(file: impl io::Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn sweep_removes_what_killed_writers_left_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x.pid");
        let names = [".x.pid.4711.tmp", ".x.pid.a.tmp", ".y.pid.1.tmp", "x.pid.1.tmp", "x.pid"];
        for name in names {
            fs::File::create(scratch.path().join(name)).unwrap();
        }
        sweep_temporaries(&path).unwrap();
        let left: Vec<_> = names.into_iter().filter(|name| scratch.path().join(name).exists()).collect();
        assert_eq!(left, &names[1..]);
    }

    #[test]
    fn atomic_write_replaces_link_and_not_its_target() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        write_atomic(&target, b"precious", Ownership::mode(0o600)).unwrap();
        symlink(&target, &link).unwrap();
        write_atomic(&link, b"new", Ownership::mode(0o640)).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert_eq!(fs::read(&link).unwrap(), b"new");
        assert_eq!(fs::symlink_metadata(&link).unwrap().permissions().mode(), 0o100_640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "a temporary file stayed behind");
    }

    #[test]
    fn failed_atomic_write_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        fs::create_dir_all(target.join("full")).unwrap();
        assert!(write_atomic(&target, b"new", Ownership::mode(0o644)).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn opening_a_link_fails_and_opening_a_fifo_does_not_hang() {
        let directory = tempfile::tempdir().unwrap();
        let (link, fifo) = (directory.path().join("link"), directory.path().join("fifo"));
        symlink("/etc/passwd", &link).unwrap();
        assert_eq!(open_untrusted(&link).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (_, metadata) = open_untrusted(&fifo).unwrap();
        assert!(!metadata.is_file());
    }
}
