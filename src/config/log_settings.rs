//! The meaning of `[log]`, with the command line's overrides applied.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use tracing_subscriber::EnvFilter;

use super::load::Overrides;
use super::log::{
    At, Compress, ConsoleFormat, Every, Fsync, Log, LogFormat, OnFull, Overflow, Retention, Rotation, Spans,
    Weekday, Zone,
};
use super::place::{Place, Problems};
use super::settings::Reader;
use super::{shape, units};

/// The log level of `--dev`: mcpeg's own decisions, without those of its libraries.
const DEV_LEVEL: &str = "info,mcpeg=debug";
/// Where an installed logrotate(8) would be told about our log.
const LOGROTATE: &str = "/etc/logrotate.d/mcpeg";
/// The largest size of files together.
const MOST: ByteSize = ByteSize::tib(16);

/// Reads `[log]`.
pub(super) fn log(shape: &shape::Log, overrides: &Overrides, reader: &mut Reader<'_>) -> Log {
    let file = reader.absolute(shape.file.as_ref(), "file");
    for level in [&shape.level, &shape.console_level].into_iter().flatten() {
        let place = reader.text.place(&level.span());
        filter(level.get_ref(), place, reader.problems);
    }
    if let Some(level) = &overrides.log_level {
        filter(level, Place::Option("--log-level"), reader.problems);
    }
    let dev_level = overrides.dev.then(|| DEV_LEVEL.to_owned());
    let default = Log::default();
    let queue = shape.queue.as_ref().and_then(|value| size(value, "queue", ByteSize::gib(1), reader));
    let log = Log {
        level: overrides
            .log_level
            .clone()
            .or(dev_level)
            .or(text(shape.level.as_ref()))
            .unwrap_or(default.level),
        file: overridden_file(overrides, reader.problems).or(if overrides.dev { None } else { file }),
        format: chosen(shape.format.as_ref()).map_or(LogFormat::Json, format),
        spans: match chosen(shape.spans.as_ref()) {
            Some("nested") => Spans::Nested,
            _ => Spans::Flat,
        },
        instance: text(shape.instance.as_ref()),
        console_level: if overrides.log_level.is_some() { None } else { text(shape.console_level.as_ref()) },
        console_format: match chosen(shape.console_format.as_ref()) {
            None | Some("auto") => ConsoleFormat::Auto,
            Some(name) => ConsoleFormat::Always(format(name)),
        },
        queue: queue.map_or(default.queue, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        overflow: match chosen(shape.overflow.as_ref()) {
            Some("drop") => Overflow::Drop,
            _ => Overflow::Block,
        },
        on_full: match chosen(shape.on_full.as_ref()) {
            Some("stop") => OnFull::Stop,
            _ => OnFull::Drop,
        },
        fsync: match chosen(shape.fsync.as_ref()) {
            Some("rotate") => Fsync::Rotate,
            Some("1s") => Fsync::Second,
            _ => Fsync::Never,
        },
        rotation: rotation(shape, reader),
    };
    one_rotator(shape, &log, reader);
    log
}

/// A value's text.
fn text(value: Option<&shape::Text>) -> Option<String> {
    value.map(|value| value.get_ref().clone())
}

/// One of the listed words; that it is one has been checked.
fn chosen(value: Option<&shape::Text>) -> Option<&str> {
    value.map(|value| value.get_ref().as_str())
}

/// A format by its name.
fn format(name: &str) -> LogFormat {
    match name {
        "text" => LogFormat::Text,
        "logfmt" => LogFormat::Logfmt,
        _ => LogFormat::Json,
    }
}

/// Reads a size.
fn size(value: &shape::Text, key: &str, most: ByteSize, reader: &mut Reader<'_>) -> Option<u64> {
    match units::size_up_to(value.get_ref(), most) {
        Ok(bytes) => Some(bytes),
        Err(why) => {
            let hint = units::suggest_size(value.get_ref().trim());
            reader.refuse(&value.span(), format!("`{key}` must be a size: {why}"), hint);
            None
        }
    }
}

/// Reads the keys about rotation.
fn rotation(shape: &shape::Log, reader: &mut Reader<'_>) -> Rotation {
    let default = Rotation::default();
    let external = chosen(shape.rotate.as_ref()) == Some("external");
    let bytes = match &shape.rotate_size {
        None => default.size,
        Some(value) if value.get_ref() == "never" => None,
        Some(value) => size(value, "rotate_size", MOST, reader),
    };
    let level = shape.compress_level.as_ref().and_then(|level| u32::try_from(*level.get_ref()).ok());
    Rotation {
        external,
        size: bytes.filter(|_| !external),
        every: match chosen(shape.rotate_every.as_ref()) {
            Some("hourly") => Every::Hour,
            Some("daily") => Every::Day,
            Some("weekly") => Every::Week,
            _ => Every::Never,
        },
        at: at(shape, reader),
        compress: match (chosen(shape.compress.as_ref()), default.compress) {
            (Some("none"), _) | (_, Compress::None) => Compress::None,
            (_, Compress::Gzip(usual)) => Compress::Gzip(level.unwrap_or(usual)),
        },
        keep: Retention {
            files: match shape.keep_files.as_ref().map(|number| *number.get_ref()) {
                None => default.keep.files,
                Some(0) => None,
                Some(number) => usize::try_from(number).ok(),
            },
            age: shape
                .keep_age
                .is_some()
                .then(|| reader.duration(shape.keep_age.as_ref(), "keep_age", units::LONGEST, false)),
            bytes: shape.keep_size.as_ref().and_then(|value| size(value, "keep_size", MOST, reader)),
        },
    }
}

/// Reads the time of rotations.
fn at(shape: &shape::Log, reader: &mut Reader<'_>) -> At {
    let zone = match chosen(shape.rotate_zone.as_ref()) {
        Some("utc") => Zone::Utc,
        _ => Zone::Local,
    };
    let Some(value) = &shape.rotate_at else { return At { zone, ..At::default() } };
    if let Some(at) = time(value.get_ref()) {
        return At { zone, ..at };
    }
    reader.refuse(
        &value.span(),
        format!("`rotate_at` cannot be `{}`", value.get_ref()),
        "write HH:MM, or DAY HH:MM with mon, tue, wed, thu, fri, sat or sun",
    );
    At::default()
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

/// Refuses two rotators for one file: each would move what the other has just made.
fn one_rotator(shape: &shape::Log, log: &Log, reader: &mut Reader<'_>) {
    if log.rotation.external {
        let keys = [
            ("rotate_size", shape.rotate_size.as_ref().filter(|value| value.get_ref() != "never")),
            ("rotate_every", shape.rotate_every.as_ref().filter(|value| value.get_ref() != "never")),
        ];
        for (key, value) in keys.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            let message =
                format!("`{key}` has no place beside rotate = \"external\": one of the two rotates");
            reader.refuse(&value.span(), message, "leave out one of them");
        }
        return;
    }
    let snippet = std::fs::read_to_string(LOGROTATE).unwrap_or_default();
    if let Some(file) = log.file.as_deref().filter(|file| covers(&snippet, file)) {
        let message = format!("`{LOGROTATE}` rotates `{}`, and so would mcpeg", file.display());
        let hint = format!("write rotate = \"external\" in [log], or remove {LOGROTATE}");
        let place = match (&shape.rotate, &shape.file) {
            (Some(rotate), _) => reader.text.place(&rotate.span()),
            (None, Some(file)) => reader.text.place(&file.span()),
            (None, None) => Place::Option("--log-file"),
        };
        reader.problems.push_with_hint(place, message, hint);
    }
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

/// The log file of the command line, which may be relative to the caller's directory: detaching changes that, so it
/// is made absolute here.
fn overridden_file(overrides: &Overrides, problems: &mut Problems) -> Option<PathBuf> {
    let file: &Path = overrides.log_file.as_deref()?;
    std::path::absolute(file)
        .map_err(|error| problems.push(Place::Option("--log-file"), format!("`{}`: {error}", file.display())))
        .ok()
}

/// Checks filter directives. `EnvFilter` takes any word as the name of a target, so that a misspelt level would
/// silence the log; here a lone word must be a level.
fn filter(directives: &str, place: Place, problems: &mut Problems) {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    let plain = |directive: &str| match directive.split_once('=') {
        Some((target, level)) => !target.trim().is_empty() && is_level(level.trim()),
        None => is_level(directive.trim()),
    };
    let spans = directives.contains('[');
    let understood = EnvFilter::builder().parse(directives).is_ok();
    if !understood || !spans && !directives.split(',').all(plain) {
        problems.push_with_hint(
            place,
            format!("`{directives}` is not a log level"),
            "write off, error, warn, info, debug or trace, then TARGET=LEVEL after commas, as in \
             \"info,mcpeg::gateway=debug\"",
        );
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
