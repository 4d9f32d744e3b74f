//! Looks at something again and again, such as a file.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

/// Does this now and then every so often, until nobody else keeps what it is done to.
pub(crate) fn repeat<T: Send + Sync + 'static>(
    of: &Arc<T>,
    every: Duration,
    act: impl Fn(&Arc<T>) + Send + 'static,
) {
    let of = Arc::downgrade(of);
    tokio::spawn(async move {
        let mut due = interval(every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let Some(of) = of.upgrade() else { return };
            act(&of);
        }
    });
}
