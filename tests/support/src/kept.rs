//! Logs that outlive their test, and the secret that must be in none of them: `scripts/planted` looks for it in all that
//! a whole run has kept.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;

use crate::program::{outliving, suite};

/// Stands in headers, configurations and environments of the tests, wherever a secret may.
pub const SECRET: &str = "planted-secret-7d1f";

/// So much of one file is kept, in bytes.
const MOST: u64 = 8 << 20;

/// A configuration with the secret in each upstream: in the environment of a command, or in the headers and the query
/// of a URL. A text that is none stays as it is, and so does one without upstreams.
pub fn planted(text: &str) -> String {
    let Ok(mut all) = text.parse::<toml::Table>() else { return text.to_owned() };
    let Some(upstreams) = all.get_mut("upstreams").and_then(toml::Value::as_table_mut) else {
        return text.to_owned();
    };
    for upstream in upstreams.iter_mut().filter_map(|(_, upstream)| upstream.as_table_mut()) {
        let (key, name) = if upstream.contains_key("command") {
            ("env", "PLANTED_TOKEN")
        } else {
            ("headers", "X-Planted-Token")
        };
        let empty = toml::Value::Table(toml::Table::new());
        if let Some(values) = upstream.entry(key).or_insert(empty).as_table_mut() {
            values.insert(name.to_owned(), SECRET.into());
        }
    }
    toml::to_string(&all).unwrap_or_else(|_| text.to_owned())
}

/// Keeps what a gateway has printed.
pub fn keep(printed: &[u8]) {
    let directory = outliving().join("logs");
    // The name of the suite, then the process, of which each test has its own under nextest.
    let name = format!("{}-{}.log", suite(), std::process::id());
    let kept = fs::create_dir_all(&directory)
        .and_then(|()| OpenOptions::new().create(true).append(true).open(directory.join(name)))
        .and_then(|mut file| file.write_all(printed));
    if let Err(error) = kept {
        // Not a panic: this runs while tests fail as well.
        drop(writeln!(std::io::stderr(), "cannot keep a log: {error}"));
    }
}

/// Keeps every log file in a directory, as it was before it was compressed.
pub fn keep_files(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let is = |ending: &str| path.extension().is_some_and(|its| its == ending);
        if !is_file || !name.contains("log") || is("lock") {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        let mut text = Vec::new();
        let read = if is("gz") {
            flate2::read::MultiGzDecoder::new(file).take(MOST).read_to_end(&mut text)
        } else {
            file.take(MOST).read_to_end(&mut text)
        };
        // Of a file that is half compressed the whole one is beside it.
        drop(read);
        keep(&text);
    }
}
