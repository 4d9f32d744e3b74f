//! The thread that hands the audit to the journal, one record a datagram, in the journal's own protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! A journal that does not take a record is asked again; meanwhile the newest are kept that the queue may hold, and each that
//! is not is counted. The crate tracing-journald writes where it logs, waits without a limit there, and counts nothing.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use super::batch::{Batch, Counts};
use super::health::Shared;
use super::queue::Queue;
use super::trouble::RETRY;
use super::worker::Order;

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// How often the thread looks if nothing happens.
const LOOK: Duration = Duration::from_secs(60);
/// How long a journal that is busy is waited for at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// The thread's state.
pub(super) struct JournalWriter {
    /// Where records come from.
    queue: Arc<Queue<Order>>,
    /// What the journal has not taken yet.
    pending: Batch,
    /// How many bytes of that are kept.
    limit: usize,
    /// The socket; none where none can be made.
    socket: Option<UnixDatagram>,
    /// What others may know.
    shared: Arc<Shared>,
}

impl JournalWriter {
    /// For records of this queue, of which so many bytes are kept.
    pub(super) fn new(queue: Arc<Queue<Order>>, limit: usize, shared: Arc<Shared>) -> Self {
        Self { queue, pending: Batch::default(), limit, socket: None, shared }
    }

    /// Works until the queue is closed.
    pub(super) fn run(mut self) {
        crate::sys::at_exit::spare_this_thread();
        loop {
            let limit = if self.pending.is_empty() { LOOK } else { RETRY };
            // Nothing of the journal's is ours to rotate: whoever asks for that learns it from the dropped order.
            let (_, lost, closed) = self.queue.take(&mut self.pending, limit);
            self.lose(lost.map(|(_, lost)| lost).unwrap_or_default());
            let trouble = self.send().err().map(|error| error.to_string());
            let rest = self.pending.shrink(if closed { 0 } else { self.limit });
            self.lose(rest);
            self.queue.settle(rest.total(), trouble.is_some());
            self.shared.health().trouble = trouble;
            if closed {
                return;
            }
        }
    }

    /// Counts what was lost.
    fn lose(&self, lost: Counts) {
        if lost.total() > 0 {
            self.shared.lost(lost);
        }
    }

    /// Hands over what there is.
    fn send(&mut self) -> std::io::Result<()> {
        while !self.pending.is_empty() {
            let socket = match &mut self.socket {
                Some(socket) => socket,
                none => none.insert(connect()?),
            };
            let length = self.pending.first_length();
            socket.send_to(&self.pending.rest()[..length], SOCKET)?;
            self.pending.forget(1, length);
            self.shared.wrote(1, length);
            self.queue.settle(1, false);
        }
        Ok(())
    }
}

/// A socket that does not wait for long.
fn connect() -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}
