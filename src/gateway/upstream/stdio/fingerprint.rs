//! The files that a child was made of: its program, and what its arguments name, such as a script.
//!
//! A child outlives an upgrade of the gateway; one whose program has been replaced should not, since those who replace it
//! and restarts the gateway expects the new one to run. What is loaded by name (`npx`, `python -m`) is not seen here.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::handover::Stamp;

/// Files as they were when a child was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExecutableFingerprint(Vec<(PathBuf, Stamp)>);

impl ExecutableFingerprint {
    /// As another process has noted it.
    pub(crate) const fn noted(files: Vec<(PathBuf, Stamp)>) -> Self {
        Self(files)
    }

    /// The files, for another process.
    pub(crate) fn files(&self) -> &[(PathBuf, Stamp)] {
        &self.0
    }

    /// The files that a command line names, for a child that starts in this directory with this `PATH`, or the gateway's own.
    pub(crate) fn of(
        command: &str,
        args: &[String],
        path: Option<OsString>,
        working_dir: Option<&Path>,
    ) -> Self {
        let path = path.or_else(|| std::env::var_os("PATH"));
        let program = if command.contains('/') {
            Some(PathBuf::from(command))
        } else {
            path.and_then(|path| {
                let found = std::env::split_paths(&path).map(|directory| directory.join(command));
                found.into_iter().find(|program| program.is_file())
            })
        };
        let directory = working_dir.unwrap_or(Path::new("."));
        let arguments = args.iter().map(|argument| directory.join(argument));
        let files = program.into_iter().chain(arguments).filter_map(|path| {
            let stamp = stamp(&path)?;
            Some((path, stamp))
        });
        Self(files.collect())
    }

    /// Whether all of them are what they were.
    pub(crate) fn are_the_same(&self) -> bool {
        self.0.iter().all(|(path, before)| stamp(path) == Some(*before))
    }
}

/// What a regular file is now.
fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Stamp {
        inode: (found.dev(), found.ino()),
        size: found.size(),
        written: (found.mtime(), found.mtime_nsec()),
    })
}
