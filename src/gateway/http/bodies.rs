//! Bodies of requests that are not complete: what they take together, and how fast each must come.
//!
//! A body is at most `max_message_size` long, but there may be as many as there are connections. Together they have a
//! budget; where it is exceeded, the one that began first is given up: bodies that come at the usual pace are complete
//! long before it is their turn. Beside it they are part of what the process holds ([`crate::gateway::memory`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gateway::memory::{Held, Of};

/// Bytes of a body that do not count; most bodies are smaller.
const SMALL: usize = 64 << 10;
/// Bytes that all others may have together, however small the largest message.
const LEAST: usize = 64 << 20;
/// How many of the largest messages they may be.
const LARGEST: usize = 8;

/// Bytes of a body that a client must send each second on average over a window.
const SLOWEST: usize = 1024;

/// All bodies that are not complete and larger than [`SMALL`].
#[derive(Debug, Default)]
pub(crate) struct Bodies(Mutex<State>);

/// What there is of them.
#[derive(Debug, Default)]
struct State {
    /// Their bytes together.
    bytes: usize,
    /// Each of them, by a number that tells their order.
    each: BTreeMap<u64, (usize, CancellationToken)>,
    /// The last number.
    last: u64,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(super) struct Growing {
    /// All of them.
    bodies: Arc<Bodies>,
    /// The largest message that is accepted.
    limit: usize,
    /// Its number and how it is told to end, once it counts.
    counted: Option<(u64, CancellationToken)>,
    /// The same in the account of the process.
    held: Held,
}

/// How fast one body comes: in each window that begins when the former is over, it must bring so much.
#[derive(Debug)]
pub(super) struct Pace {
    /// How long a window is.
    window: Duration,
    /// When it ends.
    end: Instant,
    /// What the body must have at its end.
    due: usize,
}

impl Bodies {
    /// A body that begins.
    pub(super) fn begin(self: &Arc<Self>, limit: usize) -> Growing {
        Growing { bodies: Arc::clone(self), limit, counted: None, held: Held::new(Of::Bodies, 0) }
    }
}

impl Growing {
    /// Notes how large the body is now. Where all are too large together, the one that began first is told to end.
    pub(super) fn has(&mut self, bytes: usize) {
        if bytes <= SMALL {
            return;
        }
        self.held.set(bytes);
        let mut state = self.bodies.0.lock();
        let (number, _) = self.counted.get_or_insert_with(|| {
            state.last += 1;
            let (number, end) = (state.last, CancellationToken::new());
            state.each.insert(number, (0, end.clone()));
            (number, end)
        });
        let Some((before, _)) = state.each.get_mut(number) else { return };
        let more = bytes - std::mem::replace(before, bytes);
        state.bytes += more;
        let most = self.limit.saturating_mul(LARGEST).max(LEAST);
        while state.bytes > most
            && let Some((_, (bytes, end))) = state.each.pop_first()
        {
            state.bytes -= bytes;
            end.cancel();
        }
    }

    /// What is held of it now that it is complete, until the request is answered: the message, and the line that its server
    /// gets.
    pub(super) fn complete(mut self, bytes: usize) -> Option<Held> {
        let held = std::mem::take(&mut self.held);
        drop(self);
        drop(held);
        (bytes > SMALL).then(|| Held::new(Of::Requests, bytes.saturating_mul(2)))
    }

    /// Waits until it is told to end.
    pub(super) async fn given_up(&self) {
        match &self.counted {
            Some((_, end)) => end.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        if let Some((number, _)) = &self.counted {
            let mut state = self.bodies.0.lock();
            if let Some((bytes, _)) = state.each.remove(number) {
                state.bytes -= bytes;
            }
        }
    }
}

impl Pace {
    /// A body of which nothing has come yet.
    pub(super) fn begin(window: Duration) -> Self {
        Self { window, end: Instant::now() + window, due: Self::share(window) }
    }

    /// What a window must bring.
    fn share(window: Duration) -> usize {
        let bytes = window.as_millis().saturating_mul(SLOWEST as u128) / 1000;
        usize::try_from(bytes).unwrap_or(usize::MAX).max(1)
    }

    /// When the window ends.
    pub(super) const fn end(&self) -> Instant {
        self.end
    }

    /// Begins the next window of a body that has so many bytes; whether it has brought enough in the one that is over.
    pub(super) fn next(&mut self, bytes: usize) -> bool {
        let enough = bytes >= self.due;
        // What came before is no credit: a body that came fast must go on.
        self.due = bytes.saturating_add(Self::share(self.window));
        self.end += self.window;
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_early_is_no_credit_for_later() {
        let window = Duration::from_secs(30);
        for first in [30 << 10, 1 << 20, 15 << 20] {
            let mut pace = Pace::begin(window);
            assert!(pace.next(first));
            assert!(!pace.next(first + (30 << 10) - 1), "{first}");
        }
        let mut pace = Pace::begin(window);
        assert!((1..1000).all(|count| pace.next(count * (30 << 10))), "a slow line is served");
        assert!(!Pace::begin(window).next(0));
    }

    #[tokio::test]
    async fn bodies_have_a_budget_and_the_first_of_them_goes() {
        use futures_util::FutureExt as _;
        let bodies = Arc::new(Bodies::default());
        let limit = 16 << 20;
        let mut slow: Vec<_> = (0..LARGEST).map(|_| bodies.begin(limit)).collect();
        for body in &mut slow {
            body.has(limit);
        }
        let mut small = bodies.begin(limit);
        small.has(SMALL);
        assert!(slow.iter().all(|body| body.given_up().now_or_never().is_none()));
        let mut more = bodies.begin(limit);
        more.has(SMALL + 1);
        assert!(slow[0].given_up().now_or_never().is_some());
        assert!(slow[1..].iter().chain([&small, &more]).all(|body| body.given_up().now_or_never().is_none()));
        drop((slow, more));
        let state = bodies.0.lock();
        assert_eq!((state.bytes, state.each.len()), (0, 0));
    }
}
