//! Messages for a session's GET stream, kept until a client comes for them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::super::relay::Message;

/// Messages that are kept for a client that does not listen; the oldest go first.
const LIMIT: usize = 256;
/// The same in bytes.
const WEIGHT: usize = 16 << 20;

/// The queue of one session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The messages, and the number of the stream that may take them.
    state: Mutex<(VecDeque<Message>, u64)>,
    /// Wakes the stream.
    arrived: Notify,
}

impl Outbox {
    /// Leaves a message.
    pub(crate) fn put(&self, message: Message) {
        let mut state = self.state();
        let mut weight = state.0.iter().map(Message::weight).sum::<usize>() + message.weight();
        while (state.0.len() >= LIMIT || weight > WEIGHT)
            && let Some(oldest) = state.0.pop_front()
        {
            weight -= oldest.weight();
            tracing::debug!("a session's oldest waiting message is dropped: its client does not listen");
        }
        state.0.push_back(message);
        drop(state);
        self.arrived.notify_waiters();
    }

    /// A new stream takes over; the previous one ends.
    pub(crate) fn open(&self) -> u64 {
        let mut state = self.state();
        state.1 += 1;
        let number = state.1;
        drop(state);
        self.arrived.notify_waiters();
        number
    }

    /// The next message for the stream `number`; `None` once another has taken over.
    pub(crate) async fn next(&self, number: u64) -> Option<Message> {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            // Enabled before looking, so that a message put in between is not slept through.
            arrived.as_mut().enable();
            {
                let mut state = self.state();
                if state.1 != number {
                    return None;
                }
                if let Some(message) = state.0.pop_front() {
                    return Some(message);
                }
            }
            arrived.await;
        }
    }

    /// The queue and the stream's number.
    fn state(&self) -> MutexGuard<'_, (VecDeque<Message>, u64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::relay::Notification;
    use super::*;

    /// A message that can be told from others.
    fn note(method: &str) -> Message {
        Message::Notification(Notification { method: method.to_owned(), params: None })
    }

    #[test]
    fn large_messages_after_many_small_ones_do_not_weigh_more_than_may_wait() {
        let outbox = Outbox::default();
        for _ in 0..LIMIT {
            outbox.put(note("small"));
        }
        let large = || {
            let params = serde_json::value::RawValue::from_string(format!("\"{}\"", "x".repeat(WEIGHT / 3)));
            Message::Notification(Notification { method: "large".to_owned(), params: params.ok() })
        };
        for _ in 0..8 {
            outbox.put(large());
        }
        let weight = outbox.state().0.iter().map(Message::weight).sum::<usize>();
        assert!(weight <= WEIGHT, "{weight}");
    }

    #[tokio::test]
    async fn waiting_messages_come_in_order_and_a_new_stream_ends_the_old_one() {
        let outbox = Outbox::default();
        outbox.put(note("a"));
        outbox.put(note("b"));
        let first = outbox.open();
        assert!(matches!(outbox.next(first).await, Some(Message::Notification(note)) if note.method == "a"));
        let second = outbox.open();
        assert!(outbox.next(first).await.is_none());
        assert!(matches!(outbox.next(second).await, Some(Message::Notification(note)) if note.method == "b"));
    }
}
