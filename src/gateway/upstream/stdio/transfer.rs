//! A stdio connection on its way to the process that takes this one's place: the child goes on, and so do its requests.
//!
//! The old process holds its tasks, passes the pipes on, and from then on *lends*: what it still has to write goes by
//! way of the new process, and what the child says of its requests comes back the same way ([`ChildMessage`]). The new process
//! *borrows*: identifiers of its own are larger than any of the old one's, so that it knows whose an answer is, and its
//! progress tokens are always its own. Order is kept, since one process reads, one writes, and all else goes over one
//! channel. Until the new process says that it serves, it touches nothing, and everything can be taken back.
//!
//! [`Flow`] is the old process's side, [`Lender`] what the new one has of the old one.

use std::collections::HashSet;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::child::Pipes;
use super::pipes::{Carriers, Halves, PipeOwner, Rest};
use crate::gateway::relay::{self, member, method};
use crate::handover::channel::Sender;
use crate::handover::{ChildMessage, Message};

/// How long a child may take to read what it has been sent; one that takes longer stays with the old process.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// How long the new process may take to say that it watches over a child.
const ADOPTION_LIMIT: Duration = Duration::from_secs(5);

/// Who carries the bytes of a connection, and what is known of that.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Who does.
    carrier: Mutex<Carrier>,
    /// Cancelled when somebody does for the first time.
    begun: CancellationToken,
    /// Cancelled when another process that has the pipes watches over the child, or has ended.
    adopted: CancellationToken,
}

/// Who carries the bytes of a connection.
#[derive(Debug)]
enum Carrier {
    /// Nobody yet; this is to be written first.
    Waiting(mpsc::Receiver<Vec<u8>>),
    /// Tasks of this process.
    Tasks(Carriers),
    /// Nobody for a moment: the tasks are being held, unless that is not wanted any more.
    Holding {
        /// Whether they are to go on at once.
        go_on: bool,
    },
    /// Nobody: the pipes may go to another process.
    Held(Box<Halves>),
    /// Another process.
    Lent,
}

/// Pipes that are held, as they are passed.
#[derive(Debug)]
pub(crate) struct Passed {
    /// Standard input, standard output, and standard error if that is open.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// What was read but not used.
    pub(crate) rest: Rest,
    /// The requests in flight.
    pub(crate) calls: Vec<u64>,
}

impl Flow {
    /// Nobody carries anything yet; what is in the queue is to be written first.
    pub(crate) fn waiting(queue: mpsc::Receiver<Vec<u8>>) -> Self {
        let carrier = Mutex::new(Carrier::Waiting(queue));
        Self { carrier, begun: CancellationToken::new(), adopted: CancellationToken::new() }
    }

    /// Begins to use a child's pipes, after what another process has read of them.
    pub(crate) fn begin<C: PipeOwner>(&self, connection: &Arc<C>, pipes: Pipes, rest: Rest, limit: usize) {
        let mut carrier = self.carrier.lock();
        match mem::replace(&mut *carrier, Carrier::Lent) {
            Carrier::Waiting(queue) => {
                *carrier = Carrier::Tasks(Halves::new(pipes, rest, queue, limit).carry(connection));
                self.begun.cancel();
            }
            other => *carrier = other,
        }
    }

    /// Waits until there are pipes; `false` if there will be none.
    pub(crate) async fn begins(&self, connection: &impl PipeOwner) -> bool {
        let mut closed = connection.closed();
        tokio::select! {
            () = self.begun.cancelled() => true,
            _ = closed.wait_for(|closed| *closed) => false,
        }
    }

    /// Stops reading and writing between two messages; `None` if that cannot be, in which case all goes on.
    pub(crate) async fn hold<C: PipeOwner>(&self, connection: &Arc<C>) -> Option<Passed> {
        let tasks = {
            let mut carrier = self.carrier.lock();
            match mem::replace(&mut *carrier, Carrier::Holding { go_on: false }) {
                Carrier::Tasks(tasks) => tasks,
                other => {
                    *carrier = other;
                    return None;
                }
            }
        };
        let held = tasks.hold(READ_LIMIT).await;
        let mut carrier = self.carrier.lock();
        let wanted = matches!(*carrier, Carrier::Holding { go_on: false });
        match held {
            Ok(halves) => {
                let passed = pass(&halves, connection.in_flight()).ok().filter(|_| wanted);
                *carrier = if passed.is_some() {
                    Carrier::Held(Box::new(halves))
                } else {
                    Carrier::Tasks(halves.carry(connection))
                };
                passed
            }
            Err(tasks) => {
                *carrier = Carrier::Tasks(tasks.go_on(connection));
                None
            }
        }
    }

    /// Goes on after [`Self::hold`]: no other process has taken the pipes.
    pub(crate) fn go_on<C: PipeOwner>(&self, connection: &Arc<C>) {
        let mut carrier = self.carrier.lock();
        match mem::replace(&mut *carrier, Carrier::Holding { go_on: true }) {
            Carrier::Held(halves) => *carrier = Carrier::Tasks(halves.carry(connection)),
            Carrier::Holding { .. } => {}
            other => *carrier = other,
        }
    }

    /// Leaves the pipes to the other process, which has them; `false` if they are not held.
    pub(crate) fn lend(&self, child: u32, peer: Sender) -> bool {
        let mut carrier = self.carrier.lock();
        match mem::replace(&mut *carrier, Carrier::Lent) {
            Carrier::Held(halves) => {
                tokio::spawn(forward(halves.into_queue(), child, peer));
                true
            }
            other => {
                *carrier = other;
                false
            }
        }
    }

    /// Whether another process may have the pipes soon.
    pub(crate) fn is_held(&self) -> bool {
        matches!(*self.carrier.lock(), Carrier::Held(_) | Carrier::Holding { .. })
    }

    /// Whether another process has the pipes.
    pub(crate) fn is_lent(&self) -> bool {
        matches!(*self.carrier.lock(), Carrier::Lent)
    }

    /// Whether another process has the pipes, or has begun to use them before this one knows.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(*self.carrier.lock(), Carrier::Held(_) | Carrier::Lent)
    }

    /// The other process watches over the child, or has ended.
    pub(crate) fn settle(&self) {
        self.adopted.cancel();
    }

    /// Waits until it is known who watches over the child, if another process has the pipes.
    pub(crate) async fn settled(&self, connection: &impl PipeOwner) {
        if self.is_lent() && tokio::time::timeout(ADOPTION_LIMIT, self.adopted.cancelled()).await.is_err() {
            let upstream = connection.name();
            tracing::warn!(%upstream, "the new process does not watch over the child; ending it");
        }
    }
}

/// What another process needs to go on with these pipes.
fn pass(halves: &Halves, calls: Vec<u64>) -> io::Result<Passed> {
    let descriptors =
        halves.descriptors().map(|pipe| pipe.try_clone_to_owned()).collect::<io::Result<_>>()?;
    Ok(Passed { descriptors, rest: halves.rest(), calls })
}

/// The process before, which waits for answers.
#[derive(Debug)]
pub(crate) struct Lender {
    /// The way to it.
    peer: Sender,
    /// The child.
    child: u32,
    /// Its requests in flight.
    calls: HashSet<u64>,
    /// Towards the task that writes its messages.
    lines: mpsc::UnboundedSender<Vec<u8>>,
}

impl Lender {
    /// The process that these requests are of. What it has to write goes over this connection.
    pub(crate) fn new<C: PipeOwner>(connection: &Arc<C>, child: u32, peer: Sender, calls: Vec<u64>) -> Self {
        let (lines, queue) = mpsc::unbounded_channel();
        tokio::spawn(write_for(Arc::downgrade(connection), queue));
        Self { peer, child, calls: calls.into_iter().collect(), lines }
    }

    /// Whether nothing of it is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    /// Its requests in flight.
    pub(crate) fn calls(&self) -> impl Iterator<Item = u64> + '_ {
        self.calls.iter().copied()
    }

    /// Whether one request of it is in flight and no more.
    pub(crate) fn has_one(&self) -> bool {
        self.calls.len() == 1
    }

    /// Whether this request is one of its.
    pub(crate) fn has(&self, id: u64) -> bool {
        self.calls.contains(&id)
    }

    /// Notes that a request was answered; `false` if it is none of its.
    pub(crate) fn answered(&mut self, id: u64) -> bool {
        self.calls.remove(&id)
    }

    /// Writes a message of it to the child.
    pub(crate) fn write(&mut self, line: &str) {
        match relay::Message::parse(line.as_bytes()) {
            Ok(relay::Message::Request(request)) => self.calls.extend(request.id.as_number()),
            Ok(relay::Message::Notification(note)) if note.method == method::CANCELLED => {
                let id = note.params.as_deref().and_then(|params| member(params, "requestId"));
                if let Some(id) = id.and_then(|id| id.get().parse().ok()) {
                    self.calls.remove(&id);
                }
            }
            _ => {}
        }
        let _ = self.lines.send([line.as_bytes(), b"\n"].concat());
    }

    /// Passes a message of the child on to it.
    pub(crate) fn pass_on(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line).into_owned();
        // If the process is gone, so are its callers.
        let _ = self.peer.send(&Message::OfChild { word: ChildMessage::Line { child: self.child, line } });
    }

    /// Tells it that the child says nothing any more.
    pub(crate) fn tell_hung_up(self) {
        let _ = self.peer.send(&Message::OfChild { word: ChildMessage::HungUp { child: self.child } });
    }
}

/// Sends what this process has to write by way of another one.
async fn forward(mut queue: mpsc::Receiver<Vec<u8>>, child: u32, peer: Sender) {
    while let Some(line) = queue.recv().await {
        let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        if !peer.send(&Message::OfChild { word: ChildMessage::Line { child, line } }) {
            return;
        }
    }
}

/// Writes what another process has to write, in its order.
async fn write_for<C: PipeOwner>(connection: Weak<C>, mut queue: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(line) = queue.recv().await {
        let Some(lines) = connection.upgrade().and_then(|connection| connection.lines()) else { return };
        // A closed queue is the end of the child.
        let _ = lines.send(line).await;
    }
}
