//! What waits in memory, under one budget: messages that come, requests in flight, answers that clients have not read, and what
//! sessions keep for theirs.
//!
//! A process has one memory, so that there is one account of it. Who keeps something large has a [`Held`], which is two atomic
//! additions when it begins, ends or changes; what is smaller than [`STEP`] is not counted. Beyond the limit nobody waits: what
//! sessions keep for clients that may come back goes first ([`pressed`]), and who posts a large message meanwhile is told to come
//! back ([`is_full`]); who posts a small one, where it is a quarter more.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use super::status::MemoryStatus;
use crate::config::Server;
use crate::sys::capacity;

/// A change that is not worth an addition, in bytes.
const STEP: usize = 1 << 10;
/// From so many bytes on, data on its way to a client is counted; most is smaller.
const LARGE: usize = 64 << 10;
/// The limit is one part of so many of what the process may have, and so many of the largest messages at least.
const SHARE: usize = 4;
/// What it may have where that is not told, in bytes.
const UNKNOWN: usize = 1 << 30;
/// What is held in all.
static TOTAL: AtomicUsize = AtomicUsize::new(0);
/// What is held of each kind.
static EACH: [AtomicUsize; Of::ALL.len()] = [const { AtomicUsize::new(0) }; Of::ALL.len()];
/// What may be held.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Messages that were refused for want of room.
static SHED: AtomicU64 = AtomicU64::new(0);
/// Tells that there is too much.
static PRESSED: Notify = Notify::const_new();

/// What is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Of {
    /// Messages of clients that are not complete.
    Bodies,
    /// Messages of clients that are not answered.
    Requests,
    /// Answers that are not sent.
    Answers,
    /// What sessions keep for their clients.
    #[default]
    Sessions,
}

/// So much is held, until dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// What for.
    of: Of,
    /// How much.
    bytes: usize,
}

/// Bytes with what is held of them.
struct Sent {
    /// The bytes.
    data: Bytes,
    /// What is held of them.
    _held: Held,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Of {
    /// All of them.
    const ALL: [Self; 4] = [Self::Bodies, Self::Requests, Self::Answers, Self::Sessions];

    /// How much is held of it.
    fn bytes(self) -> usize {
        EACH[self as usize].load(Ordering::Relaxed)
    }
}

impl Held {
    /// So much of this.
    pub(crate) fn new(of: Of, bytes: usize) -> Self {
        let mut held = Self { of, bytes: 0 };
        held.set(bytes);
        held
    }

    /// Notes that it is so much now.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes.abs_diff(self.bytes) < STEP && bytes != 0 || bytes == self.bytes {
            return;
        }
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before {
            EACH[self.of as usize].fetch_add(bytes - before, Ordering::Relaxed);
            let total = TOTAL.fetch_add(bytes - before, Ordering::Relaxed) + (bytes - before);
            if total > LIMIT.load(Ordering::Relaxed) {
                PRESSED.notify_one();
            }
        } else {
            EACH[self.of as usize].fetch_sub(before - bytes, Ordering::Relaxed);
            TOTAL.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Bytes that are on their way to a client, held until they are sent.
pub(crate) fn until_sent(data: Bytes) -> Bytes {
    if data.len() < LARGE {
        return data;
    }
    let held = Held::new(Of::Answers, data.len());
    Bytes::from_owner(Sent { data, _held: held })
}

/// Puts the limit of a configuration in force.
pub(crate) fn configure(server: &Server) {
    let share = || {
        let memory = capacity::memory().map_or(UNKNOWN, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        (memory / SHARE).max(server.max_message_size.saturating_mul(SHARE))
    };
    LIMIT.store(server.memory.unwrap_or_else(share), Ordering::Relaxed);
}

/// What may be held.
pub(crate) fn limit() -> usize {
    LIMIT.load(Ordering::Relaxed)
}

/// What is held.
pub(crate) fn held() -> usize {
    TOTAL.load(Ordering::Relaxed)
}

/// Whether there is no room for a message of which so much has come. Small ones add little, and most clients have no others: they
/// are let in for longer, so that a few large ones do not shut everybody out.
pub(crate) fn is_full(bytes: usize) -> bool {
    let limit = limit();
    held() >= if bytes < LARGE { limit.saturating_add(limit / SHARE) } else { limit }
}

/// Whether as much is free again as is worth it to stop making room.
pub(crate) fn is_eased() -> bool {
    held() < limit() / 4 * 3
}

/// Counts a message that is refused for want of room.
pub(crate) fn shed() {
    SHED.fetch_add(1, Ordering::Relaxed);
}

/// What the status says of it.
pub(crate) fn status() -> MemoryStatus {
    let each = Of::ALL.map(Of::bytes);
    let [bodies, requests, answers, sessions] = each;
    let (limit, refused) = (limit(), SHED.load(Ordering::Relaxed));
    MemoryStatus { limit, held: held(), bodies, requests, answers, sessions, refused }
}

/// Waits until there is too much.
pub(crate) async fn pressed() {
    PRESSED.notified().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_once_and_released_in_any_order() {
        configure(&Server { memory: Some(10_000), ..Server::default() });
        let (first, mut second) = (Held::new(Of::Bodies, 4000), Held::new(Of::Sessions, 100));
        assert_eq!(
            (held(), Of::Bodies.bytes(), Of::Sessions.bytes()),
            (4000, 4000, 0),
            "little does not count"
        );
        second.set(7000);
        assert!(is_full(LARGE) && !is_full(100) && !is_eased());
        let third = Held::new(Of::Answers, 2000);
        assert!(is_full(100));
        drop(third);
        second.set(6500);
        assert_eq!(held(), 11_000, "a small change is none");
        second.set(3000);
        assert!(!is_full(LARGE) && is_eased());
        second.set(0);
        drop(first);
        drop(second);
        assert_eq!((held(), Of::ALL.map(Of::bytes)), (0, [0; 4]));
    }
}
