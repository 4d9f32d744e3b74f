//! The files that a child was made of: its program, and what its arguments name, such as a script.
//!
//! A child outlives an upgrade of the gateway; one whose program has been replaced should not, since whoever replaces it
//! and restarts the gateway expects the new one to run. What a package manager loads by name (`npx`, `python -m`) is not
//! seen here.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::child::Recipe;

/// Files as they were when a child was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Files(Vec<(PathBuf, Stamp)>);

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    /// The device and the number of its inode.
    inode: (u64, u64),
    /// Its size, in bytes.
    size: u64,
    /// When it was last written, in seconds and nanoseconds.
    written: (i64, i64),
}

impl Files {
    /// The files that a recipe names.
    pub(crate) fn of(recipe: &Recipe<'_>) -> Self {
        let path =
            recipe.env.get("PATH").map(|path| path.reveal().into()).or_else(|| std::env::var_os("PATH"));
        let program = if recipe.command.contains('/') {
            Some(PathBuf::from(recipe.command))
        } else {
            path.and_then(|path| {
                let found = std::env::split_paths(&path).map(|directory| directory.join(recipe.command));
                found.into_iter().find(|program| program.is_file())
            })
        };
        let directory = recipe.working_dir.unwrap_or(Path::new("."));
        let arguments = recipe.args.iter().map(|argument| directory.join(argument));
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
