//! The open log file: whole lines go in, and it is moved away and replaced.
//!
//! Invariants: the file ends with a whole line, also after a write that failed halfway; a file that cannot be moved or
//! replaced is written further; a rotated file never replaces another.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use fieldwork::Fieldwork;
use jiff::Timestamp;
use rustix::fs::{SeekFrom, fstat, ftruncate, seek, stat};

use super::name::{Kind, Name};
use super::{open, owner};
use crate::log::batch::Batch;
use crate::log::error::Error;
use crate::sys::fd::device_inode;
use crate::sys::fs::Directory;

/// How often a name is tried that somebody else takes at the same moment.
const TRIES: usize = 10;

/// The open file.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Active {
    /// Where it should be.
    #[field(get)]
    path: PathBuf,
    /// The directory that it was opened in, wherever that is.
    directory: Directory,
    /// The file, wherever it is.
    file: File,
    /// Its size in bytes, as far as we know.
    #[field(get)]
    size: u64,
    /// Whether it ends with a torn line.
    torn: bool,
}

/// What became of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// It was moved, and a new one is in use.
    Moved {
        /// Where it is now.
        old: PathBuf,
        /// The new one.
        new: PathBuf,
    },
    /// Somebody else had moved it; a new one is in use.
    Reopened(PathBuf),
    /// There is nothing in it.
    Empty(PathBuf),
    /// It was left as it is: another program rotates, or another process.
    Left(PathBuf),
}

impl Active {
    /// Opens the file.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let mut last = Self::open_once(path)?;
        // Another process may rotate at this very moment.
        for _ in 0..TRIES {
            if last.is_in_place() {
                break;
            }
            last = Self::open_once(path)?;
        }
        Ok(last)
    }

    /// Opens what is there now.
    fn open_once(path: &Path) -> Result<Self, Error> {
        let (directory, file) = open::open(path)?;
        let alone = owner::claim(&file);
        let size = open::close_torn_line(&file, alone);
        // Where there are no locks, nobody can tell that we write; a second process is rare enough.
        owner::share(&file);
        let torn = size.is_err();
        Ok(Self { path: path.to_owned(), directory, file, size: size.unwrap_or(0), torn })
    }

    /// The time of its last line, or now if it has none.
    pub(crate) fn since(&self) -> Timestamp {
        let metadata = self.file.metadata().ok().filter(|metadata| metadata.len() > 0);
        let modified = metadata.and_then(|metadata| metadata.modified().ok());
        modified.and_then(|time| time.try_into().ok()).unwrap_or_else(Timestamp::now)
    }

    /// Looks whether the file is the one at its path, and how large it has become.
    pub(crate) fn is_in_place(&mut self) -> bool {
        // Again, because another process may have looked for half a record at the moment of the first try.
        owner::share(&self.file);
        if let Ok(metadata) = self.file.metadata() {
            self.size = metadata.len();
        }
        let there = stat(&self.path).map(|stat| (stat.st_dev, stat.st_ino));
        matches!((there, device_inode(self.file.as_fd())), (Ok(there), Ok(ours)) if there == ours)
    }

    /// Uses the file that is at the path now.
    pub(crate) fn reopen(&mut self) -> Result<(), Error> {
        *self = Self::open(&self.path)?;
        Ok(())
    }

    /// Forces what was written to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Appends the first `bytes` bytes of a batch, which are whole records. What is written by half is taken back. Says
    /// how many records are in the file, how many bytes they have, and why the rest is not.
    pub(crate) fn append(&mut self, batch: &Batch, bytes: usize) -> (usize, usize, Option<io::Error>) {
        let text = &batch.rest()[..bytes];
        let mut done = 0;
        let mut error = self.end_torn_line().err();
        while error.is_none() && done < text.len() {
            match self.file.write(&text[done..]) {
                Ok(0) => error = Some(io::ErrorKind::WriteZero.into()),
                Ok(more) => done += more,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => error = Some(cause),
            }
        }
        let (records, whole) = batch.fitting(done as u64);
        let (records, whole) = if whole > bytes { batch.fitting(bytes as u64) } else { (records, whole) };
        if done > whole {
            self.take_back((done - whole) as u64);
        }
        self.size += whole as u64;
        (records, whole, error)
    }

    /// Ends a torn line that could not be taken back.
    fn end_torn_line(&mut self) -> io::Result<()> {
        if self.torn {
            open::close_torn_line(&self.file, false)?;
            self.torn = false;
        }
        Ok(())
    }

    /// Removes the last bytes that we wrote, unless another process has written behind them.
    fn take_back(&mut self, bytes: u64) {
        // After a write with O_APPEND the offset is the end of what was written: write(2).
        let end = seek(&self.file, SeekFrom::Current(0));
        let size = fstat(&self.file).map(|stat| stat.st_size.cast_unsigned());
        let whole = match (end, size) {
            (Ok(end), Ok(size)) if end == size => ftruncate(&self.file, end.saturating_sub(bytes)).is_ok(),
            _ => false,
        };
        self.torn |= !whole;
    }

    /// Moves the file away under the next name, and opens a new one. If that fails, the old one stays in use; once it
    /// has been moved, [`Self::is_in_place`] tells that it is to be reopened.
    pub(crate) fn rotate(&mut self, last: &mut Option<Name>, now: Timestamp) -> Result<Rotated, Error> {
        let cannot = |source| Error::Rotate { path: self.path.clone(), source };
        // In the directory that the file was opened in: the path may lead elsewhere by now.
        let ours = device_inode(self.file.as_fd()).map_err(cannot)?;
        let name = self.path.file_name().unwrap_or_default();
        if !self.directory.holds(name, ours) {
            return Err(cannot(io::ErrorKind::NotFound.into()));
        }
        for _ in 0..TRIES {
            let next = Name::next(now, *last);
            let old = next.path(&self.path, Kind::Plain);
            *last = Some(next);
            match self.move_away(name, next) {
                Ok(()) => {
                    self.reopen()?;
                    return Ok(Rotated::Moved { old, new: self.path.clone() });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot(error)),
            }
        }
        Err(cannot(io::ErrorKind::AlreadyExists.into()))
    }

    /// Renames the file unless the new name or its compressed form is taken.
    fn move_away(&self, name: &OsStr, next: Name) -> io::Result<()> {
        let [plain, gzip] = [Kind::Plain, Kind::Gzip].map(|kind| next.file(&self.path, kind));
        if self.directory.stat(&gzip).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.directory.rename_new(name, &plain)
    }
}
