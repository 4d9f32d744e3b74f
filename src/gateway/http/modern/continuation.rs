//! Rounds of modern requests across an upgrade: a request that was put aside stays with the old process, which has the
//! connection over which its server asks. The client's repetition comes to the new process, which has the old one go on
//! with the request and passes on what comes of it.
//!
//! Invariant: the old process does not end while a request is put aside, until its drain does.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fieldwork::Fieldwork;
use futures_util::stream::{self, Stream};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::forward::{PendingCall, ReplyContext};
use super::subject::Subject;
use super::suspended::SuspendedCalls;
use crate::gateway::client::ClientName;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::Fault;
use crate::gateway::http::task_owners::TaskOwners;
use crate::gateway::relay::{Id, Message, Request, RequestMeta};
use crate::gateway::session::PeerLink;
use crate::gateway::telemetry::{Ledger, Operation, Origin};
use crate::handover::{self, Round};
use crate::request_id::RequestId;

/// How long the other process may take to say that it goes on with a request.
const SOON: Duration = Duration::from_secs(10);

/// Repetitions on their way between two processes.
#[derive(Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(crate) struct Continuations {
    /// The last number.
    last: AtomicU64,
    /// Those that the other process goes on with; the first that is told is nothing but that it does.
    elsewhere: Mutex<HashMap<u64, mpsc::UnboundedSender<Option<Message>>>>,
    /// Those that this process goes on with for the other one.
    here: Mutex<HashMap<u64, AbortHandle>>,
    /// Their tasks.
    tasks: TaskTracker,
    /// Requests that are put aside here.
    #[field(get(deref = false))]
    suspended: Arc<SuspendedCalls<PendingCall>>,
    /// Whose tasks are whose.
    #[field(get(deref = false))]
    owners: Arc<TaskOwners>,
    /// Counts requests.
    ledger: Arc<Ledger>,
    /// The way to the other process.
    peer: Arc<PeerLink>,
}

/// A repetition that the other process goes on with; dropping it calls the request off.
struct Elsewhere {
    /// All of them.
    continuations: Arc<Continuations>,
    /// Its number.
    number: u64,
    /// Its identifier, until it is answered.
    id: Option<Id>,
    /// What comes of it.
    messages: mpsc::UnboundedReceiver<Option<Message>>,
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.continuations.elsewhere.lock().remove(&self.number);
        if self.id.is_some() {
            self.continuations.tell(Round::Off { number: self.number });
        }
    }
}

impl Elsewhere {
    /// The next message; the state is `None` after the last.
    async fn next(elsewhere: Option<Self>) -> Option<(Message, Option<Self>)> {
        let mut elsewhere = elsewhere?;
        match elsewhere.messages.recv().await {
            Some(Some(message @ Message::Response(_))) => {
                elsewhere.id = None;
                Some((message, None))
            }
            Some(Some(message)) => Some((message, Some(elsewhere))),
            Some(None) | None => Some((Fault::restarted().response(elsewhere.id.take()), None)),
        }
    }
}

impl Continuations {
    /// None yet.
    pub(crate) fn new(
        suspended: Arc<SuspendedCalls<PendingCall>>,
        owners: Arc<TaskOwners>,
        ledger: Arc<Ledger>,
        peer: Arc<PeerLink>,
    ) -> Self {
        let (last, elsewhere, here, tasks) = Default::default();
        Self { last, elsewhere, here, tasks, suspended, owners, ledger, peer }
    }

    /// Has the other process go on with a request that does not wait here; `None` if it does not wait there either.
    pub(super) async fn go_on_elsewhere(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        request: Request,
    ) -> Option<impl Stream<Item = Message> + Send + Unpin + 'static + use<>> {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let (sender, messages) = mpsc::unbounded_channel();
        self.elsewhere.lock().insert(number, sender);
        let id = Some(request.id.clone());
        let mut elsewhere = Elsewhere { continuations: Arc::clone(self), number, id, messages };
        let client = endpoint.client().map(ToString::to_string);
        let sent = endpoint.person().map(|person| person.sent().collect()).unwrap_or_default();
        let endpoint = endpoint.name().map(str::to_owned);
        let request = text(&Message::Request(request));
        let told = self.tell(Round::GoOn { number, endpoint, client, sent, request });
        let goes_on = async { matches!(timeout(SOON, elsewhere.messages.recv()).await, Ok(Some(_))) };
        if !told || !goes_on.await {
            elsewhere.id = None;
            return None;
        }
        Some(Box::pin(stream::unfold(Some(elsewhere), Elsewhere::next)))
    }

    /// Takes what the other process tells about a repetition.
    pub(crate) fn told(self: &Arc<Self>, round: Round) {
        match round {
            Round::GoOn { number, endpoint, client, sent, request } => {
                let continuations = Arc::clone(self);
                let client = client.as_deref().map(ClientName::new);
                let endpoint = Endpoint::named(endpoint).of(client.clone());
                let endpoint = endpoint.showing(self.owners.person(client, &sent));
                // Held meanwhile, so that a task that ends at once finds its handle.
                let mut here = self.here.lock();
                let task = self.tasks.spawn(async move {
                    continuations.go_on_here(number, endpoint, &request).await;
                    continuations.here.lock().remove(&number);
                    continuations.tell(Round::Over { number });
                });
                here.insert(number, task.abort_handle());
            }
            Round::GoesOn { number } => self.pass_on(number, None),
            Round::Said { number, message } => {
                self.pass_on(number, Message::parse(message.as_bytes()).ok());
            }
            Round::Task { upstream, id, caller, session } => {
                self.owners.learn(&upstream, &id, caller, session);
            }
            Round::Over { number } => drop(self.elsewhere.lock().remove(&number)),
            Round::Off { number } => {
                let task = self.here.lock().remove(&number);
                let _ = task.map(|task| task.abort());
            }
        }
    }

    /// Passes on what is told of one that the other process goes on with.
    fn pass_on(&self, number: u64, message: Option<Message>) {
        let waiting = self.elsewhere.lock().get(&number).cloned();
        // A client that has gone has called the request off.
        let _ = waiting.map(|waiting| waiting.send(message));
    }

    /// The other process has ended: nothing more comes of what it went on with.
    pub(crate) fn alone(&self) {
        self.elsewhere.lock().clear();
    }

    /// Waits until no request is put aside and none is gone on with for the other process.
    pub(crate) async fn over(&self) {
        self.tasks.close();
        loop {
            self.suspended.emptied().await;
            self.tasks.wait().await;
            // A request may have been put aside again.
            if self.suspended.is_empty() && self.tasks.is_empty() {
                return;
            }
        }
    }

    /// Goes on with a request that is put aside here, if it is.
    async fn go_on_here(&self, number: u64, endpoint: Endpoint, request: &str) {
        let Ok(Message::Request(request)) = Message::parse(request.as_bytes()) else { return };
        let meta = RequestMeta::of(request.params.as_deref());
        // The other process tells of it under an identifier of its own.
        let origin = Origin::new(RequestId::made(), (None, None), None);
        let operation = Operation::of_another_process(&self.ledger, &origin, &endpoint);
        let subject = Subject::of(&request.method, &meta, endpoint).with_digest(request.params.as_deref());
        let say = |message: &Message| self.tell(Round::Said { number, message: text(message) });
        let held = match self.suspended.take(&subject, meta.param("requestState").as_deref()) {
            Ok(None) => return,
            held => held,
        };
        self.tell(Round::GoesOn { number });
        let mut pending = match held {
            Ok(Some(pending)) => pending,
            Ok(None) => return,
            Err(fault) => {
                say(&fault.response(Some(request.id)));
                return;
            }
        };
        let reply = ReplyContext::of(request.id, &meta, operation);
        pending.go_on(meta.raw_param("inputResponses"), reply).await;
        let mut next = Some(pending);
        while let Some((message, rest)) = origin.request().around(pin!(PendingCall::next(next))).await {
            say(&message);
            next = rest;
        }
    }

    /// Tells the other process something; whether there is one.
    fn tell(&self, word: Round) -> bool {
        self.peer.tell(&handover::Message::Round { word })
    }
}

/// A message as text.
fn text(message: &Message) -> String {
    String::from_utf8(message.to_line()).expect("JSON text is UTF-8")
}
