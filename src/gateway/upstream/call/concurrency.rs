//! How many requests an upstream is given at once, and how many more may wait for their permit.
//!
//! A request whose server waits for its client gives its permit back: a person may take long, and others must not wait for
//! that. It has its next permit before those who have not had one, since its server has begun with it.
//!
//! While two processes of an upgrade have requests at the same upstream, one of them gives the permits of both: from
//! [`ConcurrencyLimit::share`] on the old process asks the new one for each permit ([`LimitMessage`]) and tells it of each that ends. The new one
//! counts those that the old one has as its own. When either is gone, or the new one does not serve after all, the other
//! goes on with what it has itself ([`ConcurrencyLimit::alone`]). A reload hands the limit of an upstream on to the one that takes its
//! place.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::UpstreamName;
use crate::gateway::error::Fault;
use crate::gateway::telemetry::reason::Reason;
use crate::handover::LimitMessage;

/// A request's permit: the next one has it when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Option<Arc<ConcurrencyLimit>>);

/// The limit of one upstream, whatever the connection.
#[derive(Debug)]
pub(crate) struct ConcurrencyLimit {
    /// Who has and who waits for a permit.
    lines: Mutex<Lines>,
}

/// The way to the other process.
#[derive(Clone)]
pub(crate) struct LimitSender(Arc<dyn Fn(LimitMessage) + Send + Sync>);

impl LimitSender {
    /// One that sends by this function.
    pub(crate) fn new(send: impl Fn(LimitMessage) + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: LimitMessage) {
        (self.0)(message);
    }
}

impl fmt::Debug for LimitSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LimitSender")
    }
}

/// The calls that have a permit and those that wait for one. A call that gives up is passed over.
#[derive(Debug, Default)]
struct Lines {
    /// At most so many calls have a permit at once.
    width: usize,
    /// As many may wait that have not had a permit.
    queue: usize,
    /// Permits that requests of this process have.
    used: usize,
    /// Permits that this process has given to the other one.
    lent: usize,
    /// Permits that the other process waits for; it came before those that wait here.
    wanted: usize,
    /// The process that gives the permits; nobody where this one does.
    giver: Option<LimitSender>,
    /// The process that is given permits.
    taker: Option<LimitSender>,
    /// Requests that have had a permit, in the order in which they came back.
    again: VecDeque<oneshot::Sender<Permit>>,
    /// All others, in the order in which they came.
    new: VecDeque<oneshot::Sender<Permit>>,
}

impl Lines {
    /// Takes a permit, if there is one.
    fn take(&mut self) -> bool {
        let free = self.giver.is_none() && self.used + self.lent < self.width;
        self.used += usize::from(free);
        free
    }

    /// Refuses a request where as many wait as may.
    fn admit(&mut self, name: &UpstreamName) -> Result<(), Fault> {
        // Those that have a permit as soon as the other process has answered are none that wait.
        let most = self.queue + if self.giver.is_some() { self.width } else { 0 };
        if self.new.len() >= most {
            self.new.retain(|waiting| !waiting.is_closed());
        }
        let (width, before) = (self.width, self.new.len());
        if before >= most {
            let reason = format!("is busy: {width} requests are under way and {before} wait; try again soon");
            return Err(Fault::upstream(name, reason).unprocessed().refusal(Reason::Busy));
        }
        Ok(())
    }

    /// Waits for a permit in one of the lines.
    fn wait(&mut self, again: bool) -> oneshot::Receiver<Permit> {
        let (sender, next) = oneshot::channel();
        if again { &mut self.again } else { &mut self.new }.push_back(sender);
        if let Some(giver) = &self.giver {
            giver.send(LimitMessage::Wanted);
        }
        next
    }

    /// How many requests wait here.
    fn waiting(&self) -> usize {
        self.again.iter().chain(&self.new).filter(|waiting| !waiting.is_closed()).count()
    }

    /// Gives a permit to the next request that waits here; whether there is one.
    fn give(&mut self, limit: &Arc<ConcurrencyLimit>) -> bool {
        while let Some(next) = self.again.pop_front().or_else(|| self.new.pop_front()) {
            match next.send(Permit(Some(Arc::clone(limit)))) {
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

    /// Gives all permits that nobody has, if they are this process's to give.
    fn give_all(&mut self, limit: &Arc<ConcurrencyLimit>) {
        while self.giver.is_none() && self.used + self.lent < self.width {
            if self.wanted > 0
                && let Some(taker) = &self.taker
            {
                (self.wanted, self.lent) = (self.wanted - 1, self.lent + 1);
                taker.send(LimitMessage::Granted);
            } else if !self.give(limit) {
                return;
            }
        }
    }
}

impl ConcurrencyLimit {
    /// A limit that lets `width` requests through at once and `queue` more wait.
    pub(crate) fn new(width: usize, queue: usize) -> Arc<Self> {
        Arc::new(Self { lines: Mutex::new(Lines { width, queue, ..Lines::default() }) })
    }

    /// Lets as many through from now on.
    pub(crate) fn resize(self: &Arc<Self>, width: usize, queue: usize) {
        let mut lines = self.lines.lock();
        (lines.width, lines.queue) = (width, queue);
        lines.give_all(self);
    }

    /// Waits for a permit, at most for `patience`; `again` is a request that has had one, and is not refused.
    pub(crate) async fn permit(
        self: &Arc<Self>,
        name: &UpstreamName,
        patience: Duration,
        again: bool,
    ) -> Result<Permit, Fault> {
        let next = {
            let mut lines = self.lines.lock();
            if lines.take() {
                return Ok(Permit(Some(Arc::clone(self))));
            }
            if !again {
                lines.admit(name)?;
            }
            lines.wait(again)
        };
        // The limit outlives those who wait, and it forgets nobody.
        if let Ok(Ok(permit)) = timeout(patience, next).await {
            return Ok(permit);
        }
        let width = self.lines.lock().width;
        let reason = format!("was busy with {width} other requests for {} s", patience.as_secs());
        Err(Fault::upstream(name, reason).unprocessed().refusal(Reason::Busy))
    }

    /// How many requests wait for a permit in this process.
    pub(crate) fn waiting(&self) -> usize {
        self.lines.lock().waiting()
    }

    /// Has the process at the end of the way give the permits from now on.
    pub(crate) fn share(&self, giver: LimitSender) {
        let mut lines = self.lines.lock();
        giver.send(LimitMessage::Held { used: lines.used, wanted: lines.waiting() });
        lines.giver = Some(giver);
    }

    /// Takes a word of the other process, which `sender` reaches.
    pub(crate) fn told(self: &Arc<Self>, word: LimitMessage, sender: LimitSender) {
        let mut lines = self.lines.lock();
        match word {
            LimitMessage::Held { used, wanted } => {
                (lines.lent, lines.wanted, lines.taker) = (used, wanted, Some(sender));
            }
            LimitMessage::Wanted => lines.wanted += 1,
            LimitMessage::Released => lines.lent = lines.lent.saturating_sub(1),
            LimitMessage::Granted => {
                // One that was asked for by a request that has given up goes back.
                if lines.giver.is_some() && !lines.give(self) {
                    sender.send(LimitMessage::Released);
                }
                return;
            }
            LimitMessage::Unknown => lines.giver = None,
        }
        lines.give_all(self);
    }

    /// There is no other process any more: this one gives the permits, and that one has none.
    pub(crate) fn alone(self: &Arc<Self>) {
        let mut lines = self.lines.lock();
        (lines.giver, lines.taker, lines.lent, lines.wanted) = (None, None, 0, 0);
        lines.give_all(self);
    }

    /// Gives a permit to the next request.
    fn pass_on(self: &Arc<Self>) {
        let mut lines = self.lines.lock();
        lines.used -= 1;
        match &lines.giver {
            Some(giver) => giver.send(LimitMessage::Released),
            None => lines.give_all(self),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(limit) = self.0.take() {
            limit.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_more_than_may_wait_is_refused_and_the_first_to_wait_is_the_next() {
        let (limit, name) = (ConcurrencyLimit::new(1, 1), UpstreamName::new("time").unwrap());
        let patience = Duration::from_secs(60);
        let permit = limit.permit(&name, patience, false).await.unwrap();
        let next = limit.permit(&name, patience, false);
        tokio::pin!(next);
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        let refused = limit.permit(&name, patience, false).await.unwrap_err();
        assert!(refused.message.contains("`time` is busy: 1 requests are under way and 1 wait"), "{refused}");
        drop(permit);
        drop(next.await.unwrap());
    }

    #[tokio::test]
    async fn request_that_waits_too_long_is_told_so_and_waits_no_more() {
        let (limit, name) = (ConcurrencyLimit::new(1, 1), UpstreamName::new("time").unwrap());
        let _turn = limit.permit(&name, Duration::ZERO, false).await.unwrap();
        for _ in 0..2 {
            let late = limit.permit(&name, Duration::from_millis(5), false).await.unwrap_err();
            assert!(late.message.contains("was busy with 1 other requests for 0 s"), "{late}");
        }
    }

    #[tokio::test]
    async fn request_that_has_had_a_permit_is_before_all_others_and_one_that_gives_up_is_passed_over() {
        let (limit, name) = (ConcurrencyLimit::new(1, 2), UpstreamName::new("time").unwrap());
        let patience = Duration::from_secs(60);
        let permit = limit.permit(&name, patience, false).await.unwrap();
        let mut gives_up = Box::pin(limit.permit(&name, patience, false));
        let mut new = Box::pin(limit.permit(&name, patience, false));
        let mut again = Box::pin(limit.permit(&name, patience, true));
        assert!(futures_util::poll!(gives_up.as_mut()).is_pending());
        assert!(futures_util::poll!(new.as_mut()).is_pending());
        // It was admitted before: a full queue is nothing to it.
        assert!(futures_util::poll!(again.as_mut()).is_pending());
        assert_eq!(limit.waiting(), 3);
        drop(gives_up);
        assert_eq!(limit.waiting(), 2);
        drop(permit);
        assert!(futures_util::poll!(new.as_mut()).is_pending());
        drop(again.await.unwrap());
        let permit = new.await.unwrap();
        // One that has its permit and does not take it gives it to the next one, too.
        let mut unaware = Box::pin(limit.permit(&name, patience, false));
        let mut last = Box::pin(limit.permit(&name, patience, false));
        assert!(futures_util::poll!(unaware.as_mut()).is_pending());
        assert!(futures_util::poll!(last.as_mut()).is_pending());
        drop(permit);
        drop(unaware);
        drop(last.await.unwrap());
        assert_eq!(limit.lines.lock().used, 0);
    }

    /// The limits of two processes, and what is on its way between them.
    struct Two {
        /// Of the old and of the new process.
        limits: [Arc<ConcurrencyLimit>; 2],
        /// Words to each of them.
        words: [Arc<Mutex<VecDeque<LimitMessage>>>; 2],
    }

    impl Two {
        /// Limits of which the new one gives the permits.
        fn of(old: Arc<ConcurrencyLimit>, width: usize) -> Self {
            let two = Self { limits: [old, ConcurrencyLimit::new(width, 100)], words: Default::default() };
            two.limits[0].share(two.towards(1));
            two
        }

        /// The way to one of them.
        fn towards(&self, which: usize) -> LimitSender {
            let words = Arc::clone(&self.words[which]);
            LimitSender::new(move |word| words.lock().push_back(word))
        }

        /// Brings one word to this process; whether there was one.
        fn bring(&self, which: usize) -> bool {
            let word = self.words[which].lock().pop_front();
            word.map(|word| self.limits[which].told(word, self.towards(1 - which))).is_some()
        }
    }

    /// A request that waits for its permit.
    type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<Permit, Fault>>>>;

    /// A request at a limit, for the first time or again.
    fn request(limit: &Arc<ConcurrencyLimit>, again: bool) -> Waiting {
        let (limit, name) = (Arc::clone(limit), UpstreamName::new("time").unwrap());
        let patience = Duration::from_secs(60);
        Box::pin(async move { limit.permit(&name, patience, again).await })
    }

    /// Takes the permits that requests have been given.
    fn look(waiting: &mut Vec<Waiting>, permits: &mut Vec<Permit>) {
        waiting.retain_mut(|one| match futures_util::FutureExt::now_or_never(one.as_mut()) {
            Some(permit) => {
                permits.push(permit.unwrap());
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
            let (old, mut permits) = (ConcurrencyLimit::new(width, 100), Vec::new());
            let mut waiting: Vec<_> = (0..random.below(6)).map(|_| request(&old, false)).collect();
            look(&mut waiting, &mut permits);
            let two = Two::of(old, width);
            // Nothing is asked of the new process before it knows what the old one has.
            assert!(two.bring(1));
            for _ in 0..200 {
                match random.below(6) {
                    0 | 1 if waiting.len() < 20 => {
                        waiting.push(request(&two.limits[random.below(2)], random.below(3) == 0));
                    }
                    2 if !permits.is_empty() => drop(permits.swap_remove(random.below(permits.len()))),
                    3 if !waiting.is_empty() => drop(waiting.swap_remove(random.below(waiting.len()))),
                    which => drop(two.bring(which % 2)),
                }
                look(&mut waiting, &mut permits);
                assert!(permits.len() <= width, "seed {seed}: {} of {width}", permits.len());
            }
            // One of the two goes on alone.
            let stays = random.below(2);
            permits.clear();
            two.limits[stays].alone();
            while !waiting.is_empty() && {
                look(&mut waiting, &mut permits);
                !permits.is_empty()
            } {
                permits.clear();
            }
            drop(waiting);
            let left: Vec<_> = (0..width).map(|_| request(&two.limits[stays], false)).collect();
            let mut left = left;
            look(&mut left, &mut permits);
            assert_eq!(permits.len(), width, "seed {seed}: a permit is lost");
        }
    }
}
