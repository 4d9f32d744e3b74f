//! Nothing is lost, there twice, torn, or out of order: rotation, moved files, and every end of a process.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::checker::{check, rotated};
use crate::support::daemon::{finish, send, suspend, until};
use crate::workload::{End, Load, Place, accepted, kill_now, logged, under_way};

/// As many records as each thread can log, and then this end.
const fn flat_out(threads: u64, records: u64, end: End) -> Load {
    Load { first: 0, threads, records, rate: 0, end }
}

/// Runs four threads so that the file is rotated at least this often, and compressed.
fn rotations(count: usize, records: u64) {
    let place = Place::new("rotate_size = \"100KiB\"\ncompress_level = 1\n");
    let finished = place.run(flat_out(4, records, End::Return));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let found = check(&place.log(), &[]);
    found.is_whole(4, records);
    assert!(found.rotated >= count, "{found:?}");
    // The next process compresses what this one has left.
    assert_eq!(place.run(flat_out(1, 0, End::Return)).code, Some(0));
    let over: Vec<_> = rotated(&place.log()).iter().map(fs::metadata).collect();
    assert!(over.iter().flatten().all(|metadata| metadata.len() <= 100 << 10), "{over:?}");
}

#[test]
fn rotations_under_four_threads_lose_nothing() {
    rotations(20, 4_000);
}

#[test]
#[ignore = "needs an otherwise idle machine for a minute"]
fn two_hundred_rotations_with_compression_lose_nothing() {
    rotations(200, 30_000);
}

#[test]
fn a_storm_of_signals_loses_nothing() {
    let place = Place::new("rotate_size = \"never\"\ncompress_level = 1\n");
    let child = place.start(Load { first: 0, threads: 2, records: u64::MAX, rate: 2_000, end: End::Return });
    under_way(&place.log(), 1);
    let pid = child.id().cast_signed();
    let (start, mut tick) = (Instant::now(), 0);
    // 50 a second, as a clock gives them: what is tested is that rate. Signals that come during a rotation are one.
    until("the storm is over", || {
        send(pid, Signal::SIGUSR1);
        tick += 1;
        std::thread::sleep(
            (start + Duration::from_millis(20) * tick).saturating_duration_since(Instant::now()),
        );
        tick >= 100 && rotated(&place.log()).len() >= 20
    });
    send(pid, Signal::SIGTERM);
    let finished = finish(child);
    let found = check(&place.log(), &[]);
    found.is_sound();
    assert_eq!((found.missing, found.records()), (0, accepted(&finished).iter().sum()), "{found:?}");
    assert!(found.rotated >= 20, "{found:?}");
}

#[test]
fn a_moved_file_keeps_its_records_and_a_new_one_is_made_within_a_second() {
    let place = Place::new("rotate = \"external\"\n");
    let child = place.start(Load { first: 0, threads: 2, records: u64::MAX, rate: 1_000, end: End::Return });
    under_way(&place.log(), 1000);
    let mut moved = Vec::new();
    for turn in 0..3 {
        let target = place.path(&format!("moved.{turn}"));
        fs::rename(place.log(), &target).unwrap();
        moved.push(target);
        until("there is a new file", || fs::metadata(place.log()).is_ok_and(|file| file.len() > 0));
    }
    send(child.id().cast_signed(), Signal::SIGTERM);
    let finished = finish(child);
    let found = check(&place.log(), &moved);
    found.is_sound();
    assert_eq!((found.missing, found.records()), (0, accepted(&finished).iter().sum()), "{found:?}");
}

#[test]
fn of_a_deleted_file_only_the_second_of_notice_is_lost() {
    let place = Place::new("");
    let child = place.start(Load { first: 0, threads: 1, records: u64::MAX, rate: 1_000, end: End::Return });
    under_way(&place.log(), 1000);
    fs::remove_file(place.log()).unwrap();
    let start = Instant::now();
    until("there is a new file", || fs::metadata(place.log()).is_ok_and(|file| file.len() > 0));
    let took = start.elapsed();
    send(child.id().cast_signed(), Signal::SIGTERM);
    let finished = finish(child);
    let found = check(&place.log(), &[]);
    found.is_sound();
    let [count] = accepted(&finished)[..] else { panic!("{finished:?}") };
    assert_eq!(found.threads[&0].1 + 1, count, "the end is there: {found:?}");
    // One look is half a second; the rest is for a busy machine.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn what_was_accepted_before_any_end_is_in_the_file() {
    for end in End::ALL {
        for rate in [0, 5_000] {
            let place = Place::new("");
            let finished = place.run(Load { first: 0, threads: 2, records: 1_000, rate, end });
            let found = check(&place.log(), &[]);
            assert_eq!(accepted(&finished), [1_000, 1_000], "{end:?}");
            found.is_whole(2, 1_000);
            let panics = fs::read_to_string(place.log()).unwrap().matches("mcpeg::panic").count();
            assert_eq!(panics, usize::from(matches!(end, End::PanicInTask | End::PanicInThread)));
        }
    }
}

/// Kills a program that logs, and gives what it has logged, what of that is lost, and how long it took to log as much.
fn killed(load: Load) -> (u64, u64, Duration) {
    let place = Place::new("");
    let child = place.start(load);
    under_way(&place.log(), 1 << 20);
    let (before, start) = (logged(child.id()), Instant::now());
    until("it has logged more", || logged(child.id()) > before + 5_000);
    let (during, took) = (logged(child.id()) - before, start.elapsed());
    // It stands still for a moment, so that what it has logged can be counted at the end of its life.
    suspend(child.id().cast_signed());
    let all = logged(child.id());
    kill_now(child);
    assert_eq!(place.run(flat_out(1, 0, End::Return)).code, Some(0));
    let found = check(&place.log(), &[]);
    found.is_sound();
    assert_eq!(found.missing, 0, "{found:?}");
    let lost = all.saturating_sub(found.records());
    (all, lost, Duration::from_nanos(u64::try_from(took.as_nanos()).unwrap() * lost / during))
}

/// What kills of five such programs cost, as the end of a line. The least of them must be what was promised: of the
/// others, another process may have had the processor when ours would have written.
fn kills(load: Load) -> String {
    let mut five: Vec<_> = (0..5).map(|_| killed(load)).collect();
    five.sort_by_key(|(_, _, worth)| *worth);
    let [(_, fewest, least), _, (_, lost, worth), _, (_, most, worst)] = five[..] else { unreachable!() };
    assert!(least <= Duration::from_millis(5), "{five:?}");
    format!("{lost} lost, logged in {worth:.1?}; of five {fewest} ({least:.1?}) to {most} ({worst:.1?})")
}

/// One line of the table of ends: records accepted and lost.
fn ended(end: Option<End>, signal: Option<Signal>, rate: u64) -> String {
    let place = Place::new("");
    let (threads, records) = (4, if rate > 0 { 5_000 } else { 50_000 });
    let rate_each = rate / threads;
    let name = signal.map_or_else(|| format!("{:?}", end.unwrap()), |signal| signal.to_string());
    let load = Load { first: 0, threads, records, rate: rate_each, end: end.unwrap_or(End::Return) };
    if signal == Some(Signal::SIGKILL) {
        return format!("{name:14} {rate:>8} {}\n", kills(Load { records: u64::MAX, ..load }));
    }
    let finished = if signal.is_some() {
        let child = place.start(Load { records: u64::MAX, ..load });
        under_way(&place.log(), 1 << 20);
        send(child.id().cast_signed(), Signal::SIGTERM);
        finish(child)
    } else {
        place.run(load)
    };
    let (found, all) = (check(&place.log(), &[]), accepted(&finished).iter().sum::<u64>());
    found.is_sound();
    assert_eq!((found.missing, found.records()), (0, all), "{name}: {found:?}");
    format!("{name:14} {rate:>8} {all:>9} accepted, 0 lost\n")
}

#[test]
#[ignore = "needs an otherwise idle machine for a minute"]
fn the_table_of_ends_has_no_loss_but_for_a_kill() {
    let mut table = String::from("\nend            records/s\n");
    for rate in [5_000, 0] {
        for end in End::ALL {
            table += &ended(Some(end), None, rate);
        }
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            table += &ended(None, Some(signal), rate);
        }
    }
    let _ = writeln!(table, "(0 records/s: as many as there can be)");
    std::io::Write::write_all(&mut std::io::stdout(), table.as_bytes()).unwrap();
}

#[test]
#[ignore = "needs an otherwise idle machine for a minute"]
fn two_hundred_kills_during_rotation_and_compression_leave_each_record_once() {
    let lines = "rotate_size = \"20KiB\"\ncompress_level = 1\n";
    let mut random = 1_u64;
    let (mut place, mut rotations) = (Place::new(lines), 0);
    for kill in 0..200_u64 {
        if kill % 3 == 0 {
            place = Place::new(lines);
        }
        // A generator of Knuth's: the same moments in each run, none of them special.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let load = Load { first: kill * 2, threads: 2, records: u64::MAX, rate: 0, end: End::Return };
        let before = fs::metadata(place.log()).map_or(0, |file| file.len());
        let child = place.start(load);
        until("the process logs", || fs::metadata(place.log()).is_ok_and(|file| file.len() != before));
        std::thread::sleep(Duration::from_micros((random >> 33) % 100_000));
        kill_now(child);
        // Half a record is removed by the next process; what else the kills have left is finished while it works.
        assert_eq!(place.run(flat_out(1, 0, End::Return)).code, Some(0));
        let found = check(&place.log(), &[]);
        found.is_sound();
        assert_eq!(found.missing, 0, "kill {kill}: {found:?}");
        assert!(found.threads.keys().any(|thread| thread / 2 == kill), "kill {kill}: {found:?}");
        rotations += found.rotated;
    }
    assert!(rotations > 1000, "{rotations} rotations seen");
}
