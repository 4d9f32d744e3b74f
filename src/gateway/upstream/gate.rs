//! How many requests an upstream is given at once, and how many more may wait for their turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::super::error::Fault;
use crate::config::UpstreamName;

/// A request's turn: the next one has it when this is dropped.
pub(crate) type Turn = OwnedSemaphorePermit;

/// The gate before one upstream, whatever the connection.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Turns that are free, given in the order in which they were asked for.
    turns: Arc<Semaphore>,
    /// As many have a turn at once.
    width: usize,
    /// Requests that wait.
    waiting: AtomicUsize,
    /// As many may wait.
    queue: usize,
}

/// Counts one that waits until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// A gate that lets `width` requests through at once and `queue` more wait.
    pub(crate) fn new(width: usize, queue: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(width)), width, waiting: AtomicUsize::new(0), queue }
    }

    /// Waits for a turn, at most for `patience`.
    pub(crate) async fn turn(&self, name: &UpstreamName, patience: Duration) -> Result<Turn, Fault> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(turn);
        }
        let (width, before) = (self.width, self.waiting.fetch_add(1, Ordering::Relaxed));
        let _waiting = Waiting(&self.waiting);
        if before >= self.queue {
            let reason = format!("is busy: {width} requests are under way and {before} wait; try again soon");
            return Err(Fault::upstream(name, reason).unprocessed());
        }
        if let Ok(Ok(turn)) = timeout(patience, Arc::clone(&self.turns).acquire_owned()).await {
            return Ok(turn);
        }
        let reason = format!("was busy with {width} other requests for {} s", patience.as_secs());
        Err(Fault::upstream(name, reason).unprocessed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_more_than_may_wait_is_refused_and_the_first_to_wait_is_the_next() {
        let (gate, name) = (Gate::new(1, 1), UpstreamName::new("time").unwrap());
        let patience = Duration::from_secs(60);
        let turn = gate.turn(&name, patience).await.unwrap();
        let next = gate.turn(&name, patience);
        tokio::pin!(next);
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        let refused = gate.turn(&name, patience).await.unwrap_err();
        assert!(refused.message.contains("`time` is busy: 1 requests are under way and 1 wait"), "{refused}");
        drop(turn);
        drop(next.await.unwrap());
    }

    #[tokio::test]
    async fn whoever_waits_too_long_is_told_so_and_waits_no_more() {
        let (gate, name) = (Gate::new(1, 1), UpstreamName::new("time").unwrap());
        let _turn = gate.turn(&name, Duration::ZERO).await.unwrap();
        for _ in 0..2 {
            let late = gate.turn(&name, Duration::from_millis(5)).await.unwrap_err();
            assert!(late.message.contains("was busy with 1 other requests for 0 s"), "{late}");
        }
    }
}
