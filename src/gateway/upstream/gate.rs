//! How many requests an upstream is given at once, and how many more may wait for their turn.
//!
//! A request whose server waits for its client gives its turn back: a person may take long, and others must not wait for
//! that. It has its next turn before those who have not had one, since its server has begun with it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::error::Fault;
use crate::config::UpstreamName;

/// A request's turn: the next one has it when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Option<Arc<Gate>>);

/// The gate before one upstream, whatever the connection.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Who has and who waits for a turn.
    lines: Mutex<Lines>,
    /// As many have a turn at once.
    width: usize,
    /// As many may wait that have not had a turn.
    queue: usize,
}

/// Who waits at a gate. Whoever gives up is passed over.
#[derive(Debug)]
struct Lines {
    /// Turns that nobody has; where there is one, nobody waits.
    free: usize,
    /// Requests that have had a turn, in the order in which they came back.
    again: VecDeque<oneshot::Sender<Turn>>,
    /// All others, in the order in which they came.
    new: VecDeque<oneshot::Sender<Turn>>,
}

impl Gate {
    /// A gate that lets `width` requests through at once and `queue` more wait.
    pub(crate) fn new(width: usize, queue: usize) -> Arc<Self> {
        let lines = Lines { free: width, again: VecDeque::new(), new: VecDeque::new() };
        Arc::new(Self { lines: Mutex::new(lines), width, queue })
    }

    /// Waits for a request's first turn, at most for `patience`.
    pub(crate) async fn turn(
        self: &Arc<Self>,
        name: &UpstreamName,
        patience: Duration,
    ) -> Result<Turn, Fault> {
        let next = {
            let mut lines = self.lines();
            if lines.free > 0 {
                lines.free -= 1;
                return Ok(Turn(Some(Arc::clone(self))));
            }
            if lines.new.len() >= self.queue {
                lines.new.retain(|waiting| !waiting.is_closed());
            }
            let (width, before) = (self.width, lines.new.len());
            if before >= self.queue {
                let reason =
                    format!("is busy: {width} requests are under way and {before} wait; try again soon");
                return Err(Fault::upstream(name, reason).unprocessed());
            }
            let (sender, next) = oneshot::channel();
            lines.new.push_back(sender);
            next
        };
        self.wait(next, name, patience).await
    }

    /// Waits for the next turn of a request that has had one, at most for `patience`.
    pub(crate) async fn turn_again(
        self: &Arc<Self>,
        name: &UpstreamName,
        patience: Duration,
    ) -> Result<Turn, Fault> {
        let next = {
            let mut lines = self.lines();
            if lines.free > 0 {
                lines.free -= 1;
                return Ok(Turn(Some(Arc::clone(self))));
            }
            let (sender, next) = oneshot::channel();
            lines.again.push_back(sender);
            next
        };
        self.wait(next, name, patience).await
    }

    /// Waits in a line.
    async fn wait(
        &self,
        next: oneshot::Receiver<Turn>,
        name: &UpstreamName,
        patience: Duration,
    ) -> Result<Turn, Fault> {
        // The gate outlives whoever waits, and it forgets nobody.
        if let Ok(Ok(turn)) = timeout(patience, next).await {
            return Ok(turn);
        }
        let reason = format!("was busy with {} other requests for {} s", self.width, patience.as_secs());
        Err(Fault::upstream(name, reason).unprocessed())
    }

    /// Gives a turn to whoever is next.
    fn pass_on(self: &Arc<Self>) {
        let mut lines = self.lines();
        loop {
            let Some(next) = lines.again.pop_front().or_else(|| lines.new.pop_front()) else { break };
            match next.send(Turn(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // It goes to the next one here, not by being dropped.
                Err(mut unwanted) => drop(unwanted.0.take()),
            }
        }
        lines.free += 1;
    }

    /// Who waits.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.pass_on();
        }
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

    #[tokio::test]
    async fn whoever_has_had_a_turn_is_before_all_others_and_whoever_gives_up_is_passed_over() {
        let (gate, name) = (Gate::new(1, 2), UpstreamName::new("time").unwrap());
        let patience = Duration::from_secs(60);
        let turn = gate.turn(&name, patience).await.unwrap();
        let mut gives_up = Box::pin(gate.turn(&name, patience));
        let mut new = Box::pin(gate.turn(&name, patience));
        let mut again = Box::pin(gate.turn_again(&name, patience));
        assert!(futures_util::poll!(gives_up.as_mut()).is_pending());
        assert!(futures_util::poll!(new.as_mut()).is_pending());
        // It was admitted before: a full queue is nothing to it.
        assert!(futures_util::poll!(again.as_mut()).is_pending());
        drop(gives_up);
        drop(turn);
        assert!(futures_util::poll!(new.as_mut()).is_pending());
        drop(again.await.unwrap());
        let turn = new.await.unwrap();
        // One that has its turn and does not take it gives it to the next one, too.
        let mut unaware = Box::pin(gate.turn(&name, patience));
        let mut last = Box::pin(gate.turn(&name, patience));
        assert!(futures_util::poll!(unaware.as_mut()).is_pending());
        assert!(futures_util::poll!(last.as_mut()).is_pending());
        drop(turn);
        drop(unaware);
        drop(last.await.unwrap());
        assert_eq!(gate.lines().free, 1);
    }
}
