//! Something that happens once, for which many tasks wait that are woken by other things all the time.
//!
//! `CancellationToken` and `Notify` take a lock, which all that wait share, each time that such a task is polled: a tenth of
//! the instructions of a relayed call, and a queue of threads. Here the lock is taken when a wait begins and ends; in between
//! it costs the comparison of two wakers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use slab::Slab;

/// A moment that comes once; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment(Arc<State>);

/// What clones share.
#[derive(Debug, Default)]
struct State {
    /// Whether it has come. Written under the lock of `waiting`.
    come: AtomicBool,
    /// Who is woken when it comes.
    waiting: Mutex<Slab<Waker>>,
}

impl Moment {
    /// Says that it has come.
    pub(super) fn come(&self) {
        let waiting = {
            let mut waiting = self.0.waiting.lock();
            self.0.come.store(true, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Whether it has come.
    pub(super) fn has_come(&self) -> bool {
        self.0.come.load(Ordering::Acquire)
    }

    /// Waits until it has come.
    pub(super) const fn wait(&self) -> Wait<'_> {
        Wait { moment: self, place: None }
    }

    /// Works until it has come; `None` if the work has not ended before. The work is large as a rule, and is pinned where it
    /// is made, so that it is not copied.
    pub(super) const fn cuts<F>(&self, work: F) -> Cut<'_, F> {
        Cut { work, wait: self.wait() }
    }
}

/// Waiting for a moment.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    /// The moment.
    moment: &'a Moment,
    /// Who is woken, and its place among those that wait.
    place: Option<(usize, Waker)>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.moment.has_come() {
            return Poll::Ready(());
        }
        if self.place.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let mut waiting = self.moment.0.waiting.lock();
        if self.moment.has_come() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let at = match &self.place {
            Some((at, _)) => {
                waiting[*at].clone_from(&waker);
                *at
            }
            None => waiting.insert(waker.clone()),
        };
        drop(waiting);
        self.place = Some((at, waker));
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let Some((at, _)) = self.place else { return };
        let mut waiting = self.moment.0.waiting.lock();
        // Those that waited were taken when it came.
        if !self.moment.has_come() {
            waiting.remove(at);
        }
    }
}

/// Work that a moment cuts.
#[derive(Debug)]
pub(super) struct Cut<'a, F> {
    /// The work.
    work: F,
    /// The moment.
    wait: Wait<'a>,
}

impl<F: Future + Unpin> Future for Cut<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // In this order: what is done is done.
        match Pin::new(&mut self.work).poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Pin::new(&mut self.wait).poll(cx).map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use futures_util::future::pending;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn each_that_waits_is_woken_once_by_its_last_waker_and_leaves_nothing_behind() {
        let moment = Moment::default();
        let counts: Vec<Arc<Count>> = (0..4).map(|_| Arc::default()).collect();
        let wakers: Vec<Waker> = counts.iter().map(|count| Waker::from(Arc::clone(count))).collect();
        let poll = |wait: Pin<&mut Wait<'_>>, of: usize| wait.poll(&mut Context::from_waker(&wakers[of]));
        let (mut first, mut second, mut moved) =
            (pin!(moment.wait()), pin!(moment.wait()), pin!(moment.wait()));
        {
            let mut dropped = pin!(moment.wait());
            assert!(poll(dropped.as_mut(), 0).is_pending());
            assert_eq!(moment.0.waiting.lock().len(), 1);
        }
        assert!(moment.0.waiting.lock().is_empty(), "who waits no longer is forgotten");
        for _ in 0..3 {
            assert!(poll(first.as_mut(), 0).is_pending());
            assert!(poll(second.as_mut(), 1).is_pending());
        }
        assert!(poll(moved.as_mut(), 2).is_pending());
        assert!(poll(moved.as_mut(), 3).is_pending(), "in another task now");
        assert_eq!(moment.0.waiting.lock().len(), 3, "one place each");
        assert!(!moment.has_come());
        moment.come();
        moment.come();
        assert_eq!(
            counts.iter().map(|count| count.0.load(Ordering::SeqCst)).collect::<Vec<_>>(),
            [1, 1, 0, 1]
        );
        for wait in [first, second, moved] {
            assert!(poll(wait, 0).is_ready());
        }
        assert!(poll(pin!(moment.wait()), 0).is_ready(), "it has come for those who ask later, too");
    }

    #[tokio::test]
    async fn work_that_is_done_counts_and_the_rest_is_cut() {
        let moment = Moment::default();
        let cut = moment.cuts(pending::<()>());
        let (done, came) = tokio::join!(cut, async { moment.come() });
        assert_eq!((done, came), (None, ()));
        assert_eq!(moment.cuts(pin!(async { 1 })).await, Some(1));
    }
}
