//! Telling every part of the process to stop, once, with a deadline.
//!
//! A [`Trigger`] belongs to whoever decides to stop (the signal loop); any number of [`Watch`] handles wait for
//! it. Draining never goes back: a second call of [`Trigger::start`] changes nothing, so the first deadline holds.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The side that starts the drain.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Option<Instant>>);

/// The side that waits for the drain to start.
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<Option<Instant>>);

/// A connected pair.
#[must_use]
pub fn channel() -> (Trigger, Watch) {
    let (sender, receiver) = watch::channel(None);
    (Trigger(sender), Watch(receiver))
}

impl Trigger {
    /// Starts the drain; work in flight has `timeout` to finish. Later calls have no effect.
    pub fn start(&self, timeout: Duration) {
        self.0.send_if_modified(|deadline| {
            let first = deadline.is_none();
            if first {
                *deadline = Some(Instant::now() + timeout);
            }
            first
        });
    }
}

impl Watch {
    /// Waits until the drain starts and returns its deadline. Pending for ever if the trigger is dropped first.
    pub async fn started(&mut self) -> Instant {
        loop {
            if let Some(deadline) = *self.0.borrow_and_update() {
                return deadline;
            }
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether the drain has started.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.borrow().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn first_deadline_holds() {
        let (trigger, mut watch) = channel();
        assert!(!watch.is_draining());
        trigger.start(Duration::from_secs(1));
        let first = watch.started().await;
        trigger.start(Duration::from_secs(100));
        assert_eq!(first, watch.started().await);
        assert!(watch.is_draining());
    }
}
