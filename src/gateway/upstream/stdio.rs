//! The connection to a stdio upstream: one message a line (MCP 2026-07-28 §stdio).
//!
//! Order: one reader task takes the lines in order and puts each message at once into the queue of the request it
//! belongs to, or into the link's inbox; nothing is spawned a message. One writer task owns standard input.
//! Invariant: a request is in `pending` from before its bytes are sent until its outcome is queued.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio_util::codec::{AnyDelimiterCodec, FramedRead};

use super::super::error::Fault;
use super::super::relay::{
    Id, Message, Notification, Outcome, Raw, Request, Response, key, member, raw, set_member, set_path,
};
use super::exchange::{Cancel, Event, Events};
use super::link::{Call, Inbound, Inbox, Role};
use crate::config::UpstreamName;

/// Messages that may wait for the child to read; senders wait beyond it.
const WRITE_QUEUE: usize = 256;
/// How long calling a request off may wait for the child to read.
const FAREWELL: Duration = Duration::from_secs(5);
/// As much is gathered into one write(2), in bytes.
const WRITE_SIZE: usize = 64 * 1024;

/// A connection over a child's pipes.
#[derive(Debug)]
pub(crate) struct Stdio {
    /// Whose connection it is, for messages.
    name: UpstreamName,
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
    /// True once the child's standard output has ended.
    closed: watch::Sender<bool>,
}

/// Requests in flight on one connection.
#[derive(Debug, Default)]
struct Pending {
    /// By our identifier; the last is the newest.
    calls: BTreeMap<u64, Waiting>,
    /// Progress tokens as the upstream knows them.
    tokens: HashMap<Box<str>, u64>,
}

/// One request in flight.
#[derive(Debug)]
struct Waiting {
    /// Its queue.
    events: Events,
    /// Its progress token as the upstream knows it, and as the downstream does.
    token: Option<(Box<str>, Box<str>)>,
    /// Whether a client waits for it.
    for_client: bool,
}

/// Calls a request off on this connection.
struct CancelStdio {
    /// The connection, if it still is.
    connection: Weak<Stdio>,
    /// Our identifier of the request.
    id: u64,
}

impl Stdio {
    /// Takes over the pipes and starts the reader and the writer.
    pub(crate) fn new(
        name: UpstreamName,
        (stdin, stdout): (ChildStdin, ChildStdout),
        limit: usize,
        inbox: Inbox,
        role: Role,
    ) -> Arc<Self> {
        let (lines, queue) = mpsc::channel(WRITE_QUEUE);
        let connection = Arc::new(Self {
            name,
            lines: Mutex::new(Some(lines)),
            pending: Mutex::default(),
            last: AtomicU64::new(0),
            inbox,
            role,
            closed: watch::Sender::new(false),
        });
        tokio::spawn(write(stdin, queue, Closing(Arc::downgrade(&connection))));
        tokio::spawn(read(stdout, limit, Closing(Arc::downgrade(&connection))));
        connection
    }

    /// Gives a request its identifier and progress token; returns what calls it off.
    pub(crate) fn register(self: &Arc<Self>, call: &mut Call) -> (u64, Box<dyn Cancel>) {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        call.params = call.params.take().map(|params| self.own_token(id, params, &mut call.token));
        (id, Box::new(CancelStdio { connection: Arc::downgrade(self), id }))
    }

    /// Puts a request under way.
    pub(crate) async fn send(self: &Arc<Self>, id: u64, call: Call, events: Events) {
        {
            let mut pending = self.pending();
            let for_client = call.for_client;
            pending.calls.insert(id, Waiting { events, token: call.token, for_client });
        }
        let request = Request { id: Id::number(id), method: call.method, params: call.params };
        if self.is_closed() || self.write(&Message::Request(request)).await.is_err() {
            self.finish(id, Event::Lost(self.ended().unprocessed()));
        }
    }

    /// Sends a message that is not a request.
    pub(crate) async fn write(&self, message: &Message) -> Result<(), Fault> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut line = message.to_line();
        line.push(b'\n');
        match lines {
            Some(lines) => lines.send(line).await.map_err(|_| self.ended()),
            None => Err(self.ended()),
        }
    }

    /// Closes the child's standard input.
    pub(crate) fn close(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
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

    /// The requests in flight.
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the downstream's progress token unless another request in flight here uses it; only then ours is sent.
    fn own_token(&self, id: u64, params: Raw, token: &mut Option<(Box<str>, Box<str>)>) -> Raw {
        let Some(theirs) = member(&params, "_meta").and_then(|meta| member(meta, "progressToken")) else {
            return params;
        };
        let theirs: Box<str> = theirs.get().into();
        let mut pending = self.pending();
        if !pending.tokens.contains_key(&theirs) {
            pending.tokens.insert(theirs.clone(), id);
            *token = Some((theirs.clone(), theirs));
            return params;
        }
        let ours = format!("\"mcpeg-{id}\"");
        pending.tokens.insert(ours.as_str().into(), id);
        let edited = set_path(&params, &["_meta", "progressToken"], &ours);
        *token = Some((ours.into(), theirs));
        edited.unwrap_or(params)
    }

    /// Takes a request out of `pending` and queues its last event.
    fn finish(&self, id: u64, event: Event) {
        let waiting = {
            let mut pending = self.pending();
            let waiting = pending.calls.remove(&id);
            if let Some((upstream, _)) = waiting.as_ref().and_then(|waiting| waiting.token.as_ref()) {
                pending.tokens.remove(upstream);
            }
            waiting
        };
        match waiting {
            Some(waiting) => {
                waiting.events.end(event);
            }
            None => {
                tracing::debug!(upstream = %self.name, id, "an answer to no request in flight is dropped");
            }
        }
    }

    /// Handles one line of the child's standard output.
    fn receive(self: &Arc<Self>, line: &[u8]) {
        match Message::parse(line) {
            Ok(Message::Response(Response { id, outcome })) => match id.as_ref().and_then(Id::as_number) {
                Some(id) => self.finish(id, Event::Done(outcome)),
                None => self.unanswerable(&outcome),
            },
            Ok(Message::Notification(note)) => self.notified(note),
            Ok(Message::Request(request)) => self.asked(request),
            Err(error) => {
                tracing::warn!(upstream = %self.name, bytes = line.len(), %error, "a line that is not MCP is ignored");
            }
        }
    }

    /// A response without an identifier of ours: some servers answer a request that they cannot read so.
    fn unanswerable(&self, outcome: &Outcome) {
        let kind = if matches!(outcome, Outcome::Error(_)) { "error" } else { "result" };
        tracing::warn!(upstream = %self.name, kind, "a response without a usable id is ignored");
    }

    /// Brings a notification to the request it belongs to, or to the inbox.
    fn notified(self: &Arc<Self>, note: Notification) {
        let pending = self.pending();
        let (id, note) = match note.method.as_str() {
            "notifications/progress" => progress_target(&pending, note),
            "notifications/message" => (self.speaker(&pending), note),
            _ => (subscription_target(&pending, &note), note),
        };
        let Some((id, waiting)) = id.and_then(|id| Some((id, pending.calls.get(&id)?))) else {
            return self.inbox.put(Inbound::Notification(note));
        };
        if !waiting.events.send(Event::Notification(note)) {
            drop(pending);
            self.give_up(id);
        }
    }

    /// Ends a request whose downstream does not keep up; the others on this connection go on.
    fn give_up(self: &Arc<Self>, id: u64) {
        Box::new(CancelStdio { connection: Arc::downgrade(self), id }).cancel(None);
    }

    /// The request that a message without any reference belongs to: on a connection of one session the newest, on a
    /// shared one only an only one.
    fn speaker(&self, pending: &Pending) -> Option<u64> {
        let mut clients = pending.calls.iter().filter(|(_, waiting)| waiting.for_client);
        let newest = clients.next_back().map(|(id, _)| *id);
        newest.filter(|_| self.role == Role::Dedicated || clients.next().is_none())
    }

    /// Brings a request of the server to its client, where that can be told.
    fn asked(self: &Arc<Self>, request: Request) {
        if request.method == "ping" {
            return self.answer_soon(request.id, Outcome::Result(raw(&json!({}))));
        }
        if self.role == Role::Shared {
            let fault = Fault::method_not_found(&request.method);
            tracing::warn!(
                upstream = %self.name, method = request.method,
                "a request to the client is refused: the connection is shared; `sharing = \"per-session\"` allows it"
            );
            return self.answer_soon(request.id, fault.outcome());
        }
        let pending = self.pending();
        let speaker = self.speaker(&pending);
        let Some((id, waiting)) = speaker.and_then(|id| Some((id, pending.calls.get(&id)?))) else {
            return self.inbox.put(Inbound::Request(request));
        };
        if !waiting.events.send(Event::Request(request)) {
            drop(pending);
            self.give_up(id);
        }
    }

    /// Answers the server without waiting; a full queue means that it does not read, and it gets no answer.
    fn answer_soon(&self, id: Id, outcome: Outcome) {
        let mut line = Message::Response(Response { id: Some(id), outcome }).to_line();
        line.push(b'\n');
        if let Some(lines) = self.lines.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            let _ = lines.try_send(line);
        }
    }
}

/// The request that a progress notification reports on, with the token put back.
fn progress_target(pending: &Pending, mut note: Notification) -> (Option<u64>, Notification) {
    let token = note.params.as_deref().and_then(|params| member(params, "progressToken"));
    let Some(id) = token.and_then(|token| pending.tokens.get(token.get())).copied() else {
        return (None, note);
    };
    if let Some((upstream, theirs)) = pending.calls.get(&id).and_then(|waiting| waiting.token.as_ref())
        && upstream != theirs
        && let Some(params) = note.params.take()
    {
        note.params = Some(set_member(&params, "progressToken", theirs).unwrap_or(params));
    }
    (Some(id), note)
}

/// The `subscriptions/listen` request that a notification names.
fn subscription_target(pending: &Pending, note: &Notification) -> Option<u64> {
    let meta = member(note.params.as_deref()?, "_meta")?;
    let id = member(meta, key::SUBSCRIPTION)?.get().trim_matches('"').parse().ok()?;
    pending.calls.contains_key(&id).then_some(id)
}

/// Ends a connection when the task that owns one of its pipes does, be it by a panic.
struct Closing(Weak<Stdio>);

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(connection) = self.0.upgrade() else { return };
        // First closed, then taken: whoever registers in between sees the flag and ends its own request.
        connection.closed.send_replace(true);
        let waiting = std::mem::take(&mut *connection.pending());
        for (_, waiting) in waiting.calls {
            waiting.events.end(Event::Lost(connection.ended()));
        }
    }
}

impl Cancel for CancelStdio {
    fn cancel(self: Box<Self>, params: Option<Raw>) {
        let Some(connection) = self.connection.upgrade() else { return };
        {
            let mut pending = connection.pending();
            let Some(waiting) = pending.calls.remove(&self.id) else { return };
            if let Some((upstream, _)) = waiting.token {
                pending.tokens.remove(&upstream);
            }
        }
        let id = self.id.to_string();
        let params =
            params.unwrap_or_else(|| raw(&json!({ "requestId": 0, "reason": "nobody waits for it" })));
        let params = set_member(&params, "requestId", &id).unwrap_or(params);
        let note = Notification { method: "notifications/cancelled".to_owned(), params: Some(params) };
        // A child that does not read cannot make farewells pile up.
        tokio::spawn(async move {
            tokio::time::timeout(FAREWELL, connection.write(&Message::Notification(note))).await
        });
    }
}

/// Owns the child's standard input: gathers what waits into few writes. Ends when the queue's sender is dropped.
async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Vec<u8>>, mut closing: Closing) {
    while let Some(mut block) = queue.recv().await {
        while block.len() < WRITE_SIZE
            && let Ok(line) = queue.try_recv()
        {
            block.extend_from_slice(&line);
        }
        if let Err(error) = stdin.write_all(&block).await {
            tracing::debug!(%error, "the child does not read any more");
            break;
        }
    }
    // What the child has written before is still read: only a panic here ends the connection.
    closing.0 = Weak::new();
}

/// Owns the child's standard output. An over-long line is dropped whole, the connection goes on.
async fn read(stdout: ChildStdout, limit: usize, closing: Closing) {
    let codec = AnyDelimiterCodec::new_with_max_length(b"\n".to_vec(), Vec::new(), limit);
    let mut lines = FramedRead::with_capacity(stdout, codec, WRITE_SIZE);
    loop {
        let line = lines.next().await;
        let Some(connection) = closing.0.upgrade() else { return };
        match line {
            Some(Ok(line)) if line.iter().all(u8::is_ascii_whitespace) => {}
            Some(Ok(line)) => connection.receive(&line),
            Some(Err(error)) => {
                tracing::warn!(upstream = %connection.name, %error, limit, "a message is dropped");
                // After an error the codec yields `None` once and then goes on with the next line.
                lines.next().await;
            }
            None => return,
        }
    }
}
