//! The black-box checker: reads what is in a log's directory and counts what is wrong with it.
//!
//! Records are those of the workload: each has the number of its thread and its own number in it. Files are read in
//! the order of their names, the active one last; within that order the numbers of a thread must go up by one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Of each thread: how many records there are, and the greatest number.
    pub(crate) threads: BTreeMap<u64, (u64, u64)>,
    /// Numbers below the greatest of their thread that are missing.
    pub(crate) missing: u64,
    /// Records that are there more than once.
    pub(crate) duplicated: u64,
    /// Records that stand behind a later one of their thread.
    pub(crate) disordered: u64,
    /// Lines that are no record, and files that do not end with a line.
    pub(crate) torn: u64,
    /// What records of the log itself say was dropped.
    pub(crate) reported: u64,
    /// How many rotated files there are.
    pub(crate) rotated: usize,
    /// How many of them are compressed.
    pub(crate) compressed: usize,
}

impl Found {
    /// How many records of the workload there are.
    pub(crate) fn records(&self) -> u64 {
        self.threads.values().map(|(count, _)| count).sum()
    }

    /// Asserts that each thread has all of its records, once and in order.
    pub(crate) fn is_whole(&self, threads: u64, records: u64) {
        let all: BTreeMap<u64, (u64, u64)> =
            (0..threads).map(|thread| (thread, (records, records - 1))).collect();
        self.is_sound();
        assert_eq!(self.missing, 0, "{self:?}");
        assert_eq!(self.threads, all, "{self:?}");
    }

    /// Asserts that nothing is torn, there twice, or out of order.
    pub(crate) fn is_sound(&self) {
        assert_eq!((self.duplicated, self.disordered, self.torn), (0, 0, 0), "{self:?}");
    }
}

/// Reads every file of a log: `extra` are those that somebody has moved, the oldest first.
pub(crate) fn check(log: &Path, extra: &[PathBuf]) -> Found {
    let mut found = Found::default();
    let mut seen: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let rotated = rotated(log);
    found.rotated = rotated.len();
    for path in rotated.iter().chain(extra).map(PathBuf::as_path).chain([log]) {
        found.compressed += usize::from(path.extension().is_some_and(|ending| ending == "gz"));
        let bytes = read(path);
        found.torn += u64::from(!bytes.is_empty() && !bytes.ends_with(b"\n"));
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            found.line(line, &mut seen);
        }
    }
    for (thread, mut numbers) in seen {
        let greatest = numbers.iter().copied().max().unwrap_or(0);
        found.disordered += numbers.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
        let all = numbers.len() as u64;
        numbers.sort_unstable();
        numbers.dedup();
        let distinct = numbers.len() as u64;
        found.duplicated += all - distinct;
        found.missing += greatest + 1 - distinct;
        found.threads.insert(thread, (distinct, greatest));
    }
    found
}

impl Found {
    /// Notes one line.
    fn line(&mut self, line: &[u8], seen: &mut BTreeMap<u64, Vec<u64>>) {
        let Ok(record) = serde_json::from_slice::<Value>(line) else {
            self.torn += 1;
            return;
        };
        if let (Some(thread), Some(number)) = (record["thread"].as_u64(), record["number"].as_u64()) {
            seen.entry(thread).or_default().push(number);
        } else if record["target"] == "mcpeg::log" {
            let message = record["message"].as_str().unwrap_or_default();
            let number = message.strip_prefix("dropped ").and_then(|rest| rest.split(' ').next());
            self.reported += number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
    }
}

/// The rotated files, the oldest first. One that is there as it was written and compressed counts once, as it does for
/// the program.
pub(crate) fn rotated(log: &Path) -> Vec<PathBuf> {
    // Not `mcpeg.log.2`, which is logrotate's.
    let base = format!("{}.20", log.file_name().unwrap().to_str().unwrap());
    let entries = fs::read_dir(log.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let ours = |path: &PathBuf| {
        name(path).starts_with(&base)
            && name(path).contains("Z.")
            && path.extension().is_none_or(|ending| ending != "tmp")
    };
    let mut files: Vec<PathBuf> = entries.filter(ours).collect();
    files.sort();
    let all = files.clone();
    files.retain(|path| !all.contains(&PathBuf::from(format!("{}.gz", path.display()))));
    files
}

/// The content of a file, compressed or not.
fn read(path: &Path) -> Vec<u8> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|ending| ending == "gz") {
        flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    } else {
        let mut file = file;
        file.read_to_end(&mut bytes).unwrap();
    }
    bytes
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("mcpeg.log");
    let line = |thread: u64, number: u64| format!("{{\"thread\":{thread},\"number\":{number}}}\n");
    let put = |name: &str, text: String| {
        fs::File::create(scratch.path().join(name)).map(|mut file| {
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        })
    };
    put("mcpeg.log.20260101T000000Z.000000", line(0, 0) + &line(0, 1) + &line(1, 0) + "{\"thr\n").unwrap();
    put("mcpeg.log", line(1, 2) + &line(0, 1) + &line(0, 4) + &line(0, 3) + "{\"thread\"").unwrap();
    let found = check(&log, &[]);
    assert_eq!((found.missing, found.duplicated, found.disordered, found.torn), (2, 1, 1, 3), "{found:?}");
    put("mcpeg.log.20260101T000000Z.000000", String::new()).unwrap();
    put("mcpeg.log", line(0, 0) + &line(0, 1)).unwrap();
    check(&log, &[]).is_whole(1, 2);
}
