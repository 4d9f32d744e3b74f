//! One request to an upstream, from sending to its outcome: an ordered stream of events.
//!
//! Whatever belongs to a request arrives through one queue in the order in which the upstream sent it, so progress
//! can neither overtake nor trail the result. The queue is a channel, or, where the task that waits for the events does the work
//! that brings them, a plain one. It is bounded in bytes, so that a burst of small messages passes
//! and a flood of large ones does not: a downstream that does not read loses its own call only, with a clear fault.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::activity::Activity;
use super::concurrency::Permit;
use super::request::is_unknown_method;
use crate::config::UpstreamName;
use crate::gateway::error::{Cause, Fault};
use crate::gateway::memory::{Held, Of};
use crate::gateway::relay::{
    Message, Notification, Outcome, ParseError, Raw, Request, method, raw, set_member, weight,
};

/// Events that may wait for a slow downstream, in bytes; a single one may be larger.
const QUEUE: usize = 16 << 20;

/// What happens to a request in flight.
#[derive(Debug)]
pub(crate) enum Event {
    /// The upstream tells something about it.
    Notification(Notification),
    /// The upstream asks the client something on its behalf (legacy era).
    Request(Request),
    /// The upstream's answer; the last event.
    Done(Outcome),
    /// There will be no answer; the last event.
    Lost(Fault),
}

/// How an exchange that nobody waits for any more is called off.
pub(crate) trait Cancel: Send {
    /// Tells the upstream; `params` are the downstream's own for `notifications/cancelled`, `requestId` not replaced.
    fn cancel(self: Box<Self>, params: Option<Raw>);
}

/// The receiving side of a request in flight. Dropping it before its end cancels the request.
pub(crate) struct Exchange {
    /// Where events come from, in the upstream's order.
    source: Source,
    /// `None` once the exchange has ended.
    cancel: Option<Box<dyn Cancel>>,
    /// When waiting ends.
    deadline: Instant,
    /// Whom the time-out is told of.
    late: Late,
    /// Tells the connection that it is in use.
    held: Option<Hold>,
    /// The request's permit at an upstream that takes only so many at once.
    permit: Option<Permit>,
}

/// The work that brings an exchange's events.
type Carrier = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where an exchange's events come from.
enum Source {
    /// Another task brings them.
    Channel {
        /// The events.
        events: mpsc::UnboundedReceiver<(Event, Held)>,
        /// Bytes that wait.
        waiting: Arc<AtomicUsize>,
    },
    /// They are brought while they are waited for.
    Carried {
        /// What was brought.
        queue: Arc<Mutex<Queue>>,
        /// The work that brings them, until it is done.
        carrier: Option<Carrier>,
    },
}

/// Events that one task both brings and takes.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// In the upstream's order.
    events: VecDeque<(Event, Held)>,
    /// Bytes that wait.
    waiting: usize,
}

/// Tells a connection that it is in use, until dropped.
pub(crate) struct Hold {
    /// Counts the request.
    _token: TaskTrackerToken,
    /// Learns when it ended.
    activity: Arc<Activity>,
}

impl Hold {
    /// Begins to use a connection.
    pub(crate) fn new(token: TaskTrackerToken, activity: &Arc<Activity>) -> Self {
        activity.touch();
        Self { _token: token, activity: Arc::clone(activity) }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.activity.touch();
    }
}

/// The sending side.
#[derive(Debug)]
pub(crate) enum Events {
    /// Towards another task.
    Channel {
        /// Its end of the channel.
        sender: mpsc::UnboundedSender<(Event, Held)>,
        /// Bytes that wait.
        waiting: Arc<AtomicUsize>,
    },
    /// Towards the same task.
    Queue(Arc<Mutex<Queue>>),
}

/// An upstream and the time that it has; the words are made only where they are needed.
#[derive(Clone, Debug)]
pub(crate) struct Late {
    /// The upstream.
    pub(crate) name: UpstreamName,
    /// Its time.
    pub(crate) limit: Duration,
}

impl Late {
    /// What a downstream is told.
    fn fault(&self) -> Fault {
        Fault::upstream(&self.name, format_args!("did not answer within {} s", self.limit.as_secs())).late()
    }
}

/// An exchange's two sides.
pub(crate) fn exchange(cancel: Box<dyn Cancel>, deadline: Instant, late: Late) -> (Events, Exchange) {
    let (sender, events) = mpsc::unbounded_channel();
    let waiting = Arc::<AtomicUsize>::default();
    let source = Source::Channel { events, waiting: Arc::clone(&waiting) };
    (Events::Channel { sender, waiting }, Exchange::of(source, cancel, deadline, late))
}

/// An exchange whose events are brought by this work, which goes on while they are waited for.
pub(crate) fn carried<F: Future<Output = ()> + Send + 'static>(
    cancel: Box<dyn Cancel>,
    deadline: Instant,
    late: Late,
    work: impl FnOnce(Events) -> F,
) -> Exchange {
    let queue = Arc::<Mutex<Queue>>::default();
    let carrier = Box::pin(work(Events::Queue(Arc::clone(&queue))));
    Exchange::of(Source::Carried { queue, carrier: Some(carrier) }, cancel, deadline, late)
}

/// An exchange that is lost before it began.
pub(crate) fn lost(fault: Fault, late: Late) -> Exchange {
    let deadline = Instant::now() + late.limit;
    let (events, exchange) = exchange(Box::new(Nothing), deadline, late);
    events.end(Event::Lost(fault));
    exchange
}

/// The fault of a message beyond the limit.
pub(crate) fn too_long(name: &UpstreamName, limit: usize) -> Fault {
    let reason =
        format!("sent a message larger than {limit} bytes; `max_message_size` in [server] is the limit");
    Fault::upstream(name, reason)
}

/// The fault of an answer that is no message, or that can be read in two ways.
pub(crate) fn garbled(name: &UpstreamName, error: &ParseError) -> Fault {
    let is_ambiguous = matches!(error, ParseError::Ambiguous { .. });
    let how = if is_ambiguous { "can be read in two ways" } else { "cannot be read" };
    Fault::upstream(name, format_args!("sent an answer that {how}: {}", error.reason()))
}

/// The fault of an answer in another encoding.
pub(crate) fn no_text(name: &UpstreamName) -> Fault {
    Fault::upstream(name, "sent an answer that cannot be read: it is not UTF-8")
}

/// What calls our request of this identifier off; `params` are as for [`Cancel::cancel`].
pub(crate) fn cancelled(id: u64, params: Option<Raw>) -> Message {
    let params = params.unwrap_or_else(|| raw(&json!({ "requestId": 0, "reason": "nobody waits for it" })));
    let params = set_member(&params, "requestId", &id.to_string()).unwrap_or(params);
    Message::Notification(Notification { method: method::CANCELLED.into(), params: Some(params) })
}

/// Nothing was sent, so that there is nothing to call off.
pub(crate) struct Nothing;

impl Cancel for Nothing {
    fn cancel(self: Box<Self>, _: Option<Raw>) {}
}

impl Events {
    /// Hands an event on without waiting; `false` if the downstream has gone or is too slow: the caller then ends the
    /// exchange by dropping this side.
    #[must_use = "an exchange whose event was lost must end"]
    pub(crate) fn send(&self, event: Event) -> bool {
        let (weight, last) = (event.weight(), event.is_last());
        let held = Held::new(Of::Answers, weight);
        // The last event always passes: nothing follows it.
        let fits = |before: usize| before == 0 || before + weight <= QUEUE || last;
        match self {
            Self::Channel { sender, waiting } => {
                fits(waiting.fetch_add(weight, Ordering::Relaxed)) && sender.send((event, held)).is_ok()
            }
            Self::Queue(queue) => {
                let mut queue = queue.lock();
                let fits = fits(queue.waiting);
                if fits {
                    queue.waiting += weight;
                    queue.events.push_back((event, held));
                }
                fits
            }
        }
    }

    /// Hands the last event on.
    pub(crate) fn end(&self, event: Event) {
        // A caller that is gone needs no answer.
        let _ = self.send(event);
    }
}

impl Event {
    /// About as much memory as it takes, in bytes.
    fn weight(&self) -> usize {
        let payload = match self {
            Self::Notification(Notification { params, .. }) | Self::Request(Request { params, .. }) => {
                params.as_deref().map_or(0, weight)
            }
            Self::Done(outcome) => outcome.weight(),
            Self::Lost(_) => 0,
        };
        size_of::<Self>() + payload
    }

    /// Whether none follows.
    pub(crate) const fn is_last(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Lost(_))
    }
}

impl Queue {
    /// The next event.
    fn next(&mut self) -> Option<Event> {
        let (event, _held) = self.events.pop_front()?;
        self.waiting -= event.weight();
        Some(event)
    }
}

impl Source {
    /// The next event that was brought; `None` where nobody brings any more.
    async fn next(&mut self) -> Option<Event> {
        match self {
            Self::Channel { events, waiting } => {
                let (event, _held) = events.recv().await?;
                waiting.fetch_sub(event.weight(), Ordering::Relaxed);
                Some(event)
            }
            Self::Carried { queue, carrier } => poll_fn(|cx| Self::carry_on(queue, carrier, cx)).await,
        }
    }

    /// Works on what brings events until there is one.
    fn carry_on(
        queue: &Mutex<Queue>,
        carrier: &mut Option<Carrier>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Event>> {
        let next = || queue.lock().next();
        if let Some(event) = next() {
            return Poll::Ready(Some(event));
        }
        if carrier.as_mut().is_some_and(|work| work.as_mut().poll(cx).is_ready()) {
            *carrier = None;
        }
        match next() {
            None if carrier.is_some() => Poll::Pending,
            event => Poll::Ready(event),
        }
    }

    /// Gives up the work that brings events.
    fn give_up(&mut self) {
        if let Self::Carried { carrier, .. } = self {
            *carrier = None;
        }
    }
}

impl Exchange {
    /// One that nobody holds anything for.
    const fn of(source: Source, cancel: Box<dyn Cancel>, deadline: Instant, late: Late) -> Self {
        Self { source, cancel: Some(cancel), deadline, late, held: None, permit: None }
    }

    /// The same, keeping a hold on its connection until its end.
    pub(crate) fn held(mut self, hold: Hold) -> Self {
        self.held = Some(hold);
        self
    }

    /// The same, keeping its permit until its end.
    pub(crate) fn with_permit(mut self, permit: Option<Permit>) -> Self {
        self.permit = permit;
        self
    }

    /// Gives the request's permit to the next one, while its server waits for the client.
    pub(crate) fn step_aside(&mut self) {
        self.permit = None;
    }

    /// Takes the next permit.
    pub(crate) fn step_up(&mut self, permit: Option<Permit>) {
        self.permit = permit;
    }

    /// The next event; after [`Event::Done`] or [`Event::Lost`] there is none and this must not be called again.
    pub(crate) async fn next(&mut self) -> Event {
        let event = match tokio::time::timeout_at(self.deadline, self.source.next()).await {
            Ok(Some(event)) => event,
            Ok(None) => Event::Lost(Fault {
                message: "the call was dropped because its messages were not read fast enough".to_owned(),
                cause: Cause::Failed,
                ..self.late.fault()
            }),
            Err(_) => {
                self.call_off(None);
                Event::Lost(self.late.fault())
            }
        };
        if event.is_last() {
            self.cancel = None;
            self.permit = None;
            self.note(&event);
        }
        event
    }

    /// Tells the connection whether it does what it should.
    fn note(&self, last: &Event) {
        let Some(Hold { activity, .. }) = &self.held else { return };
        match last {
            Event::Lost(fault) if fault.unprocessed => {}
            Event::Lost(_) => activity.unanswered(),
            Event::Done(Outcome::Error(error)) if !is_unknown_method(error) => activity.refused(),
            _ => activity.answered(),
        }
    }

    /// Gives the upstream so much time from now on.
    pub(crate) fn extend(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
    }

    /// Waits for the outcome and drops everything before it.
    pub(crate) async fn outcome(mut self) -> Result<Outcome, Fault> {
        loop {
            match self.next().await {
                Event::Done(outcome) => return Ok(outcome),
                Event::Lost(fault) => return Err(fault),
                Event::Notification(_) | Event::Request(_) => {}
            }
        }
    }

    /// Cancels the request with the downstream's own words, or the gateway's where there are none.
    pub(crate) fn call_off(&mut self, params: Option<Raw>) {
        self.source.give_up();
        if let Some(cancel) = self.cancel.take() {
            cancel.cancel(params);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.call_off(None);
    }
}
