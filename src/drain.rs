//! Telling every part of the process to stop, once, with a deadline.
//!
//! A [`Trigger`] belongs to the signal loop, which decides to stop; any number of [`Watch`] handles wait for
//! it. Draining never goes back: a second call of [`Trigger::start`] changes nothing, so the first deadline holds.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The side that starts the drain.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Option<Instant>>);

/// The side that waits for the drain to start.
#[derive(Clone, Debug)]
pub struct Watch {
    /// This watch's own trigger.
    own: watch::Receiver<Option<Instant>>,
    /// The whole process's, where the own one is that of a part only.
    whole: Option<watch::Receiver<Option<Instant>>>,
}

/// A connected pair.
#[must_use]
pub fn channel() -> (Trigger, Watch) {
    let (sender, receiver) = watch::channel(None);
    (Trigger(sender), Watch { own: receiver, whole: None })
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
        let Some(whole) = &mut self.whole else { return set(&mut self.own).await };
        tokio::select! {
            deadline = set(&mut self.own) => deadline,
            deadline = set(whole) => deadline,
        }
    }

    /// A trigger for a part of what this watch is for, and its watch, which the whole's drain starts too.
    #[must_use]
    pub fn part(&self) -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(None);
        let whole = self.whole.clone().unwrap_or_else(|| self.own.clone());
        (Trigger(sender), Self { own: receiver, whole: Some(whole) })
    }

    /// Whether the drain has started.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.own.borrow().is_some() || self.whole.as_ref().is_some_and(|whole| whole.borrow().is_some())
    }
}

/// Waits for a deadline. Pending for ever if the trigger is dropped first.
async fn set(deadline: &mut watch::Receiver<Option<Instant>>) -> Instant {
    if let Ok(deadline) = deadline.wait_for(Option::is_some).await
        && let Some(deadline) = *deadline
    {
        return deadline;
    }
    std::future::pending().await
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

    #[tokio::test]
    async fn a_part_drains_alone_and_with_the_whole() {
        let (whole_trigger, whole) = channel();
        let (first_trigger, mut first) = whole.part();
        let (_second_trigger, mut second) = whole.part();
        first_trigger.start(Duration::from_secs(1));
        first.started().await;
        assert!(first.is_draining() && !second.is_draining() && !whole.is_draining());
        whole_trigger.start(Duration::from_secs(1));
        second.started().await;
        assert!(second.is_draining());
    }
}
