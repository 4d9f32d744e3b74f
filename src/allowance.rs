//! How many records of one kind may be logged in a while: records without end must not fill the disk.

use std::time::Duration;

use tokio::time::Instant;

/// How many records may still be logged; the rest is counted.
#[derive(Debug)]
pub struct Allowance {
    /// Records in one window.
    most: u32,
    /// The time that they are for.
    window: Duration,
    /// When the window began.
    began: Instant,
    /// Records logged in it.
    logged: u32,
    /// Records left out in it.
    left_out: u64,
}

impl Allowance {
    /// A full one.
    #[must_use]
    pub fn new(most: u32, window: Duration) -> Self {
        Self { most, window, began: Instant::now(), logged: 0, left_out: 0 }
    }

    /// Whether one more may be logged; otherwise it is counted. Where a window is over, `tell` is first told how many
    /// were left out in it, if any were.
    pub fn admits(&mut self, tell: impl FnOnce(u64)) -> bool {
        if self.began.elapsed() >= self.window {
            self.report(tell);
        }
        let admitted = self.logged < self.most;
        if admitted {
            self.logged += 1;
        } else {
            self.left_out += 1;
        }
        admitted
    }

    /// When it is to be told how many were left out, if any were.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        (self.left_out > 0).then(|| self.began + self.window)
    }

    /// Tells how many were left out, if any were, and begins anew.
    pub fn report(&mut self, tell: impl FnOnce(u64)) {
        let left_out = self.left_out;
        *self = Self::new(self.most, self.window);
        if left_out > 0 {
            tell(left_out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_window_has_so_many_records_and_the_rest_is_counted_once() {
        let mut allowance = Allowance::new(3, Duration::from_secs(3));
        let admitted = (0..10).filter(|_| allowance.admits(|_| panic!("the window is not over"))).count();
        assert_eq!(admitted, 3);
        tokio::time::sleep_until(allowance.due().unwrap()).await;
        let mut told = 0;
        assert!(allowance.admits(|count| told += count));
        assert_eq!((told, allowance.due()), (7, None));
        allowance.report(|_| panic!("it was told"));
    }
}
