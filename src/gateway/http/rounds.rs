//! Rounds of modern requests across an upgrade: a request that was put aside stays with the old process, which has the
//! connection over which its server asks. The client's repetition comes to the new process, which has the old one go on
//! with the request and passes on what comes of it.
//!
//! Invariant: the old process does not end while a request is put aside, until its drain does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::held::Subject;
use super::relayed::{Relayed, Telling};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::Fault;
use crate::gateway::relay::{Id, Message, Request, RequestMeta};
use crate::gateway::service::Inner;
use crate::gateway::session::Session;
use crate::gateway::upstream::{Caller, Upstream};
use crate::handover::{self, Round};

/// How long the other process may take to say that it goes on with a request.
const SOON: Duration = Duration::from_secs(10);

/// Repetitions on their way between two processes.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The last number.
    last: AtomicU64,
    /// Those that the other process goes on with; the first that is told is nothing but that it does.
    elsewhere: Mutex<HashMap<u64, mpsc::UnboundedSender<Option<Message>>>>,
    /// Those that this process goes on with for the other one.
    here: Mutex<HashMap<u64, AbortHandle>>,
    /// Their tasks.
    tasks: TaskTracker,
}

impl Rounds {
    /// Those that the other process goes on with.
    fn elsewhere(&self) -> MutexGuard<'_, HashMap<u64, mpsc::UnboundedSender<Option<Message>>>> {
        self.elsewhere.lock()
    }

    /// Those that this process goes on with.
    fn here(&self) -> MutexGuard<'_, HashMap<u64, AbortHandle>> {
        self.here.lock()
    }

    /// Passes on what is told of one that the other process goes on with.
    fn told(&self, number: u64, message: Option<Message>) {
        let waiting = self.elsewhere().get(&number).cloned();
        // Whoever has gone has called the request off.
        let _ = waiting.map(|waiting| waiting.send(message));
    }
}

/// A repetition that the other process goes on with; dropping it calls the request off.
struct Elsewhere {
    /// The gateway.
    gateway: Arc<Inner>,
    /// Its number.
    number: u64,
    /// Its identifier, until it is answered.
    id: Option<Id>,
    /// What comes of it.
    messages: mpsc::UnboundedReceiver<Option<Message>>,
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.gateway.rounds.elsewhere().remove(&self.number);
        if self.id.is_some() {
            self.gateway.tell(Round::Off { number: self.number });
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

/// Has the process before or after this one go on with a request that does not wait here; `None` if it does not wait
/// there either.
pub(super) async fn go_on_elsewhere(
    gateway: &Arc<Inner>,
    endpoint: &Endpoint,
    request: Request,
) -> Option<impl Stream<Item = Message> + Send + Unpin + 'static> {
    let number = gateway.rounds.last.fetch_add(1, Ordering::Relaxed);
    let (sender, messages) = mpsc::unbounded_channel();
    gateway.rounds.elsewhere().insert(number, sender);
    let id = Some(request.id.clone());
    let mut elsewhere = Elsewhere { gateway: Arc::clone(gateway), number, id, messages };
    let endpoint = endpoint.upstream().map(str::to_owned);
    let request = text(&Message::Request(request));
    let told = gateway.tell(Round::GoOn { number, endpoint, request });
    let goes_on = async { matches!(timeout(SOON, elsewhere.messages.recv()).await, Ok(Some(_))) };
    if !told || !goes_on.await {
        elsewhere.id = None;
        return None;
    }
    Some(Box::pin(stream::unfold(Some(elsewhere), Elsewhere::next)))
}

impl Inner {
    /// Takes what the other process tells about a repetition.
    pub(crate) fn round(self: &Arc<Self>, round: Round) {
        match round {
            Round::GoOn { number, endpoint, request } => {
                let gateway = Arc::clone(self);
                let task = self.rounds.tasks.spawn(async move {
                    gateway.go_on_here(number, endpoint, &request).await;
                    gateway.rounds.here().remove(&number);
                    gateway.tell(Round::Over { number });
                });
                // If it has ended already, this one is removed with the process.
                self.rounds.here().insert(number, task.abort_handle());
            }
            Round::GoesOn { number } => self.rounds.told(number, None),
            Round::Said { number, message } => {
                self.rounds.told(number, Message::parse(message.as_bytes()).ok());
            }
            Round::Task { upstream, id, caller, session } => {
                self.learn_task(&upstream, &id, caller, session);
            }
            Round::Over { number } => drop(self.rounds.elsewhere().remove(&number)),
            Round::Off { number } => {
                let task = self.rounds.here().remove(&number);
                let _ = task.map(|task| task.abort());
            }
        }
    }

    /// Notes that a task is of a modern client, here and in the other process.
    pub(super) fn own_task(&self, upstream: &Upstream, id: &str, caller: &Caller) {
        upstream.tasks().own(id, caller);
        let (upstream, id) = (upstream.name().to_owned(), id.to_owned());
        self.tell(Round::Task { upstream, id, caller: Some(caller.into()), session: None });
    }

    /// The same of a session.
    pub(super) fn own_task_of(&self, session: &Session, upstream: &Upstream, id: &str) {
        if session.begin_task(upstream.name(), id) {
            let (upstream, id) = (upstream.name().to_owned(), id.to_owned());
            self.tell(Round::Task { upstream, id, caller: None, session: Some(session.id().to_owned()) });
        }
    }

    /// Notes what the other process knows of a task.
    fn learn_task(
        &self,
        upstream: &str,
        id: &str,
        caller: Option<handover::Caller>,
        session: Option<String>,
    ) {
        if let Some(session) = session.and_then(|session| self.sessions.get(&session)) {
            session.begin_task(upstream, id);
        }
        let table = self.routing.current();
        let known = table.upstreams().iter().find(|known| known.name() == upstream);
        if let Some((known, caller)) = known.zip(caller) {
            known.tasks().own(id, &caller.into());
        }
    }

    /// Tells the other process whose the tasks of modern clients are. Sessions take theirs along.
    pub(crate) fn tell_tasks(&self) {
        for upstream in self.routing.current().upstreams() {
            for (id, caller) in upstream.tasks().all() {
                let (upstream, caller) = (upstream.name().to_owned(), Some((&caller).into()));
                self.tell(Round::Task { upstream, id, caller, session: None });
            }
        }
    }

    /// The other process has ended: nothing more comes of what it went on with.
    pub(crate) fn rounds_alone(&self) {
        self.rounds.elsewhere().clear();
    }

    /// Waits until no request is put aside and none is gone on with for the other process.
    pub(crate) async fn rounds_over(&self) {
        self.rounds.tasks.close();
        loop {
            self.held.emptied().await;
            self.rounds.tasks.wait().await;
            // A request may have been put aside again.
            if self.held.is_empty() && self.rounds.tasks.is_empty() {
                return;
            }
        }
    }

    /// Goes on with a request that is put aside here, if it is.
    async fn go_on_here(self: &Arc<Self>, number: u64, endpoint: Option<String>, request: &str) {
        let Ok(Message::Request(request)) = Message::parse(request.as_bytes()) else { return };
        let meta = RequestMeta::of(request.params.as_deref());
        let endpoint = Endpoint::named(endpoint);
        let subject = Subject::of(&request.method, &meta, endpoint);
        let say = |message: &Message| self.tell(Round::Said { number, message: text(message) });
        let held = match self.held.take(&subject, meta.param("requestState").as_deref()) {
            Ok(None) => return,
            held => held,
        };
        self.tell(Round::GoesOn { number });
        let mut relayed = match held {
            Ok(Some(relayed)) => relayed,
            Ok(None) => return,
            Err(fault) => {
                say(&fault.response(Some(request.id)));
                return;
            }
        };
        let telling = Telling::of(request.id, &meta, self.in_flight());
        relayed.go_on(meta.raw_param("inputResponses"), telling).await;
        let mut next = Some(relayed);
        while let Some((message, rest)) = Relayed::next(next).await {
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
