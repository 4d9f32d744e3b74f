//! The connection to a stdio upstream: one message a line (MCP 2026-07-28 §stdio).
//!
//! Order: one reader task takes the lines in order and puts each message at once into the queue of the request it
//! belongs to, or into the link's inbox; nothing is spawned a message. One writer task owns standard input.
//! Invariant: a request is in `pending` from before its bytes are sent until its outcome is queued.
//! In an upgrade the pipes go to the new process, see [`super::transfer`]; answers to the old one's requests stay here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::request_id::RequestId;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use super::child::{ChildEnd, Pipes};
use super::framing::Ends;
use super::pending::Pending;
use super::pipes::{LAST_WORDS, PipeOwner, Rest};
use super::stderr::{ChildErrors, Sink};
use super::transfer::{Flow, Lender};
use crate::config::UpstreamName;
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    Id, Message, Notification, Outcome, ParseError, Raw, Request, Response, code, method, raw,
};
use crate::gateway::upstream::call::exchange::{Cancel, Event, Events, cancelled, garbled, too_long};
use crate::gateway::upstream::call::request::{Call, Role};
use crate::gateway::upstream::inbox::{Inbound, Inbox, Loose};
use crate::gateway::upstream::log_limit::LogRateLimit;
use crate::handover::channel::Sender;

/// Messages that may wait for the child to read; senders wait beyond it.
const WRITE_QUEUE: usize = 256;
/// Warnings about what a child says that are logged in a second; the rest is counted.
const WARNINGS: u32 = 20;
/// How long calling a request off may wait for the child to read.
const FAREWELL: Duration = Duration::from_secs(5);

/// A connection over a child's pipes.
#[derive(Debug)]
pub(crate) struct Stdio {
    /// Whose connection it is, for messages.
    name: UpstreamName,
    /// What the child writes to its standard error.
    errors: Arc<ChildErrors>,
    /// Towards the writer task; `None` once standard input is to be closed.
    lines: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    /// Requests in flight.
    pending: Mutex<Pending>,
    /// The last identifier given out.
    last: AtomicU64,
    /// Whom messages without a request go to.
    inbox: Inbox,
    /// Who uses the connection, which decides what is done with messages that name no request.
    role: Role,
    /// The longest line, in bytes.
    limit: usize,
    /// Who carries the bytes.
    flow: Flow,
    /// Whether a process before this one waits for answers.
    borrows: AtomicBool,
    /// How much of what is wrong with its messages may still be logged.
    log_limit: Mutex<LogRateLimit>,
    /// True once the child's standard output has ended.
    closed: watch::Sender<bool>,
}

/// Calls a request off on this connection.
struct CancelStdio {
    /// The connection, if it still is.
    connection: Weak<Stdio>,
    /// Our identifier of the request.
    id: u64,
}

impl Stdio {
    /// A connection that gives identifiers out after `last`. What is sent over it waits until there are pipes.
    pub(crate) fn new(sink: &Arc<Sink>, last: u64, limit: usize, inbox: Inbox, role: Role) -> Arc<Self> {
        let (lines, queue) = mpsc::channel(WRITE_QUEUE);
        Arc::new(Self {
            name: sink.upstream().clone(),
            errors: ChildErrors::new(sink, role == Role::Shared),
            lines: Mutex::new(Some(lines)),
            pending: Mutex::default(),
            last: AtomicU64::new(last),
            inbox,
            role,
            limit,
            flow: Flow::waiting(queue),
            borrows: AtomicBool::new(false),
            log_limit: Mutex::new(LogRateLimit::new(WARNINGS)),
            closed: watch::Sender::new(false),
        })
    }

    /// A connection of a process whose pipes another one has, which waits for answers over them.
    pub(crate) fn awaiting(sink: &Arc<Sink>, last: u64, limit: usize, inbox: Inbox) -> Arc<Self> {
        let connection = Self::new(sink, last, limit, inbox, Role::Shared);
        connection.borrows.store(true, Ordering::Relaxed);
        connection
    }

    /// The last identifier that was given out.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Begins to use a child's pipes, after what another process has read of them.
    pub(crate) fn begin(self: &Arc<Self>, pipes: Pipes, rest: Rest) {
        self.flow.begin(self, pipes, rest, self.limit);
    }

    /// Who carries the bytes.
    pub(crate) const fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Answers requests of the other process, too, from the first message on.
    pub(crate) fn borrow(self: &Arc<Self>, child: u32, peer: Sender, calls: Vec<u64>) {
        let lender = Lender::new(self, child, peer, calls);
        self.pending.lock().set_lender(Some(lender));
        self.borrows.store(true, Ordering::Relaxed);
    }

    /// Nobody waits for answers any more but this process.
    pub(crate) fn borrow_no_more(&self) {
        self.pending.lock().set_lender(None);
        self.borrows.store(false, Ordering::Relaxed);
    }

    /// Takes a message from the other process: of the child's, or for the child.
    pub(crate) fn told(self: &Arc<Self>, line: &str) {
        if self.flow.is_elsewhere() {
            return self.take(line.as_bytes());
        }
        if let Some(lender) = self.pending.lock().lender() {
            lender.write(line);
        }
    }

    /// The connection has ended before there were pipes, or in the process that has them.
    pub(crate) fn hang_up(&self, answered: bool) {
        self.closed.send_replace(true);
        let waiting = self.pending.lock().calls_mut().take_all();
        for events in waiting {
            let fault = self.ended();
            events.end(Event::Lost(if answered { fault } else { fault.unprocessed() }));
        }
    }

    /// Gives a request its identifier and progress token; returns what calls it off.
    pub(crate) fn register(self: &Arc<Self>, call: &mut Call) -> (u64, Box<dyn Cancel>) {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        // A token of this process must not be one of the process before.
        let keep = !self.borrows.load(Ordering::Relaxed);
        let own = |params| self.pending.lock().calls_mut().own_token(id, params, &mut call.token, keep);
        call.params = call.params.take().map(own);
        (id, Box::new(CancelStdio { connection: Arc::downgrade(self), id }))
    }

    /// Puts a request under way.
    pub(crate) async fn send(self: &Arc<Self>, id: u64, mut call: Call, events: Events) {
        self.pending.lock().calls_mut().add(id, events, &mut call);
        let request = Request { id: Id::number(id), method: call.method, params: call.params };
        if self.is_closed() || self.write(&Message::Request(request)).await.is_err() {
            self.finish(id, Event::Lost(self.ended().unprocessed()));
        }
    }

    /// Sends a message that is not a request.
    pub(crate) async fn write(&self, message: &Message) -> Result<(), Fault> {
        let mut line = message.to_line();
        line.push(b'\n');
        match self.lines() {
            Some(lines) => lines.send(line).await.map_err(|_| self.ended()),
            None => Err(self.ended()),
        }
    }

    /// Closes the child's standard input, which asks it to end.
    pub(crate) fn close(&self) {
        if !self.is_closed() {
            self.errors.ask();
        }
        self.lines.lock().take();
    }

    /// Becomes true when the child's standard output has ended.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Whether the child's standard output has ended.
    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// The fault of a connection that has ended.
    fn ended(&self) -> Fault {
        Fault::upstream(&self.name, "ended before it answered")
    }

    /// Takes a request out of `pending` and queues its last event.
    fn finish(&self, id: u64, event: Event) {
        let waiting = self.pending.lock().calls_mut().take(id);
        match waiting {
            Some(events) => events.end(event),
            None => {
                tracing::debug!(upstream = %self.name, id, "an answer to no request in flight is dropped");
            }
        }
    }

    /// Handles one line of the child's standard output.
    fn take(self: &Arc<Self>, line: &[u8]) {
        let message = Message::of_server(line, || self.inbox.tell_loose(Loose::Null));
        if self.borrows.load(Ordering::Relaxed)
            && let Ok(message) = &message
            && self.pending.lock().leave_to_lender(message, line)
        {
            return;
        }
        match message {
            Ok(Message::Response(Response { id, outcome })) => match self.inbox.answered(id.as_ref()) {
                Some(id) => self.finish(id, Event::Done(outcome)),
                None => self.unanswerable(&outcome),
            },
            Ok(Message::Notification(note)) => self.notified(note),
            Ok(Message::Request(request)) => self.asked(request),
            Err(ParseError::Batch) => {
                for entry in Message::entries_of_server(line) {
                    self.take(entry.get().as_bytes());
                }
            }
            Err(error) => self.unreadable(line, &error),
        }
    }

    /// Handles a line that cannot be read. A request that it was meant to answer fails at once: nothing else would end it
    /// before its time is over.
    fn unreadable(self: &Arc<Self>, line: &[u8], error: &ParseError) {
        let unread = self.pending.lock().unread(line, error);
        if unread.is_none() {
            self.errors.note_stray(line);
        }
        if self.may_complain() {
            let request = unread.and_then(|id| self.pending.lock().calls_mut().request(id).cloned());
            let _entered = request.as_ref().map(RequestId::enter);
            let (bytes, reason) = (line.len(), error.reason());
            match (unread, error) {
                (_, ParseError::Ambiguous { .. }) => {
                    tracing::warn!(upstream = %self.name, reason, "a message that can be read in two ways is refused");
                }
                (Some(id), _) => {
                    tracing::warn!(upstream = %self.name, id, bytes, reason, "an answer that cannot be read fails its call");
                }
                (None, _) => {
                    tracing::warn!(upstream = %self.name, bytes, reason, "a line that is not MCP is ignored");
                }
            }
        }
        if let ParseError::Ambiguous { id: Some(id), response: false, .. } = error {
            let fault = Fault::downstream(code::INVALID_PARAMS, http::StatusCode::OK, error.reason());
            return self.answer_soon(id.clone(), fault.outcome());
        }
        let Some(id) = unread else { return };
        let fault = garbled(&self.name, error);
        let mut pending = self.pending.lock();
        if let Some(lender) = pending.lender()
            && lender.answered(id)
        {
            // What cannot be read is not passed on: the other process is told what this one knows.
            return lender.pass_on(&fault.response(Some(Id::number(id))).to_line());
        }
        drop(pending);
        self.finish(id, Event::Lost(fault));
    }

    /// Whether one more record about what the child says may go to the log. How many may not is told a little later.
    fn may_complain(self: &Arc<Self>) -> bool {
        let mut log_limit = self.log_limit.lock();
        let told = log_limit.due().is_some();
        let may = log_limit.admits(&self.name);
        if let Some(due) = log_limit.due().filter(|_| !told) {
            let connection = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep_until(due).await;
                if let Some(connection) = connection.upgrade() {
                    connection.log_limit.lock().report(&connection.name);
                }
            });
        }
        may
    }

    /// Waits in a task of its own until the child has ended, tells how, and ends the connection then, also where something
    /// that the child has started keeps its pipes open.
    pub(crate) fn outlive(self: &Arc<Self>, ended: oneshot::Receiver<ChildEnd>, pid: u32) {
        let (connection, errors) = (Arc::downgrade(self), Arc::clone(&self.errors));
        tokio::spawn(async move {
            // A child that is left to another process has not ended.
            let Ok(end) = ended.await else { return };
            tokio::join!(errors.end(end, pid), tokio::time::sleep(LAST_WORDS));
            if let Some(connection) = connection.upgrade().filter(|connection| !connection.is_closed()) {
                tracing::warn!(upstream = %connection.name, "the child has ended, but something keeps its pipes open");
                connection.lost();
            }
        });
    }

    /// A response without an identifier of ours: some servers answer a request that they cannot read so.
    fn unanswerable(self: &Arc<Self>, outcome: &Outcome) {
        let kind = if matches!(outcome, Outcome::Error(_)) { "error" } else { "result" };
        if self.may_complain() {
            tracing::warn!(upstream = %self.name, kind, "a response without a usable id is ignored");
        }
    }

    /// Brings a notification to the request it belongs to, or to the inbox.
    fn notified(self: &Arc<Self>, note: Notification) {
        let pending = self.pending.lock();
        if let Some(id) = pending.calls().ended_by(&note) {
            drop(pending);
            return self
                .finish(id, Event::Lost(Fault::upstream(&self.name, "has ended the stream of changes")));
        }
        let (id, note) = pending.target(note, self.role);
        let Some((id, events)) = id.and_then(|id| Some((id, pending.calls().events(id)?))) else {
            return self.inbox.put(Inbound::Notification(note));
        };
        if !events.send(Event::Notification(note)) {
            drop(pending);
            self.give_up(id);
        }
    }

    /// Ends a request whose downstream does not keep up; the others on this connection go on.
    fn give_up(self: &Arc<Self>, id: u64) {
        Box::new(CancelStdio { connection: Arc::downgrade(self), id }).cancel(None);
    }

    /// Brings a request of the server to its client, where that can be told.
    fn asked(self: &Arc<Self>, request: Request) {
        if request.method == method::PING {
            return self.answer_soon(request.id, Outcome::Result(raw(&json!({}))));
        }
        if self.role == Role::Shared {
            let fault = Fault::method_not_found(&request.method);
            if self.may_complain() {
                tracing::warn!(
                    upstream = %self.name, method = &*request.method,
                    "a request to the client is refused: the connection is shared; `sharing = \"per-session\"` allows it"
                );
            }
            return self.answer_soon(request.id, fault.outcome());
        }
        let pending = self.pending.lock();
        let Some((id, events)) =
            pending.speaker(self.role).and_then(|id| Some((id, pending.calls().events(id)?)))
        else {
            return self.inbox.put(Inbound::Request(request));
        };
        if !events.send(Event::Request(request)) {
            drop(pending);
            self.give_up(id);
        }
    }

    /// Answers the server without waiting; a full queue means that it does not read, and it gets no answer.
    fn answer_soon(&self, id: Id, outcome: Outcome) {
        let mut line = Message::Response(Response { id: Some(id), outcome }).to_line();
        line.push(b'\n');
        if let Some(lines) = self.lines.lock().as_ref() {
            let _ = lines.try_send(line);
        }
    }
}

impl PipeOwner for Stdio {
    fn name(&self) -> &UpstreamName {
        &self.name
    }

    fn errors(&self) -> &Arc<ChildErrors> {
        &self.errors
    }

    fn receive(self: &Arc<Self>, line: &[u8]) {
        self.take(line);
    }

    fn cut(self: &Arc<Self>, ends: &Ends) {
        let (answered, limit) = (ends.answered(), self.limit);
        if self.may_complain() {
            tracing::warn!(upstream = %self.name, limit, id = answered, "a message that is too long is dropped");
        }
        if let Some(id) = answered {
            self.finish(id, Event::Lost(too_long(&self.name, limit)));
        }
    }

    fn lines(&self) -> Option<mpsc::Sender<Vec<u8>>> {
        self.lines.lock().clone()
    }

    fn in_flight(&self) -> Vec<u64> {
        self.pending.lock().calls().ids().collect()
    }

    fn closed(&self) -> watch::Receiver<bool> {
        self.closed()
    }

    fn lost(&self) {
        // First closed, then taken: a request that registers in between sees the flag and ends itself.
        self.hang_up(true);
        if let Some(lender) = self.pending.lock().set_lender(None) {
            lender.tell_hung_up();
        }
    }
}

impl Cancel for CancelStdio {
    fn cancel(self: Box<Self>, params: Option<Raw>) {
        let Some(connection) = self.connection.upgrade() else { return };
        if connection.pending.lock().calls_mut().take(self.id).is_none() {
            return;
        }
        let note = cancelled(self.id, params);
        // A child that does not read cannot make farewells pile up.
        tokio::spawn(async move { tokio::time::timeout(FAREWELL, connection.write(&note)).await });
    }
}
