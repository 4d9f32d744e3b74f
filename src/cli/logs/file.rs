//! A file of lines that grows, and that others may rotate meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// As much is read at once, in bytes.
const BLOCK: usize = 64 << 10;
/// How often it is looked whether there is more.
const STEP: Duration = Duration::from_millis(200);

/// A file that is read while it grows.
pub(super) struct Followed {
    /// Its name, under which another file may be later.
    path: PathBuf,
    /// The file.
    file: File,
    /// As much of it was read.
    at: u64,
    /// A line that has begun.
    begun: Vec<u8>,
}

impl Followed {
    /// The file that has the name now, from its end on.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let at = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, at, begun: Vec::new() })
    }

    /// The last lines, at most so many, of those that are taken.
    pub(super) fn last(&mut self, count: usize, takes: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let (mut found, mut begun) = (Vec::new(), Vec::new());
        let mut end = self.at;
        while end > 0 && found.len() < count {
            let from = end.saturating_sub(BLOCK as u64);
            let mut block = vec![0; usize::try_from(end - from).unwrap_or(BLOCK)];
            self.file.read_exact_at(&mut block, from)?;
            block.append(&mut begun);
            // The first line of a block may have begun before it.
            let whole =
                if from == 0 { 0 } else { memchr::memchr(b'\n', &block).map_or(block.len(), |at| at + 1) };
            let lines = block[whole..].split(|byte| *byte == b'\n').rev();
            let lines =
                lines.filter(|line| !line.is_empty()).map(|line| String::from_utf8_lossy(line).into_owned());
            found.extend(lines.filter(|line| takes(line)));
            block.truncate(whole);
            begun = block;
            end = from;
        }
        found.truncate(count);
        found.reverse();
        Ok(found)
    }

    /// The next lines, once there are any. A file that was moved away is read to its end, and then the one that has its name.
    pub(super) fn next(&mut self) -> io::Result<Vec<String>> {
        loop {
            let ours = self.file.metadata()?;
            let identity = |found: &std::fs::Metadata| (found.dev(), found.ino());
            // For an instant there may be none of the name.
            let other = File::open(&self.path)
                .ok()
                .filter(|other| other.metadata().is_ok_and(|other| identity(&other) != identity(&ours)));
            if ours.len() < self.at {
                // It was cut.
                (self.at, self.begun) = (0, Vec::new());
            }
            let mut lines = self.more()?;
            if let Some(other) = other {
                lines.extend(line(&std::mem::take(&mut self.begun)));
                (self.file, self.at) = (other, 0);
                lines.extend(self.more()?);
            }
            if !lines.is_empty() {
                return Ok(lines);
            }
            std::thread::sleep(STEP);
        }
    }

    /// The lines that have become whole.
    fn more(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut block = vec![0; BLOCK];
        loop {
            let count = self.file.read_at(&mut block, self.at)?;
            if count == 0 {
                return Ok(lines);
            }
            self.at += count as u64;
            for part in block[..count].split_inclusive(|byte| *byte == b'\n') {
                self.begun.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    lines.extend(line(&std::mem::take(&mut self.begun)));
                }
            }
        }
    }
}

/// A line without its end, unless it is empty.
fn line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\n');
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn last_lines_are_those_that_are_taken_however_far_back_they_are() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for number in 0..30_000 {
            writeln!(file, "{} {number}", if number % 10_000 == 0 { "rare" } else { "often" }).unwrap();
        }
        let mut followed = Followed::open(file.path()).unwrap();
        let rare = |line: &str| line.starts_with("rare");
        assert_eq!(followed.last(2, &rare).unwrap(), ["rare 10000", "rare 20000"]);
        assert_eq!(followed.last(9, &rare).unwrap(), ["rare 0", "rare 10000", "rare 20000"]);
        assert_eq!(followed.last(1, &|_| true).unwrap(), ["often 29999"]);
        assert_eq!(followed.last(0, &|_| true).unwrap(), [""; 0]);
    }

    #[test]
    fn no_line_is_lost_or_shown_twice_when_the_file_is_rotated_or_cut() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        let append = |text: &str| {
            let mut file = File::options().append(true).create(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        append("one\n");
        let mut followed = Followed::open(&path).unwrap();
        append("two\nthr");
        assert_eq!(followed.next().unwrap(), ["two"]);
        append("ee\n");
        assert_eq!(followed.next().unwrap(), ["three"]);
        append("four\nfive");
        std::fs::rename(&path, scratch.path().join("log.1")).unwrap();
        append("six\n");
        assert_eq!(followed.next().unwrap(), ["four", "five", "six"]);
        File::create(&path).unwrap().write_all(b"7\n").unwrap();
        assert_eq!(followed.next().unwrap(), ["7"]);
    }
}
