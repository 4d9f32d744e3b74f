//! One request to an upstream, from sending to its outcome: an ordered stream of events.
//!
//! Whatever belongs to a request arrives through one channel in the order in which the upstream sent it, so progress
//! can neither overtake nor trail the result. The channel is bounded: a downstream that does not read loses its own
//! call, with a clear fault, and nobody else's.

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::error::Fault;
use super::super::relay::{Notification, Outcome, Raw, Request};

/// Events that may wait for a slow downstream.
const QUEUE: usize = 1024;

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
    events: mpsc::Receiver<Event>,
    /// `None` once the exchange has ended.
    cancel: Option<Box<dyn Cancel>>,
    /// When waiting ends.
    deadline: Instant,
    /// What the time-out is told as.
    late: Fault,
    /// Tells the connection that it is in use.
    held: Option<TaskTrackerToken>,
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct Events(mpsc::Sender<Event>);

/// An exchange's two sides.
pub(crate) fn exchange(cancel: Box<dyn Cancel>, deadline: Instant, late: Fault) -> (Events, Exchange) {
    let (sender, events) = mpsc::channel(QUEUE);
    (Events(sender), Exchange { events, cancel: Some(cancel), deadline, late, held: None })
}

impl Events {
    /// Hands an event on without waiting; `false` if the downstream has gone or is too slow, which ends the exchange.
    pub(crate) fn send(&self, event: Event) -> bool {
        self.0.try_send(event).is_ok()
    }

    /// Waits until the receiving side is dropped.
    pub(crate) async fn abandoned(&self) {
        self.0.closed().await;
    }
}

impl Exchange {
    /// The same, keeping a token until its end.
    pub(crate) fn held(mut self, token: TaskTrackerToken) -> Self {
        self.held = Some(token);
        self
    }

    /// The next event; after [`Event::Done`] or [`Event::Lost`] there is none and this must not be called again.
    pub(crate) async fn next(&mut self) -> Event {
        let event = match tokio::time::timeout_at(self.deadline, self.events.recv()).await {
            Ok(Some(event)) => event,
            Ok(None) => Event::Lost(Fault {
                message: "the call was dropped because its messages were not read fast enough".to_owned(),
                ..self.late.clone()
            }),
            Err(_) => {
                self.call_off(None);
                Event::Lost(self.late.clone())
            }
        };
        if matches!(event, Event::Done(_) | Event::Lost(_)) {
            self.cancel = None;
        }
        event
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
