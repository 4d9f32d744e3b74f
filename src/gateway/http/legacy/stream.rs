//! Streams of messages to a legacy client, which can be resumed.

use std::sync::Arc;

use axum::response::Response;
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;

use crate::gateway::http::answer::{self, Item};
use crate::gateway::relay::LATEST_LEGACY;
use crate::gateway::session::{EventId, Listening, Log, OWN, Session};

/// The stream of messages that belong to no request, after the place of the last one that the client has.
pub(super) fn own(
    session: Arc<Session>,
    listening: Listening,
    draining: CancellationToken,
    last: Option<u64>,
) -> Response {
    let (number, place) = session.outbox().open(last);
    let place = EventId { stream: OWN, place };
    let prime = prime(&session, place);
    let messages = stream::unfold(
        (session, listening, draining, place),
        move |(session, listening, draining, place)| async move {
            let (place, message) = tokio::select! {
                biased;
                next = session.outbox().next(number, place.place) => next?,
                () = session.ended().cancelled() => return None,
                () = draining.cancelled() => return None,
            };
            let id = EventId { stream: OWN, place };
            Some((Item { message: Some(message), id: Some(id) }, (session, listening, draining, id)))
        },
    );
    answer::events(stream::iter(prime).chain(messages))
}

/// An event to resume from, before there is a message. Clients of older revisions parse the data of every event, so only
/// the newest gets an empty one.
pub(super) fn prime(session: &Session, place: EventId) -> Option<Item> {
    let primed = session.connections().client().version == LATEST_LEGACY;
    primed.then_some(Item { message: None, id: Some(place) })
}

/// The messages of a log after a place, each with its identifier. The guard keeps the session from idling.
pub(super) fn resumable(
    log: Arc<Log>,
    place: EventId,
    guard: Option<Listening>,
) -> impl Stream<Item = Item> + Send {
    stream::unfold((log, place, guard), |(log, place, guard)| async move {
        let (number, message) = log.after(place.place).await?;
        let id = EventId { place: number, ..place };
        Some((Item { message: Some(message), id: Some(id) }, (log, id, guard)))
    })
}
