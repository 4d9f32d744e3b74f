//! The channel between the two processes of an upgrade, in the runtime: lines of JSON, and descriptors beside them.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::message::{self, LINE_LIMIT, Message};
use super::session::Session;
use crate::sys::scm_rights;

/// How long the other process may take to read.
pub(crate) const READ_LIMIT: Duration = Duration::from_secs(10);
/// How long the other process may take to say whether it knows a session.
const FIND_LIMIT: Duration = Duration::from_secs(5);

/// The way of children's descriptors, which come before what is said of the child.
#[derive(Debug)]
pub(crate) struct Descriptors(UnixStream);

impl Descriptors {
    /// One end; inside the runtime.
    /// Fails with what `epoll_ctl(2)` answers.
    pub(crate) fn of(socket: std::os::unix::net::UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket).map(Self)
    }

    /// Sends those of one child, waiting for room.
    /// Fails with what sendmsg(2) answers, and `TimedOut` if the other process does not read.
    pub(crate) async fn send(&self, descriptors: &[OwnedFd]) -> io::Result<()> {
        let descriptors: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        let sent = self.0.async_io(Interest::WRITABLE, || scm_rights::send(&self.0, &descriptors));
        tokio::time::timeout(READ_LIMIT, sent).await?
    }

    /// Those of the child of which something was just said.
    /// Fails with `WouldBlock` if nothing has come, else what recvmsg(2) answers.
    pub(crate) fn receive(&self) -> io::Result<Vec<OwnedFd>> {
        scm_rights::receive(&self.0)
    }
}

/// Who waits for an answer of the other process.
#[derive(Debug, Default)]
struct Waiting {
    /// For a session, by its identifier.
    sessions: HashMap<String, Vec<oneshot::Sender<Option<Session>>>>,
    /// For a reload, by its number.
    reloads: HashMap<u64, oneshot::Sender<String>>,
}

/// What both sides of a channel know.
#[derive(Debug, Default)]
struct Shared {
    /// Cancelled when the other process is gone, or nobody listens to it any more.
    over: CancellationToken,
    /// Who waits for an answer.
    waiting: Mutex<Waiting>,
    /// Reloads that were asked for so far.
    reloads: AtomicU64,
}

/// The sending side; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// Towards the task that writes.
    queue: mpsc::UnboundedSender<Outgoing>,
    /// What both sides know.
    shared: Arc<Shared>,
}

/// What the writer is given.
#[derive(Debug)]
enum Outgoing {
    /// A line.
    Line(String),
    /// Tells when everything before is in the kernel.
    Flush(oneshot::Sender<()>),
}

impl Sender {
    /// Queues a message; `false` if the other process is gone. One that cannot be sent is dropped; the receiver sees the end.
    pub(crate) fn send(&self, message: &Message) -> bool {
        !self.shared.over.is_cancelled() && self.queue.send(Outgoing::Line(message::line(message))).is_ok()
    }

    /// Waits until everything that was queued is sent, or the channel is broken; `false` if the other process does not read.
    pub(crate) async fn flush(&self) -> bool {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Outgoing::Flush(done)).is_err() {
            return true;
        }
        tokio::time::timeout(READ_LIMIT, flushed).await.is_ok()
    }

    /// Cancelled when the other process is gone.
    pub(crate) fn over(&self) -> &CancellationToken {
        &self.shared.over
    }

    /// Asks the other process for a session.
    pub(crate) async fn find(&self, id: &str) -> Option<Session> {
        let (answer, found) = oneshot::channel();
        self.shared.waiting.lock().sessions.entry(id.to_owned()).or_default().push(answer);
        self.send(&Message::Find { id: id.to_owned() });
        tokio::select! {
            found = found => found.ok()?,
            () = self.shared.over.cancelled() => None,
            () = tokio::time::sleep(FIND_LIMIT) => None,
        }
    }

    /// Has the other process read its configuration again; what it answers, unless it ends before.
    pub(crate) fn reload(&self) -> impl Future<Output = Option<String>> + Send + 'static {
        let (answered, answer) = oneshot::channel();
        let id = self.shared.reloads.fetch_add(1, Ordering::Relaxed);
        self.shared.waiting.lock().reloads.insert(id, answered);
        self.send(&Message::Reload { id });
        let over = self.shared.over.clone();
        async move {
            tokio::select! {
                biased;
                answer = answer => answer.ok(),
                () = over.cancelled() => None,
            }
        }
    }
}

/// The receiving side; dropping it ends the channel.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// The socket.
    socket: tokio::io::BufReader<OwnedReadHalf>,
    /// What has come of a line.
    begun: Vec<u8>,
    /// What both sides know.
    shared: Arc<Shared>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.over.cancel();
        *self.shared.waiting.lock() = Waiting::default();
    }
}

impl Receiver {
    /// The next message that nobody waits for; `None` when the other process is gone or does not make sense. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            let mut limited = (&mut self.socket).take(LINE_LIMIT);
            limited.read_until(b'\n', &mut self.begun).await.ok()?;
            match message::read(&std::mem::take(&mut self.begun))? {
                Message::Found { id, state } => {
                    for waiting in self.shared.waiting.lock().sessions.remove(&id).into_iter().flatten() {
                        // A caller that has waited for too long is gone.
                        let _ = waiting.send(state.as_deref().cloned());
                    }
                }
                Message::Reloaded { id, answer } => {
                    if let Some(waiting) = self.shared.waiting.lock().reloads.remove(&id) {
                        let _ = waiting.send(answer);
                    }
                }
                message => return Some(message),
            }
        }
    }
}

/// Makes a channel of a connected socket; inside the runtime.
pub(crate) fn open(stream: UnixStream) -> (Sender, Receiver) {
    let (reader, writer) = stream.into_split();
    let (queue, queued) = mpsc::unbounded_channel();
    let shared = Arc::<Shared>::default();
    tokio::spawn(write(writer, queued, shared.over.clone()));
    let socket = tokio::io::BufReader::new(reader);
    (Sender { queue, shared: Arc::clone(&shared) }, Receiver { socket, begun: Vec::new(), shared })
}

/// Writes what is queued until nobody can queue any more, or the other process is gone.
async fn write(
    mut socket: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    over: CancellationToken,
) {
    loop {
        let outgoing = tokio::select! {
            biased;
            outgoing = queue.recv() => outgoing,
            () = over.cancelled() => None,
        };
        let Some(outgoing) = outgoing else { return };
        match outgoing {
            Outgoing::Line(line) => {
                if socket.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
            Outgoing::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}
