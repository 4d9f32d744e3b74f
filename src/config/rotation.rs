//! When the log file is rotated, what becomes of rotated files, and that only one program does it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnostic::{Place, Problems};
use super::key::{Key, Kind};
use super::kinds;
use super::reader::{Reader, Value};

/// Where an installed logrotate(8) would be told about our log.
const LOGROTATE: &str = "/etc/logrotate.d";
/// Ends of names that it passes over there; the list of logrotate(8), `tabooext`, is longer.
const PASSED_OVER: [&str; 8] =
    ["~", ",v", ".bak", ".disabled", ".dpkg-old", ".dpkg-dist", ".rpmsave", ".swp"];

/// A time of the day, or of the week, in the zone of the machine.
pub(super) const TIME: Kind<At> = Kind::new("a string", at);

/// When the file is rotated, and what becomes of rotated files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Whether another program rotates; we only reopen then.
    pub external: bool,
    /// The size in bytes that the file does not exceed.
    pub size: Option<u64>,
    /// How often it is rotated.
    pub every: Every,
    /// When that is.
    pub at: At,
    /// How rotated files are compressed.
    pub compress: Compress,
    /// Which rotated files are kept.
    pub keep: Retention,
}

/// How often the file is rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Every {
    /// Not by time.
    #[default]
    Never,
    /// Each hour, at the minute of [`At`].
    Hour,
    /// Each day, at the time of [`At`].
    Day,
    /// Each week, at the day and time of [`At`].
    Week,
}

/// A time of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The day.
    pub day: Weekday,
    /// The hour, 0 to 23.
    pub hour: u8,
    /// The minute, 0 to 59.
    pub minute: u8,
    /// Whose time.
    pub zone: Zone,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weekday {
    /// The first day, as ISO 8601 counts.
    #[default]
    Monday,
    /// The second.
    Tuesday,
    /// The third.
    Wednesday,
    /// The fourth.
    Thursday,
    /// The fifth.
    Friday,
    /// The sixth.
    Saturday,
    /// The last one.
    Sunday,
}

/// Whose time a time is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// That of the machine.
    #[default]
    Local,
    /// UTC.
    Utc,
}

/// How rotated files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compress {
    /// Not at all.
    None,
    /// By gzip, with a level from 1 to 9.
    Gzip(u32),
}

/// Which rotated files are kept; what is stricter holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// At most so many.
    pub files: Option<usize>,
    /// None older than this.
    pub age: Option<Duration>,
    /// At most so many bytes together.
    pub bytes: Option<u64>,
}

impl Weekday {
    /// All days, with the names by which the configuration knows them.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Monday, "mon"),
        (Self::Tuesday, "tue"),
        (Self::Wednesday, "wed"),
        (Self::Thursday, "thu"),
        (Self::Friday, "fri"),
        (Self::Saturday, "sat"),
        (Self::Sunday, "sun"),
    ];
}

/// Reads the time of rotations.
fn at(key: &Key<At>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<At> {
    let text = kinds::string(key, value, reader)?;
    let read = time(text.get_ref());
    if read.is_none() {
        let message = format!("`{}` cannot be `{}`", key.name, text.get_ref());
        let hint = "write HH:MM, or DAY HH:MM with mon, tue, wed, thu, fri, sat or sun";
        reader.refuse(&value.span(), message, hint);
    }
    read
}

/// Reads `[DAY ]HH:MM`.
fn time(text: &str) -> Option<At> {
    let (day, time) = text.trim().split_once(' ').unwrap_or(("mon", text.trim()));
    let (hour, minute) = time.trim().split_once(':')?;
    let number = |text: &str, most: u8| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|number| digits && *number <= most)
    };
    let day = day.to_ascii_lowercase();
    let (day, _) = Weekday::ALL.into_iter().find(|(_, name)| *name == day)?;
    Some(At { day, hour: number(hour, 23)?, minute: number(minute, 59)?, zone: Zone::default() })
}

/// Refuses a file that logrotate(8) rotates, and so would we: each would move what the other has just made.
pub(super) fn refuse_logrotate(file: &Path, place: impl FnOnce() -> Place, problems: &mut Problems) {
    if let Some(path) = rotator(Path::new(LOGROTATE), file) {
        let path = path.display();
        let message = format!("`{path}` rotates `{}`, and so would mcpeg", file.display());
        let hint = format!("write rotate = \"external\" in [log], or remove {path}");
        problems.push_with_hint(place(), message, hint);
    }
}

/// What in this directory of logrotate(8) is about the file; the first one by name.
fn rotator(directory: &Path, file: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let passed_over =
        |path: &PathBuf| path.to_str().is_none_or(|name| PASSED_OVER.iter().any(|end| name.ends_with(end)));
    paths.retain(|path| !passed_over(path) && path.is_file());
    paths.sort();
    paths.into_iter().find(|path| covers(&std::fs::read_to_string(path).unwrap_or_default(), file))
}

/// Whether a snippet of logrotate(8) is about this file. Of glob(7), which it knows whole, only `*` is understood.
fn covers(snippet: &str, file: &Path) -> bool {
    let file = file.to_string_lossy();
    let lines = snippet.lines().map(str::trim).filter(|line| line.starts_with(['/', '"']));
    let words = lines.flat_map(|line| line.split_whitespace());
    let mut patterns = words.map(|word| word.trim_matches(['"', '{'])).filter(|word| word.starts_with('/'));
    patterns.any(|pattern| matches(pattern, &file))
}

/// Whether a name fits a pattern with stars, none of which crosses a slash.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let end = rest.find('/').unwrap_or(rest.len());
            (0..=end).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_week_is_read_and_nonsense_is_not() {
        let at = time("Sun 03:30").unwrap();
        assert_eq!((at.day, at.hour, at.minute), (Weekday::Sunday, 3, 30));
        assert_eq!(time("23:59").unwrap().day, Weekday::Monday);
        for wrong in ["", "24:00", "00:60", "3:30", "noon", "xyz 00:00", "+1:00", "00:00:00"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn any_file_of_logrotate_may_be_about_the_log_but_backups() {
        let directory = tempfile::tempdir().unwrap();
        let log = Path::new("/var/log/mcpeg-two/mcpeg.log");
        for (name, counts) in
            [("mcpeg-two", true), ("site.conf", true), ("mcpeg.dpkg-old", false), ("mcpeg~", false)]
        {
            let path = directory.path().join(name);
            let mut file = std::fs::File::create(&path).unwrap();
            std::io::Write::write_all(&mut file, b"/var/log/mcpeg-two/*.log {\n}\n").unwrap();
            assert_eq!(rotator(directory.path(), log), counts.then(|| path.clone()), "{name}");
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_snippet_is_about_the_files_that_it_names() {
        let snippet = "# mcpeg\n/var/log/mcpeg/*.log /srv/x.log {\n  daily\n  postrotate\n    /usr/bin/mcpeg --log-rotate\n}\n";
        for (file, covered) in [
            ("/var/log/mcpeg/mcpeg.log", true),
            ("/srv/x.log", true),
            ("/var/log/mcpeg/sub/mcpeg.log", false),
            ("/home/me/mcpeg.log", false),
        ] {
            assert_eq!(covers(snippet, Path::new(file)), covered, "{file}");
        }
        assert!(!covers("", Path::new("/srv/x.log")));
    }
}
