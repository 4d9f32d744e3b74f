//! How many requests an upstream is given at once, and how many more may wait for their turn.
//!
//! A request whose server waits for its client gives its turn back: a person may take long, and others must not wait for
//! that. It has its next turn before those who have not had one, since its server has begun with it.
//!
//! While two processes of an upgrade have requests at the same upstream, one of them gives the turns of both: from
//! [`Gate::share`] on the old process asks the new one for each turn ([`PermitMessage`]) and tells it of each that ends. The new one
//! counts those that the old one has as its own. When either is gone, or the new one does not serve after all, the other
//! goes on with what it has itself ([`Gate::alone`]). A reload hands the gate of an upstream on to the one that takes its
//! place.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::UpstreamName;
use crate::gateway::error::Fault;
use crate::handover::PermitMessage;

/// A request's turn: the next one has it when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Option<Arc<Gate>>);

/// The gate before one upstream, whatever the connection.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Who has and who waits for a turn.
    lines: Mutex<Lines>,
}

/// The way to the other process.
#[derive(Clone)]
pub(crate) struct Teller(pub(crate) Arc<dyn Fn(PermitMessage) + Send + Sync>);

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

/// Who has and who waits for a turn. Whoever gives up is passed over.
#[derive(Debug)]
struct Lines {
    /// As many have a turn at once.
    width: usize,
    /// As many may wait that have not had a turn.
    queue: usize,
    /// Turns that requests of this process have.
    used: usize,
    /// Turns that this process has given to the other one.
    lent: usize,
    /// Turns that the other process waits for; it came before those that wait here.
    wanted: usize,
    /// The process that gives the turns; nobody where this one does.
    giver: Option<Teller>,
    /// The process that is given turns.
    taker: Option<Teller>,
    /// Requests that have had a turn, in the order in which they came back.
    again: VecDeque<oneshot::Sender<Turn>>,
    /// All others, in the order in which they came.
    new: VecDeque<oneshot::Sender<Turn>>,
}

impl Lines {
    /// Takes a turn, if there is one.
    fn take(&mut self) -> bool {
        let free = self.giver.is_none() && self.used + self.lent < self.width;
        self.used += usize::from(free);
        free
    }

    /// Waits for a turn in one of the lines.
    fn wait(&mut self, again: bool) -> oneshot::Receiver<Turn> {
        let (sender, next) = oneshot::channel();
        if again { &mut self.again } else { &mut self.new }.push_back(sender);
        if let Some(giver) = &self.giver {
            (giver.0)(PermitMessage::Wanted);
        }
        next
    }

    /// Gives a turn to whoever waits here; whether anybody does.
    fn give(&mut self, gate: &Arc<Gate>) -> bool {
        while let Some(next) = self.again.pop_front().or_else(|| self.new.pop_front()) {
            match next.send(Turn(Some(Arc::clone(gate)))) {
                Ok(()) => {
                    self.used += 1;
                    return true;
                }
                // It goes to the next one here, not by being dropped.
                Err(mut unwanted) => drop(unwanted.0.take()),
            }
        }
        false
    }

    /// Gives all turns that nobody has, if they are this process's to give.
    fn give_all(&mut self, gate: &Arc<Gate>) {
        while self.giver.is_none() && self.used + self.lent < self.width {
            if self.wanted > 0
                && let Some(taker) = &self.taker
            {
                (self.wanted, self.lent) = (self.wanted - 1, self.lent + 1);
                (taker.0)(PermitMessage::Granted);
            } else if !self.give(gate) {
                return;
            }
        }
    }
}

impl Gate {
    /// A gate that lets `width` requests through at once and `queue` more wait.
    pub(crate) fn new(width: usize, queue: usize) -> Arc<Self> {
        let lines = Lines {
            width,
            queue,
            used: 0,
            lent: 0,
            wanted: 0,
            giver: None,
            taker: None,
            again: VecDeque::new(),
            new: VecDeque::new(),
        };
        Arc::new(Self { lines: Mutex::new(lines) })
    }

    /// Lets as many through from now on.
    pub(crate) fn resize(self: &Arc<Self>, width: usize, queue: usize) {
        let mut lines = self.lines();
        (lines.width, lines.queue) = (width, queue);
        lines.give_all(self);
    }

    /// Waits for a request's first turn, at most for `patience`.
    pub(crate) async fn turn(
        self: &Arc<Self>,
        name: &UpstreamName,
        patience: Duration,
    ) -> Result<Turn, Fault> {
        let next = {
            let mut lines = self.lines();
            if lines.take() {
                return Ok(Turn(Some(Arc::clone(self))));
            }
            // Those that have a turn as soon as the other process has answered are none that wait.
            let most = lines.queue + if lines.giver.is_some() { lines.width } else { 0 };
            if lines.new.len() >= most {
                lines.new.retain(|waiting| !waiting.is_closed());
            }
            let (width, before) = (lines.width, lines.new.len());
            if before >= most {
                let reason =
                    format!("is busy: {width} requests are under way and {before} wait; try again soon");
                return Err(Fault::upstream(name, reason).unprocessed());
            }
            lines.wait(false)
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
            if lines.take() {
                return Ok(Turn(Some(Arc::clone(self))));
            }
            lines.wait(true)
        };
        self.wait(next, name, patience).await
    }

    /// Has the process at the end of the way give the turns from now on.
    pub(crate) fn share(&self, giver: Teller) {
        let mut lines = self.lines();
        let waiting = lines.again.iter().chain(&lines.new).filter(|waiting| !waiting.is_closed());
        let wanted = waiting.count();
        (giver.0)(PermitMessage::Held { used: lines.used, wanted });
        lines.giver = Some(giver);
    }

    /// Takes a word of the other process, to which `way` leads.
    pub(crate) fn told(self: &Arc<Self>, word: PermitMessage, way: Teller) {
        let mut lines = self.lines();
        match word {
            PermitMessage::Held { used, wanted } => {
                (lines.lent, lines.wanted, lines.taker) = (used, wanted, Some(way));
            }
            PermitMessage::Wanted => lines.wanted += 1,
            PermitMessage::Released => lines.lent = lines.lent.saturating_sub(1),
            PermitMessage::Granted => {
                // One that was asked for by whoever has given up since goes back.
                if lines.giver.is_some() && !lines.give(self) {
                    (way.0)(PermitMessage::Released);
                }
                return;
            }
            PermitMessage::Unknown => lines.giver = None,
        }
        lines.give_all(self);
    }

    /// There is no other process any more: this one gives the turns, and that one has none.
    pub(crate) fn alone(self: &Arc<Self>) {
        let mut lines = self.lines();
        (lines.giver, lines.taker, lines.lent, lines.wanted) = (None, None, 0, 0);
        lines.give_all(self);
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
        let width = self.lines().width;
        let reason = format!("was busy with {width} other requests for {} s", patience.as_secs());
        Err(Fault::upstream(name, reason).unprocessed())
    }

    /// Gives a turn to whoever is next.
    fn pass_on(self: &Arc<Self>) {
        let mut lines = self.lines();
        lines.used -= 1;
        match &lines.giver {
            Some(giver) => (giver.0)(PermitMessage::Released),
            None => lines.give_all(self),
        }
    }

    /// Who waits.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock()
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
        assert_eq!(gate.lines().used, 0);
    }

    /// Two gates of two processes, and what is on its way between them.
    struct Two {
        /// Of the old and of the new process.
        gates: [Arc<Gate>; 2],
        /// Words to each of them.
        words: [Arc<Mutex<VecDeque<PermitMessage>>>; 2],
    }

    impl Two {
        /// Gates of which the new one gives the turns.
        fn of(old: Arc<Gate>, width: usize) -> Self {
            let two = Self { gates: [old, Gate::new(width, 100)], words: Default::default() };
            two.gates[0].share(two.towards(1));
            two
        }

        /// The way to one of them.
        fn towards(&self, which: usize) -> Teller {
            let words = Arc::clone(&self.words[which]);
            Teller(Arc::new(move |word| words.lock().push_back(word)))
        }

        /// Brings one word to this process; whether there was one.
        fn bring(&self, which: usize) -> bool {
            let word = self.words[which].lock().pop_front();
            word.map(|word| self.gates[which].told(word, self.towards(1 - which))).is_some()
        }
    }

    /// A request that waits for its turn.
    type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<Turn, Fault>>>>;

    /// A request at a gate, for the first time or again.
    fn request(gate: &Arc<Gate>, again: bool) -> Waiting {
        let (gate, name) = (Arc::clone(gate), UpstreamName::new("time").unwrap());
        let patience = Duration::from_secs(60);
        Box::pin(async move {
            if again { gate.turn_again(&name, patience).await } else { gate.turn(&name, patience).await }
        })
    }

    /// Takes the turns that requests have been given.
    fn look(waiting: &mut Vec<Waiting>, turns: &mut Vec<Turn>) {
        waiting.retain_mut(|one| match futures_util::FutureExt::now_or_never(one.as_mut()) {
            Some(turn) => {
                turns.push(turn.unwrap());
                false
            }
            None => true,
        });
    }

    /// Numbers that look random and come again.
    struct Numbers(u64);

    impl Numbers {
        /// A number below `limit`.
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % limit
        }
    }

    #[tokio::test]
    async fn two_processes_never_have_more_turns_than_one_and_nobody_is_forgotten() {
        for seed in 0..300 {
            let mut random = Numbers(seed);
            let width = 1 + random.below(3);
            let (old, mut turns) = (Gate::new(width, 100), Vec::new());
            let mut waiting: Vec<_> = (0..random.below(6)).map(|_| request(&old, false)).collect();
            look(&mut waiting, &mut turns);
            let two = Two::of(old, width);
            // Nothing is asked of the new process before it knows what the old one has.
            assert!(two.bring(1));
            for _ in 0..200 {
                match random.below(6) {
                    0 | 1 if waiting.len() < 20 => {
                        waiting.push(request(&two.gates[random.below(2)], random.below(3) == 0));
                    }
                    2 if !turns.is_empty() => drop(turns.swap_remove(random.below(turns.len()))),
                    3 if !waiting.is_empty() => drop(waiting.swap_remove(random.below(waiting.len()))),
                    which => drop(two.bring(which % 2)),
                }
                look(&mut waiting, &mut turns);
                assert!(turns.len() <= width, "seed {seed}: {} of {width}", turns.len());
            }
            // One of the two goes on alone.
            let stays = random.below(2);
            turns.clear();
            two.gates[stays].alone();
            while !waiting.is_empty() && {
                look(&mut waiting, &mut turns);
                !turns.is_empty()
            } {
                turns.clear();
            }
            drop(waiting);
            let left: Vec<_> = (0..width).map(|_| request(&two.gates[stays], false)).collect();
            let mut left = left;
            look(&mut left, &mut turns);
            assert_eq!(turns.len(), width, "seed {seed}: a turn is lost");
        }
    }
}
