//! What the outputs write, and what becomes of the process when they cannot.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use super::*;
use crate::config::{LogFormat, Spans};

/// Standard error that a test can read.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// What was written.
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A configuration with this file.
fn to_file(path: Option<&Path>, format: LogFormat) -> Log {
    Log { level: "info,mcpeg=debug".to_owned(), file: path.map(Path::to_owned), format, ..Log::default() }
}

/// Runs `events` with such a log and gives what the console and the file have.
fn logged(console: Console, format: LogFormat, events: impl FnOnce()) -> (String, String) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("mcpeg.log");
    let captured = Captured::default();
    let (subscriber, guard) = build(&to_file(Some(&path), format), console, captured.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, events);
    drop(guard);
    (captured.text(), std::fs::read_to_string(path).unwrap())
}

#[test]
fn console_and_file_both_have_the_event_and_only_the_console_has_colours() {
    let (console, file) = logged(Console::Text { colour: true }, LogFormat::Text, || {
        let _span = tracing::info_span!("request", session = "s1").entered();
        tracing::info!(upstream = "time", "started");
    });
    assert!(console.contains("started") && console.contains('\u{1b}'), "{console:?}");
    assert!(file.contains("started") && file.contains("session=\"s1\""), "{file:?}");
    assert!(!file.contains('\u{1b}'), "{file:?}");
}

#[test]
fn a_json_line_has_a_timestamp_with_microseconds_and_the_fields_at_the_top() {
    let (_, file) = logged(Console::Off, LogFormat::Json, || tracing::warn!(upstream = "time", "gone"));
    let line: serde_json::Value = serde_json::from_str(file.trim_end()).unwrap();
    let timestamp = line["timestamp"].as_str().unwrap();
    assert_eq!(timestamp.len(), "2026-01-01T00:00:00.000000Z".len(), "{timestamp}");
    assert!(timestamp.parse::<jiff::Timestamp>().is_ok());
    assert_eq!(
        (&line["level"], &line["message"], &line["upstream"]),
        (&"WARN".into(), &"gone".into(), &"time".into())
    );
    assert!(line["target"].as_str().unwrap().starts_with("mcpeg::log"));
}

/// The one line of JSON that `events` make with this place for spans.
fn json(spans: Spans, events: impl FnOnce()) -> serde_json::Value {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("mcpeg.log");
    let log = Log { spans, ..to_file(Some(&path), LogFormat::Json) };
    let (subscriber, guard) = build(&log, Console::Off, io::sink()).unwrap();
    tracing::subscriber::with_default(subscriber, events);
    drop(guard);
    serde_json::from_str(std::fs::read_to_string(path).unwrap().trim_end()).unwrap()
}

/// Two spans around an event, with names that meet.
fn in_two_spans() {
    let _outer = tracing::info_span!("outer", trace_id = "t1", both = 1, message = "spanning").entered();
    let inner = tracing::info_span!("inner", both = 2, late = tracing::field::Empty, own = "span").entered();
    inner.record("late", 2.5);
    inner.record("both", 3_u64);
    tracing::info!(own = "event", pid = 17, flag = true, shown = ?Some("x"), "hello \"you\"\n");
}

#[test]
fn flat_spans_stand_beside_the_fields_and_the_innermost_name_counts() {
    let line = json(Spans::Flat, in_two_spans);
    let values = ["trace_id", "both", "late", "own", "flag", "shown", "message", "message_", "pid_", "span"]
        .map(|name| line[name].to_string());
    assert_eq!(
        values,
        [
            "\"t1\"",
            "3",
            "2.5",
            "\"event\"",
            "true",
            r#""Some(\"x\")""#,
            r#""hello \"you\"\n""#,
            "\"spanning\"",
            "17",
            "\"inner\""
        ]
    );
    assert_eq!(line["pid"], std::process::id());
    assert!(line["instance"].as_str().is_some_and(|instance| !instance.is_empty()));
}

#[test]
fn nested_spans_are_an_array_with_the_trace_id_beside_it() {
    let line = json(Spans::Nested, in_two_spans);
    assert_eq!(line["trace_id"], "t1");
    assert_eq!(line["both"], serde_json::Value::Null);
    let names: Vec<_> = line["spans"].as_array().unwrap().iter().map(|span| span["span"].clone()).collect();
    assert_eq!(names, ["outer", "inner"]);
    assert_eq!((&line["spans"][0]["both"], &line["spans"][1]["both"]), (&1.into(), &3.into()));
}

#[test]
fn logfmt_is_in_quotes_where_it_must_be() {
    let (_, file) = logged(Console::Off, LogFormat::Logfmt, || {
        let _span = tracing::info_span!("request", session = "s 1").entered();
        tracing::info!(plain = "word", empty = "", number = 4, quoted = "a=\"b\"", "two words");
    });
    let rest = file.split_once("target=").unwrap().1;
    assert!(file.contains(" level=info "), "{file}");
    for part in [
        " msg=\"two words\"",
        " plain=word",
        " empty=\"\"",
        " number=4",
        r#" quoted="a=\"b\"""#,
        " span=request session=\"s 1\"",
    ] {
        assert!(rest.contains(part), "{part} is not in {file}");
    }
    assert_eq!(file.lines().count(), 1);
}

#[test]
fn a_message_can_neither_forge_a_record_nor_paint() {
    let forged = "innocent\n2026-01-01T00:00:00.000000Z ERROR forged\u{1b}[31m";
    for format in [LogFormat::Text, LogFormat::Logfmt, LogFormat::Json] {
        let (console, file) = logged(Console::Text { colour: false }, format, || tracing::info!("{forged}"));
        for text in [console, file] {
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }
}

#[test]
fn console_and_file_have_levels_of_their_own_that_can_be_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("mcpeg.log");
    let captured = Captured::default();
    let mut log = Log { console_level: Some("warn".to_owned()), ..to_file(Some(&path), LogFormat::Text) };
    let (subscriber, guard) = build(&log, Console::Text { colour: false }, captured.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("first");
        (log.level, log.console_level) = ("warn".to_owned(), Some("info".to_owned()));
        guard.apply(&log).unwrap();
        tracing::info!("second");
    });
    drop(guard);
    let file = std::fs::read_to_string(path).unwrap();
    assert!(file.contains("first") && !file.contains("second"), "{file}");
    assert!(!captured.text().contains("first") && captured.text().contains("second"), "{}", captured.text());
}

#[test]
fn each_line_for_the_journal_has_its_priority_and_no_timestamp() {
    let (console, _) = logged(Console::Journal, LogFormat::Json, || {
        tracing::error!("one\ntwo");
        tracing::warn!("three");
        tracing::info!("four");
        tracing::debug!("five");
    });
    let priorities: Vec<&str> = console.lines().map(|line| &line[..3]).collect();
    assert_eq!(priorities, ["<3>", "<3>", "<4>", "<6>", "<7>"], "{console}");
    assert!(console.starts_with("<3>mcpeg::log::subscriber::tests: one\n<3>two\n"), "{console}");
}

#[test]
fn the_filter_holds_for_console_and_file() {
    let (console, file) = logged(Console::Text { colour: false }, LogFormat::Json, || {
        tracing::debug!(target: "hyper", "theirs");
        tracing::debug!("ours");
        tracing::trace!("too much");
    });
    for text in [console, file] {
        assert!(text.contains("ours") && !text.contains("theirs") && !text.contains("too much"), "{text}");
    }
}

#[test]
fn every_event_is_in_the_file_when_the_guard_is_gone() {
    let (_, file) = logged(Console::Off, LogFormat::Json, || {
        for number in 0..10_000 {
            tracing::info!(number, "event");
        }
    });
    assert_eq!(file.lines().count(), 10_000);
}

#[test]
fn the_log_goes_on_in_the_file_that_was_there() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("mcpeg.log");
    for message in ["first", "second"] {
        let (subscriber, guard) =
            build(&to_file(Some(&path), LogFormat::Text), Console::Off, io::sink()).unwrap();
        tracing::subscriber::with_default(subscriber, || tracing::info!("{message}"));
        drop(guard);
    }
    let file = std::fs::read_to_string(path).unwrap();
    assert_eq!(file.lines().count(), 2);
    assert!(file.contains("first") && file.contains("second"));
}

/// The inner half of the tests below: sets up the real log, then logs and panics.
#[test]
#[ignore = "runs as a child of the tests that need a process of their own"]
fn child() {
    let file = std::env::var_os("MCPEG_TEST_LOG").map(PathBuf::from);
    let _guard = init(&to_file(file.as_deref(), LogFormat::Json), Console::Text { colour: false }).unwrap();
    assert!(matches!(init(&Log::default(), Console::Off), Err(Error::Twice(_))));
    tracing::info!("before");
    let worker = std::thread::Builder::new().name("worker".to_owned()).spawn(|| panic!("out of cheese"));
    assert!(worker.unwrap().join().is_err());
    tracing::info!("after");
}

/// Runs [`child`] with a log file and this standard error; gives its exit code, standard error and log.
fn run_child(stderr: Stdio) -> (Option<i32>, String, String) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("mcpeg.log");
    #[expect(clippy::disallowed_methods, reason = "the test binary itself, with the environment of the test")]
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "log::subscriber::tests::child", "--ignored", "--nocapture"])
        .env("MCPEG_TEST_LOG", &path)
        .stdout(Stdio::null())
        .stderr(stderr)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), stderr, std::fs::read_to_string(path).unwrap())
}

#[test]
fn a_panic_is_in_the_log_with_its_place_and_in_the_default_report() {
    let (code, stderr, file) = run_child(Stdio::piped());
    assert_eq!(code, Some(0), "{stderr}");
    let lines: Vec<serde_json::Value> =
        file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{file}");
    assert_eq!(lines[1]["target"], "mcpeg::panic");
    assert_eq!(lines[1]["message"], "out of cheese");
    assert_eq!(lines[1]["thread"], "worker");
    assert!(lines[1]["location"].as_str().unwrap().contains("subscriber_tests.rs:"), "{file}");
    assert!(stderr.contains("thread 'worker'"), "{stderr}");
}

#[test]
fn an_event_for_a_closed_standard_error_does_not_end_the_process() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let (code, _, file) = run_child(Stdio::from(writer));
    assert_eq!(code, Some(0), "{file}");
    assert_eq!(file.lines().count(), 3, "{file}");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(run_child(Stdio::from(full)).0, Some(0));
}
