//! The way of records from those who log to the thread that writes: one buffer behind a mutex, which that thread
//! exchanges for an empty one.
//!
//! Nothing is allocated for a record. Waking a thread costs more than writing a record, so that the writer is woken only
//! when it sleeps for long, or when there is much or something urgent; while records come it looks by itself each
//! [`LINGER`]. Invariant: a record is in the buffer as a whole or not at all, and its order is that of `push`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Overflow;
use crate::sys::at_exit::Progress;

use super::batch::{Batch, Counts};

/// How long a record may wait for others.
pub(super) const LINGER: Duration = Duration::from_millis(2);
/// So many bytes are written at once.
const MUCH: usize = 64 << 10;
/// With so many bytes before it, a writer that has nothing in hand is given its turn: what waits is lost by SIGKILL.
const PLENTY: usize = 256 << 10;
/// How long a thread that logs waits for that.
const TURN: Duration = Duration::from_millis(5);
/// After so many looks without a record the writer sleeps until it is woken.
const LOOKS: u32 = 50;
/// Records up to this level are written at once: error and warn.
const URGENT: u8 = 1;

/// The buffer and who waits for it.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// The buffer.
    state: Mutex<State<T>>,
    /// For the writer.
    wake: Condvar,
    /// For those who log, if the buffer is full.
    room: Condvar,
    /// For those who wait until everything is written.
    done: Condvar,
    /// How many bytes it holds; one record may have more.
    limit: usize,
    /// What happens when it is full.
    overflow: Overflow,
    /// What has been written.
    progress: Arc<Progress>,
}

/// What the mutex guards.
#[derive(Debug)]
struct State<T> {
    /// The records.
    batch: Batch,
    /// What else the writer is to do.
    orders: Vec<T>,
    /// What the writer does.
    writer: Writer,
    /// Whether it is to write at once.
    urgent: bool,
    /// How often it looked and found nothing.
    looks: u32,
    /// Whether it pays to wait for the writer.
    turn: Turn,
    /// How many wait for room or for the writer.
    blocked: usize,
    /// What was dropped since the writer looked, and since when.
    lost: Option<(Instant, Counts)>,
    /// Whether there will be no more.
    closed: bool,
}

/// What the writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// It works.
    Awake,
    /// It waits for more, for a moment.
    Lingering,
    /// It waits for the first record.
    Asleep,
}

/// Whether it pays to wait for the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It has nothing in hand, and takes what there is as soon as it has a processor.
    Next,
    /// The same, but the wait for it has timed out.
    Late,
    /// It has records in hand, and may wait for the disk.
    Taken,
}

/// What the writer finds: other orders; what was dropped behind its records, and since when; whether this is the end.
pub(super) type Found<T> = (Vec<T>, Option<(Instant, Counts)>, bool);

impl<T> Queue<T> {
    /// An empty one.
    pub(super) fn new(limit: usize, overflow: Overflow) -> Self {
        let state = State {
            batch: Batch::default(),
            orders: Vec::new(),
            writer: Writer::Awake,
            urgent: false,
            looks: 0,
            turn: Turn::Next,
            blocked: 0,
            lost: None,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            room: Condvar::new(),
            done: Condvar::new(),
            limit,
            overflow,
            progress: Arc::default(),
        }
    }

    /// How far writing is.
    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The state; a panic elsewhere leaves it as good as it was.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record.
    pub(super) fn push(&self, record: &[u8], level: u8) {
        let mut state = self.lock();
        if self.overflow == Overflow::Block && state.waits_for_writer() {
            state = self.give_turn(state);
        }
        while state.batch.len() + record.len() > self.limit && !state.batch.is_empty() && !state.closed {
            if self.overflow == Overflow::Drop {
                return state.lose(level);
            }
            state.blocked += 1;
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.blocked -= 1;
        }
        if state.closed {
            return;
        }
        if !state.batch.push(record, level) {
            return state.lose(level);
        }
        self.progress.accept(1);
        state.urgent |= level <= URGENT;
        let wake = match state.writer {
            Writer::Awake => false,
            Writer::Lingering => state.urgent || state.batch.len() >= MUCH,
            Writer::Asleep => true,
        };
        if wake {
            state.writer = Writer::Awake;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits until the writer has taken what there is, which needs a processor but no disk: threads that log as fast as
    /// they can would keep it from running.
    #[cold]
    fn give_turn<'a>(&self, mut state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        state.blocked += 1;
        let waiting = |state: &mut State<T>| state.waits_for_writer();
        let waited = self.room.wait_timeout_while(state, TURN, waiting);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.blocked -= 1;
        if timeout.timed_out() && state.turn == Turn::Next {
            state.turn = Turn::Late;
        }
        state
    }

    /// Gives the writer something to do; what is in the buffer is written before. Says whether there is a writer.
    pub(super) fn order(&self, order: T) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        state.orders.push(order);
        self.rouse(state);
        true
    }

    /// Ends the writer when everything is written.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.room.notify_all();
        self.rouse(state);
    }

    /// Wakes the writer.
    fn rouse(&self, mut state: MutexGuard<'_, State<T>>) {
        state.urgent = true;
        state.writer = Writer::Awake;
        drop(state);
        self.wake.notify_one();
    }

    /// Waits until everything that was accepted before is written, at most for `limit` and not while it cannot be.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let until = self.progress.accepted();
        let over = |progress: &Progress| progress.settled() >= until;
        if over(&self.progress) {
            return true;
        }
        self.rouse(self.lock());
        let pending = |_: &mut State<T>| !over(&self.progress) && !self.progress.is_stuck();
        let waited = self.done.wait_timeout_while(self.lock(), limit, pending);
        drop(waited);
        over(&self.progress)
    }

    /// Says that so many records are written or lost.
    pub(super) fn settle(&self, records: u64, stuck: bool) {
        self.progress.settle(records);
        self.progress.set_stuck(stuck);
        drop(self.lock());
        self.done.notify_all();
    }

    /// For the writer: waits until there is something to do, at most for `limit`, and moves the records to `batch`.
    pub(super) fn take(&self, batch: &mut Batch, limit: Duration) -> Found<T> {
        let mut state = self.lock();
        state.turn = Turn::Next;
        if state.is_quiet() {
            state.looks += 1;
            if state.looks > LOOKS || limit < LINGER {
                state.writer = Writer::Asleep;
                batch.relax();
                state.batch.relax();
                let asleep = |state: &mut State<T>| state.writer == Writer::Asleep;
                let waited = self.wake.wait_timeout_while(state, limit, asleep);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        } else {
            state.looks = 0;
        }
        let much = state.batch.len() >= MUCH;
        if !(much || state.urgent || state.closed || (state.looks > LOOKS && state.is_quiet())) {
            state.writer = Writer::Lingering;
            let lingering = |state: &mut State<T>| state.writer == Writer::Lingering;
            let waited = self.wake.wait_timeout_while(state, LINGER.min(limit), lingering);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.writer = Writer::Awake;
        (state.urgent, state.turn) = (false, Turn::Taken);
        if !state.batch.is_empty() {
            state.looks = 0;
            batch.take_all(&mut state.batch);
        }
        if state.blocked > 0 {
            self.room.notify_all();
        }
        (std::mem::take(&mut state.orders), state.lost.take(), state.closed)
    }
}

impl<T> State<T> {
    /// Counts a record that is dropped.
    fn lose(&mut self, level: u8) {
        self.lost.get_or_insert_with(|| (Instant::now(), Counts::default())).1.add(level);
    }

    /// Whether there is so much that the writer should run first, and nothing but a processor that it waits for.
    const fn waits_for_writer(&self) -> bool {
        self.batch.len() >= PLENTY && matches!(self.turn, Turn::Next) && !self.closed
    }

    /// Whether there is nothing to do.
    const fn is_quiet(&self) -> bool {
        self.batch.is_empty() && self.orders.is_empty() && !self.closed && self.lost.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour, which no test takes.
    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_full_queue_that_drops_counts_by_level_and_keeps_the_order() {
        let queue = Queue::<()>::new(8, Overflow::Drop);
        for (record, level) in [("aaa\n", 2), ("bbb\n", 2), ("ccc\n", 1), ("ddd\n", 2)] {
            queue.push(record.as_bytes(), level);
        }
        let mut batch = Batch::default();
        let (_, lost, _) = queue.take(&mut batch, LONG);
        assert_eq!(batch.rest(), b"aaa\nbbb\n");
        let (_, lost) = lost.unwrap();
        assert_eq!(lost.by_level().map(|(_, count)| count).collect::<Vec<_>>(), [0, 1, 1, 0, 0]);
    }

    #[test]
    fn a_full_queue_that_blocks_loses_nothing() {
        let queue = Arc::new(Queue::<()>::new(64, Overflow::Block));
        let producer = Arc::clone(&queue);
        let thread = std::thread::spawn(move || {
            for number in 0..10_000 {
                producer.push(format!("{number}\n").as_bytes(), 2);
            }
        });
        let mut text = Vec::new();
        while !text.ends_with(b"\n9999\n") {
            let mut batch = Batch::default();
            let _ = queue.take(&mut batch, LONG);
            text.extend_from_slice(batch.rest());
        }
        thread.join().unwrap();
        let text = String::from_utf8(text).unwrap();
        let numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_writer_with_nothing_in_hand_is_given_its_turn_and_one_that_is_busy_is_not_waited_for() {
        let queue = Arc::new(Queue::<()>::new(8 * PLENTY, Overflow::Block));
        let (record, mut batch) = (vec![b'x'; PLENTY / 4], Batch::default());
        (0..4).for_each(|_| queue.push(&record, 2));
        let producer = Arc::clone(&queue);
        let thread = std::thread::spawn(move || producer.push(b"after that\n", 2));
        let deadline = Instant::now() + LONG;
        while queue.lock().blocked == 0 && !thread.is_finished() {
            assert!(Instant::now() < deadline);
        }
        let _ = queue.take(&mut batch, LONG);
        thread.join().unwrap();
        // Now it has something in hand, for as long as it likes.
        for _ in 0..20 {
            queue.push(&record, 2);
        }
        assert_eq!(queue.lock().turn, Turn::Taken);
        assert!(queue.lock().batch.len() > 5 * PLENTY - 1);
    }

    #[test]
    fn a_record_longer_than_the_queue_goes_alone() {
        let queue = Queue::<()>::new(4, Overflow::Drop);
        queue.push(b"long record\n", 2);
        let mut batch = Batch::default();
        assert!(queue.take(&mut batch, LONG).1.is_none());
        assert_eq!(batch.rest(), b"long record\n");
    }

    #[test]
    fn flushing_waits_for_the_writer_and_gives_up_in_time() {
        let queue = Arc::new(Queue::<()>::new(64, Overflow::Block));
        queue.push(b"x\n", 2);
        assert!(!queue.flush(Duration::from_millis(10)));
        let writer = Arc::clone(&queue);
        let thread = std::thread::spawn(move || {
            let mut batch = Batch::default();
            let _ = writer.take(&mut batch, LONG);
            writer.settle(1, false);
        });
        assert!(queue.flush(LONG));
        thread.join().unwrap();
    }
}
