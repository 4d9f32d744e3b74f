//! The channel between the two processes of an upgrade, in the runtime: lines of JSON, and descriptors beside them.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::message::{LINE_LIMIT, Message, line};
use crate::sys::scm_rights;

/// How long the other process may take to read.
pub const READ_LIMIT: Duration = Duration::from_secs(10);

/// The way of children's descriptors, which come before what is said of the child.
#[derive(Debug)]
pub struct Descriptors(UnixStream);

impl Descriptors {
    /// One end; inside the runtime.
    ///
    /// # Errors
    /// What `epoll_ctl(2)` answers.
    pub fn of(socket: std::os::unix::net::UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket).map(Self)
    }

    /// Sends those of one child, waiting for room.
    ///
    /// # Errors
    /// What sendmsg(2) answers, and `TimedOut` if the other process does not read.
    pub async fn send(&self, descriptors: &[OwnedFd]) -> io::Result<()> {
        let descriptors: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        let sent = self.0.async_io(Interest::WRITABLE, || scm_rights::send(&self.0, &descriptors));
        tokio::time::timeout(READ_LIMIT, sent).await?
    }

    /// Those of the child of which something was just said.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has come, else what recvmsg(2) answers.
    pub fn receive(&self) -> io::Result<Vec<OwnedFd>> {
        scm_rights::receive(&self.0)
    }
}

/// The sending side; clones share it.
#[derive(Clone, Debug)]
pub struct Sender(mpsc::UnboundedSender<Outgoing>);

/// What the writer is given.
#[derive(Debug)]
enum Outgoing {
    /// A line.
    Line(String),
    /// Tells when everything before is in the kernel.
    Flush(oneshot::Sender<()>),
}

impl Sender {
    /// Queues a message; one that cannot be sent is dropped, and the receiving side learns of the end.
    pub fn send(&self, message: &Message) {
        drop(self.0.send(Outgoing::Line(line(message))));
    }

    /// Waits until everything that was queued is on its way, or the channel is broken; `false` if the other process does
    /// not read.
    pub async fn flush(&self) -> bool {
        let (done, flushed) = oneshot::channel();
        if self.0.send(Outgoing::Flush(done)).is_err() {
            return true;
        }
        tokio::time::timeout(READ_LIMIT, flushed).await.is_ok()
    }
}

/// The receiving side.
#[derive(Debug)]
pub struct Receiver(tokio::io::BufReader<OwnedReadHalf>, Vec<u8>);

impl Receiver {
    /// The next message; `None` when the other process is gone or does not make sense. Safe to cancel.
    pub async fn next(&mut self) -> Option<Message> {
        let mut limited = (&mut self.0).take(LINE_LIMIT);
        limited.read_until(b'\n', &mut self.1).await.ok()?;
        let message = std::mem::take(&mut self.1);
        serde_json::from_slice(&message).ok()
    }
}

/// Makes a channel of a connected socket; inside the runtime.
#[must_use]
pub fn open(stream: UnixStream) -> (Sender, Receiver) {
    let (reader, writer) = stream.into_split();
    let (sender, queue) = mpsc::unbounded_channel();
    tokio::spawn(write(writer, queue));
    (Sender(sender), Receiver(tokio::io::BufReader::new(reader), Vec::new()))
}

/// Writes what is queued until nobody can queue any more.
async fn write(mut socket: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Outgoing>) {
    while let Some(outgoing) = queue.recv().await {
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
