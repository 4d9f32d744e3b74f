//! One request to an upstream, from sending to its outcome: an ordered stream of events.
//!
//! Whatever belongs to a request arrives through one channel in the order in which the upstream sent it, so progress
//! can neither overtake nor trail the result. The channel is bounded in bytes, so that a burst of small messages passes
//! and a flood of large ones does not: a downstream that does not read loses its own call, with a clear fault, and
//! nobody else's.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::error::Fault;
use super::super::relay::{Notification, Outcome, Raw, Request, weight};
use super::gate::Turn;
use super::pulse::Pulse;
use crate::config::UpstreamName;

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
    /// In the upstream's order.
    events: mpsc::UnboundedReceiver<Event>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    /// What brings the events, where no other task does; it goes on while they are waited for.
    carrier: Option<Carrier>,
    /// `None` once the exchange has ended.
    cancel: Option<Box<dyn Cancel>>,
    /// When waiting ends.
    deadline: Instant,
    /// Whom the time-out is told of.
    late: Late,
    /// Tells the connection that it is in use.
    held: Option<Hold>,
    /// The request's turn at an upstream that takes only so many at once.
    turn: Option<Turn>,
}

/// The work that brings an exchange's events.
pub(crate) type Carrier = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells a connection that it is in use, until dropped.
pub(crate) struct Hold {
    /// Counts the request.
    _token: TaskTrackerToken,
    /// Learns when it ended.
    pulse: Arc<Pulse>,
}

impl Hold {
    /// Begins to use a connection.
    pub(crate) fn new(token: TaskTrackerToken, pulse: &Arc<Pulse>) -> Self {
        pulse.touch();
        Self { _token: token, pulse: Arc::clone(pulse) }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.pulse.touch();
    }
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct Events {
    /// Towards the receiving side.
    sender: mpsc::UnboundedSender<Event>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
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
        Fault::upstream(&self.name, format_args!("did not answer within {} s", self.limit.as_secs()))
    }
}

/// An exchange's two sides.
pub(crate) fn exchange(cancel: Box<dyn Cancel>, deadline: Instant, late: Late) -> (Events, Exchange) {
    let (sender, events) = mpsc::unbounded_channel();
    let waiting = Arc::<AtomicUsize>::default();
    let exchange = Exchange {
        events,
        waiting: Arc::clone(&waiting),
        carrier: None,
        cancel: Some(cancel),
        deadline,
        late,
        held: None,
        turn: None,
    };
    (Events { sender, waiting }, exchange)
}

/// An exchange that is lost before it began.
pub(crate) fn lost(fault: Fault, late: Late) -> Exchange {
    let deadline = Instant::now() + late.limit;
    let (events, exchange) = exchange(Box::new(Nothing), deadline, late);
    events.end(Event::Lost(fault));
    exchange
}

/// Nothing was sent, so that there is nothing to call off.
struct Nothing;

impl Cancel for Nothing {
    fn cancel(self: Box<Self>, _: Option<Raw>) {}
}

impl Events {
    /// Hands an event on without waiting; `false` if the downstream has gone or is too slow: the caller then ends the
    /// exchange by dropping this side.
    #[must_use = "an exchange whose event was lost must end"]
    pub(crate) fn send(&self, event: Event) -> bool {
        let weight = event.weight();
        let before = self.waiting.fetch_add(weight, Ordering::Relaxed);
        // The last event always passes: nothing follows it.
        let fits = before == 0 || before + weight <= QUEUE || event.is_last();
        fits && self.sender.send(event).is_ok()
    }

    /// Hands the last event on.
    pub(crate) fn end(&self, event: Event) {
        // Whoever is gone needs no answer.
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
    const fn is_last(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Lost(_))
    }
}

impl Exchange {
    /// The same, keeping a hold on its connection until its end.
    pub(crate) fn held(mut self, hold: Hold) -> Self {
        self.held = Some(hold);
        self
    }

    /// The same, its events brought by this work.
    pub(crate) fn carried(mut self, carrier: Carrier) -> Self {
        self.carrier = Some(carrier);
        self
    }

    /// The same, keeping its turn until its end.
    pub(crate) fn in_turn(mut self, turn: Option<Turn>) -> Self {
        self.turn = turn;
        self
    }

    /// The next event; after [`Event::Done`] or [`Event::Lost`] there is none and this must not be called again.
    pub(crate) async fn next(&mut self) -> Event {
        let event = match tokio::time::timeout_at(self.deadline, self.received()).await {
            Ok(Some(event)) => {
                self.waiting.fetch_sub(event.weight(), Ordering::Relaxed);
                event
            }
            Ok(None) => Event::Lost(Fault {
                message: "the call was dropped because its messages were not read fast enough".to_owned(),
                ..self.late.fault()
            }),
            Err(_) => {
                self.call_off(None);
                Event::Lost(self.late.fault())
            }
        };
        if event.is_last() {
            self.cancel = None;
            self.turn = None;
            self.note(&event);
        }
        event
    }

    /// The next event that was brought; `None` where nobody brings any more.
    async fn received(&mut self) -> Option<Event> {
        let Some(carrier) = &mut self.carrier else { return self.events.recv().await };
        tokio::select! {
            biased;
            event = self.events.recv() => return event,
            () = carrier => {}
        }
        self.carrier = None;
        self.events.recv().await
    }

    /// Tells the connection whether it does what it should.
    fn note(&self, last: &Event) {
        let Some(Hold { pulse, .. }) = &self.held else { return };
        match last {
            Event::Lost(fault) if fault.unprocessed => {}
            Event::Lost(_) => pulse.unanswered(),
            _ => pulse.answered(),
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
        self.carrier = None;
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
