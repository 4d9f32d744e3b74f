//! Compressing rotated files and deleting old ones, in a thread of low priority; only the log's owner does it.
//!
//! Each job is one look at the whole directory, so that what a killed process has begun is finished by the next job:
//! a half-written `.gz.tmp` is deleted; of a file and its `.gz` the file is deleted, because the `.gz` has its name only
//! when it is whole and on the disk; a file alone is compressed. Invariant: at every moment each record is in a file or
//! in its whole compressed form, and names that are not ours are never touched.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use super::name::{Kind, Name};
use super::owner::{self, Owner};
use super::retention::{RotatedFile, doomed};
use crate::config::{Compress, Retention, Rotation};
use crate::sys::fs::{Access, Directory, Owners, mode};

/// The priority of the thread: setpriority(2).
const NICE: i32 = 15;
/// How long the thread waits for the log that is being set up.
const LOG: Duration = Duration::from_secs(2);
/// How much is read at once, in bytes.
const PIECE: usize = 64 << 10;

/// The thread.
#[derive(Debug)]
pub(crate) struct Archive(mpsc::Sender<Job>);

/// One look at the directory.
#[derive(Debug)]
struct Job {
    /// Why we may; given back when the job is done.
    owner: Arc<Owner>,
    /// What to do.
    rotation: Rotation,
}

impl Archive {
    /// Starts the thread. It ends with the process, whatever it does at that moment.
    /// Fails when there can be no thread.
    pub(crate) fn start(log: &Path) -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let log = log.to_owned();
        thread::Builder::new().name("mcpeg-archive".to_owned()).spawn(move || {
            // Without it the work is the same.
            let _ = rustix::process::setpriority_process(None, NICE);
            let mut told = Told::default();
            await_log();
            while let Ok(mut job) = jobs.recv() {
                while let Ok(later) = jobs.try_recv() {
                    job = later;
                }
                let tidied = tidy(&log, &job.rotation, &mut told);
                told.note(&log, "cannot look for rotated log files", tidied);
                drop(job.owner);
            }
        })?;
        Ok(Self(sender))
    }

    /// Looks at the directory.
    pub(crate) fn tidy(&self, owner: &Arc<Owner>, rotation: &Rotation) {
        // If the thread has panicked, files are not compressed any more; the panic is in the log.
        drop(self.0.send(Job { owner: Arc::clone(owner), rotation: rotation.clone() }));
    }
}

/// Waits until there is a log, but not for long: what is told once would be lost before.
fn await_log() {
    let end = Instant::now() + LOG;
    while !tracing::dispatcher::has_been_set() && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
}

/// What has been told of files: each trouble is told once, and again when it comes back after it was over.
#[derive(Debug, Default)]
struct Told(HashSet<PathBuf>);

impl Told {
    /// Tells why something cannot be done with a file, unless that is known; whether it was done.
    fn note(&mut self, file: &Path, what: &'static str, done: io::Result<()>) -> bool {
        match done {
            Ok(()) => {
                self.0.remove(file);
                true
            }
            Err(error) => {
                if self.0.insert(file.to_owned()) {
                    tracing::warn!(%error, file = %file.display(), "{what}");
                }
                false
            }
        }
    }
}

/// The rotated files of a log, and which forms of each there are.
type Files = BTreeMap<Name, Vec<Kind>>;

/// The directory of a log.
struct LogDirectory<'a> {
    /// The log.
    log: &'a Path,
    /// Its directory.
    directory: Directory,
}

/// The newest name in the directory that a right clock has given.
pub(crate) fn newest(log: &Path) -> Option<Name> {
    let files = LogDirectory::open(log).and_then(|place| place.scan()).unwrap_or_default();
    let now = Timestamp::now();
    files.into_keys().rfind(|name| !name.is_ahead(now))
}

/// Does everything that is to be done in the directory. A file that fails keeps no other from it.
fn tidy(log: &Path, rotation: &Rotation, told: &mut Told) -> io::Result<()> {
    let place = LogDirectory::open(log)?;
    let mut files = place.scan()?;
    // What is gone is forgotten, so that the memory of what was told stays small.
    told.0.retain(|path| path == log || path.symlink_metadata().is_ok());
    for (name, kinds) in &mut files {
        if kinds.contains(&Kind::Unfinished) {
            place.remove(*name, Kind::Unfinished, told);
        }
        if kinds.contains(&Kind::Gzip) && kinds.contains(&Kind::Plain) {
            place.remove(*name, Kind::Plain, told);
            kinds.retain(|kind| *kind != Kind::Plain);
        }
    }
    files.retain(|_, kinds| kinds.iter().any(|kind| *kind != Kind::Unfinished));
    // Sizes count when they are final; number and age make room before.
    let keep = Retention { bytes: None, ..rotation.keep };
    place.delete(&mut files, &keep, told);
    if let Compress::Gzip(level) = rotation.compress {
        place.compress_all(&mut files, level, told);
    }
    place.delete(&mut files, &rotation.keep, told);
    Ok(())
}

impl<'a> LogDirectory<'a> {
    /// Opens the directory.
    fn open(log: &'a Path) -> io::Result<Self> {
        let (directory, _) = Directory::of(log, Owners::Ours)?;
        Ok(Self { log, directory })
    }

    /// The rotated files.
    fn scan(&self) -> io::Result<Files> {
        let mut files = Files::new();
        for entry in self.directory.names()? {
            if let Some((name, kind)) = Name::read(self.log, &entry) {
                files.entry(name).or_default().push(kind);
            }
        }
        Ok(files)
    }

    /// Removes a file, which may have gone by itself.
    fn remove(&self, name: Name, kind: Kind, told: &mut Told) {
        let done = match self.directory.remove(&name.file(self.log, kind)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        told.note(&name.path(self.log, kind), "cannot delete a rotated log file", done);
    }

    /// Compresses what is not compressed, the oldest first. Without room there is no sense in trying another one.
    fn compress_all(&self, files: &mut Files, level: u32, told: &mut Told) {
        for (name, kinds) in files.iter_mut().filter(|(_, kinds)| kinds.contains(&Kind::Plain)) {
            let done = self.compress(*name, level);
            if done.is_err() {
                drop(self.directory.remove(&name.file(self.log, Kind::Unfinished)));
            }
            let full = done.as_ref().is_err_and(is_full);
            if matches!(done, Ok(true)) {
                *kinds = vec![Kind::Gzip];
            }
            let path = name.path(self.log, Kind::Plain);
            told.note(&path, "cannot compress a rotated log file", done.map(drop));
            if full {
                return;
            }
        }
    }

    /// Compresses one file; whether nobody writes it any more.
    fn compress(&self, name: Name, level: u32) -> io::Result<bool> {
        let [plain, unfinished, gzip] =
            [Kind::Plain, Kind::Unfinished, Kind::Gzip].map(|kind| name.file(self.log, kind));
        let (mut source, metadata) = self.directory.read(&plain, Owners::Ours)?;
        if !owner::claim(&source) {
            return Ok(false);
        }
        let target = self.directory.create_new(&unfinished, 0o600, Access::ReadWrite)?;
        // Only root may; others have the same owner anyway.
        drop(fchown(&target, Some(metadata.uid()), Some(metadata.gid())));
        rustix::fs::fchmod(&target, mode(metadata.mode()))?;
        let mut encoder = GzEncoder::new(BufWriter::with_capacity(PIECE, target), Compression::new(level));
        let mut piece = vec![0; PIECE];
        loop {
            match source.read(&mut piece)? {
                0 => break,
                length => encoder.write_all(&piece[..length])?,
            }
        }
        let target: File = encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        target.set_modified(metadata.modified()?)?;
        target.sync_all()?;
        self.directory.rename_new(&unfinished, &gzip)?;
        self.directory.sync()?;
        self.directory.remove(&plain)?;
        Ok(true)
    }

    /// Deletes what the rules do not keep; what cannot be deleted is tried again the next time.
    fn delete(&self, files: &mut Files, rules: &Retention, told: &mut Told) {
        let all: Vec<RotatedFile> = files.iter().map(|(name, kinds)| self.kept(*name, kinds)).collect();
        for name in doomed(&all, rules, Timestamp::now()) {
            for kind in files.remove(&name).into_iter().flatten() {
                self.remove(name, kind, told);
            }
        }
    }

    /// What the rules look at.
    fn kept(&self, name: Name, kinds: &[Kind]) -> RotatedFile {
        let stats = kinds.iter().filter_map(|kind| self.directory.stat(&name.file(self.log, *kind)).ok());
        let (mut bytes, mut written) = (0, None);
        for stat in stats {
            bytes += u64::try_from(stat.st_size).unwrap_or_default();
            written = written.max(Timestamp::from_second(stat.st_mtime).ok());
        }
        RotatedFile::new(name, bytes, written)
    }
}

/// Whether there is no room, or nothing can be written at all.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::ENOSPC | nix::libc::EDQUOT | nix::libc::EROFS))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The rules without a configuration.
    fn rotation() -> Rotation {
        crate::config::Log::default().rotation
    }

    /// The names of a directory.
    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Writes a file.
    fn put(path: &Path, text: &str) {
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The text of a compressed file.
    fn unzipped(path: &Path) -> String {
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_a_killed_process_left_is_finished_and_others_files_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("mcpeg.log");
        let stamp = |second: u32| scratch.path().join(format!("mcpeg.log.20261124T0930{second:02}Z.000000"));
        let beside = |path: PathBuf, ending: &str| PathBuf::from(format!("{}{ending}", path.display()));
        put(&log, "active\n");
        put(&stamp(1), "half compressed\n");
        put(&beside(stamp(1), ".gz.tmp"), "garbage");
        put(&stamp(2), "not compressed\n");
        put(&stamp(3), "compressed twice\n");
        let mut encoder = GzEncoder::new(File::create(beside(stamp(3), ".gz")).unwrap(), Compression::fast());
        encoder.write_all(b"compressed twice\n").unwrap();
        encoder.finish().unwrap();
        for other in ["mcpeg.log.1", "mcpeg.log.2.gz", "mcpeg.log.old.gz.tmp"] {
            put(&scratch.path().join(other), "theirs");
        }
        tidy(&log, &rotation(), &mut Told::default()).unwrap();
        assert_eq!(
            names(scratch.path()),
            [
                "mcpeg.log",
                "mcpeg.log.1",
                "mcpeg.log.2.gz",
                "mcpeg.log.20261124T093001Z.000000.gz",
                "mcpeg.log.20261124T093002Z.000000.gz",
                "mcpeg.log.20261124T093003Z.000000.gz",
                "mcpeg.log.old.gz.tmp",
            ]
        );
        assert_eq!(unzipped(&beside(stamp(1), ".gz")), "half compressed\n");
        assert_eq!(unzipped(&beside(stamp(3), ".gz")), "compressed twice\n");
    }

    #[test]
    fn a_file_that_another_process_writes_is_not_compressed() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("mcpeg.log");
        let rotated = scratch.path().join("mcpeg.log.20261124T093001Z.000000");
        put(&rotated, "still written\n");
        let writer = File::open(&rotated).unwrap();
        assert!(owner::share(&writer));
        tidy(&log, &rotation(), &mut Told::default()).unwrap();
        assert!(rotated.exists());
        drop(writer);
        tidy(&log, &rotation(), &mut Told::default()).unwrap();
        assert!(!rotated.exists());
    }

    #[test]
    fn a_file_that_cannot_be_compressed_is_named_once_and_others_are_compressed() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("mcpeg.log");
        let stamp = |second: u32| scratch.path().join(format!("mcpeg.log.20261124T0930{second:02}Z.000000"));
        let secret = scratch.path().join("secret");
        put(&secret, "of somebody else\n");
        std::os::unix::fs::symlink(&secret, stamp(1)).unwrap();
        fs::hard_link(&secret, stamp(2)).unwrap();
        fs::create_dir_all(stamp(3).join("x")).unwrap();
        nix::unistd::mkfifo(&stamp(4), nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Its compressed form cannot be begun.
        put(&stamp(5), "line\n");
        fs::create_dir(scratch.path().join("mcpeg.log.20261124T093005Z.000000.gz.tmp")).unwrap();
        put(&stamp(6), "line\n");
        let mut told = Told::default();
        for _ in 0..3 {
            tidy(&log, &rotation(), &mut told).unwrap();
            assert!(!stamp(6).exists(), "newer ones are compressed");
        }
        for second in 1..=5 {
            assert!(told.0.contains(&stamp(second)), "{second} {told:?}");
            assert!(stamp(second).symlink_metadata().is_ok());
        }
        assert_eq!(fs::read_to_string(&secret).unwrap(), "of somebody else\n");
    }

    #[test]
    fn the_newest_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("mcpeg.log");
        for second in 0..6 {
            put(&scratch.path().join(format!("mcpeg.log.20261124T09300{second}Z.000000")), "line\n");
        }
        let mut rules = Rotation { compress: Compress::None, ..rotation() };
        rules.keep.files = Some(2);
        tidy(&log, &rules, &mut Told::default()).unwrap();
        assert_eq!(
            names(scratch.path()),
            ["mcpeg.log.20261124T093004Z.000000", "mcpeg.log.20261124T093005Z.000000"]
        );
    }
}
