//! The log against others, in one run: how many records a second, how much processor time each, and how long the
//! caller waits.
//!
//! `cargo bench --bench log` measures all. Each measurement is a process of its own (this program again, with arguments), so that
//! one subscriber does not meet another; what it prints is its parent's to read. benches/README.md has the commands.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops where it fails")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers for people"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use flexi_logger::writers::FileLogWriter;
use flexi_logger::{FileSpec, WriteMode};
use logroller::{LogRollerBuilder, Rotation, RotationSize};
use mcpeg::config::{self, LogFormat};
use mcpeg::log::{self, Console};
use mcpeg::sys::process::command;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::fmt::MakeWriter;

/// Records of one measurement.
const RECORDS: u64 = 1_000_000;
/// Records of a measurement of the caller's wait, at 20,000 a second.
const PACED: u64 = 100_000;
/// Records of the two measurements that tell how many instructions one record takes.
const COUNTED: [u64; 2] = [2_000, 12_000];
/// What is measured.
const SUBJECTS: [&str; 5] = ["mcpeg", "tracing-appender", "flexi_logger", "logroller", "file-rotate"];
/// What is measured if Go is there.
const GO: &str = "zap + lumberjack";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [subject, threads, spans, what, records] = &arguments[..] {
        let (threads, spans) = (threads.parse().unwrap(), spans.parse().unwrap());
        return measure(subject, threads, spans, what == "paced", records.parse().unwrap());
    }
    let scratch = tempfile::tempdir().unwrap();
    let lumberjack = build_lumberjack(scratch.path());
    println!(
        "{:20} {:>7} {:>5} {:>12} {:>12} {:>20} {:>14}",
        "", "threads", "spans", "records/s", "cpu ns", "p50/p99/p99.9 us", "instructions"
    );
    for subject in SUBJECTS {
        let myself = std::env::current_exe().unwrap();
        rows(
            |threads, spans, what, records| {
                let mut row = command(&myself);
                row.args([subject, &threads.to_string(), &spans.to_string(), what, &records.to_string()]);
                row
            },
            true,
        );
    }
    match lumberjack {
        Some(binary) => rows(
            |threads, spans, what, _| {
                let mut row = command(&binary);
                row.args([&threads.to_string(), &spans.to_string(), what]);
                row
            },
            false,
        ),
        None => println!("{GO:20} not measured: benches/README.md says what it needs"),
    }
}

/// The rows of one subject, each measured by a process of its own.
fn rows(row: impl Fn(u32, u32, &str, u64) -> Command, counted: bool) {
    for (threads, spans, what) in
        [(1, 0, "flat"), (1, 1, "flat"), (1, 2, "flat"), (4, 0, "flat"), (1, 0, "paced")]
    {
        let records = if what == "paced" { PACED } else { RECORDS };
        let output = row(threads, spans, what, records).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let instructions = if counted && threads == 1 && what == "flat" {
            instructions(|records| row(threads, spans, what, records))
        } else {
            None
        };
        let instructions = instructions.map(|count| count.to_string()).unwrap_or_default();
        println!("{} {instructions:>14}", text.trim_end());
    }
}

/// How many instructions one record takes in all threads: what callgrind counts for more records, less what it counts
/// for fewer. `None` without valgrind(1).
fn instructions(row: impl Fn(u64) -> Command) -> Option<u64> {
    let counts = COUNTED.map(|records| {
        let row = row(records);
        let mut valgrind = command("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        let output = valgrind.arg(row.get_program()).args(row.get_args()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text.lines().rev().find_map(|line| line.split_once("Collected : "))?;
        line.1.trim().parse::<u64>().ok()
    });
    Some((counts[1]? - counts[0]?) / (COUNTED[1] - COUNTED[0]))
}

/// Builds the peer in Go with the libraries of Debian; `None` without them.
fn build_lumberjack(directory: &Path) -> Option<PathBuf> {
    let binary = directory.join("lumberjack");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/lumberjack.go");
    let mut go = command("go");
    go.arg("build").arg("-o").arg(&binary).arg(source);
    go.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOCACHE", directory.join("cache"));
    let built = go.output().is_ok_and(|output| output.status.success());
    built.then_some(binary)
}

/// Keeps a subject alive until everything is written.
type Keep = Box<dyn std::any::Any>;

/// Sets one of the subjects up.
fn set_up(subject: &str, directory: &Path) -> Keep {
    let path = directory.join("bench.log");
    match subject {
        "mcpeg" => {
            let mut settings =
                config::Log { file: Some(path), format: LogFormat::Json, ..config::Log::default() };
            settings.rotation.size = None;
            Box::new(log::init(&settings, Console::Off).unwrap())
        }
        "tracing-appender" => {
            let file = tracing_appender::rolling::never(directory, "bench.log");
            let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(file);
            standard(writer);
            Box::new(guard)
        }
        "flexi_logger" => {
            let spec = FileSpec::default().directory(directory).basename("bench").suppress_timestamp();
            let builder = FileLogWriter::builder(spec).write_mode(WriteMode::BufferAndFlush);
            let (writer, handle) = builder.try_build_with_handle().unwrap();
            standard(move || writer.clone());
            Box::new(handle)
        }
        "logroller" => {
            let roller = LogRollerBuilder::new(directory, Path::new("bench.log"))
                .rotation(Rotation::SizeBased(RotationSize::GB(9)));
            let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(roller.build().unwrap());
            standard(writer);
            Box::new(guard)
        }
        "file-rotate" => {
            let limit = ContentLimit::Bytes(9 << 30);
            let file = FileRotate::new(path, AppendCount::new(1), limit, Compression::None, None);
            standard(Mutex::new(file));
            Box::new(())
        }
        _ => panic!("{subject}"),
    }
}

/// The standard formatter of JSON in front of a writer.
fn standard<W: for<'a> MakeWriter<'a> + Send + Sync + 'static>(writer: W) {
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(writer).init();
}

/// One event with five fields.
fn event(number: u64) {
    tracing::info!(
        number,
        upstream = "time",
        method = "tools/call",
        took_ms = 12.5,
        ok = true,
        "relayed a request"
    );
}

/// Calls with this many spans around.
fn within(spans: u32, work: impl FnOnce()) {
    let outer = (spans > 0).then(|| tracing::info_span!("request", session = "b7c1", id = 17).entered());
    let inner = (spans > 1).then(|| tracing::info_span!("relay", upstream = "time").entered());
    work();
    drop((inner, outer));
}

/// Measures and prints.
fn measure(subject: &str, threads: u64, spans: u32, paced: bool, records: u64) {
    let scratch = tempfile::tempdir().unwrap();
    let keep = set_up(subject, scratch.path());
    let barrier = Barrier::new(threads as usize + 1);
    let (start, mut waits) = std::thread::scope(|scope| {
        let work = || {
            let mut waits = Vec::new();
            within(spans, || {
                barrier.wait();
                waits = if paced { pace(records) } else { flat(records / threads) };
            });
            waits
        };
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        barrier.wait();
        let start = (Instant::now(), cpu());
        (start, all.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>())
    });
    drop(keep);
    let (took, cpu) = (start.0.elapsed(), cpu().saturating_sub(start.1));
    let waits = percentiles(&mut waits);
    let rate = records as f64 / took.as_secs_f64();
    println!(
        "{subject:20} {threads:>7} {spans:>5} {rate:>12.0} {:>12.0} {waits:>20}",
        cpu.as_nanos() as f64 / records as f64
    );
}

/// As many as there can be.
fn flat(records: u64) -> Vec<Duration> {
    (0..records).for_each(event);
    Vec::new()
}

/// 20,000 a second, and how long each took.
fn pace(records: u64) -> Vec<Duration> {
    let start = Instant::now();
    (0..records)
        .map(|number| {
            let due = start + Duration::from_micros(number * 50);
            while Instant::now() < due {
                std::hint::spin_loop();
            }
            let before = Instant::now();
            event(number);
            before.elapsed()
        })
        .collect()
}

/// The processor time of this process, of all threads.
fn cpu() -> Duration {
    // Not rustix, which looks for the vDSO by itself and does not survive that under valgrind(1).
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

/// p50, p99 and p99.9 in microseconds.
fn percentiles(waits: &mut [Duration]) -> String {
    if waits.is_empty() {
        return String::new();
    }
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1000.0;
    format!("{:.1} {:.1} {:.1}", at(0.5), at(0.99), at(0.999))
}
