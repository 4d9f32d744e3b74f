//! The moment at which a drain has no more time: whatever is in flight then is answered, by an error if need be.
//!
//! A client that only sees its connection end does not know what became of its request, and may wait for ever.

use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::moment::{Cut, Moment, Wait};
use crate::gateway::error::Fault;
use crate::gateway::relay::{Id, Message};
use crate::gateway::telemetry::Operation;

/// The end of the time of the requests that come over one listener; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cutoff(Moment);

impl Cutoff {
    /// Says that the time is over.
    pub(super) fn reach(&self) {
        self.0.come();
    }

    /// Waits until the time is over.
    pub(super) const fn reached(&self) -> Wait<'_> {
        self.0.wait()
    }

    /// Works until the time is over; `None` if the work has not ended before.
    pub(super) const fn before<F: Future + Unpin>(&self, work: F) -> Cut<'_, F> {
        self.0.cuts(work)
    }

    /// The messages that belong to a request, the last of which is its answer: an error if the time is over before.
    pub(super) fn answered(
        &self,
        mut messages: impl Stream<Item = Message> + Send + Unpin + 'static,
        (id, operation): (Id, Arc<Operation>),
    ) -> impl Stream<Item = Message> + Send + 'static {
        let request = operation.origin().request().clone();
        let messages = stream::poll_fn(move |cx| {
            let _entered = request.enter();
            messages.poll_next_unpin(cx)
        });
        let state = (Some(messages), (id, operation), self.clone());
        stream::unfold(state, |(messages, (id, operation), cutoff)| async move {
            let mut messages = messages?;
            let message = cutoff.before(messages.next()).await;
            if let Some(message) = message {
                let message = message?;
                operation.told(&message);
                return Some((message, (Some(messages), (id, operation), cutoff)));
            }
            let fault = Fault::cut_off();
            operation.failed(&fault);
            // Dropping the rest calls the request off.
            Some((fault.response(Some(id.clone())), (None, (id, operation), cutoff)))
        })
    }
}

/// When a stream ends that never does by itself: as soon as the process drains, or when its listener has no more time.
#[derive(Clone, Debug)]
pub(crate) struct StreamEnd {
    /// Cancelled when the process drains.
    draining: CancellationToken,
    /// The listener's time.
    cutoff: Cutoff,
}

impl StreamEnd {
    /// The end of a stream of this listener.
    pub(super) fn new(draining: &CancellationToken, cutoff: &Cutoff) -> Self {
        Self { draining: draining.clone(), cutoff: cutoff.clone() }
    }

    /// Waits until the stream is to end.
    pub(super) async fn reached(&self) {
        tokio::select! {
            () = self.draining.cancelled() => {}
            () = self.cutoff.reached() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::relay::Notification;

    #[tokio::test]
    async fn messages_end_with_an_error_where_the_time_is_over_first() {
        let cutoff = Cutoff::default();
        let note = Message::Notification(Notification { method: "a".into(), params: None });
        let endless = Box::pin(stream::once(async { note }).chain(stream::pending()));
        let operation = Operation::nobodys();
        let mut messages = Box::pin(cutoff.answered(endless, (Id::number(7), operation)));
        assert!(matches!(messages.next().await, Some(Message::Notification(_))));
        cutoff.reach();
        let Some(Message::Response(answer)) = messages.next().await else { panic!("no answer") };
        assert_eq!(answer.id, Some(Id::number(7)));
        assert!(messages.next().await.is_none());
        assert_eq!(cutoff.before(std::pin::pin!(async { 1 })).await, Some(1), "what is done is done");
        assert_eq!(cutoff.before(std::future::pending::<()>()).await, None);
    }
}
