//! Compressing rotated files and deleting old ones, in a thread of low priority; only the log's owner does it.
//!
//! Each job is one look at the whole directory, so that what a killed process has begun is finished by the next job:
//! a half-written `.gz.tmp` is deleted; of a file and its `.gz` the file is deleted, because the `.gz` has its name only
//! when it is whole and on the disk; a file alone is compressed. Invariant: at every moment each record is in a file or
//! in its whole compressed form, and names that are not ours are never touched.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use rustix::fs::CWD;

use super::name::{Kind, Name};
use super::owner::{self, Owner};
use super::retention::{Kept, doomed};
use crate::config::{Compress, Retention, Rotation};
use crate::sys::fs::{open_untrusted, sync_directory_of};
use crate::sys::rename::rename_new;

/// The priority of the thread: setpriority(2).
const NICE: i32 = 15;
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
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(log: &Path) -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let log = log.to_owned();
        thread::Builder::new().name("mcpeg-archive".to_owned()).spawn(move || {
            // Without it the work is the same.
            let _ = rustix::process::setpriority_process(None, NICE);
            while let Ok(mut job) = jobs.recv() {
                while let Ok(later) = jobs.try_recv() {
                    job = later;
                }
                if let Err(error) = tidy(&log, &job.rotation) {
                    tracing::warn!(%error, file = %log.display(), "cannot compress or delete rotated log files");
                }
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

/// The newest name in the directory.
pub(crate) fn newest(log: &Path) -> Option<Name> {
    let files = scan(log).unwrap_or_default();
    files.last_key_value().map(|(name, _)| *name)
}

/// The rotated files of a log, and which forms of each there are.
fn scan(log: &Path) -> io::Result<BTreeMap<Name, Vec<Kind>>> {
    let mut files: BTreeMap<Name, Vec<Kind>> = BTreeMap::new();
    for entry in fs::read_dir(log.parent().unwrap_or(Path::new(".")))? {
        if let Some((name, kind)) = Name::read(log, &entry?.file_name()) {
            files.entry(name).or_default().push(kind);
        }
    }
    Ok(files)
}

/// Does everything that is to be done in the directory.
fn tidy(log: &Path, rotation: &Rotation) -> io::Result<()> {
    let path = |name: Name, kind| name.path(log, kind);
    let mut files = scan(log)?;
    for (name, kinds) in &mut files {
        if kinds.contains(&Kind::Unfinished) {
            remove(&path(*name, Kind::Unfinished))?;
        }
        if kinds.contains(&Kind::Gzip) && kinds.contains(&Kind::Plain) {
            remove(&path(*name, Kind::Plain))?;
            kinds.retain(|kind| *kind != Kind::Plain);
        }
    }
    files.retain(|_, kinds| kinds.iter().any(|kind| *kind != Kind::Unfinished));
    // Sizes count when they are final; number and age make room before.
    let keep = Retention { bytes: None, ..rotation.keep };
    delete(log, &mut files, &keep);
    let compressed = match rotation.compress {
        Compress::None => Ok(()),
        Compress::Gzip(level) => compress_all(log, &mut files, level),
    };
    delete(log, &mut files, &rotation.keep);
    compressed
}

/// Compresses what is not compressed, the oldest first.
fn compress_all(log: &Path, files: &mut BTreeMap<Name, Vec<Kind>>, level: u32) -> io::Result<()> {
    for (name, kinds) in files.iter_mut().filter(|(_, kinds)| kinds.contains(&Kind::Plain)) {
        let [plain, unfinished, gzip] =
            [Kind::Plain, Kind::Unfinished, Kind::Gzip].map(|kind| name.path(log, kind));
        match compress(&plain, &unfinished, &gzip, level) {
            Ok(true) => *kinds = vec![Kind::Gzip],
            Ok(false) => {}
            Err(error) => {
                drop(fs::remove_file(&unfinished));
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Compresses one file; whether nobody writes it any more.
fn compress(plain: &Path, unfinished: &Path, gzip: &Path, level: u32) -> io::Result<bool> {
    let (mut source, metadata) = open_untrusted(plain)?;
    if !metadata.is_file() || !owner::claim(&source) {
        return Ok(false);
    }
    let target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(metadata.mode() & 0o7777)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(unfinished)?;
    target.set_permissions(metadata.permissions())?;
    // Only root may; others have the same owner anyway.
    drop(fchown(&target, Some(metadata.uid()), Some(metadata.gid())));
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
    match rename_new(CWD, unfinished, CWD, gzip) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => fs::rename(unfinished, gzip)?,
        other => other?,
    }
    sync_directory_of(gzip)?;
    remove(plain)?;
    Ok(true)
}

/// Deletes what the rules do not keep; what cannot be deleted is tried again the next time.
fn delete(log: &Path, files: &mut BTreeMap<Name, Vec<Kind>>, rules: &Retention) {
    let size = |path: PathBuf| fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
    let kept = |(name, kinds): (&Name, &Vec<Kind>)| {
        let bytes = kinds.iter().map(|kind| size(name.path(log, *kind))).sum();
        Kept { name: *name, bytes }
    };
    let all: Vec<Kept> = files.iter().map(kept).collect();
    for name in doomed(&all, rules, Timestamp::now()) {
        for kind in files.remove(&name).into_iter().flatten() {
            if let Err(error) = remove(&name.path(log, kind)) {
                tracing::warn!(%error, "cannot delete a rotated log file");
            }
        }
    }
}

/// Removes a file, which may have gone by itself.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        tidy(&log, &Rotation::default()).unwrap();
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
        tidy(&log, &Rotation::default()).unwrap();
        assert!(rotated.exists());
        drop(writer);
        tidy(&log, &Rotation::default()).unwrap();
        assert!(!rotated.exists());
    }

    #[test]
    fn the_newest_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("mcpeg.log");
        for second in 0..6 {
            put(&scratch.path().join(format!("mcpeg.log.20261124T09300{second}Z.000000")), "line\n");
        }
        let mut rotation = Rotation { compress: Compress::None, ..Rotation::default() };
        rotation.keep.files = Some(2);
        tidy(&log, &rotation).unwrap();
        assert_eq!(
            names(scratch.path()),
            ["mcpeg.log.20261124T093004Z.000000", "mcpeg.log.20261124T093005Z.000000"]
        );
    }
}
