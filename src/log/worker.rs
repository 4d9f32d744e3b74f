//! The thread that owns the log file: it writes what the queue holds, rotates, and lives with a file that cannot be
//! written.
//!
//! Invariants: records are written in the order of the queue, each as a whole and into one file; what is lost is counted
//! and told; nobody who logs waits for a disk that fails, only for one that is slow; an error is told once when
//! it begins and once when it ends, never for each record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::Level;

use super::Error;
use super::batch::{Batch, Counts};
use super::file::{Active, Archive, Owner, Rotated, Schedule, newest};
use super::health::Shared;
use super::queue::{Found, Queue};
use super::trouble::{Act, RETRY, Troubles};
use crate::config::{Fsync, Log, OnFull, Rotation};
use crate::exit;

/// How often the path of the file is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often the directory of rotated files is looked at.
const TIDY: Duration = Duration::from_secs(60);
/// How often records are forced to the disk, if that was asked for.
const SYNC: Duration = Duration::from_secs(1);

/// What the thread can be told beside records.
#[derive(Debug)]
pub(super) enum Order {
    /// To rotate, or to reopen a file that was moved.
    Rotate(oneshot::Sender<Result<Rotated, Error>>),
    /// To go by other rules.
    Rules(Box<Rules>),
    /// To let another process own the log.
    Yield,
}

/// What can be changed while the thread runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// When to rotate.
    pub(super) rotation: Rotation,
    /// When to force records to the disk.
    pub(super) fsync: Fsync,
    /// What happens when the file cannot be written.
    pub(super) on_full: OnFull,
}

/// Makes a record for the file of a text and named numbers.
pub(super) type MakeRecord = Box<dyn Fn(Level, &str, &[(&'static str, u64)]) -> Vec<u8> + Send>;
/// Tells a person something, without waiting.
pub(super) type Alarm = Box<dyn Fn(Level, &str) + Send>;

/// How the thread tells something of its own.
pub(super) struct Voice {
    /// Makes a record for the file of a text and named numbers.
    pub(super) record: MakeRecord,
    /// Tells a person, without waiting.
    pub(super) alarm: Alarm,
}

/// The thread's state.
pub(super) struct Worker {
    /// Where records come from.
    queue: Arc<Queue<Order>>,
    /// What could not be written yet.
    pending: Batch,
    /// How many bytes of that are kept.
    limit: usize,
    /// The file.
    active: Active,
    /// The rules.
    rules: Rules,
    /// The next rotation by time.
    schedule: Schedule,
    /// The proof that we may rotate.
    owner: Option<Arc<Owner>>,
    /// Whether another process is to own the log.
    yielded: bool,
    /// Whether it has been told that nobody can.
    warned: bool,
    /// The newest name of a rotated file.
    last: Option<super::file::Name>,
    /// Compresses.
    archive: Archive,
    /// What is wrong.
    troubles: Troubles,
    /// When the path was looked at.
    looked: Instant,
    /// When the directory was.
    tidied: Instant,
    /// When records were forced to the disk.
    synced: Instant,
    /// Whether there are others since.
    dirty: bool,
    /// What others may know.
    shared: Arc<Shared>,
    /// How something is told.
    voice: Voice,
}

impl Rules {
    /// Those of a configuration.
    pub(super) fn of(log: &Log) -> Self {
        Self { rotation: log.rotation.clone(), fsync: log.fsync, on_full: log.on_full }
    }
}

impl Worker {
    /// Opens everything that the thread needs.
    pub(super) fn new(
        log: &Log,
        active: Active,
        queue: Arc<Queue<Order>>,
        voice: Voice,
    ) -> Result<(Self, Arc<Shared>), Error> {
        let rules = Rules::of(log);
        let schedule = Schedule::new(rules.rotation.every, rules.rotation.at, active.since());
        let archive = Archive::start(active.path()).map_err(Error::Thread)?;
        let shared = Arc::new(Shared::of(active.path().to_owned()));
        let now = Instant::now();
        let mut worker = Self {
            queue,
            pending: Batch::default(),
            limit: log.queue,
            active,
            rules,
            schedule,
            owner: None,
            yielded: false,
            warned: false,
            last: None,
            archive,
            troubles: Troubles::default(),
            looked: now,
            tidied: now,
            synced: now,
            dirty: false,
            shared: Arc::clone(&shared),
            voice,
        };
        worker.own();
        Ok((worker, shared))
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        crate::sys::at_exit::spare_this_thread();
        loop {
            let limit = if self.troubles.are_there() { RETRY } else { LOOK };
            let found = self.queue.take(&mut self.pending, limit);
            if self.step(found) {
                return;
            }
        }
    }

    /// Does what there is to do; whether that was all.
    fn step(&mut self, found: Found<Order>) -> bool {
        if self.looked.elapsed() >= LOOK || found.closed {
            self.look();
        }
        let now = Timestamp::now();
        if self.schedule.is_due(now) && self.active.size() > 0 && self.may_rotate() {
            // If it fails, the file is rotated by whatever rotates it next.
            self.rotate().unwrap_or_else(|error| self.complain(Act::Move, &error));
        }
        self.write(found.closed);
        if let Some((since, lost)) = found.lost {
            self.tell_loss(since.elapsed(), lost);
        }
        self.sync(false);
        for order in found.orders {
            self.obey(order);
        }
        if found.closed {
            self.finish();
        }
        found.closed
    }

    /// Looks after the file's path, the ownership, and the directory.
    fn look(&mut self) {
        self.looked = Instant::now();
        self.schedule.look_again(Timestamp::now());
        if self.active.is_in_place() {
            if self.troubles.is_unmovable() && !self.is_too_large() {
                self.relieve(Act::Move);
            }
        } else {
            match self.active.reopen() {
                Ok(()) => self.relieve(Act::Move),
                Err(error) => self.complain(Act::Move, &error),
            }
        }
        if self.owner.is_none() {
            self.own();
        } else if self.tidied.elapsed() >= TIDY {
            self.tidy();
        }
    }

    /// Becomes the log's owner if nobody else is. Without rotation of our own there is nothing to own.
    fn own(&mut self) {
        if self.yielded || self.rules.rotation.external {
            return;
        }
        match Owner::take(self.active.path()) {
            Ok(Some(owner)) => {
                self.last = newest(self.active.path());
                self.owner = Some(Arc::new(owner));
                self.tidy();
            }
            Err(error) if !self.warned => {
                self.warned = true;
                let path = self.active.path().display();
                let text = format!("log file `{path}` is not rotated: cannot lock its directory: {error}");
                (self.voice.alarm)(Level::WARN, &text);
            }
            // Another process has it: one that this one replaces, or that replaces this one.
            Ok(None) | Err(_) => {}
        }
    }

    /// Lets the directory be looked at.
    fn tidy(&mut self) {
        self.tidied = Instant::now();
        if let Some(owner) = &self.owner {
            self.archive.tidy(owner, &self.rules.rotation);
        }
    }

    /// Whether a rotation by size or time may be tried now.
    fn may_rotate(&self) -> bool {
        self.owner.is_some() && self.troubles.let_move() && !self.rules.rotation.external
    }

    /// Whether the file has more than it should.
    fn is_too_large(&self) -> bool {
        self.rules.rotation.size.is_some_and(|most| self.active.size() > most) && self.owner.is_some()
    }

    /// Writes what is pending; once more in any case if it is the last time.
    fn write(&mut self, finally: bool) {
        while !self.pending.is_empty() {
            if !finally && !self.troubles.let_write() {
                break;
            }
            let Some(bytes) = self.portion() else { continue };
            let written = self.active.append(&self.pending, bytes);
            self.pending.forget(written.records, written.bytes);
            self.dirty |= written.records > 0;
            self.shared.wrote(written.records, written.bytes);
            self.queue.settle(written.records as u64, written.error.is_some());
            match written.error {
                None => self.recover(),
                Some(error) => {
                    self.suffer(&error);
                    break;
                }
            }
        }
        if self.troubles.is_unwritable() {
            let lost = self.pending.shrink(self.limit);
            self.troubles.lose(lost);
            self.shared.lost(lost);
            self.queue.settle(lost.total(), true);
        }
    }

    /// How many bytes of what is pending go into the file now; `None` if it was rotated instead.
    fn portion(&mut self) -> Option<usize> {
        let most = self.rules.rotation.size.filter(|_| self.may_rotate());
        let Some(most) = most else { return Some(self.pending.len()) };
        let (records, bytes) = self.pending.fitting(most.saturating_sub(self.active.size()));
        if records > 0 {
            return Some(bytes);
        }
        if self.active.size() == 0 {
            // A record that is longer than a file may be has one of its own.
            return Some(self.pending.first_length());
        }
        match self.rotate() {
            Ok(()) => None,
            Err(error) => {
                self.complain(Act::Move, &error);
                Some(self.pending.len())
            }
        }
    }

    /// Moves the file away and goes on in a new one.
    fn rotate(&mut self) -> Result<(), Error> {
        self.rotate_and_tell().map(drop)
    }

    /// [`Self::rotate`], with the names.
    fn rotate_and_tell(&mut self) -> Result<Rotated, Error> {
        if self.rules.fsync != Fsync::Never {
            self.sync(true);
        }
        let rotated = self.active.rotate(&mut self.last, Timestamp::now())?;
        self.shared.health().rotations += 1;
        self.relieve(Act::Move);
        self.tidy();
        Ok(rotated)
    }

    /// Carries an order out.
    fn obey(&mut self, order: Order) {
        match order {
            Order::Rotate(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.rotate_or_reopen());
            }
            Order::Rules(rules) => {
                let Rotation { every, at, .. } = rules.rotation;
                if (every, at) != (self.rules.rotation.every, self.rules.rotation.at) {
                    self.schedule = Schedule::new(every, at, Timestamp::now());
                }
                self.rules = *rules;
                if self.rules.rotation.external {
                    self.owner = None;
                }
                self.own();
                self.tidy();
            }
            Order::Yield => {
                self.yielded = true;
                self.owner = None;
            }
        }
    }

    /// What SIGUSR1 and `--log-rotate` mean: a file that was moved is reopened; otherwise the file is rotated, if that
    /// is ours to do.
    fn rotate_or_reopen(&mut self) -> Result<Rotated, Error> {
        let path = self.active.path().to_owned();
        if !self.active.is_in_place() {
            self.active.reopen()?;
            self.relieve(Act::Move);
            return Ok(Rotated::Reopened(path));
        }
        if self.rules.rotation.external {
            self.active.reopen()?;
            return Ok(Rotated::Reopened(path));
        }
        self.own();
        if self.owner.is_none() {
            // The owner says why it could not be had, or that another process has it.
            let owner = Owner::take(&path).map_err(|source| Error::Rotate { path: path.clone(), source })?;
            self.owner = owner.map(Arc::new);
        }
        if self.owner.is_none() {
            return Ok(Rotated::Left(path));
        }
        if self.active.size() == 0 {
            return Ok(Rotated::Empty(path));
        }
        self.rotate_and_tell()
    }

    /// Forces records to the disk when that is due.
    fn sync(&mut self, now: bool) {
        let due = self.rules.fsync == Fsync::Second && self.synced.elapsed() >= SYNC;
        if self.dirty && (now || due) {
            self.synced = Instant::now();
            match self.active.sync() {
                Ok(()) => {
                    self.dirty = false;
                    self.relieve(Act::Sync);
                }
                Err(source) => {
                    self.complain(Act::Sync, &Error::Sync { path: self.active.path().to_owned(), source });
                }
            }
        }
    }

    /// Notes that the file cannot be moved, opened or synced; what there is stays in use.
    fn complain(&mut self, act: Act, error: &Error) {
        let text = exit::chain(error);
        if self.troubles.fail(act, text.clone()) {
            (self.voice.alarm)(Level::ERROR, &format!("{text}; the log goes on in the file that is open"));
            self.publish();
        }
    }

    /// Notes that this is over.
    fn relieve(&mut self, act: Act) {
        if let Some(text) = self.troubles.succeed(act) {
            (self.voice.alarm)(Level::WARN, &format!("over: {text}"));
            self.publish();
        }
    }

    /// Notes that the file cannot be written.
    fn suffer(&mut self, error: &std::io::Error) {
        let text = format!("cannot write log file `{}`: {error}", self.active.path().display());
        if !self.troubles.fail_to_write(text.clone()) {
            return;
        }
        (self.voice.alarm)(Level::ERROR, &format!("{text}; the newest records are kept"));
        self.publish();
        if self.rules.on_full == OnFull::Stop {
            self.shared.stop.notify_one();
        }
    }

    /// Notes that the file can be written again.
    fn recover(&mut self) {
        let Some((during, lost)) = self.troubles.write() else { return };
        let (total, took) = (lost.total(), humantime::format_duration(round(during)));
        let path = self.active.path().display();
        let text = format!("log file `{path}` is written again after {took}; {total} records were lost");
        (self.voice.alarm)(Level::WARN, &text);
        self.publish();
        if total > 0 {
            self.note_loss(during, lost);
        }
    }

    /// Lets others know what is wrong.
    fn publish(&self) {
        self.shared.health().trouble = self.troubles.text().map(str::to_owned);
    }

    /// Tells what the full queue has dropped.
    fn tell_loss(&mut self, during: Duration, lost: Counts) {
        self.shared.lost(lost);
        self.note_loss(during, lost);
        self.write(false);
    }

    /// Adds a record about records that were lost.
    fn note_loss(&mut self, during: Duration, lost: Counts) {
        let during = humantime::format_duration(round(during));
        let text = format!("dropped {} records in {during}", lost.total());
        let counts: Vec<_> = lost.by_level().filter(|(_, count)| *count > 0).collect();
        let record = (self.voice.record)(Level::WARN, &text, &counts);
        if self.pending.push(&record, 1) {
            self.queue.progress().accept(1);
        }
    }

    /// The end: what cannot be written now never will be.
    fn finish(&mut self) {
        self.write(true);
        if self.rules.fsync != Fsync::Never {
            self.sync(true);
        }
        let rest = self.pending.shrink(0);
        self.troubles.lose(rest);
        if let Some((_, lost)) = self.troubles.write() {
            let (lost, path) = (lost.total(), self.active.path().display());
            (self.voice.alarm)(Level::ERROR, &format!("log file `{path}`: {lost} records were lost"));
        }
        self.queue.settle(rest.total(), false);
    }
}

/// Whole milliseconds.
fn round(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
