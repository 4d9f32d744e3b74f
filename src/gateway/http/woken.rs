//! Work that wakes itself while it runs is run again at once.
//!
//! The parts of a connection are futures of one task: its reader, its writer, the handler, and the upstream's connection that the
//! handler drives. Where one tells another something (a body is wanted, a request is there to be sent), it wakes the task, which
//! runs already. The runtime takes that for news from elsewhere: it puts the task into the queue and wakes another thread for it,
//! once or twice for each call.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Nobody runs it.
const IDLE: u8 = 0;
/// It runs.
const RUNNING: u8 = 1;
/// It runs, and was woken meanwhile.
const WOKEN: u8 = 2;
/// How often it is run before others have their turn.
const ROUNDS: usize = 8;

/// Whom to wake.
#[derive(Debug, Default)]
struct Wakes {
    /// The task.
    task: AtomicWaker,
    /// Whether it runs.
    phase: AtomicU8,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let seen = self.phase.compare_exchange(RUNNING, WOKEN, Ordering::AcqRel, Ordering::Acquire);
        if seen == Err(IDLE) {
            self.task.wake();
        }
    }
}

impl Wakes {
    /// Runs the work until it waits for somebody else.
    fn run<F: Future>(&self, mut work: Pin<&mut F>, own: &Waker, context: &Context<'_>) -> Poll<F::Output> {
        self.task.register(context.waker());
        for _ in 0..ROUNDS {
            self.phase.store(RUNNING, Ordering::Release);
            if let Poll::Ready(output) = work.as_mut().poll(&mut Context::from_waker(own)) {
                return Poll::Ready(output);
            }
            let seen = self.phase.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if seen.is_ok() {
                return Poll::Pending;
            }
        }
        self.phase.store(IDLE, Ordering::Release);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Runs work that wakes itself.
pub(super) async fn at_once<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    let wakes = Arc::<Wakes>::default();
    let own = Waker::from(Arc::clone(&wakes));
    poll_fn(move |context| wakes.run(work.as_mut(), &own, context)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicU8);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Runs `at_once` on work that wakes itself so often in each run and then waits; how often the task was woken, and how
    /// often the work has run.
    fn run(times: usize) -> (u8, usize) {
        let task = Arc::<Count>::default();
        let (mut runs, waker) = (0, Waker::from(Arc::clone(&task)));
        let work = poll_fn(|context| {
            runs += 1;
            if runs <= times {
                context.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(pin!(at_once(work)).poll(&mut Context::from_waker(&waker)).is_pending());
        (task.0.load(Ordering::Relaxed), runs)
    }

    #[test]
    fn work_that_wakes_itself_runs_again_without_its_task() {
        assert_eq!(run(0), (0, 1));
        assert_eq!(run(3), (0, 4));
    }

    #[test]
    fn others_have_their_turn_after_some_rounds() {
        assert_eq!(run(usize::MAX), (1, ROUNDS));
    }

    #[test]
    fn whoever_wakes_it_later_wakes_the_task() {
        let task = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&task));
        let kept = parking_lot::Mutex::new(None);
        let work = poll_fn(|context| {
            *kept.lock() = Some(context.waker().clone());
            Poll::<()>::Pending
        });
        let mut work = pin!(at_once(work));
        assert!(work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(task.0.load(Ordering::Relaxed), 0);
        kept.lock().take().unwrap().wake();
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
    }
}
