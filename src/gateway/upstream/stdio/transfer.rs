//! A stdio connection on its way to the process that takes this one's place: the child goes on, and so do its requests.
//!
//! The old process holds its tasks, passes the pipes on, and from then on *lends*: what it still has to write goes by
//! way of the new process, and what the child says of its requests comes back the same way ([`Told`]). The new process
//! *borrows*: identifiers of its own are larger than any of the old one's, so that it knows whose an answer is, and its
//! progress tokens are always its own. Order is kept, since one process reads, one writes, and all else goes over one
//! channel. Until the new process says that it serves, it touches nothing, and everything can be taken back.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::child::Pipes;
use super::connection::{Pending, Stdio};
use super::pipes::{Carriers, Halves, Rest};
use crate::gateway::relay::{Id, Message, key, member};
use crate::gateway::upstream::call::exchange::Event;

/// How long a child may take to read what it has been sent; one that takes longer stays with the old process.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// How long the new process may take to say that it watches over a child.
const ADOPTION_LIMIT: Duration = Duration::from_secs(5);

/// What one process tells the other of a child that is handed over, by its pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// A message: to the new process one for the child, to the old one what the child has said.
    Line {
        /// The child.
        child: u32,
        /// One JSON-RPC message.
        line: String,
    },
    /// New: the child is mine to end.
    Adopted {
        /// The child.
        child: u32,
    },
    /// New: the child says nothing any more.
    HungUp {
        /// The child.
        child: u32,
    },
}

/// The way to the other process; it tells whether there still is one.
#[derive(Clone)]
pub(crate) struct Way(pub(crate) Arc<dyn Fn(&Told) -> bool + Send + Sync>);

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

/// Who carries the bytes of a connection.
#[derive(Debug)]
pub(crate) enum Flow {
    /// Nobody yet; this is to be written first.
    Waiting(mpsc::Receiver<Vec<u8>>),
    /// Tasks of this process.
    Carried(Carriers),
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

/// The process before, which waits for answers.
#[derive(Debug)]
pub(crate) struct Lender {
    /// The way to it.
    way: Way,
    /// The child.
    child: u32,
    /// Its requests in flight.
    calls: HashSet<u64>,
    /// Towards the task that writes its messages.
    lines: mpsc::UnboundedSender<Vec<u8>>,
}

impl Lender {
    /// Whether nothing of it is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }
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

impl Stdio {
    /// Begins to use a child's pipes, after what another process has read of them.
    pub(crate) fn begin(self: &Arc<Self>, pipes: Pipes, rest: Rest) {
        let mut flow = self.flow();
        match mem::replace(&mut *flow, Flow::Lent) {
            Flow::Waiting(queue) => {
                *flow = Flow::Carried(Halves::new(pipes, rest, queue, self.limit()).carry(self));
                self.begun.cancel();
            }
            other => *flow = other,
        }
    }

    /// Waits until there are pipes; `false` if there will be none.
    pub(crate) async fn begins(&self) -> bool {
        let mut closed = self.closed();
        tokio::select! {
            () = self.begun.cancelled() => true,
            _ = closed.wait_for(|closed| *closed) => false,
        }
    }

    /// Stops reading and writing between two messages; `None` if that cannot be, in which case all goes on.
    pub(crate) async fn hold(self: &Arc<Self>) -> Option<Passed> {
        let carriers = {
            let mut flow = self.flow();
            match mem::replace(&mut *flow, Flow::Holding { go_on: false }) {
                Flow::Carried(carriers) => carriers,
                other => {
                    *flow = other;
                    return None;
                }
            }
        };
        let held = carriers.hold(READ_LIMIT).await;
        let mut flow = self.flow();
        let wanted = matches!(*flow, Flow::Holding { go_on: false });
        match held {
            Ok(halves) => {
                let passed = self.pass(&halves).ok().filter(|_| wanted);
                *flow = if passed.is_some() {
                    Flow::Held(Box::new(halves))
                } else {
                    Flow::Carried(halves.carry(self))
                };
                passed
            }
            Err(carriers) => {
                *flow = Flow::Carried(carriers.go_on(self));
                None
            }
        }
    }

    /// What another process needs to go on.
    fn pass(&self, halves: &Halves) -> io::Result<Passed> {
        let pipes = [halves.writing.pipe.as_fd(), halves.reading.pipe().as_fd()].into_iter();
        let pipes = pipes.chain(halves.errors.iter().map(|errors| errors.pipe.as_fd()));
        let descriptors = pipes.map(|pipe| pipe.try_clone_to_owned()).collect::<io::Result<_>>()?;
        Ok(Passed { descriptors, rest: halves.rest(), calls: self.in_flight() })
    }

    /// Goes on after [`Self::hold`]: no other process has taken the pipes.
    pub(crate) fn go_on(self: &Arc<Self>) {
        let mut flow = self.flow();
        match mem::replace(&mut *flow, Flow::Holding { go_on: true }) {
            Flow::Held(halves) => *flow = Flow::Carried(halves.carry(self)),
            Flow::Holding { .. } => {}
            other => *flow = other,
        }
    }

    /// Leaves the pipes to the process at the end of the way, which has them; `false` if they are not held.
    pub(crate) fn lend(&self, child: u32, way: Way) -> bool {
        let mut flow = self.flow();
        match mem::replace(&mut *flow, Flow::Lent) {
            Flow::Held(halves) => {
                tokio::spawn(forward(halves.writing.queue, child, way));
                true
            }
            other => {
                *flow = other;
                false
            }
        }
    }

    /// Whether another process may have the pipes soon.
    pub(crate) fn is_held(&self) -> bool {
        matches!(*self.flow(), Flow::Held(_) | Flow::Holding { .. })
    }

    /// Whether another process has the pipes.
    pub(crate) fn is_lent(&self) -> bool {
        matches!(*self.flow(), Flow::Lent)
    }

    /// Answers requests of the process at the end of the way, too, from the first message on.
    pub(crate) fn borrow(self: &Arc<Self>, child: u32, way: Way, calls: Vec<u64>) {
        let (lines, queue) = mpsc::unbounded_channel();
        tokio::spawn(write_for(Arc::downgrade(self), queue));
        self.pending().lender = Some(Lender { way, child, calls: calls.into_iter().collect(), lines });
        self.borrows.store(true, Ordering::Relaxed);
    }

    /// Nobody waits for answers any more but this process.
    pub(crate) fn borrow_no_more(&self) {
        self.pending().lender = None;
        self.borrows.store(false, Ordering::Relaxed);
    }

    /// The other process watches over the child, or has ended.
    pub(crate) fn settle(&self) {
        self.adopted.cancel();
    }

    /// Waits until it is known who watches over the child, if another process has the pipes.
    pub(crate) async fn settled(&self) {
        if self.is_lent() && tokio::time::timeout(ADOPTION_LIMIT, self.adopted.cancelled()).await.is_err() {
            tracing::warn!(upstream = %self.name(), "the new process does not watch over the child; ending it");
        }
    }

    /// Takes a message from the other process: of the child's, or for the child.
    pub(crate) fn told(self: &Arc<Self>, line: &str) {
        // The other process may have begun before this one knows.
        if matches!(*self.flow(), Flow::Held(_) | Flow::Lent) {
            return self.receive(line.as_bytes());
        }
        let mut pending = self.pending();
        let Some(lender) = &mut pending.lender else { return };
        match Message::parse(line.as_bytes()) {
            Ok(Message::Request(request)) => lender.calls.extend(request.id.as_number()),
            Ok(Message::Notification(note)) if note.method == "notifications/cancelled" => {
                let id = note.params.as_deref().and_then(|params| member(params, "requestId"));
                if let Some(id) = id.and_then(|id| id.get().parse().ok()) {
                    lender.calls.remove(&id);
                }
            }
            _ => {}
        }
        let _ = lender.lines.send([line.as_bytes(), b"\n"].concat());
    }

    /// Leaves a message of the child to the process before, if it is for one of its requests.
    pub(crate) fn leave_to_lender(&self, message: &Message, line: &[u8]) -> bool {
        let mut pending = self.pending();
        let Pending { lender: Some(lender), .. } = &mut *pending else { return false };
        let theirs = match message {
            Message::Response(response) => {
                let id = response.id.as_ref().and_then(Id::as_number);
                id.is_some_and(|id| lender.calls.remove(&id))
            }
            Message::Request(_) => false,
            Message::Notification(note) => {
                let params = note.params.as_deref();
                match note.method.as_str() {
                    // Tokens of this process are its own as long as it borrows.
                    "notifications/progress" => {
                        let token = params.and_then(|params| member(params, "progressToken"));
                        let known = token.is_some_and(|token| pending.tokens.contains_key(token.get()));
                        !known && pending.lender.as_ref().is_some_and(|lender| !lender.is_idle())
                    }
                    "notifications/message" => lender.calls.len() == 1 && !pending.serves_clients(),
                    _ => {
                        let meta = params.and_then(|params| member(params, "_meta"));
                        let id = meta.and_then(|meta| member(meta, key::SUBSCRIPTION));
                        let id = id.and_then(|id| id.get().trim_matches('"').parse().ok());
                        id.is_some_and(|id| lender.calls.contains(&id))
                    }
                }
            }
        };
        let Some(lender) = pending.lender.as_ref().filter(|_| theirs) else { return false };
        let line = String::from_utf8_lossy(line).into_owned();
        // If the process is gone, so is whoever waited.
        let _ = (lender.way.0)(&Told::Line { child: lender.child, line });
        true
    }

    /// Tells the process before that the child says nothing any more.
    pub(crate) fn tell_hung_up(&self) {
        if let Some(lender) = self.pending().lender.take() {
            let _ = (lender.way.0)(&Told::HungUp { child: lender.child });
        }
    }

    /// The connection has ended before there were pipes, or in the process that has them.
    pub(crate) fn hang_up(&self, answered: bool) {
        self.closed_for_good();
        let waiting = {
            let mut pending = self.pending();
            pending.tokens.clear();
            mem::take(&mut pending.calls)
        };
        for (_, waiting) in waiting {
            let fault = self.ended();
            waiting.events.end(Event::Lost(if answered { fault } else { fault.unprocessed() }));
        }
    }

    /// Who carries the bytes.
    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what this process has to write by way of another one.
async fn forward(mut queue: mpsc::Receiver<Vec<u8>>, child: u32, way: Way) {
    while let Some(line) = queue.recv().await {
        let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        if !(way.0)(&Told::Line { child, line }) {
            return;
        }
    }
}

/// Writes what another process has to write, in its order.
async fn write_for(connection: Weak<Stdio>, mut queue: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(line) = queue.recv().await {
        let Some(lines) = connection.upgrade().and_then(|connection| connection.lines()) else { return };
        // A closed queue is the end of the child.
        let _ = lines.send(line).await;
    }
}
