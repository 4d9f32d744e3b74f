//! What a client of HTTP+SSE is sent over its one event stream: answers, and what belongs to its requests, in their order
//! (MCP 2024-11-05 §Transports). Messages that belong to no request come from the outbox.
//!
//! Nothing is dropped: where the client does not read, whoever has more for it waits. What was taken last is kept for a while,
//! since a stream that breaks off may have lost it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::gateway::relay::Message;

/// Bytes that may wait for the client; beyond, writers wait.
const ROOM: usize = 4 << 20;
/// Messages that are kept after a stream has taken them.
const TAKEN: usize = 64;
/// The same in bytes.
const TAKEN_WEIGHT: usize = 1 << 20;

/// The queue of one session.
#[derive(Debug)]
pub(crate) struct Channel {
    /// What it holds.
    state: Mutex<State>,
    /// Wakes the stream, and writers.
    changed: Notify,
    /// Requests of which something may still come.
    writers: AtomicUsize,
    /// Tells places in it from those that another process has given out.
    epoch: u64,
}

/// What the queue holds.
#[derive(Debug, Default)]
struct State {
    /// The messages, the newest last: those that were taken, then those that wait.
    messages: VecDeque<Message>,
    /// What those take that wait, in bytes.
    waiting: usize,
    /// What those take that were taken.
    kept: usize,
    /// The place of the newest; each message's is one more than that of the one before.
    last: u64,
    /// The place of the newest that a stream has taken.
    taken: u64,
    /// The number of the stream that may take them.
    stream: u64,
}

/// Where a stream is: in this queue and in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which queue.
    epoch: u64,
    /// The last message of it.
    pub(crate) answers: u64,
    /// The last message of the outbox.
    pub(crate) others: u64,
}

/// A request of which something may still come, until dropped.
#[derive(Debug)]
pub(crate) struct Writer(Arc<Channel>);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{}-{}", self.epoch, self.answers, self.others)
    }
}

impl std::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '-');
        let epoch = parts.next().and_then(|part| u64::from_str_radix(part, 16).ok()).ok_or(())?;
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or(());
        Ok(Self { epoch, answers: number()?, others: number()? })
    }
}

impl State {
    /// The place before the oldest message.
    fn gone(&self) -> u64 {
        self.last - self.messages.len() as u64
    }

    /// Notes that the message at this place was taken, and forgets what was taken long ago.
    fn take(&mut self, place: u64, weight: usize) {
        if place > self.taken {
            self.taken = place;
            self.waiting -= weight;
            self.kept += weight;
        }
        while self.taken - self.gone() > TAKEN as u64 || self.kept > TAKEN_WEIGHT && self.taken > self.gone()
        {
            self.kept -= self.messages.pop_front().map_or(0, |message| message.weight());
        }
    }
}

impl Channel {
    /// An empty one.
    pub(super) fn new() -> Arc<Self> {
        let mut bytes = [0; 8];
        // Without random bytes a place of another process may be taken for one of this queue.
        let _ = getrandom::fill(&mut bytes);
        Arc::new(Self {
            state: Mutex::default(),
            changed: Notify::new(),
            writers: AtomicUsize::new(0),
            epoch: u64::from_ne_bytes(bytes),
        })
    }

    /// A request begins, of which something will come.
    pub(crate) fn writer(self: &Arc<Self>) -> Writer {
        self.writers.fetch_add(1, Ordering::Relaxed);
        Writer(Arc::clone(self))
    }

    /// Waits until all requests have ended and what came of them was taken.
    pub(crate) async fn idle(&self) {
        self.until(|| {
            let state = self.state();
            self.writers.load(Ordering::Relaxed) == 0 && state.taken == state.last
        })
        .await;
    }

    /// Waits until something is so, which may be whenever a message or a stream comes or goes.
    pub(crate) async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if is_so() {
                return;
            }
            changed.await;
        }
    }

    /// A new stream takes over; the previous one ends. Its number, and where it begins: after what its client has.
    pub(crate) fn open(&self, after: Option<Place>) -> (u64, Place) {
        let mut state = self.state();
        state.stream += 1;
        let known = after.filter(|place| place.epoch == self.epoch && place.answers <= state.last);
        let answers = known.map_or(state.taken, |place| place.answers);
        let opened = state.stream;
        drop(state);
        self.changed.notify_waiters();
        (opened, Place { epoch: self.epoch, answers, others: after.map_or(0, |place| place.others) })
    }

    /// The next message for the stream `number` after a place, with its own; `None` once another has taken over.
    pub(crate) async fn next(&self, number: u64, place: u64) -> Option<(u64, Message)> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Enabled before looking, so that a message put in between is not slept through.
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if state.stream != number {
                    return None;
                }
                let from = place.max(state.gone());
                let index = usize::try_from(from - state.gone()).unwrap_or(usize::MAX);
                if let Some(message) = state.messages.get(index).cloned() {
                    state.take(from + 1, message.weight());
                    drop(state);
                    self.changed.notify_waiters();
                    return Some((from + 1, message));
                }
            }
            changed.await;
        }
    }

    /// The queue.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Writer {
    /// Leaves a message, once there is room.
    pub(crate) async fn put(&self, message: Message) {
        let weight = message.weight();
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.0.state();
                if state.waiting == 0 || state.waiting + weight <= ROOM {
                    state.last += 1;
                    state.waiting += weight;
                    state.messages.push_back(message);
                    break;
                }
            }
            changed.await;
        }
        self.0.changed.notify_waiters();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.writers.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use serde_json::value::RawValue;

    use super::*;
    use crate::gateway::relay::Notification;

    /// A message of so many bytes.
    fn note(method: &str, weight: usize) -> Message {
        let params = RawValue::from_string(format!("\"{}\"", "x".repeat(weight))).ok();
        Message::Notification(Notification { method: method.into(), params })
    }

    /// The name of what comes next, and its place.
    async fn next(channel: &Channel, number: u64, place: u64) -> (u64, String) {
        match channel.next(number, place).await {
            Some((place, Message::Notification(note))) => (place, note.method.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn writers_wait_for_a_client_that_does_not_read_and_nothing_is_dropped() {
        let channel = Channel::new();
        let writing = tokio::spawn({
            let writer = channel.writer();
            async move {
                for number in 0..64 {
                    writer.put(note(&number.to_string(), ROOM / 4)).await;
                }
            }
        });
        tokio::task::yield_now().await;
        assert!(channel.idle().now_or_never().is_none());
        let (stream, Place { mut answers, .. }) = channel.open(None);
        for number in 0..64 {
            assert!(channel.state().waiting <= ROOM);
            let (place, name) = next(&channel, stream, answers).await;
            assert_eq!(name, number.to_string());
            answers = place;
        }
        writing.await.unwrap();
        channel.idle().await;
        assert!(channel.state().kept <= TAKEN_WEIGHT);
    }

    #[tokio::test]
    async fn client_that_comes_back_gets_what_it_has_not_seen_and_its_former_stream_ends() {
        let channel = Channel::new();
        let writer = channel.writer();
        for name in ["a", "b", "c"] {
            writer.put(note(name, 1)).await;
        }
        let (first, place) = channel.open(None);
        let (seen, _) = next(&channel, first, place.answers).await;
        next(&channel, first, seen).await;
        let back: Place = Place { answers: seen, ..place }.to_string().parse().unwrap();
        let (second, place) = channel.open(Some(back));
        assert!(channel.next(first, seen).await.is_none());
        assert_eq!(next(&channel, second, place.answers).await.1, "b");
        // A place of another process says nothing.
        let (third, place) = channel.open(Some(Place { epoch: place.epoch.wrapping_add(1), ..back }));
        assert_eq!(next(&channel, third, place.answers).await.1, "c");
    }
}
