//! The thread that writes standard error, so that a terminal or pipe that nobody reads never holds the gateway up:
//! what does not fit into its queue is dropped, and told when there is room again.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::batch::Batch;
use super::format::Context;
use super::queue::Queue;
use crate::config::Overflow;

/// How many bytes wait for standard error.
const QUEUE: usize = 1 << 20;
/// How often the thread looks if nothing happens.
const LOOK: Duration = Duration::from_secs(60);

/// The queue of standard error.
pub(super) type ConsoleQueue = Queue<std::convert::Infallible>;

/// An empty one.
pub(super) fn queue() -> Arc<ConsoleQueue> {
    Arc::new(Queue::new(QUEUE, Overflow::Drop))
}

/// Writes until the queue is closed. Errors are nobody's to hear: the report would go to standard error too.
pub(super) fn run(queue: &ConsoleQueue, context: &Context, mut stderr: impl Write) {
    crate::sys::at_exit::spare_this_thread();
    loop {
        let mut batch = Batch::default();
        let (_, lost, closed) = queue.take(&mut batch, LOOK);
        drop(stderr.write_all(batch.rest()).and_then(|()| stderr.flush()));
        queue.settle(batch.fitting(u64::MAX).0 as u64, false);
        if let Some((_, lost)) = lost {
            let text = format!("dropped {} records that nobody has read", lost.total());
            drop(stderr.write_all(&context.own(Level::WARN, &text, &[])));
        }
        if closed {
            return;
        }
    }
}
