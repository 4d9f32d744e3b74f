//! The thread that owns the log file: it writes what the queue holds, rotates, and lives with a file that cannot be
//! written.
//!
//! Its parts own their state: `Active` the open file, `Rotator` when it is left, `Syncer` when the disk is waited for,
//! `SelfReport` what is wrong and who is told; the worker owns what is still to be written, and calls them.
//!
//! Invariants: records are written in the order of the queue, each as a whole and into one file; what is lost is counted
//! and told; nobody who logs waits for a disk that fails, only for one that is slow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::batch::{Batch, Counts};
use super::error::Error;
use super::file::{Active, Rotated, Rotator, Syncer};
use super::queue::{Found, Queue};
use super::self_report::SelfReport;
use super::trouble::{Act, RETRY};
use crate::config::{Fsync, Log, OnFull, Rotation};

/// How often the path of the file is looked at.
const LOOK: Duration = Duration::from_millis(500);

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
    rotation: Rotation,
    /// When to force records to the disk.
    fsync: Fsync,
    /// What happens when the file cannot be written.
    on_full: OnFull,
}

/// The thread's state.
pub(super) struct Worker {
    /// Where records come from.
    queue: Arc<Queue<Order>>,
    /// What could not be written yet.
    pending: Batch,
    /// How many bytes of that are kept.
    limit: usize,
    /// What happens when the file cannot be written.
    on_full: OnFull,
    /// The file.
    active: Active,
    /// When it is left.
    rotator: Rotator,
    /// When the disk is waited for.
    syncer: Syncer,
    /// What is wrong, and who is told.
    report: SelfReport,
    /// When the path was looked at.
    looked: Instant,
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
        report: SelfReport,
    ) -> Result<Self, Error> {
        Ok(Self {
            queue,
            pending: Batch::default(),
            limit: log.queue,
            on_full: log.on_full,
            rotator: Rotator::new(log, &active, &report)?,
            active,
            syncer: Syncer::new(log.fsync),
            report,
            looked: Instant::now(),
        })
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        crate::sys::at_exit::spare_this_thread();
        loop {
            let limit = if self.report.troubles().are_there() { RETRY } else { LOOK };
            let found = self.queue.take(&mut self.pending, limit);
            if self.step(found) {
                return;
            }
        }
    }

    /// Does what there is to do; whether that was all.
    fn step(&mut self, (orders, lost, closed): Found<Order>) -> bool {
        if self.looked.elapsed() >= LOOK || closed {
            self.look();
        }
        if self.rotator.is_due() && self.active.size() > 0 && self.may_rotate() {
            // If it fails, the file is rotated by whatever rotates it next.
            self.try_to_rotate();
        }
        self.write(closed);
        if let Some((since, lost)) = lost {
            self.tell_loss(since.elapsed(), lost);
        }
        self.syncer.each_second(&self.active, &mut self.report);
        for order in orders {
            self.obey(order);
        }
        if closed {
            self.finish();
        }
        closed
    }

    /// Looks after the file's path, the ownership, and the directory.
    fn look(&mut self) {
        self.looked = Instant::now();
        if self.active.is_in_place() {
            let too_large = self.rotator.most().is_some_and(|most| self.active.size() > most);
            if self.report.troubles().is_unmovable() && !too_large {
                self.report.succeeded(Act::Move);
            }
        } else {
            match self.active.reopen() {
                Ok(()) => self.report.succeeded(Act::Move),
                Err(error) => self.report.failed(Act::Move, &error),
            }
        }
        self.rotator.look(&self.active, &self.report);
    }

    /// Whether a rotation by size or time may be tried now.
    fn may_rotate(&self) -> bool {
        self.rotator.may_rotate() && self.report.troubles().let_move()
    }

    /// Writes what is pending; once more in any case if it is the last time.
    fn write(&mut self, finally: bool) {
        while !self.pending.is_empty() {
            if !finally && !self.report.troubles().let_write() {
                break;
            }
            let Some(bytes) = self.portion() else { continue };
            let (records, bytes, error) = self.active.append(&self.pending, bytes);
            self.pending.forget(records, bytes);
            if records > 0 {
                self.syncer.wrote();
            }
            self.report.shared().wrote(records, bytes);
            self.queue.settle(records as u64, error.is_some());
            if let Some(error) = error {
                let news = self.report.cannot_write(self.active.path(), &error);
                if news && self.on_full == OnFull::Stop {
                    self.report.shared().demand_stop();
                }
                break;
            }
            if let Some((during, lost)) = self.report.can_write(self.active.path())
                && lost.total() > 0
            {
                self.note_loss(during, lost);
            }
        }
        if self.report.troubles().is_unwritable() {
            let lost = self.pending.shrink(self.limit);
            self.report.lost(lost);
            self.report.shared().lost(lost);
            self.queue.settle(lost.total(), true);
        }
    }

    /// How many bytes of what is pending go into the file now; `None` if it was rotated instead.
    fn portion(&mut self) -> Option<usize> {
        let most = self.rotator.most().filter(|_| self.may_rotate());
        let Some(most) = most else { return Some(self.pending.len()) };
        let (records, bytes) = self.pending.fitting(most.saturating_sub(self.active.size()));
        if records > 0 {
            return Some(bytes);
        }
        if self.active.size() == 0 {
            // A record that is longer than a file may be has one of its own.
            return Some(self.pending.first_length());
        }
        if self.try_to_rotate() { None } else { Some(self.pending.len()) }
    }

    /// Moves the file away and goes on in a new one; whether that was possible.
    fn try_to_rotate(&mut self) -> bool {
        let rotated = self.rotate();
        if let Err(error) = &rotated {
            self.report.failed(Act::Move, error);
        }
        rotated.is_ok()
    }

    /// Moves the file away and goes on in a new one.
    fn rotate(&mut self) -> Result<Rotated, Error> {
        self.syncer.before_leaving(&self.active, &mut self.report);
        let rotated = self.rotator.rotate(&mut self.active)?;
        self.report.shared().health().rotations += 1;
        self.report.succeeded(Act::Move);
        Ok(rotated)
    }

    /// Carries an order out.
    fn obey(&mut self, order: Order) {
        match order {
            Order::Rotate(reply) => {
                // The caller may have gone.
                let _ = reply.send(self.rotate_or_reopen());
            }
            Order::Rules(rules) => {
                let Rules { rotation, fsync, on_full } = *rules;
                self.on_full = on_full;
                self.syncer.set(fsync);
                self.rotator.set(rotation, &self.active, &self.report);
            }
            Order::Yield => self.rotator.give_up(),
        }
    }

    /// SIGUSR1 and `--log-rotate`: a file that was moved is reopened; otherwise the file is rotated, if that is ours to do.
    fn rotate_or_reopen(&mut self) -> Result<Rotated, Error> {
        let path = self.active.path().to_owned();
        if !self.active.is_in_place() {
            self.active.reopen()?;
            self.report.succeeded(Act::Move);
            return Ok(Rotated::Reopened(path));
        }
        if self.rotator.is_external() {
            self.active.reopen()?;
            return Ok(Rotated::Reopened(path));
        }
        if !self.rotator.claim(&self.active, &self.report)? {
            return Ok(Rotated::Left(path));
        }
        if self.active.size() == 0 {
            return Ok(Rotated::Empty(path));
        }
        self.rotate()
    }

    /// Tells what the full queue has dropped.
    fn tell_loss(&mut self, during: Duration, lost: Counts) {
        self.report.shared().lost(lost);
        self.note_loss(during, lost);
        self.write(false);
    }

    /// Adds a record about records that were lost.
    fn note_loss(&mut self, during: Duration, lost: Counts) {
        if self.pending.push(&self.report.loss(during, lost), 1) {
            self.queue.progress().accept(1);
        }
    }

    /// The end: what cannot be written now never will be.
    fn finish(&mut self) {
        self.write(true);
        self.syncer.before_leaving(&self.active, &mut self.report);
        let rest = self.pending.shrink(0);
        self.report.lost(rest);
        self.report.end(self.active.path());
        self.queue.settle(rest.total(), false);
    }
}
