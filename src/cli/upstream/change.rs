//! One file that changes, and how that is taken back.

use std::io;
use std::path::{Path, PathBuf};

use fieldwork::Fieldwork;
use similar::TextDiff;

use super::error::Error;
use crate::cli::fragment;
use crate::sys::fs;

/// One file that changes.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(super) struct Change {
    /// The file.
    #[field(get)]
    path: PathBuf,
    /// Its content; `None` if it is new.
    before: Option<String>,
    /// What it is to be; `None` if it goes.
    after: Option<String>,
}

impl Change {
    /// That of a file from what it holds.
    pub(super) fn of(
        path: PathBuf,
        edit: impl FnOnce(&str) -> Result<Option<String>, Error>,
    ) -> Result<Self, Error> {
        let before = text(&path)?;
        let after = edit(before.as_deref().unwrap_or_default())?;
        Ok(Self { path, before, after })
    }

    /// The file as it is to be, for a check; one that goes says nothing.
    pub(super) fn planned(&self) -> [(PathBuf, String); 1] {
        [(self.path.clone(), self.after.clone().unwrap_or_default())]
    }

    /// Whether the file goes.
    pub(super) const fn is_removal(&self) -> bool {
        self.after.is_none()
    }

    /// The lines that differ.
    pub(super) fn difference(&self) -> String {
        let [before, after] = [&self.before, &self.after].map(|text| text.as_deref().unwrap_or_default());
        let lines = TextDiff::from_lines(before, after).unified_diff().context_radius(2).to_string();
        format!("{}:\n{lines}", self.path.display())
    }

    /// Makes it.
    pub(super) fn make(&self) -> Result<(), Error> {
        let made = match (&self.before, &self.after) {
            (None, Some(after)) => {
                let directory = self.path.parent().unwrap_or(Path::new("."));
                fragment::directory(directory).and_then(|()| fragment::file(&self.path, after, false))
            }
            (Some(_), Some(after)) => fragment::exchange(&self.path, after),
            (_, None) => fs::rename(&self.path, &self.aside()),
        };
        made.map_err(|error| Error::Write(self.path.clone(), error))
    }

    /// Keeps it: what would be needed to take it back goes.
    pub(super) fn keep(&self) -> Result<(), Error> {
        let kept = if self.is_removal() { fs::remove(&self.aside()) } else { Ok(()) };
        kept.map_err(|error| Error::Write(self.aside(), error))
    }

    /// Takes it back.
    pub(super) fn take_back(&self) -> Result<(), Error> {
        let back: io::Result<()> = match (&self.before, &self.after) {
            (None, _) => fs::remove(&self.path),
            (Some(before), Some(_)) => fragment::exchange(&self.path, before),
            (Some(_), None) => fs::rename(&self.aside(), &self.path),
        };
        back.map_err(|error| Error::Write(self.path.clone(), error))
    }

    /// The name of a file that goes, until that is sure: hidden, so that no gateway reads it.
    fn aside(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!(".{name}.{}.removed", std::process::id()))
    }
}

/// The text of a file; `None` where there is none.
pub(super) fn text(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Read(path.to_owned(), error)),
    }
}
