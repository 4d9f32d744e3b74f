//! What one connection tells of its use and of its health.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// As many requests in a row without an answer make a connection suspect even while it is busy.
const SILENCE: u32 = 3;

/// The shortest and the longest time between two occasions on which errors make a connection doubtful.
const DOUBTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Use and health of one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    /// When a request last began or ended.
    used: Mutex<Instant>,
    /// Requests in a row that were lost.
    lost: AtomicU32,
    /// Tells the health check of a lost request.
    suspected: Notify,
    /// Whether the last answer was an error.
    refused: AtomicBool,
    /// When errors are told of next, and how long it takes from then to the time after, if nothing else is answered.
    doubts: Mutex<(Option<Instant>, Duration)>,
    /// Tells whoever watches that it answers errors.
    doubted: Notify,
    /// Set when nothing is sent over it any more because nobody needs it.
    retired: AtomicBool,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            used: Mutex::new(Instant::now()),
            lost: AtomicU32::new(0),
            suspected: Notify::new(),
            refused: AtomicBool::new(false),
            doubts: Mutex::new((None, DOUBTS.0)),
            doubted: Notify::new(),
            retired: AtomicBool::new(false),
        }
    }
}

impl Activity {
    /// Notes that it is used.
    pub(crate) fn touch(&self) {
        *self.used.lock() = Instant::now();
    }

    /// For how long it was not used.
    pub(crate) fn unused(&self) -> Duration {
        self.used.lock().elapsed()
    }

    /// Notes that a request was answered.
    pub(crate) fn answered(&self) {
        if self.lost.load(Ordering::Relaxed) != 0 {
            self.lost.store(0, Ordering::Relaxed);
        }
        if self.refused.load(Ordering::Relaxed) {
            self.refused.store(false, Ordering::Relaxed);
            self.doubts.lock().1 = DOUBTS.0;
        }
    }

    /// Notes that a request was answered by an error, as all may be. Most errors mean nothing: the more of them come in a row,
    /// the less often they are told of.
    pub(crate) fn refused(&self) {
        self.lost.store(0, Ordering::Relaxed);
        self.refused.store(true, Ordering::Relaxed);
        let now = Instant::now();
        let mut doubts = self.doubts.lock();
        let (next, wait) = *doubts;
        if next.is_none_or(|next| now >= next) {
            *doubts = (Some(now + wait), (wait * 2).min(DOUBTS.1));
            self.doubted.notify_one();
        }
    }

    /// Waits until errors make it doubtful.
    pub(crate) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Notes that a request was not.
    pub(crate) fn unanswered(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.suspected.notify_one();
    }

    /// Notes that it is to be asked at once, however busy it is.
    pub(crate) fn suspect(&self) {
        self.lost.store(SILENCE, Ordering::Relaxed);
        self.suspected.notify_one();
    }

    /// Waits until a request was lost.
    pub(crate) async fn suspected(&self) {
        self.suspected.notified().await;
    }

    /// Whether so many requests in a row were lost that it need not be spared a question for being busy.
    pub(crate) fn is_silent(&self) -> bool {
        self.lost.load(Ordering::Relaxed) >= SILENCE
    }

    /// Lets nothing be sent any more.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Takes that back.
    pub(crate) fn unretire(&self) {
        self.retired.store(false, Ordering::SeqCst);
    }

    /// Whether nothing is to be sent any more.
    pub(crate) fn is_retired(&self) -> bool {
        std::sync::atomic::fence(Ordering::SeqCst);
        self.retired.load(Ordering::SeqCst)
    }
}
