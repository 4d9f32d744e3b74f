//! Messages for a session's GET streams, kept until a client comes for them, and for a while after: a stream that breaks off
//! may have lost some, and its client comes back with the place of the last one that it has (MCP 2025-11-25
//! §Resumability and Redelivery).
//!
//! A client may have several streams (§Multiple Connections). Each message goes to one of them, the newest that is open, and
//! comes again on that one only.
//!
//! Where more waits than may, the oldest goes first, but not what tells of a change: that takes its place behind the newest.
//! Two changes that are the same are one until a stream has taken them.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::gateway::changes::is_change;
use crate::gateway::memory::Held;
use crate::gateway::relay::{Message, Notification};

/// Messages that are kept for a client that does not listen; the oldest go first.
const LIMIT: usize = 256;
/// Changes that are kept beside: as many as there are lists and resources that a session may follow.
const CHANGES: usize = 1024;
/// The same in bytes.
const WEIGHT: usize = 16 << 20;
/// Messages that are kept after a stream has taken them.
const TAKEN: usize = 64;
/// The same in bytes.
const TAKEN_WEIGHT: usize = 1 << 20;
/// Streams that one session may have open; the oldest ends first.
const STREAMS: usize = 8;

/// The queue of one session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// What it holds.
    state: Mutex<State>,
    /// Wakes the stream.
    arrived: Notify,
}

/// What the queue holds.
#[derive(Debug, Default)]
struct State {
    /// The messages, the newest last, each with the number of the stream that has taken it, if one has.
    messages: VecDeque<(Message, u64)>,
    /// What they take, in bytes.
    weight: usize,
    /// The same in the account of the process.
    held: Held,
    /// The changes among those that wait.
    changes: HashSet<Box<str>>,
    /// The place of the newest; each message's is one more than that of the one before.
    last: u64,
    /// The place of the newest that a stream has taken.
    taken: u64,
    /// The streams that are open, the newest last.
    readers: Vec<Reader>,
    /// The last ticket that was given out.
    ticket: u64,
}

/// What there is for a stream.
enum Next {
    /// A message and its place.
    Message(u64, Message),
    /// Nothing yet.
    Nothing,
    /// The stream has ended here.
    Ended,
}

/// A stream that is open.
#[derive(Clone, Copy, Debug)]
struct Reader {
    /// Its number within the session, which it keeps when its client comes back for it.
    stream: u64,
    /// Tells one that was resumed from the one before.
    ticket: u64,
}

impl State {
    /// The place before the oldest message.
    fn gone(&self) -> u64 {
        self.last - self.messages.len() as u64
    }

    /// How many of the messages were taken.
    fn count_taken(&self) -> usize {
        usize::try_from(self.taken.saturating_sub(self.gone())).unwrap_or(usize::MAX)
    }

    /// Adds a message behind the newest; a change that waits already is not put there twice.
    fn push(&mut self, message: Message) {
        if let Some(change) = change(&message)
            && !self.changes.insert(change)
        {
            return;
        }
        self.weight += message.weight();
        self.last += 1;
        self.messages.push_back((message, 0));
        self.held.set(self.weight);
    }

    /// Whether there is more than may be.
    fn is_full(&self) -> bool {
        let others = self.messages.len() - self.changes.len();
        self.messages.len() > 1 && (others > LIMIT || self.changes.len() > CHANGES || self.weight > WEIGHT)
    }

    /// Drops the oldest message; a change is put behind the newest, where there is something else to be dropped.
    fn drop_oldest(&mut self) {
        let waits = self.count_taken() == 0;
        let Some((oldest, _)) = self.messages.pop_front() else { return };
        self.weight -= oldest.weight();
        self.held.set(self.weight);
        if !waits {
            return;
        }
        let change = change(&oldest);
        if let Some(change) = &change {
            self.changes.remove(change);
        }
        let others = self.messages.len() > self.changes.len();
        if change.is_some() && others && self.changes.len() < CHANGES {
            self.push(oldest);
        } else {
            tracing::debug!("a session's oldest waiting message is dropped: its client does not listen");
        }
    }

    /// The next message that a stream is to have after a place, with its own place.
    fn next(&mut self, ticket: u64, place: u64) -> Next {
        let reader = self.readers.iter().position(|reader| reader.ticket == ticket);
        let Some(reader) = reader else { return Next::Ended };
        let (stream, is_newest) = (self.readers[reader].stream, reader + 1 == self.readers.len());
        let (gone, taken) = (self.gone(), self.taken);
        let skipped = usize::try_from(place.max(gone) - gone).unwrap_or(usize::MAX);
        let mut left = (gone + 1..).zip(&mut self.messages).skip(skipped);
        let found = left.find(|(at, (_, by))| if *at > taken { is_newest } else { *by == stream });
        let Some((at, (message, by))) = found else { return Next::Nothing };
        *by = stream;
        let message = message.clone();
        if at > taken {
            self.taken = at;
            if let Some(change) = change(&message) {
                self.changes.remove(&change);
            }
        }
        self.forget();
        Next::Message(at, message)
    }

    /// Drops what was taken long ago.
    fn forget(&mut self) {
        let weight = |state: &Self| -> usize {
            state.messages.iter().take(state.count_taken()).map(|(message, _)| message.weight()).sum()
        };
        let mut kept = weight(self);
        while self.count_taken() > TAKEN || (kept > TAKEN_WEIGHT && self.count_taken() > 0) {
            kept -= self.messages.front().map_or(0, |(message, _)| message.weight());
            self.drop_oldest();
        }
    }
}

impl Outbox {
    /// Leaves a message.
    pub(crate) fn put(&self, message: Message) {
        let mut state = self.state.lock();
        state.push(message);
        while state.is_full() {
            state.drop_oldest();
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Leaves a message where few wait: it never pushes another one out.
    pub(crate) fn put_if_room(&self, message: Message) {
        let waiting = {
            let state = self.state.lock();
            state.messages.len() - state.count_taken().min(state.messages.len())
        };
        if waiting < LIMIT / 2 {
            self.put(message);
        } else {
            tracing::debug!("a message that nobody has asked for is dropped: too many wait");
        }
    }

    /// Opens the stream of this number, which ends there where it was open before. Returns its ticket, and the place after
    /// which it begins: that of the last message which the client says it has, if that can be, else that of the last one which
    /// was taken.
    pub(crate) fn open(&self, stream: u64, after: Option<u64>) -> (u64, u64) {
        let mut state = self.state.lock();
        state.ticket += 1;
        let ticket = state.ticket;
        state.readers.retain(|reader| reader.stream != stream);
        state.readers.push(Reader { stream, ticket });
        if state.readers.len() > STREAMS {
            state.readers.remove(0);
        }
        let place = after.filter(|place| *place <= state.last).unwrap_or(state.taken);
        drop(state);
        self.arrived.notify_waiters();
        (ticket, place)
    }

    /// Notes that a stream has ended: what comes goes to another one, if there is one.
    pub(crate) fn close(&self, ticket: u64) {
        self.state.lock().readers.retain(|reader| reader.ticket != ticket);
        self.arrived.notify_waiters();
    }

    /// The next message for the stream with a ticket after a place, with its own place; `None` once it has ended here.
    pub(crate) async fn next(&self, ticket: u64, place: u64) -> Option<(u64, Message)> {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            // Enabled before looking, so that a message put in between is not slept through.
            arrived.as_mut().enable();
            let next = self.state.lock().next(ticket, place);
            match next {
                Next::Message(place, message) => return Some((place, message)),
                Next::Nothing => {}
                Next::Ended => return None,
            }
            arrived.await;
        }
    }

    /// Bytes that wait, while nobody reads.
    pub(super) fn spare(&self) -> usize {
        let state = self.state.lock();
        if state.readers.is_empty() { state.weight } else { 0 }
    }

    /// Drops what waits while nobody reads, since memory is needed; not what tells of a change.
    pub(super) fn drop_spare(&self) {
        let mut state = self.state.lock();
        while state.readers.is_empty() && state.messages.len() > state.changes.len() {
            state.drop_oldest();
        }
    }

    /// The place of the newest message.
    pub(crate) fn last(&self) -> u64 {
        self.state.lock().last
    }

    /// Goes on where another process has left: no place is given out twice.
    pub(crate) fn continue_from(&self, last: u64) {
        let mut state = self.state.lock();
        let more = last.saturating_sub(state.last);
        state.last += more;
        state.taken += more;
    }
}

/// What a message says has changed, if it says so.
fn change(message: &Message) -> Option<Box<str>> {
    let Message::Notification(Notification { method, params }) = message else { return None };
    let params = params.as_deref().map_or("", |params| params.get());
    is_change(method).then(|| format!("{method} {params}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::changes::{LISTS, updated};

    #[tokio::test]
    async fn changes_outlast_whatever_else_waits_and_are_one_until_they_are_taken() {
        let outbox = Outbox::default();
        for _ in 0..2 {
            outbox.put(note(LISTS[0]));
            for number in 0..900 {
                outbox.put(Message::Notification(updated(&format!("test://{number}"))));
            }
            for _ in 0..10 * LIMIT {
                outbox.put(note("notifications/message"));
            }
        }
        let (number, mut place) = outbox.open(1, None);
        let mut told = std::collections::HashMap::<String, usize>::new();
        while place < outbox.last() {
            let (at, message) = outbox.next(number, place).await.unwrap();
            place = at;
            *told.entry(change(&message).map_or_else(String::new, String::from)).or_default() += 1;
        }
        let others = told.remove("").unwrap_or_default();
        assert!(
            others <= LIMIT && told.len() == 901 && told.values().all(|count| *count == 1),
            "{others} {}",
            told.len()
        );
        outbox.put(note(LISTS[0]));
        assert_eq!(next(&outbox, number, place).await.1, LISTS[0]);
        let state = outbox.state.lock();
        assert!(state.changes.is_empty());
    }

    #[test]
    fn what_nobody_has_asked_for_pushes_nothing_out() {
        let outbox = Outbox::default();
        let updated = |uri: String| Message::Notification(updated(&uri));
        for number in 0..200 {
            outbox.put(updated(format!("test://own/{number}")));
        }
        for number in 0..10 * CHANGES {
            outbox.put_if_room(updated(format!("test://other/{number}")));
        }
        assert_eq!(outbox.last(), 200);
        let (number, empty) = (10 * CHANGES, Outbox::default());
        (0..number).for_each(|number| empty.put_if_room(updated(format!("test://other/{number}"))));
        assert_eq!(empty.last(), LIMIT as u64 / 2);
    }

    #[test]
    fn too_many_changes_are_dropped_too() {
        let outbox = Outbox::default();
        for number in 0..10 * CHANGES {
            outbox.put(Message::Notification(updated(&format!("test://{number}"))));
        }
        let state = outbox.state.lock();
        assert!(state.messages.len() <= CHANGES && state.changes.len() == state.messages.len());
    }

    /// A message that can be told from others.
    fn note(method: &str) -> Message {
        Message::Notification(Notification { method: method.into(), params: None })
    }

    #[test]
    fn large_messages_after_many_small_ones_do_not_weigh_more_than_may_wait() {
        let outbox = Outbox::default();
        for _ in 0..LIMIT {
            outbox.put(note("small"));
        }
        let large = || {
            let params = serde_json::value::RawValue::from_string(format!("\"{}\"", "x".repeat(WEIGHT / 3)));
            Message::Notification(Notification { method: "large".into(), params: params.ok() })
        };
        for _ in 0..8 {
            outbox.put(large());
        }
        let state = outbox.state.lock();
        let weight = state.messages.iter().map(|(message, _)| message.weight()).sum::<usize>();
        assert!(weight <= WEIGHT && weight == state.weight, "{weight}");
    }

    /// The name of what comes next, and its place.
    async fn next(outbox: &Outbox, number: u64, place: u64) -> (u64, String) {
        match outbox.next(number, place).await {
            Some((place, Message::Notification(note))) => (place, note.method.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn waiting_messages_come_in_order_and_a_stream_that_is_resumed_ends_the_one_before() {
        let outbox = Outbox::default();
        outbox.put(note("a"));
        outbox.put(note("b"));
        let (first, place) = outbox.open(1, None);
        assert_eq!(next(&outbox, first, place).await, (1, "a".to_owned()));
        let (second, place) = outbox.open(1, None);
        assert!(outbox.next(first, 1).await.is_none());
        assert_eq!(next(&outbox, second, place).await, (2, "b".to_owned()));
    }

    #[tokio::test]
    async fn each_message_goes_to_one_of_several_streams_and_comes_again_on_that_one_only() {
        let outbox = Outbox::default();
        let (first, start) = outbox.open(1, None);
        outbox.put(note("a"));
        assert_eq!(next(&outbox, first, start).await, (1, "a".to_owned()));
        let (second, place) = outbox.open(2, None);
        outbox.put(note("b"));
        let mut waiting = Box::pin(outbox.next(first, 1));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "the newest has it");
        assert_eq!(next(&outbox, second, place).await, (2, "b".to_owned()));
        outbox.put(note("c"));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        outbox.close(second);
        assert_eq!(
            waiting.await.map(|(place, _)| place),
            Some(3),
            "one that is left has what nobody has taken"
        );
        // Both come back.
        let (second, place) = outbox.open(2, Some(0));
        assert_eq!(next(&outbox, second, place).await, (2, "b".to_owned()));
        assert!(futures_util::poll!(Box::pin(outbox.next(second, 2))).is_pending());
        let (first, place) = outbox.open(1, Some(0));
        assert_eq!(next(&outbox, first, place).await, (1, "a".to_owned()));
        assert_eq!(next(&outbox, first, 1).await.0, 3);
        for stream in 3..10 {
            outbox.open(stream, None);
        }
        assert!(outbox.next(second, 3).await.is_none(), "the oldest ends where there are too many");
    }

    #[tokio::test]
    async fn client_that_comes_back_gets_what_it_has_not_seen() {
        let outbox = Outbox::default();
        for name in ["a", "b", "c"] {
            outbox.put(note(name));
        }
        let (mut number, mut place) = outbox.open(1, None);
        for name in ["a", "b", "c"] {
            let (at, found) = next(&outbox, number, place).await;
            assert_eq!(found, name);
            place = at;
        }
        // It has seen the first one only.
        (number, place) = outbox.open(1, Some(1));
        assert_eq!(next(&outbox, number, place).await, (2, "b".to_owned()));
        // A place that nobody has given out says nothing.
        assert_eq!(outbox.open(1, Some(9)).1, 3);
    }

    #[tokio::test]
    async fn what_was_taken_long_ago_is_forgotten_and_the_oldest_that_is_kept_comes_first() {
        let outbox = Outbox::default();
        let (number, mut place) = outbox.open(1, None);
        for count in 0..TAKEN + 10 {
            outbox.put(note(&count.to_string()));
            place = outbox.next(number, place).await.unwrap().0;
        }
        assert_eq!(outbox.state.lock().messages.len(), TAKEN);
        let (number, place) = outbox.open(1, Some(1));
        assert_eq!(next(&outbox, number, place).await, (11, "10".to_owned()));
    }

    #[tokio::test]
    async fn another_process_goes_on_after_the_places_of_the_one_before() {
        let outbox = Outbox::default();
        outbox.continue_from(100);
        outbox.put(note("a"));
        // What the client has seen there is not taken for something of here.
        let (number, place) = outbox.open(1, Some(7));
        assert_eq!(next(&outbox, number, place).await, (101, "a".to_owned()));
    }
}
